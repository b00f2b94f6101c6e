//! A source that a clean account cannot reach.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::simulate::Until;

pub(crate) const RULE: Rule = Rule {
    id: "source-unreachable",
    severity: Severity::Blocks,
    title: "A source cannot be reached from a clean account",
    why: "Its address is inside the cluster that is gone, on a private network, or asks for credentials that it does not name.",
    fix: "use an address that is there before the cluster is, or give the source a secretRef",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.objects().filter(|(_, object)| object.group() == "source.toolkit.fluxcd.io") {
        let url = object.text("/spec/url");
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split(['/', '?']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        let last = |end: &[&str]| host.split('.').rev().take(end.len()).eq(end.iter().rev().copied());
        let why = if last(&["svc"]) || last(&["cluster", "local"]) {
            "is a service of the cluster itself, empty after a start from nothing"
        } else if host == "localhost" || is_private(host) {
            "is an address of a private network"
        } else if url.starts_with("ssh://") && object.value.pointer("/spec/secretRef").is_none() {
            "is reached by SSH, which needs a key in spec.secretRef"
        } else {
            continue;
        };
        let finding = Finding::new(&RULE, format!("{}: {url} {why}", object.id())).of(facts.layer(position)).about(object);
        found.push(finding.keeps(facts, facts.of_source(object), Until::Applied));
    }
    found
}

/// RFC 1918, loopback and link-local addresses.
fn is_private(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_private() || address.is_loopback() || address.is_link_local())
}

#[cfg(test)]
mod tests {
    #[test]
    fn private_addresses() {
        assert!(
            super::is_private("10.1.2.3") && super::is_private("127.0.0.1") && !super::is_private("1.1.1.1") && !super::is_private("a.b")
        );
    }
}
