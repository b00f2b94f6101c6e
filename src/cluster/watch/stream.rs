//! One kind's watch: lists, follows, goes on where it was, and feeds the store.

use super::super::error::Status;
use super::super::http::{Call, Subject, chain, jitter};
use super::super::{ApiKind, Cluster, ClusterError};
use super::Shared;
use crate::manifest::ObjectId;
use bytes::{Buf, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// The server ends a watch after this; it is shorter than what load balancers in between allow (often 350 s).
const SERVER_ENDS_AFTER: u64 = 290;
/// Bookmarks come about every minute, so a longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(150);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

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

pub(super) fn start(shared: Weak<Shared>, key: (String, String), namespace: Option<String>) -> AbortHandle {
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
    let id = || ObjectId::new(&api.api_version, &api.kind, metadata.namespace.as_deref(), &metadata.name);
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
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_for_its_name_alone() {
        let glance: Glance = serde_json::from_slice(
            br#"{"type":"ADDED","object":{"spec":{"x":[1,2]},"metadata":{"name":"a","resourceVersion":"7","labels":{}}}}"#,
        )
        .unwrap();
        assert_eq!((glance.object.metadata.name.as_ref(), glance.object.metadata.resource_version.as_ref()), ("a", "7"));
    }
}
