//! What must hold before an environment is brought back, as data: one finding for each thing that was looked at. Pure: `execute::preflight`
//! looks, this says what it means.

mod backups;
pub mod delegation;
pub mod images;
pub mod permissions;
pub mod quotas;
pub mod secrets;

pub use backups::{Backup, backups};

use crate::problem::Origin;
use serde::Serialize;

/// What a finding is about. The order is that of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// What the repository and the environment's file say.
    Repository,
    /// Credentials, account, region, the clock.
    Account,
    /// What the credentials may do.
    Permissions,
    /// Room for what is to be made.
    Quotas,
    /// Names that are taken or held back.
    Names,
    /// Delegation of hosted zones.
    Dns,
    /// Values of the environment's secrets, and what they open.
    Secrets,
    /// The agent's source.
    Source,
    /// Programs.
    Tools,
    /// Something to restore each state from.
    Backups,
    /// Charts.
    Charts,
    /// Images.
    Images,
}

impl Group {
    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Account => "account",
            Self::Permissions => "permissions",
            Self::Quotas => "quotas",
            Self::Names => "names",
            Self::Dns => "DNS",
            Self::Secrets => "secrets",
            Self::Source => "source",
            Self::Tools => "tools",
            Self::Backups => "backups",
            Self::Charts => "charts",
            Self::Images => "images",
        }
    }

    /// Whether it stands against the run as a whole. The others stand against single layers, which the run itself tells, and asking for
    /// them takes longer than a recovery should wait.
    pub fn is_for_the_start(self) -> bool {
        !matches!(self, Self::Dns | Self::Charts | Self::Images)
    }
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A start would fail.
    Blocker,
    /// It may fail, or not come back as it was.
    Warning,
    /// Nobody could tell.
    NotChecked,
    /// It is well.
    Ok,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub group: Group,
    /// The object: `S3 Bucket shop-invoices`, `kustomize`.
    pub name: String,
    /// What it means.
    pub verdict: Verdict,
    /// What was found; for what was not checked: why.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Where it is declared.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

impl Check {
    fn new(group: Group, name: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { group, name: name.into(), verdict, found: found.into(), fix: None, origin: None }
    }

    /// It is well.
    pub fn ok(group: Group, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::Ok, found)
    }

    /// It may go wrong.
    pub fn warning(group: Group, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::Warning, found)
    }

    /// A start would fail.
    pub fn blocker(group: Group, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::Blocker, found)
    }

    /// Nobody could tell, and why.
    pub fn not_checked(group: Group, name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(group, name, Verdict::NotChecked, why)
    }

    /// With what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }
}

/// All findings: what `preflight -o json` prints.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Preflight`.
    pub kind: &'static str,
    /// Environment.
    pub environment: String,
    /// Commit.
    pub revision: String,
    /// How many of each.
    pub blockers: usize,
    /// Of them, warnings.
    pub warnings: usize,
    /// Of them, not checked.
    pub not_checked: usize,
    /// By group, the worst first.
    pub checks: Vec<Check>,
}

impl Preflight {
    /// Sorted, each finding once.
    pub fn new(environment: &str, revision: &str, mut checks: Vec<Check>) -> Self {
        checks.sort_by(|one, other| {
            let key = |check: &Check| (check.group, check.verdict, check.origin.clone(), check.name.clone(), check.found.clone());
            key(one).cmp(&key(other))
        });
        checks.dedup();
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self {
            api_version: "blackstart/v1alpha1",
            kind: "Preflight",
            environment: environment.to_owned(),
            revision: revision.to_owned(),
            blockers: count(Verdict::Blocker),
            warnings: count(Verdict::Warning),
            not_checked: count(Verdict::NotChecked),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_group_comes_first_and_nothing_twice() {
        let checks = vec![
            Check::ok(Group::Tools, "kustomize", "v5"),
            Check::not_checked(Group::Account, "clock", "no answer"),
            Check::blocker(Group::Tools, "sops", "is missing"),
            Check::ok(Group::Tools, "kustomize", "v5"),
        ];
        let all = Preflight::new("shop", "abc", checks);
        let told: Vec<&str> = all.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(told, ["clock", "sops", "kustomize"]);
        assert_eq!((all.blockers, all.warnings, all.not_checked), (1, 0, 1));
    }
}
