//! Each rule once where it fires and once where it stays silent: files in, report out, through the real reading.

mod never;
mod quiet;

use super::{Subject, Verification, page, rules, verify};
use crate::environment::parse;
use crate::plan::plan;
use crate::read::{ReadOptions, Reading, Revision, charts, read_blocking, written};
use std::fs;
use std::path::Path;

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://example.com/fleet', interval: 1m, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";

/// A layer of `apps/NAME`; `more` is added to its spec as it stands.
fn layer(name: &str, more: &str) -> (String, String) {
    let text = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: ./apps/{name}\n  prune: true\n  interval: 1m\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{more}"
    );
    (format!("clusters/a/{name}.yaml"), text)
}

/// A file of a layer.
fn file(path: &str, text: &str) -> (String, String) {
    (format!("apps/{path}"), text.to_owned())
}

fn object(version: &str, kind: &str, name: &str, more: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {name}\n{more}\n")
}

const DEPENDS_ON_BASE: &str = "  dependsOn: [{name: base}]\n";

/// Reads files as a repository with the cluster `clusters/a`; `spec` is that of the environment.
fn report(files: &[(String, String)], spec: &str) -> Option<Verification> {
    crate::render::program::find("kustomize")?;
    let folder = tempfile::tempdir().unwrap();
    let sync = ("clusters/a/flux-system/gotk-sync.yaml".to_owned(), SYNC.to_owned());
    for (path, text) in std::iter::once(&sync).chain(files) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git2::Repository::init(folder.path()).unwrap();
    Some(verified(folder.path(), spec).1)
}

fn verified(path: &Path, spec: &str) -> (Reading, Verification) {
    let text = format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: a}}\nspec:\n{spec}");
    let environment = parse(&text, "blackstart.yaml").unwrap();
    let options = ReadOptions {
        path: path.to_owned(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    let reading = read_blocking(&options, &environment).unwrap();
    let plan = plan(&reading, &environment, &crate::aws::catalogue());
    let (shipped, absent, documents) = (charts::by_release(&reading), charts::absent(&reading), written(&reading));
    let subject =
        Subject { reading: &reading, environment: &environment, plan: &plan, shipped: &shipped, absent: &absent, written: &documents };
    let found = verify(&subject);
    (reading, found)
}

/// What a report says of a rule: `severity place message`, one a line.
fn lines(found: &Verification, rule: &str) -> Vec<String> {
    let of_rule = found.findings.iter().filter(|finding| finding.problem.rule == rule);
    let place = |finding: &super::Finding| finding.problem.origin.as_ref().map(ToString::to_string).unwrap_or_default();
    of_rule.map(|finding| format!("{:?} {} {}", finding.problem.severity, place(finding), finding.problem.message)).collect()
}

/// The rule finds this in the first files, and nothing in the second ones.
fn check(rule: &str, bad: (&[(String, String)], &str), wanted: &[&str], good: (&[(String, String)], &str)) {
    let (Some(bad), Some(good)) = (report(bad.0, bad.1), report(good.0, good.1)) else { return };
    let found = lines(&bad, rule);
    assert_eq!(found.len(), wanted.len(), "{found:#?}\nall: {:#?}", bad.findings);
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.contains(wanted), "`{wanted}` is not in `{found}`");
    }
    assert_eq!(lines(&good, rule), Vec::<String>::new());
    let broken: Vec<_> = good.findings.iter().filter(|finding| ["yaml-invalid", "render-failed"].contains(&finding.problem.rule)).collect();
    assert!(broken.is_empty(), "the silent case is broken itself: {broken:#?}");
}

fn definition(group: &str, kind: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &format!("{{name: {plural}.{group}}}"),
        &format!("spec: {{group: {group}, scope: Namespaced, names: {{kind: {kind}, plural: {plural}}}, versions: []}}"),
    )
}

fn release(name: &str, chart: &str, values: &str) -> String {
    object(
        "source.toolkit.fluxcd.io/v1",
        "HelmRepository",
        "{name: charts, namespace: default}",
        "spec: {url: 'https://charts.example.com', interval: 1h}",
    ) + &object(
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        &format!("{{name: {name}, namespace: default}}"),
        &format!(
            "spec: {{interval: 1h, chart: {{spec: {{chart: {chart}, version: 1.2.3, sourceRef: {{kind: HelmRepository, name: charts}}}}}}, values: {values}}}"
        ),
    )
}

const ISSUER: &str = "---\napiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: issuer}\nspec: {selfSigned: {}}\n";

#[test]
fn a_custom_resource_beside_the_chart_that_defines_it() {
    let both = release("cert-manager", "cert-manager", "{}") + ISSUER;
    check(
        "definition-too-late",
        (&[layer("one", ""), file("one/a.yaml", &both)], ""),
        &[
            "Blocks apps/one/a.yaml:12 layer flux-system/one: the start stops in step 2: it holds 1 object of ClusterIssuer (cert-manager.io), defined only by the chart of HelmRelease default/cert-manager of the same layer",
        ],
        (
            &[
                layer("base", "  wait: true\n"),
                file("base/a.yaml", &release("cert-manager", "cert-manager", "{}")),
                layer("one", DEPENDS_ON_BASE),
                file("one/a.yaml", ISSUER),
            ],
            "",
        ),
    );
}

#[test]
fn what_only_follows_from_a_stop_is_not_told() {
    let behind = object("cert-manager.io/v1", "Certificate", "{name: a, namespace: default}", "");
    let both = release("cert-manager", "cert-manager", "{}") + ISSUER;
    let files = [
        layer("one", ""),
        file("one/a.yaml", &both),
        layer("two", ""),
        file("two/a.yaml", &behind),
        layer("six", "  dependsOn: [{name: two}]\n"),
        file("six/a.yaml", &object("v1", "ConfigMap", "{name: six, namespace: default}", "")),
    ];
    let Some(found) = report(&files, "") else { return };
    assert_eq!(lines(&found, "definition-too-late").len(), 1, "{:#?}", found.findings);
    assert_eq!(found.stopped.iter().map(|id| id.name.as_str()).collect::<Vec<_>>(), ["one", "six", "two"]);
}

#[test]
fn a_definition_in_a_layer_that_waits_for_its_user() {
    let user = object("x.example.com/v1", "Thing", "{name: a, namespace: default}", "");
    check(
        "definition-too-late",
        (
            &[
                layer("base", ""),
                file("base/a.yaml", &user),
                layer("one", DEPENDS_ON_BASE),
                file("one/a.yaml", &definition("x.example.com", "Thing")),
            ],
            "",
        ),
        &[
            "layer flux-system/base: the start stops in step 2: it holds 1 object of Thing (x.example.com), defined only by CustomResourceDefinition things.x.example.com in layer flux-system/one, which starts only after this layer",
        ],
        (&[layer("one", ""), file("one/a.yaml", &(definition("x.example.com", "Thing") + &user))], ""),
    );
}

#[test]
fn a_namespace_in_a_layer_that_waits_for_its_user() {
    let (user, namespace) = (object("v1", "ConfigMap", "{name: a, namespace: shop}", ""), object("v1", "Namespace", "{name: shop}", ""));
    check(
        "namespace-too-late",
        (&[layer("base", ""), file("base/a.yaml", &user), layer("one", DEPENDS_ON_BASE), file("one/a.yaml", &namespace)], ""),
        &[
            "layer flux-system/base: the start stops in step 2: ConfigMap shop/a needs Namespace shop, which only layer flux-system/one declares",
        ],
        (&[layer("base", ""), file("base/a.yaml", &namespace), layer("one", DEPENDS_ON_BASE), file("one/a.yaml", &user)], ""),
    );
}

#[test]
fn a_secret_behind_the_store_that_waits_for_it() {
    let secret = object(
        "external-secrets.io/v1",
        "ExternalSecret",
        "{name: a, namespace: default}",
        "spec: {secretStoreRef: {kind: ClusterSecretStore, name: vault}}",
    );
    let store = object("external-secrets.io/v1", "ClusterSecretStore", "{name: vault}", "");
    let files = |wait: &str| {
        [
            layer("operator", "  wait: true\n"),
            file("operator/a.yaml", &release("external-secrets", "external-secrets", "{}")),
            layer("base", &format!("  dependsOn: [{{name: operator}}]\n{wait}")),
            file("base/a.yaml", &secret),
            layer("stores", DEPENDS_ON_BASE),
            file("stores/a.yaml", &store),
        ]
    };
    check(
        "waits-for-itself",
        (&files("  wait: true\n"), ""),
        &[
            "layer flux-system/base: waits for ExternalSecret default/a, which needs ClusterSecretStore vault of layer flux-system/stores, and that starts only when this layer is ready",
        ],
        (&files(""), ""),
    );
}

#[test]
fn the_simulated_start_tells_its_steps() {
    let Some(found) = report(
        &[
            layer("base", ""),
            file("base/a.yaml", &definition("x.example.com", "Thing")),
            layer("one", DEPENDS_ON_BASE),
            file("one/a.yaml", &object("x.example.com/v1", "Thing", "{name: a, namespace: default}", "")),
        ],
        "",
    ) else {
        return;
    };
    let steps: Vec<String> = found
        .steps
        .iter()
        .map(|step| format!("{:?} {}", step.layers.iter().map(|id| id.name.as_str()).collect::<Vec<_>>(), step.kinds))
        .collect();
    assert_eq!(steps, ["[\"flux-system\"] 0", "[\"base\"] 1", "[\"one\"] 1"]);
    assert!(found.stopped.is_empty() && found.findings.is_empty(), "{:#?}", found.findings);
}

#[test]
fn an_order_that_only_objects_need() {
    let base = [layer("base", ""), file("base/a.yaml", &definition("x.example.com", "Thing"))];
    let user = file("one/a.yaml", &object("x.example.com/v1", "Thing", "{name: a, namespace: default}", ""));
    check(
        "order-undeclared",
        (&[base[0].clone(), base[1].clone(), layer("one", ""), user.clone()], ""),
        &["Risk clusters/a/one.yaml:1 layer flux-system/one: needs Thing of layer flux-system/base, which nothing puts before it"],
        (&[base[0].clone(), base[1].clone(), layer("one", DEPENDS_ON_BASE), user], ""),
    );
}

#[test]
fn a_kind_that_nothing_defines() {
    let user = file("one/a.yaml", &object("x.example.com/v1", "Thing", "{name: a, namespace: default}", ""));
    check(
        "kind-from-nowhere",
        (&[layer("one", ""), user.clone()], ""),
        &["Thing default/a: nothing in Git is known to define x.example.com (Thing), 1 object in all"],
        (&[layer("base", ""), file("base/a.yaml", &definition("x.example.com", "Thing")), layer("one", DEPENDS_ON_BASE), user], ""),
    );
}

#[test]
fn a_namespace_that_nothing_makes() {
    let user = object("v1", "ConfigMap", "{name: a, namespace: shop}", "");
    check(
        "namespace-missing",
        (&[layer("one", ""), file("one/a.yaml", &user)], ""),
        &["ConfigMap shop/a: nothing makes Namespace shop, which 1 object stands in"],
        (&[layer("one", ""), file("one/a.yaml", &(object("v1", "Namespace", "{name: shop}", "") + &user))], ""),
    );
}

#[test]
fn a_health_check_of_nothing() {
    let checks = |name: &str| format!("  healthChecks: [{{apiVersion: apps/v1, kind: Deployment, name: {name}, namespace: default}}]\n");
    let deployment = file("one/a.yaml", &workload("Deployment", "api", "a:1"));
    check(
        "health-check-missing",
        (&[layer("one", &checks("apl")), deployment.clone()], ""),
        &["layer flux-system/one: its health check names Deployment default/apl, which nothing declares"],
        (&[layer("one", &checks("api")), deployment], ""),
    );
}

fn workload(kind: &str, name: &str, image: &str) -> String {
    object(
        "apps/v1",
        kind,
        &format!("{{name: {name}, namespace: default}}"),
        &format!("spec: {{template: {{spec: {{containers: [{{name: a, image: '{image}'}}]}}}}}}"),
    )
}

#[test]
fn a_dependency_that_is_ready_too_soon() {
    let files = |more: &str| {
        [
            layer("base", more),
            file("base/a.yaml", &workload("Deployment", "api", "a:1")),
            layer("one", DEPENDS_ON_BASE),
            file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", "")),
        ]
    };
    check(
        "wait-missing",
        (&files(""), ""),
        &["layer flux-system/base: flux-system/one depends on it, but it does not wait for Deployment default/api"],
        (&files("  wait: true\n"), ""),
    );
}

#[test]
fn a_layer_that_is_not_pruned() {
    let (path, text) = layer("one", "");
    let config = file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", ""));
    check(
        "prune-missing",
        (&[(path.clone(), text.replace("prune: true", "prune: false")), config.clone()], ""),
        &["Differs clusters/a/one.yaml:1 layer flux-system/one: spec.prune is off"],
        (&[(path, text), config], ""),
    );
}

#[test]
fn a_dependency_in_another_cluster() {
    let files = |more: &str| {
        let config =
            |name: &str| file(&format!("{name}/a.yaml"), &object("v1", "ConfigMap", &format!("{{name: {name}, namespace: default}}"), ""));
        [layer("base", more), config("base"), layer("one", DEPENDS_ON_BASE), config("one")]
    };
    check(
        "dependency-elsewhere",
        (&files("  kubeConfig: {secretRef: {name: other}}\n"), ""),
        &["clusters/a/one.yaml:9 layer flux-system/one: depends on flux-system/base, which is applied to another cluster"],
        (&files(""), ""),
    );
}

#[test]
fn the_pod_network_behind_the_agent() {
    let cilium = file("one/a.yaml", &release("cilium", "cilium", "{}"));
    check(
        "network-behind-agent",
        (&[layer("one", ""), cilium.clone()], ""),
        &["Risk apps/one/a.yaml:7 HelmRelease default/cilium: installs cilium, which the agent that installs it needs itself"],
        (&[layer("one", ""), cilium.clone()], "  cluster: {eks: {name: a}}\n"),
    );
    let behind = [
        layer("base", "  wait: true\n"),
        file("base/a.yaml", &workload("Deployment", "api", "a:1")),
        layer("one", DEPENDS_ON_BASE),
        cilium,
    ];
    let Some(found) = report(&behind, "") else { return };
    assert!(lines(&found, "network-behind-agent")[0].starts_with("Blocks"), "{:?}", found.findings);
}

#[test]
fn a_webhook_for_its_own_pods() {
    let hook = |more: &str| {
        object(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            "{name: guard}",
            &format!(
                "webhooks: [{{name: guard.example.com, clientConfig: {{service: {{name: guard, namespace: default}}}}, rules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]{more}}}]"
            ),
        ) + &workload("Deployment", "guard", "a:1")
    };
    check(
        "webhook-blocks-itself",
        (&[layer("one", ""), file("one/a.yaml", &hook(""))], ""),
        &[
            "ValidatingWebhookConfiguration guard: webhook guard.example.com must approve all pods, those of its backend Deployment default/guard too",
        ],
        (&[layer("one", ""), file("one/a.yaml", &hook(", failurePolicy: Ignore"))], ""),
    );
}

#[test]
fn a_secret_that_only_the_lost_cluster_held() {
    let repository = file(
        "one/a.yaml",
        &object(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            "{name: other, namespace: flux-system}",
            "spec: {url: 'https://example.com/other', interval: 1m, ref: {tag: v1}, secretRef: {name: token}}",
        ),
    );
    check(
        "secret-missing",
        (&[layer("one", ""), repository.clone()], ""),
        &["GitRepository flux-system/other: needs Secret flux-system/token, which neither Git nor the environment brings"],
        (&[layer("one", ""), repository], "  secrets: [{namespace: flux-system, name: token, key: password, from: {env: TOKEN}}]\n"),
    );
}

/// A ResourceSet of the entry layer; each object is one of its resources.
fn set(objects: &[String]) -> (String, String) {
    let item = |object: &str| {
        let lines = object.trim_end().lines().enumerate();
        lines.map(|(at, line)| format!("  {}{line}\n", if at == 0 { "- " } else { "  " })).collect::<Vec<_>>().concat()
    };
    let all = objects.concat();
    let items: String = all.split("---\n").filter(|object| !object.is_empty()).map(item).collect();
    let head =
        "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSet\nmetadata: {name: all, namespace: flux-system}\nspec:\n  resources:\n";
    ("clusters/a/set.yaml".to_owned(), format!("{head}{items}"))
}

#[test]
fn what_a_set_gives_counts_as_declared() {
    let checks = "  healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: api, namespace: default}]\n";
    let user = file("one/a.yaml", &object("x.example.com/v1", "Thing", "{name: a, namespace: shop}", ""));
    let files = [layer("one", checks), user];
    let given =
        set(&[object("v1", "Namespace", "{name: shop}", ""), definition("x.example.com", "Thing"), workload("Deployment", "api", "a:1")]);
    let Some(bare) = report(&files, "") else { return };
    let Some(found) = report(&[files.as_slice(), &[given]].concat(), "") else { return };
    for rule in ["namespace-missing", "kind-from-nowhere", "health-check-missing"] {
        assert_eq!((lines(&bare, rule).len(), lines(&found, rule)), (1, Vec::new()), "{rule}");
    }
}

#[test]
fn what_a_set_gives_is_looked_at() {
    let release = release("web", "web", "");
    check(
        "namespace-missing",
        (&[set(&[release.replace("{name: web, namespace: default}", "{name: web, namespace: gone}")])], ""),
        &["HelmRelease gone/web: nothing makes Namespace gone, which 1 object stands in"],
        (&[set(&[release])], ""),
    );
}

#[test]
fn a_copy_of_a_secret_that_nothing_brings() {
    let copy =
        object("v1", "Secret", "{name: auth, namespace: default, annotations: {fluxcd.controlplane.io/copyFrom: flux-system/origin}}", "");
    check(
        "secret-missing",
        (&[set(std::slice::from_ref(&copy))], ""),
        &["Secret default/auth: needs Secret flux-system/origin, which neither Git nor the environment brings"],
        (&[set(&[copy])], "  secrets: [{namespace: flux-system, name: origin, key: password, from: {env: TOKEN}}]\n"),
    );
}

#[test]
fn the_pull_secret_of_an_instance() {
    let sync = "spec: {sync: {kind: OCIRepository, url: 'oci://example.com/x', ref: latest, path: clusters/a, pullSecret: auth}}";
    let instance = (
        "clusters/a/instance.yaml".to_owned(),
        object("fluxcd.controlplane.io/v1", "FluxInstance", "{name: flux, namespace: flux-system}", sync),
    );
    check(
        "secret-missing",
        (std::slice::from_ref(&instance), ""),
        &["FluxInstance flux-system/flux: needs Secret flux-system/auth, which neither Git nor the environment brings"],
        (&[(instance.0.clone(), instance.1.replace(", pullSecret: auth", ""))], ""),
    );
}

const SEALED: &str =
    "---\napiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a, namespace: default}\nspec: {encryptedData: {x: AgB}}\n";

#[test]
fn the_secret_that_opens_a_secret_store() {
    let store = object(
        "external-secrets.io/v1",
        "ClusterSecretStore",
        "{name: vault}",
        "spec: {provider: {onepassword: {auth: {secretRef: {connectTokenSecretRef: {name: root, key: token, namespace: default}}}}}}",
    );
    let operator = file("one/b.yaml", &release("external-secrets", "external-secrets", "{}"));
    check(
        "secret-missing",
        (&[layer("one", ""), file("one/a.yaml", &store), operator.clone()], ""),
        &["ClusterSecretStore vault: needs Secret default/root, which neither Git nor the environment brings"],
        (
            &[layer("one", ""), file("one/a.yaml", &store), operator],
            "  secrets: [{namespace: default, name: root, key: token, from: {env: TOKEN}}]\n",
        ),
    );
}

#[test]
fn a_store_whose_own_token_comes_out_of_it() {
    let store = |secret: &str| {
        object(
            "external-secrets.io/v1",
            "ClusterSecretStore",
            "{name: vault}",
            &format!(
                "spec: {{provider: {{onepassword: {{auth: {{secretRef: {{connectTokenSecretRef: {{name: {secret}, key: token, namespace: default}}}}}}}}}}}}"
            ),
        )
    };
    let token = object(
        "external-secrets.io/v1",
        "ExternalSecret",
        "{name: token, namespace: default}",
        "spec: {secretStoreRef: {kind: ClusterSecretStore, name: vault}}",
    );
    let files = [layer("one", ""), file("one/a.yaml", &(store("token") + &token))];
    check(
        "store-opens-itself",
        (&files, ""),
        &["ClusterSecretStore vault: opened by Secret default/token, which only ExternalSecret default/token makes, out of this store"],
        (&files, "  secrets: [{namespace: default, name: token, key: token, from: {env: TOKEN}}]\n"),
    );
}

#[test]
fn the_key_of_sealed_secrets() {
    let files = [layer("one", ""), file("one/a.yaml", SEALED)];
    check(
        "sealed-secret-key",
        (&files, ""),
        &["SealedSecret default/a: the environment does not hold the key that opens it, 1 SealedSecret in all"],
        (&files, "  secrets: [{namespace: kube-system, name: sealed-secrets-key, key: tls.key, from: {file: key.pem}}]\n"),
    );
}

const ENCRYPTED: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\nstringData: {x: 'ENC[AES256_GCM,data:aa,iv:aa,tag:aa,type:str]'}\nsops:\n  age: [{recipient: age1x, enc: x}]\n  lastmodified: '2026-01-01T00:00:00Z'\n  mac: 'ENC[AES256_GCM,data:aa,iv:aa,tag:aa,type:str]'\n  encrypted_regex: ^(data|stringData)$\n  version: 3.9.0\n";

#[test]
fn an_encrypted_object_without_its_key() {
    let with = "  decryption: {provider: sops, secretRef: {name: sops-age}}\n";
    check(
        "decryption-key",
        (&[layer("one", with), file("one/a.yaml", ENCRYPTED)], ""),
        &[
            "apps/one/a.yaml:1 Secret default/a of layer flux-system/one: the environment does not say where Secret flux-system/sops-age with the key comes from",
        ],
        (
            &[layer("one", with), file("one/a.yaml", ENCRYPTED)],
            "  secrets: [{namespace: flux-system, name: sops-age, key: age.agekey, from: {env: BLACKSTART_NO_SUCH_KEY}}]\n",
        ),
    );
    let Some(found) = report(&[layer("one", ""), file("one/a.yaml", ENCRYPTED)], "") else { return };
    assert!(lines(&found, "decryption-key")[0].ends_with("encrypted with SOPS, but the layer has no spec.decryption"));
}

#[test]
fn a_secret_in_clear() {
    let secret = |value: &str| {
        file("one/a.yaml", &object("v1", "Secret", "{name: a, namespace: default}", &format!("stringData: {{token: '{value}'}}")))
    };
    check(
        "secret-plain",
        (&[layer("one", ""), secret("hunter2")], ""),
        &["apps/one/a.yaml:2 Secret default/a: token stands in clear in Git"],
        (&[layer("one", "  postBuild: {substitute: {TOKEN: x}}\n"), secret("${TOKEN}")], ""),
    );
    let Some(found) = report(&[layer("one", ""), secret("hunter2")], "") else { return };
    assert!(!format!("{found:?}").contains("hunter2"), "a report never shows the value");
}

#[test]
fn a_password_that_is_drawn() {
    check(
        "secret-generated",
        (&[layer("one", ""), file("one/a.yaml", &release("db", "postgresql", "{}"))], ""),
        &["HelmRelease default/db: chart postgresql draws its password, since the values give none"],
        (&[layer("one", ""), file("one/a.yaml", &release("db", "postgresql", "{auth: {existingSecret: db}}"))], ""),
    );
}

#[test]
fn variables_from_an_object_of_a_controller() {
    let from = "  postBuild:\n    substituteFrom:\n      - {kind: Secret, name: vars, optional: true}\n";
    let config = file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", ""));
    let files = |name: &str| {
        let maker = object("external-secrets.io/v1", "ExternalSecret", &format!("{{name: {name}, namespace: flux-system}}"), "spec: {}");
        [layer("base", ""), file("base/a.yaml", &maker), layer("one", from), config.clone()]
    };
    check(
        "value-at-run-time",
        (&files("vars"), ""),
        &[
            "Differs clusters/a/one.yaml:11 layer flux-system/one: takes variables from Secret flux-system/vars (optional), which ExternalSecret flux-system/vars makes at run time",
        ],
        (&files("others"), ""),
    );
}

#[test]
fn a_source_inside_the_cluster_that_is_gone() {
    let source = |url: &str| {
        [
            layer("one", ""),
            file(
                "one/a.yaml",
                &object(
                    "source.toolkit.fluxcd.io/v1",
                    "OCIRepository",
                    "{name: a, namespace: default}",
                    &format!("spec: {{interval: 1m, url: '{url}', ref: {{tag: v1}}}}"),
                ),
            ),
        ]
    };
    check(
        "source-unreachable",
        (&source("oci://registry.default.svc:5000/a"), ""),
        &["OCIRepository default/a: oci://registry.default.svc:5000/a is a service of the cluster itself"],
        (&source("oci://ghcr.io/a/b"), ""),
    );
}

#[test]
fn inputs_that_move() {
    let git = |reference: &str| {
        file(
            "one/g.yaml",
            &object(
                "source.toolkit.fluxcd.io/v1",
                "GitRepository",
                "{name: g, namespace: default}",
                &format!("spec: {{interval: 1m, url: 'https://example.com/g', ref: {{{reference}}}}}"),
            ),
        )
    };
    let oci = |reference: &str| {
        file(
            "one/o.yaml",
            &object(
                "source.toolkit.fluxcd.io/v1",
                "OCIRepository",
                "{name: o, namespace: default}",
                &format!("spec: {{interval: 1m, url: 'oci://example.com/o', ref: {{{reference}}}}}"),
            ),
        )
    };
    let chart = |version: &str| file("one/h.yaml", &release("h", "h", "{}").replace("1.2.3", version));
    check(
        "input-unpinned",
        (&[layer("one", ""), git("branch: main"), oci("tag: latest"), chart("1.x")], ""),
        &[
            "GitRepository default/g: follows branch main",
            "HelmRelease default/h: takes the newest version 1.x of chart h",
            "OCIRepository default/o: takes the tag latest",
        ],
        (&[layer("one", ""), git("tag: v1"), oci("tag: v1"), chart("1.2.3")], ""),
    );
}

#[test]
fn images_that_move() {
    let files = |deployment: &str, tag: &str| {
        [
            layer("one", ""),
            file("one/a.yaml", &workload("Deployment", "a", deployment)),
            file("one/b.yaml", &release("b", "b", &format!("{{image: {{repository: x/y, tag: {tag}}}}}"))),
        ]
    };
    check(
        "image-mutable",
        (&files("nginx", "latest"), ""),
        &["Deployment default/a: nginx", "HelmRelease default/b: x/y:latest"],
        (&files("nginx:1.2.3", "1.2.3"), ""),
    );
}

#[test]
fn an_image_from_a_registry_that_is_empty() {
    let repository = object("ecr.services.k8s.aws/v1alpha1", "Repository", "{name: images, namespace: default}", "spec: {name: shop/api}");
    let user = |image: &str| [layer("one", ""), file("one/a.yaml", &workload("Deployment", "api", image)), file("one/b.yaml", &repository)];
    check(
        "image-in-empty-registry",
        (&user("111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop/api:v1"), ""),
        &[
            "Deployment default/api: its image 111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop/api:v1 comes from Repository default/images (apps/one/b.yaml:2), which this start creates empty",
        ],
        (&user("111122223333.dkr.ecr.eu-west-1.amazonaws.com/other/api:v1"), ""),
    );
}

const ACCOUNT: &str = "  aws: {accountID: \"111122223333\", region: eu-west-1}\n  infrastructure: [{path: cloud}]\n";

fn cloud(kind: &str, name: &str, spec: &str) -> (String, String) {
    let (service, kind) = kind.split_once('/').unwrap();
    (
        format!("cloud/{name}.yaml"),
        object(
            &format!("{service}.services.k8s.aws/v1alpha1"),
            kind,
            &format!("{{name: {name}, namespace: default}}"),
            &format!("spec: {spec}"),
        ),
    )
}

#[test]
fn a_cloud_resource_that_nothing_tells_from_others() {
    check(
        "identity-missing",
        (&[cloud("ec2/VPC", "main", "{cidrBlocks: [10.0.0.0/16]}")], ACCOUNT),
        &["Risk cloud/main.yaml:2 VPC default/main: declares no tag by which a recovery could find it"],
        (&[cloud("ec2/VPC", "main", "{cidrBlocks: [10.0.0.0/16], tags: [{key: Name, value: a}]}")], ACCOUNT),
    );
}

#[test]
fn tags_of_keys_are_called_otherwise() {
    check(
        "identity-missing",
        (&[cloud("kms/Key", "main", "{enableKeyRotation: true}")], ACCOUNT),
        &["Risk cloud/main.yaml:2 Key default/main: declares no tag by which a recovery could find it"],
        (&[cloud("kms/Key", "main", "{enableKeyRotation: true, tags: [{tagKey: Name, tagValue: a}]}")], ACCOUNT),
    );
}

#[test]
fn a_trust_in_the_issuer_of_a_lost_cluster() {
    let role = |issuer: &str| {
        let trust = format!(
            r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{issuer}"}},"Action":"sts:AssumeRoleWithWebIdentity"}}]}}"#
        );
        [cloud("iam/Role", "dns", &format!("{{name: dns, assumeRolePolicyDocument: '{trust}'}}"))]
    };
    check(
        "issuer-lost",
        (&role("oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"), ACCOUNT),
        &[
            "Blocks cloud/dns.yaml:2 Role default/dns: bound to the issuer oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
        ],
        (&role("token.actions.githubusercontent.com"), ACCOUNT),
    );
}

#[test]
fn state_that_starts_empty() {
    let claim = |more: &str| {
        [
            layer("one", ""),
            file(
                "one/a.yaml",
                &object(
                    "v1",
                    "PersistentVolumeClaim",
                    "{name: data, namespace: default}",
                    &format!("spec: {{accessModes: [ReadWriteOnce]{more}}}"),
                ),
            ),
        ]
    };
    check(
        "state-without-restore",
        (&claim(""), ""),
        &["Differs apps/one/a.yaml:2 PersistentVolumeClaim default/data: a volume that starts empty"],
        (&claim(", dataSourceRef: {kind: ReplicationDestination, apiGroup: volsync.backube, name: data}"), ""),
    );
    check(
        "state-without-restore",
        (&claim(""), "  restore: [{match: {kind: PersistentVolumeClaim, namespace: other}, rule: newest}]\n"),
        &["PersistentVolumeClaim default/data"],
        (&claim(""), "  restore: [{match: {kind: PersistentVolumeClaim, namespace: default}, rule: newest}]\n"),
    );
}

#[test]
fn an_object_of_two_layers() {
    let config = |name: &str| object("v1", "ConfigMap", &format!("{{name: {name}, namespace: default}}"), "data: {a: b}");
    let files = |other: &str| {
        [layer("base", ""), file("base/a.yaml", &config("a")), layer("one", DEPENDS_ON_BASE), file("one/a.yaml", &config(other))]
    };
    check(
        "object-twice",
        (&files("a"), ""),
        &["ConfigMap default/a: declared by layers flux-system/base, flux-system/one, with the same content"],
        (&files("b"), ""),
    );
}

#[test]
fn a_field_that_the_agent_does_not_have() {
    let config = file("one/a.yaml", &object("v1", "ConfigMap", "{name: a, namespace: default}", ""));
    check(
        "field-unknown",
        (&[layer("one", "  dependson: []\n"), config.clone()], ""),
        &["Blocks clusters/a/one.yaml:1 Kustomization flux-system/one: spec.dependson is no field of kustomize.toolkit.fluxcd.io/v1"],
        (&[layer("one", "  dependsOn: []\n"), config], ""),
    );
}

#[test]
fn waves_of_applications_without_a_health_check() {
    let app = |name: &str, wave: &str| {
        object(
            "argoproj.io/v1alpha1",
            "Application",
            &format!("{{name: {name}, namespace: default, annotations: {{argocd.argoproj.io/sync-wave: \"{wave}\"}}}}"),
            "spec: {}",
        )
    };
    let apps = app("a", "1") + &app("b", "2");
    let health = object(
        "v1",
        "ConfigMap",
        "{name: argocd-cm, namespace: default}",
        "data: {resource.customizations.health.argoproj.io_Application: 'return {}'}",
    );
    check(
        "argo-app-health",
        (&[layer("one", ""), file("one/a.yaml", &apps)], ""),
        &["Application default/a: sync waves 1, 2 order Applications"],
        (&[layer("one", ""), file("one/a.yaml", &(apps.clone() + &health))], ""),
    );
}

/// An Application of `apps/NAME`; `more` is added to its spec.
fn application(name: &str, wave: &str, more: &str) -> String {
    object(
        "argoproj.io/v1alpha1",
        "Application",
        &format!("{{name: {name}, namespace: argocd, annotations: {{argocd.argoproj.io/sync-wave: \"{wave}\"}}}}"),
        &format!(
            "spec:\n  source: {{repoURL: 'https://example.com/fleet', path: apps/{name}}}\n  destination: {{name: in-cluster, namespace: {name}}}\n{more}"
        ),
    )
}

/// Reads files as a repository of Argo CD.
fn of_argo(files: &[(String, String)]) -> Verification {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git2::Repository::init(folder.path()).unwrap();
    verified(folder.path(), "").1
}

const AUTOMATED: &str = "  syncPolicy: {automated: {prune: true}, syncOptions: [CreateNamespace=true]}\n";

#[test]
fn applications_sync_and_prune_by_themselves_or_are_told() {
    let map = object("v1", "ConfigMap", "{name: m}", "");
    let found = of_argo(&[
        ("root.yaml".to_owned(), application("root", "0", AUTOMATED)),
        file("root/a.yaml", &application("a", "0", "")),
        file("root/b.yaml", &application("b", "0", "  syncPolicy: {automated: {}, syncOptions: [CreateNamespace=true]}\n")),
        file("root/c.yaml", &application("c", "0", AUTOMATED)),
        file("a/a.yaml", &map),
        file("b/a.yaml", &map),
        file("c/a.yaml", &map),
    ]);
    assert_eq!(lines(&found, "sync-missing"), ["Blocks apps/root/a.yaml:2 layer argocd/a: has no spec.syncPolicy.automated"]);
    assert_eq!(lines(&found, "prune-missing"), ["Differs apps/root/b.yaml:2 layer argocd/b: spec.syncPolicy.automated.prune is off"]);
    // Without CreateNamespace=true, nothing makes that of `a`.
    assert_eq!(
        lines(&found, "namespace-missing"),
        ["Blocks apps/a/a.yaml:2 ConfigMap a/m: nothing makes Namespace a, which 1 object stands in"]
    );
    assert_eq!(lines(&found, "kind-from-nowhere"), Vec::<String>::new());
}

#[test]
fn a_root_from_outside_that_takes_itself_over_declares_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let app = |name: &str, path: &str| application(name, "0", AUTOMATED).replace(&format!("path: apps/{name}"), &format!("path: {path}"));
    for (path, text) in
        [("apps/root.yaml", app("root", "apps")), ("apps/a.yaml", app("a", "a")), ("a/a.yaml", object("v1", "ConfigMap", "{name: m}", ""))]
    {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git2::Repository::init(folder.path()).unwrap();
    let spec = "  agent: {argocd: {root: {name: seed, repoURL: 'https://example.com/fleet', path: apps}}}\n";
    assert_eq!(lines(&verified(folder.path(), spec).1, "object-twice"), Vec::<String>::new());
}

#[test]
fn a_progressive_sync_that_leaves_an_application_out() {
    let set = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd}\nspec:\n  generators: [{list: {elements: [{app: a, env: dev}, {app: b, env: none}]}}]\n  strategy: {type: RollingSync, rollingSync: {steps: [{matchExpressions: [{key: env, operator: In, values: [dev]}]}]}}\n  template:\n    metadata: {name: '{{app}}', labels: {env: '{{env}}'}}\n    spec: {source: {repoURL: 'https://example.com/fleet', path: apps/a}, destination: {name: in-cluster, namespace: default}}\n";
    let found = of_argo(&[("root/set.yaml".to_owned(), set.to_owned()), file("a/a.yaml", &object("v1", "ConfigMap", "{name: m}", ""))]);
    assert_eq!(
        lines(&found, "sync-missing"),
        ["Blocks root/set.yaml:1 layer argocd/b: no step of the progressive sync of ApplicationSet argocd/set takes it"]
    );
}

#[test]
fn charts_of_applications_bring_kinds_and_argo_cd_waits_for_what_it_syncs() {
    let issuer = "  source: {repoURL: 'https://charts.jetstack.io', chart: cert-manager, targetRevision: v1.15.0}";
    let chart = application("cert-manager", "0", AUTOMATED)
        .replace("  source: {repoURL: 'https://example.com/fleet', path: apps/cert-manager}", issuer);
    let deployment = workload("Deployment", "d", "a/b:1");
    let found = of_argo(&[
        ("root.yaml".to_owned(), application("root", "0", AUTOMATED)),
        file("root/a.yaml", &chart),
        file(
            "root/b.yaml",
            &(application("umbrella", "0", AUTOMATED) + &application("issuers", "1", AUTOMATED) + &application("later", "2", AUTOMATED)),
        ),
        file(
            "umbrella/Chart.yaml",
            "apiVersion: v2\nname: umbrella\nversion: 0.0.0\ndependencies: [{name: keda, version: 2.0.0, repository: 'https://charts.example.com'}]\n",
        ),
        file("issuers/a.yaml", &(ISSUER.to_owned() + &object("keda.sh/v1alpha1", "ScaledObject", "{name: s}", "") + &deployment)),
        file("later/a.yaml", &object("v1", "ConfigMap", "{name: m}", "")),
    ]);
    for rule in ["kind-from-nowhere", "wait-missing", "prune-missing", "namespace-missing", "definition-too-late"] {
        assert_eq!(lines(&found, rule), Vec::<String>::new(), "{rule}");
    }
}

#[test]
fn waves_of_applications_are_those_of_one_parent_and_the_check_may_stand_in_values() {
    let map = object("v1", "ConfigMap", "{name: m}", "");
    let files = |one: &str, other: &str, more: &str| {
        vec![
            ("roots.yaml".to_owned(), application("one", "0", AUTOMATED) + &application("two", "0", AUTOMATED)),
            file("one/a.yaml", &(application("a", "1", AUTOMATED) + one)),
            file("two/b.yaml", &(application("b", "2", AUTOMATED) + other)),
            file("two/more.yaml", more),
            file("a/a.yaml", &map),
            file("b/a.yaml", &map),
            file("c/a.yaml", &map),
        ]
    };
    let rule = "argo-app-health";
    assert_eq!(lines(&of_argo(&files("", "", "")), rule), Vec::<String>::new());
    let later = application("c", "3", AUTOMATED);
    let told = "apps/two/b.yaml:2 Application argocd/b: sync waves 2, 3 order Applications, but nothing tells Argo CD how healthy one is";
    assert_eq!(lines(&of_argo(&files("", &later, "")), rule), [format!("Blocks {told}")]);
    let argo = |values: &str| {
        application("argo-cd", "2", AUTOMATED).replace(
            "source: {repoURL: 'https://example.com/fleet', path: apps/argo-cd}",
            &format!("source: {{repoURL: 'https://argoproj.github.io/argo-helm', chart: argo-cd, targetRevision: 7.0.0{values}}}"),
        )
    };
    let check = ", helm: {valuesObject: {configs: {cm: {resource.customizations.health.argoproj.io_Application: 'return {}'}}}}";
    assert_eq!(lines(&of_argo(&files("", &later, &argo(check))), rule), Vec::<String>::new());
    let unread = lines(&of_argo(&files("", &later, &argo(""))), rule);
    let told = told.replace("b.yaml:2 Application argocd/b", "more.yaml:2 Application argocd/argo-cd");
    assert_eq!(unread, [format!("Risk {told}, unless the values of Argo CD's chart do, which are not read here")]);
}

#[test]
fn a_wave_behind_a_set_does_not_wait_for_its_applications() {
    let set = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd, annotations: {argocd.argoproj.io/sync-wave: '1'}}\nspec:\n  generators: [{list: {elements: [{app: a}]}}]\n  template:\n    metadata: {name: '{{app}}'}\n    spec: {source: {repoURL: 'https://example.com/fleet', path: apps/a}, destination: {name: in-cluster, namespace: default}}\n";
    let found = of_argo(&[
        ("root.yaml".to_owned(), application("root", "0", AUTOMATED)),
        file("root/set.yaml", set),
        file("root/b.yaml", &application("b", "2", AUTOMATED)),
        file("a/a.yaml", &object("v1", "ConfigMap", "{name: m}", "")),
        file("b/a.yaml", &object("v1", "ConfigMap", "{name: m}", "")),
    ]);
    assert_eq!(
        lines(&found, "argo-app-health"),
        [
            "Risk apps/root/set.yaml:1 ApplicationSet argocd/set: its sync wave 1 is before sync wave 2 of Application argocd/b, but Argo CD waits only until the set has made its Applications, not until these are healthy"
        ]
    );
}

#[test]
fn what_is_accepted_is_counted_and_never_hidden() {
    let image = |annotation: &str| {
        let text = object(
            "apps/v1",
            "Deployment",
            &format!("{{name: a, namespace: default{annotation}}}"),
            "spec: {template: {spec: {containers: [{name: a, image: nginx}]}}}",
        );
        [layer("one", ""), file("one/a.yaml", &text)]
    };
    let Some(found) = report(&image(", annotations: {blackstart.dev/accept: 'image-mutable: a toy'}"), "") else { return };
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    assert_eq!(found.accepted[0].accepted.as_ref().map(|accepted| accepted.reason.as_str()), Some("a toy"));

    let list = "  accept: [{rule: image-mutable, layer: flux-system/one, match: {kind: Deployment}, reason: listed}]\n";
    let found = report(&image(""), list).unwrap();
    assert!(found.findings.is_empty() && found.accepted.len() == 1, "{:#?}", found.findings);

    let found = report(
        &image(", annotations: {blackstart.dev/accept: 'image-mutable'}"),
        "  accept: [{rule: image-mutabel, reason: x}, {rule: cycle, reason: x}, {rule: secret-plain, reason: x}]\n",
    )
    .unwrap();
    assert_eq!(lines(&found, "image-mutable").len(), 1, "no reason, not accepted");
    assert_eq!(lines(&found, "accept-invalid").len(), 3, "{:#?}", found.findings);
    assert!(lines(&found, "accept-unused")[0].contains("spec.accept[2]: accepts `secret-plain`, which is not found there"));
}

#[test]
fn a_baseline_leaves_what_a_change_adds() {
    let files = |more: &str| [layer("one", ""), file("one/a.yaml", &(more.to_owned() + &workload("Deployment", "a", "nginx")))];
    let Some(before) = report(&files(""), "") else { return };
    let after = report(&files(&workload("Deployment", "b", "redis")), "").unwrap().since("main", &before);
    assert_eq!(lines(&after, "image-mutable"), ["Differs apps/one/a.yaml:2 Deployment default/b: redis"], "moved lines are no news");
    assert_eq!(after.known, Some(1));
}

#[test]
fn every_rule_that_a_problem_names_is_in_the_table() {
    let mut unknown = Vec::new();
    for room in ["read", "plan", "layers", "environment"] {
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut |text| {
            for part in text.split("Problem::blocks(").skip(1) {
                let Some(id) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                if rules::find(id).is_none() {
                    unknown.push(id.to_owned());
                }
            }
        });
    }
    // Only a look at the account finds this.
    unknown.retain(|id| id != "cloud-differs");
    assert_eq!(unknown, Vec::<String>::new(), "add them to src/verify/rules/found.rs");
}

fn visit(folder: &Path, each: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else {
            each(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn ids_are_said_once() {
    for (position, rule) in rules::RULES.iter().enumerate() {
        assert!(!rules::RULES[..position].iter().any(|other| other.id == rule.id), "{} stands twice", rule.id);
    }
}

#[test]
fn the_page_of_the_docs_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), page(), "UPDATE_DOCS=1 cargo test --lib verify writes it anew");
}
