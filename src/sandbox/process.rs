//! Processes that cannot outlive their owner.
//!
//! All components of a sandbox are started by one thread, its keeper. Each goes through our own binary (`sandbox exec`), which makes itself
//! the leader of a session, asks the kernel to be killed when the keeper's thread ends (`PR_SET_PDEATHSIG`, which survives `exec`), and
//! becomes the component. So a component dies with the owner whatever kills that, even `kill -9`, without a supervising process.

use super::SandboxError;
use super::state::ProcessId;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// What to start.
pub(super) struct Launch {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(&'static str, String)>,
    /// Working folder.
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
}

/// A component that was started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: &'static str,
    pub(super) process: ProcessId,
    pub(super) log: PathBuf,
    exited: watch::Receiver<Option<String>>,
}

impl Running {
    /// Ends it at once; nothing in a sandbox is worth a graceful end.
    pub(super) fn kill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Waits until it has ended, bounded.
    pub(super) async fn gone(&self) -> bool {
        let mut exited = self.exited.clone();
        tokio::time::timeout(Duration::from_secs(10), exited.wait_for(Option::is_some)).await.is_ok()
    }

    /// Ends when the component does, which is always an error: with its last words.
    pub(super) async fn failed(&self) -> SandboxError {
        let mut exited = self.exited.clone();
        let status = exited.wait_for(Option::is_some).await.ok().and_then(|status| status.clone()).unwrap_or_else(|| "ended".to_owned());
        SandboxError::Exited { component: self.name, status, log: self.log.clone(), last: last_words(&self.log) }
    }
}

/// The last lines of a log, for an error message.
pub(super) fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].iter().map(|line| line.chars().take(400).collect::<String>()).collect::<Vec<_>>().join("\n")
}

/// The thread that starts all components; they die when it ends.
pub(super) struct Keeper {
    requests: std::sync::mpsc::Sender<(Launch, oneshot::Sender<Result<Running, SandboxError>>)>,
}

impl Keeper {
    /// `launcher`: a blackstart binary, for its verb `sandbox exec`.
    pub(super) fn new(launcher: PathBuf) -> Result<Self, SandboxError> {
        let (requests, inbox) = std::sync::mpsc::channel::<(Launch, oneshot::Sender<Result<Running, SandboxError>>)>();
        std::thread::Builder::new()
            .name("sandbox-keeper".to_owned())
            .spawn(move || {
                while let Ok((launch, reply)) = inbox.recv() {
                    let _ = reply.send(start(&launcher, launch));
                }
            })
            .map_err(|source| SandboxError::Io { what: "keeper thread".to_owned(), source })?;
        Ok(Self { requests })
    }

    /// Starts a component.
    pub(super) async fn start(&self, launch: Launch) -> Result<Running, SandboxError> {
        let name = launch.name;
        let (reply, answer) = oneshot::channel();
        let stopped = || SandboxError::Io { what: format!("{name}: start"), source: std::io::Error::other("keeper thread has ended") };
        self.requests.send((launch, reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn start(launcher: &Path, launch: Launch) -> Result<Running, SandboxError> {
    let failed = |source| SandboxError::Io { what: format!("{}: start ({})", launch.name, launch.program.display()), source };
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&launch.log).map_err(failed)?;
    let mut child = Command::new(launcher)
        .args(["sandbox", "exec", "--parent", &std::process::id().to_string(), "--"])
        .arg(&launch.program)
        .args(&launch.args)
        .current_dir(&launch.folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(launch.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let process = ProcessId::of(child.id()).unwrap_or(ProcessId { pid: child.id(), start: 0 });
    let (exit, exited) = watch::channel(None);
    std::thread::Builder::new()
        .name(format!("wait-{}", launch.name))
        .stack_size(64 * 1024)
        .spawn(move || {
            let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            let _ = exit.send(Some(status));
        })
        .map_err(failed)?;
    Ok(Running { name: launch.name, process, log: launch.log, exited })
}

/// The hidden verb `sandbox exec`: becomes `command`, bound to the life of the thread that started it. Returns only with an error.
pub fn become_component(parent: u32, command: &[String]) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    let Some((program, args)) = command.split_first() else { return std::io::Error::other("no command") };
    let _ = rustix::process::setsid();
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The owner may have died before the kernel was told.
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get().unsigned_abs() != parent) {
        return std::io::Error::other("the owner of the sandbox is gone");
    }
    Command::new(program).args(args).exec()
}
