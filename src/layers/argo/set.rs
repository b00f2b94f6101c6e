//! ApplicationSets: parameters of all generators, each put into the template (argo-cd `applicationset/controllers/template`).

use super::generators::{Fault, Generators, Parameters, Repositories, filled, matches};
use crate::layers::template::{Style, fill};
use crate::manifest::yaml::documents;
use crate::manifest::{Resource, merge};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What an ApplicationSet gives.
#[derive(Debug, Default)]
pub struct Generated {
    /// Applications, each with its part in a progressive sync.
    pub applications: Vec<(Resource, Option<Rollout>)>,
    /// What is not known or wrong; the generators that work are used all the same.
    pub faults: Vec<Fault>,
}

/// Where `strategy.rollingSync` puts an Application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rollout {
    /// Into this step.
    Step(usize),
    /// Into none: only a person syncs it.
    Nowhere,
}

/// All Applications of an ApplicationSet.
pub fn generate(set: &Resource, repositories: &mut dyn Repositories) -> Generated {
    let mut generated = Generated::default();
    let spec = set.value.get("spec").cloned().unwrap_or_default();
    let options = spec.get("goTemplateOptions").and_then(Value::as_array);
    let strict = options.into_iter().flatten().any(|option| option == "missingkey=error");
    let style = if spec.get("goTemplate") == Some(&Value::Bool(true)) { Style::Go { strict } } else { Style::Simple };
    let mut generators = Generators { repositories, style };
    let mut names = BTreeSet::new();
    for generator in spec.get("generators").and_then(Value::as_array).into_iter().flatten().flat_map(several) {
        let sets = match generators.run(&generator, 0) {
            Ok(sets) => sets,
            Err(fault) => {
                generated.faults.push(fault);
                continue;
            }
        };
        for (parameters, own) in sets {
            match application(set, &spec, &parameters, own, style) {
                Ok(application) => {
                    if !names.insert(application.name().to_owned()) {
                        generated.faults.push(Fault::Wrong(format!("gives two Applications the name {}", application.name())));
                        continue;
                    }
                    let rollout = rollout(&spec, &application);
                    generated.applications.push((application, rollout));
                }
                Err(fault) => generated.faults.push(fault),
            }
        }
    }
    generated.faults.dedup();
    generated
}

fn application(set: &Resource, spec: &Value, parameters: &Parameters, own: Option<Value>, style: Style) -> Result<Resource, Fault> {
    let mut template = spec.get("template").cloned().unwrap_or_default();
    if let Some(own) = own {
        merge(&mut template, own);
    }
    let mut value = fill(&template, parameters, style)?;
    if let Some(patch) = spec.get("templatePatch").and_then(Value::as_str).filter(|patch| !patch.trim().is_empty()) {
        let text = filled(patch, parameters, style)?;
        let found = documents(&text).map_err(|error| Fault::Wrong(format!("templatePatch is not valid YAML: {}", error.message)))?;
        // Lists in an Application have no merge keys, so that a strategic merge is a plain one.
        for document in found {
            patched(&mut value, document.value);
        }
    }
    let Value::Object(mut map) = value else { return Err(Fault::Wrong("has no template".to_owned())) };
    map.insert("apiVersion".to_owned(), "argoproj.io/v1alpha1".into());
    map.insert("kind".to_owned(), "Application".into());
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        // Whatever the template says (template.go: an Application lives where its set does).
        metadata.insert("namespace".to_owned(), set.namespace().unwrap_or("argocd").into());
    }
    let resource = Resource { value: Value::Object(map), origin: set.origin.clone() };
    if resource.name().is_empty() {
        return Err(Fault::Wrong("template.metadata.name is missing".to_owned()));
    }
    Ok(resource)
}

/// A merge in which null deletes (RFC 7396).
fn patched(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Some(map) = value.as_object_mut() {
        for (key, patch) in patch {
            if patch.is_null() { drop(map.remove(&key)) } else { patched(map.entry(key).or_insert(Value::Null), patch) }
        }
    }
}

/// An entry may hold several generators side by side, each of which counts (`generators.GetRelevantGenerators`).
fn several(entry: &Value) -> Vec<Value> {
    let Some(map) = entry.as_object() else { return vec![entry.clone()] };
    let names: Vec<&String> = map.iter().filter(|(key, value)| *key != "selector" && !value.is_null()).map(|(key, _)| key).collect();
    if names.len() < 2 {
        return vec![entry.clone()];
    }
    let is_for = |key: &String, name: &String| key == name || key == "selector";
    let only = |name: &String| map.iter().filter(|(key, _)| is_for(key, name)).map(|(key, value)| (key.clone(), value.clone())).collect();
    names.into_iter().map(|name| Value::Object(only(name))).collect()
}

fn rollout(spec: &Value, application: &Resource) -> Option<Rollout> {
    if spec.pointer("/strategy/type").and_then(Value::as_str) != Some("RollingSync") {
        return None;
    }
    let steps = spec.pointer("/strategy/rollingSync/steps")?.as_array()?;
    let step = steps.iter().position(|step| {
        let expressions = step.get("matchExpressions").and_then(Value::as_array);
        expressions.is_some_and(|expressions| expressions.iter().all(|expression| matches(expression, |key| application.label(key))))
    });
    Some(step.map_or(Rollout::Nowhere, Rollout::Step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Files(BTreeMap<&'static str, &'static str>);

    impl Repositories for Files {
        fn files(&mut self, url: &str, _: &str) -> Result<Vec<String>, String> {
            if url == "gone" { Err("it is not on this machine".into()) } else { Ok(self.0.keys().map(|file| (*file).to_owned()).collect()) }
        }

        fn text(&mut self, _: &str, _: &str, path: &str) -> Option<String> {
            self.0.get(path).map(|text| (*text).to_owned())
        }
    }

    /// YAML of `spec` in; a line for each Application and fault out.
    fn check(spec: &str, files: &[(&'static str, &'static str)], wanted: &[&str]) {
        let value = json!({"kind": "ApplicationSet", "metadata": {"name": "set", "namespace": "argocd"}, "spec": documents(spec).expect("YAML")[0].value});
        let generated = generate(&Resource { value, origin: None }, &mut Files(files.iter().copied().collect()));
        let mut lines: Vec<String> = Vec::new();
        for (application, rollout) in &generated.applications {
            let step = match rollout {
                Some(Rollout::Step(step)) => format!(" step {step}"),
                Some(Rollout::Nowhere) => " in no step".to_owned(),
                None => String::new(),
            };
            assert_eq!(application.namespace(), Some("argocd"), "an Application lives where its set does");
            lines.push(format!("{} {}{step}", application.name(), application.text("/spec/source/path")));
        }
        lines.extend(generated.faults.iter().map(|fault| format!("{fault:?}")));
        assert_eq!(lines, wanted, "{spec}");
    }

    const APPS: &[(&str, &str)] = &[
        ("apps/a/x.yaml", ""),
        ("apps/b/deep/y.yaml", ""),
        ("apps/old/x.yaml", ""),
        (".github/x", ""),
        ("apps/config.json", "{\"c\": {\"name\": \"one\", \"replicas\": 2}}"),
    ];

    #[test]
    fn directories_of_git_with_both_styles() {
        let generator = "[{git: {repoURL: r, directories: [{path: 'apps/*'}, {path: apps/old, exclude: true}]}}]";
        check(
            &format!(
                "generators: {generator}\ntemplate: {{metadata: {{name: '{{{{path.basename}}}}-{{{{path[0]}}}}'}}, spec: {{source: {{path: '{{{{path}}}}'}}}}}}"
            ),
            APPS,
            &["a-apps apps/a", "b-apps apps/b"],
        );
        check(
            &format!(
                "goTemplate: true\ngoTemplateOptions: [missingkey=error]\ngenerators: {generator}\ntemplate: {{metadata: {{name: '{{{{.path.basename}}}}-{{{{index .path.segments 0}}}}'}}, spec: {{source: {{path: '{{{{.path.path}}}}'}}}}}}"
            ),
            APPS,
            &["a-apps apps/a", "b-apps apps/b"],
        );
    }

    #[test]
    fn files_of_git_give_their_content() {
        let generator = "[{git: {repoURL: r, files: [{path: 'apps/*.json'}], values: {who: '{{c.name}}!'}}}]";
        check(
            &format!(
                "generators: {generator}\ntemplate: {{metadata: {{name: '{{{{c.name}}}}-{{{{c.replicas}}}}'}}, spec: {{source: {{path: '{{{{path}}}}/{{{{path.filename}}}}/{{{{values.who}}}}'}}}}}}"
            ),
            APPS,
            &["one-2 apps/config.json/one!"],
        );
    }

    #[test]
    fn a_matrix_hands_its_first_parameters_to_the_second_generator() {
        check(
            "goTemplate: true\ngenerators:\n- matrix:\n    generators:\n    - list: {elements: [{env: dev, dir: a}, {env: prod, dir: b}]}\n    - git: {repoURL: r, directories: [{path: 'apps/{{.dir}}'}]}\ntemplate: {metadata: {name: '{{.env}}-{{.path.basename}}'}, spec: {source: {path: '{{.path.path}}'}}}",
            APPS,
            &["dev-a apps/a", "prod-b apps/b"],
        );
    }

    #[test]
    fn a_merge_changes_what_has_the_same_keys() {
        check(
            "generators:\n- merge:\n    mergeKeys: [env]\n    generators:\n    - list: {elements: [{env: dev, path: a}, {env: prod, path: b}]}\n    - list: {elements: [{env: prod, path: c}, {env: test, path: d}]}\ntemplate: {metadata: {name: '{{env}}'}, spec: {source: {path: '{{path}}'}}}",
            &[],
            &["dev a", "prod c"],
        );
    }

    #[test]
    fn where_both_generators_of_a_matrix_give_a_parameter_the_first_one_counts() {
        let generators = "generators:\n- matrix:\n    generators:\n    - git: {repoURL: r, directories: [{path: 'apps/*'}, {path: apps/old, exclude: true}]}\n    - git: {repoURL: r, files: [{path: 'conf/*/config.yaml'}]}\n";
        let files =
            &[("apps/a/x.yaml", ""), ("apps/b/x.yaml", ""), ("conf/dev/config.yaml", "env: dev"), ("conf/prod/config.yaml", "env: prod")];
        check(
            &format!(
                "goTemplate: true\n{generators}template: {{metadata: {{name: '{{{{.path.basename}}}}-{{{{.env}}}}', namespace: '{{{{.env}}}}'}}, spec: {{source: {{path: '{{{{.path.path}}}}/{{{{.path.filename}}}}'}}}}}}"
            ),
            files,
            &["a-dev apps/a/config.yaml", "a-prod apps/a/config.yaml", "b-dev apps/b/config.yaml", "b-prod apps/b/config.yaml"],
        );
        check(
            &format!("{generators}template: {{metadata: {{name: '{{{{path.basename}}}}'}}, spec: {{source: {{path: x}}}}}}"),
            files,
            &["Wrong(\"matrix: path is apps/a in one generator and conf/dev in the other\")"],
        );
    }

    #[test]
    fn sets_of_a_merge_are_told_apart_by_names_at_the_top() {
        let merge = |keys: &str, one: &str, other: &str| {
            format!(
                "goTemplate: true\ngenerators:\n- merge:\n    mergeKeys: [{keys}]\n    generators:\n    - list: {{elements: [{one}]}}\n    - list: {{elements: [{other}]}}\ntemplate: {{metadata: {{name: '{{{{.app}}}}'}}, spec: {{source: {{path: '{{{{.v}}}}'}}}}}}"
            )
        };
        let two = "{app: a, v: x, values: {app: a}}, {app: b, v: x, values: {app: b}}";
        check(&merge("app", two, "{app: b, v: z}"), &[], &["a x", "b z"]);
        check(
            &merge("values.app", two, "{app: b, v: z}"),
            &[],
            &["Wrong(\"merge: sets of generator 1 have no values.app, and so are all the same\")"],
        );
        check(&merge("app", two, "{app: b, v: y}, {app: b, v: z}"), &[], &["Wrong(\"merge: two sets of generator 2 have the same app\")"]);
    }

    #[test]
    fn numbers_and_booleans_are_what_argo_cd_makes_of_them() {
        let files = &[("conf/a.yaml", "account: 111122223333\nflag: yes\nversion: 1.10\nsmall: 42\nnone: ~\n")];
        let go = "goTemplate: true\ngenerators: [{git: {repoURL: r, files: [{path: 'conf/*'}]}}]\ntemplate: {metadata: {name: '{{.account}}-{{.flag}}'}, spec: {source: {path: '{{.version}}-{{.small}}-{{printf \"%03d\" (int .small)}}-{{toJson .small}}'}}}";
        check(go, files, &["1.11122223333e+11-true 1.1-42-042-42"]);
        let simple = "generators: [{git: {repoURL: r, files: [{path: 'conf/*'}]}}]\ntemplate: {metadata: {name: '{{account}}-{{flag}}'}, spec: {source: {path: '{{small}}-{{none}}'}}}";
        check(simple, files, &["1.11122223333e+11-true 42-<nil>"]);
        let list = "generators: [{list: {elements: [{n: 1}]}}]\ntemplate: {metadata: {name: 'x-{{n}}'}}";
        check(list, &[], &["Wrong(\"list: n is no text; quote it, or set goTemplate: true\")"]);
    }

    #[test]
    fn generators_side_by_side_in_one_entry_all_count() {
        check(
            "generators: [{list: {elements: [{n: a}, {n: c}]}, merge: {generators: []}, selector: {matchLabels: {n: a}}}]\ntemplate: {metadata: {name: '{{n}}'}, spec: {source: {path: x}}}",
            &[],
            &["a x", "Wrong(\"merge: takes two generators or more\")"],
        );
    }

    #[test]
    fn a_git_generator_takes_directories_or_files_and_no_ends_of_paths() {
        let set = |git: &str| {
            format!(
                "goTemplate: true\ngenerators: [{{git: {{repoURL: r{git}}}}}]\ntemplate: {{metadata: {{name: '{{{{.path.basename}}}}'}}, spec: {{source: {{path: '{{{{.path.path}}}}'}}}}}}"
            )
        };
        let files = &[("apps/a/x.yaml", ""), ("conf.yaml", "env: dev")];
        check(&set(""), files, &["Wrong(\"git: asks for neither directories nor files\")"]);
        check(&set(", directories: [{path: apps/*}], files: [{path: conf.yaml}]"), files, &["a apps/a"]);
        check(&set(", directories: [{path: apps/*/}, {path: ./apps/*}]"), files, &[]);
        check(&set(", files: [{path: conf.yaml}]"), files, &[". ."]);
    }

    #[test]
    fn selectors_own_templates_patches_and_steps() {
        check(
            "goTemplate: true\ngenerators:\n- list: {elements: [{env: dev}, {env: prod}, {env: old}], template: {metadata: {}, spec: {source: {path: own}}}}\n  selector: {matchExpressions: [{key: env, operator: NotIn, values: [old]}]}\ntemplate: {metadata: {name: '{{.env}}', labels: {env: '{{.env}}'}}, spec: {source: {path: x}}}\ntemplatePatch: |\n  {{- if eq .env \"prod\" }}\n  spec: {source: {path: patched}}\n  {{- end }}\nstrategy: {type: RollingSync, rollingSync: {steps: [{matchExpressions: [{key: env, operator: In, values: [dev]}]}, {matchExpressions: [{key: env, operator: In, values: [test]}]}]}}",
            &[],
            &["dev own step 0", "prod patched in no step"],
        );
    }

    #[test]
    fn what_git_does_not_say_is_unknown_and_the_rest_is_used() {
        check(
            "generators: [{clusters: {}}, {list: {elements: [{n: a}, {n: a}]}}, {git: {repoURL: gone, directories: [{path: '*'}]}}, {matrix: {generators: [{list: {elements: [{n: b}]}}]}}]\ntemplate: {metadata: {name: '{{n}}'}, spec: {source: {path: p}}}",
            &[],
            &[
                "a p",
                "Unknown(\"the clusters that are registered with Argo CD (generator clusters)\")",
                "Wrong(\"gives two Applications the name a\")",
                "Unknown(\"the files of gone (generator git): it is not on this machine\")",
                "Wrong(\"matrix: takes two generators\")",
            ],
        );
    }
}
