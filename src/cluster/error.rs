//! What can go wrong between us and an API server: the object first, then the verb, then the cause, then what to do.

use serde::Deserialize;
use std::time::Duration;

/// An API call that failed for good. `hint` says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig cannot be used (absent file, unknown context, broken certificate, exec plugin that fails).
    #[error("kubeconfig {place}: cannot be used: {reason}")]
    Kubeconfig {
        /// File and context as asked for.
        place: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers, or not in TLS that we trust.
    #[error("API server {server}: not reachable: {reason}")]
    Unreachable {
        /// URL.
        server: String,
        /// The chain of causes.
        reason: String,
    },
    /// The server does not know who we are.
    #[error("API server {server}: it does not accept these credentials: {reason}")]
    Unauthorized {
        /// URL.
        server: String,
        /// The server's words.
        reason: String,
    },
    /// The server knows us and says no.
    #[error("{object}: {verb} is forbidden{}: {reason}", user.as_ref().map(|user| format!(" for {user}")).unwrap_or_default())]
    Forbidden {
        /// The object, or the kind for lists.
        object: String,
        /// Verb, as in RBAC: `get`, `list`, `watch`, `create`, `patch`, `delete`.
        verb: &'static str,
        /// Whom the server took us for, as far as it says.
        user: Option<String>,
        /// The server's words: names the resource and the group.
        reason: String,
    },
    /// The object (or its namespace) is not there.
    #[error("{object}: {verb} failed: {reason}")]
    NotFound {
        /// The object.
        object: String,
        /// Verb.
        verb: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The server has no such kind.
    #[error("{object}: this cluster has no kind {kind} in {api_version}")]
    KindUnknown {
        /// The object, or the kind for lists.
        object: String,
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// A namespaced object that does not say where it belongs; the agent refuses it too.
    #[error("{object}: it declares no namespace, and {kind} is a namespaced kind")]
    NamespaceMissing {
        /// The object.
        object: String,
        /// Kind.
        kind: String,
    },
    /// It exists already (create only).
    #[error("{object}: it exists already")]
    Exists {
        /// The object.
        object: String,
    },
    /// Somebody else changed or owns it.
    #[error("{object}: {verb} conflicts: {reason}")]
    Conflict {
        /// The object.
        object: String,
        /// Verb.
        verb: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The server does not take the object: invalid, denied by a policy, immutable, out of quota.
    #[error("{object}: rejected by the API server ({code}): {reason}")]
    Rejected {
        /// The object.
        object: String,
        /// HTTP status.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// The server fails, and went on failing for as long as we were told to wait.
    #[error("{object}: {verb} failed for {}s, {attempts} attempts: {reason}", after.as_secs())]
    GaveUp {
        /// The object.
        object: String,
        /// Verb.
        verb: &'static str,
        /// How long it was tried.
        after: Duration,
        /// How often.
        attempts: u32,
        /// The last cause.
        reason: String,
    },
    /// A condition that did not come true in time.
    #[error("{object}: not {wanted} after {}s: {last}", after.as_secs())]
    NotInTime {
        /// The object.
        object: String,
        /// What was waited for: `established`, `ready`.
        wanted: String,
        /// How long.
        after: Duration,
        /// The last that was seen of it.
        last: String,
    },
    /// An answer, or an object of ours, that is not what it has to be.
    #[error("{object}: {verb}: not understood: {reason}")]
    Malformed {
        /// The object.
        object: String,
        /// Verb.
        verb: &'static str,
        /// Why.
        reason: String,
    },
}

impl ClusterError {
    /// What to do next, where we can say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Kubeconfig { .. } => {
                "name another file with --kubeconfig or another context with --context; `kubectl config get-contexts` lists them".to_owned()
            }
            Self::Unreachable { server, reason } if reason.contains("certificate") || reason.contains("tls") => {
                format!("the certificate of {server} is not signed by the certificate-authority of the kubeconfig; fetch a new kubeconfig")
            }
            Self::Unreachable { server, .. } => format!("is the cluster up, and are VPN and proxy right? try: curl -k {server}/readyz"),
            Self::Unauthorized { .. } => {
                "the token or certificate in the kubeconfig is expired or belongs to another cluster; log in again".to_owned()
            }
            Self::Forbidden { verb, user, .. } => format!(
                "a run writes every kind that the layers declare, hence needs cluster-admin{}; check: kubectl auth can-i {verb} '*' -A",
                user.as_ref().map(|user| format!(" ({user} has less)")).unwrap_or_default()
            ),
            Self::KindUnknown { kind, .. } => {
                format!(
                    "its CustomResourceDefinition is not in this cluster: a layer that brings {kind} has to come before, or the apiVersion is no longer served"
                )
            }
            Self::NamespaceMissing { .. } => "set metadata.namespace, or spec.targetNamespace of its Kustomization".to_owned(),
            Self::NotFound { reason, .. } if reason.starts_with("namespaces ") => {
                "declare the Namespace in this layer or in one that comes before".to_owned()
            }
            Self::Rejected { reason, .. } if immutable_words(reason) => {
                "a field that cannot change differs; delete the object, or put kustomize.toolkit.fluxcd.io/force: enabled on it".to_owned()
            }
            Self::GaveUp { reason, .. } if webhook_words(reason) => {
                "the backend of an admission webhook does not answer; is the workload behind it ready, or left over from before?".to_owned()
            }
            _ => return None,
        })
    }

    /// Whether the object (or its kind) is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::KindUnknown { .. })
    }

    /// Whether a field that cannot change differs (rule of fluxcd/pkg `ssa/errors`: Conflict, Invalid, or a
    /// message of a webhook or policy that says so). Only meaningful for an object that exists.
    pub fn is_immutable(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Rejected { code, reason, .. } => *code == 422 || immutable_words(reason),
            _ => false,
        }
    }

    /// Whether an admission webhook could not be asked (it did not deny: nobody answered).
    pub fn is_webhook_silent(&self) -> bool {
        matches!(self, Self::GaveUp { reason, .. } | Self::Rejected { reason, .. } if webhook_words(reason))
    }
}

fn immutable_words(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    reason.contains("immutable")
        || reason.contains("may not be changed")
        || reason.contains("cannot be changed")
        || reason.contains("can't be changed")
}

pub(super) fn webhook_words(reason: &str) -> bool {
    reason.contains("failed calling webhook") || reason.contains("conversion webhook for")
}

/// `metav1.Status`, as far as we read it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) message: String,
    pub(super) reason: String,
    pub(super) code: u16,
    pub(super) details: Option<Details>,
}

/// `metav1.StatusDetails`, as far as we read it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    pub(super) kind: String,
    pub(super) causes: Vec<Cause>,
    pub(super) retry_after_seconds: u64,
}

/// `metav1.StatusCause`, as far as we read it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cause {
    pub(super) reason: String,
}

impl Status {
    /// From an answer's body; what is no Status becomes the message.
    pub(super) fn read(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Status>(body) {
            Ok(mut status) if !status.message.is_empty() || !status.reason.is_empty() => {
                if status.code == 0 {
                    status.code = code;
                }
                if status.message.is_empty() {
                    status.message.clone_from(&status.reason);
                }
                status
            }
            _ => {
                let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
                Self { message: if text.is_empty() { format!("HTTP {code}") } else { text }, code, ..Self::default() }
            }
        }
    }

    /// A 404 for the path, not for the name: the kind (or its version) is not served.
    pub(super) fn kind_is_unknown(&self) -> bool {
        self.code == 404 && self.details.as_ref().is_none_or(|details| details.kind.is_empty())
    }

    fn owned_by_another(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "FieldManagerConflict"))
    }

    /// Whether the same call may succeed later.
    pub(super) fn again(&self) -> Again {
        match self.code {
            429 | 503 | 504 => Again::UntilDeadline,
            500 => {
                let message = &self.message;
                if message.starts_with("failed to create typed") {
                    // What does not fit the schema is answered with 500 by server-side apply.
                    Again::Never
                } else if webhook_words(message)
                    || message.contains("etcdserver")
                    || message.contains("leader changed")
                    || self.reason == "Timeout"
                    || self.reason == "ServerTimeout"
                {
                    Again::UntilDeadline
                } else {
                    Again::AFewTimes
                }
            }
            // The server has tried an optimistic update five times itself: a busy object.
            409 if self.reason == "Conflict" && !self.owned_by_another() && self.message.contains("the object has been modified") => {
                Again::AFewTimes
            }
            _ => Again::Never,
        }
    }

    /// Seconds that the server asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }
}

/// Whether and how long to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    AFewTimes,
    UntilDeadline,
}

/// The error for an answer that is final.
pub(super) fn classify(status: &Status, server: &str, verb: &'static str, object: &str, kind: (&str, &str)) -> ClusterError {
    let object = object.to_owned();
    let reason = status.message.clone();
    match status.code {
        401 => ClusterError::Unauthorized { server: server.to_owned(), reason },
        403 if reason.contains(" cannot ") || reason.contains("RBAC") || status.details.is_none() => {
            let user = reason.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map(|(user, _)| user.to_owned());
            ClusterError::Forbidden { object, verb, user, reason }
        }
        404 if status.kind_is_unknown() && !kind.1.is_empty() => {
            ClusterError::KindUnknown { object, api_version: kind.0.to_owned(), kind: kind.1.to_owned() }
        }
        404 | 410 => ClusterError::NotFound { object, verb, reason },
        409 if status.reason == "AlreadyExists" => ClusterError::Exists { object },
        409 => ClusterError::Conflict { object, verb, reason },
        code => ClusterError::Rejected { object, code, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> ClusterError {
        let status = Status::read(0, body.as_bytes());
        classify(&status, "https://x", "patch", "ConfigMap shop/a", ("v1", "ConfigMap"))
    }

    #[test]
    fn forbidden_names_verb_and_user() {
        let error = error(
            r#"{"code":403,"reason":"Forbidden","message":"configmaps \"a\" is forbidden: User \"bob\" cannot patch resource \"configmaps\" in API group \"\" in the namespace \"shop\"","details":{"kind":"configmaps"}}"#,
        );
        assert!(error.to_string().starts_with("ConfigMap shop/a: patch is forbidden for bob: "), "{error}");
        assert!(error.hint().unwrap_or_default().contains("bob"));
    }

    #[test]
    fn a_denial_by_admission_is_a_rejection_not_a_missing_right() {
        let error =
            error(r#"{"code":403,"reason":"Forbidden","message":"pods \"a\" is forbidden: exceeded quota: q","details":{"kind":"pods"}}"#);
        assert!(matches!(error, ClusterError::Rejected { code: 403, .. }));
    }

    #[test]
    fn a_404_without_details_is_an_unknown_kind() {
        assert!(matches!(
            error(r#"{"code":404,"reason":"NotFound","message":"the server could not find the requested resource","details":{}}"#),
            ClusterError::KindUnknown { .. }
        ));
        assert!(matches!(
            error(
                r#"{"code":404,"reason":"NotFound","message":"namespaces \"shop\" not found","details":{"name":"shop","kind":"namespaces"}}"#
            ),
            ClusterError::NotFound { .. }
        ));
    }

    #[test]
    fn a_silent_webhook_and_a_moving_etcd_are_tried_until_the_deadline() {
        for message in ["Internal error occurred: failed calling webhook \"x\": connection refused", "etcdserver: leader changed"] {
            assert_eq!(Status { code: 500, message: message.to_owned(), ..Status::default() }.again(), Again::UntilDeadline);
        }
        assert_eq!(Status { code: 500, message: "boom".to_owned(), ..Status::default() }.again(), Again::AFewTimes);
        assert_eq!(
            Status { code: 500, message: "failed to create typed patch object".to_owned(), ..Status::default() }.again(),
            Again::Never
        );
        assert_eq!(Status { code: 422, ..Status::default() }.again(), Again::Never);
    }

    #[test]
    fn what_is_no_status_becomes_the_message() {
        assert_eq!(Status::read(502, b"<html>bad gateway").message, "<html>bad gateway");
        assert_eq!(Status::read(502, b"").message, "HTTP 502");
    }
}
