//! ResourceSets of the Flux Operator, as it applies them.

use super::super::ReadSet;
use super::{check, flux, has, layer, map, read, repository, told};
use crate::environment::{Environment, parse};

const HEAD: &str = "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSet\n";

/// A set in `flux-system`; `resources` are objects of `spec.resources`, `spec` stands before them.
fn set(name: &str, spec: &str, resources: &[String]) -> String {
    let items: String = resources.iter().map(|resource| item(resource, 2)).collect();
    format!("{HEAD}metadata: {{name: {name}, namespace: flux-system}}\nspec:\n{spec}  resources:\n{items}---\n")
}

/// An object as an entry of a list.
fn item(resource: &str, indent: usize) -> String {
    let lines = resource.trim_end().trim_end_matches("---").trim_end().lines().enumerate();
    lines.map(|(at, line)| format!("{}{}{line}\n", " ".repeat(indent), if at == 0 { "- " } else { "  " })).collect::<Vec<_>>().concat()
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn dependency(kind: &str, name: &str, ready: bool) -> String {
    let group = if kind == "ResourceSet" { "fluxcd.controlplane.io" } else { "kustomize.toolkit.fluxcd.io" };
    format!("  dependsOn: [{{apiVersion: {group}/v1, kind: {kind}, name: {name}, namespace: flux-system, ready: {ready}}}]\n")
}

/// Edges between layers, problems and unknowns; without the layers.
#[track_caller]
fn edges(files: Vec<(&'static str, String)>, wanted: &str) {
    let folder = repository(&flux(files));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let text: Vec<String> = told(&plan).lines().filter(|line| !line.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned).collect();
    assert_eq!(text.join("\n"), wanted, "\n{}", told(&plan));
}

/// Waves of the layers that the files lead to.
#[track_caller]
fn waves(files: Vec<(&'static str, String)>, wanted: &[(&str, u32)]) {
    let folder = repository(&flux(files));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let found: Vec<(&str, u32)> = plan.layers.iter().skip(1).map(|layer| (layer.id.name.as_str(), layer.wave)).collect();
    assert_eq!((found.as_slice(), plan.problems.as_slice()), (wanted, [].as_slice()));
}

#[test]
fn what_a_set_gives_orders_layers_but_is_no_object_of_its_own() {
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.y}\nspec: {group: x.y, scope: Cluster, names: {kind: Thing, plural: things}}\n";
    let thing = "apiVersion: x.y/v1\nkind: Thing\nmetadata: {name: t}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/all.yaml", layer("apps", "./apps", "") + &layer("base", "./base", "")),
        ("apps/a.yaml", format!("{thing}---\n{}", map("a").replace("default", "shop"))),
        ("base/set.yaml", set("base", "", &[namespace("shop"), definition.to_owned(), thing.replace("name: t", "name: own")])),
    ]));
    let (reading, plan) = read(folder.path(), None, &Environment::default());
    let text = told(&plan);
    assert!(text.contains("1 flux-system/base < flux-system/flux-system: ResourceSet flux-system/base\n"), "{text}");
    assert!(text.contains("base > flux-system/apps AppliedBeforeStart: Namespace shop apps/a.yaml:"), "{text}");
    assert!(text.contains("base > flux-system/apps AppliedBeforeStart: CustomResourceDefinition things.x.y apps/a.yaml:"), "{text}");
    let given: Vec<String> = reading.sets.values().flat_map(ReadSet::objects).map(|object| object.id().to_string()).collect();
    assert_eq!(given, ["Namespace shop", "CustomResourceDefinition things.x.y", "Thing own"]);
}

#[test]
fn releases_that_a_set_gives_have_charts() {
    if !has("helm") {
        return;
    }
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: << inputs.t >>, namespace: shop}\nspec: {interval: 1m, chart: {spec: {chart: ./chart, sourceRef: {kind: GitRepository, name: flux-system, namespace: flux-system}}}}\n";
    let folder = repository(&flux(vec![
        ("clusters/a/set.yaml", set("apps", "  inputs: [{t: web}]\n", &[release.to_owned()])),
        ("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned()),
        ("chart/templates/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\n".to_owned()),
    ]));
    let (_, plan) = read(folder.path(), None, &Environment::default());
    let made: Vec<String> = plan.layers[0].charts.iter().flat_map(|chart| &chart.objects).map(ToString::to_string).collect();
    assert_eq!(made, ["ConfigMap shop/web"]);
}

#[test]
fn what_a_set_gives_starts_after_what_the_set_depends_on() {
    edges(
        vec![
            ("clusters/a/all.yaml", layer("base", "./x", "")),
            (
                "clusters/a/set.yaml",
                set("apps", &dependency("Kustomization", "base", true), &[layer("after-base", "./x", "")])
                    + &set("late", &dependency("ResourceSet", "apps", false), &[layer("late", "./x", "")])
                    + &set("later", &dependency("ResourceSet", "gone", true), &[layer("never", "./x", "")]),
            ),
            ("x/a.yaml", map("x")),
        ],
        "flux-system/base > flux-system/after-base ReadyBeforeStart: dependsOn of ResourceSet flux-system/apps clusters/a/set.yaml:5
! clusters/a/set.yaml:35 ResourceSet flux-system/later: dependsOn ResourceSet flux-system/gone, which nothing declares",
    );
}

#[test]
fn a_set_that_depends_on_a_set_that_waits_starts_after_its_layers() {
    waves(
        vec![
            (
                "clusters/a/set.yaml",
                set("one", "  wait: true\n", &[layer("a", "./x", "")])
                    + &set("two", &dependency("ResourceSet", "one", true), &[layer("b", "./x", "")]),
            ),
            ("x/a.yaml", map("x")),
        ],
        &[("a", 1), ("b", 2)],
    );
}

#[test]
fn sets_that_wait_for_each_other_are_told() {
    let files = |one: String, two: String| {
        vec![
            ("clusters/a/set.yaml", set("one", &one, &[layer("a", "./x", "")]) + &set("two", &two, &[layer("b", "./x", "")])),
            ("x/a.yaml", map("x")),
        ]
    };
    let folder = repository(&flux(files(dependency("Kustomization", "b", true), dependency("Kustomization", "a", true))));
    let text = told(&read(folder.path(), None, &Environment::default()).1);
    assert!(text.contains("layers wait for each other: flux-system/b waits for flux-system/a (dependsOn of ResourceSet flux-system/two at clusters/a/set.yaml:20), flux-system/a waits for flux-system/b (dependsOn of ResourceSet flux-system/one"), "{text}");
    let folder = repository(&flux(files(dependency("ResourceSet", "two", true), dependency("ResourceSet", "one", true))));
    let text = told(&read(folder.path(), None, &Environment::default()).1);
    assert!(text.contains("ResourceSets wait for each other: ResourceSet flux-system/two waits for ResourceSet flux-system/one (dependsOn at clusters/a/set.yaml:20), ResourceSet flux-system/one waits for ResourceSet flux-system/two (dependsOn at clusters/a/set.yaml:5)"), "{text}");
}

#[test]
fn a_set_is_ready_when_applied_unless_it_waits() {
    let files = |holder: &str, spec: &str, inner: &str| {
        vec![
            ("clusters/a/all.yaml", layer("holder", "./h", holder) + &layer("next", "./x", "  dependsOn: [{name: holder}]\n")),
            ("h/set.yaml", set("one", spec, &[layer("inner", "./x", inner)])),
            ("x/a.yaml", map("x")),
        ]
    };
    waves(files("  wait: true\n", "", "  wait: true\n"), &[("holder", 1), ("inner", 2), ("next", 2)]);
    waves(files("  wait: true\n", "  wait: true\n", ""), &[("holder", 1), ("inner", 2), ("next", 3)]);
    let checks = "  healthChecks: [{apiVersion: fluxcd.controlplane.io/v1, kind: ResourceSet, name: one, namespace: flux-system}]\n";
    waves(files(checks, "  wait: true\n", ""), &[("holder", 1), ("inner", 2), ("next", 3)]);
    waves(files(checks, "", ""), &[("holder", 1), ("inner", 2), ("next", 2)]);
    // What the set gives may wait for the layer that holds the set, then.
    waves(files("  wait: true\n", "", "  dependsOn: [{name: holder}]\n"), &[("holder", 1), ("inner", 2), ("next", 2)]);
}

#[test]
fn steps_of_a_set_start_one_after_the_other() {
    let steps: String = ["first", "second"]
        .map(|step| format!("  - name: {step}\n    resources:\n{}", item(&layer(&format!("<< inputs.t >>-{step}"), "./x", ""), 4)))
        .concat();
    let text = format!("{HEAD}metadata: {{name: stepped, namespace: flux-system}}\nspec:\n  inputs: [{{t: one}}]\n  steps:\n{steps}");
    check(
        &flux(vec![("clusters/a/set.yaml", text), ("x/a.yaml", map("x"))]),
        None,
        "0 flux-system/flux-system: ResourceSet flux-system/stepped, Kustomization flux-system/flux-system, GitRepository flux-system/flux-system
1 flux-system/one-first < flux-system/flux-system: ConfigMap default/x
2 flux-system/one-second < flux-system/flux-system: ConfigMap default/x
flux-system/one-first > flux-system/one-second ReadyBeforeStart: steps of ResourceSet flux-system/stepped clusters/a/set.yaml:1",
    );
}

#[test]
fn a_copy_has_the_data_of_the_object_that_it_copies() {
    let copy = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: info, namespace: shop, annotations: {fluxcd.controlplane.io/copyFrom: flux-system/info}}\n";
    let post_build = "  postBuild: {substituteFrom: [{kind: ConfigMap, name: info}]}\n";
    let apps = layer("apps", "./x", post_build)
        .replace("namespace: flux-system}", "namespace: shop}")
        .replace("name: flux-system}", "name: flux-system, namespace: flux-system}");
    let files = || {
        flux(vec![
            ("clusters/a/set.yaml", set("apps", "", &[namespace("shop"), copy.to_owned(), apps.clone()])),
            ("x/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'x-${CLUSTER}', namespace: shop}\n".to_owned()),
        ])
    };
    let mut with = files();
    with.push((
        "clusters/a/info.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: info, namespace: flux-system}\ndata: {CLUSTER: eu1}\n".to_owned(),
    ));
    let text = told(&read(repository(&with).path(), None, &Environment::default()).1);
    assert!(text.contains("1 shop/apps < flux-system/flux-system: ConfigMap shop/x-eu1\n"), "{text}");

    let given = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec:\n  variables: [{kind: ConfigMap, namespace: flux-system, name: info, data: {CLUSTER: eu2}}]\n";
    let environment = parse(given, "blackstart.yaml").unwrap();
    let text = told(&read(repository(&files()).path(), None, &environment).1);
    assert!(text.contains("ConfigMap shop/x-eu2\n"), "{text}");

    let text = told(&read(repository(&files()).path(), None, &Environment::default()).1);
    assert!(text.contains("ConfigMap shop/info: layer shop/apps takes variables from it, but it is a copy of ConfigMap flux-system/info, which neither Git nor the environment declares"), "{text}");
    assert!(text.contains("? layer/flux-system/flux-system needs ConfigMap flux-system/info, which is not in Git, for its copy ConfigMap shop/info of ResourceSet flux-system/apps"), "{text}");
}

#[test]
fn sets_give_sets_and_providers() {
    let provider = "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSetInputProvider\nmetadata: {name: p, namespace: flux-system, labels: {x: y}}\nspec: {type: Static, defaultValues: {env: dev}}\n";
    let inner = set(
        "inner",
        "  inputsFrom: [{kind: ResourceSetInputProvider, selector: {matchLabels: {x: y}}}]\n",
        &[layer("<< get inputs \"env\" >>-apps", "./x", "")],
    );
    // The outer set leaves the templates of the inner one alone.
    let inner = inner.replace("<< get inputs \"env\" >>", "<< \"<< inputs.env >>\" >>");
    check(
        &flux(vec![("clusters/a/set.yaml", set("outer", "", &[inner, provider.to_owned()])), ("x/a.yaml", map("x"))]),
        None,
        "0 flux-system/flux-system: ResourceSet flux-system/outer, Kustomization flux-system/flux-system, GitRepository flux-system/flux-system
1 flux-system/dev-apps < flux-system/flux-system: ConfigMap default/x",
    );
}

#[test]
fn a_set_may_depend_on_any_object() {
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.x.y}\nspec: {group: x.y, names: {kind: Thing, plural: things}}\n";
    let on = |version: &str, kind: &str, name: &str| format!("  - {{apiVersion: {version}, kind: {kind}, name: {name}, ready: true}}\n");
    let spec = ["  dependsOn:\n".to_owned(), on("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.x.y")].concat();
    // The agent brings its own definitions.
    let spec = spec
        + &on("apiextensions.k8s.io/v1", "CustomResourceDefinition", "helmreleases.helm.toolkit.fluxcd.io")
        + &on("v1", "ConfigMap", "gone");
    edges(
        vec![
            ("clusters/a/all.yaml", layer("base", "./base", "")),
            ("clusters/a/set.yaml", set("apps", &spec, &[layer("apps", "./x", "")])),
            ("base/a.yaml", definition.to_owned()),
            ("x/a.yaml", map("x")),
        ],
        "flux-system/base > flux-system/apps AppliedBeforeStart: dependsOn of ResourceSet flux-system/apps clusters/a/set.yaml:6
! clusters/a/set.yaml:8 ResourceSet flux-system/apps: dependsOn ConfigMap gone, which nothing declares",
    );
}

#[test]
fn a_layer_that_waits_for_a_set_that_waits_for_the_layer_is_told() {
    let files = vec![
        ("clusters/a/all.yaml", layer("holder", "./h", "  wait: true\n")),
        ("h/set.yaml", set("one", &dependency("Kustomization", "holder", true), &[layer("inner", "./x", "")])),
        ("x/a.yaml", map("x")),
    ];
    let text = told(&read(repository(&flux(files)).path(), None, &Environment::default()).1);
    assert!(
        text.contains(
            "! h/set.yaml:5 layer flux-system/holder waits for ResourceSet flux-system/one, which is ready only after that layer is"
        ),
        "{text}"
    );
}

#[test]
fn a_set_that_depends_on_an_object_beside_it_does_not_wait_for_its_layer() {
    let spec = "  wait: true\n  dependsOn: [{apiVersion: v1, kind: ConfigMap, name: beside, namespace: default, ready: true}]\n";
    let files = |inner: &str| {
        vec![
            ("clusters/a/all.yaml", layer("holder", "./h", "  wait: true\n") + &layer("next", "./x", "  dependsOn: [{name: holder}]\n")),
            ("h/set.yaml", set("one", spec, &[layer("inner", "./x", inner)]) + &map("beside")),
            ("x/a.yaml", map("x")),
        ]
    };
    waves(files(""), &[("holder", 1), ("inner", 2), ("next", 3)]);
    waves(files("  suspend: true\n"), &[("holder", 1), ("inner", 2), ("next", 2)]);
}
