//! An encrypted object that nothing can decrypt in a new cluster.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "decryption-key",
    severity: Severity::Blocks,
    title: "An encrypted object cannot be decrypted",
    why: "Its layer has no spec.decryption, or takes its key from a Secret that the environment does not name: the key was in the lost \
          cluster alone. Keys of a cloud's key service are left to the controller's own credentials.",
    fix: "name the Secret with the key in spec.secrets of the environment",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut layers: BTreeMap<(usize, bool), Vec<&Resource>> = BTreeMap::new();
    for (position, layer, objects) in facts.layers() {
        for object in objects {
            let written = facts.subject.written.iter().find(|written| {
                written.origin == object.origin
                    && written.kind() == object.kind()
                    && written.value.get("sops").is_some_and(Value::is_object)
            });
            let Some(written) = written else { continue };
            let decryption = layer.spec.decryption.as_ref();
            let secret = decryption.and_then(|decryption| decryption.secret_ref.as_ref());
            let named = |name: &str| {
                let spec = &facts.environment().spec;
                spec.secrets.iter().any(|secret| secret.name == name && secret.namespace == layer.id.namespace)
            };
            let served = ["kms", "gcp_kms", "azure_kv", "hc_vault"];
            let by_service =
                served.iter().any(|key| written.value["sops"].get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty()));
            match (decryption, secret) {
                (None, _) => layers.entry((position, false)).or_default().push(object),
                (Some(_), _) if by_service => {}
                (Some(_), Some(secret)) if named(&secret.name) => {}
                (Some(_), _) => layers.entry((position, true)).or_default().push(object),
            }
        }
    }
    let finding = |((position, asks), objects): ((usize, bool), Vec<&Resource>)| {
        let layer = facts.layer(position);
        let many = if objects.len() == 1 { String::new() } else { format!(" and {} more", count(objects.len() - 1, "object")) };
        let what = format!("{}{many}", objects[0].id());
        let name = layer.spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref()).map(|secret| secret.name.as_str());
        let (message, hint) = match (asks, name) {
            (false, _) => {
                let hint = "set spec.decryption: {provider: sops, secretRef: {name: sops-age}} of the Kustomization".to_owned();
                (format!("{what} of layer {}: encrypted with SOPS, but the layer has no spec.decryption", layer.id), hint)
            }
            (true, Some(name)) => {
                let hint = format!(
                    "add to spec.secrets of the environment: {{namespace: {}, name: {name}, key: age.agekey, from: {{file: ~/.config/sops/age/keys.txt}}}}",
                    layer.id.namespace
                );
                (
                    format!(
                        "{what} of layer {}: the environment does not say where Secret {}/{name} with the key comes from",
                        layer.id, layer.id.namespace
                    ),
                    hint,
                )
            }
            (true, None) => (format!("{what} of layer {}: spec.decryption names no Secret with the key", layer.id), RULE.fix.to_owned()),
        };
        Finding::new(&RULE, message).of(layer).about(objects[0]).hint(hint)
    };
    layers.into_iter().map(finding).collect()
}
