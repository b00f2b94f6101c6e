//! The recursion: a layer is rendered as soon as its source is at hand, gets its variables as soon as those are known, and the
//! Kustomizations among its objects are the next layers. Rendering runs on all cores; everything else is decided here, in one thread.

mod argo;
mod explain;
mod operator;
pub(super) mod queue;

pub(crate) use argo::Roots;

use super::sources::{Files, Found, Sources};
use super::variables::{Fault, Known, apply, undefined, variables};
use super::{ReadError, ReadLayer, SecretValues, Sets, origins};
use crate::layers::argo::Home;
use crate::layers::flux::{Layer, is_kustomization, layer};
use crate::layers::operator::{Providers, copied_from, is_provider, is_resource_set};
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity, Unknown, nearest};
use crate::render::{RenderError, Rendered, Renderer, Request};
use explain::explain;
use queue::{Answer, Job, Queue};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How far a layer is.
enum State {
    /// Its source is not known yet.
    Source,
    /// A worker has it.
    Rendering,
    /// Rendered; waits for ConfigMaps and Secrets.
    Variables(Vec<Resource>),
    /// Over.
    Done,
}

struct Item {
    layer: Layer,
    state: State,
    files: Option<Arc<Files>>,
    /// Those of an Application's sources that are rendered.
    parts: Vec<Arc<Files>>,
    objects: Vec<Resource>,
    rendered: bool,
    /// Files are missing: not all of its objects are known.
    partial: bool,
    /// How often the entry layer was rendered again because it changes itself.
    again: u32,
}

pub(crate) struct Walk<'a> {
    pub(crate) sources: &'a mut Sources,
    pub(crate) renderer: &'a Renderer,
    pub(crate) secrets: &'a SecretValues,
    pub(crate) known: Known,
    pub(crate) problems: Vec<Problem>,
    pub(crate) unknowns: Vec<Unknown>,
    /// Files that stand for others, as problems of a run.
    pub(crate) assumed: Vec<Problem>,
    /// The Argo CD whose Applications are read; none for Flux.
    home: Option<Home>,
    items: Vec<Item>,
    ids: HashMap<LayerId, usize>,
    /// ResourceSets whose inputs are not known yet, with the layer that holds each.
    sets: Vec<(usize, Resource)>,
    providers: Providers,
    /// What the sets give.
    pub(crate) made: Sets,
    /// Copies of what nobody has declared yet.
    copies: Vec<operator::Copy>,
    /// By kind, namespace and name.
    lacking: BTreeMap<(String, String, String), Lack>,
}

/// An object that variables should come from.
#[derive(Default)]
struct Lack {
    origin: Option<Origin>,
    layers: Vec<LayerId>,
    /// Variables that those layers have no value for.
    names: BTreeSet<String>,
    /// A layer that needs it is the one that declares it.
    own: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(sources: &'a mut Sources, renderer: &'a Renderer, secrets: &'a SecretValues, known: Known) -> Self {
        Self {
            sources,
            renderer,
            secrets,
            known,
            problems: Vec::new(),
            unknowns: Vec::new(),
            assumed: Vec::new(),
            home: None,
            items: Vec::new(),
            ids: HashMap::new(),
            sets: Vec::new(),
            providers: Providers::new(),
            made: Sets::new(),
            copies: Vec::new(),
            lacking: BTreeMap::new(),
        }
    }

    /// What ConfigMaps and Secrets hold, as far as it was learnt on the way.
    pub(crate) fn into_known(self) -> Known {
        self.known
    }

    /// Walks from the entry layer of Flux to the end.
    pub(crate) fn run(&mut self, entry: Layer) -> Result<Vec<ReadLayer>, ReadError> {
        self.add(entry);
        self.walk()
    }

    fn walk(&mut self) -> Result<Vec<ReadLayer>, ReadError> {
        queue::with_workers(self.renderer, |queue| self.drive(queue))?;
        let items = std::mem::take(&mut self.items);
        Ok(items.into_iter().map(|item| ReadLayer { layer: item.layer, rendered: item.rendered, objects: item.objects }).collect())
    }

    fn drive(&mut self, queue: &Queue) -> Result<(), ReadError> {
        loop {
            let mut moved = self.start(queue)?;
            for (index, answer) in queue.answers() {
                match answer {
                    Answer::Layer(answer) => self.take(index, answer),
                    Answer::Application(answers) => self.take_application(index, answers)?,
                }
                moved = true;
            }
            moved |= self.finish_ready(false);
            moved |= self.resource_sets(false);
            if moved {
                continue;
            }
            // Nothing moves by itself any more: first what is optional counts as absent, then what is missing.
            if self.finish_ready(true) {
                continue;
            }
            if !self.resource_sets(true) && !self.give_up_sources() {
                self.tell_lacking();
                self.tell_copies();
                return Ok(());
            }
        }
    }

    fn add(&mut self, layer: Layer) {
        self.ids.insert(layer.id.clone(), self.items.len());
        self.items.push(Item {
            layer,
            state: State::Source,
            files: None,
            parts: Vec::new(),
            objects: Vec::new(),
            rendered: false,
            partial: false,
            again: 0,
        });
    }

    /// Hands every layer whose source is at hand to the workers.
    fn start(&mut self, queue: &Queue) -> Result<bool, ReadError> {
        let mut moved = false;
        for index in 0..self.items.len() {
            if !matches!(self.items[index].state, State::Source) {
                continue;
            }
            if self.items[index].layer.spec.application.is_some() {
                self.start_application(index, queue)?;
                moved = true;
                continue;
            }
            let source = self.items[index].layer.source.clone();
            let mut found = self.sources.find(&source)?;
            if matches!(found, Found::Elsewhere(_)) && self.sources.adopt(&source, &self.items[index].layer.spec.path) {
                found = self.sources.find(&source)?;
            }
            match found {
                Found::Files(files) => {
                    self.assume(index, &source, &files);
                    queue.push(index, Job::Layer(Box::new(self.request(index, &files))));
                    self.items[index].files = Some(files);
                    self.items[index].state = State::Rendering;
                }
                Found::NotYet => continue,
                Found::Elsewhere(why) => {
                    let layer = &self.items[index].layer;
                    let mut problem = Problem::blocks(
                        "source-not-at-hand",
                        format!("Kustomization {}: its source {source} has no files here: {why}", layer.id),
                    );
                    let hint = if source.is_packed() {
                        format!("give the folder that is pushed there: --source {source}=FOLDER")
                    } else {
                        format!("clone it and give --source {source}=PATH")
                    };
                    problem = problem.at(layer.declaration.origin.clone()).hint(hint);
                    self.fail(index, problem);
                }
                Found::Wrong(why) => {
                    let layer = &self.items[index].layer;
                    let problem = Problem::blocks(
                        "source-invalid",
                        format!("Kustomization {}: its source {source} cannot be built: {why}", layer.id),
                    );
                    let origin = self
                        .sources
                        .generator(&source)
                        .and_then(|generator| generator.origin.clone())
                        .or_else(|| layer.declaration.origin.clone());
                    self.fail(index, problem.at(origin));
                }
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Takes note of files that stand for others.
    fn assume(&mut self, index: usize, source: &SourceId, files: &Files) {
        let layer = &self.items[index].layer;
        for why in &files.assumed {
            let needs = format!("the files of its source: {why}; shown with those that are read");
            self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: layer.declaration.origin.clone() });
            let message = format!("{} {}: its source {source} has no files here: {why}", layer.kind(), layer.id);
            let problem = Problem::blocks("source-not-at-hand", message).at(layer.declaration.origin.clone());
            self.assumed.push(problem.hint(format!("fetch it, or clone it and give --source {source}=PATH")));
        }
    }

    fn request(&self, index: usize, files: &Files) -> Request {
        let layer = &self.items[index].layer;
        let keys = layer.spec.decryption.as_ref().filter(|decryption| decryption.provider == "sops").map(|decryption| {
            self.secrets.keys(decryption.secret_ref.as_ref().map(|secret| (layer.id.namespace.as_str(), secret.name.as_str())))
        });
        Request { root: files.root.clone(), content: files.content.clone(), spec: layer.spec.clone(), keys }
    }

    fn fail(&mut self, index: usize, problem: Problem) {
        self.problems.push(problem);
        self.items[index].state = State::Done;
    }

    /// A worker's answer.
    fn take(&mut self, index: usize, answer: Result<Rendered, RenderError>) {
        let Some(files) = self.items[index].files.clone() else { return };
        match answer {
            Err(RenderError::Lacking { what }) => {
                let layer = &self.items[index].layer;
                self.unknowns.push(Unknown { node: layer.id.node(), needs: what, origin: layer.declaration.origin.clone() });
                self.items[index].state = State::Done;
            }
            Err(mut error) => {
                let known = if let RenderError::Missing { known, .. } = &mut error { std::mem::take(known) } else { Vec::new() };
                let problem = explain(&self.items[index].layer, &files, error);
                self.fail(index, problem);
                if !known.is_empty() {
                    self.items[index].partial = true;
                    self.items[index].state = State::Variables(self.placed(index, known, &files));
                }
            }
            Ok(rendered) => {
                self.items[index].partial = false;
                if rendered.encrypted {
                    let layer = &self.items[index].layer;
                    let secret = layer.spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref());
                    let needs = match secret {
                        Some(secret) => format!("the key of Secret {}/{} to decrypt its objects", layer.id.namespace, secret.name),
                        None => "a key to decrypt its objects (the controller's own credentials)".to_owned(),
                    };
                    self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: layer.declaration.origin.clone() });
                }
                self.items[index].state = State::Variables(self.placed(index, rendered.resources, &files));
            }
        }
    }

    /// A layer's objects with the places where they stand.
    fn placed(&self, index: usize, mut resources: Vec<Resource>, files: &Files) -> Vec<Resource> {
        let path = crate::render::join("", &self.items[index].layer.spec.path).unwrap_or_default();
        for resource in &mut resources {
            let origin = resource.origin.take().or_else(|| files.origins().find(resource, &path));
            resource.origin = origin.map(|origin| files.shown(&origin));
        }
        resources
    }

    /// Finishes the layers whose variables are known; with `give_up`, one more: what it lacks will not come.
    fn finish_ready(&mut self, give_up: bool) -> bool {
        let mut moved = false;
        let mut relaxed: Option<(usize, bool)> = None;
        for index in 0..self.items.len() {
            if !matches!(self.items[index].state, State::Variables(_)) {
                continue;
            }
            let found = variables(&self.items[index].layer, &self.known);
            let optional_absent = self.items[index].layer.spec.post_build.as_ref().is_some_and(|post_build| {
                post_build.substitute_from.iter().any(|reference| {
                    reference.optional
                        && matches!(self.known.find(&self.items[index].layer.id.namespace, reference), super::variables::Content::Absent)
                })
            });
            if found.missing.is_empty() && !optional_absent {
                self.finish(index);
                moved = true;
            } else if give_up && relaxed.is_none_or(|(_, missing)| missing && found.missing.is_empty()) {
                relaxed = Some((index, !found.missing.is_empty()));
            }
        }
        if let (false, Some((index, _))) = (moved, relaxed) {
            self.finish(index);
            moved = true;
        }
        moved
    }

    fn finish(&mut self, index: usize) {
        let State::Variables(mut resources) = std::mem::replace(&mut self.items[index].state, State::Done) else { return };
        let found = variables(&self.items[index].layer, &self.known);
        let layer = self.items[index].layer.clone();
        for reference in &found.missing {
            let own = resources.iter().any(|resource| resource.kind() == reference.kind && resource.name() == reference.name);
            let id = (reference.kind.clone(), layer.id.namespace.clone(), reference.name.clone());
            let lack = self.lacking.entry(id).or_insert_with(|| Lack {
                origin: reference.origin.clone().or_else(|| layer.declaration.origin.clone()),
                ..Lack::default()
            });
            lack.layers.push(layer.id.clone());
            lack.own |= own;
            lack.names.extend(resources.iter().flat_map(|resource| undefined(resource, &found.values)));
        }
        for reference in &found.opaque {
            let needs = format!("the values of {} {}/{} for its variables", reference.kind, layer.id.namespace, reference.name);
            self.unknowns.push(Unknown { node: layer.id.node(), needs, origin: reference.origin.clone() });
        }
        let certain = found.missing.is_empty() && found.opaque.is_empty();
        for resource in &mut resources {
            let fault = apply(resource, &layer, &found.values);
            match fault {
                // What is missing was already told once.
                Some(Fault::Undefined(names)) if certain => self.undefined(index, resource, &names, &found.values),
                Some(Fault::Bad(why)) => {
                    let message = format!("{} of layer {}: variables cannot be replaced: {why}", resource.id(), layer.id);
                    self.problems.push(Problem::blocks("substitution-invalid", message).at(resource.origin.clone()).hint(
                        "write $${…} where no variable is meant, or set the annotation kustomize.toolkit.fluxcd.io/substitute: disabled",
                    ));
                }
                _ => {}
            }
            common_metadata(resource, &layer);
            self.problems.extend(super::open::names(resource));
        }
        self.items[index].rendered = !self.items[index].partial;
        self.items[index].objects = resources;
        self.accept(index);
    }

    fn undefined(&mut self, index: usize, resource: &Resource, names: &[String], values: &BTreeMap<String, String>) {
        let layer = &self.items[index].layer;
        for name in names {
            let message = format!("{} of layer {}: variable {name} is not defined", resource.id(), layer.id);
            let near = nearest(name, values.keys().map(String::as_str));
            let hint = match near.first() {
                _ if name.starts_with(|c: char| c.is_ascii_digit()) => {
                    format!(
                        "write $${{{name}}} where a script's own is meant, or set the annotation kustomize.toolkit.fluxcd.io/substitute: disabled"
                    )
                }
                Some(near) => format!("did you mean {near}? Else define {name}, or give it a default: ${{{name}:=…}}"),
                None => format!(
                    "define {name} in postBuild.substitute or in a ConfigMap of substituteFrom, or give it a default: ${{{name}:=…}}"
                ),
            };
            let mut problem = Problem::blocks("variable-undefined", message).hint(hint);
            problem.origin = resource.origin.clone().map(|origin| self.line_of(index, origin, &format!("${{{name}")));
            self.problems.push(problem);
        }
    }

    /// The line at or below an origin that holds a text.
    fn line_of(&self, index: usize, origin: Origin, wanted: &str) -> Origin {
        let text = self.items[index].files.as_ref().and_then(|files| files.text_of(&origin.file));
        match text.and_then(|text| origins::line_with(&text, origin.line, wanted)) {
            Some(line) => Origin { file: origin.file, line },
            None => origin,
        }
    }

    /// Takes note of what a finished layer declares.
    fn accept(&mut self, index: usize) {
        let objects = std::mem::take(&mut self.items[index].objects);
        let own = self.items[index].layer.clone();
        let applied = !own.spec.suspend && own.spec.kube_config.is_none();
        for resource in objects.iter().filter(|_| applied) {
            self.sources.declare(resource);
            self.known.declare(resource);
        }
        // A layer that changes itself is rendered again, and only then are its children what they are.
        let is_itself = |resource: &&Resource| {
            is_kustomization(resource) && LayerId::new(resource.namespace().unwrap_or("default"), resource.name()) == own.id
        };
        if let Some(itself) = objects.iter().find(is_itself).filter(|_| applied) {
            self.child(index, itself);
            if matches!(self.items[index].state, State::Source) {
                return;
            }
        }
        for resource in objects.iter().filter(|_| applied) {
            if !is_itself(&resource) {
                self.takes(index, resource);
            }
        }
        // The entry layer may have been rendered again because of itself.
        if matches!(self.items[index].state, State::Done) {
            self.items[index].objects = objects;
        }
    }

    /// Takes an object of a layer, or of a set in it, that gives layers or inputs.
    fn takes(&mut self, index: usize, resource: &Resource) {
        if is_kustomization(resource) {
            self.child(index, resource);
        } else if is_resource_set(resource) {
            self.sets.push((index, resource.clone()));
        } else if is_provider(resource) {
            let namespace = resource.namespace().unwrap_or("default").to_owned();
            self.providers.insert((namespace, resource.name().to_owned()), resource.clone());
        }
    }

    fn child(&mut self, parent: usize, resource: &Resource) {
        let parent_id = self.items[parent].layer.id.clone();
        let mut child = match layer(resource.clone(), Some(parent_id.clone())) {
            Ok(child) => child,
            Err(problem) => return self.problems.push(problem),
        };
        let text = resource.origin.as_ref().and_then(|origin| self.items[parent].files.as_ref()?.text_of(&origin.file));
        if let Some(text) = text {
            origins::entries(&mut child, &text);
        }
        match self.ids.get(&child.id).copied() {
            None => self.add(child),
            // The entry layer declares itself, often with patches that only its own rendering applies.
            Some(known) if known == parent => {
                child.parent = None;
                let before = &self.items[known].layer;
                let same = render_inputs(before) == render_inputs(&child);
                self.items[known].layer = child;
                if !same && self.items[known].again < 3 {
                    self.items[known].again += 1;
                    self.items[known].state = State::Source;
                }
            }
            // A declaration further down, of the layer that all began with.
            Some(0) => {}
            Some(known) => {
                let other = self.items[known].layer.parent.as_ref().map(ToString::to_string).unwrap_or_default();
                if other == parent_id.to_string() {
                    return;
                }
                let message =
                    format!("Kustomization {}: is declared by layer {parent_id} and by layer {other}; the last one applied wins", child.id);
                let mut problem = Problem::blocks("layer-twice", message).at(resource.origin.clone());
                problem.severity = Severity::Risk;
                self.problems.push(problem);
            }
        }
    }

    /// One problem for each object that variables should come from and that nothing declares.
    fn tell_lacking(&mut self) {
        for ((kind, namespace, name), lack) in std::mem::take(&mut self.lacking) {
            let mut layers: Vec<String> = lack.layers.iter().map(ToString::to_string).collect();
            layers.sort();
            let who = match layers.as_slice() {
                [only] => format!("layer {only} takes"),
                several => format!("{} layers take", several.len()),
            };
            let copied = self.copies.iter().find(|copy| copy.is((&kind, &namespace, &name)));
            let from = copied.and_then(|copy| copied_from(&copy.resource)).map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
            let why = match &from {
                Some((namespace, name)) => {
                    format!("it is a copy of {kind} {namespace}/{name}, which neither Git nor the environment declares")
                }
                None if lack.own => "only the layer itself declares it, so that a first start would wait for it for ever".to_owned(),
                None => "neither Git nor the environment declares it".to_owned(),
            };
            let names: Vec<String> = lack.names.iter().map(|name| format!("{name}: \"…\"")).collect();
            let names = if names.is_empty() { "…".to_owned() } else { names.join(", ") };
            let (at, called) = from.unwrap_or_else(|| (namespace.clone(), name.clone()));
            let hint = format!(
                "add to spec.variables of blackstart.yaml: {{kind: {kind}, namespace: {at}, name: {called}, data: {{{names}}}}} (those that it holds)"
            );
            let mut message = format!("{kind} {namespace}/{name}: {who} variables from it, but {why}");
            if layers.len() > 1 {
                message = format!("{message} ({})", layers.join(", "));
            }
            self.problems.push(Problem::blocks("variables-missing", message).at(lack.origin).hint(hint));
        }
    }

    /// What has no source after everything else was read.
    fn give_up_sources(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.items.len() {
            if !matches!(self.items[index].state, State::Source) {
                continue;
            }
            let layer = &self.items[index].layer;
            let declared: Vec<String> = self.sources.declared().map(ToString::to_string).collect();
            let near = nearest(&layer.source.to_string(), declared.iter().map(String::as_str));
            let hint = match near.first() {
                Some(near) => format!("did you mean {near}? Else give --source {}=PATH", layer.source),
                None => format!("declare it, or give --source {}=PATH", layer.source),
            };
            let message = format!("Kustomization {}: nothing declares its source {}", layer.id, layer.source);
            let problem = Problem::blocks("source-missing", message).at(layer.declaration.origin.clone()).hint(hint);
            self.fail(index, problem);
            moved = true;
        }
        moved
    }
}

/// Everything of a layer that its rendering depends on.
fn render_inputs(layer: &Layer) -> serde_json::Value {
    let mut spec = layer.declaration.value.get("spec").cloned().unwrap_or_default();
    if let Some(map) = spec.as_object_mut() {
        map.retain(|key, value| {
            let order_only = matches!(
                key.as_str(),
                "interval" | "timeout" | "retryInterval" | "prune" | "wait" | "dependsOn" | "healthChecks" | "force"
            );
            !order_only && !value.is_null()
        });
        if let Some(path) = map.get("path").and_then(serde_json::Value::as_str).and_then(|path| crate::render::join("", path)) {
            map.insert("path".to_owned(), path.into());
        }
    }
    spec
}

/// Labels and annotations that the controller sets on all objects after the build.
fn common_metadata(resource: &mut Resource, layer: &Layer) {
    let Some(common) = &layer.spec.common_metadata else { return };
    for (key, wanted) in [("labels", &common.labels), ("annotations", &common.annotations)] {
        let Some(metadata) = resource.value.get_mut("metadata").and_then(serde_json::Value::as_object_mut) else { return };
        if !wanted.is_empty() {
            let map = metadata.entry(key).or_insert_with(|| serde_json::json!({}));
            if let Some(map) = map.as_object_mut() {
                map.extend(wanted.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
            }
        }
    }
}
