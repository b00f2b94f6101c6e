//! The newest state of the objects that a run is interested in: one watch for each kind, one store for all.
//!
//! Memory is bounded by interest, not by the cluster: an event is first read for its name alone, and only an object that
//! is expected, wanted or let in by a filter is read as a whole and kept, without what no health rule looks at (`slim`).
//! Everything is driven by events; a watch that ends goes on where it was, and lists again where the server has
//! forgotten that place (410).

use super::apply::{version_of, without_managers};
use super::error::Status;
use super::http::{Call, Subject, chain, jitter};
use super::{ApiKind, Cluster, ClusterError};
use crate::manifest::ObjectId;
use bytes::{Buf, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

/// The server ends a watch after this; it is shorter than what load balancers in between allow (often 350 s).
const SERVER_ENDS_AFTER: u64 = 290;
/// Bookmarks come about every minute, so a longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(150);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

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
        let task = start(Arc::downgrade(&self.shared), key, None);
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
            let task = start(Arc::downgrade(self), key, Some(namespace.clone()));
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

/// What of an event is read before it is known whether anybody is interested.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(rename = "type", borrow)]
    happening: Cow<'a, str>,
    #[serde(borrow, default)]
    object: GlanceObject<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GlanceObject<'a> {
    #[serde(borrow)]
    metadata: GlanceMetadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GlanceMetadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Whole {
    object: Value,
}

/// How a watch ended.
enum End {
    /// Goes on from this resourceVersion.
    At(String),
    /// The server has forgotten that place: list again.
    Forgotten,
}

fn start(shared: Weak<Shared>, key: (String, String), namespace: Option<String>) -> AbortHandle {
    tokio::spawn(keep_watching(shared, key, namespace)).abort_handle()
}

/// Lists and watches one kind for ever: all of it, or one namespace.
async fn keep_watching(shared: Weak<Shared>, key: (String, String), namespace: Option<String>) {
    let mut pause = FIRST_PAUSE;
    let mut place: Option<String> = None;
    loop {
        let began = Instant::now();
        let Some(cluster) = shared.upgrade().map(|shared| shared.cluster.clone()) else { return };
        let outcome = turn(&shared, &cluster, &key, namespace.as_deref(), place.take()).await;
        let Some(shared) = shared.upgrade() else { return };
        match outcome {
            Ok(End::At(version)) => {
                place = Some(version);
                shared.set_trouble(&key, None);
            }
            Ok(End::Forgotten) => {}
            Err((ClusterError::Forbidden { .. }, _)) if namespace.is_none() => {
                // Not the whole cluster: then namespace by namespace, for as long as somebody names objects there.
                let mut state = shared.lock();
                let named: HashSet<String> = state
                    .entries
                    .keys()
                    .filter(|id| id.api_version == key.0 && id.kind == key.1)
                    .filter_map(|id| id.namespace.clone())
                    .collect();
                for namespace in &named {
                    let task = start(Arc::downgrade(&shared), key.clone(), Some(namespace.clone()));
                    state.tasks.push(task);
                }
                if let Some(kind) = state.kinds.get_mut(&key) {
                    kind.namespaces = Some(named);
                }
                return;
            }
            Err((error, version)) => {
                place = version;
                shared.set_trouble(&key, Some(error.to_string()));
            }
        }
        drop(shared);
        // A watch that lived was no failure; one that ends at once, again and again, is.
        if began.elapsed() > Duration::from_secs(30) {
            pause = FIRST_PAUSE;
        }
        // A definition that arrives ends the pause: its kind may be the one that is waited for.
        let _ = tokio::time::timeout(jitter(pause), cluster.inner.kinds.more()).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

type Interrupted = (ClusterError, Option<String>);

/// One turn: a list, where there is no place to go on from, then a watch until it ends.
async fn turn(
    shared: &Weak<Shared>,
    cluster: &Cluster,
    key: &(String, String),
    namespace: Option<&str>,
    place: Option<String>,
) -> Result<End, Interrupted> {
    let api = cluster.needed(&key.1, &key.0, &key.1).await.map_err(|error| (error, None))?;
    let version = match place {
        Some(version) => version,
        None => list(shared, cluster, key, &api, namespace).await.map_err(|error| (error, None))?,
    };
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={SERVER_ENDS_AFTER}",
        api.collection(namespace)
    );
    let call = Call::new("watch", Method::GET, path, Subject { object: &api.kind, kind: (&api.api_version, &api.kind) });
    let response = match cluster.open(&call).await {
        Ok(response) => response,
        Err(ClusterError::NotFound { .. }) => return Ok(End::Forgotten),
        Err(error) => return Err((error, Some(version))),
    };
    if let Some(shared) = shared.upgrade() {
        shared.set_trouble(key, None);
    }
    let mut body = response.into_body();
    let mut buffer = BytesMut::new();
    let mut scanned = 0;
    let mut version = version;
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) => return Err((cluster.unreachable("the watch fell silent".to_owned()), Some(version))),
            Ok(None) => return Ok(End::At(version)),
            Ok(Some(Err(error))) => return Err((cluster.unreachable(chain(&error)), Some(version))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer[scanned..].iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(scanned + end);
            buffer.advance(1);
            scanned = 0;
            let Some(shared) = shared.upgrade() else { return Ok(End::At(version)) };
            match event(&shared, key, &api, &line) {
                Ok(Some(newer)) => version = newer,
                Ok(None) => {}
                Err(()) => return Ok(End::Forgotten),
            }
        }
        scanned = buffer.len();
    }
}

/// Takes one event; gives its resourceVersion, or an error where the place is lost.
fn event(shared: &Shared, key: &(String, String), api: &ApiKind, line: &[u8]) -> Result<Option<String>, ()> {
    let Ok(glance) = serde_json::from_slice::<Glance>(line) else { return Ok(None) };
    let metadata = glance.object.metadata;
    let version = metadata.resource_version.into_owned();
    let id = || ObjectId {
        api_version: api.api_version.clone(),
        kind: api.kind.clone(),
        namespace: metadata.namespace.as_deref().map(str::to_owned),
        name: metadata.name.as_ref().to_owned(),
    };
    match glance.happening.as_ref() {
        "ADDED" | "MODIFIED" => {
            let whole = || serde_json::from_slice::<Whole>(line).ok().map(|whole| whole.object);
            shared.see(&id(), whole, shared.filter(key).as_ref());
        }
        "DELETED" => shared.remove(&id(), version.parse().unwrap_or(0)),
        "ERROR" => {
            let status = serde_json::from_slice::<Whole>(line)
                .map(|whole| Status::read(500, whole.object.to_string().as_bytes()))
                .unwrap_or_default();
            shared.set_trouble(key, (status.code != 410).then_some(status.message));
            return Err(());
        }
        _ => {}
    }
    Ok((!version.is_empty()).then_some(version))
}

/// Lists a kind, page by page, and gives the resourceVersion to watch from.
async fn list(
    shared: &Weak<Shared>,
    cluster: &Cluster,
    key: &(String, String),
    api: &Arc<ApiKind>,
    namespace: Option<&str>,
) -> Result<String, ClusterError> {
    let mut present = HashSet::new();
    let mut next = String::new();
    loop {
        let page = cluster.page(api, namespace, None, &next).await?;
        let Some(shared) = shared.upgrade() else { return Ok(page.metadata.resource_version) };
        let filter = shared.filter(key);
        for item in page.items {
            let metadata =
                |field: &str| item.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str).map(str::to_owned);
            let Some(name) = metadata("name") else { continue };
            let id = ObjectId { api_version: api.api_version.clone(), kind: api.kind.clone(), namespace: metadata("namespace"), name };
            shared.see(&id, || Some(item), filter.as_ref());
            if shared.is_named(&id) {
                present.insert(id);
            }
        }
        next = page.metadata.next;
        if next.is_empty() {
            let version = page.metadata.resource_version;
            let number = version.parse().unwrap_or(0);
            // What was there before and is not listed was deleted meanwhile.
            let gone: Vec<ObjectId> = {
                let state = shared.lock();
                let of_kind = state.entries.iter().filter(|(id, _)| id.api_version == key.0 && id.kind == key.1);
                of_kind
                    .filter(|(id, entry)| {
                        entry.object.is_some()
                            && !present.contains(*id)
                            && namespace.is_none_or(|namespace| id.namespace.as_deref() == Some(namespace))
                    })
                    .map(|(id, _)| id.clone())
                    .collect()
            };
            for id in gone {
                shared.remove(&id, number);
            }
            if let Some(kind) = shared.lock().kinds.get_mut(key) {
                kind.synced = true;
                kind.changed.notify_waiters();
            }
            return Ok(version);
        }
    }
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

    #[test]
    fn an_event_is_read_for_its_name_alone() {
        let glance: Glance = serde_json::from_slice(
            br#"{"type":"ADDED","object":{"spec":{"x":[1,2]},"metadata":{"name":"a","resourceVersion":"7","labels":{}}}}"#,
        )
        .unwrap();
        assert_eq!((glance.object.metadata.name.as_ref(), glance.object.metadata.resource_version.as_ref()), ("a", "7"));
    }
}
