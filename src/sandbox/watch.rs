//! Follows objects on the sandbox's API, so that a stand-in is a function of "this object is now so".
//!
//! A follower lists, then watches from there; it starts again by itself when the server ends a watch, and it waits for kinds that do not
//! exist yet. It never ends before its receiver is gone or its task is aborted.

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// What became of an object.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is now so.
    Applied(ApiResource, Box<DynamicObject>),
    /// It is gone; its metadata at least.
    Deleted(ApiResource, Box<DynamicObject>),
}

/// Follows all objects of one kind, in all namespaces.
pub async fn follow(client: kube::Client, resource: ApiResource, changes: UnboundedSender<Change>) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    // Names alone: definitions are large, and hundreds of them may be followed.
    let mut known: BTreeSet<Key> = BTreeSet::new();
    let mut pause = Duration::from_millis(20);
    while !changes.is_closed() {
        if let Ok(list) = api.list(&ListParams::default()).await {
            pause = Duration::from_millis(20);
            let mut gone = std::mem::take(&mut known);
            for object in list.items {
                gone.remove(&key(&object));
                known.insert(key(&object));
                let _ = changes.send(Change::Applied(resource.clone(), Box::new(object)));
            }
            for (namespace, name) in gone {
                let mut object = DynamicObject::new(&name.unwrap_or_default(), &resource);
                object.metadata.namespace = namespace;
                let _ = changes.send(Change::Deleted(resource.clone(), Box::new(object)));
            }
            let version = list.metadata.resource_version.unwrap_or_default();
            watch(&api, &resource, version, &mut known, &changes).await;
        } else {
            // The kind may not be served yet, or the server is busy.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// Namespace and name.
type Key = (Option<String>, Option<String>);

fn key(object: &DynamicObject) -> Key {
    (object.metadata.namespace.clone(), object.metadata.name.clone())
}

/// Watches until the server no longer knows the version.
async fn watch(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    mut version: String,
    known: &mut BTreeSet<Key>,
    changes: &UnboundedSender<Change>,
) {
    loop {
        let Ok(stream) = api.watch(&WatchParams::default(), &version).await else { return };
        let mut stream = std::pin::pin!(stream);
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = changes.closed() => return,
            };
            match event {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    known.insert(key(&object));
                    let _ = changes.send(Change::Applied(resource.clone(), Box::new(object)));
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    version = object.metadata.resource_version.clone().unwrap_or(version);
                    known.remove(&key(&object));
                    let _ = changes.send(Change::Deleted(resource.clone(), Box::new(object)));
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => version = bookmark.metadata.resource_version,
                Some(Ok(WatchEvent::Error(_)) | Err(_)) => return,
                // The server ends each watch after some minutes.
                None => break,
            }
        }
    }
}

/// Follows every custom kind for which `wanted(group, kind)` holds, from the moment that its definition is established.
pub fn follow_kinds(client: kube::Client, wanted: impl Fn(&str, &str) -> bool + Send + 'static) -> UnboundedReceiver<Change> {
    let (changes, receiver) = unbounded_channel();
    tokio::spawn(async move {
        let (definitions, mut inbox) = unbounded_channel();
        let mut followers = JoinSet::new();
        followers.spawn(follow(client.clone(), definitions_resource(), definitions));
        let mut followed = BTreeMap::new();
        loop {
            let change = tokio::select! {
                change = inbox.recv() => change,
                () = changes.closed() => return,
            };
            match change {
                Some(Change::Applied(_, definition)) => {
                    let Some(resource) = established(&definition) else { continue };
                    let name = definition.metadata.name.clone().unwrap_or_default();
                    if wanted(&resource.group, &resource.kind) && !followed.contains_key(&name) {
                        followed.insert(name, followers.spawn(follow(client.clone(), resource, changes.clone())));
                    }
                }
                Some(Change::Deleted(_, definition)) => {
                    if let Some(task) = followed.remove(&definition.metadata.name.unwrap_or_default()) {
                        task.abort();
                    }
                }
                None => return,
            }
        }
    });
    receiver
}

/// CustomResourceDefinition.
pub fn definitions_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))
}

/// The kind that a definition defines, at its storage version, once it is served.
pub fn established(definition: &DynamicObject) -> Option<ApiResource> {
    let data = &definition.data;
    let conditions = data.pointer("/status/conditions")?.as_array()?;
    if !conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True") {
        return None;
    }
    let group = data.pointer("/spec/group")?.as_str()?;
    let version = data.pointer("/spec/versions")?.as_array()?.iter().find(|version| version["storage"] == true)?["name"].as_str()?;
    Some(ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: data.pointer("/spec/names/kind")?.as_str()?.to_owned(),
        plural: data.pointer("/spec/names/plural")?.as_str()?.to_owned(),
    })
}

/// An API for one object's namespace.
pub fn api_of(client: &kube::Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}
