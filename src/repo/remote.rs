//! What a remote has, asked through the user's own `git` and its credentials. Never writes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

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

/// The commit that a reference of a remote points to; none where it has no such reference.
/// `reference` is a full one, such as `refs/heads/main`; `repository` is where git runs, for its configuration.
pub async fn tip(repository: &Path, url: &str, reference: &str) -> Result<Option<String>, RemoteError> {
    let child = tokio::process::Command::new("git")
        .current_dir(repository)
        .args(["ls-remote", "--exit-code", url, reference, &format!("{reference}^{{}}")])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, child)
        .await
        .map_err(|_| RemoteError::Silent { url: url.to_owned() })?
        .map_err(RemoteError::NoGit)?;
    if output.status.code() == Some(2) {
        return Ok(None);
    }
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let reason =
            words.lines().find(|line| line.contains("fatal") || line.contains("ERROR")).or(words.lines().next()).unwrap_or_default();
        return Err(RemoteError::Refused { url: url.to_owned(), reason: reason.trim_start_matches("fatal: ").to_owned() });
    }
    // The last line is the commit behind an annotated tag, where there is one.
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().last().and_then(|line| line.split_whitespace().next()).map(str::to_owned))
}
