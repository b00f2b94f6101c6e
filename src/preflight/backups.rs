//! Whether each state has something to be restored from.

use super::{Check, Group};
use crate::problem::Origin;

/// One state, as the restore room finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The claim, table or database: `PersistentVolumeClaim shop/data`.
    pub state: String,
    /// What it would be restored from, with its age; none where there is nothing.
    pub newest: Option<String>,
    /// Whether a run stops without one (rule `required`).
    pub required: bool,
    /// What to do where there is none, or where it cannot be used.
    pub fix: Option<String>,
    /// Why it cannot be used although it is there, such as a key that is pending deletion.
    pub unusable: Option<String>,
    /// Where the state is declared.
    pub origin: Option<Origin>,
}

/// What they mean.
pub fn backups(all: &[Backup]) -> Vec<Check> {
    all.iter()
        .map(|backup| {
            let made = match (&backup.newest, &backup.unusable) {
                (Some(newest), None) => Check::ok(Group::Backups, &backup.state, newest),
                (_, Some(why)) => Check::blocker(Group::Backups, &backup.state, why),
                (None, None) if backup.required => {
                    Check::blocker(Group::Backups, &backup.state, "there is no backup, and its rule is `required`")
                }
                (None, None) => Check::warning(Group::Backups, &backup.state, "there is no backup; it comes back empty"),
            };
            let fix = backup.fix.clone().or_else(|| {
                let nothing = backup.newest.is_none() && backup.unusable.is_none() && backup.required;
                nothing.then(|| "make a snapshot, or accept the loss: spec.restore with rule `empty`".to_owned())
            });
            Check { fix, ..made }.at(backup.origin.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_required_state_without_a_backup_stops_a_run() {
        let backup = |newest: Option<&str>, required, unusable: Option<&str>| Backup {
            state: "Table orders".into(),
            newest: newest.map(str::to_owned),
            required,
            fix: None,
            unusable: unusable.map(str::to_owned),
            origin: None,
        };
        let told = backups(&[
            backup(Some("snapshot of 10 minutes ago"), true, None),
            backup(None, true, None),
            backup(None, false, None),
            backup(Some("snapshot"), false, Some("its key is pending deletion")),
        ]);
        let verdicts: Vec<Verdict> = told.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Blocker, Verdict::Warning, Verdict::Blocker]);
        assert!(told[1].fix.as_ref().is_some_and(|fix| fix.contains("`empty`")));
    }
}
