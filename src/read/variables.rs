//! `postBuild`: which variables a layer has, and what becomes of its objects with them.

use super::SecretValues;
use crate::environment::Environment;
use crate::layers::flux::{Layer, SubstituteFrom};
use crate::manifest::yaml::substituted;
use crate::manifest::{Resource, write};
use crate::render::envsubst::substitute;
use base64::Engine as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Data = BTreeMap<String, String>;

/// ConfigMaps and Secrets whose content is known, by (kind, namespace, name).
#[derive(Debug, Default)]
pub(crate) struct Known {
    environment: BTreeMap<(String, String, String), Data>,
    rendered: BTreeMap<(String, String, String), Data>,
    /// Secrets that the environment names without a value at hand.
    opaque: BTreeSet<(String, String)>,
}

/// Content of one reference.
pub(crate) enum Content<'a> {
    Data(&'a Data),
    /// It will exist, but its values are not known.
    Opaque,
    Absent,
}

impl Known {
    pub(crate) fn new(environment: &Environment, secrets: &SecretValues) -> Self {
        let mut known = Self::default();
        for given in &environment.spec.variables {
            known.environment.insert((given.kind.clone(), given.namespace.clone(), given.name.clone()), given.data.clone());
        }
        for ((namespace, name), data) in secrets.iter() {
            let data = data.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
            known.environment.insert(("Secret".to_owned(), namespace.clone(), name.clone()), data);
        }
        for given in &environment.spec.outputs {
            let object = known.environment.entry((given.kind.clone(), given.namespace.clone(), given.name.clone())).or_default();
            object.extend(given.data.iter().map(|(name, (output, _))| (name.clone(), output.mark())));
        }
        known.opaque.extend(environment.spec.secrets.iter().map(|secret| (secret.namespace.clone(), secret.name.clone())));
        known
    }

    /// Takes note of a rendered ConfigMap or Secret.
    pub(crate) fn declare(&mut self, resource: &Resource) {
        if resource.api_version() != "v1" || !["ConfigMap", "Secret"].contains(&resource.kind()) {
            return;
        }
        if crate::render::is_encrypted(resource) {
            self.opaque.insert((resource.namespace().unwrap_or("default").to_owned(), resource.name().to_owned()));
            return;
        }
        let texts = |key: &str| -> Data {
            let map = resource.value.get(key).and_then(Value::as_object);
            map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        let mut data = texts("data");
        if resource.kind() == "Secret" {
            data = data
                .into_iter()
                .filter_map(|(key, value)| {
                    // kustomize breaks what it generates into lines.
                    let value: String = value.split_whitespace().collect();
                    let clear = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
                    Some((key, String::from_utf8(clear).ok()?))
                })
                .collect();
            data.extend(texts("stringData"));
        }
        let namespace = resource.namespace().unwrap_or("default").to_owned();
        self.rendered.insert((resource.kind().to_owned(), namespace, resource.name().to_owned()), data);
    }

    /// Gives a copy of the object `from` (namespace, name) what is known of that; false where it is nothing.
    pub(crate) fn copy(&mut self, copy: &Resource, (namespace, name): (&str, &str)) -> bool {
        let kind = copy.kind().to_owned();
        let from = (kind.clone(), namespace.to_owned(), name.to_owned());
        let own = (copy.namespace().unwrap_or("default").to_owned(), copy.name().to_owned());
        if let Some(data) = self.environment.get(&from).or_else(|| self.rendered.get(&from)).cloned() {
            self.rendered.insert((kind, own.0, own.1), data);
        } else if kind == "Secret" && self.opaque.contains(&(from.1, from.2)) {
            self.opaque.insert(own);
        } else {
            return false;
        }
        true
    }

    /// What the environment says wins: it stands for what the cluster will hold when the layer starts.
    pub(crate) fn find(&self, namespace: &str, reference: &SubstituteFrom) -> Content<'_> {
        let id = (reference.kind.clone(), namespace.to_owned(), reference.name.clone());
        match self.environment.get(&id).or_else(|| self.rendered.get(&id)) {
            Some(data) => Content::Data(data),
            None if id.0 == "Secret" && self.opaque.contains(&(id.1, id.2)) => Content::Opaque,
            None => Content::Absent,
        }
    }
}

/// Variables of one layer.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub(crate) values: Data,
    /// References that are absent and not optional.
    pub(crate) missing: Vec<SubstituteFrom>,
    /// References whose values are not known.
    pub(crate) opaque: Vec<SubstituteFrom>,
}

/// Collects them; later references win, inline ones win over all (kustomize-controller, "Post build variable substitution").
pub(crate) fn variables(layer: &Layer, known: &Known) -> Variables {
    let mut found = Variables::default();
    let Some(post_build) = &layer.spec.post_build else { return found };
    for reference in &post_build.substitute_from {
        match known.find(&layer.id.namespace, reference) {
            Content::Data(data) => found.values.extend(data.iter().map(|(key, value)| (key.clone(), value.replace('\n', "")))),
            Content::Opaque => found.opaque.push(reference.clone()),
            Content::Absent if reference.optional => {}
            Content::Absent => found.missing.push(reference.clone()),
        }
    }
    for (key, value) in &post_build.substitute {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        found.values.insert(key.clone(), text.replace('\n', ""));
    }
    found
}

/// What went wrong with one object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Variables without value and default.
    Undefined(Vec<String>),
    /// An expression or the result cannot be read.
    Bad(String),
}

/// Replaces the variables of one object, as the text that the agent would write of it.
pub(crate) fn apply(resource: &mut Resource, layer: &Layer, values: &Data) -> Option<Fault> {
    const DISABLED: &str = "kustomize.toolkit.fluxcd.io/substitute";
    let post_build = layer.spec.post_build.as_ref()?;
    let always = post_build.substitute_strategy.as_deref() == Some("Always");
    let disabled = [resource.label(DISABLED), resource.annotation(DISABLED)].contains(&Some("disabled"));
    if disabled || values.is_empty() && !always || !holds_dollar(&resource.value) {
        return None;
    }
    if let Some(name) = values.keys().find(|name| !is_name(name)) {
        return Some(Fault::Bad(format!("`{name}` is no variable name: letters, digits and _ only")));
    }
    let done = match substitute(&write(&resource.value), values) {
        Ok(done) => done,
        Err(error) => return Some(Fault::Bad(error.to_string())),
    };
    match substituted(&done.text) {
        Ok(value) if value.is_object() => resource.value = value,
        Ok(_) => return Some(Fault::Bad("is no object any more after substitution".to_owned())),
        // The parser may quote the text, which may hold a secret.
        Err(_) => return Some(Fault::Bad("is not valid YAML any more after substitution; quote the variable".to_owned())),
    }
    (!done.undefined.is_empty()).then(|| Fault::Undefined(done.undefined.into_iter().collect()))
}

/// Variables of an object without value and default, whether or not its layer is substituted.
pub(crate) fn undefined(resource: &Resource, values: &Data) -> BTreeSet<String> {
    if !holds_dollar(&resource.value) {
        return BTreeSet::new();
    }
    substitute(&write(&resource.value), values).map(|done| done.undefined).unwrap_or_default()
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn holds_dollar(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('$'),
        Value::Array(items) => items.iter().any(holds_dollar),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('$') || holds_dollar(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(post_build: &Value) -> Layer {
        let value = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"postBuild": post_build}});
        crate::layers::flux::layer(Resource { value, origin: None }, None).expect("layer")
    }

    fn applied(value: Value, values: &[(&str, &str)]) -> (Value, Option<Fault>) {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut resource = Resource { value, origin: None };
        let fault = apply(&mut resource, &layer(&json!({})), &values);
        (resource.value, fault)
    }

    #[test]
    fn a_number_in_a_variable_becomes_one_unless_it_is_quoted() {
        let (value, fault) = applied(json!({"a": "${P}", "b": "'${P}'", "c": "x${P}", "d": "${B}"}), &[("P", "80"), ("B", "yes")]);
        assert_eq!((value, fault), (json!({"a": 80, "b": "'80'", "c": "x80", "d": true}), None));
    }

    #[test]
    fn without_any_variable_nothing_is_replaced() {
        assert_eq!(applied(json!({"a": "${P:=x}"}), &[]).0, json!({"a": "${P:=x}"}));
    }

    #[test]
    fn disabled_objects_stay_as_they_are() {
        let value = json!({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}}, "a": "${P}"});
        assert_eq!(applied(value.clone(), &[("P", "1")]).0, value);
    }

    #[test]
    fn undefined_variables_are_named_and_identity_is_kept() {
        let (value, fault) = applied(json!({"metadata": {"name": "x-${P}"}, "a": "${GONE}"}), &[("P", "1")]);
        assert_eq!(value, json!({"metadata": {"name": "x-1"}, "a": "${GONE}"}));
        assert_eq!(fault, Some(Fault::Undefined(vec!["GONE".into()])));
    }

    #[test]
    fn a_secret_may_be_broken_into_lines() {
        let value =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"A": "aGVs\nbG8=\n"}});
        let mut known = Known::default();
        known.declare(&Resource { value, origin: None });
        let reference = SubstituteFrom { kind: "Secret".to_owned(), name: "s".to_owned(), ..SubstituteFrom::default() };
        assert!(matches!(known.find("n", &reference), Content::Data(data) if data["A"] == "hello"));
    }

    #[test]
    fn later_references_win_and_inline_ones_win_over_all() {
        let environment = crate::environment::parse(
            "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: x}\nspec:\n  variables:\n    - {kind: ConfigMap, namespace: n, name: one, data: {A: '1', B: '1', C: '1'}}\n    - {kind: Secret, namespace: n, name: two, data: {B: '2', C: \"2\\n\"}}\n",
            "e",
        )
        .expect("valid");
        let known = Known::new(&environment, &SecretValues::default());
        let layer = layer(&json!({
            "substitute": {"C": "3"},
            "substituteFrom": [{"kind": "ConfigMap", "name": "one"}, {"kind": "Secret", "name": "two"}, {"kind": "ConfigMap", "name": "gone"}, {"kind": "ConfigMap", "name": "maybe", "optional": true}],
        }));
        let found = variables(&layer, &known);
        assert_eq!(
            found.values.into_iter().collect::<Vec<_>>(),
            [("A".into(), "1".into()), ("B".into(), "2".into()), ("C".into(), "3".into())]
        );
        assert_eq!(found.missing.iter().map(|reference| reference.name.as_str()).collect::<Vec<_>>(), ["gone"]);
    }
}
