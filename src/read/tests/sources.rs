//! Where the files of a source are: other branches, clones, folders that were pushed as artifacts; and what is lost with a file.

use super::*;

#[test]
fn the_same_url_at_another_branch_has_that_branchs_files() {
    let source = |name: &str, reference: &str| {
        format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: {name}, namespace: flux-system}}\nspec: {{url: 'ssh://git@example.com/fleet.git', ref: {{{reference}}}}}\n---\n"
        )
    };
    let from = |name: &str| layer(name, "./apps", "").replace("name: flux-system}\n", &format!("name: {name}}}\n"));
    let folder = repository(&flux(vec![
        (
            "clusters/a/all.yaml",
            [
                source("next", "branch: next"),
                source("same", "branch: main"),
                source("gone", "tag: v9"),
                from("next"),
                from("same"),
                from("gone"),
            ]
            .concat(),
        ),
        ("apps/a.yaml", map("old")),
    ]));
    let git = git2::Repository::open(folder.path()).unwrap();
    let head = git.head().unwrap().peel_to_commit().unwrap();
    git.branch("next", &head, false).unwrap();
    git.set_head("refs/heads/next").unwrap();
    commit(folder.path(), &[("apps/a.yaml", map("new"))]);
    git.set_head("refs/heads/main").unwrap();
    git.checkout_head(Some(git2::build::CheckoutBuilder::new().force())).unwrap();
    let (reading, plan) = read(folder.path(), None, &Environment::default());
    let objects = |name: &str| {
        plan.layers
            .iter()
            .find(|layer| layer.id.name == name)
            .map(|layer| layer.objects.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        (objects("next").unwrap(), objects("same").unwrap()),
        (vec!["ConfigMap default/new".to_owned()], vec!["ConfigMap default/old".to_owned()])
    );
    // What this clone does not have is shown with what it has, and no run starts from that.
    let why = "ssh://git@example.com/fleet.git has no tag v9 in this clone";
    assert_eq!(objects("gone"), objects("same"));
    assert_eq!(
        plan.unknowns.iter().map(|unknown| format!("{} {}", unknown.node, unknown.needs)).collect::<Vec<_>>(),
        [format!("layer/flux-system/gone the files of its source: {why}; shown with those that are read")]
    );
    assert_eq!(
        reading.assumed.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>(),
        [format!("Kustomization flux-system/gone: its source GitRepository/flux-system/gone has no files here: {why}")]
    );
    assert!(plan.problems.is_empty(), "{:?}", plan.problems);
}

#[test]
fn remote_bases_come_from_a_clone_or_are_not_known() {
    if !has("kustomize") {
        return;
    }
    let base = repository(&[("deploy/kustomization.yaml", "resources: [../more/a.yaml]\n".to_owned()), ("more/a.yaml", map("far"))]);
    let folder = repository(&flux(vec![
        (
            "clusters/a/all.yaml",
            layer("near", "./near", "") + &layer("patched", "./near", "  targetNamespace: shop\n") + &layer("gone", "./gone", ""),
        ),
        ("near/kustomization.yaml", "resources: [./inner]\n".to_owned()),
        ("near/inner/kustomization.yaml", "resources: ['https://github.com/org/base//deploy?ref=v1', a.yaml]\n".to_owned()),
        ("near/inner/a.yaml", map("near")),
        ("gone/kustomization.yaml", "resources: ['github.com/org/other/deploy?ref=v1']\n".to_owned()),
    ]));
    let sources = vec![("base".to_owned(), base.path().to_owned())];
    let (_, plan) = read_with_sources(folder.path(), None, &Environment::default(), sources);
    let text = told(&plan);
    for line in [
        "1 flux-system/near < flux-system/flux-system: ConfigMap default/far, ConfigMap default/near",
        "1 flux-system/patched < flux-system/flux-system: ConfigMap shop/far, ConfigMap shop/near",
        "1 flux-system/gone < flux-system/flux-system (?): ",
        "? layer/flux-system/gone needs remote base github.com/org/other/deploy?ref=v1",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    assert!(!text.contains('!'), "{text}");
}

#[test]
fn what_was_pushed_as_an_artifact_is_a_folder_of_a_repository() {
    let source = |name: &str| {
        format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {{name: {name}, namespace: flux-system}}\nspec: {{url: 'oci://registry.example.com/org/{name}', ref: {{tag: latest}}}}\n---\n"
        )
    };
    let from = |name: &str, path: &str| {
        layer(name, path, "").replace("{kind: GitRepository, name: flux-system}", &format!("{{kind: OCIRepository, name: {name}}}"))
    };
    let components = repository(&[
        ("components/dns/app/a.yaml", map("dns")),
        ("components/dns/broken/a.yaml", "a: [\n".to_owned()),
        ("components/other/a.yaml", map("other")),
    ]);
    let folder = repository(&flux(vec![
        (
            "clusters/a/all.yaml",
            [
                source("dns"),
                source("own"),
                from("dns", "./app"),
                from("own", "./"),
                from("dns", "./broken").replace("name: dns, n", "name: broken, n"),
            ]
            .concat(),
        ),
        ("manifests/a.yaml", map("own")),
    ]));
    let sources = vec![
        ("dns".to_owned(), components.path().join("components/dns")),
        ("OCIRepository/flux-system/own".to_owned(), folder.path().join("manifests")),
    ];
    let (reading, plan) = read_with_sources(folder.path(), None, &Environment::default(), sources);
    let name = components.path().file_name().unwrap().to_string_lossy().into_owned();
    let text = told(&plan).replace(&name, "components");
    for line in [
        "1 flux-system/dns < flux-system/flux-system: ConfigMap default/dns",
        "1 flux-system/own < flux-system/flux-system: ConfigMap default/own",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
    // Places are those of the repositories.
    let origins = reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.kind() == "ConfigMap");
    let origins: Vec<_> = origins.filter_map(|object| object.origin.clone()).collect();
    let places: Vec<String> = origins.iter().map(|origin| origin.to_string().replace(&name, "components")).collect();
    assert_eq!(places, ["components:components/dns/app/a.yaml:1", "manifests/a.yaml:1"]);
    assert!(origins.iter().all(|origin| reading.excerpt(origin).is_some_and(|line| line == "apiVersion: v1")));
    assert!(text.contains("! components:components/dns/broken/a.yaml:"), "{text}");
}

#[test]
fn a_lost_file_does_not_hide_the_rest_of_its_layer() {
    if !has("kustomize") {
        return;
    }
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "  targetNamespace: web\n") + &layer("empty", "./empty", "")),
        (
            "apps/kustomization.yaml",
            concat!(
                "resources: [a.yaml, gone.yaml, ../base]\n",
                "configMapGenerator:\n",
                "  - {name: scripts, files: [run.sh=gone.sh, here.sh], options: {disableNameSuffixHash: true, annotations: {a: b}}}\n",
                "  - {name: hashed, envs: [gone.env]}\n",
                "  - {name: whole, files: [here.sh]}\n",
                "patches: [{path: gone-patch.yaml}, {patch: '[{\"op\": \"add\", \"path\": \"/data\", \"value\": {\"a\": \"b\"}}]', target: {name: a}}]\n",
            )
            .to_owned(),
        ),
        ("apps/a.yaml", map("a")),
        ("apps/here.sh", "true\n".to_owned()),
        ("base/kustomization.yml", "resources: [b.yaml]\ncomponents: [../gone]\n".to_owned()),
        ("base/b.yaml", map("b")),
        ("empty/kustomization.yaml", "resources: [gone.yaml]\n".to_owned()),
    ]));
    // The second time it comes from the cache.
    for _ in 0..2 {
        let (reading, plan) = read(folder.path(), None, &Environment::default());
        let text = told(&plan);
        for line in [
            "1 flux-system/apps < flux-system/flux-system (?): ConfigMap web/a, ConfigMap web/b, ConfigMap web/scripts, ConfigMap web/whole-66bbmm87tm",
            "1 flux-system/empty < flux-system/flux-system (?): ",
            "! apps/kustomization.yaml:1 Kustomization flux-system/apps: what its kustomization names is not there: apps/gone.yaml (resources), gone (components), apps/gone-patch.yaml (patches.path), apps/gone.sh (configMapGenerator.files), apps/gone.env (configMapGenerator.envs)",
            "! empty/kustomization.yaml:1 Kustomization flux-system/empty: what its kustomization names is not there: empty/gone.yaml (resources)",
        ] {
            assert!(text.lines().any(|found| found.trim_end() == line.trim_end()), "`{line}` is not in\n{text}");
        }
        let apps = reading.layers.iter().find(|read| read.layer.id.name == "apps").unwrap();
        let object = |name: &str| &apps.objects.iter().find(|object| object.name() == name).unwrap().value;
        assert_eq!(object("a")["data"]["a"], "b");
        assert_eq!(object("scripts")["metadata"]["annotations"], serde_json::json!({"a": "b"}));
        assert!(object("scripts")["data"].get("here.sh").is_some());
    }
}
