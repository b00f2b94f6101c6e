//! What objects need of each other without any field that orders them: a table as data. Pure.
//!
//! A need is soft: whoever has it is applied all the same, and its controller tries again until the other object is there. So it holds back
//! only that its layer calls itself ready.

use crate::manifest::Resource;
use serde_json::Value;

/// Names a kind of object; no group is the core group.
pub(super) type Kind = (&'static str, &'static str);

/// An object that is needed: kind, namespace (none for one without), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Needed {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// Where the namespace of what is needed is written.
#[derive(Clone, Copy)]
enum In {
    /// The user's own.
    Own,
    /// It has none.
    None,
    /// The field `namespace` beside the name, else the user's own.
    Beside,
}

struct Rule {
    users: &'static [Kind],
    /// Field with the name, or an object with `name` (`secretName` in a volume); `*` is each item of a list. `@` begins an annotation.
    field: &'static str,
    needs: Kind,
    namespace: In,
}

const fn rule(users: &'static [Kind], field: &'static str, needs: Kind, namespace: In) -> Rule {
    Rule { users, field, needs, namespace }
}

const ACCOUNT: Kind = ("", "ServiceAccount");
const CONFIG: Kind = ("", "ConfigMap");
const SECRET: Kind = ("", "Secret");
const CLAIM: Kind = ("", "PersistentVolumeClaim");
const STORAGE: Kind = ("storage.k8s.io", "StorageClass");
const ISSUER: Kind = ("cert-manager.io", "Issuer");
const CLUSTER_ISSUER: Kind = ("cert-manager.io", "ClusterIssuer");
const STORE: Kind = ("external-secrets.io", "SecretStore");
const CLUSTER_STORE: Kind = ("external-secrets.io", "ClusterSecretStore");
const RELEASE: &[Kind] = &[("helm.toolkit.fluxcd.io", "HelmRelease")];
const INGRESS: &[Kind] = &[("networking.k8s.io", "Ingress")];
const CERTIFICATE: &[Kind] = &[("cert-manager.io", "Certificate")];
const EXTERNAL: &[Kind] = &[("external-secrets.io", "ExternalSecret"), ("external-secrets.io", "PushSecret")];
const ROUTES: &[Kind] =
    &[("gateway.networking.k8s.io", "HTTPRoute"), ("gateway.networking.k8s.io", "GRPCRoute"), ("gateway.networking.k8s.io", "TLSRoute")];
const BINDINGS: &[Kind] = &[("rbac.authorization.k8s.io", "RoleBinding"), ("rbac.authorization.k8s.io", "ClusterRoleBinding")];

/// Fields of a pod.
const POD: &[Rule] = &[
    rule(&[], "serviceAccountName", ACCOUNT, In::Own),
    rule(&[], "imagePullSecrets.*", SECRET, In::Own),
    rule(&[], "priorityClassName", ("scheduling.k8s.io", "PriorityClass"), In::None),
    rule(&[], "runtimeClassName", ("node.k8s.io", "RuntimeClass"), In::None),
    rule(&[], "volumes.*.persistentVolumeClaim.claimName", CLAIM, In::Own),
    rule(&[], "volumes.*.configMap", CONFIG, In::Own),
    rule(&[], "volumes.*.secret", SECRET, In::Own),
    rule(&[], "volumes.*.projected.sources.*.configMap", CONFIG, In::Own),
    rule(&[], "volumes.*.projected.sources.*.secret", SECRET, In::Own),
    rule(&[], "containers.*.envFrom.*.configMapRef", CONFIG, In::Own),
    rule(&[], "containers.*.envFrom.*.secretRef", SECRET, In::Own),
    rule(&[], "containers.*.env.*.valueFrom.configMapKeyRef", CONFIG, In::Own),
    rule(&[], "containers.*.env.*.valueFrom.secretKeyRef", SECRET, In::Own),
    rule(&[], "initContainers.*.envFrom.*.configMapRef", CONFIG, In::Own),
    rule(&[], "initContainers.*.envFrom.*.secretRef", SECRET, In::Own),
    rule(&[], "initContainers.*.env.*.valueFrom.configMapKeyRef", CONFIG, In::Own),
    rule(&[], "initContainers.*.env.*.valueFrom.secretKeyRef", SECRET, In::Own),
];

/// Where the pod of a workload is.
const PODS: &[(Kind, &str)] = &[
    (("", "Pod"), "spec"),
    (("apps", "Deployment"), "spec.template.spec"),
    (("apps", "StatefulSet"), "spec.template.spec"),
    (("apps", "DaemonSet"), "spec.template.spec"),
    (("apps", "ReplicaSet"), "spec.template.spec"),
    (("batch", "Job"), "spec.template.spec"),
    (("batch", "CronJob"), "spec.jobTemplate.spec.template.spec"),
];

/// Everything else. A reference that says its own kind counts where that is the rule's.
const RULES: &[Rule] = &[
    rule(&[CLAIM], "spec.storageClassName", STORAGE, In::None),
    rule(&[("apps", "StatefulSet")], "spec.volumeClaimTemplates.*.spec.storageClassName", STORAGE, In::None),
    rule(INGRESS, "spec.ingressClassName", ("networking.k8s.io", "IngressClass"), In::None),
    rule(INGRESS, "spec.tls.*.secretName", SECRET, In::Own),
    rule(INGRESS, "@cert-manager.io/cluster-issuer", CLUSTER_ISSUER, In::None),
    rule(INGRESS, "@cert-manager.io/issuer", ISSUER, In::Own),
    rule(&[("gateway.networking.k8s.io", "Gateway")], "@cert-manager.io/cluster-issuer", CLUSTER_ISSUER, In::None),
    rule(&[("gateway.networking.k8s.io", "Gateway")], "@cert-manager.io/issuer", ISSUER, In::Own),
    rule(&[("gateway.networking.k8s.io", "Gateway")], "spec.gatewayClassName", ("gateway.networking.k8s.io", "GatewayClass"), In::None),
    rule(ROUTES, "spec.parentRefs.*", ("gateway.networking.k8s.io", "Gateway"), In::Beside),
    rule(CERTIFICATE, "spec.issuerRef", CLUSTER_ISSUER, In::None),
    rule(CERTIFICATE, "spec.issuerRef", ISSUER, In::Own),
    rule(EXTERNAL, "spec.secretStoreRef", STORE, In::Own),
    rule(EXTERNAL, "spec.secretStoreRef", CLUSTER_STORE, In::None),
    rule(EXTERNAL, "spec.dataFrom.*.sourceRef.storeRef", STORE, In::Own),
    rule(EXTERNAL, "spec.dataFrom.*.sourceRef.storeRef", CLUSTER_STORE, In::None),
    rule(EXTERNAL, "spec.data.*.sourceRef.storeRef", STORE, In::Own),
    rule(EXTERNAL, "spec.data.*.sourceRef.storeRef", CLUSTER_STORE, In::None),
    rule(BINDINGS, "roleRef", ("rbac.authorization.k8s.io", "ClusterRole"), In::None),
    rule(BINDINGS, "roleRef", ("rbac.authorization.k8s.io", "Role"), In::Own),
    rule(RELEASE, "spec.dependsOn.*", RELEASE[0], In::Beside),
    rule(RELEASE, "spec.valuesFrom.*", CONFIG, In::Own),
    rule(RELEASE, "spec.valuesFrom.*", SECRET, In::Own),
    rule(RELEASE, "spec.kubeConfig.secretRef", SECRET, In::Own),
    rule(RELEASE, "spec.chart.spec.sourceRef", ("source.toolkit.fluxcd.io", "HelmRepository"), In::Beside),
    rule(RELEASE, "spec.chart.spec.sourceRef", ("source.toolkit.fluxcd.io", "GitRepository"), In::Beside),
    rule(RELEASE, "spec.chart.spec.sourceRef", ("source.toolkit.fluxcd.io", "Bucket"), In::Beside),
    rule(RELEASE, "spec.chartRef", ("source.toolkit.fluxcd.io", "OCIRepository"), In::Beside),
    rule(RELEASE, "spec.chartRef", ("source.toolkit.fluxcd.io", "HelmChart"), In::Beside),
    rule(
        &[("snapshot.storage.k8s.io", "VolumeSnapshot")],
        "spec.volumeSnapshotClassName",
        ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
        In::None,
    ),
    rule(&[("karpenter.sh", "NodePool")], "spec.template.spec.nodeClassRef", ("karpenter.k8s.aws", "EC2NodeClass"), In::None),
];

/// Secrets that other objects make: kind, the field with the name where it is not the object's own, and what stands behind the name.
const MAKERS: &[(Kind, &str, &str)] = &[
    (EXTERNAL[0], "/spec/target/name", ""),
    (CERTIFICATE[0], "/spec/secretName", ""),
    (("bitnami.com", "SealedSecret"), "/spec/template/metadata/name", ""),
    // Cluster API: `util/secret`, purpose kubeconfig.
    (("cluster.x-k8s.io", "Cluster"), "/metadata/name", "-kubeconfig"),
    (("postgresql.cnpg.io", "Cluster"), "/metadata/name", "-app"),
    (("postgresql.cnpg.io", "Cluster"), "/metadata/name", "-superuser"),
];
/// Fields of any object that name a Secret which its controller writes: Crossplane's managed resources, composites and claims, and the
/// Terraform controller. The first says the namespace itself where the object has none.
const WRITTEN: [&str; 3] = ["/spec/writeConnectionSecretToRef", "/spec/publishConnectionDetailsTo", "/spec/writeOutputsToSecret"];

/// Fields that are true where the object may be missing.
const OPTIONAL: &str = "optional";

/// What an object needs, each once.
pub(super) fn needs(object: &Resource) -> Vec<Needed> {
    let kind = (object.group(), object.kind());
    let mut found = Vec::new();
    if let Some((_, path)) = PODS.iter().find(|(other, _)| *other == kind) {
        let mut pods = Vec::new();
        collect(&object.value, path, &mut pods);
        for rule in POD {
            for pod in &pods {
                apply(rule, pod, object, &mut found);
            }
        }
    }
    for rule in RULES.iter().filter(|rule| rule.users.contains(&kind)) {
        apply(rule, &object.value, object, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

/// What an object offers to those that need it: itself, and the Secret that comes of it.
pub(super) fn offers(object: &Resource) -> impl Iterator<Item = Needed> {
    let kind = (object.group(), object.kind());
    let own = is_needed(kind).then(|| needed(kind, object.namespace(), object.name()));
    let made = secrets_made(object).into_iter().map(|(namespace, name)| needed(SECRET, Some(&namespace), &name));
    own.into_iter().chain(made)
}

/// Secrets that a controller makes of an object: (namespace, name).
pub(crate) fn secrets_made(object: &Resource) -> Vec<(String, String)> {
    let kind = (object.group(), object.kind());
    let own = object.namespace().unwrap_or("default");
    let name = |pointer: &str| Some(object.text(pointer)).filter(|name| !name.is_empty());
    let makers = MAKERS.iter().filter(|(maker, ..)| *maker == kind);
    let of_kind = makers.map(|(_, field, end)| (own.to_owned(), format!("{}{end}", name(field).unwrap_or(object.name()))));
    let written = WRITTEN.iter().filter_map(|field| {
        let namespace = name(&format!("{field}/namespace")).unwrap_or(own);
        Some((namespace.to_owned(), name(&format!("{field}/name"))?.to_owned()))
    });
    // ACK writes a field of its object where the export says.
    let exported = (kind == ("services.k8s.aws", "FieldExport") && object.text("/spec/to/kind").eq_ignore_ascii_case("secret"))
        .then(|| (name("/spec/to/namespace").unwrap_or(own).to_owned(), object.text("/spec/to/name").to_owned()));
    of_kind.chain(written).chain(exported).collect()
}

fn is_needed(kind: (&str, &str)) -> bool {
    POD.iter().chain(RULES).any(|rule| rule.needs == kind)
}

fn needed((group, kind): (&str, &str), namespace: Option<&str>, name: &str) -> Needed {
    Needed { group: group.to_owned(), kind: kind.to_owned(), namespace: namespace.map(str::to_owned), name: name.to_owned() }
}

fn apply(rule: &Rule, from: &Value, user: &Resource, found: &mut Vec<Needed>) {
    if let Some(annotation) = rule.field.strip_prefix('@') {
        let name = user.annotation(annotation);
        let namespace = user.namespace().filter(|_| matches!(rule.namespace, In::Own));
        found.extend(name.map(|name| needed(rule.needs, namespace, name)));
        return;
    }
    let mut values = Vec::new();
    collect(from, rule.field, &mut values);
    for value in values {
        let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if value.get(OPTIONAL) == Some(&Value::Bool(true)) {
            continue;
        }
        // Where no kind is said, the one in the namespace is meant.
        let of_kind = text("kind").map_or(![CLUSTER_ISSUER, CLUSTER_STORE].contains(&rule.needs), |kind| kind == rule.needs.1);
        let Some(name) = value.as_str().filter(|name| !name.is_empty()).or_else(|| text("name").or(text("secretName")).filter(|_| of_kind))
        else {
            continue;
        };
        let namespace = match rule.namespace {
            In::None => None,
            In::Own => user.namespace(),
            In::Beside => text("namespace").or_else(|| user.namespace()),
        };
        found.push(needed(rule.needs, namespace, name));
    }
}

/// All values at a path; `*` is each item of a list.
fn collect<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut go = |value: &'v Value| match rest {
        Some(rest) => collect(value, rest, found),
        None => found.push(value),
    };
    if first == "*" {
        value.as_array().into_iter().flatten().for_each(&mut go);
    } else if let Some(value) = value.get(first) {
        go(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::yaml::documents;

    /// YAML of an object in; a line for each need out.
    fn check(yaml: &str, wanted: &[&str]) {
        let object = Resource { value: documents(yaml).expect("YAML")[0].value.clone(), origin: None };
        let lines: Vec<String> = needs(&object)
            .iter()
            .map(|one| format!("{} {}{}", one.kind, one.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default(), one.name))
            .collect();
        assert_eq!(lines, wanted, "{yaml}");
    }

    #[test]
    fn a_pod_needs_its_account_its_data_and_its_claims_but_not_what_is_optional() {
        check(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a, namespace: n}\nspec: {jobTemplate: {spec: {template: {spec: {serviceAccountName: sa, volumes: [{configMap: {name: cm}}, {secret: {secretName: s}}, {secret: {secretName: maybe, optional: true}}, {persistentVolumeClaim: {claimName: c}}], containers: [{envFrom: [{secretRef: {name: s}}], env: [{valueFrom: {configMapKeyRef: {name: other, key: x}}}]}]}}}}}",
            &["ConfigMap n/cm", "ConfigMap n/other", "PersistentVolumeClaim n/c", "Secret n/s", "ServiceAccount n/sa"],
        );
    }

    #[test]
    fn a_reference_that_says_its_kind_means_that_one_alone() {
        check(
            "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a, namespace: n}\nspec: {issuerRef: {kind: ClusterIssuer, name: le}}",
            &["ClusterIssuer le"],
        );
        check(
            "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a, namespace: n}\nspec: {issuerRef: {name: le}}",
            &["Issuer n/le"],
        );
        check(
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a, namespace: n}\nspec: {secretStoreRef: {kind: ClusterSecretStore, name: aws}}",
            &["ClusterSecretStore aws"],
        );
        check(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, namespace: n, annotations: {cert-manager.io/cluster-issuer: le}}\nspec: {ingressClassName: nginx}",
            &["ClusterIssuer le", "IngressClass nginx"],
        );
        check(
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a, namespace: n}\nspec: {dependsOn: [{name: b, namespace: m}], valuesFrom: [{kind: Secret, name: v}], chart: {spec: {sourceRef: {kind: HelmRepository, name: r, namespace: flux-system}}}}",
            &["Secret n/v", "HelmRelease m/b", "HelmRepository flux-system/r"],
        );
    }

    #[test]
    fn secrets_come_of_other_objects_too() {
        let object = Resource {
            value: documents(
                "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a, namespace: n}\nspec: {target: {name: db}}",
            )
            .expect("YAML")[0]
                .value
                .clone(),
            origin: None,
        };
        assert_eq!(offers(&object).collect::<Vec<_>>(), [needed(SECRET, Some("n"), "db")]);
    }

    #[test]
    fn clusters_and_connections_write_secrets() {
        let made = |yaml: &str| {
            let object = Resource { value: documents(yaml).expect("YAML")[0].value.clone(), origin: None };
            secrets_made(&object).into_iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect::<Vec<_>>()
        };
        assert_eq!(made("apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: a, namespace: n}"), ["n/a-kubeconfig"]);
        assert_eq!(
            made("apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: a}\nspec: {writeConnectionSecretToRef: {name: s, namespace: m}}"),
            ["m/s"]
        );
        assert_eq!(
            made("apiVersion: x.io/v1\nkind: Claim\nmetadata: {name: a, namespace: n}\nspec: {publishConnectionDetailsTo: {name: s}}"),
            ["n/s"]
        );
        assert!(made("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n}").is_empty());
    }
}
