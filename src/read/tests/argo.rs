//! What Argo CD makes of a repository, where that is not what one expects.

use super::*;
use crate::read::ReadError;

/// An ApplicationSet; generators and template as they stand.
fn set(name: &str, annotations: &str, generators: &str, path: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {{name: {name}, namespace: argocd, annotations: {{{annotations}}}}}\nspec:\n  goTemplate: true\n  generators: [{generators}]\n  template:\n    metadata: {{name: '{{{{.path.basename}}}}'}}\n    spec: {{source: {{repoURL: 'https://example.com/fleet', path: '{path}'}}, destination: {{name: in-cluster, namespace: default}}}}\n---\n"
    )
}

fn folders(pattern: &str, more: &str) -> String {
    format!("{{git: {{repoURL: 'https://example.com/fleet', directories: [{{path: '{pattern}'}}]{more}}}}}")
}

/// Layers, one a line.
fn layers(path: &Path, entrypoint: Option<&str>) -> Vec<String> {
    read(path, entrypoint, &Environment::default()).0.layers.iter().map(|read| read.layer.id.to_string()).collect()
}

#[test]
fn applications_of_a_set_hold_nobody_back() {
    check(
        &[
            ("root.yaml", application("root", "sets", "0", "")),
            ("sets/a.yaml", application("a", "a", "0", "")),
            ("sets/set.yaml", set("gen", "argocd.argoproj.io/sync-wave: '1'", &folders("gen/*", ""), "{{.path.path}}")),
            ("sets/z.yaml", application("z", "a", "2", "")),
            ("a/a.yaml", map("a")),
            ("gen/g/a.yaml", map("g")),
        ],
        None,
        "0 argocd/root: Application argocd/a, ApplicationSet argocd/gen, Application argocd/z
0 argocd/a < argocd/root: ConfigMap default/a
1 argocd/g < argocd/root: ConfigMap default/g
2 argocd/z < argocd/root: ConfigMap default/a
argocd/a > argocd/z ReadyBeforeStart: sync wave 0 before 2 sets/z.yaml:7
argocd/root > argocd/g AppliedBeforeStart: ApplicationSet argocd/gen sets/set.yaml:1
argocd/a > argocd/g ReadyBeforeStart: sync wave 0 before 1 sets/set.yaml:3",
    );
}

#[test]
fn sets_that_give_no_layer_tell_why() {
    let told_of = |text: String| {
        let folder = repository(&[("root/set.yaml", text), ("apps/a/a.yaml", map("a"))]);
        let (reading, plan) = read(folder.path(), None, &Environment::default());
        assert!(reading.layers.is_empty() && plan.nodes.iter().any(|node| node.id == "agent/argocd"));
        told(&plan)
    };
    assert_eq!(
        told_of(set("spokes", "", "{clusters: {}}", "apps/a")),
        "? ApplicationSet argocd/spokes needs the clusters that are registered with Argo CD (generator clusters)\n"
    );
    assert_eq!(
        told_of(set("none", "", "{git: {repoURL: 'https://example.com/fleet'}}", "apps/a")),
        "! root/set.yaml:1 ApplicationSet argocd/none: git: asks for neither directories nor files\n"
    );
    let folder = repository(&[("root/set.yaml", set("empty", "", "{list: {elements: []}}", "apps/a"))]);
    let options = ReadOptions {
        path: folder.path().to_owned(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    assert!(matches!(read_blocking(&options, &Environment::default()), Err(ReadError::NoApplication { path }) if path == "root"));
}

#[test]
fn a_kustomization_that_lacks_a_file_is_told_where_argo_cd_starts_from_it() {
    if !has("kustomize") {
        return;
    }
    check(
        &[
            ("root/kustomization.yaml", "resources: [a.yaml, gone.yaml]\n".to_owned()),
            ("root/a.yaml", application("a", "a", "0", "")),
            ("a/a.yaml", map("a")),
        ],
        None,
        "0 argocd/a: ConfigMap default/a
! root/kustomization.yaml:1 entry point root: what its kustomization names is not there: root/gone.yaml (resources)",
    );
}

#[test]
fn what_a_kustomization_takes_from_below_is_no_root_and_what_it_leaves_out_is() {
    let files = [
        ("root.yaml", application("root", "apps-of", "0", "")),
        ("apps-of/kustomization.yaml", "resources: [one/a.yaml, two]\n".to_owned()),
        ("apps-of/one/a.yaml", application("a", "a", "0", "")),
        ("apps-of/two/kustomization.yaml", "resources: [b.yaml]\n".to_owned()),
        ("apps-of/two/b.yaml", application("b", "a", "0", "")),
        ("a/a.yaml", map("a")),
    ];
    let folder = repository(&files);
    assert_eq!(entrypoints(folder.path(), &Revision::WorkingTree).unwrap(), ["."]);
    assert_eq!(layers(folder.path(), Some(".")), ["argocd/root", "argocd/a", "argocd/b"]);

    let folder = repository(&[
        ("argocd/root.yaml", application("root", "apps-of", "0", "")),
        ("argocd/kustomization.yaml", "resources: [cm.yaml]\n".to_owned()),
        ("argocd/cm.yaml", map("x")),
        ("apps-of/argocd.yaml", application("argocd", "argocd", "0", "")),
    ]);
    assert_eq!(entrypoints(folder.path(), &Revision::WorkingTree).unwrap(), ["argocd"]);
    assert_eq!(layers(folder.path(), Some("argocd/root.yaml")), ["argocd/root", "argocd/argocd"]);
    assert_eq!(layers(folder.path(), Some("apps-of/argocd.yaml")), ["argocd/argocd"], "what is asked for is read, root or not");
}

#[test]
fn charts_of_a_kustomization_are_unknown_to_argo_cd_and_wrong_for_flux() {
    if !has("kustomize") {
        return;
    }
    let inflating = "helmCharts:\n- {name: redis, repo: 'https://charts.example.com', version: 1.0.0}\n";
    check(
        &[
            ("root.yaml", application("a", "a", "0", "")),
            ("a/kustomization.yaml", format!("resources: [a.yaml]\n{inflating}")),
            ("a/a.yaml", map("a")),
        ],
        None,
        "0 argocd/a (?): ConfigMap default/a\n? layer/argocd/a needs chart redis 1.0.0 of https://charts.example.com, which a/kustomization.yaml takes in",
    );
    let folder = repository(&flux(vec![("clusters/a/a.yaml", layer("a", "./a", "")), ("a/kustomization.yaml", inflating.to_owned())]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let wanted = "! clusters/a/a.yaml:1 Kustomization flux-system/a: a/kustomization.yaml takes in chart redis 1.0.0 of https://charts.example.com (helmCharts), which kustomize-controller does not do: use a HelmRelease\n";
    assert!(told(&plan).ends_with(wanted), "{}", told(&plan));
}

#[test]
fn what_has_no_name_yet_a_wave_in_words_and_namespaces_of_cluster_kinds() {
    let objects = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-, annotations: {argocd.argoproj.io/hook: PreSync}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r, namespace: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {argocd.argoproj.io/sync-wave: first}}\n";
    check(
        &[("root.yaml", application("a", "a", "0", "")), ("a/a.yaml", objects.to_owned())],
        None,
        "0 argocd/a: Job a/migrate-*, ConfigMap a/c, ClusterRole r
! a/a.yaml:9 ConfigMap c of layer argocd/a: its sync wave `first` is no whole number: Argo CD does as if it had none",
    );
}

#[test]
fn an_application_with_a_wave_in_words_is_a_layer_all_the_same() {
    check(
        &[
            ("root.yaml", application("root", "apps", "0", "")),
            ("apps/a.yaml", application("a", "a", "first", "")),
            ("apps/b.yaml", application("b", "a", "1", "")),
            ("a/a.yaml", map("a")),
        ],
        None,
        "0 argocd/root: Application argocd/a, Application argocd/b
0 argocd/a < argocd/root: ConfigMap default/a
1 argocd/b < argocd/root: ConfigMap default/a
argocd/a > argocd/b ReadyBeforeStart: sync wave 0 before 1 apps/b.yaml:7
! apps/a.yaml:1 Application argocd/a of layer argocd/root: its sync wave `first` is no whole number: Argo CD does as if it had none",
    );
}

#[test]
fn a_revision_that_is_not_at_hand_is_told_of_generators_too_and_its_folders_may_be_elsewhere() {
    let folder = repository(&[
        ("root.yaml", application("root", "apps", "0", "")),
        ("apps/set.yaml", set("gen", "", &folders("gen/*", ", revision: v9"), "{{.path.path}}")),
        ("apps/b.yaml", application("b", "only/there", "0", "").replace("HEAD", "v9")),
        ("gen/g/a.yaml", map("g")),
    ]);
    let (reading, plan) = read(folder.path(), None, &Environment::default());
    assert_eq!(
        told(&plan),
        "0 argocd/root: Application argocd/b, ApplicationSet argocd/gen
0 argocd/b < argocd/root (?): 
0 argocd/g < argocd/root: ConfigMap default/g
argocd/root > argocd/g AppliedBeforeStart: ApplicationSet argocd/gen apps/set.yaml:1
? layer/argocd/b needs the files of its source: https://example.com/fleet.git has no reference v9 in this clone; shown with those that are read
? layer/argocd/root needs the files that ApplicationSet argocd/gen looks into: https://example.com/fleet has no reference v9 in this clone; shown with those that are read
"
    );
    assert_eq!(reading.assumed.len(), 2, "{:#?}", reading.assumed);
}

#[test]
fn a_root_that_makes_itself_again_is_one_layer() {
    let files = [("stack/set.yaml", set("gen", "", &folders("gen/*", ""), "stack")), ("gen/root/a.yaml", map("g"))];
    let folder = repository(&files);
    let (_, plan) = read(folder.path(), None, &Environment::default());
    assert_eq!(told(&plan), "0 argocd/root: ApplicationSet argocd/gen\n");
    let environment = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: prod}\nspec: {agent: {argocd: {root: {name: root, repoURL: 'https://example.com/fleet', path: stack}}}}\n";
    let (_, plan) = read(folder.path(), None, &parse(environment, "blackstart.yaml").unwrap());
    assert_eq!(told(&plan), "0 argocd/root: ApplicationSet argocd/gen\n");
}

#[test]
fn sets_of_one_name_are_told_with_their_files() {
    let generator = folders("gen/*", "");
    let folder = repository(&[
        ("root/a.yaml", set("gen", "", &generator, "gen/g")),
        ("root/b.yaml", set("gen", "", &generator, "gen/g")),
        ("gen/g/a.yaml", map("g")),
    ]);
    let (_, plan) = read(folder.path(), None, &Environment::default());
    assert!(
        told(&plan).ends_with(
            "! root/b.yaml:1 Application argocd/g: is declared by ApplicationSet argocd/gen (root/a.yaml:1) and by ApplicationSet argocd/gen (root/b.yaml:1); the last one applied wins\n"
        ),
        "{}",
        told(&plan)
    );
}
