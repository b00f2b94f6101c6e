//! Objects of the Flux Operator that give others: ResourceSets with inputs that stand in Git (fluxoperator.dev/docs/crd/resourceset). Pure.

use super::argo::matches;
use super::scope::Scopes;
use super::template::functions::adler32;
use super::template::{LATER, TemplateError, fill_inputs};
use crate::manifest::yaml::documents;
use crate::manifest::{Resource, merge, write};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const GROUP: &str = "fluxcd.controlplane.io";

/// Whether a resource is a ResourceSet.
pub fn is_resource_set(resource: &Resource) -> bool {
    resource.kind() == "ResourceSet" && resource.group() == GROUP
}

/// Whether a resource gives inputs.
pub fn is_provider(resource: &Resource) -> bool {
    resource.kind() == "ResourceSetInputProvider" && resource.group() == GROUP
}

/// Providers by namespace and name.
pub type Providers = BTreeMap<(String, String), Resource>;

/// What a ResourceSet gives.
#[derive(Debug)]
pub enum Given {
    /// Objects, by the steps in which they are applied (a set without steps has one); and what is needed for those that Git does not say.
    Resources(Vec<Vec<Resource>>, Vec<String>),
    /// Nobody has declared this provider yet.
    NotYet(String),
    /// Git does not say any of it: what is needed.
    Unknown(String),
    /// It is wrong, and the operator applies nothing of it.
    Wrong(String),
}

/// All objects of a ResourceSet, each once. With `complete`, there are no other providers than these.
pub fn generate(set: &Resource, providers: &Providers, complete: bool) -> Given {
    if is_disabled(set) {
        return Given::Resources(Vec::new(), Vec::new());
    }
    let mut lacks = Vec::new();
    let inputs = match inputs(set, providers, complete, &mut lacks) {
        Ok(inputs) => inputs,
        Err(given) => return given,
    };
    let has =
        |holder: &Value, key: &str| holder.get(key).is_some_and(|value| !value.is_null() && *value != json!([]) && *value != json!(""));
    let spec = set.value.get("spec").cloned().unwrap_or_default();
    let steps = spec.get("steps").and_then(Value::as_array).filter(|steps| !steps.is_empty());
    if steps.is_some() && (has(&spec, "resources") || has(&spec, "resourcesTemplate")) {
        return Given::Wrong("spec.steps excludes spec.resources and spec.resourcesTemplate".to_owned());
    }
    let mut found: Vec<Vec<Resource>> = Vec::new();
    for step in steps.map_or(std::slice::from_ref(&spec), Vec::as_slice) {
        match rendered(set, step, &inputs, &mut lacks) {
            Ok(resources) => {
                let twice = resources.iter().find(|resource| found.iter().flatten().any(|known| is_same(known, resource)));
                if let Some(twice) = twice {
                    return Given::Wrong(format!("{} stands in two of its steps", twice.id()));
                }
                found.push(resources);
            }
            Err(given) => return given,
        }
    }
    lacks.dedup();
    Given::Resources(found, lacks)
}

/// Whether the operator leaves an object alone.
fn is_disabled(resource: &Resource) -> bool {
    resource.annotation("fluxcd.controlplane.io/reconcile") == Some("disabled")
}

/// Whether two are one object: the version does not count (`objectKey` of the operator).
fn is_same(one: &Resource, other: &Resource) -> bool {
    (one.group(), one.kind(), one.namespace(), one.name()) == (other.group(), other.kind(), other.namespace(), other.name())
}

/// Whether a set is ready only when its objects are; without that it is as soon as they are applied.
pub fn waits(set: &Resource) -> bool {
    set.value.pointer("/spec/wait") == Some(&Value::Bool(true))
}

/// An entry of a set's `dependsOn`: any object (flux-operator `api/v1/resourceset_types.go`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dependency {
    /// apiVersion.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace; none for what has none.
    pub namespace: Option<String>,
    /// It must not only be there.
    pub ready: bool,
}

impl Dependency {
    /// Group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Whether it means this object.
    pub fn is(&self, object: &Resource) -> bool {
        self.kind == object.kind()
            && self.name == object.name()
            && self.group() == object.group()
            && self.namespace.as_deref().is_none_or(|namespace| object.namespace().is_none_or(|own| own == namespace))
    }
}

/// As in messages.
impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

/// What must be there before a set is applied.
pub fn depends_on(set: &Resource) -> Vec<Dependency> {
    let entries = set.value.pointer("/spec/dependsOn").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect()
}

/// The object (namespace, name) of the same kind that the operator takes the data of a ConfigMap or Secret from (`copyResources`).
pub fn copied_from(resource: &Resource) -> Option<(&str, &str)> {
    if resource.api_version() != "v1" || !["ConfigMap", "Secret"].contains(&resource.kind()) {
        return None;
    }
    resource.annotation("fluxcd.controlplane.io/copyFrom")?.split_once('/').filter(|(_, name)| !name.contains('/'))
}

type Inputs = Map<String, Value>;

/// The operator refuses more (`internal/inputs/permuter.go`).
const MOST: usize = 10_000;

/// As `internal/inputs/combine.go`: the set's own first, then those of the providers by name, each once.
fn inputs(set: &Resource, providers: &Providers, complete: bool, lacks: &mut Vec<String>) -> Result<Vec<Inputs>, Given> {
    let list = |pointer: &str| set.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let namespace = set.namespace().unwrap_or("default");
    let mut used: BTreeMap<&str, &Resource> = BTreeMap::new();
    for reference in list("/spec/inputsFrom") {
        let here = providers.iter().filter(|((of, _), _)| of == namespace);
        match (reference.get("name").and_then(Value::as_str), reference.get("selector")) {
            (Some(name), _) => {
                let Some(provider) = providers.get(&(namespace.to_owned(), name.to_owned())) else {
                    return Err(Given::NotYet(format!("ResourceSetInputProvider {namespace}/{name}")));
                };
                used.insert(provider.name(), provider);
            }
            (None, Some(_)) if !complete => return Err(Given::NotYet("the input providers that a selector finds".to_owned())),
            (None, Some(selector)) => {
                let before = used.len();
                used.extend(here.filter(|(_, provider)| selects(selector, provider)).map(|(_, provider)| (provider.name(), provider)));
                if used.len() == before {
                    lacks.push("the input providers that a selector finds in the cluster".to_owned());
                }
            }
            (None, None) => return Err(Given::Wrong("an entry of spec.inputsFrom has neither name nor selector".to_owned())),
        }
    }
    let permutes = set.text("/spec/inputStrategy/name") == "Permute";
    let own: Vec<Inputs> = list("/spec/inputs").cloned().filter_map(|one| with_provider(one, set)).collect();
    if own.is_empty() && list("/spec/inputsFrom").next().is_none() {
        return Ok(vec![Inputs::new()]);
    }
    let mut sources: Vec<(&str, Vec<Inputs>)> = vec![(set.name(), own)];
    for provider in used.into_values() {
        match provider.text("/spec/type") {
            "Static" => {
                let mut one = provider.value.pointer("/spec/defaultValues").cloned().unwrap_or_else(|| json!({}));
                // A checksum of the UID, which only the cluster gives.
                one["id"] = LATER.into();
                sources.push((provider.name(), with_provider(one, provider).into_iter().collect()));
            }
            other => lacks.push(format!("the answer of {} (type {other} asks an API)", provider.id())),
        }
    }
    if permutes {
        return if lacks.is_empty() { permuted(set, sources) } else { Err(Given::Unknown(lacks.join(" and "))) };
    }
    let flat: Vec<Inputs> = sources.into_iter().flat_map(|(_, inputs)| inputs).collect();
    if flat.is_empty() && !lacks.is_empty() { Err(Given::Unknown(lacks.join(" and "))) } else { Ok(flat) }
}

/// One of each source, under its name, with an id of the choice (`internal/inputs/permuter.go`, `id.go`, `keys.go`).
fn permuted(set: &Resource, mut sources: Vec<(&str, Vec<Inputs>)>) -> Result<Vec<Inputs>, Given> {
    if set.value.pointer("/spec/inputStrategy/includeEmptyProviders") != Some(&Value::Bool(true)) {
        sources.retain(|(_, inputs)| !inputs.is_empty());
    }
    if sources.iter().try_fold(1_usize, |count, (_, inputs)| count.checked_mul(inputs.len())).is_none_or(|count| count > MOST) {
        return Err(Given::Wrong(format!("its inputs have more than {MOST} permutations")));
    }
    let mut found = vec![(Inputs::new(), Vec::new())];
    for (name, inputs) in &sources {
        let key = template_key(name);
        if key.is_empty() {
            return Err(Given::Wrong(format!("nothing of the name {name} can stand in a template")));
        }
        let with = |(one, id): &(Inputs, Vec<String>), at: usize, more: &Inputs| {
            let mut one = one.clone();
            one.insert(key.clone(), Value::Object(more.clone()));
            (one, [id.as_slice(), &[format!("{key}={at}")]].concat())
        };
        found = found.iter().flat_map(|one| inputs.iter().enumerate().map(|(at, more)| with(one, at, more)).collect::<Vec<_>>()).collect();
    }
    let named = found.into_iter().filter(|(_, id)| !id.is_empty()).map(|(mut one, id)| {
        one.insert("id".to_owned(), adler32(&id.join("/")).to_string().into());
        one
    });
    Ok(named.collect())
}

/// A name as templates write it: lower case, `_` for runs of spaces and punctuation, nothing else.
fn template_key(name: &str) -> String {
    let is_mark = |c: char| c.is_whitespace() || c.is_ascii_punctuation() && !"$+<=>^`|~".contains(c);
    let plain: String = name
        .chars()
        .filter_map(|c| if is_mark(c) { Some('_') } else { Some(c.to_ascii_lowercase()).filter(char::is_ascii_alphanumeric) })
        .collect();
    plain.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// A label selector.
fn selects(selector: &Value, provider: &Resource) -> bool {
    let pairs = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    pairs.into_iter().all(|(key, value)| provider.label(key) == value.as_str())
        && expressions.into_iter().all(|expression| matches(expression, |key| provider.label(key)))
}

fn with_provider(inputs: Value, provider: &Resource) -> Option<Inputs> {
    let Value::Object(mut inputs) = inputs else { return None };
    let id = provider.id();
    inputs
        .insert("provider".to_owned(), json!({"apiVersion": id.api_version, "kind": id.kind, "name": id.name, "namespace": id.namespace}));
    Some(inputs)
}

/// Objects of the set's spec or of one of its steps: each template with all inputs, those of `resources` first.
fn rendered(set: &Resource, step: &Value, inputs: &[Inputs], lacks: &mut Vec<String>) -> Result<Vec<Resource>, Given> {
    let mut found: Vec<Resource> = Vec::new();
    let templates = step.get("resources").and_then(Value::as_array).into_iter().flatten().map(write);
    for template in templates.chain(step.get("resourcesTemplate").and_then(Value::as_str).map(str::to_owned)) {
        for inputs in inputs {
            let text = match fill_inputs(&template, inputs) {
                Ok(text) => text,
                Err(error @ TemplateError::Wrong { .. }) => return Err(Given::Wrong(format!("template {error}"))),
                Err(error) => {
                    lacks.push(format!("the result of a template: {error}"));
                    continue;
                }
            };
            let invalid = |why: &str| Given::Wrong(format!("what it renders is not valid YAML: {why}"));
            for document in documents(&text).map_err(|error| invalid(&error.message))? {
                let mut resource = Resource { value: document.value, origin: set.origin.clone() };
                let name = resource.value.pointer("/metadata/name").cloned().unwrap_or_default();
                if !resource.kind().is_empty() && !name.is_null() && !name.is_string() {
                    return Err(Given::Wrong(format!(
                        "a {} that it renders has the name {name}, which is no text: quote it",
                        resource.kind()
                    )));
                }
                if resource.kind().is_empty() || resource.name().is_empty() || is_disabled(&resource) {
                    continue;
                }
                if resource.namespace().is_none() && Scopes::default().is_namespaced(&resource) {
                    resource.value["metadata"]["namespace"] = set.namespace().unwrap_or("default").into();
                }
                if !found.iter().any(|known| is_same(known, &resource)) {
                    common_metadata(&mut resource, set);
                    found.push(resource);
                }
            }
        }
    }
    Ok(found)
}

/// `spec.commonMetadata`.
fn common_metadata(resource: &mut Resource, set: &Resource) {
    if let Some(common) = set.value.pointer("/spec/commonMetadata").filter(|common| common.is_object()) {
        let only = |key: &str| common.get(key).filter(|value| value.is_object()).map(|value| (key.to_owned(), value.clone()));
        let wanted: Map<String, Value> = ["labels", "annotations"].into_iter().filter_map(only).collect();
        merge(&mut resource.value["metadata"], Value::Object(wanted));
    }
}

/// Takes the namespace from what lives in none, once all definitions are known.
pub fn place<'r>(given: impl Iterator<Item = &'r mut Resource>, scopes: &Scopes) {
    for resource in given.filter(|resource| !scopes.is_namespaced(resource)) {
        if let Some(metadata) = resource.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("namespace");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// YAML of a stream in; a line for each object of the first one out.
    fn check(yaml: &str, wanted: &str) {
        let mut all = documents(yaml).expect("YAML").into_iter().map(|document| Resource { value: document.value, origin: None });
        let set = all.next().expect("a set");
        let providers = all.map(|provider| (("flux-system".to_owned(), provider.name().to_owned()), provider)).collect();
        let told = match generate(&set, &providers, true) {
            Given::Resources(found, lacks) => {
                let objects = found.iter().flatten().map(|one| format!("{} {}", one.id(), one.value["spec"]));
                objects.chain(lacks.iter().map(|lack| format!("? {lack}"))).collect::<Vec<_>>().join("\n")
            }
            other => format!("{other:?}"),
        };
        assert_eq!(told, wanted, "{yaml}");
    }

    const HEAD: &str = "apiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSet\nmetadata: {name: apps, namespace: flux-system}\nspec:\n";

    #[test]
    fn each_input_gives_its_objects_with_types_kept() {
        check(
            &format!(
                "{HEAD}  inputs: [{{tenant: a, replicas: 2}}, {{tenant: b, replicas: 3}}]\n  resources:\n  - apiVersion: kustomize.toolkit.fluxcd.io/v1\n    kind: Kustomization\n    metadata: {{name: << inputs.tenant >>-apps}}\n    spec: {{path: './<< inputs.tenant | upper >>', replicas: << inputs.replicas >>}}\n"
            ),
            "Kustomization flux-system/a-apps {\"path\":\"./A\",\"replicas\":2}\nKustomization flux-system/b-apps {\"path\":\"./B\",\"replicas\":3}",
        );
    }

    #[test]
    fn providers_in_git_count_and_others_are_unknown() {
        let provider = |kind: &str| {
            format!(
                "---\napiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSetInputProvider\nmetadata: {{name: p, namespace: flux-system}}\nspec: {{type: {kind}, defaultValues: {{env: dev}}}}\n"
            )
        };
        let set = format!(
            "{HEAD}  inputsFrom: [{{kind: ResourceSetInputProvider, name: p}}]\n  resourcesTemplate: |\n    <<- if eq inputs.env \"dev\" >>\n    apiVersion: v1\n    kind: ConfigMap\n    metadata:\n      name: << inputs.env >>-<< inputs.provider.name >>\n    <<- end >>\n"
        );
        check(&format!("{set}{}", provider("Static")), "ConfigMap flux-system/dev-p null");
        check(
            &format!("{set}{}", provider("GitHubPullRequest")),
            "Unknown(\"the answer of ResourceSetInputProvider flux-system/p (type GitHubPullRequest asks an API)\")",
        );
        check(&set, "NotYet(\"ResourceSetInputProvider flux-system/p\")");
    }

    #[test]
    fn an_input_that_is_not_there_is_told() {
        check(
            &format!(
                "{HEAD}  inputs: [{{tenant: a}}]\n  resources: [{{apiVersion: v1, kind: ConfigMap, metadata: {{name: << inputs.gone >>}}}}]\n"
            ),
            "Wrong(\"template `<< inputs.gone >>`: inputs.gone is not set\")",
        );
    }

    fn provider(name: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: fluxcd.controlplane.io/v1\nkind: ResourceSetInputProvider\nmetadata: {{name: {name}, namespace: flux-system, labels: {{x: y}}}}\nspec: {spec}\n"
        )
    }

    fn resource(kind: &str, name: &str) -> String {
        format!("  - apiVersion: v1\n    kind: {kind}\n    metadata: {{name: {name}}}\n")
    }

    #[test]
    fn what_one_template_needs_leaves_the_others_alone() {
        check(
            &format!(
                "{HEAD}  inputs: [{{t: a}}]\n  resources:\n{}{}",
                resource("ConfigMap", "<< inputs.t | wibble >>"),
                resource("Secret", "<< inputs.t >>")
            ),
            "Secret flux-system/a null\n? the result of a template: `<< inputs.t | wibble >>`: function wibble is not known here",
        );
    }

    #[test]
    fn permutations_have_the_ids_that_the_operator_gives_them() {
        let set = format!(
            "{HEAD}  inputStrategy: {{name: Permute}}\n  inputs: [{{app: a}}, {{app: b}}]\n  inputsFrom: [{{kind: ResourceSetInputProvider, name: my.Env--x}}]\n  resources:\n{}",
            resource("ConfigMap", "<< inputs.apps.app >>-<< inputs.my_env_x.env >>-<< inputs.id >>")
        );
        let found = ["apps=0/my_env_x=0", "apps=1/my_env_x=0"].map(adler32);
        assert_eq!(found, [946_341_411, 947_127_844]);
        check(
            &(set + &provider("my.Env--x", "{type: Static, defaultValues: {env: dev}}")),
            &format!("ConfigMap flux-system/a-dev-{} null\nConfigMap flux-system/b-dev-{} null", found[0], found[1]),
        );
    }

    #[test]
    fn the_id_of_a_static_provider_is_known_in_the_cluster_alone() {
        let set = format!(
            "{HEAD}  inputsFrom: [{{kind: ResourceSetInputProvider, selector: {{matchLabels: {{x: y}}}}}}]\n  resources:\n{}{}",
            resource("ConfigMap", "a-<< inputs.id >>"),
            resource("ConfigMap", "b-<< inputs.env >>")
        );
        check(
            &format!(
                "{set}{}{}",
                provider("p", "{type: Static, defaultValues: {env: dev}}"),
                provider("q", "{type: Static, defaultValues: {env: prod}}")
            ),
            "ConfigMap flux-system/b-dev null\nConfigMap flux-system/b-prod null\n? the result of a template: `<< inputs.id >>`: inputs.id is known only in the cluster",
        );
        check(&set, "Unknown(\"the input providers that a selector finds in the cluster\")");
    }

    #[test]
    fn a_disabled_set_gives_nothing() {
        let set = format!("{HEAD}  resources:\n{}", resource("ConfigMap", "a"));
        check(&set, "ConfigMap flux-system/a null");
        check(&set.replace("flux-system}", "flux-system, annotations: {fluxcd.controlplane.io/reconcile: disabled}}"), "");
    }

    #[test]
    fn steps_hold_objects_and_what_has_no_namespace_gets_none() {
        let step = |name: &str, kind: &str, object: &str| {
            let inside: Vec<String> = resource(kind, object).lines().map(|line| format!("  {line}\n")).collect();
            format!("  - name: {name}\n    resources:\n{}", inside.concat())
        };
        check(
            &format!("{HEAD}  steps:\n{}{}", step("one", "Namespace", "a"), step("two", "Secret", "b")),
            "Namespace a null\nSecret flux-system/b null",
        );
        check(
            &format!("{HEAD}  steps:\n{}{}", step("one", "Secret", "b"), step("two", "Secret", "b")),
            "Wrong(\"Secret flux-system/b stands in two of its steps\")",
        );
    }

    #[test]
    fn a_name_that_is_no_text_is_told() {
        check(
            &format!("{HEAD}  inputs: [{{n: 10}}]\n  resources:\n{}", resource("Secret", "<< inputs.n >>")),
            "Wrong(\"a Secret that it renders has the name 10, which is no text: quote it\")",
        );
    }

    #[test]
    fn the_first_of_two_versions_of_an_object_counts() {
        check(
            &format!(
                "{HEAD}  resources:\n  - apiVersion: x.io/v1\n    kind: A\n    metadata: {{name: a}}\n    spec: 1\n  resourcesTemplate: |\n    apiVersion: x.io/v2\n    kind: A\n    metadata: {{name: a}}\n    spec: 2\n"
            ),
            "A flux-system/a 1",
        );
    }
}
