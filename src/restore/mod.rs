//! State: what keeps data, by which rule it comes back, and from which backup. Pure; backups are listed and used by `aws`.
//!
//! ```text
//! claims    the claims of the layers, and what a volume for each must be like
//! volumes   which living volume or snapshot is a claim's, and the volume and PersistentVolume that follow
//! ```
//!
//! Never: a choice between two living volumes, an empty start that nobody allowed.

pub mod claims;
pub mod volumes;

use crate::environment::{Environment, RestoreRule};
use crate::layers::infrastructure::Declared;
use crate::problem::{Origin, Problem};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// A copy of data as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What AWS calls it: `snap-0a1…`, an ARN.
    pub id: String,
    /// What it is, in words: `snapshot`, `automated snapshot`, `on-demand backup`.
    pub what: &'static str,
    /// The time that its data is of.
    pub taken: Timestamp,
    /// AWS' own word where it cannot be used (yet): `pending`, `error`.
    pub unusable: Option<String>,
    /// KMS key that it is encrypted with: ID or ARN.
    pub key: Option<String>,
}

/// Something that keeps data.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a> {
    /// `PersistentVolumeClaim`, `Table`, `DBInstance`, `DBCluster`.
    pub kind: &'a str,
    /// Namespace of its manifest.
    pub namespace: &'a str,
    /// Name of its manifest.
    pub name: &'a str,
    /// Where it is declared.
    pub origin: Option<&'a Origin>,
}

impl std::fmt::Display for Keeper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Cloud resources that backups are kept of.
const KEPT: [(&str, &str); 3] = [("dynamodb", "Table"), ("rds", "DBCluster"), ("rds", "DBInstance")];
/// What is gone with others, and no backup brings back.
const LOST: [(&str, &str, &str); 5] = [
    ("cloudwatchlogs", "LogGroup", "log events"),
    ("ecr", "Repository", "images"),
    ("s3", "Bucket", "objects"),
    ("secretsmanager", "Secret", "value"),
    ("sqs", "Queue", "messages"),
];

/// A cloud resource as something that keeps data; none where it keeps none of its own.
pub fn keeper(declared: &Declared) -> Option<Keeper<'_>> {
    let of_cluster = declared.spec().get("dbClusterIdentifier").is_some() && declared.schema.kind == "DBInstance";
    let keeps = KEPT.contains(&(declared.schema.service, declared.schema.kind)) && !of_cluster;
    keeps.then(|| Keeper {
        kind: declared.schema.kind,
        namespace: declared.resource.namespace().unwrap_or("default"),
        name: declared.resource.name(),
        origin: declared.resource.origin.as_ref(),
    })
}

/// What a new resource lacks of the one that is gone, in a word.
pub fn lost(declared: &Declared) -> Option<&'static str> {
    LOST.iter().find(|(service, kind, _)| *service == declared.schema.service && *kind == declared.schema.kind).map(|(.., what)| *what)
}

/// Whether an entry of `spec.restore` is for it: each field that is given must be the same.
pub fn is_for(matching: &Value, keeper: Keeper<'_>) -> bool {
    let has = |field: &str, value: &str| matching.get(field).and_then(Value::as_str).is_none_or(|wanted| wanted == value);
    has("kind", keeper.kind) && has("namespace", keeper.namespace) && has("name", keeper.name)
}

/// The rule for it: the first of `spec.restore` that matches, else `required`.
pub fn rule(environment: &Environment, keeper: Keeper<'_>) -> RestoreRule {
    let first = environment.spec.restore.iter().find(|restore| is_for(&restore.matching, keeper));
    first.map_or(RestoreRule::Required, |restore| restore.rule.clone())
}

/// The backup that a rule asks for; none where it may start empty, and does.
pub fn choose<'a>(keeper: Keeper<'_>, rule: &RestoreRule, backups: &'a [Backup], place: &str) -> Result<Option<&'a Backup>, Box<Problem>> {
    let until = match rule {
        RestoreRule::Empty => return Ok(None),
        RestoreRule::At(time) => Some(time.parse::<Timestamp>().map_err(|error| {
            let message = format!("{keeper}: `at: {time}` of its restore rule is no time: {error}");
            Box::new(Problem::blocks("restore-time", message).at(keeper.origin.cloned()).hint("write it like 2026-11-20T22:00:00Z"))
        })?),
        RestoreRule::Required | RestoreRule::Newest => None,
    };
    let is_in_time = |backup: &&Backup| until.is_none_or(|until| backup.taken <= until);
    let newest = backups.iter().filter(|backup| backup.unusable.is_none()).filter(is_in_time).max_by_key(|backup| backup.taken);
    match (newest, rule) {
        (Some(backup), _) => Ok(Some(backup)),
        (None, RestoreRule::Newest) => Ok(None),
        (None, _) => Err(Box::new(missing(keeper, until, backups, place))),
    }
}

/// What says that its data is gone.
fn missing(keeper: Keeper<'_>, until: Option<Timestamp>, backups: &[Backup], place: &str) -> Problem {
    let mut message = format!("{keeper}: its data is gone, and {place} holds no usable backup of it");
    if let Some(until) = until {
        let _ = write!(message, " as old as {until}");
    }
    let others: Vec<String> = backups
        .iter()
        .map(|backup| match &backup.unusable {
            Some(word) => format!("{} {} of {} is {word}", backup.what, backup.id, backup.taken),
            None => format!("{} {} is of {}", backup.what, backup.id, backup.taken),
        })
        .collect();
    if !others.is_empty() {
        let _ = write!(message, " ({})", others.join("; "));
    }
    message.push_str("; nothing was written");
    let hint = format!(
        "wait for a backup that is pending, or copy one from where it is. Where it may start empty, say so in blackstart.yaml: \
         spec.restore: [{{match: {{kind: {}, namespace: {}, name: {}}}, rule: empty}}]",
        keeper.kind, keeper.namespace, keeper.name
    );
    Problem::blocks("state-lost", message).at(keeper.origin.cloned()).hint(hint)
}

/// A key that a backup is encrypted with and that AWS is about to delete, or does not use: without it, the backup is noise.
pub fn locked(keeper: Keeper<'_>, backup: &Backup, key: &str, state: &str) -> Problem {
    let message = format!("{keeper}: {} {} is encrypted with KMS key {key}, which is {state}; nothing was written", backup.what, backup.id);
    let command = match state {
        "PendingDeletion" => format!("aws kms cancel-key-deletion --key-id {key} && aws kms enable-key --key-id {key}"),
        _ => format!("aws kms enable-key --key-id {key}"),
    };
    Problem::blocks("state-locked", message).at(keeper.origin.cloned()).hint(format!("save it, then run the same command again: {command}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::environment::Restore;
    use serde_json::json;

    const TABLE: Keeper<'_> = Keeper { kind: "Table", namespace: "shop", name: "orders", origin: None };

    fn backup(id: &str, taken: &str, unusable: Option<&str>) -> Backup {
        Backup { id: id.into(), what: "backup", taken: taken.parse().unwrap(), unusable: unusable.map(str::to_owned), key: None }
    }

    fn all() -> Vec<Backup> {
        vec![
            backup("old", "2026-11-18T00:00:00Z", None),
            backup("new", "2026-11-20T00:00:00Z", None),
            backup("half", "2026-11-21T00:00:00Z", Some("pending")),
        ]
    }

    #[test]
    fn the_newest_that_can_be_used_is_taken_and_none_that_is_pending() {
        let all = all();
        for rule in [RestoreRule::Required, RestoreRule::Newest] {
            assert_eq!(choose(TABLE, &rule, &all, "here").unwrap().unwrap().id, "new");
        }
    }

    #[test]
    fn a_time_takes_the_newest_before_it() {
        let all = all();
        let at = |time: &str| choose(TABLE, &RestoreRule::At(time.into()), &all, "here");
        assert_eq!(at("2026-11-19T12:00:00Z").unwrap().unwrap().id, "old");
        let refused = at("2026-11-17T00:00:00Z").unwrap_err();
        assert_eq!(refused.rule, "state-lost");
        assert!(refused.message.contains("as old as 2026-11-17T00:00:00Z"), "{}", refused.message);
        assert_eq!(at("yesterday").unwrap_err().rule, "restore-time");
    }

    #[test]
    fn only_an_allowed_loss_starts_empty() {
        let pending = &all()[2..];
        assert!(choose(TABLE, &RestoreRule::Newest, pending, "here").unwrap().is_none());
        assert!(choose(TABLE, &RestoreRule::Empty, &all(), "here").unwrap().is_none());
        let refused = choose(TABLE, &RestoreRule::Required, pending, "account 111122223333").unwrap_err();
        insta::assert_snapshot!(refused.message, @"Table shop/orders: its data is gone, and account 111122223333 holds no usable backup of it (backup half of 2026-11-21T00:00:00Z is pending); nothing was written");
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_required_without_any() {
        let mut environment = Environment::named("shop");
        let mut add = |matching: Value, rule| environment.spec.restore.push(Restore { matching, rule, origin: None });
        add(json!({"kind": "Table", "name": "carts"}), RestoreRule::Empty);
        add(json!({"namespace": "shop"}), RestoreRule::Newest);
        assert_eq!(rule(&environment, TABLE), RestoreRule::Newest);
        assert_eq!(rule(&environment, Keeper { name: "carts", ..TABLE }), RestoreRule::Empty);
        assert_eq!(rule(&environment, Keeper { namespace: "other", ..TABLE }), RestoreRule::Required);
    }
}
