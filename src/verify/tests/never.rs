//! What never starts, or never becomes ready: found, and seen by the simulated start.

use super::*;

/// `stopped: …; unready: …` by name.
fn stuck(found: &Verification) -> String {
    let names = |ids: &[crate::layers::LayerId]| ids.iter().map(|id| id.name.as_str()).collect::<Vec<_>>().join(" ");
    format!("stopped: {}; unready: {}", names(&found.stopped), names(&found.unready))
}

fn config(name: &str) -> String {
    object("v1", "ConfigMap", &format!("{{name: {name}, namespace: default}}"), "")
}

/// A HelmRelease of a chart in this repository; `more` is added to its spec.
fn chart_release(name: &str, more: &str) -> String {
    object(
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        &format!("{{name: {name}, namespace: default}}"),
        &format!(
            "spec:\n  interval: 1h\n  chart: {{spec: {{chart: ./charts/x, sourceRef: {{kind: GitRepository, name: flux-system, namespace: flux-system}}}}}}\n{more}"
        ),
    )
}

fn chart() -> [(String, String); 2] {
    let definition = definition("acme.io", "Foo");
    [
        ("charts/x/Chart.yaml".to_owned(), "apiVersion: v2\nname: x\nversion: 0.1.0\n".to_owned()),
        ("charts/x/crds/foo.yaml".to_owned(), definition),
    ]
}

#[test]
fn a_layer_whose_dependency_nothing_brings_never_starts() {
    let files = |more: &str| {
        [
            layer("one", more),
            file("one/a.yaml", &config("one")),
            layer("two", "  dependsOn: [{name: one}]\n"),
            file("two/a.yaml", &config("two")),
        ]
    };
    let Some(missing) = report(&files("  dependsOn: [{name: gone}]\n"), "") else { return };
    assert_eq!(stuck(&missing), "stopped: one two; unready: ");
    let suspended = report(&files("  suspend: true\n"), "").unwrap();
    assert_eq!(stuck(&suspended), "stopped: two; unready: ");
    let variables = report(&files("  postBuild: {substituteFrom: [{kind: ConfigMap, name: gone}]}\n"), "").unwrap();
    assert_eq!(stuck(&variables), "stopped: one two; unready: ");
    let invalid = report(&files("  dependsOn: one\n"), "").unwrap();
    assert!(
        !lines(&invalid, "kustomization-invalid").is_empty() && stuck(&invalid).starts_with("stopped: flux-system"),
        "{}",
        stuck(&invalid)
    );
    for found in [missing, suspended, variables, invalid] {
        assert_eq!(lines(&found, "never-starts"), Vec::<String>::new(), "another finding says why");
    }
    assert_eq!(stuck(&report(&files(""), "").unwrap()), "stopped: ; unready: ");
}

#[test]
fn a_layer_that_nobody_can_look_into_is_told_and_counts_as_started() {
    let files = [
        layer("one", ""),
        file("one/kustomization.yaml", "resources: ['https://github.com/acme/lib//k?ref=v1']\n"),
        layer("two", "  dependsOn: [{name: one}]\n"),
        file("two/a.yaml", &config("two")),
    ];
    let Some(found) = report(&files, "") else { return };
    assert_eq!(stuck(&found), "stopped: ; unready: ");
    assert_eq!(found.unread.iter().map(ToString::to_string).collect::<Vec<_>>(), ["flux-system/one"]);
    let text = crate::forms::verification(&found, false);
    assert!(text.contains("flux-system/one") && text.contains("of what Git tells stands against"), "{text}");
}

#[test]
fn what_never_starts_is_named() {
    let files = [layer("one", "  dependsOn: [{name: gone}]\n"), file("one/a.yaml", &config("one"))];
    let Some(found) = report(&files, "") else { return };
    let (text, comment) = (crate::forms::verification(&found, false), crate::forms::verified(&found));
    assert!(text.contains("1 of 2 layers never start") && text.contains("flux-system/one"), "{text}");
    assert!(comment.contains("Never start: `flux-system/one`."), "{comment}");
    let since = found.clone().since("main", &found);
    let text = crate::forms::verification(&since, false);
    assert!(text.contains("Nothing new, but 1 layer"), "{text}");
}

#[test]
fn what_is_accepted_stops_nothing() {
    let (path, text) = layer("one", "");
    let accepting = text.replace("name: one,", "name: one, annotations: {blackstart.dev/accept: 'definition-too-late: made by hand'},");
    let both = release("cert-manager", "cert-manager", "{}") + ISSUER;
    let Some(found) = report(&[(path, accepting), file("one/a.yaml", &both)], "") else { return };
    assert_eq!((stuck(&found).as_str(), found.accepted.len()), ("stopped: ; unready: ", 1), "{:#?}", found.findings);
}

#[test]
fn a_health_check_of_what_only_a_dependent_layer_holds() {
    let checks = "  healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: api, namespace: default}]\n";
    let files = |more: &str| {
        [
            layer("one", checks),
            file("one/a.yaml", &config("one")),
            layer("two", more),
            file("two/a.yaml", &workload("Deployment", "api", "a:1")),
        ]
    };
    check(
        "waits-for-itself",
        (&files("  dependsOn: [{name: one}]\n"), ""),
        &[
            "Blocks clusters/a/one.yaml:1 layer flux-system/one: its health check waits for Deployment default/api of layer flux-system/two, and that starts only when this layer is ready",
        ],
        (&files(""), ""),
    );
    let Some(found) = report(&files("  dependsOn: [{name: one}]\n"), "") else { return };
    assert_eq!(stuck(&found), "stopped: two; unready: one");
}

#[test]
fn a_release_that_nothing_completes() {
    let files = |wait: &str, release: &str| {
        let mut files = vec![layer("one", wait), file("one/a.yaml", release)];
        files.extend(chart());
        files
    };
    let bad = |wait: &str, more: &str, wanted: &str, good: &str| {
        check(
            "release-incomplete",
            (&files(wait, &chart_release("a", more)), ""),
            &[wanted],
            (&files(wait, &(chart_release("a", more) + good)), ""),
        );
    };
    bad(
        "  wait: true\n",
        "  dependsOn: [{name: b}]\n",
        "Blocks apps/one/a.yaml:2 HelmRelease default/a: can never be installed: it depends on HelmRelease default/b, which nothing declares",
        &chart_release("b", ""),
    );
    bad("", "  dependsOn: [{name: b}]\n", "Differs apps/one/a.yaml:2 HelmRelease default/a", &chart_release("b", ""));
    bad(
        "  wait: true\n",
        "  valuesFrom: [{kind: ConfigMap, name: v}]\n",
        "it takes values from ConfigMap default/v, which nothing declares",
        &config("v"),
    );
    let gone = |folder: &str| chart_release("a", "").replace("./charts/x", folder);
    check(
        "release-incomplete",
        (&files("  wait: true\n", &gone("./charts/nope")), ""),
        &["it takes its chart from ./charts/nope in GitRepository/flux-system/flux-system, where none is"],
        (&files("  wait: true\n", &gone("charts/x")), ""),
    );
    let both = release("a", "a", "{}");
    let (_, alone) = both.split_at(both.find("---\napiVersion: helm").unwrap());
    check(
        "release-incomplete",
        (&files("  wait: true\n", alone), ""),
        &["it takes its chart from HelmRepository default/charts, which nothing declares"],
        (&files("  wait: true\n", &both), ""),
    );
    let Some(found) = report(&files("  wait: true\n", alone), "") else { return };
    assert_eq!(stuck(&found), "stopped: ; unready: one");
}

#[test]
fn releases_that_wait_for_each_other() {
    let files = |of_b: &str| {
        let both = chart_release("a", "  dependsOn: [{name: b}]\n") + &chart_release("b", of_b);
        let mut files = vec![layer("one", "  wait: true\n"), file("one/a.yaml", &both)];
        files.extend(chart());
        files
    };
    check(
        "release-incomplete",
        (&files("  dependsOn: [{name: a}]\n"), ""),
        &["HelmRelease default/a: can never be installed: it waits for itself: default/a → default/b → default/a"],
        (&files(""), ""),
    );
    check(
        "release-incomplete",
        (&files("  suspend: true\n"), ""),
        &["HelmRelease default/a: can never be installed: it depends on HelmRelease default/b, which is suspended"],
        (&files(""), ""),
    );
}

#[test]
fn a_release_that_needs_one_of_a_layer_that_waits_for_it() {
    let files = |more: &str| {
        let mut files = vec![
            layer("one", "  wait: true\n"),
            file("one/a.yaml", &chart_release("a", "  dependsOn: [{name: b}]\n")),
            layer("two", more),
            file("two/a.yaml", &chart_release("b", "")),
        ];
        files.extend(chart());
        files
    };
    check(
        "waits-for-itself",
        (&files("  dependsOn: [{name: one}]\n"), ""),
        &["layer flux-system/one: waits for HelmRelease default/a, which needs HelmRelease default/b of layer flux-system/two"],
        (&files(""), ""),
    );
}

#[test]
fn an_object_that_names_no_namespace() {
    let files = |metadata: &str| [layer("one", ""), file("one/a.yaml", &object("v1", "ConfigMap", metadata, ""))];
    check(
        "namespace-unnamed",
        (&files("{name: a}"), ""),
        &["Blocks apps/one/a.yaml:2 ConfigMap a of layer flux-system/one: names no namespace"],
        (&files("{name: a, namespace: default}"), ""),
    );
    let Some(found) = report(&files("{name: a}"), "") else { return };
    assert_eq!(stuck(&found), "stopped: one; unready: ");
    let of_cluster =
        object("rbac.authorization.k8s.io/v1", "ClusterRole", "{name: a}", "rules: []") + &object("x.io/v1", "Thing", "{name: a}", "");
    let found = report(&[layer("one", "  targetNamespace: default\n"), file("one/a.yaml", &config("a"))], "").unwrap();
    assert_eq!(lines(&found, "namespace-unnamed"), Vec::<String>::new());
    let found = report(&[layer("one", ""), file("one/a.yaml", &of_cluster)], "").unwrap();
    assert_eq!(lines(&found, "namespace-unnamed"), Vec::<String>::new());
}

#[test]
fn a_variable_that_becomes_a_number() {
    let files = |value: &str| {
        let text = object(
            "v1",
            "ConfigMap",
            &format!("{{name: a, namespace: default, labels: {{v: '{value}'}}}}"),
            &format!("data: {{p: '{value}'}}"),
        );
        [layer("one", "  postBuild: {substitute: {N: '3', S: x}}\n"), file("one/a.yaml", &text)]
    };
    check(
        "value-not-text",
        (&files("${N}"), ""),
        &["Blocks apps/one/a.yaml:2 ConfigMap default/a: must be text: metadata.labels.v (a number), data.p (a number)"],
        (&files("${S}"), ""),
    );
    let deployment = |value: &str| {
        let text = workload("Deployment", "a", "a:1")
            .replace("name: a, image", &format!("name: a, env: [{{name: DEBUG, value: {value}}}], image"));
        [layer("one", ""), file("one/a.yaml", &text)]
    };
    check(
        "value-not-text",
        (&deployment("true"), ""),
        &["Deployment default/a: must be text: DEBUG of container a (true or false)"],
        (&deployment("'true'"), ""),
    );
    let substitute =
        |value: &str| [layer("one", &format!("  postBuild: {{substitute: {{N: {value}}}}}\n")), file("one/a.yaml", &config("a"))];
    check(
        "value-not-text",
        (&substitute("3"), ""),
        &["Kustomization flux-system/one: must be text: spec.postBuild.substitute.N (a number)"],
        (&substitute("'3'"), ""),
    );
}

#[test]
fn a_suspended_child_of_a_layer_that_waits() {
    let (_, child) = layer("kid", "  suspend: true\n");
    let files = |wait: &str| {
        [
            layer("base", wait),
            file("base/a.yaml", &child),
            file("kid/a.yaml", &config("a")),
            layer("one", DEPENDS_ON_BASE),
            file("one/a.yaml", &config("b")),
        ]
    };
    check(
        "suspended-awaited",
        (&files("  wait: true\n"), ""),
        &[
            "Blocks apps/base/a.yaml:1 layer flux-system/base: waits for Kustomization flux-system/kid, which is suspended and so never becomes ready",
        ],
        (&files(""), ""),
    );
    let Some(found) = report(&files("  wait: true\n"), "") else { return };
    assert_eq!(stuck(&found), "stopped: one; unready: base");
    let release = |more: &str| {
        let mut files = vec![layer("one", "  wait: true\n"), file("one/a.yaml", &chart_release("a", more))];
        files.extend(chart());
        files
    };
    check(
        "suspended-awaited",
        (&release("  suspend: true\n"), ""),
        &["Risk apps/one/a.yaml:2 layer flux-system/one: waits for HelmRelease default/a, which is suspended: it counts as healthy"],
        (&release(""), ""),
    );
}

#[test]
fn an_account_that_nothing_makes() {
    let account = object("v1", "ServiceAccount", "{name: tenant, namespace: flux-system}", "");
    let files =
        |name: &str, more: &str| [layer("one", &format!("  serviceAccountName: {name}\n")), file("one/a.yaml", &(config("a") + more))];
    check(
        "account-missing",
        (&files("tenant", ""), ""),
        &["Blocks clusters/a/one.yaml:1 layer flux-system/one: is applied as ServiceAccount flux-system/tenant, which nothing makes"],
        (&files("tenant", &account), ""),
    );
    for given in ["default", "kustomize-controller"] {
        let Some(found) = report(&files(given, ""), "") else { return };
        assert_eq!(lines(&found, "account-missing"), Vec::<String>::new());
    }
    let bound = object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "{name: tenant}",
        "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}\nsubjects: [{kind: ServiceAccount, name: tenant, namespace: flux-system}]",
    );
    let found = report(&files("tenant", &bound), "").unwrap();
    assert_eq!(lines(&found, "account-missing"), Vec::<String>::new(), "the API server lets the agent act as any name");
}

#[test]
fn releases_elsewhere_bring_nothing_here() {
    let files = |more: &str| {
        let release = release("cert-manager", "cert-manager", "{}").replace(
            "spec: {interval: 1h, chart:",
            &format!("spec: {{{more}targetNamespace: certs, install: {{createNamespace: true}}, interval: 1h, chart:"),
        );
        [
            layer("base", ""),
            file("base/a.yaml", &release),
            layer("one", DEPENDS_ON_BASE),
            file("one/a.yaml", &(ISSUER.to_owned() + &object("v1", "ConfigMap", "{name: a, namespace: certs}", ""))),
        ]
    };
    for more in ["suspend: true, ", "kubeConfig: {secretRef: {name: east}}, "] {
        check("kind-from-nowhere", (&files(more), ""), &["nothing in Git is known to define cert-manager.io"], (&files(""), ""));
        check("namespace-missing", (&files(more), ""), &["nothing makes Namespace certs"], (&files(""), ""));
    }
}

#[test]
fn a_chart_in_git_brings_its_definitions_unless_told_otherwise() {
    let files = |order: &str, more: &str| {
        let mut files = vec![
            layer("base", "  wait: true\n"),
            file("base/a.yaml", &chart_release("a", more)),
            layer("one", order),
            file("one/a.yaml", &object("acme.io/v1", "Foo", "{name: f, namespace: default}", "")),
        ];
        files.extend(chart());
        files
    };
    check(
        "order-undeclared",
        (&files("", ""), ""),
        &["layer flux-system/one: needs Foo of layer flux-system/base, which nothing puts before it"],
        (&files(DEPENDS_ON_BASE, ""), ""),
    );
    check(
        "kind-from-nowhere",
        (&files(DEPENDS_ON_BASE, "  install: {crds: Skip}\n"), ""),
        &["Foo default/f: nothing in Git is known to define acme.io (Foo)"],
        (&files(DEPENDS_ON_BASE, ""), ""),
    );
}

#[test]
fn an_encrypted_file_that_becomes_a_value() {
    let files = |text: &str| {
        [
            layer("one", ""),
            file(
                "one/kustomization.yaml",
                "secretGenerator:\n- name: g\n  namespace: default\n  files: [v.yaml]\n- name: plain\n  namespace: default\n  literals: [a=b]\n",
            ),
            file("one/v.yaml", text),
        ]
    };
    check(
        "decryption-key",
        (&files("a: ENC[AES256_GCM,data:aa,iv:aa,tag:aa,type:str]\nsops:\n  age: []\n  version: 3.9.0\n"), ""),
        &["of layer flux-system/one: v.yaml is a file encrypted with SOPS, and becomes the value as it stands"],
        (&files("a: b\n"), ""),
    );
}

#[test]
fn a_layer_of_a_source_that_cannot_be_opened() {
    let source = |more: &str| {
        object(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            "{name: other, namespace: flux-system}",
            &format!("spec: {{url: 'https://example.com/fleet', interval: 1m, ref: {{branch: main}}{more}}}"),
        )
    };
    let files = |more: &str| {
        let (path, text) = layer("two", "");
        [
            layer("one", ""),
            file("one/a.yaml", &source(more)),
            (path, text.replace("kind: GitRepository, name: flux-system", "kind: GitRepository, name: other")),
            file("two/a.yaml", &config("two")),
        ]
    };
    let Some(found) = report(&files(", secretRef: {name: token}"), "") else { return };
    assert_eq!(stuck(&found), "stopped: two; unready: ", "{:#?}", found.findings);
    assert_eq!(stuck(&report(&files(""), "").unwrap()), "stopped: ; unready: ");
}

#[test]
fn a_policy_that_makes_accounts_leaves_them_alone() {
    let policy = |kind: &str| {
        object(
            "kyverno.io/v1",
            "ClusterPolicy",
            "{name: tenants}",
            &format!("spec: {{rules: [{{name: a, generate: {{apiVersion: v1, kind: {kind}, name: tenant}}}}]}}"),
        )
    };
    let files = |kind: &str| [layer("one", "  serviceAccountName: tenant\n"), file("one/a.yaml", &(config("a") + &policy(kind)))];
    check(
        "account-missing",
        (&files("NetworkPolicy"), ""),
        &["is applied as ServiceAccount flux-system/tenant, which nothing makes"],
        (&files("ServiceAccount"), ""),
    );
}

#[test]
fn a_set_that_gives_releases_may_give_the_one_that_is_needed() {
    let set = |kind: &str| {
        object(
            "fluxcd.controlplane.io/v1",
            "ResourceSet",
            "{name: all, namespace: default}",
            &format!(
                "spec:\n  inputs: [{{name: b}}]\n  resourcesTemplate: |\n    apiVersion: x/v1\n    kind: {kind}\n    metadata: {{name: << inputs.name >>, namespace: default}}"
            ),
        )
    };
    let files = |kind: &str| {
        let all = chart_release("a", "  dependsOn: [{name: other}]\n") + &set(kind);
        let mut files = vec![layer("one", "  wait: true\n"), file("one/a.yaml", &all)];
        files.extend(chart());
        files
    };
    for (kind, severity) in [("ConfigMap", "Blocks"), ("HelmRelease", "Risk")] {
        let Some(found) = report(&files(kind), "") else { return };
        let found = lines(&found, "release-incomplete");
        assert!(found.len() == 1 && found[0].starts_with(severity), "{kind}: {found:?}");
    }
}
