//! Order that nobody declared but the cluster needs: definitions before objects (those that a chart in Git brings too), namespaces before
//! what is in them, webhooks before what they admit, variables and sources before the layers that use them, and all of `needs`.

use super::needs::{self, Needed};
use super::{Constraint, Edge};
use crate::layers::scope::Scopes;
use crate::layers::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::read::{ReadLayer, Reading, charts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What layers offer, by name.
#[derive(Default)]
struct Offers<'a> {
    definitions: HashMap<(String, String), Vec<(usize, String)>>,
    namespaces: HashMap<&'a str, Vec<usize>>,
    data: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    sources: HashMap<SourceId, Vec<usize>>,
    needed: HashMap<Needed, Vec<usize>>,
    /// What webhooks admit.
    admitted: Admitted,
    /// What makes definitions, by group and kind: the layers with a release or a definition of Crossplane, and what it is called.
    made: HashMap<(String, String), Vec<(usize, String)>>,
    scopes: Scopes,
}

/// By group and kind: the layers with a webhook's backend, and its name.
type Admitted = HashMap<(String, String), Vec<(Vec<usize>, String)>>;

/// What is waited for: that the other layer is applied before this one starts, unless said otherwise.
#[derive(Clone, Copy)]
enum Until {
    Applied,
    /// What a controller makes of it is there.
    Ready,
    /// Only this layer's readiness waits.
    Soft,
}

/// How the reason of an edge begins whose maker must be ready before: a definition that something makes, or a webhook.
const MADE: [&str; 3] = ["CustomResourceDefinition ", "CompositeResourceDefinition ", "webhook "];

/// Whether an edge is one of these, so that Flux knows nothing of it.
pub(crate) fn is_implied(edge: &Edge) -> bool {
    let reason = edge.reason.as_str();
    match edge.constraint {
        // A source is looked for by the agent itself until it is there.
        Constraint::AppliedBeforeStart => {
            reason != "declared there"
                && !["source ", "ApplicationSet ", "dependsOn of ", "steps of "].iter().any(|start| reason.starts_with(start))
        }
        Constraint::ReadyBeforeStart => MADE.iter().any(|start| reason.starts_with(start)),
        Constraint::AppliedBeforeReady => true,
        Constraint::ReadyBeforeReady => false,
    }
}

/// All edges that objects imply between layers, each once; none from a layer to itself or to one that it leads to anyway.
pub(crate) fn edges(reading: &Reading, waves: &[u32]) -> Vec<Edge> {
    let layers = &reading.layers;
    let offers = offers(reading);
    let ancestors = Ancestors::new(layers);
    let Some(entry) = layers.iter().map(|read| &read.layer).find(|layer| layer.id == reading.entry) else { return Vec::new() };
    // Kubernetes makes four namespaces itself, the agent comes with its own.
    let given = |namespace: &str| ["default", "kube-system", "kube-public", "kube-node-lease", &entry.id.namespace].contains(&namespace);
    let mut found: BTreeMap<(usize, usize, String), Edge> = BTreeMap::new();
    let mut add = |from: &[usize], to: usize, reason: String, at: Option<crate::problem::Origin>, until: Until| {
        // Where several layers declare the same, the first one to start is enough; where the layer itself does, none is needed.
        if from.contains(&to) {
            return;
        }
        let Some(from) = from.iter().copied().min_by_key(|from| (waves[*from], *from)) else { return };
        if !ancestors.leads(from, to) {
            let edge = Edge {
                from: layers[from].layer.id.node(),
                to: layers[to].layer.id.node(),
                constraint: match until {
                    Until::Applied => Constraint::AppliedBeforeStart,
                    Until::Ready => Constraint::ReadyBeforeStart,
                    Until::Soft => Constraint::AppliedBeforeReady,
                },
                reason: reason.clone(),
                origin: at,
            };
            found.entry((to, from, reason)).or_insert(edge);
        }
    };
    for (to, read) in layers.iter().enumerate().filter(|(_, read)| !read.layer.spec.suspend) {
        let layer = &read.layer;
        if let Some(post_build) = &layer.spec.post_build {
            for reference in &post_build.substitute_from {
                let id = (reference.kind.as_str(), layer.id.namespace.as_str(), reference.name.as_str());
                if let Some(from) = offers.data.get(&id) {
                    add(from, to, format!("{} {}/{}", id.0, id.1, id.2), reference.origin.clone(), Until::Applied);
                }
            }
        }
        // The entry's source is there before the first layer: that is how the agent starts.
        if layer.source != entry.source
            && let Some(from) = offers.sources.get(&layer.source)
        {
            add(from, to, format!("source {}", layer.source), layer.declaration.origin.clone(), Until::Applied);
        }
        // What another cluster holds is not ordered by this one.
        if layer.spec.kube_config.is_some() {
            continue;
        }
        // Argo CD may make the destination's namespace itself.
        let own = layer.spec.application.as_ref().filter(|application| application.creates_namespace);
        let own = own.map_or("", |application| application.namespace.as_str());
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (object, own_until) in objects(reading, read) {
            if seen.insert((object.group(), object.kind())) {
                let kind = (object.group().to_owned(), object.kind().to_owned());
                if let Some(definitions) = offers.definitions.get(&kind) {
                    let from: Vec<usize> = definitions.iter().map(|(from, _)| *from).collect();
                    add(
                        &from,
                        to,
                        format!("CustomResourceDefinition {}", definitions[0].1),
                        object.origin.clone(),
                        own_until.unwrap_or(Until::Applied),
                    );
                } else if let Some(definitions) = offers.made.get(&kind) {
                    let from: Vec<usize> = definitions.iter().map(|(from, _)| *from).collect();
                    add(&from, to, definitions[0].1.clone(), object.origin.clone(), own_until.unwrap_or(Until::Ready));
                }
                for (from, webhook) in offers.admitted.get(&kind).into_iter().flatten() {
                    add(from, to, format!("webhook {webhook} admits {}", kind.1), object.origin.clone(), own_until.unwrap_or(Until::Ready));
                }
            }
            for needed in needs::needs(object) {
                if let Some(from) = offers.needed.get(&needed) {
                    let place = needed.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
                    add(from, to, format!("{} {place}{}", needed.kind, needed.name), object.origin.clone(), Until::Soft);
                }
            }
            if let Some(namespace) = object.namespace().filter(|_| offers.scopes.is_namespaced(object))
                && !given(namespace)
                && namespace != own
                && seen.insert(("", namespace))
                && let Some(from) = offers.namespaces.get(namespace)
            {
                add(from, to, format!("Namespace {namespace}"), object.origin.clone(), own_until.unwrap_or(Until::Applied));
            }
        }
    }
    found.into_values().collect()
}

/// Objects of a layer, and after them those of its ResourceSets: these the operator applies, which tries again until it can, so that only
/// readiness waits for what they need.
fn objects<'r>(reading: &'r Reading, read: &'r ReadLayer) -> impl Iterator<Item = (&'r Resource, Option<Until>)> {
    let given = read.objects.iter().flat_map(|object| reading.given(object));
    read.objects.iter().map(|object| (object, None)).chain(given.map(|object| (object, Some(Until::Soft))))
}

fn offers(reading: &Reading) -> Offers<'_> {
    let mut offers = Offers::default();
    // What is not applied here offers nothing here.
    let applied = reading.layers.iter().enumerate().filter(|(_, read)| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    for (index, read) in applied {
        for needed in reading.with_charts(read).flat_map(needs::offers) {
            offers.needed.entry(needed).or_default().push(index);
        }
        for object in reading.with_sets(read) {
            let namespace = object.namespace().unwrap_or("default");
            match (object.group(), object.kind()) {
                ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                    offers.scopes.declare(object);
                    let id = (object.text("/spec/group").to_owned(), object.text("/spec/names/kind").to_owned());
                    offers.definitions.entry(id).or_default().push((index, object.name().to_owned()));
                }
                ("apiextensions.crossplane.io", "CompositeResourceDefinition") => {
                    for kind in composite_kinds(object) {
                        let called = format!("CompositeResourceDefinition {}", object.name());
                        offers.made.entry(kind).or_default().push((index, called));
                    }
                }
                ("", "Namespace") => offers.namespaces.entry(object.name()).or_default().push(index),
                ("", "ConfigMap" | "Secret") => offers.data.entry((object.kind(), namespace, object.name())).or_default().push(index),
                ("source.toolkit.fluxcd.io", kind) => {
                    let id = SourceId { kind: kind.to_owned(), namespace: namespace.to_owned(), name: object.name().to_owned() };
                    offers.sources.entry(id).or_default().push(index);
                }
                ("source.extensions.fluxcd.io", "ArtifactGenerator") => {
                    let artifacts = object.value.pointer("/spec/artifacts").and_then(serde_json::Value::as_array);
                    for name in artifacts.into_iter().flatten().filter_map(|artifact| artifact.get("name")?.as_str()) {
                        let id = SourceId { kind: "ExternalArtifact".to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
                        offers.sources.entry(id).or_default().push(index);
                    }
                }
                ("helm.toolkit.fluxcd.io", "HelmRelease") => {
                    for definition in charts::definitions_of(reading, object) {
                        offers.scopes.declare(&definition);
                        let id = (definition.text("/spec/group").to_owned(), definition.text("/spec/names/kind").to_owned());
                        let called = format!("CustomResourceDefinition {} of chart {}", definition.name(), object.name());
                        offers.made.entry(id).or_default().push((index, called));
                    }
                }
                _ => {}
            }
        }
    }
    offers.admitted = admitted(reading);
    offers
}

/// Kinds that Crossplane defines once a CompositeResourceDefinition is established: the composite's, and the claim's.
pub(crate) fn composite_kinds(definition: &Resource) -> impl Iterator<Item = (String, String)> {
    let group = definition.text("/spec/group");
    let kinds = ["/spec/names/kind", "/spec/claimNames/kind"].map(|pointer| definition.text(pointer).to_owned());
    kinds.into_iter().filter(|kind| !kind.is_empty()).map(move |kind| (group.to_owned(), kind))
}

/// Kinds of definitions in Git whose objects a webhook must admit: without its backend the API server refuses them.
fn admitted(reading: &Reading) -> Admitted {
    let applied =
        || reading.layers.iter().enumerate().filter(|(_, read)| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    let mut found: Admitted = Admitted::new();
    let texts = |value: &Value, key: &str| -> Vec<String> {
        value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let is_configuration = |object: &&Resource| {
        object.group() == "admissionregistration.k8s.io"
            && ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"].contains(&object.kind())
    };
    let plurals: Vec<(String, String, String)> = applied()
        .flat_map(|(_, read)| reading.with_charts(read))
        .filter(|object| object.kind() == "CustomResourceDefinition")
        .map(|object| {
            (
                object.text("/spec/group").to_owned(),
                object.text("/spec/names/plural").to_owned(),
                object.text("/spec/names/kind").to_owned(),
            )
        })
        .collect();
    for (index, read) in applied() {
        for webhook in
            reading.with_charts(read).filter(is_configuration).filter_map(|object| object.value.get("webhooks")?.as_array()).flatten()
        {
            if webhook.get("failurePolicy").and_then(Value::as_str) == Some("Ignore") {
                continue;
            }
            let text = |pointer: &str| webhook.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (namespace, name) = (text("/clientConfig/service/namespace"), text("/clientConfig/service/name"));
            let is_backend =
                |object: &Resource| object.kind() == "Service" && object.name() == name && object.namespace() == Some(namespace);
            let backends: Vec<usize> = applied().filter(|(_, read)| reading.with_charts(read).any(is_backend)).map(|(at, _)| at).collect();
            let from = if backends.is_empty() { vec![index] } else { backends };
            for rule in webhook.get("rules").and_then(Value::as_array).into_iter().flatten() {
                // Whoever admits everything would hold back everything; only what names its groups is ordered.
                let (groups, resources) = (texts(rule, "apiGroups"), texts(rule, "resources"));
                for (group, plural, kind) in &plurals {
                    if groups.contains(group) && resources.iter().any(|resource| resource == plural || resource == "*") {
                        found.entry((group.clone(), kind.clone())).or_default().push((from.clone(), text("/name").to_owned()));
                    }
                }
            }
        }
    }
    found
}

/// Who declares whom.
struct Ancestors {
    parents: Vec<Option<usize>>,
}

impl Ancestors {
    fn new(layers: &[ReadLayer]) -> Self {
        let index: HashMap<&LayerId, usize> = layers.iter().enumerate().map(|(index, read)| (&read.layer.id, index)).collect();
        let parents = layers.iter().map(|read| read.layer.parent.as_ref().and_then(|parent| index.get(parent).copied())).collect();
        Self { parents }
    }

    /// Whether the first declares the second, or one of those that do.
    fn leads(&self, from: usize, to: usize) -> bool {
        let mut at = to;
        for _ in 0..=self.parents.len() {
            match self.parents[at] {
                Some(parent) if parent == from => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}
