//! What a FluxInstance does to the Kustomization that it makes of its `sync`: `spec.kustomize.patches` (flux-operator `internal/builder`).

use crate::layers::flux::{Layer, layer};
use crate::manifest::Resource;
use crate::manifest::yaml::documents;
use regex::Regex;
use serde_json::Value;

/// The layer as the patches of the instance, or of the values of a chart that makes one, leave it.
pub(super) fn patched(unpatched: Layer, instance: &Resource) -> Layer {
    let places = ["/spec/kustomize/patches", "/spec/values/instance/kustomize/patches"];
    let patches = places.into_iter().find_map(|place| instance.value.pointer(place)?.as_array());
    let mut declaration = unpatched.declaration.clone();
    for patch in patches.into_iter().flatten() {
        let text = patch.get("patch").and_then(Value::as_str).unwrap_or_default();
        for content in documents(text).unwrap_or_default().into_iter().map(|document| document.value) {
            // Without a target, the patch itself says what it is for.
            if patch.get("target").map_or_else(|| names(&content, &declaration), |target| selects(target, &declaration)) {
                apply(&mut declaration.value, &content);
            }
        }
    }
    layer(declaration, None).unwrap_or(unpatched)
}

fn names(content: &Value, of: &Resource) -> bool {
    let patch = Resource { value: content.clone(), origin: None };
    patch.kind() == of.kind() && patch.group() == of.group() && patch.name() == of.name()
}

/// Each field is an expression from beginning to end (kustomize `api/types/selector.go`).
fn selects(target: &Value, of: &Resource) -> bool {
    let version = of.api_version().rsplit('/').next().unwrap_or_default();
    let fields = [
        ("group", of.group()),
        ("version", version),
        ("kind", of.kind()),
        ("name", of.name()),
        ("namespace", of.namespace().unwrap_or_default()),
    ];
    let is = |wanted: &str, own: &str| wanted.is_empty() || Regex::new(&format!("^(?:{wanted})$")).is_ok_and(|wanted| wanted.is_match(own));
    ["labelSelector", "annotationSelector"].iter().all(|key| target.get(key).is_none())
        && fields.iter().all(|(key, own)| is(target.get(key).and_then(Value::as_str).unwrap_or_default(), own))
}

/// A list of operations (RFC 6902), or fields to merge.
fn apply(value: &mut Value, patch: &Value) {
    let Some(operations) = patch.as_array() else { return merged(value, patch) };
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some((parent, key)) = text("path").rsplit_once('/') else { continue };
        let key = key.replace("~1", "/").replace("~0", "~");
        let new = operation.get("value").cloned().unwrap_or_default();
        match (value.pointer_mut(parent), text("op")) {
            (Some(Value::Object(map)), "add" | "replace") => {
                map.insert(key, new);
            }
            (Some(Value::Object(map)), "remove") => {
                map.remove(&key);
            }
            (Some(Value::Array(list)), "add") if key == "-" => list.push(new),
            (Some(Value::Array(list)), op) => match (key.parse::<usize>(), op) {
                (Ok(at), "add") if at <= list.len() => list.insert(at, new),
                (Ok(at), "replace") if at < list.len() => list[at] = new,
                (Ok(at), "remove") if at < list.len() => {
                    list.remove(at);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// Lists of a custom resource are replaced; null takes a field away.
fn merged(value: &mut Value, patch: &Value) {
    let (Some(into), Some(from)) = (value.as_object_mut(), patch.as_object()) else {
        value.clone_from(patch);
        return;
    };
    for (key, new) in from {
        if new.is_null() {
            into.remove(key);
        } else {
            merged(into.entry(key.clone()).or_insert_with(|| serde_json::json!({})), new);
        }
    }
}
