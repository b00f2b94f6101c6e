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
    ("authentication.k8s.io", "SelfSubjectReview"),
    ("authentication.k8s.io", "TokenReview"),
    ("authorization.k8s.io", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "SubjectAccessReview"),
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
    ("internal.apiserver.k8s.io", "StorageVersion"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "DeviceTaintRule"),
    ("resource.k8s.io", "ResourceSlice"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    ("storagemigration.k8s.io", "StorageVersionMigration"),
    // Of operators whose definitions usually come with a chart (`scope: Cluster` in them).
    ("apiextensions.crossplane.io", "CompositeResourceDefinition"),
    ("apiextensions.crossplane.io", "Composition"),
    ("apiextensions.crossplane.io", "EnvironmentConfig"),
    ("argoproj.io", "ClusterAnalysisTemplate"),
    ("argoproj.io", "ClusterWorkflowTemplate"),
    ("capsule.clastix.io", "Tenant"),
    ("cert-manager.io", "ClusterIssuer"),
    ("cilium.io", "CiliumBGPAdvertisement"),
    ("cilium.io", "CiliumBGPClusterConfig"),
    ("cilium.io", "CiliumBGPPeerConfig"),
    ("cilium.io", "CiliumBGPPeeringPolicy"),
    ("cilium.io", "CiliumCIDRGroup"),
    ("cilium.io", "CiliumClusterwideEnvoyConfig"),
    ("cilium.io", "CiliumClusterwideNetworkPolicy"),
    ("cilium.io", "CiliumEgressGatewayPolicy"),
    ("cilium.io", "CiliumL2AnnouncementPolicy"),
    ("cilium.io", "CiliumLoadBalancerIPPool"),
    ("crd.k8s.amazonaws.com", "ENIConfig"),
    ("crd.projectcalico.org", "BGPConfiguration"),
    ("crd.projectcalico.org", "BGPPeer"),
    ("crd.projectcalico.org", "FelixConfiguration"),
    ("crd.projectcalico.org", "GlobalNetworkPolicy"),
    ("crd.projectcalico.org", "GlobalNetworkSet"),
    ("crd.projectcalico.org", "IPPool"),
    ("eks.amazonaws.com", "NodeClass"),
    ("elbv2.k8s.aws", "IngressClassParams"),
    ("external-secrets.io", "ClusterExternalSecret"),
    ("external-secrets.io", "ClusterPushSecret"),
    ("external-secrets.io", "ClusterSecretStore"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("generators.external-secrets.io", "ClusterGenerator"),
    ("groupsnapshot.storage.k8s.io", "VolumeGroupSnapshotClass"),
    ("groupsnapshot.storage.k8s.io", "VolumeGroupSnapshotContent"),
    ("karpenter.k8s.aws", "EC2NodeClass"),
    ("karpenter.sh", "NodeClaim"),
    ("karpenter.sh", "NodeOverlay"),
    ("karpenter.sh", "NodePool"),
    ("keda.sh", "ClusterTriggerAuthentication"),
    ("kueue.x-k8s.io", "ClusterQueue"),
    ("kueue.x-k8s.io", "ResourceFlavor"),
    ("kyverno.io", "ClusterCleanupPolicy"),
    ("kyverno.io", "ClusterPolicy"),
    ("mutations.gatekeeper.sh", "Assign"),
    ("mutations.gatekeeper.sh", "AssignMetadata"),
    ("mutations.gatekeeper.sh", "ModifySet"),
    ("nfd.k8s-sigs.io", "NodeFeatureRule"),
    ("nvidia.com", "ClusterPolicy"),
    ("nvidia.com", "NVIDIADriver"),
    ("operator.tigera.io", "APIServer"),
    ("operator.tigera.io", "Installation"),
    ("pkg.crossplane.io", "Configuration"),
    ("pkg.crossplane.io", "ControllerConfig"),
    ("pkg.crossplane.io", "DeploymentRuntimeConfig"),
    ("pkg.crossplane.io", "Function"),
    ("pkg.crossplane.io", "ImageConfig"),
    ("pkg.crossplane.io", "Provider"),
    ("policies.kyverno.io", "DeletingPolicy"),
    ("policies.kyverno.io", "GeneratingPolicy"),
    ("policies.kyverno.io", "ImageValidatingPolicy"),
    ("policies.kyverno.io", "MutatingPolicy"),
    ("policies.kyverno.io", "ValidatingPolicy"),
    ("policy.cert-manager.io", "CertificateRequestPolicy"),
    ("policy.networking.k8s.io", "AdminNetworkPolicy"),
    ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy"),
    ("policy.networking.k8s.io", "ClusterNetworkPolicy"),
    ("projectcalico.org", "GlobalNetworkPolicy"),
    ("projectcalico.org", "GlobalNetworkSet"),
    ("projectcalico.org", "IPPool"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotContent"),
    ("templates.gatekeeper.sh", "ConstraintTemplate"),
    ("trust.cert-manager.io", "Bundle"),
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

    /// Whether a definition at hand says that its objects live in a namespace.
    pub fn is_defined_so(&self, resource: &Resource) -> bool {
        self.namespaced.contains(&(resource.group().to_owned(), resource.kind().to_owned()))
    }

    /// Whether an object lives in a namespace; what nobody defines does, as kustomize takes it.
    pub fn is_namespaced(&self, resource: &Resource) -> bool {
        let kind = (resource.group().to_owned(), resource.kind().to_owned());
        // Each constraint of Gatekeeper is a kind of its own.
        let is_cluster = CLUSTER.contains(&(resource.group(), resource.kind())) || resource.group() == "constraints.gatekeeper.sh";
        self.namespaced.contains(&kind) || !(self.cluster.contains(&kind) || is_cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_at_hand_wins_over_the_table() {
        let object = |version: &str, kind: &str| Resource { value: json!({"apiVersion": version, "kind": kind}), origin: None };
        let definition = json!({"kind": "CustomResourceDefinition",
            "spec": {"group": "kyverno.io", "scope": "Namespaced", "names": {"kind": "ClusterPolicy"}}});
        let mut scopes = Scopes::default();
        scopes.declare(&Resource { value: definition, origin: None });
        assert!(scopes.is_namespaced(&object("kyverno.io/v1", "ClusterPolicy")) && scopes.is_namespaced(&object("x.io/v1", "Thing")));
        assert!(!scopes.is_namespaced(&object("cert-manager.io/v1", "ClusterIssuer")));
        assert!(!scopes.is_namespaced(&object("constraints.gatekeeper.sh/v1beta1", "K8sRequiredLabels")));
        assert!(scopes.is_defined_so(&object("kyverno.io/v2", "ClusterPolicy")) && !scopes.is_defined_so(&object("v1", "ConfigMap")));
    }
}
