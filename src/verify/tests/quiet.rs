//! What looks wrong and is not: cases of real repositories.

use super::*;

fn silent(rule: &str, files: &[(String, String)]) {
    let Some(found) = report(files, "") else { return };
    assert_eq!(lines(&found, rule), Vec::<String>::new());
}

#[test]
fn a_health_check_of_a_secret_that_a_controller_makes() {
    let checks = |name: &str| format!("  healthChecks: [{{apiVersion: v1, kind: Secret, name: {name}, namespace: default}}]\n");
    let makers = object("external-secrets.io/v1", "ExternalSecret", "{name: es, namespace: default}", "spec: {target: {name: made}}")
        + &object("example.org/v1", "Bucket", "{name: b, namespace: default}", "spec: {writeConnectionSecretToRef: {name: connected}}");
    let files = |name: &str| [layer("one", &checks(name)), file("one/a.yaml", &makers)];
    check(
        "health-check-missing",
        (&files("other"), ""),
        &["layer flux-system/one: its health check names Secret default/other, which nothing declares"],
        (&files("made"), ""),
    );
    silent("health-check-missing", &files("connected"));
}

#[test]
fn health_checks_beside_wait_are_not_looked_at() {
    let checks = "  healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: nope, namespace: default}]\n";
    let config = file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", ""));
    silent("health-check-missing", &[layer("one", &format!("  wait: true\n{checks}")), config]);
}

#[test]
fn a_health_check_without_a_version_means_apps() {
    let checks = |kind: &str| format!("  healthChecks: [{{kind: {kind}, name: api, namespace: default}}]\n");
    let job =
        object("batch/v1", "Job", "{name: api, namespace: default}", "spec: {template: {spec: {containers: [{name: a, image: 'a:1'}]}}}");
    let all = file("one/a.yaml", &(workload("Deployment", "api", "a:1") + &job));
    check(
        "health-check-missing",
        (&[layer("one", &checks("Job")), all.clone()], ""),
        &["its health check names Job default/api without apiVersion, which is read as apps/v1, which nothing declares"],
        (&[layer("one", &checks("Deployment")), all.clone()], ""),
    );
    let Some(found) = report(&[layer("one", &checks("Job")), all], "") else { return };
    let hint =
        found.findings.iter().find(|finding| finding.problem.rule == "health-check-missing").and_then(|one| one.problem.hint.clone());
    assert_eq!(hint.as_deref(), Some("write apiVersion: batch/v1, as Job default/api has it"));
    assert_eq!(found.unready.iter().map(ToString::to_string).collect::<Vec<_>>(), ["flux-system/one"]);
}

#[test]
fn the_kubeconfig_of_a_cluster_of_cluster_api() {
    let cluster = file("one/a.yaml", &object("cluster.x-k8s.io/v1beta1", "Cluster", "{name: east, namespace: flux-system}", "spec: {}"));
    let files = |name: &str| {
        let other = layer("two", &format!("  kubeConfig: {{secretRef: {{name: {name}}}}}\n"));
        [layer("one", ""), cluster.clone(), other, file("two/a.yaml", &object("v1", "Namespace", "{name: n}", ""))]
    };
    check(
        "secret-missing",
        (&files("west-kubeconfig"), ""),
        &["Kustomization flux-system/two: needs Secret flux-system/west-kubeconfig"],
        (&files("east-kubeconfig"), ""),
    );
}

#[test]
fn a_chart_makes_secrets_where_it_is_installed() {
    let pod = object(
        "apps/v1",
        "Deployment",
        "{name: web, namespace: shop}",
        "spec: {template: {spec: {containers: [{name: a, image: 'a:1', envFrom: [{secretRef: {name: creds}}]}]}}}",
    );
    let files = |target: &str| {
        let release = release("db", "db", "{}")
            .replace("spec: {interval: 1h, chart:", &format!("spec: {{targetNamespace: {target}, interval: 1h, chart:"));
        let namespaces = object("v1", "Namespace", "{name: shop}", "") + &object("v1", "Namespace", "{name: other}", "");
        [layer("one", ""), file("one/a.yaml", &(namespaces + &release + &pod))]
    };
    check(
        "secret-missing",
        (&files("other"), ""),
        &["Deployment shop/web: needs Secret shop/creds, which neither Git nor the environment brings"],
        (&files("shop"), ""),
    );
}

const COMPOSITE: &str = "---\napiVersion: apiextensions.crossplane.io/v1\nkind: CompositeResourceDefinition\nmetadata: {name: xclusters.example.org}\nspec: {group: example.org, names: {kind: XCluster, plural: xclusters}, claimNames: {kind: Cluster, plural: clusters}, versions: []}\n";

#[test]
fn crossplane_defines_the_kinds_of_a_composite() {
    let claim = object("example.org/v1", "Cluster", "{name: a, namespace: default}", "spec: {}");
    let crossplane = [layer("base", "  wait: true\n"), file("base/a.yaml", &release("crossplane", "crossplane", "{}"))];
    let files = |more: &str, one: &str, two: &str| {
        [
            crossplane[0].clone(),
            crossplane[1].clone(),
            layer("one", DEPENDS_ON_BASE),
            file("one/a.yaml", one),
            layer("two", more),
            file("two/a.yaml", two),
        ]
    };
    let config = object("v1", "ConfigMap", "{name: a, namespace: default}", "");
    let ordered = files("  dependsOn: [{name: one}]\n", COMPOSITE, &claim);
    silent("kind-from-nowhere", &ordered);
    check(
        "order-undeclared",
        (&files("", COMPOSITE, &claim), ""),
        &["layer flux-system/two: needs Cluster of layer flux-system/one"],
        (&ordered, ""),
    );
    check(
        "definition-too-late",
        (&files("", &(COMPOSITE.to_owned() + &claim), &config), ""),
        &[
            "it holds 1 object of Cluster (example.org), defined only by CompositeResourceDefinition xclusters.example.org of the same layer",
        ],
        (&ordered, ""),
    );
}

#[test]
fn a_kind_without_namespaces_lives_in_none() {
    let of_cluster = object("v1", "PersistentVolume", "{name: a, namespace: nowhere}", "spec: {}")
        + &object("rbac.authorization.k8s.io/v1", "ClusterRole", "{name: a, namespace: nowhere}", "rules: []")
        + &object("external-secrets.io/v1", "ClusterSecretStore", "{name: a, namespace: nowhere}", "spec: {}");
    check(
        "namespace-missing",
        (
            &[
                layer("one", ""),
                file("one/a.yaml", &(of_cluster.clone() + &object("v1", "ConfigMap", "{name: a, namespace: nowhere}", ""))),
            ],
            "",
        ),
        &["ConfigMap nowhere/a: nothing makes Namespace nowhere, which 1 object stands in"],
        (&[layer("one", ""), file("one/a.yaml", &of_cluster)], ""),
    );
}

#[test]
fn a_claim_that_a_volume_in_git_waits_for() {
    let claim = object(
        "v1",
        "PersistentVolumeClaim",
        "{name: media, namespace: default}",
        "spec: {accessModes: [ReadWriteMany], storageClassName: media}",
    );
    let volume = |class: &str| {
        object("v1", "PersistentVolume", "{name: nas}", &format!("spec: {{storageClassName: {class}, nfs: {{server: a, path: /}}}}"))
    };
    let files = |class: &str| [layer("one", ""), file("one/a.yaml", &(volume(class) + &claim))];
    check(
        "state-without-restore",
        (&files("other"), ""),
        &["PersistentVolumeClaim default/media: a volume that starts empty"],
        (&files("media"), ""),
    );
}

#[test]
fn a_layer_of_two_parents_is_told_once() {
    let (_, child) = layer("kid", "");
    let files = [
        layer("one", ""),
        file("one/a.yaml", &child),
        layer("two", ""),
        file("two/a.yaml", &child),
        file("kid/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", "")),
    ];
    let Some(found) = report(&files, "") else { return };
    assert_eq!((lines(&found, "layer-twice").len(), lines(&found, "object-twice").len()), (1, 0), "{:#?}", found.findings);
}

#[test]
fn a_field_that_is_null_is_not_written() {
    let config = file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", ""));
    let Some(found) = report(&[layer("one", "  dependsOn:\n  healthChecks: null\n  wait:\n"), config], "") else { return };
    assert!(found.findings.is_empty() && found.layers == 2, "{:#?}", found.findings);
}
