//! An IAM role that trusts the OIDC issuer of a cluster that is gone.

use super::{Finding, Rule};
use crate::layers::infrastructure::service;
use crate::problem::Severity;
use crate::verify::facts::Facts;

pub(crate) const RULE: Rule = Rule {
    id: "issuer-lost",
    severity: Severity::Blocks,
    title: "A role trusts the OIDC issuer of the lost cluster",
    why: "Each EKS cluster gets an issuer with an ID of its own. A trust policy with the old one written out lets no pod of the new cluster in: \
          its controllers get no credentials, and everything that waits for them waits for ever.",
    fix: "take the issuer from spec.outputs of the environment (field identity.oidc.issuer of the EKS Cluster), or use EKS Pod Identity",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let layers = facts.objects().map(|(layer, object)| (Some(layer), object));
    let below = facts.subject.reading.infrastructure.iter().map(|object| (None, object));
    let mut found: Vec<Finding> = Vec::new();
    for (layer, object) in below.chain(layers).filter(|(_, object)| service(object) == Some("iam")) {
        let texts = [object.text("/spec/assumeRolePolicyDocument"), object.text("/spec/url")];
        let Some(issuer) = texts.into_iter().find_map(issuer) else { continue };
        let message = format!("{}: bound to the issuer {issuer}, which belongs to one cluster and goes with it", object.id());
        let finding = Finding::new(&RULE, message);
        let finding = layer.map_or_else(|| finding.clone(), |layer| finding.clone().of(facts.layer(layer))).about(object);
        if !found.iter().any(|other| other.object == finding.object) {
            found.push(finding);
        }
    }
    found
}

/// `oidc.eks.REGION.amazonaws.com/id/HEX` in a text, where the ID is written out.
fn issuer(text: &str) -> Option<&str> {
    let start = text.find("oidc.eks.")?;
    let rest = &text[start..];
    let (before, id) = rest.split_once("/id/")?;
    let length = id.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(id.len());
    (length >= 16 && !before.contains([' ', '"'])).then(|| &rest[..before.len() + 4 + length])
}

#[cfg(test)]
mod tests {
    use super::issuer;

    #[test]
    fn an_issuer_is_found_where_its_id_is_written_out() {
        let text = r#"{"Federated":"arn:aws:iam::1:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"}"#;
        assert_eq!(issuer(text), Some("oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"));
        assert_eq!(issuer("oidc.eks.eu-west-1.amazonaws.com/id/${ID}"), None);
    }
}
