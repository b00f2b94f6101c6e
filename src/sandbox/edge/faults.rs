//! Faults on purpose, for a part of all calls.

use super::call::Answer;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) const WORDS: &str = "fault of the sandbox";

/// Faults, as parts of all calls (0 to 1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Faults {
    /// Added to each call.
    #[serde(with = "milliseconds")]
    pub latency: Duration,
    /// Answered with 503, and not carried out.
    pub errors: f64,
    /// Answered with the service's own word for too many calls, and not carried out.
    pub throttled: f64,
    /// Carried out, and the connection closed without an answer.
    pub dropped: f64,
    /// How long what is new is neither listed nor known to other calls.
    #[serde(with = "milliseconds")]
    pub consistency: Duration,
}

mod milliseconds {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Error,
    Throttled,
    Dropped,
}

impl Faults {
    /// What the worst night may hold: 5 % of the calls fail, 10 % are throttled, 2 % are not answered, and what is new is unknown for 3 s.
    pub fn worst() -> Self {
        Self { latency: Duration::ZERO, errors: 0.05, throttled: 0.1, dropped: 0.02, consistency: Duration::from_secs(3) }
    }

    /// `chance` is the call's draw, 0 to 1.
    pub(super) fn draw(&self, chance: f64) -> Option<Fault> {
        let parts = [(self.errors, Fault::Error), (self.throttled, Fault::Throttled), (self.dropped, Fault::Dropped)];
        let mut bound = 0.0;
        parts.into_iter().find_map(|(part, fault)| {
            bound += part;
            (chance < bound).then_some(fault)
        })
    }
}

/// In the words of the service.
pub(super) fn throttled(service: &str) -> Answer {
    let (status, code) = match service {
        "ec2" => (400, "RequestLimitExceeded"),
        "s3" => (503, "SlowDown"),
        "iam" | "sts" | "rds" | "elasticloadbalancing" | "sns" | "route53" => (400, "Throttling"),
        _ => (400, "ThrottlingException"),
    };
    Answer::refused(service, status, code, WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_part_of_all_draws() {
        let faults = Faults { errors: 0.05, throttled: 0.1, dropped: 0.02, ..Faults::default() };
        let drawn = |chance| faults.draw(chance);
        assert_eq!(
            [drawn(0.04), drawn(0.14), drawn(0.16), drawn(0.18)],
            [Some(Fault::Error), Some(Fault::Throttled), Some(Fault::Dropped), None]
        );
        assert_eq!(Faults::default().draw(0.0), None);
    }
}
