//! The kustomization that kustomize-controller builds: the layer's own (or one that lists its files), with `spec` merged into it
//! (fluxcd/pkg `kustomize`, generator). `commonMetadata` is not part of it: the controller sets that on the built objects.

use crate::layers::flux::Spec;
use serde_json::{Map, Value, json};

/// Whether `spec` changes the kustomization.
pub(crate) fn changes(spec: &Spec) -> bool {
    target_namespace(spec).is_some() || !spec.patches.is_empty() || !spec.components.is_empty() || changes_more(spec)
}

/// Whether it changes more than by namespace, patches and components.
pub(crate) fn changes_more(spec: &Spec) -> bool {
    !spec.images.is_empty()
        || [&spec.name_prefix, &spec.name_suffix].iter().any(|text| text.as_deref().is_some_and(|text| !text.is_empty()))
}

/// The namespace that all objects are put into.
pub(crate) fn target_namespace(spec: &Spec) -> Option<&str> {
    spec.target_namespace.as_deref().filter(|namespace| !namespace.is_empty())
}

/// A kustomization that lists resources.
pub(crate) fn listing(resources: &[String]) -> Value {
    let resources: Vec<String> = resources.iter().map(|path| format!("./{path}")).collect();
    json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources})
}

/// Those that count; `exists` tells whether a component's folder is there.
pub(crate) fn components(spec: &Spec, exists: impl Fn(&str) -> bool) -> impl Iterator<Item = &String> {
    spec.components.iter().filter(move |path| !spec.ignore_missing_components || exists(path))
}

/// Merges `spec`; `exists` tells whether a component's folder is there.
pub(crate) fn merge(own: Value, spec: &Spec, exists: impl Fn(&str) -> bool) -> Value {
    let mut map = match own {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    map.entry("apiVersion").or_insert_with(|| "kustomize.config.k8s.io/v1beta1".into());
    map.entry("kind").or_insert_with(|| "Kustomization".into());
    for (key, value) in [("namespace", &spec.target_namespace), ("namePrefix", &spec.name_prefix), ("nameSuffix", &spec.name_suffix)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            map.insert(key.to_owned(), value.into());
        }
    }
    append(&mut map, "patches", spec.patches.iter().cloned());
    append(&mut map, "components", components(spec, exists).map(|path| path.as_str().into()));
    for image in &spec.images {
        let list = list(&mut map, "images");
        match list.iter_mut().find(|other| other.get("name") == image.get("name")) {
            Some(other) => *other = image.clone(),
            None => list.push(image.clone()),
        }
    }
    if map.get("images").is_some_and(|images| images == &json!([])) {
        map.remove("images");
    }
    Value::Object(map)
}

/// Adds fields: maps are merged, lists are made longer.
pub(crate) fn add(own: Value, more: &Map<String, Value>) -> Value {
    let mut own = own;
    for (key, value) in more {
        match (own.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
            _ => own[key] = value.clone(),
        }
    }
    own
}

fn append(map: &mut Map<String, Value>, key: &str, items: impl Iterator<Item = Value>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        list(map, key).extend(items);
    }
}

fn list<'m>(map: &'m mut Map<String, Value>, key: &str) -> &'m mut Vec<Value> {
    let value = map.entry(key).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("was made a list above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_is_merged_into_the_layers_own_kustomization() {
        let own =
            json!({"resources": ["a.yaml"], "namespace": "old", "patches": [{"path": "p.yaml"}], "images": [{"name": "a", "newTag": "1"}]});
        let spec: Spec = serde_json::from_value(json!({
            "targetNamespace": "new", "nameSuffix": "-x",
            "patches": [{"patch": "x", "target": {"kind": "Deployment"}}],
            "images": [{"name": "a", "newTag": "2"}, {"name": "b", "newTag": "3"}],
            "components": ["../there", "../gone"], "ignoreMissingComponents": true,
        }))
        .expect("spec");
        assert!(changes(&spec) && !changes(&Spec::default()));
        let merged = merge(own, &spec, |path| path == "../there");
        assert_eq!(
            merged,
            json!({
                "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                "resources": ["a.yaml"], "namespace": "new", "nameSuffix": "-x",
                "patches": [{"path": "p.yaml"}, {"patch": "x", "target": {"kind": "Deployment"}}],
                "images": [{"name": "a", "newTag": "2"}, {"name": "b", "newTag": "3"}],
                "components": ["../there"],
            })
        );
    }
}
