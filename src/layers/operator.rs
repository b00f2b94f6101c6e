//! Objects of the Flux Operator that give others: ResourceSets with inputs that stand in Git (fluxoperator.dev/docs/crd/resourceset). Pure.

use super::template::{TemplateError, fill_inputs};
use crate::manifest::yaml::documents;
use crate::manifest::{Resource, write};
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
    /// Objects.
    Resources(Vec<Resource>),
    /// Nobody has declared this provider yet.
    NotYet(String),
    /// Git does not say it: what is needed.
    Unknown(String),
    /// It is wrong.
    Wrong(String),
}

/// All objects of a ResourceSet, each once.
pub fn generate(set: &Resource, providers: &Providers) -> Given {
    let inputs = match inputs(set, providers) {
        Ok(inputs) => inputs,
        Err(given) => return given,
    };
    let mut found: Vec<Resource> = Vec::new();
    for inputs in inputs {
        match rendered(set, &inputs) {
            Ok(resources) => {
                for resource in resources {
                    if !found.iter().any(|known| known.id() == resource.id()) {
                        found.push(resource);
                    }
                }
            }
            Err(given) => return given,
        }
    }
    Given::Resources(found)
}

type Inputs = Map<String, Value>;

fn inputs(set: &Resource, providers: &Providers) -> Result<Vec<Inputs>, Given> {
    let list = |pointer: &str| set.value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut sources: Vec<Vec<Inputs>> = Vec::new();
    let own: Vec<Inputs> = list("/spec/inputs").into_iter().filter_map(|one| with_provider(one, set)).collect();
    if !own.is_empty() {
        sources.push(own);
    }
    let namespace = set.namespace().unwrap_or("default");
    for reference in list("/spec/inputsFrom") {
        let Some(name) = reference.get("name").and_then(Value::as_str) else {
            return Err(Given::Unknown("the input providers that a selector finds in the cluster".to_owned()));
        };
        let Some(provider) = providers.get(&(namespace.to_owned(), name.to_owned())) else {
            return Err(Given::NotYet(format!("ResourceSetInputProvider {namespace}/{name}")));
        };
        match provider.text("/spec/type") {
            "Static" => sources.push(
                provider.value.pointer("/spec/defaultValues").cloned().and_then(|one| with_provider(one, provider)).into_iter().collect(),
            ),
            other => return Err(Given::Unknown(format!("the answer of {} (type {other} asks an API)", provider.id()))),
        }
    }
    if sources.is_empty() {
        return Ok(vec![Inputs::new()]);
    }
    if set.text("/spec/inputStrategy/name") != "Permute" {
        return Ok(sources.into_iter().flatten().collect());
    }
    // One of each, under the provider's name.
    let mut found = vec![Inputs::new()];
    for source in sources {
        let with = |one: &Inputs, more: &Inputs| {
            let name = more.get("provider").and_then(|provider| provider.get("name")?.as_str()).unwrap_or_default().replace('-', "_");
            one.clone().into_iter().chain([(name, Value::Object(more.clone()))]).collect()
        };
        found = found.iter().flat_map(|one| source.iter().map(|more| with(one, more)).collect::<Vec<Inputs>>()).collect();
    }
    Ok(found)
}

fn with_provider(inputs: Value, provider: &Resource) -> Option<Inputs> {
    let Value::Object(mut inputs) = inputs else { return None };
    let id = provider.id();
    inputs
        .insert("provider".to_owned(), json!({"apiVersion": id.api_version, "kind": id.kind, "name": id.name, "namespace": id.namespace}));
    Some(inputs)
}

fn rendered(set: &Resource, inputs: &Inputs) -> Result<Vec<Resource>, Given> {
    let mut found = Vec::new();
    let templates = set.value.pointer("/spec/resources").and_then(Value::as_array).into_iter().flatten().map(write);
    for template in templates.chain(set.value.pointer("/spec/resourcesTemplate").and_then(Value::as_str).map(str::to_owned)) {
        let text = fill_inputs(&template, inputs).map_err(|error| match error {
            TemplateError::Function { .. } => Given::Unknown(format!("the result of a template: {error}")),
            TemplateError::Wrong { .. } => Given::Wrong(format!("template {error}")),
        })?;
        for document in documents(&text).map_err(|error| Given::Wrong(format!("what it renders is not valid YAML: {}", error.message)))? {
            let mut resource = Resource { value: document.value, origin: set.origin.clone() };
            if resource.kind().is_empty()
                || resource.name().is_empty()
                || resource.annotation("fluxcd.controlplane.io/reconcile") == Some("disabled")
            {
                continue;
            }
            if resource.namespace().is_none() {
                resource.value["metadata"]["namespace"] = set.namespace().unwrap_or("default").into();
            }
            found.push(resource);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// YAML of a stream in; a line for each object of the first one out.
    fn check(yaml: &str, wanted: &str) {
        let mut all = documents(yaml).expect("YAML").into_iter().map(|document| Resource { value: document.value, origin: None });
        let set = all.next().expect("a set");
        let providers = all.map(|provider| (("flux-system".to_owned(), provider.name().to_owned()), provider)).collect();
        let told = match generate(&set, &providers) {
            Given::Resources(found) => found.iter().map(|one| format!("{} {}", one.id(), one.value["spec"])).collect::<Vec<_>>().join("\n"),
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
            "Wrong(\"template `<< inputs.gone >>`: .inputs.gone is not set\")",
        );
    }
}
