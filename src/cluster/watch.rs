//! The newest state of the objects that a run is interested in: one watch for each kind, one store for all.
//!
//! Memory is bounded by interest, not by the cluster: an event is first read for its name alone, and only an object that
//! is expected, wanted or let in by a filter is read as a whole and kept, without what no health rule looks at (`slim`).
//! Everything is driven by events; a watch that ends goes on where it was, and lists again where the server has
//! forgotten that place (410).

mod stream;

use super::Cluster;
use super::apply::{version_of, without_managers};
use crate::manifest::ObjectId;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

/// Whether an object that nobody named is kept.
type Filter = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// The store of a run. Its watches end with it.
pub struct Watches {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kinds: HashMap<(String, String), Kind>,
    entries: HashMap<ObjectId, Entry>,
    subscribers: Vec<mpsc::UnboundedSender<ObjectId>>,
    tasks: Vec<AbortHandle>,
}

#[derive(Default)]
struct Kind {
    filter: Option<Filter>,
    /// Set when the kind may not be listed in the whole cluster: these namespaces are watched one by one.
    namespaces: Option<HashSet<String>>,
    /// Why it is not watched at the moment.
    trouble: Option<String>,
    synced: bool,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Entry {
    object: Option<Arc<Value>>,
    /// resourceVersion of the newest that was seen, also of a deletion.
    version: u64,
    /// Somebody named it; it is not forgotten when it is deleted.
    named: bool,
    changed: Option<Arc<Notify>>,
}

impl Watches {
    /// Nothing is watched yet.
    pub fn new(cluster: Cluster) -> Self {
        Self { shared: Arc::new(Shared { cluster, state: Mutex::default() }) }
    }

    /// Watches a kind, from now until the store is dropped; once a kind, whoever asks. Where the whole cluster may not be
    /// watched, the namespaces of the named objects are. A kind that the cluster does not have yet is waited for.
    pub fn follow(&self, api_version: &str, kind: &str) {
        self.follow_where(api_version, kind, None);
    }

    /// As `follow`; also keeps the objects that nobody named and that the closure accepts. The first closure of a kind counts.
    pub fn follow_if(&self, api_version: &str, kind: &str, accept: impl Fn(&Value) -> bool + Send + Sync + 'static) {
        self.follow_where(api_version, kind, Some(Arc::new(accept)));
    }

    fn follow_where(&self, api_version: &str, kind: &str, filter: Option<Filter>) {
        let key = (api_version.to_owned(), kind.to_owned());
        let mut state = self.shared.lock();
        if let Some(known) = state.kinds.get_mut(&key) {
            if known.filter.is_none() {
                known.filter = filter;
            }
            return;
        }
        state.kinds.insert(key.clone(), Kind { filter, ..Kind::default() });
        let task = stream::start(Arc::downgrade(&self.shared), key, None);
        state.tasks.push(task);
    }

    /// Names an object that is about to be applied: its events are kept from now on.
    pub fn expect(&self, id: &ObjectId) {
        self.shared.name(id);
    }

    /// Names an object that may have been there before its kind was watched: it is read once.
    pub fn want(&self, id: &ObjectId) {
        if self.shared.name(id) {
            return;
        }
        let (shared, id) = (Arc::downgrade(&self.shared), id.clone());
        let cluster = self.shared.cluster.clone();
        let task = tokio::spawn(async move {
            if let Ok(Some(object)) = cluster.get(&id).await
                && let Some(shared) = shared.upgrade()
            {
                shared.take(&id, object, true);
            }
        });
        let mut state = self.shared.lock();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task.abort_handle());
    }

    /// Hands in what an apply or a get has answered: kept if the object is named and nothing newer is known.
    pub fn offer(&self, id: &ObjectId, object: Value) {
        self.shared.take(id, object, false);
    }

    /// No interest any more.
    pub fn forget(&self, id: &ObjectId) {
        self.shared.lock().entries.remove(id);
    }

    /// The newest state of a named object; none while it is not there (or was not seen yet).
    pub fn get(&self, id: &ObjectId) -> Option<Arc<Value>> {
        self.shared.lock().entries.get(id)?.object.clone()
    }

    /// All kept objects of a kind.
    pub fn all(&self, api_version: &str, kind: &str) -> Vec<Arc<Value>> {
        let state = self.shared.lock();
        let of_kind = state.entries.iter().filter(|(id, _)| id.kind == kind && id.api_version == api_version);
        of_kind.filter_map(|(_, entry)| entry.object.clone()).collect()
    }

    /// Each change of a kept object, also its deletion; nothing is lost, however slow the receiver. `get` tells the rest.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<ObjectId> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.lock().subscribers.push(sender);
        receiver
    }

    /// Why a kind is not watched at the moment, where that is so: to be named when something is not ready in time.
    pub fn trouble(&self, api_version: &str, kind: &str) -> Option<String> {
        self.shared.lock().kinds.get(&(api_version.to_owned(), kind.to_owned()))?.trouble.clone()
    }

    /// Returns when the kind has been listed once, so that `get` tells what is there; false after the deadline.
    pub async fn synced(&self, api_version: &str, kind: &str, deadline: Instant) -> bool {
        let key = (api_version.to_owned(), kind.to_owned());
        loop {
            let changed = {
                let state = self.shared.lock();
                let Some(known) = state.kinds.get(&key) else { return false };
                if known.synced {
                    return true;
                }
                known.changed.clone()
            };
            let notified = changed.notified();
            if self.shared.lock().kinds.get(&key).is_some_and(|known| known.synced) {
                return true;
            }
            if tokio::time::timeout_at(deadline.into(), notified).await.is_err() {
                return false;
            }
        }
    }

    /// Waits until the predicate gives something for a named object (none: it is not there). The object is named by this.
    /// After the deadline the last state is given back as the error.
    pub async fn until<T>(
        &self,
        id: &ObjectId,
        deadline: Instant,
        mut predicate: impl FnMut(Option<&Value>) -> Option<T>,
    ) -> Result<T, Option<Arc<Value>>> {
        self.want(id);
        let changed = self.shared.lock().entries.entry(id.clone()).or_default().changed.get_or_insert_default().clone();
        loop {
            let notified = changed.notified();
            tokio::pin!(notified);
            // Registered before the look, so that no change falls between the two.
            notified.as_mut().enable();
            let object = self.get(id);
            if let Some(found) = predicate(object.as_deref()) {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline.into(), notified).await.is_err() {
                return Err(object);
            }
        }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Watches").field("kinds", &state.kinds.len()).field("objects", &state.entries.len()).finish()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for task in &self.shared.lock().tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers interest; true where the object is known already.
    fn name(self: &Arc<Self>, id: &ObjectId) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let entry = state.entries.entry(id.clone()).or_default();
        entry.named = true;
        let known = entry.object.is_some();
        let key = (id.api_version.clone(), id.kind.clone());
        if let (Some(kind), Some(namespace)) = (state.kinds.get_mut(&key), &id.namespace)
            && let Some(namespaces) = &mut kind.namespaces
            && namespaces.insert(namespace.clone())
        {
            let task = stream::start(Arc::downgrade(self), key, Some(namespace.clone()));
            state.tasks.push(task);
        }
        known
    }

    /// Keeps an object if it is newer. Without `news` (an answer, not an event) it must be newer than all that was seen.
    fn take(&self, id: &ObjectId, object: Value, news: bool) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let version = version_of(&object);
        let Some(entry) = state.entries.get_mut(id) else { return };
        let newer = version == 0 || version > entry.version || (news && version == entry.version && entry.object.is_none());
        if !newer {
            return;
        }
        entry.version = version;
        entry.object = Some(Arc::new(slim(object)));
        tell(&mut state.subscribers, id, entry);
    }

    fn remove(&self, id: &ObjectId, version: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(entry) = state.entries.get_mut(id) else { return };
        if version != 0 && version < entry.version {
            return;
        }
        entry.version = entry.version.max(version);
        if entry.object.take().is_some() {
            tell(&mut state.subscribers, id, entry);
        }
        if !entry.named {
            state.entries.remove(id);
        }
    }

    fn is_named(&self, id: &ObjectId) -> bool {
        self.lock().entries.contains_key(id)
    }

    fn filter(&self, key: &(String, String)) -> Option<Filter> {
        self.lock().kinds.get(key)?.filter.clone()
    }

    /// An object from a list or an event: kept where somebody is interested.
    fn see(&self, id: &ObjectId, object: impl FnOnce() -> Option<Value>, filter: Option<&Filter>) {
        let named = self.is_named(id);
        if !named && filter.is_none() {
            return;
        }
        let Some(object) = object() else { return };
        if !named {
            if filter.is_none_or(|accept| !accept(&object)) {
                self.remove(id, version_of(&object));
                return;
            }
            self.lock().entries.entry(id.clone()).or_default();
        }
        self.take(id, object, true);
    }

    fn set_trouble(&self, key: &(String, String), trouble: Option<String>) {
        if let Some(kind) = self.lock().kinds.get_mut(key) {
            kind.trouble = trouble;
        }
    }
}

fn tell(subscribers: &mut Vec<mpsc::UnboundedSender<ObjectId>>, id: &ObjectId, entry: &Entry) {
    subscribers.retain(|subscriber| subscriber.send(id.clone()).is_ok());
    if let Some(changed) = &entry.changed {
        changed.notify_waiters();
    }
}

/// Without what is large and no health rule looks at: managedFields, pod templates, contents of ConfigMaps and Secrets,
/// schemas of definitions. Whoever needs those reads the object itself.
fn slim(object: Value) -> Value {
    let mut object = without_managers(object);
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    match kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob" => {
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("template");
                spec.remove("jobTemplate");
            }
        }
        "ConfigMap" | "Secret" => {
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "type"));
            }
        }
        "CustomResourceDefinition" => {
            for version in object.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(version) = version.as_object_mut() {
                    version.remove("schema");
                }
            }
        }
        _ => {}
    }
    object
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_no_health_rule_needs_is_not_kept() {
        let object = slim(
            json!({"kind": "Deployment", "metadata": {"name": "a", "managedFields": [1]}, "spec": {"replicas": 1, "template": {}}, "status": {}}),
        );
        assert_eq!(object, json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 1}, "status": {}}));
        assert_eq!(slim(json!({"kind": "Secret", "data": {"a": "b"}, "metadata": {}})), json!({"kind": "Secret", "metadata": {}}));
    }
}
