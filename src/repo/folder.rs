//! Private folders: in memory where the machine has `/dev/shm`, readable by nobody else, gone when the process is.

use super::RepoError;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of mode 0700 that is removed when the last owner drops it.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);
const MEMORY: &str = "/dev/shm";
const PREFIX: &str = "blackstart-files-";

impl PrivateFolder {
    /// Makes one, after removing those that dead processes of the same user left.
    pub fn new() -> Result<Self, RepoError> {
        let parent = parent();
        if COUNTER.load(Ordering::Relaxed) == 0 {
            sweep(&parent);
        }
        let process = std::process::id();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The random part keeps another user of the machine from taking the name first.
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{process}-{}-{number}-", started(process).unwrap_or(0)))
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|source| RepoError::Folder { path: parent.clone(), source })?;
        let path = folder.keep();
        Ok(Self { path: path.canonicalize().unwrap_or(path) })
    }

    /// Whether it lies in memory, so that nothing in it reaches a disk.
    pub fn in_memory(&self) -> bool {
        self.path.starts_with(MEMORY)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next start.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn parent() -> PathBuf {
    let memory = Path::new(MEMORY);
    let writable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    if writable { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes what processes left that are gone, or whose number another process has now.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let mut parts = rest.split('-');
        let (Some(process), Some(start)) = (number(parts.next()), number(parts.next())) else { continue };
        let alive = u32::try_from(process).is_ok_and(|process| match started(process) {
            Some(now) => now == start,
            None => start == 0 && exists(process),
        });
        if !alive {
            // Another user's folder cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

/// Start time of a process in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).
fn started(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the command in brackets and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn exists(process: u32) -> bool {
    i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|process| rustix::process::test_kill_process(process).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_private_and_goes_with_its_owner() {
        let folder = PrivateFolder::new().expect("a folder");
        let path = folder.path().to_owned();
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let dead = parent.path().join(format!("{PREFIX}4194999-12-0-abc"));
        let me = std::process::id();
        let reused = parent.path().join(format!("{PREFIX}{me}-1-0-abc"));
        let alive = parent.path().join(format!("{PREFIX}{me}-{}-0-abc", started(me).unwrap_or(0)));
        for folder in [&dead, &reused, &alive] {
            std::fs::create_dir(folder).expect("made");
        }
        sweep(parent.path());
        assert!(!dead.exists() && alive.exists());
        assert!(!reused.exists() || started(me).is_none());
    }
}
