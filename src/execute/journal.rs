//! What a run that is killed leaves behind for the next: the tokens of its create calls, when the last of them was sent, and what it had
//! told of the data.
//!
//! AWS lists a new resource only after a moment. A run that follows a killed one within that moment would not see what it made, and make
//! it twice where AWS has neither a name nor a token to tell. And it would find a bucket there, and not know that its objects were lost.
//! Without the journal (another machine, a lost disk) nothing is lost but that moment's certainty and these words: it is no state file.

use crate::layers::infrastructure::Place;
use crate::report::event::{Fate, State};
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// How long AWS may take to list what a call has made.
pub const DOUBT: Duration = Duration::from_secs(5);
/// Tokens of an older run are not used again: what they made may have been deleted since.
const MEMORY: Duration = Duration::from_secs(3600);
/// What became of the data is told again for a day.
const STORY: Duration = Duration::from_secs(24 * 3600);

/// Of one environment in one account and region.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: String,
    /// When a killed run sent its last create call.
    before: Option<SystemTime>,
    /// What a killed run had told of the data.
    told: Vec<State>,
    /// What this one tells.
    tells: OnceLock<Vec<State>>,
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
        let is_younger = |than: Duration| age.is_some_and(|age| age < than);
        let left = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = left.lines();
        let run = lines.next().filter(|run| !run.is_empty() && is_younger(MEMORY)).map_or_else(new_run, str::to_owned);
        let told = lines.filter(|_| is_younger(STORY)).filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { path, run, before, told, tells: OnceLock::new(), file: OnceLock::new() }
    }

    /// The user's own folder of state.
    pub fn folder() -> Option<PathBuf> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
        let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
        Some(folder.join("blackstart"))
    }

    /// What is there now may be what a killed run made in place of what was lost: then its word holds. All of it is kept for the next run.
    pub fn recall(&self, fates: &mut Vec<State>) {
        for earlier in self.told.iter().filter(|state| state.fate != Fate::Kept) {
            match fates.iter_mut().find(|now| now.state == earlier.state) {
                Some(now) if now.fate == Fate::Kept => *now = earlier.clone(),
                Some(_) => {}
                None => fates.push(earlier.clone()),
            }
        }
        let _ = self.tells.set(fates.clone());
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

    /// No call is under way any more: the tokens are not used again.
    pub fn close(&self) {
        self.leave(|file| self.write("", file));
    }

    /// All is ready: there is nothing to tell to the next run.
    pub fn end(&self) {
        self.leave(|_| Ok(()));
    }

    /// Writes anew what is there already; the time of the last call stays.
    fn leave(&self, content: impl FnOnce(&mut File) -> std::io::Result<()>) {
        let left = || OpenOptions::new().write(true).open(&self.path).ok();
        if let Some(file) = self.file.get_or_init(left) {
            let sent = file.metadata().and_then(|metadata| metadata.modified());
            let mut file = file;
            let _ = file.set_len(0).and_then(|()| file.rewind());
            if let Ok(mut again) = file.try_clone() {
                let _ = content(&mut again);
            }
            if let Ok(sent) = sent {
                let _ = file.set_modified(sent);
            }
        }
    }

    fn write(&self, run: &str, file: &mut File) -> std::io::Result<()> {
        writeln!(file, "{run}")?;
        for state in self.tells.get().unwrap_or(&self.told) {
            writeln!(file, "{}", serde_json::to_string(state)?)?;
        }
        Ok(())
    }

    /// Whole or not at all: what a killed run left is not lost by the next one's death.
    fn create(&self) -> std::io::Result<File> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        self.write(&self.run, file.as_file_mut())?;
        Ok(file.persist(&self.path)?)
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
    fn what_a_killed_run_told_of_the_data_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(folder.path(), &Place::new("111122223333", "eu-west-1"), "shop");
        let state = |name: &str, fate| State { state: format!("Bucket shop/{name}"), fate, source: None, as_of: None, detail: None };
        let killed = open();
        killed.recall(&mut vec![state("receipts", Fate::Lost), state("pictures", Fate::Kept), state("orders", Fate::Restored)]);
        killed.note();
        drop(killed);
        let next = open();
        let mut fates = vec![state("orders", Fate::Kept), state("pictures", Fate::Lost)];
        next.recall(&mut fates);
        let all = vec![state("orders", Fate::Restored), state("pictures", Fate::Lost), state("receipts", Fate::Lost)];
        assert_eq!(fates, all);
        next.note();
        drop(next);
        let third = open();
        assert_eq!(third.told, all);
        third.note();
        third.close();
        assert_eq!(open().told, all, "the cloud resources are ready, the layers are not");
        third.end();
        assert!(open().told.is_empty(), "a run that ended is over");
    }

    #[test]
    fn nothing_is_written_where_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        Journal::open(folder.path(), &Place::new("111122223333", "eu-west-1"), "shop").close();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
