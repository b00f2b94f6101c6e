//! Plural and scope of a kind: by heart for Kubernetes' own, learnt from definitions that we applied, else asked.
//!
//! One question is one group and version (`GET /apis/<group>/<version>`): always fresh, unlike aggregated discovery,
//! which lags behind a new definition, and never more than the run needs.

use super::http::{Call, Subject, malformed};
use super::{Cluster, ClusterError};
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How the API server calls a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKind {
    /// `group/version` or `version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// As in paths: `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Known from a definition that this run applied: it may be served only in a moment.
    pub(super) learnt: bool,
}

impl ApiKind {
    /// Path of the collection: `/apis/apps/v1/namespaces/shop/deployments`.
    pub(super) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version.contains('/') { "/apis/" } else { "/api/" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}{}/namespaces/{}/{}", self.api_version, super::http::segment(namespace), self.plural),
            None => format!("{root}{}/{}", self.api_version, self.plural),
        }
    }

    /// Path of one object.
    pub(super) fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), super::http::segment(name))
    }
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Kinds {
    found: Mutex<HashMap<(String, String), Arc<ApiKind>>>,
    /// Wakes watches of kinds that were not there before.
    learnt: tokio::sync::Notify,
}

impl Kinds {
    fn get(&self, api_version: &str, kind: &str) -> Option<Arc<ApiKind>> {
        let key = (api_version.to_owned(), kind.to_owned());
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(&key) {
            return Some(known.clone());
        }
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let (plural, namespaced) = by_heart(group, kind)?;
        let known =
            Arc::new(ApiKind { api_version: key.0.clone(), kind: key.1.clone(), plural: plural.to_owned(), namespaced, learnt: false });
        found.insert(key, known.clone());
        Some(known)
    }

    fn put(&self, kind: ApiKind) {
        let key = (kind.api_version.clone(), kind.kind.clone());
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // What the server said itself is not replaced by what a definition promises.
        if kind.learnt && found.get(&key).is_some_and(|known| known.plural == kind.plural) {
            return;
        }
        found.insert(key, Arc::new(kind));
        self.learnt.notify_waiters();
    }

    /// Returns when another kind becomes known.
    pub(super) async fn more(&self) {
        self.learnt.notified().await;
    }
}

impl Cluster {
    /// Plural and scope of a kind; none where the cluster does not have it. Asks the server at most once for what it has.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Option<Arc<ApiKind>>, ClusterError> {
        if let Some(known) = self.inner.kinds.get(api_version, kind) {
            return Ok(Some(known));
        }
        let root = if api_version.contains('/') { "/apis/" } else { "/api/" };
        let group_version: String = api_version.split('/').map(super::http::segment).collect::<Vec<_>>().join("/");
        let subject = Subject { object: &api_version, kind: (api_version, kind) };
        let call = Call::new("get", Method::GET, format!("{root}{group_version}"), subject);
        let answer = match self.send(&call).await {
            Ok(answer) => answer,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let list: ResourceList = serde_json::from_slice(&answer.body).map_err(|error| malformed(&call, error.to_string()))?;
        for served in list.resources.into_iter().filter(|served| !served.name.contains('/')) {
            self.inner.kinds.put(ApiKind {
                api_version: api_version.to_owned(),
                kind: served.kind,
                plural: served.name,
                namespaced: served.namespaced,
                learnt: false,
            });
        }
        Ok(self.inner.kinds.get(api_version, kind))
    }

    /// As `resolve`, where it is needed for an object.
    pub(super) async fn needed(
        &self,
        object: &(dyn std::fmt::Display + Sync),
        api_version: &str,
        kind: &str,
    ) -> Result<Arc<ApiKind>, ClusterError> {
        let object = object.to_string();
        let unknown = || ClusterError::KindUnknown { object, api_version: api_version.to_owned(), kind: kind.to_owned() };
        self.resolve(api_version, kind).await?.ok_or_else(unknown)
    }

    /// Learns the kinds of a CustomResourceDefinition that was applied; `apply` does it by itself.
    pub fn learn(&self, definition: &Value) {
        for kind in defined(definition) {
            self.inner.kinds.put(kind);
        }
    }
}

/// Kinds of a CustomResourceDefinition: one for each served version.
fn defined(definition: &Value) -> Vec<ApiKind> {
    #[derive(Deserialize)]
    struct Definition {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        group: String,
        names: Names,
        scope: String,
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Names {
        kind: String,
        plural: String,
    }
    #[derive(Deserialize)]
    struct Version {
        name: String,
        #[serde(default)]
        served: bool,
    }
    let Ok(Definition { spec }) = Definition::deserialize(definition) else { return Vec::new() };
    spec.versions
        .iter()
        .filter(|version| version.served)
        .map(|version| ApiKind {
            api_version: format!("{}/{}", spec.group, version.name),
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
            namespaced: spec.scope == "Namespaced",
            learnt: true,
        })
        .collect()
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Served>,
}

#[derive(Deserialize)]
struct Served {
    name: String,
    namespaced: bool,
    kind: String,
}

/// Kubernetes' own kinds (API reference of v1.36); versions are left to the server.
fn by_heart(group: &str, kind: &str) -> Option<(&'static str, bool)> {
    BY_HEART.iter().find(|known| known.0 == group && known.1 == kind).map(|known| (known.2, known.3))
}

#[rustfmt::skip]
const BY_HEART: &[(&str, &str, &str, bool)] = &[
    ("", "ConfigMap", "configmaps", true),
    ("", "Secret", "secrets", true),
    ("", "Service", "services", true),
    ("", "ServiceAccount", "serviceaccounts", true),
    ("", "Namespace", "namespaces", false),
    ("", "Pod", "pods", true),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "PersistentVolume", "persistentvolumes", false),
    ("", "Node", "nodes", false),
    ("", "Event", "events", true),
    ("", "Endpoints", "endpoints", true),
    ("", "LimitRange", "limitranges", true),
    ("", "ResourceQuota", "resourcequotas", true),
    ("", "ReplicationController", "replicationcontrollers", true),
    ("", "PodTemplate", "podtemplates", true),
    ("apps", "Deployment", "deployments", true),
    ("apps", "StatefulSet", "statefulsets", true),
    ("apps", "DaemonSet", "daemonsets", true),
    ("apps", "ReplicaSet", "replicasets", true),
    ("apps", "ControllerRevision", "controllerrevisions", true),
    ("batch", "Job", "jobs", true),
    ("batch", "CronJob", "cronjobs", true),
    ("rbac.authorization.k8s.io", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", false),
    ("networking.k8s.io", "Ingress", "ingresses", true),
    ("networking.k8s.io", "IngressClass", "ingressclasses", false),
    ("networking.k8s.io", "NetworkPolicy", "networkpolicies", true),
    ("networking.k8s.io", "IPAddress", "ipaddresses", false),
    ("networking.k8s.io", "ServiceCIDR", "servicecidrs", false),
    ("policy", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("storage.k8s.io", "StorageClass", "storageclasses", false),
    ("storage.k8s.io", "CSIDriver", "csidrivers", false),
    ("storage.k8s.io", "CSINode", "csinodes", false),
    ("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", true),
    ("storage.k8s.io", "VolumeAttachment", "volumeattachments", false),
    ("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses", false),
    ("scheduling.k8s.io", "PriorityClass", "priorityclasses", false),
    ("node.k8s.io", "RuntimeClass", "runtimeclasses", false),
    ("coordination.k8s.io", "Lease", "leases", true),
    ("discovery.k8s.io", "EndpointSlice", "endpointslices", true),
    ("events.k8s.io", "Event", "events", true),
    ("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests", false),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", false),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", false),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas", false),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations", false),
    ("resource.k8s.io", "DeviceClass", "deviceclasses", false),
    ("resource.k8s.io", "ResourceClaim", "resourceclaims", true),
    ("resource.k8s.io", "ResourceClaimTemplate", "resourceclaimtemplates", true),
    ("resource.k8s.io", "ResourceSlice", "resourceslices", false),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apiregistration.k8s.io", "APIService", "apiservices", false),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_teaches_its_served_versions() {
        let kinds = defined(&json!({"spec": {"group": "shop.io", "scope": "Namespaced", "names": {"kind": "Cart", "plural": "carts"},
            "versions": [{"name": "v1", "served": true}, {"name": "v1alpha1", "served": false}]}}));
        assert_eq!(kinds.len(), 1);
        assert_eq!(kinds[0].object(Some("a"), "b"), "/apis/shop.io/v1/namespaces/a/carts/b");
    }

    #[test]
    fn a_cluster_scoped_object_that_names_a_namespace_has_a_path_without() {
        let kinds = Kinds::default();
        let kind = kinds.get("rbac.authorization.k8s.io/v1", "ClusterRole").unwrap();
        assert_eq!(kind.object(Some("shop"), "system:a"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a");
        assert_eq!(kinds.get("v1", "Pod").unwrap().collection(None), "/api/v1/pods");
    }
}
