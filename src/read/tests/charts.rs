//! Charts in Git that HelmReleases install, and archives that ArtifactGenerators unpack.

use super::*;

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.0.0\n";

fn release(name: &str, more: &str) -> String {
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  interval: 1m\n  chart: {{spec: {{chart: ./charts/shop, sourceRef: {{kind: GitRepository, name: flux-system, namespace: flux-system}}}}}}\n{more}---\n"
    )
}

/// `RELEASE: OBJECT image` of all that charts make.
fn made(reading: &Reading) -> Vec<String> {
    let line = |release: &ObjectId, object: &Resource| {
        let image = object.value.pointer("/spec/template/spec/containers/0/image").and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("{}: {} {image}", release.name, object.id()).trim_end().to_owned()
    };
    reading.charts.iter().flat_map(|(release, objects)| objects.iter().map(move |object| line(release, object))).collect()
}

#[test]
fn charts_in_git_are_rendered_with_the_values_of_their_release() {
    if !has("helm") {
        return;
    }
    let template = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ .Release.Name }}'}\nspec: {template: {spec: {containers: [{name: a, image: '{{ .Values.image.name }}:{{ .Values.image.tag }}'}]}}}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "")),
        (
            "apps/all.yaml",
            [
                release("plain", ""),
                release("valued", "  targetNamespace: web\n  valuesFrom: [{kind: ConfigMap, name: tags, valuesKey: tag, targetPath: image.tag}]\n  values: {image: {name: nginx}}\n"),
                release("filed", "  values: {image: {tag: '3'}}\n").replace("./charts/shop,", "./charts/shop, valuesFiles: [./charts/shop/prod.yaml],"),
                release("unknown", "  valuesFrom: [{kind: Secret, name: gone}]\n"),
                release("optional", "  valuesFrom: [{kind: Secret, name: gone, optional: true}]\n  values: {broken: true}\n"),
                release("asleep", "  suspend: true\n"),
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tags, namespace: default}\ndata: {tag: '2'}\n".to_owned(),
            ]
            .concat(),
        ),
        ("charts/shop/Chart.yaml", CHART.to_owned()),
        ("charts/shop/values.yaml", "image: {name: busybox, tag: '1', pull: Always}\nbroken: false\n".to_owned()),
        ("charts/shop/prod.yaml", "image: {name: prod}\n".to_owned()),
        ("charts/shop/templates/a.yaml", format!("{template}{{{{ if .Values.broken }}}}{{{{ fail \"broken on purpose\" }}}}{{{{ end }}}}\n")),
        ("charts/shop/templates/b.yaml", "{{ if (.Values.image).pull }}\napiVersion: v1\nkind: Namespace\nmetadata: {name: '{{ .Release.Name }}-own'}\n{{ end }}\n".to_owned()),
    ]));
    let (reading, plan) = read(folder.path(), None, &Environment::default());
    assert_eq!(
        made(&reading),
        [
            "filed: Deployment default/filed prod:3",
            "plain: Namespace plain-own",
            "plain: Deployment default/plain busybox:1",
            "unknown: Namespace unknown-own",
            "unknown: Deployment default/unknown busybox:1",
            "valued: Namespace web-valued-own",
            "valued: Deployment web/web-valued nginx:2",
        ]
    );
    let unknowns: Vec<String> = plan.unknowns.iter().map(|unknown| unknown.needs.clone()).collect();
    assert_eq!(unknowns, ["values.yaml of Secret default/gone for HelmRelease default/unknown"]);
    let problems: Vec<String> = plan.problems.iter().map(|problem| format!("{:?} {}", problem.severity, problem.message)).collect();
    assert!(
        problems.len() == 1
            && problems[0].starts_with("Risk HelmRelease default/optional: helm: ")
            && problems[0].contains("broken on purpose"),
        "{problems:?}"
    );
    let origin = reading.charts.values().flatten().find(|object| object.kind() == "Deployment").and_then(|object| object.origin.clone());
    assert_eq!(origin.unwrap().to_string(), "charts/shop/templates/a.yaml:1");
}

#[test]
fn post_renderers_change_what_a_chart_makes() {
    if !has("helm") || !has("kustomize") {
        return;
    }
    let post = "  postRenderers:\n  - kustomize:\n      images: [{name: nginx, newName: registry.example.com/nginx, newTag: '3'}]\n      patches:\n      - {patch: '{\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\", \"metadata\": {\"name\": \"shop\"}, \"spec\": {\"replicas\": 3}}'}\n  - kustomize: {patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/labels\", \"value\": {\"a\": \"b\"}}]'}]}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "")),
        ("apps/all.yaml", release("shop", post) + &release("wrong", "  postRenderers: [{kustomize: {patches: [{patch: 'a: [', target: {kind: Deployment}}]}}]\n")),
        ("charts/shop/Chart.yaml", CHART.to_owned()),
        (
            "charts/shop/templates/a.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ .Release.Name }}'}\nspec: {template: {spec: {containers: [{name: a, image: 'nginx:1'}]}}}\n".to_owned(),
        ),
    ]));
    for _ in 0..2 {
        let (reading, plan) = read(folder.path(), None, &Environment::default());
        assert_eq!(made(&reading), ["shop: Deployment default/shop registry.example.com/nginx:3"]);
        let object = reading.charts.values().flatten().next().unwrap();
        assert_eq!((&object.value["spec"]["replicas"], &object.value["metadata"]["labels"]["a"]), (&3.into(), &"b".into()));
        assert_eq!(object.origin.as_ref().unwrap().to_string(), "charts/shop/templates/a.yaml:1");
        let problems: Vec<&str> = plan.problems.iter().map(|problem| problem.message.as_str()).collect();
        assert!(problems.len() == 1 && problems[0].starts_with("HelmRelease default/wrong: kustomize: "), "{problems:?}");
    }
}

#[test]
fn what_charts_make_orders_layers_too() {
    if !has("helm") {
        return;
    }
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: queues.x.example.com}\nspec: {group: x.example.com, scope: Namespaced, names: {kind: Queue, plural: queues}}\n---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "") + &layer("operators", "./operators", "") + &layer("queues", "./queues", "")),
        ("operators/a.yaml", release("shop", "  values: {crds: true}\n")),
        ("charts/shop/Chart.yaml", CHART.to_owned()),
        ("charts/shop/templates/a.yaml", format!("{{{{ if .Values.crds }}}}\n{definition}{{{{ end }}}}\n")),
        ("queues/a.yaml", "apiVersion: x.example.com/v1\nkind: Queue\nmetadata: {name: q, namespace: default}\n".to_owned()),
        (
            "apps/a.yaml",
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c, namespace: default}\nspec: {storageClassName: fast}\n"
                .to_owned(),
        ),
    ]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let text = told(&plan);
    for wanted in [
        "flux-system/operators > flux-system/queues ReadyBeforeStart: CustomResourceDefinition queues.x.example.com of chart shop queues/a.yaml:1\n",
        "flux-system/operators > flux-system/apps AppliedBeforeReady: StorageClass fast apps/a.yaml:1\n",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn an_artifact_may_be_unpacked_from_an_archive() {
    let packed = {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, text) in [("shop/a.yaml", map("a")), ("shop/b/b.yaml", map("b"))] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    };
    let generator = |from: &str, more: &str| {
        format!(
            "apiVersion: source.extensions.fluxcd.io/v1beta1\nkind: ArtifactGenerator\nmetadata: {{name: g, namespace: flux-system}}\nspec:\n  sources: [{{alias: s, kind: GitRepository, name: flux-system}}]\n  artifacts: [{{name: shop, copy: [{{from: '@s/{from}', to: '@artifact/in/', strategy: Extract{more}}}]}}]\n---\n"
        )
    };
    let told_of = |from: &str, more: &str| {
        let folder = repository(&[]);
        fs::create_dir_all(folder.path().join("packed")).unwrap();
        fs::write(folder.path().join("packed/shop-1.0.0.tgz"), &packed).unwrap();
        fs::write(folder.path().join("packed/broken.tgz"), "no archive").unwrap();
        let of_artifact =
            layer("shop", "./in/shop", "").replace("{kind: GitRepository, name: flux-system}", "{kind: ExternalArtifact, name: shop}");
        commit(
            folder.path(),
            &flux(vec![("clusters/a/all.yaml", generator(from, more) + &of_artifact), ("packed/note.txt", "x".to_owned())]),
        );
        told(&read(folder.path(), None, &Environment::default()).1)
    };
    for from in ["packed/shop-1.0.0.tgz", "packed/shop-*.tgz", "**/shop-*"] {
        let text = told_of(from, "");
        assert!(text.contains("flux-system/shop < flux-system/flux-system: ConfigMap default/a, ConfigMap default/b\n"), "{from}: {text}");
    }
    for (from, why) in [
        ("packed/note.txt", "strategy Extract wants a .tar.gz or .tgz, not packed/note.txt"),
        ("packed/broken.tgz", "packed/broken.tgz: cannot be unpacked: "),
        ("packed/gone.tgz", "nothing matches"),
    ] {
        let text = told_of(from, "");
        assert!(text.contains(why), "{from}: {text}");
    }
    let text = told_of("packed/gone-*", ", optional: true");
    assert!(text.contains("Kustomization flux-system/shop: spec.path ./in/shop is no folder of its source"), "{text}");
}

#[test]
fn explain_and_the_plan_tell_what_a_chart_makes() {
    if !has("helm") {
        return;
    }
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "")),
        ("apps/a.yaml", release("shop", "")),
        ("charts/shop/Chart.yaml", CHART.to_owned()),
        ("charts/shop/templates/a.yaml", map("a") + &map("b")),
    ]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let apps = plan.layers.iter().find(|layer| layer.id.name == "apps").unwrap();
    let value = serde_json::to_value(apps).unwrap();
    assert_eq!(value["charts"][0]["objects"].as_array().unwrap().len(), 2, "{value}");
    let text = anstream::adapter::strip_str(&crate::forms::explain(&plan, apps)).to_string();
    assert!(text.contains("  2 objects of its chart, by HelmRelease default/shop\n"), "{text}");
}
