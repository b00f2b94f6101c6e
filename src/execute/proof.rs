//! Whether the agent, when it took over, wrote anything: `spec`, `data` and its entry in `managedFields` of each object before and after.

use crate::agent::MANAGER;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{ObjectId, Resource};
use crate::read::Reading;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What each object was when we wrote it.
#[derive(Debug, Default)]
pub struct Baseline {
    fingerprints: HashMap<ObjectId, u64>,
    /// Objects that two layers declare: the agent writes them in turns, whoever began.
    twice: BTreeSet<ObjectId>,
}

impl Baseline {
    /// For a repository.
    pub fn new(reading: &Reading) -> Self {
        let mut seen = BTreeSet::new();
        let twice = reading.layers.iter().flat_map(|read| &read.objects).map(Resource::id).filter(|id| !seen.insert(id.clone())).collect();
        Self { fingerprints: HashMap::new(), twice }
    }

    /// Notes an object as the server answered.
    pub fn record(&mut self, id: &ObjectId, object: &Value) {
        if !self.twice.contains(id) {
            self.fingerprints.insert(id.clone(), fingerprint(object));
        }
    }

    /// Objects that two layers declare.
    pub fn declared_twice(&self) -> impl Iterator<Item = &ObjectId> {
        self.twice.iter()
    }

    /// The objects that are gone or no longer what they were; one list call a kind.
    pub async fn changed(&self, cluster: &Cluster) -> Result<Vec<ObjectId>, ClusterError> {
        let mut kinds: BTreeMap<(&str, &str), BTreeMap<(Option<&str>, &str), (&ObjectId, u64)>> = BTreeMap::new();
        for (id, print) in &self.fingerprints {
            let objects = kinds.entry((&id.api_version, &id.kind)).or_default();
            objects.insert((id.namespace.as_deref(), &id.name), (id, *print));
        }
        let mut changed = Vec::new();
        for ((api_version, kind), mut expected) in kinds {
            for object in cluster.list(api_version, kind, None, None).await? {
                let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
                let key = (text("/metadata/namespace"), text("/metadata/name").unwrap_or_default());
                if let Some((id, print)) = expected.remove(&key) {
                    if fingerprint(&object) != print {
                        changed.push(id.clone());
                    }
                }
            }
            changed.extend(expected.into_values().map(|(id, _)| id.clone()));
        }
        changed.sort();
        Ok(changed)
    }
}

fn fingerprint(object: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for key in ["spec", "data", "stringData", "rules", "webhooks"] {
        // serde_json keeps keys in order, so equal values print equally.
        object.get(key).map(Value::to_string).hash(&mut hasher);
    }
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let is_apply = entry.get("operation").and_then(Value::as_str) == Some("Apply");
        if is_apply && entry.get("manager").and_then(Value::as_str) == Some(MANAGER) {
            entry.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}
