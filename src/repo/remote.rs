//! What a remote has, asked through the user's own `git` and its credentials. Never writes.

mod credentials;

pub use credentials::Credentials;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

/// Why a remote could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// `git` is missing.
    #[error("git: cannot be started: {0}")]
    NoGit(std::io::Error),
    /// It does not answer.
    #[error("{url}: no answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// The remote.
        url: String,
    },
    /// It refuses, or is not there.
    #[error("{url}: cannot be read: {reason}")]
    Refused {
        /// The remote.
        url: String,
        /// git's words.
        reason: String,
    },
}

impl RemoteError {
    /// Whether the remote itself said no; otherwise it was not reached.
    pub fn is_refusal(&self) -> bool {
        const REFUSALS: [&str; 7] =
            ["Authentication failed", "Permission denied", "returned error: 40", "not found", "denied", "Access denied", "could not read"];
        matches!(self, Self::Refused { reason, .. } if REFUSALS.iter().any(|word| reason.contains(word)))
    }
}

/// The commit that a reference of a remote points to; none where it has no such reference.
/// `reference` is a full one, such as `refs/heads/main`; `repository` is where git runs, for its configuration.
pub async fn tip(repository: &Path, url: &str, reference: &str) -> Result<Option<String>, RemoteError> {
    let mut command = Command::new("git");
    command.current_dir(repository).args(["ls-remote", "--exit-code", url, reference, &format!("{reference}^{{}}")]);
    let output = run(command, url).await?;
    if output.status.code() == Some(2) {
        return Ok(None);
    }
    if !output.status.success() {
        return Err(refused(&output, url));
    }
    // The last line is the commit behind an annotated tag, where there is one.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().last().and_then(|line| line.split_whitespace().next()).map(str::to_owned))
}

/// Whether these credentials, and no others of this machine, read a remote.
pub async fn reach(url: &str, credentials: &Credentials) -> Result<(), RemoteError> {
    let mut command = Command::new("git");
    command.args(["ls-remote", url, "HEAD"]).current_dir("/");
    let folder = credentials.give(&mut command).map_err(RemoteError::NoGit)?;
    let output = run(command, url).await?;
    drop(folder);
    if output.status.success() { Ok(()) } else { Err(refused(&output, url)) }
}

async fn run(mut command: Command, url: &str) -> Result<Output, RemoteError> {
    let child = command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, child).await.map_err(|_| RemoteError::Silent { url: url.to_owned() })?.map_err(RemoteError::NoGit)
}

fn refused(output: &Output, url: &str) -> RemoteError {
    let words = String::from_utf8_lossy(&output.stderr);
    // ssh says why before git says that it failed.
    let telling = words.lines().find(|line| line.contains("Permission denied") || line.contains("Host key verification failed"));
    let line = telling.or_else(|| words.lines().find(|line| line.contains("fatal") || line.contains("ERROR"))).or(words.lines().next());
    RemoteError::Refused { url: url.to_owned(), reason: line.unwrap_or_default().trim_start_matches("fatal: ").to_owned() }
}
