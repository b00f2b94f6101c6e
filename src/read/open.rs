//! Where a value that is known only later may not stand: names, and what decides how a layer is read.

use crate::layers::flux::is_kustomization;
use crate::layers::outputs::{holds, outputs, shown_in};
use crate::manifest::{ObjectId, Resource};
use crate::problem::Problem;
use serde_json::Value;

/// Refuses such values in the name of an object, and in all of a layer but the variables that it hands down; puts `${NAME}` in their place.
pub(crate) fn names(resource: &mut Resource) -> Vec<Problem> {
    if !holds(&resource.value) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let id = shown_in(&resource.value);
    let id = ObjectId::of(&id);
    let origin = resource.origin.clone();
    let mut refuse = |path: &str, value: &mut Value, why: &str| {
        if !holds(value) {
            return;
        }
        let names: Vec<String> = outputs(value).into_iter().map(|output| format!("${{{}}}", output.variable)).collect();
        *value = shown_in(value);
        let message = format!("{id}: {path} holds {}, which is known only when it is made: {why}", names.join(", "));
        problems.push(Problem::blocks("output-misplaced", message).at(origin.clone()));
    };
    for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        if let Some(value) = resource.value.pointer_mut(pointer) {
            refuse(&pointer[1..].replace('/', "."), value, "nothing could be ordered or found by it");
        }
    }
    if is_kustomization(resource)
        && let Some(spec) = resource.value.get_mut("spec").and_then(Value::as_object_mut)
    {
        for (key, value) in spec {
            // A layer's variables are the one thing that may come later.
            if key == "postBuild" {
                let others = value.as_object_mut().into_iter().flatten().filter(|(key, _)| *key != "substitute");
                others.for_each(|(key, value)| refuse(&format!("spec.postBuild.{key}"), value, "the layer is read before that"));
            } else {
                refuse(&format!("spec.{key}"), value, "the layer is read before that");
            }
        }
    }
    problems
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layers::outputs::Output;
    use crate::problem::Origin;
    use serde_json::json;

    #[test]
    fn names_and_the_reading_of_layers_do_not_wait_for_values() {
        let mark = Output { variable: "ID".into(), node: "command/a".into(), field: "id".into() }.mark();
        let mut layer = Resource {
            value: json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": format!("x-{mark}"), "namespace": "n"},
                "spec": {"path": format!("./{mark}"), "postBuild": {"substitute": {"ID": mark}}},
            }),
            origin: Some(Origin { file: "a.yaml".into(), line: 3 }),
        };
        let told: Vec<String> = names(&mut layer).into_iter().map(|one| format!("{}: {}", one.origin.unwrap(), one.message)).collect();
        assert_eq!(
            told,
            [
                "a.yaml:3: Kustomization n/x-${ID}: metadata.name holds ${ID}, which is known only when it is made: nothing could be ordered or found by it",
                "a.yaml:3: Kustomization n/x-${ID}: spec.path holds ${ID}, which is known only when it is made: the layer is read before that",
            ]
        );
        assert_eq!(layer.name(), "x-${ID}");
        assert_eq!(layer.value["spec"]["path"], "./${ID}");
        assert_eq!(layer.value["spec"]["postBuild"]["substitute"]["ID"], mark, "handed down");
    }
}
