//! Which objects live in a namespace: the API's own kinds, and what definitions say of theirs.

use crate::manifest::Resource;
use std::collections::HashSet;

/// Kinds of the API that live in no namespace (kubectl api-resources --namespaced=false, Kubernetes 1.36).
const CLUSTER: &[(&str, &str)] = &[
    ("", "ComponentStatus"),
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("networking.k8s.io", "IPAddress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "ServiceCIDR"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceSlice"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    // Of operators whose definitions usually come with a chart.
    ("cert-manager.io", "ClusterIssuer"),
    ("cilium.io", "CiliumClusterwideNetworkPolicy"),
    ("external-secrets.io", "ClusterExternalSecret"),
    ("external-secrets.io", "ClusterSecretStore"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("karpenter.k8s.aws", "EC2NodeClass"),
    ("karpenter.sh", "NodePool"),
    ("kyverno.io", "ClusterPolicy"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotContent"),
];

/// What is known of kinds.
#[derive(Debug, Default)]
pub struct Scopes {
    cluster: HashSet<(String, String)>,
    namespaced: HashSet<(String, String)>,
}

impl Scopes {
    /// Takes note of a definition.
    pub fn declare(&mut self, resource: &Resource) {
        if resource.kind() == "CustomResourceDefinition" {
            let kind = (resource.text("/spec/group").to_owned(), resource.text("/spec/names/kind").to_owned());
            if resource.text("/spec/scope") == "Cluster" {
                self.cluster.insert(kind)
            } else {
                self.namespaced.insert(kind)
            };
        }
    }

    /// Whether an object lives in a namespace; what nobody defines does, as kustomize takes it.
    pub fn is_namespaced(&self, resource: &Resource) -> bool {
        let kind = (resource.group().to_owned(), resource.kind().to_owned());
        self.namespaced.contains(&kind) || !(self.cluster.contains(&kind) || CLUSTER.contains(&(resource.group(), resource.kind())))
    }
}
