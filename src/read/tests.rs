//! Small repositories in, layers, edges and problems out.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod argo;
mod charts;
mod sets;
mod sources;

use super::{ReadOptions, Reading, Revision, entrypoints, read_blocking};
use crate::environment::{Environment, parse};
use crate::manifest::{ObjectId, Resource};
use crate::plan::{Plan, plan};
use crate::render::program;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A committed repository.
fn repository(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git2::Repository::init_opts(folder.path(), git2::RepositoryInitOptions::new().initial_head("main")).unwrap();
    commit(folder.path(), files);
    folder
}

fn commit(folder: &Path, files: &[(&str, String)]) {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let git = git2::Repository::open(folder).unwrap();
    let mut index = git.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("t", "t@example.com").unwrap();
    let parent = git.head().ok().and_then(|head| head.peel_to_commit().ok());
    git.commit(Some("HEAD"), &who, &who, "change", &tree, &parent.iter().collect::<Vec<_>>()).unwrap();
}

fn read(path: &Path, entrypoint: Option<&str>, environment: &Environment) -> (Reading, Plan) {
    read_with_sources(path, entrypoint, environment, Vec::new())
}

/// The same with `--source MATCH=PATH`.
fn read_with_sources(path: &Path, entrypoint: Option<&str>, environment: &Environment, sources: Vec<(String, PathBuf)>) -> (Reading, Plan) {
    let options = ReadOptions {
        path: path.to_owned(),
        entrypoint: entrypoint.map(str::to_owned),
        revision: Revision::WorkingTree,
        sources,
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    let reading = read_blocking(&options, environment).unwrap();
    let plan = plan(&reading, environment, &[]);
    (reading, plan)
}

/// Layers with wave, parent and objects; edges between layers that are not `declared there`; problems; unknowns.
fn told(plan: &Plan) -> String {
    let mut text = String::new();
    for layer in &plan.layers {
        let parent = layer.parent.as_ref().map(|parent| format!(" < {parent}")).unwrap_or_default();
        let state = if layer.remote {
            " (remote)"
        } else if layer.rendered {
            ""
        } else {
            " (?)"
        };
        let objects: Vec<String> = layer.objects.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{} {}{parent}{state}: {}", layer.named_wave, layer.id, objects.join(", "));
    }
    for edge in plan
        .edges
        .iter()
        .filter(|edge| edge.from.starts_with("layer/") && !["declared there", "health of what it holds"].contains(&edge.reason.as_str()))
    {
        let place = edge.origin.as_ref().map(|origin| format!(" {origin}")).unwrap_or_default();
        let name = |node: &str| node.trim_start_matches("layer/").to_owned();
        let _ = writeln!(text, "{} > {} {:?}: {}{place}", name(&edge.from), name(&edge.to), edge.constraint, edge.reason);
    }
    for problem in &plan.problems {
        let place = problem.origin.as_ref().map(|origin| format!("{origin} ")).unwrap_or_default();
        let _ = writeln!(text, "! {place}{}", problem.message);
    }
    for unknown in &plan.unknowns {
        let _ = writeln!(text, "? {} needs {}", unknown.node, unknown.needs);
    }
    text
}

#[track_caller]
fn check(files: &[(&str, String)], entrypoint: Option<&str>, wanted: &str) {
    let folder = repository(files);
    let (_, plan) = read(folder.path(), entrypoint, &Environment::default());
    assert_eq!(told(&plan).trim_end(), wanted.trim(), "\n{}", told(&plan));
}

/// Whether a program is here.
fn has(name: &str) -> bool {
    let found = program::find(name).is_some();
    if !found {
        println!("skipped: {name} is not here; `blackstart sandbox install` builds it");
    }
    found
}

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://example.com/fleet', ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";

fn flux(files: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    [("clusters/a/flux-system/gotk-sync.yaml", SYNC.to_owned())].into_iter().chain(files).collect()
}

fn layer(name: &str, path: &str, more: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: {path}\n  prune: true\n  interval: 1m\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{more}---\n"
    )
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\n---\n")
}

#[test]
fn a_parent_that_waits_is_ready_after_its_children_and_so_is_who_depends_on_it() {
    check(
        &flux(vec![
            ("clusters/a/all.yaml", layer("apps", "./apps", "  wait: true\n") + &layer("late", "./late", "  dependsOn: [{name: apps}, {name: two}]\n")),
            ("apps/one.yaml", layer("one", "./one", "  dependsOn: [{name: two}]\n") + &layer("two", "./two", "")),
            ("one/a.yaml", map("a")),
            ("two/b.yaml", map("b")),
            ("late/c.yaml", map("c")),
        ]),
        None,
        "0 flux-system/flux-system: Kustomization flux-system/apps, Kustomization flux-system/flux-system, Kustomization flux-system/late, GitRepository flux-system/flux-system
1 flux-system/apps < flux-system/flux-system: Kustomization flux-system/one, Kustomization flux-system/two
2 flux-system/two < flux-system/apps: ConfigMap default/b
3 flux-system/one < flux-system/apps: ConfigMap default/a
4 flux-system/late < flux-system/flux-system: ConfigMap default/c
flux-system/apps > flux-system/late ReadyBeforeStart: dependsOn clusters/a/all.yaml:19
flux-system/two > flux-system/late ReadyBeforeStart: dependsOn clusters/a/all.yaml:19
flux-system/one > flux-system/apps ReadyBeforeReady: wait apps/one.yaml:1
flux-system/two > flux-system/one ReadyBeforeStart: dependsOn apps/one.yaml:9
flux-system/two > flux-system/apps ReadyBeforeReady: wait apps/one.yaml:11",
    );
}

#[test]
fn patches_of_a_parent_reach_children_and_their_children() {
    if !has("kustomize") {
        return;
    }
    // The parent patches its children with a patch that these apply to theirs.
    let inner = "apiVersion: kustomize.toolkit.fluxcd.io/v1\\nkind: Kustomization\\nmetadata: {name: x}\\nspec: {dependsOn: [{name: base}], postBuild: {substitute: {WHO: you}}}";
    let outer = format!(
        "  patches:\n    - target: {{kind: Kustomization, labelSelector: 'deep!=true'}}\n      patch: |\n        apiVersion: kustomize.toolkit.fluxcd.io/v1\n        kind: Kustomization\n        metadata: {{name: x}}\n        spec:\n          patches:\n            - target: {{kind: Kustomization}}\n              patch: \"{inner}\"\n"
    );
    check(
        &flux(vec![
            ("clusters/a/all.yaml", layer("apps", "./apps", &outer) + &layer("base", "./base", "")),
            ("apps/group.yaml", layer("group", "./group", "")),
            ("group/leaf.yaml", layer("leaf", "./leaf", "")),
            ("leaf/a.yaml", map("'hello-${WHO}'")),
            ("base/b.yaml", map("b")),
        ]),
        None,
        "0 flux-system/flux-system: Kustomization flux-system/apps, Kustomization flux-system/base, Kustomization flux-system/flux-system, GitRepository flux-system/flux-system
1 flux-system/apps < flux-system/flux-system: Kustomization flux-system/group
1 flux-system/base < flux-system/flux-system: ConfigMap default/b
2 flux-system/group < flux-system/apps: Kustomization flux-system/leaf
3 flux-system/leaf < flux-system/group: ConfigMap default/hello-you
flux-system/base > flux-system/leaf ReadyBeforeStart: dependsOn group/leaf.yaml:1",
    );
}

#[test]
fn names_of_layers_may_hold_variables() {
    check(
        &flux(vec![
            ("clusters/a/all.yaml", layer("apps", "./apps", "  postBuild: {substitute: {STAGE: prod}}\n")),
            ("apps/one.yaml", layer("shop-${STAGE}", "./shop/${STAGE}", "").replace("name: shop-${STAGE}", "name: 'shop-${STAGE}'")),
            ("shop/prod/a.yaml", map("a")),
        ]),
        None,
        "0 flux-system/flux-system: Kustomization flux-system/apps, Kustomization flux-system/flux-system, GitRepository flux-system/flux-system
1 flux-system/apps < flux-system/flux-system: Kustomization flux-system/shop-prod
2 flux-system/shop-prod < flux-system/apps: ConfigMap default/a",
    );
}

#[test]
fn an_undefined_alias_is_told_at_its_place_and_the_rest_is_read() {
    check(
        &flux(vec![
            ("clusters/a/all.yaml", layer("bad", "./bad", "") + &layer("good", "./good", "")),
            ("bad/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: *gone\n".to_owned()),
            ("good/b.yaml", map("b")),
        ]),
        None,
        "0 flux-system/flux-system: Kustomization flux-system/bad, Kustomization flux-system/flux-system, Kustomization flux-system/good, GitRepository flux-system/flux-system
1 flux-system/bad < flux-system/flux-system (?): \n1 flux-system/good < flux-system/flux-system: ConfigMap default/b
! bad/a.yaml:5 bad/a.yaml: is not valid YAML: alias references unknown anchor",
    );
}

#[test]
fn a_cycle_through_a_parent_is_told_with_the_place_of_each_step() {
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "  wait: true\n") + &layer("base", "./base", "  dependsOn: [{name: apps}]\n")),
        ("apps/one.yaml", layer("one", "./one", "  dependsOn: [{name: base}]\n")),
        ("one/a.yaml", map("a")),
        ("base/b.yaml", map("b")),
    ]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    assert_eq!(
        plan.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(),
        [
            "layers wait for each other: flux-system/apps waits for flux-system/one (wait at apps/one.yaml:1), flux-system/one waits for flux-system/base (dependsOn at apps/one.yaml:9), flux-system/base waits for flux-system/apps (dependsOn at clusters/a/all.yaml:19)"
        ]
    );
}

#[test]
fn hundreds_of_files_without_a_kustomization_are_one_layer() {
    let names: Vec<String> = (0..250).map(|number| format!("apps/{:02}/m{number:03}.yaml", number % 20)).collect();
    let mut files: Vec<(&str, String)> = flux(vec![("clusters/a/all.yaml", layer("apps", "./apps", ""))]);
    files.extend(names.iter().enumerate().map(|(number, name)| (name.as_str(), map(&format!("m{number:03}")))));
    let folder = repository(&files);
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let apps = plan.layers.iter().find(|layer| layer.id.name == "apps").unwrap();
    assert_eq!((apps.objects.len(), plan.problems.len()), (250, 0));
}

#[test]
fn a_resource_set_gives_layers() {
    let set = "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSet\nmetadata: {name: teams, namespace: flux-system}\nspec:\n  inputsFrom: [{kind: ResourceSetInputProvider, name: teams}]\n  resources:\n  - apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {name: 'team-<< inputs.team >>'}\n    spec: {path: './teams/<< inputs.team >>', interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}\n---\napiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSet\nmetadata: {name: previews, namespace: flux-system}\nspec: {inputsFrom: [{kind: ResourceSetInputProvider, name: requests}]}\n";
    let provider = "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSetInputProvider\nmetadata: {name: teams, namespace: flux-system}\nspec: {type: Static, defaultValues: {team: red}}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/set.yaml", set.to_owned()),
        ("clusters/a/inputs.yaml", layer("inputs", "./inputs", "")),
        ("inputs/teams.yaml", provider.to_owned()),
        ("teams/red/a.yaml", map("red")),
    ]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let text = told(&plan);
    assert!(text.contains("1 flux-system/team-red < flux-system/flux-system: ConfigMap default/red\n"), "{text}");
    assert!(text.ends_with("? layer/flux-system/flux-system needs ResourceSetInputProvider flux-system/requests, which is not in Git, for ResourceSet flux-system/previews\n"), "{text}");
}

#[test]
fn what_objects_need_of_each_other_is_told_and_holds_back_readiness_alone() {
    if !has("helm") {
        return;
    }
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec: {template: {spec: {serviceAccountName: web, containers: [{name: a, envFrom: [{secretRef: {name: db}}]}]}}}\n";
    let chart = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: operator, namespace: default}\nspec: {interval: 1m, chart: {spec: {chart: ./charts/operator, sourceRef: {kind: GitRepository, name: flux-system, namespace: flux-system}}}}\n";
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: queues.x.example.com}\nspec: {group: x.example.com, scope: Namespaced, names: {kind: Queue, plural: queues}}\n";
    let brokers = definition.replace("queues", "brokers").replace("Queue", "Broker");
    let webhook = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: brokers}\nwebhooks:\n- name: check.x.example.com\n  clientConfig: {service: {namespace: default, name: hook}}\n  rules: [{apiGroups: [x.example.com], resources: [brokers]}]\n";
    check(
        &flux(vec![
            ("clusters/a/all.yaml", ["apps", "base", "brokers", "hooks", "operators", "queues"].map(|name| layer(name, &format!("./{name}"), "")).concat()),
            ("apps/web.yaml", deployment.to_owned()),
            ("base/a.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: default}\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: x, namespace: default}\nspec: {target: {name: db}}\n".to_owned()),
            ("hooks/hook.yaml", format!("{webhook}---\n{brokers}---\napiVersion: v1\nkind: Service\nmetadata: {{name: hook, namespace: default}}\n")),
            ("brokers/a.yaml", "apiVersion: x.example.com/v1\nkind: Broker\nmetadata: {name: b, namespace: default}\n".to_owned()),
            ("operators/release.yaml", chart.to_owned()),
            ("charts/operator/Chart.yaml", "apiVersion: v2\nname: operator\nversion: 1.0.0\n".to_owned()),
            ("charts/operator/crds/queues.yaml", definition.to_owned()),
            ("queues/a.yaml", "apiVersion: x.example.com/v1\nkind: Queue\nmetadata: {name: q, namespace: default}\n".to_owned()),
        ]),
        None,
        "0 flux-system/flux-system: Kustomization flux-system/apps, Kustomization flux-system/base, Kustomization flux-system/brokers, Kustomization flux-system/flux-system, Kustomization flux-system/hooks, Kustomization flux-system/operators, Kustomization flux-system/queues, GitRepository flux-system/flux-system
1 flux-system/apps < flux-system/flux-system: Deployment default/web
1 flux-system/base < flux-system/flux-system: ServiceAccount default/web, ExternalSecret default/x
1 flux-system/brokers < flux-system/flux-system: Broker default/b
1 flux-system/hooks < flux-system/flux-system: CustomResourceDefinition brokers.x.example.com, Service default/hook, ValidatingWebhookConfiguration brokers
1 flux-system/operators < flux-system/flux-system: HelmRelease default/operator
1 flux-system/queues < flux-system/flux-system: Queue default/q
flux-system/base > flux-system/apps AppliedBeforeReady: Secret default/db apps/web.yaml:1
flux-system/base > flux-system/apps AppliedBeforeReady: ServiceAccount default/web apps/web.yaml:1
flux-system/hooks > flux-system/brokers AppliedBeforeStart: CustomResourceDefinition brokers.x.example.com brokers/a.yaml:1
flux-system/hooks > flux-system/brokers ReadyBeforeStart: webhook check.x.example.com admits Broker brokers/a.yaml:1
flux-system/operators > flux-system/queues ReadyBeforeStart: CustomResourceDefinition queues.x.example.com of chart operator queues/a.yaml:1",
    );
}

fn application(name: &str, path: &str, wave: &str, more: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: {name}\n  namespace: argocd\n  annotations:\n    argocd.argoproj.io/sync-wave: \"{wave}\"\nspec:\n  source: {{repoURL: 'https://example.com/fleet.git', path: {path}, targetRevision: HEAD{more}}}\n  destination: {{server: 'https://kubernetes.default.svc', namespace: {name}}}\n---\n"
    )
}

#[test]
fn an_app_of_apps_orders_its_children_by_wave_and_finds_its_root_by_itself() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {argocd.argoproj.io/hook: PreSync}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: cleanup, annotations: {argocd.argoproj.io/hook: PostDelete}}\n---\n";
    check(
        &[
            ("root.yaml", application("root", "apps", "0", ", directory: {recurse: true}")),
            ("apps/base/base.yaml", application("crds", "manifests/crds", "-5", "")),
            ("apps/web.yaml", application("web", "manifests/web", "3", "") + &application("db", "manifests/db", "3", "")),
            ("apps/spoke.yaml", application("spoke", "manifests/db", "4", "").replace("https://kubernetes.default.svc", "https://spoke.example.com")),
            ("manifests/crds/a.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.example.com}\nspec: {group: x.example.com, scope: Cluster, names: {kind: Thing}}\n".to_owned()),
            ("manifests/web/a.yaml", map("web").replace(", namespace: default", "") + job),
            ("manifests/db/a.yaml", "apiVersion: x.example.com/v1\nkind: Thing\nmetadata: {name: t}\n".to_owned()),
        ],
        None,
        "0 argocd/root: Application argocd/crds, Application argocd/db, Application argocd/web, Application argocd/spoke
-5 argocd/crds < argocd/root: CustomResourceDefinition things.x.example.com
3 argocd/db < argocd/root: Thing t
3 argocd/web < argocd/root: Job web/migrate, ConfigMap web/web
4 argocd/spoke < argocd/root (remote): Thing t
argocd/crds > argocd/db ReadyBeforeStart: sync wave -5 before 3 apps/web.yaml:18
argocd/crds > argocd/web ReadyBeforeStart: sync wave -5 before 3 apps/web.yaml:7
argocd/db > argocd/spoke ReadyBeforeStart: sync wave 3 before 4 apps/spoke.yaml:7
argocd/web > argocd/spoke ReadyBeforeStart: sync wave 3 before 4 apps/spoke.yaml:7
argocd/crds > argocd/db AppliedBeforeStart: CustomResourceDefinition things.x.example.com manifests/db/a.yaml:1",
    );
}

#[test]
fn charts_kustomizations_and_values_of_another_source() {
    if !has("helm") || !has("kustomize") {
        return;
    }
    let several = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop, namespace: argocd}\nspec:\n  sources:\n  - {repoURL: 'https://example.com/fleet', ref: values}\n  - repoURL: https://example.com/fleet\n    path: charts/shop\n    helm: {valueFiles: [$values/values/prod.yaml, values-gone.yaml], ignoreMissingValueFiles: true, parameters: [{name: who, value: 'a,b', forceString: true}], valuesObject: {more: $ARGOCD_APP_NAME}}\n  - {repoURL: 'https://charts.example.com', chart: redis, targetRevision: 1.2.3}\n  destination: {namespace: shop}\n---\n";
    let template = "{{- range .Values.names }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ . }}-{{ $.Release.Name }}\n  namespace: {{ $.Release.Namespace }}\ndata: {who: {{ $.Values.who | quote }}}\n{{- end }}\n{{ include \"common.map\" . }}\n";
    let common = "{{- define \"common.map\" }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: common\n{{- end }}\n";
    let broken = application("broken", "charts/broken", "0", "") + &application("remote", "charts/remote", "0", "");
    check(
        &[
            ("clusters/a/apps.yaml", several.to_owned() + &application("web", "web", "0", ", kustomize: {namePrefix: x-, images: ['nginx:1.27'], commonLabels: {a: b}}") + &broken),
            ("values/prod.yaml", "names: [one, two]\n".to_owned()),
            ("charts/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: common, version: 1.0.0, repository: 'file://../common'}]\n".to_owned()),
            ("charts/shop/templates/maps.yaml", template.to_owned()),
            ("charts/common/Chart.yaml", "apiVersion: v2\nname: common\nversion: 1.0.0\ntype: library\n".to_owned()),
            ("charts/common/templates/_map.tpl", common.to_owned()),
            ("charts/broken/Chart.yaml", "apiVersion: v2\nname: broken\nversion: 1.0.0\n".to_owned()),
            ("charts/broken/templates/a.yaml", "# x\n{{ fail \"needs a value\" }}\n".to_owned()),
            ("charts/remote/Chart.yaml", "apiVersion: v2\nname: remote\nversion: 1.0.0\ndependencies: [{name: redis, version: ~1.2, repository: 'https://charts.example.com'}]\n".to_owned()),
            ("web/kustomization.yaml", "resources: [a.yaml]\n".to_owned()),
            ("web/a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {x: y}}, template: {metadata: {labels: {x: y}}, spec: {containers: [{name: a, image: nginx}]}}}\n".to_owned()),
        ],
        None,
        "0 argocd/broken (?): \n0 argocd/remote (?): \n0 argocd/shop (?): ConfigMap shop/common, ConfigMap shop/one-shop, ConfigMap shop/two-shop
0 argocd/web: Deployment web/x-web
! charts/broken/templates/a.yaml:2 Application argocd/broken: helm: execution error at (broken/templates/a.yaml:2:3): needs a value
? layer/argocd/remote needs chart redis ~1.2 from https://charts.example.com, which its chart depends on
? layer/argocd/shop needs chart redis 1.2.3 of https://charts.example.com",
    );
}

#[test]
fn an_application_set_gives_layers_and_what_a_cluster_knows_is_unknown() {
    let set = |name: &str, generator: &str, more: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {{name: {name}, namespace: argocd, annotations: {{argocd.argoproj.io/sync-wave: '2'}}}}\nspec:\n  goTemplate: true\n  generators: [{generator}]\n{more}  template:\n    metadata: {{name: '{{{{.path.basename}}}}', labels: {{app: '{{{{.path.basename}}}}'}}}}\n    spec: {{source: {{repoURL: 'https://example.com/fleet', path: '{{{{.path.path}}}}'}}, destination: {{name: in-cluster, namespace: '{{{{.path.basename}}}}'}}, syncPolicy: {{syncOptions: [CreateNamespace=true]}}}}\n---\n"
        )
    };
    let rolling = "  strategy: {type: RollingSync, rollingSync: {steps: [{matchExpressions: [{key: app, operator: In, values: [db]}]}, {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}]}}\n";
    check(
        &[
            ("bootstrap/root.yaml", application("root", "sets", "0", "")),
            (
                "sets/sets.yaml",
                set("apps", "{git: {repoURL: 'https://example.com/fleet', directories: [{path: 'apps/*'}]}}", rolling)
                    + &set("spokes", "{clusters: {}}", "")
                    + &application("first", "first", "1", ""),
            ),
            ("apps/web/a.yaml", map("web").replace(", namespace: default", "")),
            ("apps/db/a.yaml", map("db").replace(", namespace: default", "")),
            ("first/a.yaml", map("first")),
        ],
        None,
        "0 argocd/root: Application argocd/first, ApplicationSet argocd/apps, ApplicationSet argocd/spokes
1 argocd/first < argocd/root: ConfigMap default/first
2 argocd/db < argocd/root: ConfigMap db/db
2 argocd/web < argocd/root: ConfigMap web/web
argocd/root > argocd/db AppliedBeforeStart: ApplicationSet argocd/apps sets/sets.yaml:1
argocd/first > argocd/db ReadyBeforeStart: sync wave 1 before 2 sets/sets.yaml:3
argocd/root > argocd/web AppliedBeforeStart: ApplicationSet argocd/apps sets/sets.yaml:1
argocd/first > argocd/web ReadyBeforeStart: sync wave 1 before 2 sets/sets.yaml:3
argocd/db > argocd/web ReadyBeforeStart: step 1 of the progressive sync before step 2 sets/sets.yaml:3
? layer/argocd/root needs the clusters that are registered with Argo CD (generator clusters) for ApplicationSet argocd/spokes",
    );
}

#[test]
fn a_root_that_the_environment_names_is_no_layer_of_the_repository() {
    let environment = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec:\n  agent:\n    argocd:\n      namespace: gitops\n      root: {name: apps, path: apps}\n";
    let environment = parse(environment, "blackstart.yaml").unwrap();
    let folder = repository(&[
        (
            "apps/a.yaml",
            application("one", "one", "1", "").replace("  namespace: argocd\n", "")
                + &application("two", "one", "2", "").replace("  namespace: argocd\n", ""),
        ),
        ("one/a.yaml", map("a")),
    ]);
    let (_, plan) = read(folder.path(), None, &environment);
    let text = told(&plan);
    assert_eq!(
        plan.layers
            .iter()
            .map(|layer| (layer.id.to_string(), layer.wave, layer.parent.as_ref().map(ToString::to_string)))
            .collect::<Vec<_>>(),
        [("gitops/one".to_owned(), 0, Some("gitops/apps".to_owned())), ("gitops/two".to_owned(), 1, Some("gitops/apps".to_owned()))],
        "{text}"
    );
    assert!(
        plan.nodes.iter().any(|node| node.id == "layer/gitops/apps") && plan.nodes.iter().any(|node| node.id == "agent/argocd"),
        "{text}"
    );
}

#[test]
fn each_folder_with_roots_is_an_entry_point_of_its_own() {
    let folder = repository(&[
        ("clusters/a/root.yaml", application("root", "apps/a", "0", "")),
        ("clusters/b/root.yaml", application("root", "apps/b", "0", "")),
        ("apps/a/x.yaml", application("x", "x", "0", "")),
        ("apps/b/x.yaml", application("x", "x", "0", "")),
        (
            "charts/c/templates/app.yaml",
            "kind: Application\napiVersion: argoproj.io/v1alpha1\nmetadata: {name: '{{ .Release.Name }}'}\n".to_owned(),
        ),
        ("x/a.yaml", map("a")),
    ]);
    let found = entrypoints(folder.path(), &Revision::WorkingTree).unwrap();
    assert_eq!(found, ["clusters/a", "clusters/b"]);
    let (reading, _) = read(folder.path(), Some("clusters/b"), &Environment::default());
    assert_eq!(reading.layers.iter().map(|read| read.layer.id.to_string()).collect::<Vec<_>>(), ["argocd/root", "argocd/x"]);
}
