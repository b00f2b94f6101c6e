//! How long resources take in the sandbox: the usual time of their kind on another scale, or as told.

use std::collections::BTreeMap;
use std::time::Duration;

/// Scale and exceptions.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Seconds here for one second in AWS; 0: at once.
    pub(super) scale: f64,
    /// By name, or by the beginning of an ID (`nat-*`); these are not scaled.
    pub(super) durations: BTreeMap<String, Duration>,
}

impl Clock {
    /// How long it takes to make a resource of these names.
    pub(super) fn makes(&self, service: &str, kind: &str, names: &[&str]) -> Duration {
        let told = names.iter().find_map(|name| self.durations.get(*name));
        let begins = || {
            let begins = |pattern: &str| pattern.strip_suffix('*').is_some_and(|start| names.iter().any(|name| name.starts_with(start)));
            self.durations.iter().rev().find(|(pattern, _)| begins(pattern)).map(|(_, time)| time)
        };
        if let Some(told) = told.or_else(begins) {
            return *told;
        }
        let schema = crate::aws::catalogue().into_iter().find(|schema| schema.service == service && schema.kind == kind);
        Duration::from_secs(schema.map_or(0, |schema| u64::from(schema.seconds))).mul_f64(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_wins_over_the_kind_and_its_scale() {
        let second = Duration::from_secs(1);
        let durations = BTreeMap::from([("shop".to_owned(), second), ("nat-*".to_owned(), second * 2)]);
        let clock = Clock { scale: 1.0 / 60.0, durations };
        assert_eq!(clock.makes("eks", "Cluster", &["other"]), second * 14);
        assert_eq!(clock.makes("eks", "Cluster", &["shop"]), second);
        assert_eq!(clock.makes("eks", "Cluster", &["shop-2"]), second * 14);
        assert_eq!(clock.makes("ec2", "NATGateway", &["nat-0b1"]), second * 2);
        assert_eq!(Clock::default().makes("eks", "Cluster", &["other"]), Duration::ZERO);
    }
}
