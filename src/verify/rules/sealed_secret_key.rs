//! SealedSecrets whose key was in the lost cluster.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;

pub(crate) const RULE: Rule = Rule {
    id: "sealed-secret-key",
    severity: Severity::Blocks,
    title: "The key of SealedSecrets is not in the environment",
    why: "Only the controller's private key opens a SealedSecret, and a new controller makes a new key. Without a copy of the old one all of \
          them are lost.",
    fix: "keep the key (kubectl get secret -n kube-system -l sealedsecrets.bitnami.com/sealed-secrets-key -o yaml) and name its tls.crt and tls.key in spec.secrets",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let sealed: Vec<_> = facts.objects().filter(|(_, object)| object.kind() == "SealedSecret" && object.group() == "bitnami.com").collect();
    let Some(&(layer, first)) = sealed.first() else { return Vec::new() };
    let given = facts.environment().spec.secrets.iter().any(|secret| secret.key == "tls.key");
    if given {
        return Vec::new();
    }
    let message =
        format!("{}: the environment does not hold the key that opens it, {} in all", first.id(), count(sealed.len(), "SealedSecret"));
    vec![Finding::new(&RULE, message).of(facts.layer(layer)).about(first)]
}
