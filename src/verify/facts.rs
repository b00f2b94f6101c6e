//! What all rules look up: layers by name, objects that are applied here, what brings which kind and namespace.

use super::simulate::{Start, start};
use super::{Subject, charts, objects, rules};
use crate::environment::Environment;
use crate::health::is_own_group;
use crate::layers::LayerId;
use crate::layers::argo::is_application;
use crate::layers::flux::{Layer, is_installed};
use crate::layers::operator::is_resource_set;
use crate::layers::scope::Scopes;
use crate::manifest::{ObjectId, Resource};
use crate::plan::composite_kinds;
use crate::problem::Problem;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The index.
pub(crate) struct Facts<'a> {
    pub(crate) subject: Subject<'a>,
    by_id: HashMap<&'a LayerId, usize>,
    given: BTreeSet<&'a str>,
    /// What brings a kind: (layer, what brings it there).
    pub(crate) kinds: BTreeMap<Kind, Vec<Provider<'a>>>,
    /// Layers that declare a namespace, or have it made by a HelmRelease.
    pub(crate) namespaces: BTreeMap<&'a str, Vec<usize>>,
    /// By name: objects of layers that are applied here, and of charts in Git.
    named: HashMap<&'a str, Vec<(usize, &'a Resource)>>,
    scopes: Scopes,
    /// The simulated start.
    pub(crate) start: Start<'a>,
}

/// Group and kind.
pub(crate) type Kind = (String, String);

/// What brings a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider<'a> {
    pub(crate) layer: usize,
    /// A definition, or what makes one: a HelmRelease, a ResourceSet, a CompositeResourceDefinition of Crossplane.
    pub(crate) object: &'a Resource,
}

impl Provider<'_> {
    /// Whether it is the definition itself, which is applied before everything else of its layer; Argo CD does so with those of charts too.
    pub(crate) fn is_definition(&self) -> bool {
        self.object.kind() == "CustomResourceDefinition" || is_application(self.object)
    }

    /// As in messages.
    pub(crate) fn words(&self) -> String {
        let id = self.object.id();
        if objects::is_release(self.object) { format!("the chart of {id}") } else { id.to_string() }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn new(subject: Subject<'a>) -> Self {
        let by_id = subject.reading.layers.iter().enumerate().map(|(position, read)| (&read.layer.id, position)).collect();
        let (given, kinds, namespaces) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut scopes = Scopes::default();
        subject.shipped.iter().for_each(|(_, definition)| scopes.declare(definition));
        let mut facts = Self { subject, by_id, given, kinds, namespaces, named: HashMap::new(), scopes, start: Start::default() };
        for (layer, object) in facts.with_charts().collect::<Vec<_>>() {
            facts.scopes.declare(object);
            facts.named.entry(object.name()).or_default().push((layer, object));
        }
        facts.given = facts.given_by_eks();
        facts.kinds = facts.providers();
        facts.given_by_argo();
        facts.namespaces = facts.namespaces();
        facts.start = start(&facts);
        facts
    }

    pub(crate) fn environment(&self) -> &'a Environment {
        self.subject.environment
    }

    pub(crate) fn layer(&self, position: usize) -> &'a Layer {
        &self.subject.reading.layers[position].layer
    }

    pub(crate) fn by_id(&self, id: &LayerId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// By the id of its node.
    pub(crate) fn by_node(&self, node: &str) -> Option<usize> {
        let (namespace, name) = node.strip_prefix("layer/")?.split_once('/')?;
        self.by_id(&LayerId::new(namespace, name))
    }

    /// Whether this run applies it to this cluster.
    pub(crate) fn is_applied(&self, position: usize) -> bool {
        let spec = &self.layer(position).spec;
        !spec.suspend && spec.kube_config.is_none()
    }

    /// Layers that this run applies to this cluster.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (usize, &'a Layer, &'a [Resource])> {
        let all = self.subject.reading.layers.iter().enumerate();
        all.filter(|(position, _)| self.is_applied(*position)).map(|(position, read)| (position, &read.layer, read.objects.as_slice()))
    }

    /// Their objects, with those that their ResourceSets give.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (usize, &'a Resource)> {
        let reading = self.subject.reading;
        self.layers().flat_map(move |(position, ..)| reading.with_sets(&reading.layers[position]).map(move |object| (position, object)))
    }

    /// The same with those that charts in Git make.
    pub(crate) fn with_charts(&self) -> impl Iterator<Item = (usize, &'a Resource)> {
        let reading = self.subject.reading;
        self.layers().flat_map(move |(position, ..)| reading.with_charts(&reading.layers[position]).map(move |object| (position, object)))
    }

    /// Whether the objects of a layer are known.
    pub(crate) fn is_read(&self, position: usize) -> bool {
        self.subject.reading.layers[position].rendered || !self.is_applied(position)
    }

    /// Whether all layers are known; what is missing may stand in one that is not.
    pub(crate) fn is_complete(&self) -> bool {
        (0..self.subject.reading.layers.len()).all(|position| self.is_read(position))
    }

    /// Whether a layer's objects cannot be told from Git, for no fault of the layer: nothing was looked for there.
    pub(crate) fn is_unknown(&self, position: usize) -> bool {
        let layer = self.layer(position);
        let (node, named) = (layer.id.node(), format!("{} {}: ", layer.kind(), layer.id));
        let is_absent = |problem: &Problem| rules::IS_ABSENT.contains(&problem.rule) && problem.message.starts_with(&named);
        let plan = self.subject.plan;
        !self.is_read(position) && (plan.unknowns.iter().any(|unknown| unknown.node == node) || plan.problems.iter().any(is_absent))
    }

    /// Layers that take their files from a source; none for the one that the agent starts from, since every start opens that first.
    pub(crate) fn of_source(&self, source: &Resource) -> Vec<usize> {
        let entry = self.subject.reading.layers.iter().find(|read| read.layer.id == self.subject.reading.entry);
        let is_its = |layer: &Layer| {
            let id = &layer.source;
            entry.is_none_or(|entry| entry.layer.source != *id)
                && id.kind == source.kind()
                && id.name == source.name()
                && Some(id.namespace.as_str()) == source.namespace()
        };
        self.layers().filter(|(_, layer, _)| is_its(layer)).map(|(position, ..)| position).collect()
    }

    /// Whether something else than a layer's objects may make an object of a kind: a ResourceSet of the Flux Operator, or a policy of Kyverno.
    pub(crate) fn may_be_made(&self, kind: &str) -> bool {
        self.objects().any(|(_, object)| match (object.group(), object.kind()) {
            ("fluxcd.controlplane.io", "ResourceSet") => templates(object, kind),
            ("kyverno.io", _) => generates(object, kind),
            ("policies.kyverno.io", "GeneratingPolicy") => object.value.get("spec").is_some_and(|spec| spec.to_string().contains(kind)),
            _ => false,
        })
    }

    /// Objects of a name, each with the layer that holds it or its chart's release.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = (usize, &'a Resource)> {
        self.named.get(name).into_iter().flatten().copied()
    }

    /// HelmReleases that are installed here.
    pub(crate) fn releases(&self) -> impl Iterator<Item = (usize, &'a Resource)> {
        self.objects().filter(|(_, object)| is_installed(object))
    }

    /// Whether the chart of a release could not be looked into: it may make anything.
    pub(crate) fn is_closed(&self, release: &Resource) -> bool {
        !self.subject.reading.charts.contains_key(&release.id())
    }

    /// The namespace that an object lives in: of a kind that has none, the API server drops what is written.
    pub(crate) fn namespace(&self, object: &'a Resource) -> Option<&'a str> {
        object.namespace().filter(|_| self.scopes.is_namespaced(object))
    }

    /// Whether an object must name a namespace, as Kubernetes, the agent, or a definition at hand says.
    pub(crate) fn needs_namespace(&self, object: &Resource) -> bool {
        let group = object.group();
        let is_known = is_own_group(group) || group.ends_with(".fluxcd.io") || group == "fluxcd.controlplane.io";
        (is_known || self.scopes.is_defined_so(object)) && self.scopes.is_namespaced(object)
    }

    /// Layers whose readiness waits for an object: its own one with `wait`, and those whose health checks name it.
    pub(crate) fn awaiting(&self, holder: usize, object: &Resource) -> Vec<usize> {
        let names = |layer: &Layer| layer.spec.health_checks.iter().any(|check| objects::is_checked(check, &layer.id, object));
        let waits = |(position, layer): (usize, &'a Layer)| if layer.spec.wait { position == holder } else { names(layer) };
        self.layers().filter(|(position, layer, _)| waits((*position, layer))).map(|(position, ..)| position).collect()
    }

    /// An object by its id, in a layer or among the cloud resources.
    pub(crate) fn object(&self, layer: Option<&LayerId>, id: &ObjectId) -> Option<&'a Resource> {
        let is = |object: &&Resource| object.kind() == id.kind && object.name() == id.name && object.id() == *id;
        match layer.and_then(|layer| self.by_id(layer)) {
            Some(position) => self.subject.reading.with_sets(&self.subject.reading.layers[position]).find(is),
            None => self.subject.reading.infrastructure.iter().find(is).or_else(|| self.objects().map(|(_, object)| object).find(is)),
        }
    }

    /// Everything that may carry an annotation for `verify`.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &'a Resource> {
        let entry = self.subject.reading.layers.iter().take(1).map(|read| &read.layer.declaration);
        let own = entry.filter(|entry| !self.objects().any(|(_, object)| object.id() == entry.id()));
        let all = self.objects().map(|(_, object)| object).chain(&self.subject.reading.infrastructure).chain(own);
        all.filter(|object| object.annotation(super::ANNOTATION).is_some())
    }

    /// Whether the agent's own installation brings a group, or Kubernetes itself, or what an EKS cluster comes with.
    pub(crate) fn is_given(&self, group: &str) -> bool {
        is_own_group(group) || group.ends_with(".fluxcd.io") || group == "fluxcd.controlplane.io" || self.given.contains(group)
    }

    /// Whether Argo CD's own installation brings a kind. Other tools of the Argo project have kinds of that group too.
    pub(crate) fn is_of_argo(&self, group: &str, kind: &str) -> bool {
        group == "argoproj.io"
            && ["Application", "ApplicationSet", "AppProject"].contains(&kind)
            && self.subject.reading.layers.iter().all(|read| read.layer.spec.application.is_some())
    }

    /// Nobody waits for those, although Argo CD may install itself again.
    fn given_by_argo(&mut self) {
        let mut kinds = std::mem::take(&mut self.kinds);
        kinds.retain(|(group, kind), _| !self.is_of_argo(group, kind));
        self.kinds = kinds;
    }

    /// Groups that come with an EKS cluster: always, by Auto Mode, by its add-ons, by its ACK capability.
    fn given_by_eks(&self) -> BTreeSet<&'a str> {
        let all = || self.objects().map(|(_, object)| object).chain(&self.subject.reading.infrastructure);
        let eks = || all().filter(|object| object.group() == "eks.services.k8s.aws");
        let mut given = BTreeSet::new();
        if self.environment().spec.cluster.as_ref().is_some_and(|cluster| cluster.eks.is_some()) || eks().next().is_some() {
            given.extend(["vpcresources.k8s.aws", "crd.k8s.amazonaws.com", "networking.k8s.aws"]);
        }
        for object in eks() {
            match object.kind() {
                "Cluster" if object.value.pointer("/spec/computeConfig/enabled") == Some(&Value::Bool(true)) => {
                    given.extend(["karpenter.sh", "eks.amazonaws.com"]);
                }
                "Addon" => given.extend(charts::of_addon(object.text("/spec/name"))),
                "Capability" => given.extend(all().map(Resource::group).filter(|group| group.ends_with("services.k8s.aws"))),
                _ => {}
            }
        }
        given
    }

    /// Namespaces that are there without any layer: Kubernetes' own, the agent's, those of the environment's Secrets.
    pub(crate) fn is_given_namespace(&self, namespace: &str) -> bool {
        let spec = &self.environment().spec;
        ["default", "kube-system", "kube-public", "kube-node-lease", "flux-system"].contains(&namespace)
            || self.subject.reading.entry.namespace == namespace
            || spec.secrets.iter().any(|secret| secret.namespace == namespace)
            || spec.variables.iter().any(|given| given.namespace == namespace)
            || spec.outputs.iter().any(|given| given.namespace == namespace)
    }

    fn providers(&self) -> BTreeMap<Kind, Vec<Provider<'a>>> {
        let mut found: BTreeMap<Kind, Vec<Provider<'a>>> = BTreeMap::new();
        for (layer, object) in self.objects().filter(|(_, object)| object.kind() == "CustomResourceDefinition") {
            let kind = (object.text("/spec/group").to_owned(), object.text("/spec/names/kind").to_owned());
            found.entry(kind).or_default().push(Provider { layer, object: self.maker(layer, object) });
        }
        for (layer, object) in self.objects().filter(|(_, object)| objects::is_composite(object)) {
            for kind in composite_kinds(object) {
                found.entry(kind).or_default().push(Provider { layer, object });
            }
        }
        let used: BTreeSet<Kind> = self
            .objects()
            .map(|(_, object)| (object.group().to_owned(), object.kind().to_owned()))
            .filter(|(group, _)| !self.is_given(group))
            .collect();
        for (layer, release) in self.releases() {
            let id = release.id();
            let mut exact = false;
            for (_, definition) in self.subject.shipped.iter().filter(|(by, _)| *by == id) {
                exact = true;
                let kind = (definition.text("/spec/group").to_owned(), definition.text("/spec/names/kind").to_owned());
                found.entry(kind).or_default().push(Provider { layer, object: release });
            }
            let Some(chart) = objects::chart(self, release).filter(|_| !exact && installs_definitions(release)) else { continue };
            for kind in used.iter().filter(|(group, _)| charts::brings(&chart.name, group)) {
                found.entry(kind.clone()).or_default().push(Provider { layer, object: release });
            }
        }
        for (layer, own, _) in self.layers() {
            let charts = own.spec.application.iter().flat_map(|application| &application.charts);
            for (chart, kind) in charts.flat_map(|chart| used.iter().map(move |kind| (chart, kind))) {
                if charts::brings(chart, &kind.0) {
                    found.entry(kind.clone()).or_default().push(Provider { layer, object: &own.declaration });
                }
            }
        }
        found
    }

    /// The ResourceSet of a layer that gives an object, else the object itself.
    fn maker(&self, layer: usize, object: &'a Resource) -> &'a Resource {
        let reading = self.subject.reading;
        if reading.sets.is_empty() {
            return object;
        }
        let gives =
            |set: &&Resource| reading.sets.get(&set.id()).is_some_and(|read| read.objects().any(|given| std::ptr::eq(given, object)));
        reading.with_sets(&reading.layers[layer]).filter(|set| is_resource_set(set)).find(gives).unwrap_or(object)
    }

    fn namespaces(&self) -> BTreeMap<&'a str, Vec<usize>> {
        let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (layer, object) in self.with_charts() {
            if object.kind() == "Namespace" && object.group().is_empty() {
                found.entry(object.name()).or_default().push(layer);
            } else if is_installed(object) && object.value.pointer("/spec/install/createNamespace") == Some(&Value::Bool(true)) {
                found.entry(objects::target(object).unwrap_or_default()).or_default().push(layer);
            }
        }
        for (layer, own, _) in self.layers() {
            let application = own.spec.application.as_ref().filter(|application| application.creates_namespace);
            if let Some(application) = application.filter(|application| !application.namespace.is_empty()) {
                found.entry(&application.namespace).or_default().push(layer);
            }
        }
        found
    }
}

/// Whether a ResourceSet has a template of a kind: as an object, or in the text of all of them; a kind that is an expression may be any.
fn templates(set: &Resource, kind: &str) -> bool {
    let resources = set.value.pointer("/spec/resources").and_then(Value::as_array).into_iter().flatten();
    let mut kinds = resources.filter_map(|resource| resource.get("kind")?.as_str());
    let mut lines =
        set.text("/spec/resourcesTemplate").lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("kind:"));
    let is_it = |text: &str| text.trim().trim_matches(['"', '\'']) == kind || text.contains("<<");
    kinds.any(is_it) || lines.any(is_it)
}

/// Whether a policy of Kyverno makes objects of a kind: written there, or copied.
fn generates(policy: &Resource, kind: &str) -> bool {
    let rules = policy.value.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| rule.get("generate")).any(|generate| {
        let kinds = generate.pointer("/cloneList/kinds").and_then(Value::as_array).into_iter().flatten();
        let is_it = |text: &str| text.rsplit('/').next() == Some(kind);
        generate.get("kind").into_iter().chain(kinds).filter_map(Value::as_str).any(is_it)
    })
}

/// Whether a HelmRelease leaves the definitions of its chart in (`install.crds`).
fn installs_definitions(release: &Resource) -> bool {
    release.text("/spec/install/crds") != "Skip"
}
