//! Order that nobody declared but the cluster needs: definitions before objects, namespaces before what is in them, variables and
//! sources before the layers that use them.

use super::{Constraint, Edge};
use crate::layers::{LayerId, SourceId};
use crate::read::{ReadLayer, Reading};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What layers offer, by name.
#[derive(Default)]
struct Offers<'a> {
    definitions: HashMap<(String, String), Vec<(usize, String)>>,
    namespaces: HashMap<&'a str, Vec<usize>>,
    data: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    sources: HashMap<SourceId, Vec<usize>>,
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
    let mut add = |from: &[usize], to: usize, reason: String, at: Option<crate::problem::Origin>| {
        // Where several layers declare the same, the first one to start is enough; where the layer itself does, none is needed.
        if from.contains(&to) {
            return;
        }
        let Some(from) = from.iter().copied().min_by_key(|from| (waves[*from], *from)) else { return };
        if !ancestors.leads(from, to) {
            let edge = Edge {
                from: layers[from].layer.id.node(),
                to: layers[to].layer.id.node(),
                constraint: Constraint::AppliedBeforeStart,
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
                    add(from, to, format!("{} {}/{}", id.0, id.1, id.2), reference.origin.clone());
                }
            }
        }
        // The entry's source is there before the first layer: that is how the agent starts.
        if layer.source != entry.source
            && let Some(from) = offers.sources.get(&layer.source)
        {
            add(from, to, format!("source {}", layer.source), layer.declaration.origin.clone());
        }
        // What another cluster holds is not ordered by this one.
        if layer.spec.kube_config.is_some() {
            continue;
        }
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for object in &read.objects {
            if seen.insert((object.group(), object.kind()))
                && let Some(definitions) = offers.definitions.get(&(object.group().to_owned(), object.kind().to_owned()))
            {
                let from: Vec<usize> = definitions.iter().map(|(from, _)| *from).collect();
                add(&from, to, format!("CustomResourceDefinition {}", definitions[0].1), object.origin.clone());
            }
            if let Some(namespace) = object.namespace()
                && !given(namespace)
                && seen.insert(("", namespace))
                && let Some(from) = offers.namespaces.get(namespace)
            {
                add(from, to, format!("Namespace {namespace}"), object.origin.clone());
            }
        }
    }
    found.into_values().collect()
}

fn offers(reading: &Reading) -> Offers<'_> {
    let mut offers = Offers::default();
    // What is not applied here offers nothing here.
    let applied = reading.layers.iter().enumerate().filter(|(_, read)| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    for (index, read) in applied {
        for object in &read.objects {
            let namespace = object.namespace().unwrap_or("default");
            match (object.group(), object.kind()) {
                ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                    let id = (object.text("/spec/group").to_owned(), object.text("/spec/names/kind").to_owned());
                    offers.definitions.entry(id).or_default().push((index, object.name().to_owned()));
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
                _ => {}
            }
        }
    }
    offers
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
