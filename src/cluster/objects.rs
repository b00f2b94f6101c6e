//! The plain verbs: get, list, create, merge-patch, delete, and an object's last events.

use super::apply::{id_of, version_of};
use super::http::{Call, Subject, malformed, segment};
use super::{ApiKind, Cluster, ClusterError};
use crate::manifest::ObjectId;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// What must hold for a delete to happen.
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    /// Only this very object, not another one of the same name.
    pub uid: Option<String>,
    /// Only as it was read.
    pub resource_version: Option<String>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) metadata: PageMetadata,
    #[serde(default)]
    pub(super) items: Vec<Value>,
}

/// A page's own metadata.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMetadata {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

impl Cluster {
    /// Reads one object; none where it (or its kind) is not there.
    pub async fn get(&self, id: &ObjectId) -> Result<Option<Value>, ClusterError> {
        let Some(kind) = self.resolve(&id.api_version, &id.kind).await? else { return Ok(None) };
        match self.read(id, &kind).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read(&self, id: &ObjectId, kind: &ApiKind) -> Result<Value, ClusterError> {
        let call = Call::new("get", Method::GET, kind.object(id.namespace.as_deref(), &id.name), Subject::of(id));
        self.value(&call).await
    }

    /// Lists a kind, in one namespace or all, page by page. `selector` is a label selector.
    ///
    /// Items of a list carry neither apiVersion nor kind on the wire; they are put back.
    pub async fn list(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Value>, ClusterError> {
        let api = self.needed(&kind, api_version, kind).await?;
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let mut page = self.page(&api, namespace, selector, &next).await?;
            objects.append(&mut page.items);
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(objects);
            }
        }
    }

    pub(super) async fn page(
        &self,
        api: &ApiKind,
        namespace: Option<&str>,
        selector: Option<&str>,
        next: &str,
    ) -> Result<Page, ClusterError> {
        let mut path = format!("{}?limit={PAGE}", api.collection(namespace));
        if let Some(selector) = selector {
            path = format!("{path}&labelSelector={}", segment(selector));
        }
        if !next.is_empty() {
            path = format!("{path}&continue={}", segment(next));
        }
        let mut call = Call::new("list", Method::GET, path, Subject { object: &api.kind, kind: (&api.api_version, &api.kind) });
        call.settling = api.learnt;
        let answer = self.send(&call).await?;
        let mut page: Page = serde_json::from_slice(&answer.body).map_err(|error| malformed(&call, error.to_string()))?;
        for item in &mut page.items {
            if let Some(fields) = item.as_object_mut() {
                fields.insert("apiVersion".to_owned(), Value::String(api.api_version.clone()));
                fields.insert("kind".to_owned(), Value::String(api.kind.clone()));
            }
        }
        Ok(page)
    }

    /// Creates an object; `Exists` where it is there. Not tried again once the server may have heard it.
    pub async fn create(&self, object: &Value, manager: &str) -> Result<Value, ClusterError> {
        let id = id_of(object)?;
        let kind = self.needed(&id, &id.api_version, &id.kind).await?;
        if kind.namespaced && id.namespace.is_none() {
            return Err(ClusterError::NamespaceMissing { object: id.to_string(), kind: id.kind });
        }
        let path = format!("{}?fieldManager={}", kind.collection(id.namespace.as_deref()), segment(manager));
        let mut call = Call::new("create", Method::POST, path, Subject::of(&id)).with("application/json", object);
        call.idempotent = false;
        call.settling = kind.learnt;
        let created = self.value(&call).await?;
        self.inner.horizon.saw(id.group(), version_of(&created));
        Ok(created)
    }

    /// Merge-patches an object (RFC 7396), or a subresource of it such as `status`.
    pub async fn merge_patch(
        &self,
        id: &ObjectId,
        subresource: Option<&str>,
        change: &Value,
        manager: &str,
    ) -> Result<Value, ClusterError> {
        let kind = self.needed(id, &id.api_version, &id.kind).await?;
        let mut path = kind.object(id.namespace.as_deref(), &id.name);
        if let Some(subresource) = subresource {
            path = format!("{path}/{}", segment(subresource));
        }
        path = format!("{path}?fieldManager={}", segment(manager));
        let call = Call::new("patch", Method::PATCH, path, Subject::of(id)).with("application/merge-patch+json", change);
        self.value(&call).await
    }

    /// Replaces an object as a whole (PUT); with `metadata.resourceVersion` only as it was read, `Conflict` otherwise.
    pub async fn replace(&self, object: &Value, manager: &str) -> Result<Value, ClusterError> {
        let id = id_of(object)?;
        let kind = self.needed(&id, &id.api_version, &id.kind).await?;
        let path = format!("{}?fieldManager={}", kind.object(id.namespace.as_deref(), &id.name), segment(manager));
        let call = Call::new("update", Method::PUT, path, Subject::of(&id)).with("application/json", object);
        self.value(&call).await
    }

    /// Deletes an object, its dependents in the background. False where it was not there.
    pub async fn delete(&self, id: &ObjectId, preconditions: &Preconditions) -> Result<bool, ClusterError> {
        let Some(kind) = self.resolve(&id.api_version, &id.kind).await? else { return Ok(false) };
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        if let Some(uid) = &preconditions.uid {
            options["preconditions"]["uid"] = Value::String(uid.clone());
        }
        if let Some(version) = &preconditions.resource_version {
            options["preconditions"]["resourceVersion"] = Value::String(version.clone());
        }
        let path = kind.object(id.namespace.as_deref(), &id.name);
        let call = Call::new("delete", Method::DELETE, path, Subject::of(id)).with("application/json", &options);
        match self.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last events of an object, oldest first, at most five: `FailedScheduling: 0/1 nodes are available (x4)`.
    /// A workload says little itself: where the pods and claims that it makes have warnings, these are told instead.
    /// For messages only, hence empty where they cannot be read.
    pub async fn events_for(&self, id: &ObjectId) -> Vec<String> {
        if matches!(id.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job") {
            // What it makes is called after it.
            let made = format!("{}-", id.name);
            let is_made = |event: &Value| {
                let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let claim = text("/involvedObject/kind") == "PersistentVolumeClaim" && text("/involvedObject/name").contains(&made);
                claim || text("/involvedObject/name").starts_with(&made)
            };
            let warnings = self.events(id, "type=Warning", is_made).await;
            if !warnings.is_empty() {
                return warnings;
            }
        }
        self.events(id, &format!("involvedObject.kind={},involvedObject.name={}", id.kind, id.name), |_| true).await
    }

    /// The last five events of an object's namespace that are selected and wanted.
    async fn events(&self, id: &ObjectId, selector: &str, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        // Events of cluster-scoped objects stand in `default`.
        let namespace = id.namespace.as_deref().unwrap_or("default");
        let path = format!("/api/v1/namespaces/{}/events?limit={PAGE}&fieldSelector={}", segment(namespace), segment(selector));
        let call = Call::new("list", Method::GET, path, Subject { object: id, kind: ("v1", "Event") });
        let Ok(answer) = self.with_patience(std::time::Duration::from_secs(5)).send(&call).await else { return Vec::new() };
        let Ok(mut events) = serde_json::from_slice::<Page>(&answer.body) else { return Vec::new() };
        events.items.retain(|event| wanted(event));
        let last = |event: &Value| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            text("lastTimestamp").max(text("eventTime")).max(event["series"]["lastObservedTime"].as_str().unwrap_or_default().to_owned())
        };
        events.items.sort_by_cached_key(last);
        let last_five = events.items.iter().rev().take(5).rev();
        last_five
            .map(|event| {
                let count = event["count"].as_u64().or_else(|| event["series"]["count"].as_u64()).unwrap_or(1);
                let times = if count > 1 { format!(" (x{count})") } else { String::new() };
                format!("{}: {}{times}", event["reason"].as_str().unwrap_or("event"), event["message"].as_str().unwrap_or_default().trim())
            })
            .collect()
    }

    async fn value(&self, call: &Call<'_>) -> Result<Value, ClusterError> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| malformed(call, error.to_string()))
    }
}

impl<'a> Call<'a> {
    /// A call without a body.
    pub(super) fn new(verb: &'static str, method: Method, path: String, subject: Subject<'a>) -> Self {
        Self { verb, method, path, content: None, body: Bytes::new(), idempotent: true, settling: false, subject }
    }

    /// With a body.
    fn with(mut self, content: &'static str, body: &Value) -> Self {
        self.content = Some(content);
        self.body = Bytes::from(body.to_string());
        self
    }
}

impl<'a> Subject<'a> {
    /// One object.
    pub(super) fn of(id: &'a ObjectId) -> Self {
        Self { object: id, kind: (&id.api_version, &id.kind) }
    }
}
