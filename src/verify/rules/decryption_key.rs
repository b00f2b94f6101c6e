//! An encrypted object that nothing can decrypt in a new cluster.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;
use base64::Engine as _;
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "decryption-key",
    severity: Severity::Blocks,
    title: "An encrypted object cannot be decrypted",
    why: "Its layer has no spec.decryption, or takes its key from a Secret that the environment does not name: the key was in the lost \
          cluster alone. Keys of a cloud's key service are left to the controller's own credentials. A file that a generator takes up as it \
          stands becomes a value that is still encrypted.",
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
        // Without decryption the controller refuses the whole layer, without the key it cannot build it.
        Finding::new(&RULE, message).of(layer).about(objects[0]).hint(hint).keeps(facts, [position], Until::Applied)
    };
    layers.into_iter().map(finding).chain(generated(facts)).collect()
}

/// Values that are whole encrypted files, of layers that decrypt nothing.
fn generated(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let layers = facts.layers().filter(|(_, layer, _)| layer.spec.decryption.is_none() && layer.spec.application.is_none());
    for (_, layer, objects) in layers {
        for object in objects.iter().filter(|object| object.group().is_empty() && ["ConfigMap", "Secret"].contains(&object.kind())) {
            let values = ["data", "stringData"].iter().filter_map(|key| object.value.get(*key)?.as_object()).flatten();
            // kustomize breaks long ones into lines.
            let decoded = |value: &str| {
                let value: String = value.split_whitespace().collect();
                base64::engine::general_purpose::STANDARD.decode(value).ok().and_then(|text| String::from_utf8(text).ok())
            };
            let is_locked = |value: &Value| {
                let text = value.as_str().unwrap_or_default();
                is_encrypted_file(text) || object.kind() == "Secret" && decoded(text).is_some_and(|text| is_encrypted_file(&text))
            };
            let keys: Vec<&str> = values.filter(|(_, value)| is_locked(value)).map(|(key, _)| key.as_str()).collect();
            if let Some(first) = keys.first() {
                let message = format!(
                    "{} of layer {}: {first} is a file encrypted with SOPS, and becomes the value as it stands: the layer has no spec.decryption",
                    object.id(),
                    layer.id
                );
                let hint = "set spec.decryption: {provider: sops, secretRef: {name: sops-age}} of the Kustomization";
                // The start goes on; whoever reads the value cannot.
                found.push(Finding::new(&RULE, message).of(layer).about(object).hint(hint).severity(Severity::Differs));
            }
        }
    }
    found
}

/// Whether a text is a file as SOPS writes it: values that are encrypted, and its own data beside them (YAML, JSON, dotenv, INI).
fn is_encrypted_file(text: &str) -> bool {
    let own = ["\nsops:", "\"sops\":", "sops_mac=", "[sops]"];
    text.contains("ENC[AES256_GCM,") && own.iter().any(|mark| text.contains(mark))
}
