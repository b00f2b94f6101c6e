//! What can go wrong: the object first, then what failed, why, and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox's own AWS refuses its stand-ins.
    #[error("sandbox's AWS: {cause}")]
    Account {
        /// What it says.
        cause: String,
    },
    /// A file or process call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done to what.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No folder for files of this user.
    #[error("sandbox: no folder for its files: neither HOME nor {variable} is set to an absolute path")]
    NoHome {
        /// The XDG variable.
        variable: &'static str,
    },
    /// A program is neither on PATH nor in the cache.
    #[error("{component}: not found on PATH, in KUBEBUILDER_ASSETS or in the cache; build it once with `blackstart sandbox install`")]
    Missing {
        /// Its name.
        component: &'static str,
    },
    /// No Go toolchain to build with.
    #[error(
        "go: not found on PATH; it builds the sandbox's components once. Install it: apt-get install golang-go (1.26 or later), or https://go.dev/dl"
    )]
    NoGo,
    /// Python is not at hand.
    #[error("python3: not found on PATH; the sandbox's AWS needs it. Install it: apt-get install python3 python3-pip (3.10 or later)")]
    NoPython,
    /// A build failed.
    #[error("{component}: build failed:\n{last}")]
    Build {
        /// Name and version.
        component: String,
        /// Last lines of the compiler.
        last: String,
    },
    /// Certificates could not be made.
    #[error("sandbox credentials: {0}")]
    Credentials(#[from] rcgen::Error),
    /// A component ended while it was needed.
    #[error("{component}: ended ({status}); log {log}:\n{last}", log = log.display())]
    Exited {
        /// Its name.
        component: &'static str,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// Last lines of the log.
        last: String,
    },
    /// Something did not become ready in time.
    #[error("{what}: not ready after {} s; log {log}:\n{last}", patience.as_secs(), log = log.display())]
    TimedOut {
        /// What was awaited.
        what: String,
        /// For how long.
        patience: Duration,
        /// Log of the component that is responsible.
        log: PathBuf,
        /// Its last lines.
        last: String,
    },
    /// The API of the sandbox refused something.
    #[error("{object}: {verb} in the sandbox failed: {source}")]
    Api {
        /// Which object.
        object: String,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The kubeconfig that was just written cannot be read.
    #[error("sandbox kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The name is taken.
    #[error("sandbox {id}: is already running (process {pid}); use another --name, or `blackstart sandbox down {id}`")]
    Running {
        /// Its name.
        id: String,
        /// Its owner.
        pid: u32,
    },
    /// The name cannot be a folder's.
    #[error("sandbox {id}: not a usable name; letters, digits, - and _ only, at most 63")]
    Name {
        /// The name.
        id: String,
    },
    /// No such sandbox.
    #[error("sandbox {id}: there is none of this name; `blackstart sandbox status` lists them")]
    Unknown {
        /// The name.
        id: String,
    },
    /// It has no AWS.
    #[error("sandbox {id}: it has no AWS; `blackstart sandbox up --cloud` starts one that has")]
    NoCloud {
        /// The name.
        id: String,
    },
    /// No name was given, and not exactly one sandbox with an AWS runs.
    #[error("sandbox: {found}; name the one that is meant: `blackstart sandbox status` lists them")]
    WhichCloud {
        /// What there is.
        found: String,
    },
    /// A process does not go.
    #[error("{component}: process {pid} is still there 10 s after it was killed")]
    Survives {
        /// Which component.
        component: String,
        /// Its pid.
        pid: u32,
    },
}
