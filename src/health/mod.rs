//! Is it ready? By rules on the object alone. Pure.
//!
//! - `of` is kstatus as Flux uses it (fluxcd/cli-utils 1.2 `kstatus/status`, fluxcd/pkg runtime `statusreaders` for Jobs),
//!   plus the conditions of ACK; a kind that no rule knows and that says nothing of itself is `Assumed`.
//! - `Expressions` are `healthCheckExprs` (fluxcd/pkg runtime `cel`, Flux RFC 0009); `ready_expr` is `dependsOn.readyExpr`.
//!
//! It never fetches: what kstatus finds out from a workload's pods (crash loops) is not seen here, so such a workload is
//! in progress until its time is over, and its events say the rest.

mod cel;
mod kstatus;
pub mod stuck;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use cel::{Expressions, check_expression, check_ready_expression, ready_expr};

use serde_json::Value;

/// How an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does what it is declared to do.
    Ready,
    /// It may become ready.
    InProgress(String),
    /// It says that it has failed. It may still recover: Flux itself gives up only when nothing else is in progress.
    Failed(String),
    /// It is being deleted.
    Terminating(String),
    /// Nobody says how it is: a kind that no rule knows, without conditions. Counts as ready, and is told as assumed.
    Assumed,
}

impl Health {
    /// Whether it counts as ready.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Assumed)
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::InProgress(message) => write!(f, "in progress: {message}"),
            Self::Failed(message) => write!(f, "failed: {message}"),
            Self::Terminating(message) => write!(f, "being deleted: {message}"),
            Self::Assumed => f.write_str("assumed to be ready"),
        }
    }
}

/// How a living object is.
pub fn of(object: &Value) -> Health {
    kstatus::of(object)
}

/// Kubernetes' own API groups (API reference of v1.36): the kinds in them are known, and those without a rule are ready as
/// soon as they exist.
pub fn is_own_group(group: &str) -> bool {
    matches!(
        group,
        "" | "apps"
            | "batch"
            | "autoscaling"
            | "policy"
            | "extensions"
            | "rbac.authorization.k8s.io"
            | "networking.k8s.io"
            | "storage.k8s.io"
            | "scheduling.k8s.io"
            | "node.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "events.k8s.io"
            | "certificates.k8s.io"
            | "admissionregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "resource.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "authentication.k8s.io"
            | "authorization.k8s.io"
            | "internal.apiserver.k8s.io"
            | "storagemigration.k8s.io"
    )
}
