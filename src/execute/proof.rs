//! Whether the agent, when it took over, wrote anything: `spec`, `data` and its entry in `managedFields` of each object before and after.

use crate::agent::MANAGER;
use crate::cluster::ssa::{self, Fingerprint};
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{ObjectId, Resource};
use crate::read::Reading;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What each object was when we wrote it.
#[derive(Debug, Default)]
pub struct Baseline {
    fingerprints: HashMap<ObjectId, Fingerprint>,
    /// Objects that two layers declare: the agent writes them in turns, whoever began.
    twice: BTreeSet<ObjectId>,
    /// Jobs that Kubernetes removes when they are done (`ttlSecondsAfterFinished`).
    passing: BTreeSet<ObjectId>,
}

impl Baseline {
    /// For a repository.
    pub fn new(reading: &Reading) -> Self {
        let mut seen = BTreeSet::new();
        let twice = reading.layers.iter().flat_map(|read| &read.objects).map(Resource::id).filter(|id| !seen.insert(id.clone())).collect();
        let passes = |object: &&Resource| object.kind() == "Job" && object.value.pointer("/spec/ttlSecondsAfterFinished").is_some();
        let passing = reading.layers.iter().flat_map(|read| &read.objects).filter(passes).map(Resource::id).collect();
        Self { fingerprints: HashMap::new(), twice, passing }
    }

    /// Notes an object as the server answered.
    pub fn record(&mut self, id: &ObjectId, fingerprint: Fingerprint) {
        if !self.twice.contains(id) {
            self.fingerprints.insert(id.clone(), fingerprint);
        }
    }

    /// Objects that may differ from Git or be gone, and nothing is wrong.
    pub fn is_excused(&self, id: &ObjectId) -> bool {
        self.twice.contains(id) || self.passing.contains(id)
    }

    /// Objects that two layers declare.
    pub fn declared_twice(&self) -> impl Iterator<Item = &ObjectId> {
        self.twice.iter()
    }

    /// The objects that are gone or no longer what they were; one list call a kind.
    pub async fn changed(&self, cluster: &Cluster) -> Result<Vec<ObjectId>, ClusterError> {
        let mut kinds: BTreeMap<(&str, &str), HashMap<ObjectId, Fingerprint>> = BTreeMap::new();
        for (id, print) in &self.fingerprints {
            kinds.entry((&id.api_version, &id.kind)).or_default().insert(id.clone(), *print);
        }
        let mut changed = Vec::new();
        for ((api_version, kind), mut expected) in kinds {
            for object in cluster.list(api_version, kind, None, None).await? {
                let found = Resource { value: object, origin: None };
                let mut id = found.id();
                if found.namespace().is_none() && !expected.contains_key(&id) {
                    // A repository may give a namespace to what has none; the server drops it.
                    id = expected.keys().find(|other| other.name == id.name).cloned().unwrap_or(id);
                }
                if let Some(print) = expected.remove(&id)
                    && ssa::fingerprint(&found.value, MANAGER).is_changed_since(print)
                {
                    changed.push(id);
                }
            }
            changed.extend(expected.into_keys().filter(|id| !self.passing.contains(id)));
        }
        changed.sort();
        Ok(changed)
    }
}
