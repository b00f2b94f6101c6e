//! Whether each state has something to be restored from.

use super::{Check, Group};
use crate::problem::Origin;

/// One state, as the restore room finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    /// The claim, table or database: `PersistentVolumeClaim shop/data`.
    pub state: String,
    /// Where it lives: `volume vol-0a1… in eu-west-1a`, `lives`; none where it is gone.
    pub living: Option<String>,
    /// What it would be restored from, with its age; none where there is nothing.
    pub newest: Option<String>,
    /// Whether a run stops without one (rule `required`, or a time).
    pub required: bool,
    /// Whether it may be lost (rule `empty`).
    pub empty: bool,
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
            let state = &backup.state;
            let ok = |found: String| Check::ok(Group::Backups, state, found);
            let check = match (&backup.living, &backup.newest) {
                _ if backup.unusable.is_some() => Check::blocker(Group::Backups, state, backup.unusable.clone().unwrap_or_default()),
                (Some(living), Some(newest)) => ok(format!("{living}; its newest backup: {newest}")),
                (Some(living), None) if backup.empty => ok(format!("{living}; it may be lost, as its rule says")),
                (Some(living), None) => Check::warning(Group::Backups, state, format!("{living}; there is no backup of it")),
                (None, Some(newest)) => ok(format!("comes back from {newest}")),
                (None, None) if backup.required => Check::blocker(Group::Backups, state, "there is no backup, and its rule is `required`"),
                (None, None) if backup.empty => ok("begins empty, as its rule says".to_owned()),
                (None, None) => Check::warning(Group::Backups, state, "there is no backup; it comes back empty"),
            };
            let fix = backup.fix.clone().or_else(|| {
                let nothing = backup.newest.is_none() && backup.unusable.is_none() && backup.required;
                nothing.then(|| "make a snapshot, or accept the loss: spec.restore with rule `empty`".to_owned())
            });
            Check { fix, ..check }.at(backup.origin.clone())
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
            unusable: unusable.map(str::to_owned),
            ..Backup::default()
        };
        let told = backups(&[
            backup(Some("snapshot of 10 minutes ago"), true, None),
            backup(None, true, None),
            backup(None, false, None),
            backup(Some("snapshot"), false, Some("its key is pending deletion")),
        ]);
        let verdicts: Vec<Verdict> = told.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Blocker, Verdict::Warning, Verdict::Blocker]);
        let lives = |newest: Option<&str>, empty| Backup { living: Some("lives".into()), empty, ..backup(newest, !empty, None) };
        let told_of_living = backups(&[lives(Some("snapshot"), false), lives(None, false), lives(None, true)]);
        let verdicts: Vec<Verdict> = told_of_living.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Warning, Verdict::Ok], "what lives stops no run");
        assert!(told[1].fix.as_ref().is_some_and(|fix| fix.contains("`empty`")));
    }
}
