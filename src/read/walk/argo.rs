//! Argo CD in the walk: the sources of an Application are rendered together; the Applications among its objects, and those that its
//! ApplicationSets give, are the next layers. At the end every object has its namespace, and every Application its place in the order.

use super::super::sources::{Found, Sources};
use super::super::{ReadError, ReadLayer, open, origins};
use super::{Job, Queue, State, Walk, explain};
use crate::layers::LayerId;
use crate::layers::argo::{
    After, Application, Fault, Home, Repositories, Rollout, Source, Step, generate, idle_wave, in_sync_order, is_application,
    is_application_set, layer, step,
};
use crate::layers::flux::Layer;
use crate::layers::scope::Scopes;
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity, Unknown};
use crate::render::RenderError;
use crate::render::argo::{Part, charts};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where Argo CD starts.
pub(crate) struct Roots {
    /// The Argo CD that reads them.
    pub(crate) home: Home,
    /// The root that the environment names instead of files.
    pub(crate) given: Option<Layer>,
    /// Applications and ApplicationSets that somebody writes into the cluster.
    pub(crate) objects: Vec<Resource>,
    /// What is wrong with the files that they come from.
    pub(crate) problems: Vec<Problem>,
    /// What those lack.
    pub(crate) unknowns: Vec<Unknown>,
}

impl Walk<'_> {
    /// Walks from the root Applications of Argo CD to the end.
    pub(crate) fn run_argo(&mut self, roots: Roots) -> Result<Vec<ReadLayer>, ReadError> {
        let namespace = roots.home.namespace.clone();
        self.home = Some(roots.home);
        self.problems.extend(roots.problems);
        self.unknowns.extend(roots.unknowns);
        if let Some(given) = roots.given {
            self.add(given);
        }
        for object in roots.objects {
            self.declared(object, None, &namespace)?;
        }
        let mut layers = self.walk()?;
        name_spaces(&mut layers);
        self.order(&mut layers);
        Ok(layers)
    }

    /// Hands the sources that are at hand to the workers; the others are told.
    pub(super) fn start_application(&mut self, index: usize, queue: &Queue) -> Result<(), ReadError> {
        let layer = self.items[index].layer.clone();
        let Some(application) = layer.spec.application.clone() else { return Ok(()) };
        let mut lent = BTreeMap::new();
        let mut found = Vec::new();
        let mut lacks = false;
        let mut more = Vec::new();
        for source in &application.sources {
            let declaration = source.declaration(&layer.id.namespace);
            let id = source.id(&layer.id.namespace);
            self.sources.declare_as(&id, declaration);
            match self.sources.find(&id)? {
                Found::Files(files) => {
                    self.assume(index, &id, &files);
                    if let Some(reference) = &source.reference {
                        lent.insert(reference.clone(), (files.root.clone(), files.content.clone()));
                    }
                    if let (Some(path), None) = (&source.path, &source.chart) {
                        more.extend(charts(&files.root, path));
                    }
                    if source.path.is_some() || source.chart.is_some() {
                        found.push((source, files));
                    }
                }
                Found::Elsewhere(_) | Found::NotYet if source.chart.is_some() => {
                    lacks = true;
                    let needs =
                        format!("chart {} {} of {}", source.chart.as_deref().unwrap_or_default(), source.target_revision, source.repo_url);
                    self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: layer.declaration.origin.clone() });
                }
                Found::Elsewhere(why) | Found::Wrong(why) => {
                    lacks = true;
                    let message = format!("Application {}: its source has no files here: {why}", layer.id);
                    let problem = Problem::blocks("source-not-at-hand", message).at(layer.declaration.origin.clone());
                    self.problems.push(problem.hint(format!("clone it and give --source {}=PATH", source.repo_url)));
                }
                Found::NotYet => lacks = true,
            }
        }
        if let Some(branch) = &application.hydrated {
            let needs = format!("what its hydrator has pushed to branch {branch}; shown is what it would push now");
            self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: layer.declaration.origin.clone() });
        }
        let part = |(source, files): &(&Source, Arc<super::Files>)| Part {
            root: files.root.clone(),
            content: files.content.clone(),
            source: at_hand(source, files),
            lent: lent.clone(),
            name: layer.id.name.clone(),
            namespace: application.namespace.clone(),
            project: application.project.clone(),
            revision: files.revision.rsplit(':').next().unwrap_or_default().to_owned(),
            is_private: application.given,
            replaces_values: false,
            post_renderers: Vec::new(),
        };
        let parts: Vec<Part> = found.iter().map(part).collect();
        let item = &mut self.items[index];
        if let Some(own) = item.layer.spec.application.as_mut().filter(|_| !more.is_empty()) {
            Arc::make_mut(own).charts.extend(more);
        }
        item.rendered = !lacks;
        item.files = found.first().map(|(_, files)| Arc::clone(files));
        item.parts = found.into_iter().map(|(_, files)| files).collect();
        item.state = if parts.is_empty() { State::Done } else { State::Rendering };
        if !parts.is_empty() {
            queue.push(index, Job::Application(parts));
        }
        Ok(())
    }

    /// What the workers say of the sources.
    pub(super) fn take_application(&mut self, index: usize, answers: Vec<Result<Vec<Resource>, RenderError>>) -> Result<(), ReadError> {
        let layer = self.items[index].layer.clone();
        let mut objects: Vec<Resource> = Vec::new();
        for (answer, files) in answers.into_iter().zip(self.items[index].parts.clone()) {
            let path = layer.spec.path.clone();
            let mut place = |found: Vec<Resource>| {
                objects.extend(found.into_iter().map(|mut object| {
                    let origin = object.origin.take().or_else(|| files.origins().find(&object, &path));
                    object.origin = origin.map(|origin| files.shown(&origin));
                    object
                }));
            };
            let mut error = match answer {
                Ok(found) => {
                    place(found);
                    continue;
                }
                Err(error) => error,
            };
            self.items[index].rendered = false;
            if let RenderError::Missing { known, .. } | RenderError::Inflates { known, .. } = &mut error {
                place(std::mem::take(known));
            }
            let needs = match error {
                RenderError::Lacking { what } => what,
                // Argo CD's kustomize may be told to take charts in (`kustomize.buildOptions` of argocd-cm).
                RenderError::Inflates { file, chart, .. } => {
                    let file = files.shown(&Origin { file, line: 1 }).file;
                    format!("chart {chart}, which {file} takes in")
                }
                // What is not there may stand in the files that these stand for.
                RenderError::NoFolder { .. } if !files.assumed.is_empty() => continue,
                error => {
                    self.problems.push(explain(&layer, &files, error));
                    continue;
                }
            };
            self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: layer.declaration.origin.clone() });
        }
        self.items[index].state = State::Done;
        let application = layer.spec.application.as_ref();
        let inside = application.map(|application| application.namespace.clone()).filter(|namespace| !namespace.is_empty());
        let inside = inside.or_else(|| self.home.as_ref().map(|home| home.namespace.clone())).unwrap_or_default();
        let mut objects = in_sync_order(objects, &inside);
        for object in &mut objects {
            self.problems.extend(open::names(object));
            if let Some(wave) = idle_wave(object) {
                let message = format!(
                    "{} of layer {}: its sync wave `{wave}` is no whole number: Argo CD does as if it had none",
                    object.id(),
                    layer.id
                );
                let problem = Problem::blocks("application-invalid", message).at(object.origin.clone());
                self.problems.push(Problem { severity: Severity::Risk, ..problem });
            }
        }
        if layer.spec.kube_config.is_none() {
            for object in &objects {
                self.declared(object.clone(), Some(index), &inside)?;
            }
        }
        self.items[index].objects = objects;
        Ok(())
    }

    /// An object that may give layers; `namespace` is for one that names none.
    fn declared(&mut self, mut object: Resource, parent: Option<usize>, namespace: &str) -> Result<(), ReadError> {
        let is_set = is_application_set(&object);
        if !is_set && !is_application(&object) {
            return Ok(());
        }
        if object.namespace().is_none() {
            object.value["metadata"]["namespace"] = namespace.into();
        }
        if is_set {
            self.application_set(&object, parent)
        } else {
            self.application(object, parent, None);
            Ok(())
        }
    }

    fn application(&mut self, object: Resource, parent: Option<usize>, set: Option<(LayerId, Option<Rollout>)>) {
        let Some(home) = self.home.clone() else { return };
        let parent_id = parent.map(|parent| self.items[parent].layer.id.clone());
        let mut child = match layer(object, parent_id.clone(), &home) {
            Ok(child) => child,
            Err(problem) => return self.problems.push(problem),
        };
        if let (Some(set), Some(application)) = (set, child.spec.application.as_mut().map(Arc::make_mut)) {
            application.set = Some(set);
        }
        let Some(&known) = self.ids.get(&child.id) else { return self.add(child) };
        // What was begun with from outside takes itself over: from then on it is a layer of the repository.
        if self.items[known].layer.spec.application.as_ref().is_some_and(|application| application.given) {
            let own = &mut self.items[known].layer;
            own.declaration = child.declaration;
            own.spec.application = child.spec.application;
            return;
        }
        let known = &self.items[known].layer;
        if is_again(known, &child) {
            return;
        }
        let place = |layer: &Layer| layer.declaration.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
        let who = |layer: &Layer| match (&layer.spec.application, &layer.parent) {
            (Some(application), _) if application.set.is_some() => {
                application.set.as_ref().map(|(set, _)| format!("ApplicationSet {set}")).unwrap_or_default()
            }
            (_, Some(parent)) => format!("layer {parent}"),
            _ => "a root file".to_owned(),
        };
        let (mut one, mut other) = (who(known), who(&child));
        if one == other {
            one.push_str(&place(known));
            other.push_str(&place(&child));
        }
        let message = format!("Application {}: is declared by {one} and by {other}; the last one applied wins", child.id);
        let mut problem = Problem::blocks("layer-twice", message).at(child.declaration.origin.clone());
        problem.severity = Severity::Risk;
        self.problems.push(problem);
    }

    fn application_set(&mut self, set: &Resource, parent: Option<usize>) -> Result<(), ReadError> {
        let id = LayerId::new(set.namespace().unwrap_or_default(), set.name());
        let mut repositories = Clones { sources: self.sources, namespace: &id.namespace, assumed: BTreeSet::new(), failed: None };
        let generated = generate(set, &mut repositories);
        let Clones { assumed, failed, .. } = repositories;
        if let Some(error) = failed {
            return Err(error);
        }
        let node = parent.map_or_else(|| format!("ApplicationSet {id}"), |parent| self.items[parent].layer.id.node());
        for why in assumed {
            let needs = format!("the files that ApplicationSet {id} looks into: {why}; shown with those that are read");
            self.unknowns.push(Unknown { node: node.clone(), needs, origin: set.origin.clone() });
            let message = format!("ApplicationSet {id}: what its generator looks into has no files here: {why}");
            let problem = Problem::blocks("source-not-at-hand", message).at(set.origin.clone());
            self.assumed.push(problem.hint("fetch it, or clone it and give --source URL=PATH"));
        }
        for fault in generated.faults {
            match fault {
                Fault::Unknown(needs) => {
                    let needs = if parent.is_some() { format!("{needs} for ApplicationSet {id}") } else { needs };
                    self.unknowns.push(Unknown { node: node.clone(), needs, origin: set.origin.clone() });
                }
                Fault::Wrong(why) => {
                    let problem = Problem::blocks("applicationset-invalid", format!("ApplicationSet {id}: {why}"));
                    self.problems.push(problem.at(set.origin.clone()));
                }
            }
        }
        for (application, rollout) in generated.applications {
            self.application(application, parent, Some((id.clone(), rollout)));
        }
        Ok(())
    }

    /// What Argo CD waits for before it applies each Application: its neighbours in the step before, in the same parent, or in the
    /// progressive sync of the same set. A set itself is healthy when it has made its Applications (`resource_customizations` in argo-cd,
    /// ApplicationSet), so that these hold nobody back but each other.
    fn order(&self, layers: &mut [ReadLayer]) {
        let mut changes: Vec<(usize, Application)> = Vec::new();
        let parents: BTreeSet<Option<LayerId>> = layers.iter().map(|read| read.layer.parent.clone()).collect();
        for parent in parents {
            let objects =
                parent.as_ref().and_then(|id| layers.iter().find(|read| read.layer.id == *id)).map_or(&[][..], |read| &read.objects);
            let steps: BTreeSet<Step> = objects.iter().filter_map(step).collect();
            // Position, step, and line of each child; roots have no order among themselves.
            let mut children: Vec<(usize, Option<Step>, Option<usize>)> = Vec::new();
            for (at, read) in layers.iter().enumerate().filter(|(_, read)| read.layer.parent == parent) {
                let Some(application) = &read.layer.spec.application else { continue };
                let (carrier, kind, rolling) = match &application.set {
                    Some((set, Some(Rollout::Step(step)))) => (set, "ApplicationSet", Some(*step)),
                    Some((set, _)) => (set, "ApplicationSet", None),
                    None => (&read.layer.id, "Application", None),
                };
                let is_it = |object: &&Resource| object.kind() == kind && object.name() == carrier.name;
                children.push((at, objects.iter().find(is_it).and_then(step), rolling));
            }
            for (at, own, rolling) in &children {
                let Some(application) = &layers[*at].layer.spec.application else { continue };
                let mut application = (**application).clone();
                if let Some(own) = own {
                    application.level = u32::try_from(steps.range(..own).count()).unwrap_or(u32::MAX);
                    if application.set.is_some() && layers[*at].layer.declaration.annotation(WAVE).is_none() {
                        application.wave = own.wave;
                    }
                }
                let holds = |other: usize| layers[other].layer.spec.application.as_ref().is_some_and(|other| other.set.is_none());
                let direct = children.iter().filter(|(other, ..)| holds(*other)).filter_map(|(_, step, _)| *step);
                let before = direct.filter(|step| own.is_some_and(|own| *step < own)).max();
                let earlier = children
                    .iter()
                    .filter_map(|(other, _, step)| {
                        (*step).filter(|step| is_same_set(layers, *at, *other) && rolling.is_some_and(|own| *step < own))
                    })
                    .max();
                for (other, step, rolled) in &children {
                    let by_set = earlier.is_some() && *rolled == earlier && is_same_set(layers, *at, *other);
                    let reason = match (by_set, own) {
                        (true, _) => {
                            format!("step {} of the progressive sync before step {}", rolled.unwrap_or(0) + 1, rolling.unwrap_or(0) + 1)
                        }
                        (false, Some(own)) if before.is_some() && *step == before && holds(*other) => match step {
                            Some(step) if step.phase == own.phase => format!("{step} before {}", own.wave),
                            Some(step) => format!("{step} before {own}"),
                            None => continue,
                        },
                        _ => continue,
                    };
                    let id = layers[*other].layer.id.clone();
                    application.after.push(After { id, reason, origin: self.line_of_wave(&layers[*at].layer) });
                }
                changes.push((*at, application));
            }
        }
        for (at, application) in changes {
            layers[at].layer.spec.application = Some(Arc::new(application));
        }
    }

    /// Where the sync wave of an Application is written, else the Application.
    fn line_of_wave(&self, layer: &Layer) -> Option<Origin> {
        let origin = layer.declaration.origin.clone()?;
        let parent = layer.parent.as_ref().and_then(|parent| self.ids.get(parent));
        let files = parent.and_then(|parent| self.items.get(*parent)).and_then(|item| item.files.as_ref());
        let text = files.and_then(|files| files.text_of(&origin.file)).or_else(|| self.sources.text(&origin.file))?;
        let end =
            text.lines().skip(origin.line as usize).position(|line| line.starts_with("---")).map(|length| origin.line as usize + length);
        let line = origins::line_with(&text, origin.line, WAVE).filter(|line| end.is_none_or(|end| *line as usize <= end));
        Some(Origin { line: line.unwrap_or(origin.line), file: origin.file })
    }
}

const WAVE: &str = "argocd.argoproj.io/sync-wave";

fn is_same_set(layers: &[ReadLayer], one: usize, other: usize) -> bool {
    let set = |at: usize| layers[at].layer.spec.application.as_ref().and_then(|application| application.set.as_ref()).map(|(set, _)| set);
    set(one).is_some() && set(one) == set(other)
}

/// Whether a declaration is one that is known already: an Application may hold itself; what all began with may be declared further down once
/// more, and so may the set that it comes from.
fn is_again(known: &Layer, child: &Layer) -> bool {
    let set = |layer: &Layer| layer.spec.application.as_ref().and_then(|application| application.set.as_ref()).map(|(set, _)| set.clone());
    let is_below_root = known.parent.is_none() && child.parent.is_some();
    match (set(known), set(child)) {
        (None, None) => known.parent.is_none() || known.parent == child.parent,
        (None, Some(_)) => is_below_root,
        (Some(known_set), Some(set)) => {
            known_set == set && known.declaration.origin.is_some() && known.declaration.origin == child.declaration.origin
        }
        (Some(_), None) => false,
    }
}

/// A chart of a registry for which a clone is given: its folder there, where it has one.
fn at_hand(source: &Source, files: &super::Files) -> Source {
    let mut source = source.clone();
    if let Some(chart) = &source.chart {
        source.path = Some(if files.root.join(chart).is_dir() { chart.clone() } else { String::new() });
    }
    source
}

/// Gives each object that names no namespace the destination's, and takes it from those that live in none, as Argo CD applies them.
fn name_spaces(layers: &mut [ReadLayer]) {
    let mut scopes = Scopes::default();
    layers.iter().flat_map(|read| &read.objects).for_each(|object| scopes.declare(object));
    for read in layers {
        let Some(application) = &read.layer.spec.application else { continue };
        for object in &mut read.objects {
            let is_bare = object.namespace().is_none() && !application.namespace.is_empty();
            let is_namespaced = scopes.is_namespaced(object);
            let Some(metadata) = object.value.get_mut("metadata").and_then(serde_json::Value::as_object_mut) else { continue };
            if !is_namespaced {
                metadata.remove("namespace");
            } else if is_bare {
                metadata.insert("namespace".to_owned(), application.namespace.clone().into());
            }
        }
    }
}

/// Repositories as generators see them.
struct Clones<'s> {
    sources: &'s mut Sources,
    namespace: &'s str,
    /// Files that stand for others.
    assumed: BTreeSet<String>,
    failed: Option<ReadError>,
}

impl Clones<'_> {
    fn find(&mut self, url: &str, revision: &str) -> Result<Arc<super::Files>, String> {
        let source = Source { repo_url: url.to_owned(), target_revision: revision.to_owned(), ..Source::default() };
        let id = source.id(self.namespace);
        self.sources.declare_as(&id, source.declaration(self.namespace));
        match self.sources.find(&id) {
            Ok(Found::Files(files)) => {
                self.assumed.extend(files.assumed.iter().cloned());
                Ok(files)
            }
            Ok(Found::Elsewhere(why) | Found::Wrong(why)) => Err(why),
            Ok(Found::NotYet) => Err("nothing declares it".to_owned()),
            Err(error) => {
                let why = error.to_string();
                self.failed = Some(error);
                Err(why)
            }
        }
    }
}

impl Repositories for Clones<'_> {
    fn files(&mut self, url: &str, revision: &str) -> Result<Vec<String>, String> {
        self.find(url, revision).map(|files| files.list().to_vec())
    }

    fn text(&mut self, url: &str, revision: &str, path: &str) -> Option<String> {
        self.find(url, revision).ok().and_then(|files| std::fs::read_to_string(files.root.join(path)).ok())
    }
}
