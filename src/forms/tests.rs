//! What tools rely on: the published schemas fit real output, graphs name what they draw, a comment stays short, the page loads nothing.

use crate::environment::{Environment, parse};
use crate::plan::{Plan, plan};
use crate::read::{ReadOptions, Reading, Revision, charts, read_blocking, written};
use crate::verify::{Subject, Verification, verify};
use serde_json::Value;
use std::fs;
use std::path::Path;

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {url: 'https://example.com/fleet'}\n---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}\n";

const ENVIRONMENT: &str = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: shop}\nspec:\n  aws: {accountID: \"111122223333\", region: eu-west-1}\n  infrastructure: [{path: cloud}]\n  accept: [{rule: prune-missing, layer: flux-system/two, reason: kept by hand}]\n";

fn layer(name: &str, more: &str) -> (String, String) {
    let text = format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: ./apps/{name}\n  interval: 1m\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{more}"
    );
    (format!("clusters/a/{name}.yaml"), text)
}

fn config(layer: &str, name: &str, value: &str) -> (String, String) {
    (
        format!("apps/{layer}/{name}.yaml"),
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\ndata: {{a: '{value}'}}\n"),
    )
}

const CLAIM: &str =
    "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: default}\nspec: {accessModes: [ReadWriteOnce]}\n";

/// Two layers, one after the other, a cloud resource, problems, findings of all kinds.
fn files() -> Vec<(String, String)> {
    let image = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api, namespace: default}\nspec: {template: {spec: {containers: [{name: a, image: nginx}]}}}\n";
    vec![
        layer("one", "  prune: true\n"),
        config("one", "settings", "</script><b>@all"),
        ("apps/one/api.yaml".to_owned(), image.to_owned()),
        layer("two", "  dependsOn:\n    - name: one\n    - name: gone\n"),
        config("two", "more", "x"),
        ("apps/two/claim.yaml".to_owned(), CLAIM.to_owned()),
        ("cloud/vpc.yaml".to_owned(), "apiVersion: ec2.services.k8s.aws/v1alpha1\nkind: VPC\nmetadata: {name: main, namespace: infra}\nspec:\n  cidrBlocks: [10.0.0.0/16]\n".to_owned()),
    ]
}

struct Case {
    reading: Reading,
    environment: Environment,
    plan: Plan,
}

impl Case {
    /// None where kustomize is not at hand.
    fn new(files: &[(String, String)]) -> Option<Self> {
        crate::render::program::find("kustomize")?;
        let folder = tempfile::tempdir().unwrap();
        let sync = ("clusters/a/flux-system/gotk-sync.yaml".to_owned(), SYNC.to_owned());
        for (path, text) in std::iter::once(&sync).chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git2::Repository::init(folder.path()).unwrap();
        let environment = parse(ENVIRONMENT, "blackstart.yaml").unwrap();
        let options = ReadOptions {
            path: folder.path().to_owned(),
            entrypoint: None,
            revision: Revision::WorkingTree,
            sources: Vec::new(),
            decrypt: true,
            allowed_signers: Vec::new(),
        };
        let reading = read_blocking(&options, &environment).unwrap();
        let mut plan = plan(&reading, &environment, &crate::aws::catalogue());
        plan.expected = Some(crate::plan::estimate::estimate(&plan, &std::collections::BTreeMap::new(), 1.0));
        Some(Self { reading, environment, plan })
    }

    fn verification(&self) -> Verification {
        let (shipped, absent, written) = (charts::by_release(&self.reading), charts::absent(&self.reading), written(&self.reading));
        verify(&Subject {
            reading: &self.reading,
            environment: &self.environment,
            plan: &self.plan,
            shipped: &shipped,
            absent: &absent,
            written: &written,
        })
    }
}

fn fits(schema: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(schema);
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut wrong = Vec::new();
    check(&schema, &schema, &serde_json::from_str(text).unwrap(), "", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

/// The keywords that the published schemas use; any other one is an error here.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let fine = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let target = root.pointer(wanted.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                check(root, target, value, at, wrong);
                true
            }
            "type" => {
                let names: Vec<&str> =
                    wanted.as_str().map_or_else(|| wanted.as_array().unwrap().iter().filter_map(Value::as_str).collect(), |one| vec![one]);
                names.iter().any(|name| match *name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                })
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| text.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())),
            "required" => {
                value.as_object().is_none_or(|map| wanted.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap())))
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                value.as_object().is_none_or(|map| map.keys().all(|key| known.contains_key(key)))
            }
            "properties" => {
                for (key, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        check(root, schema, value, &format!("{at}/{key}"), wrong);
                    }
                }
                true
            }
            "items" => {
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{at}/{position}"), wrong);
                }
                true
            }
            "prefixItems" => {
                for (schema, item) in wanted.as_array().unwrap().iter().zip(value.as_array().unwrap()) {
                    check(root, schema, item, at, wrong);
                }
                true
            }
            "oneOf" => {
                let fits = wanted.as_array().unwrap().iter().filter(|schema| {
                    let mut inner = Vec::new();
                    check(root, schema, value, at, &mut inner);
                    inner.is_empty()
                });
                fits.count() == 1
            }
            other => panic!("keyword {other}"),
        };
        if !fine {
            wrong.push(format!("{at}: {keyword} {wanted}: {value}"));
        }
    }
}

#[test]
fn json_fits_the_published_schemas() {
    let Some(case) = Case::new(&files()) else { return };
    assert!(!case.plan.state.is_empty() && !case.plan.problems.is_empty() && !case.plan.declared.is_empty() && !case.plan.edges.is_empty());
    fits("plan.json", &super::json(&case.plan));
    let found = case.verification();
    assert!(!found.findings.is_empty() && !found.accepted.is_empty() && !found.steps.is_empty());
    fits("verification.json", &super::json(&found));
    fits("verification.json", &super::json(&found.clone().since("main", &found)));
    let mut more = files();
    more.push(config("two", "new", "x"));
    let other = Case::new(&more).unwrap();
    fits("comparison.json", &super::json(&super::compare((&case.plan, &case.reading), (&other.plan, &other.reading))));
}

#[test]
fn yaml_is_the_same_data() {
    let Some(case) = Case::new(&files()) else { return };
    let text = super::yaml(&case.verification());
    let back = crate::manifest::yaml::documents(&text).unwrap().remove(0).value;
    assert_eq!(back, serde_json::to_value(case.verification()).unwrap());
}

#[test]
fn graphs_draw_edges_between_nodes_that_they_name() {
    let Some(case) = Case::new(&files()) else { return };
    let dot = super::dot(&case.plan);
    let names = |line: &str| -> Vec<String> { line.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let nodes: Vec<String> = dot.lines().filter(|line| line.contains("[label=")).map(|line| names(line)[0].clone()).collect();
    let edges: Vec<Vec<String>> = dot.lines().filter(|line| line.contains(" -> ")).map(names).collect();
    assert!(
        edges.iter().any(|edge| edge[0] == "layer/flux-system/one" && edge[1] == "layer/flux-system/two" && edge[2] == "dependsOn"),
        "{dot}"
    );
    assert!(edges.iter().all(|edge| nodes.contains(&edge[0]) && nodes.contains(&edge[1])), "{dot}");

    let mermaid = super::mermaid(&case.plan);
    let known: Vec<&str> = mermaid.lines().filter_map(|line| line.trim().split_once(['[', '(']).map(|(name, _)| name)).collect();
    let arrows: Vec<&str> = mermaid.lines().filter(|line| line.contains("-->")).flat_map(|line| line.trim().split(" --> ")).collect();
    assert!(!arrows.is_empty() && arrows.iter().all(|end| known.contains(end)), "{mermaid}");
}

#[test]
fn a_comment_is_short_however_large_the_repository_is() {
    let Some(mut case) = Case::new(&files()) else { return };
    let one = case.plan.layers[1].clone();
    case.plan.layers.extend((0..3000).map(|_| one.clone()));
    let text = super::planned(&case.plan);
    assert!(text.len() < 60_000 && text.contains("Cut here"), "{}", text.len());
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());

    let mut found = case.verification();
    let one = found.findings[0].clone();
    found.findings.extend((0..3000).map(|_| one.clone()));
    let text = super::verified(&found);
    assert!(text.len() < 60_000 && text.contains("Cut here"), "{}", text.len());
}

#[test]
fn sarif_names_rules_places_and_what_is_accepted() {
    let Some(case) = Case::new(&files()) else { return };
    let sarif: Value = serde_json::from_str(&super::sarif(&case.verification())).unwrap();
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    }
    let image = results.iter().find(|result| result["ruleId"] == "image-mutable").unwrap();
    assert_eq!(image["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "apps/one/api.yaml");
    assert_eq!(image["level"], "warning");
    let accepted = results.iter().find(|result| result["ruleId"] == "prune-missing").unwrap();
    assert_eq!(accepted["suppressions"][0]["justification"], "kept by hand");
}

#[test]
fn the_page_loads_nothing_and_holds_all() {
    let Some(case) = Case::new(&files()) else { return };
    let page = super::html(&case.plan, &case.reading, Some(&case.verification()));
    for reference in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(page.matches("</script>").count(), 2, "nothing of the repository ends a script");
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["nodes"]["layer/flux-system/one"]["objects"][0][0], "ConfigMap default/settings");
    for node in &case.plan.nodes {
        assert!(page.matches(&format!("data-node=\"{}\"", node.id)).count() == 2, "{} stands in the list and in the graph", node.id);
    }
}

#[test]
fn explain_tells_what_holds_a_layer_back_and_what_waits_for_it() {
    let Some(case) = Case::new(&files()) else { return };
    let of = |name: &str| {
        let layer = case.plan.layers.iter().find(|layer| layer.id.name == name).unwrap();
        anstream::adapter::strip_str(&super::explain(&case.plan, layer)).to_string()
    };
    let two = of("two");
    assert!(two.contains("flux-system/one is ready: dependsOn clusters/a/two.yaml:9"), "{two}");
    assert!(two.contains("waits for it\n  nothing") && two.contains("dependsOn flux-system/gone"), "{two}");
    let one = of("one");
    assert!(one.contains("waits for it\n  flux-system/two (dependsOn)"), "{one}");
}

#[test]
fn a_comparison_tells_order_and_objects() {
    let Some(before) = Case::new(&files()) else { return };
    let mut changed = files();
    changed[3] = layer("two", "  dependsOn: []\n");
    changed[4] = config("two", "more", "y");
    changed.push(config("two", "new", "x"));
    let after = Case::new(&changed).unwrap();
    let change = super::compare((&before.plan, &before.reading), (&after.plan, &after.reading));
    let text = anstream::adapter::strip_str(&super::comparison(&change)).to_string();
    for part in [
        "flux-system/two: 2 → 1",
        "- flux-system/two after flux-system/one (dependsOn)",
        "+ ConfigMap default/new in flux-system/two",
        "~ ConfigMap default/more in flux-system/two",
        "solved problems",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let same = super::compare((&before.plan, &before.reading), (&before.plan, &before.reading));
    assert_eq!(same.summary(), "Nothing changes in order or objects.");
}

/// Clicks and types in the page, and writes down what it shows.
const DRIVE: &str = r#"<!doctype html><iframe src="page.html" width="1200" height="800"></iframe><pre id="out"></pre><script>
document.querySelector('iframe').onload = event => {
  const said = [], page = event.target.contentDocument, find = what => page.querySelector(what);
  const head = () => find('#about h3').textContent;
  const press = (target, key) => target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  said.push(head());
  find('#list button[data-node="layer/flux-system/two"]').click();
  said.push(head(), find('.node.chosen').dataset.node, page.querySelectorAll('.edge.in').length);
  find('#about .link').click();
  said.push(head());
  find('#search').value = 'settings';
  find('#search').dispatchEvent(new Event('input'));
  said.push([...page.querySelectorAll('#list button')].filter(row => !row.hidden).map(row => row.dataset.node).join());
  press(find('#map'), 'ArrowRight');
  said.push(head());
  find('.node[data-node="agent/flux"]').dispatchEvent(new MouseEvent('click', { bubbles: true }));
  said.push(head());
  press(page, 'Escape');
  said.push(head());
  document.getElementById('out').textContent = said.join('|');
};
</script>"#;

#[test]
fn a_browser_clicks_through_the_page() {
    let Some(browser) = ["chromium", "google-chrome"].into_iter().find_map(crate::render::program::find) else {
        println!("skipped: no Chromium is at hand");
        return;
    };
    let Some(case) = Case::new(&files()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let found = case.verification();
    fs::write(folder.path().join("page.html"), super::html(&case.plan, &case.reading, Some(&found))).unwrap();
    fs::write(folder.path().join("drive.html"), DRIVE).unwrap();
    let shown = fs::File::create(folder.path().join("shown.html")).unwrap();
    let mut running = std::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--disable-web-security"])
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", folder.path().join("drive.html").display()))
        .stdout(shown)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while running.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > end {
            running.kill().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let shown = fs::read_to_string(folder.path().join("shown.html")).unwrap();
    let said = shown.split("<pre id=\"out\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or_default();
    let all = format!("{} to look at", found.findings.len());
    let wanted = [
        all.as_str(),
        "flux-system/two",
        "layer/flux-system/two",
        // From layer one, and from the claim that it holds.
        "2",
        "flux-system/flux-system",
        "layer/flux-system/one",
        "flux-system/one",
        "agent/flux",
        all.as_str(),
    ];
    assert_eq!(said, wanted.join("|"));
}

#[test]
fn a_log_says_which_commits_and_objects_belong_to_which_layer() {
    let Some(before) = Case::new(&files()) else { return };
    let mut later = files();
    later.retain(|(path, _)| path != "apps/two/more.yaml");
    later.extend([layer("three", ""), config("three", "new", "x")]);
    for (path, text) in &mut later {
        if path.as_str() == "apps/one/settings.yaml" {
            *text = text.replace("</script><b>@all", "other");
        }
    }
    let after = Case::new(&later).unwrap();
    let change = |id: char, subject: &str, files: &[&str]| crate::repo::Change {
        id: id.to_string().repeat(40),
        author: "Ada <ada@example.com>".into(),
        time: "2026-01-02T03:04:05Z".into(),
        subject: subject.into(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    };
    let made = vec![
        change('a', "three", &["clusters/a/three.yaml", "apps/three/new.yaml"]),
        change('b', "settings <b>", &["apps/one/settings.yaml"]),
        change('c', "less", &["apps/two/more.yaml"]),
        change('d', "words", &["README.md"]),
        change('e', "network", &["cloud/vpc.yaml"]),
    ];
    let undone = vec![change('f', "only before", &["apps/two/claim.yaml"])];
    let (old, new) = (crate::read::footprints(&before.reading), crate::read::footprints(&after.reading));
    let sides = ((&before.plan, &before.reading, &old), (&after.plan, &after.reading, &new));
    let log = super::log(sides.0, sides.1, made, undone, &["./cloud/".to_owned()]);
    fits("log.json", &super::json(&log));
    let of = |name: &str| log.layers.iter().find(|touched| touched.layer == name).unwrap_or_else(|| panic!("{name}: {log:?}"));
    let letters = |touched: &super::Touched| touched.commits.iter().map(|id| &id[..1]).collect::<String>();
    assert_eq!((of("flux-system/three").fate, letters(of("flux-system/three"))), ("new", "a".into()));
    assert_eq!((letters(of("flux-system/one")), of("flux-system/one").changed.len()), ("b".into(), 1));
    assert_eq!((letters(of("flux-system/two")), of("flux-system/two").removed.len()), ("cf".into(), 1));
    assert_eq!((letters(of("infrastructure")), letters(of("flux-system/flux-system"))), ("e".into(), "a".into()));
    let text = anstream::adapter::strip_str(&super::logged(&log)).to_string();
    assert!(text.contains("5 commits, 1 commit undone; objects of 4 of 4 layers change"), "{text}");
    assert!(text.contains("flux-system/three  new layer\n  aaaaaaaaaaaa three 2026-01-02 Ada\n"), "{text}");
    assert!(text.contains("infrastructure  its objects stay as they are") && text.contains("only before (undone)"), "{text}");
    assert!(text.split("in no layer").nth(1).is_some_and(|rest| rest.contains("dddddddddddd words")), "{text}");
    let markdown = super::logged_markdown(&log);
    assert!(markdown.contains("settings &lt;b&gt;") && !markdown.contains("settings <b>"), "{markdown}");
}
