//! Whether there is room for what is to be made: what lives and what is planned against the limits that an account tells.

use super::{Check, Group};
use std::collections::BTreeMap;

/// A limit of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Service and kind that count against it: `("ec2", "ElasticIPAddress")`.
    pub kind: (&'static str, &'static str),
    /// What is counted: `Elastic IP addresses`.
    pub noun: &'static str,
    /// How many live.
    pub used: u64,
    /// How many may.
    pub most: Most,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// As the account tells.
    Told(u64),
    /// The default; whether it was raised cannot be told by the calls at hand.
    Usual(u64),
}

/// `planned` counts what is to be made, by service and kind.
pub fn room(planned: &BTreeMap<(&str, &str), u64>, limits: &[Limit]) -> Vec<Check> {
    let mut checks = Vec::new();
    for limit in limits {
        let Some(&wanted) = planned.get(&limit.kind).filter(|wanted| **wanted > 0) else { continue };
        let (most, is_told) = match limit.most {
            Most::Told(most) => (most, true),
            Most::Usual(most) => (most, false),
        };
        let usual = if is_told { "" } else { " by default" };
        let found = format!("{} there, {wanted} to be made, {most} allowed{usual}", limit.used);
        let check = match (limit.used + wanted <= most, is_told) {
            (true, _) => Check::ok(Group::Quotas, limit.noun, found),
            (false, true) => Check::blocker(Group::Quotas, limit.noun, found),
            (false, false) => Check::warning(Group::Quotas, limit.noun, format!("{found}; whether that was raised is not known")),
        };
        let short = limit.used + wanted > most;
        checks.push(if short { check.fix("ask for a higher quota (Service Quotas), or remove what is not needed") } else { check });
    }
    for ((service, kind), wanted) in planned {
        if !limits.iter().any(|limit| limit.kind == (*service, *kind)) {
            let why = format!("{wanted} to be made; {service} tells no limit by the calls at hand");
            checks.push(Check::not_checked(Group::Quotas, format!("{service} {kind}"), why));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_before_it_is_tried() {
        let limit = |used, most| Limit { kind: ("ec2", "VPC"), noun: "VPCs", used, most };
        let verdict = |planned: u64, limit: Limit| room(&BTreeMap::from([(("ec2", "VPC"), planned)]), &[limit])[0].verdict;
        assert_eq!(verdict(1, limit(4, Most::Told(5))), Verdict::Ok);
        assert_eq!(verdict(2, limit(4, Most::Told(5))), Verdict::Blocker);
        assert_eq!(verdict(2, limit(4, Most::Usual(5))), Verdict::Warning);
        let other = room(&BTreeMap::from([(("eks", "Cluster"), 1)]), &[limit(5, Most::Told(5))]);
        assert_eq!((other.len(), other[0].verdict), (1, Verdict::NotChecked), "what is not to be made needs no room");
    }
}
