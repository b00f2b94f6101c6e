//! What is known of each sandbox on disk: `$XDG_STATE_HOME/blackstart/sandboxes/<id>/state.json` and `logs/<component>.log`.
//!
//! A process is known by pid **and** start time, so that a reused pid is never taken for one of ours. Everything secret (keys, kubeconfigs,
//! etcd's data) stands in a private folder on tmpfs that the state names before it exists: whatever a dead run left can be found and removed.

use super::SandboxError;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that cannot be mistaken for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// When it started: clock ticks since the machine's boot (field 22 of `/proc/<pid>/stat`, proc(5)).
    pub start: u64,
}

impl ProcessId {
    /// The process that has this pid now; none where there is none (or only its remains).
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so fields are counted from its end: the next one is field 3.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid, start: fields.nth(18)?.parse().ok()? })
    }

    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self::of(pid).unwrap_or(Self { pid, start: 0 })
    }

    /// Whether exactly this process lives.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A handle that stays on this process even when its pid is used again; none where it is gone.
    fn handle(self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(i32::try_from(self.pid).ok()?)?, PidfdFlags::NONBLOCK).ok()?;
        // Looked at after the handle was taken: the handle is then on the very process that was looked at.
        self.alive().then_some(handle)
    }

    /// Sends a signal, if it still lives.
    pub fn signal(self, signal: Signal) {
        if let Some(handle) = self.handle() {
            let _ = pidfd_send_signal(handle, signal);
        }
    }

    /// Waits until it is gone; false where it is still there after `patience`.
    pub async fn gone(self, patience: Duration) -> bool {
        let Some(handle) = self.handle() else { return true };
        // A pidfd becomes readable when its process ends (pidfd_open(2)).
        let wait = move || {
            let mut list = [PollFd::new(&handle, PollFlags::IN)];
            poll(
                &mut list,
                Some(&Timespec { tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: patience.subsec_nanos().into() }),
            )
        };
        matches!(tokio::task::spawn_blocking(wait).await, Ok(Ok(1..)))
    }
}

/// One process of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Component {
    /// Its name, such as `etcd`.
    pub name: String,
    /// The process.
    #[serde(flatten)]
    pub process: ProcessId,
    /// The loopback port that it listens on, where it has one that matters.
    pub port: Option<u16>,
    /// What it writes.
    pub log: PathBuf,
}

/// AWS of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudState {
    /// Where all services answer.
    pub endpoint: String,
    /// Its account.
    pub account: String,
    /// Region for whoever names none.
    pub region: String,
    /// A credentials file as AWS programs read it, in the private folder.
    pub credentials: PathBuf,
    /// Where the edge's own questions are answered (see [`super::edge::Control`]).
    pub control: String,
}

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `blackstart/v1alpha1`.
    pub api_version: String,
    /// `Sandbox`.
    pub kind: String,
    /// Its name.
    pub id: String,
    /// When it was begun.
    pub created: Timestamp,
    /// The process that holds it; when it dies, the components die.
    pub owner: ProcessId,
    /// Whether it has become ready.
    pub ready: bool,
    /// Folder on tmpfs, readable by its user alone: keys, kubeconfigs, etcd's data.
    pub private: PathBuf,
    /// Kubeconfig for its users.
    pub kubeconfig: PathBuf,
    /// Port of the artifact server.
    pub artifacts: Option<u16>,
    /// Its AWS, where it has one.
    pub cloud: Option<CloudState>,
    /// Its processes.
    pub components: Vec<Component>,
}

impl State {
    /// The folder of this sandbox.
    pub fn folder(&self) -> Result<PathBuf, SandboxError> {
        Ok(root()?.join(&self.id))
    }

    /// Whether nobody holds it any more.
    pub fn dead(&self) -> bool {
        !self.owner.alive()
    }

    /// Writes `state.json` in one step.
    pub(super) fn save(&self, folder: &Path) -> Result<(), SandboxError> {
        let failed = |source| SandboxError::Io { what: format!("state {}", folder.display()), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let fresh = folder.join(".state.json");
        write_private(&fresh, &text).map_err(failed)?;
        std::fs::rename(&fresh, folder.join("state.json")).map_err(failed)
    }
}

/// Where all sandboxes of this user are listed.
pub fn root() -> Result<PathBuf, SandboxError> {
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or(SandboxError::NoHome { variable: "XDG_STATE_HOME" })?;
    Ok(base.join("blackstart/sandboxes"))
}

/// A folder from the environment; the XDG specification says that relative paths are to be ignored.
pub(super) fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Every sandbox that is running or that a dead run left, by name.
pub fn list() -> Result<Vec<State>, SandboxError> {
    let root = root()?;
    let entries = match std::fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SandboxError::Io { what: format!("state folder {}", root.display()), source }),
    };
    let mut states: Vec<State> = entries
        .flatten()
        .filter_map(|entry| serde_json::from_slice(&std::fs::read(entry.path().join("state.json")).ok()?).ok())
        .filter(|state: &State| valid_id(&state.id))
        .collect();
    states.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(states)
}

/// Whether a name can be a folder's name and nothing else.
pub(super) fn valid_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 63
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Ends what is left of a sandbox and removes its files.
pub(super) async fn remove(state: &State) -> Result<(), SandboxError> {
    for component in &state.components {
        component.process.signal(Signal::KILL);
    }
    for component in &state.components {
        if !component.process.gone(Duration::from_secs(10)).await {
            return Err(SandboxError::Survives { component: component.name.clone(), pid: component.process.pid });
        }
    }
    // The private folder is ours only under this name; a state file that says otherwise is not believed.
    if state.private.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PRIVATE_PREFIX)) {
        remove_folder(&state.private)?;
    }
    // Out of the list first: a removal that is cut short is then finished by the next sweep.
    let folder = state.folder()?;
    let doomed = folder.with_file_name(format!("{UNNAMED_PREFIX}{}", random()?));
    match std::fs::rename(&folder, &doomed) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::Io { what: format!("removing {}", folder.display()), source })
        }
        _ => remove_folder(&doomed),
    }
}

/// Removes what dead runs left; gives their names.
pub async fn sweep() -> Result<Vec<String>, SandboxError> {
    let mut removed = Vec::new();
    for state in list()?.into_iter().filter(State::dead) {
        remove(&state).await?;
        removed.push(state.id);
    }
    sweep_unnamed()?;
    Ok(removed)
}

/// Removes state folders that have no name yet or no longer, and whose owner died over them.
fn sweep_unnamed() -> Result<(), SandboxError> {
    for entry in std::fs::read_dir(root()?).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(UNNAMED_PREFIX) {
            continue;
        }
        let state: Option<State> = std::fs::read(entry.path().join("state.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        // Without a state it may be one that is being written at this moment.
        if state.map_or(age > Duration::from_secs(60), |state| state.dead()) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<(), SandboxError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::Io { what: format!("removing {}", folder.display()), source })
        }
        _ => Ok(()),
    }
}

/// Of state folders that have no name yet, or no longer.
pub(super) const UNNAMED_PREFIX: &str = ".part-";
const PRIVATE_PREFIX: &str = "blackstart-";

/// The private folder's path: on tmpfs where there is one, so that keys never reach a disk.
/// Short, since a socket's path has 107 bytes (unix(7)).
pub(super) fn private_folder() -> Result<PathBuf, SandboxError> {
    let base = [Some(PathBuf::from("/dev/shm")), absolute("XDG_RUNTIME_DIR")]
        .into_iter()
        .flatten()
        .find(|folder| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok())
        .unwrap_or_else(std::env::temp_dir);
    Ok(base.join(format!("{PRIVATE_PREFIX}{}", random()?)))
}

/// 128 random bits, in hex.
pub(super) fn random() -> Result<String, SandboxError> {
    use std::io::Read as _;
    let mut bytes = [0u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|source| SandboxError::Io { what: "/dev/urandom".to_owned(), source })?;
    Ok(hex(&bytes))
}

/// In lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A folder that only its user can enter.
pub(super) fn make_private(folder: &Path) -> Result<(), SandboxError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| SandboxError::Io { what: format!("folder {}", folder.display()), source })
}

/// A file that only its user can read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let me = ProcessId::current();
        assert!(me.alive());
        assert!(!ProcessId { start: me.start + 1, ..me }.alive());
    }

    #[tokio::test]
    async fn a_killed_process_is_seen_to_go() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        id.signal(Signal::KILL);
        assert!(id.gone(Duration::from_secs(5)).await);
        child.wait().unwrap();
        assert!(!id.alive());
    }

    #[test]
    fn a_name_never_leads_out_of_the_state_folder() {
        assert!(valid_id("rehearsal-1"));
        for bad in ["", ".", "..", "a/b", ".new", "-x"] {
            assert!(!valid_id(bad), "{bad}");
        }
    }
}
