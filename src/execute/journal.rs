//! What a run that is killed leaves behind for the next: the tokens of its create calls, and when the last of them was sent.
//!
//! AWS lists a new resource only after a moment. A run that follows a killed one within that moment would not see what it made, and make
//! it twice where AWS has neither a name nor a token to tell. Without the journal (another machine, a lost disk) nothing is lost but that
//! moment's certainty: it is no state file.

use crate::layers::infrastructure::Place;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// How long AWS may take to list what a call has made.
pub const DOUBT: Duration = Duration::from_secs(5);
/// Tokens of an older run are not used again: what they made may have been deleted since.
const MEMORY: Duration = Duration::from_secs(3600);

/// Of one environment in one account and region.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: String,
    /// When a killed run sent its last create call.
    before: Option<SystemTime>,
    file: OnceLock<Option<File>>,
}

/// Name of a run that nobody had before.
pub fn new_run() -> String {
    format!("{}-{}", jiff::Timestamp::now(), std::process::id())
}

impl Journal {
    /// Reads what a killed run left in `folder`; writes nothing yet.
    pub fn open(folder: &Path, place: &Place, environment: &str) -> Self {
        let name: String = environment.chars().map(|letter| if letter.is_alphanumeric() || letter == '-' { letter } else { '_' }).collect();
        let path = folder.join(format!("{}-{}-{name}.journal", place.account, place.region));
        let before = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        let age = before.and_then(|time| time.elapsed().ok());
        let left = std::fs::read_to_string(&path).ok().filter(|run| !run.is_empty() && age.is_some_and(|age| age < MEMORY));
        Self { path, run: left.unwrap_or_else(new_run), before, file: OnceLock::new() }
    }

    /// In the user's own folder of state.
    pub fn of_user(place: &Place, environment: &str) -> Option<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
        let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
        Some(Self::open(&folder.join("blackstart"), place, environment))
    }

    /// What client tokens are made of: the killed run's own, while one may be there.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Waits until what the last run made is listed.
    pub async fn settle(&self) {
        let age = self.before.and_then(|time| time.elapsed().ok()).unwrap_or(DOUBT);
        tokio::time::sleep(DOUBT.saturating_sub(age)).await;
    }

    /// A create call is about to be sent. That the disk is full or read-only is no reason to stop a recovery.
    pub fn note(&self) {
        if let Some(file) = self.file.get_or_init(|| self.create().ok()) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// The run is over, and nothing is under way: its tokens are not used again.
    pub fn close(&self) {
        let left = || OpenOptions::new().write(true).open(&self.path).ok();
        if let Some(file) = self.file.get_or_init(left) {
            // The time of the last call stays.
            let sent = file.metadata().and_then(|metadata| metadata.modified());
            let _ = file.set_len(0);
            if let Ok(sent) = sent {
                let _ = file.set_modified(sent);
            }
        }
    }

    fn create(&self) -> std::io::Result<File> {
        std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(self.run.as_bytes())?;
        Ok(file)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_killed_run_are_used_again_and_those_of_an_ended_one_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(folder.path(), &Place::new("111122223333", "eu-west-1"), "shop/eu");
        let first = open();
        assert!(first.before.is_none());
        first.note();
        let run = first.run().to_owned();
        drop(first);
        let second = open();
        assert_eq!(second.run(), run);
        assert!(second.before.is_some(), "its last call is remembered");
        second.note();
        second.close();
        let third = open();
        assert_ne!(third.run(), run);
        assert!(third.before.is_some());
    }

    #[test]
    fn nothing_is_written_where_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        Journal::open(folder.path(), &Place::new("111122223333", "eu-west-1"), "shop").close();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
