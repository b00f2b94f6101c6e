//! Patches that need no schema: a strategic merge patch of custom resources, which kustomize merges field by field and whose lists it replaces,
//! since it knows no definition of them (sigs.k8s.io/kustomize/kyaml, `merge2`). All others are left to kustomize.

use super::native::{has_folded, has_null, is_defined_by_others};
use crate::manifest::Resource;
use crate::manifest::yaml::documents;
use serde_json::{Map, Value};

/// One entry of `spec.patches`.
#[derive(Debug)]
pub(super) struct Patch {
    target: Target,
    content: Map<String, Value>,
}

/// What it is for. Each field is a regular expression from beginning to end, of which only the dot is taken here.
#[derive(Debug, Default)]
struct Target {
    group: String,
    version: String,
    kind: String,
    name: String,
}

impl Patch {
    /// None where kustomize must do it.
    pub(super) fn read(entry: &Value) -> Option<Self> {
        let entry = entry.as_object()?;
        if entry.keys().any(|key| key != "patch" && key != "target") {
            return None;
        }
        let mut target = Target::default();
        for (key, value) in entry.get("target")?.as_object()? {
            let value = value.as_str()?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let field = match key.as_str() {
                "group" => &mut target.group,
                "version" => &mut target.version,
                "kind" => &mut target.kind,
                "name" => &mut target.name,
                _ => return None,
            };
            if !value.chars().all(is_plain) {
                return None;
            }
            value.clone_into(field);
        }
        let text = entry.get("patch")?.as_str()?;
        let found = documents(text).ok()?;
        let [document] = found.as_slice() else { return None };
        let is_simple = !has_folded(text) && !has_null(&document.value) && !has_directive(&document.value);
        let mut content = document.value.as_object().filter(|_| is_simple)?.clone();
        // With a target, what the patch itself names is nothing but a form.
        content.remove("apiVersion");
        content.remove("kind");
        let metadata = content.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("name");
        metadata.remove("namespace");
        if metadata.is_empty() {
            content.remove("metadata");
        }
        Some(Self { target, content })
    }

    /// Patches all that it is for; none where one of them has a schema that kustomize knows.
    pub(super) fn apply(&self, resources: &mut [Resource]) -> Option<()> {
        for resource in resources.iter_mut().filter(|resource| self.target.is(resource)) {
            // Nor is it told what becomes of nulls.
            if !is_defined_by_others(resource.group()) || has_null(&resource.value) {
                return None;
            }
            merge(resource.value.as_object_mut()?, &self.content);
        }
        Some(())
    }
}

impl Target {
    fn is(&self, resource: &Resource) -> bool {
        let version = resource.api_version().rsplit('/').next().unwrap_or_default();
        let parts =
            [(&self.group, resource.group()), (&self.version, version), (&self.kind, resource.kind()), (&self.name, resource.name())];
        let is_one = |pattern: &str, text: &str| {
            pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(|(one, other)| one == b'.' || one == other)
        };
        parts.into_iter().all(|(pattern, text)| pattern.is_empty() || is_one(pattern, text))
    }
}

/// `$patch` and the like; empty maps and lists, which kustomize takes one way or another.
fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty() || map.iter().any(|(key, value)| key.starts_with('$') || has_directive(value)),
        Value::Array(items) => items.is_empty() || items.iter().any(has_directive),
        _ => false,
    }
}

fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (into.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(patch)) => merge(into, patch),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: _, labels: {a: b}}\nspec: {upgrade: {crds: CreateReplace}, tests: [1]}\n";

    fn release() -> Resource {
        let value = json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"upgrade": {"force": true}, "tests": [2, 3]},
        });
        Resource { value, origin: None }
    }

    #[test]
    fn a_custom_resource_is_merged_field_by_field_and_keeps_its_name() {
        let patch =
            Patch::read(&json!({"patch": RELEASE, "target": {"group": "helm.toolkit.fluxcd.io", "kind": "HelmRelease"}})).expect("simple");
        let mut resources = [release()];
        patch.apply(&mut resources).expect("no schema");
        assert_eq!(
            resources[0].value,
            json!({
                "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
                "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}},
                "spec": {"upgrade": {"force": true, "crds": "CreateReplace"}, "tests": [1]},
            })
        );
        let other = Patch::read(&json!({"patch": RELEASE, "target": {"kind": "HelmRelease", "name": "other"}})).expect("simple");
        let mut resources = [release()];
        other.apply(&mut resources).expect("nothing to do");
        assert_eq!(resources[0].value, release().value);
    }

    #[test]
    fn what_needs_a_schema_or_has_its_own_rules_is_left_to_kustomize() {
        let target = json!({"kind": "HelmRelease"});
        for patch in [
            "- {op: add, path: /spec, value: 1}\n",
            "metadata: {name: _}\nspec: null\n",
            "metadata: {name: _}\n$patch: delete\n",
            "spec: {}\n",
        ] {
            assert!(Patch::read(&json!({"patch": patch, "target": target})).is_none(), "{patch}");
        }
        for target in [json!({"kind": "Helm.*"}), json!({"labelSelector": "a=b"})] {
            assert!(Patch::read(&json!({"patch": RELEASE, "target": target})).is_none(), "{target}");
        }
        assert!(Patch::read(&json!({"patch": RELEASE})).is_none(), "found by its own name");
        let all = Patch::read(&json!({"patch": "metadata: {name: _}\nspec: {a: 1}\n", "target": {}})).expect("simple");
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        assert!(all.apply(&mut [Resource { value: deployment, origin: None }]).is_none());
    }
}
