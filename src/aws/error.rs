//! What AWS refuses, in one form for all services.

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// A call that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {}{message}", if code.is_empty() { String::new() } else { format!("{code}: ") })]
pub struct CloudError {
    /// Service and operation, such as `ec2 CreateVpc`.
    pub operation: &'static str,
    /// AWS' code, such as `InvalidVpcID.NotFound`; empty where nobody answered.
    pub code: String,
    /// AWS' words, or the chain of causes.
    pub message: String,
    /// What it means for a run.
    pub meaning: Meaning,
}

/// What a failed call means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What is named is not there; just after its creation: not yet.
    Absent,
    /// It is there already.
    Exists,
    /// Too many calls; the client has tried again already.
    Throttled,
    /// A quota of the account.
    Limit,
    /// No permission.
    Denied,
    /// The credentials are expired or wrong.
    Credentials,
    /// Something else still needs or blocks it; may pass.
    Dependency,
    /// No capacity in this zone.
    Capacity,
    /// Nobody answered, or with 5xx.
    Unreachable,
    /// The request is wrong.
    Invalid,
}

impl CloudError {
    /// From an error of the SDK.
    pub fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default().to_owned();
                if code.is_empty() {
                    return Self::wordless(operation, answer.raw());
                }
                let message = answer.err().message().map_or_else(|| answer.err().to_string(), str::to_owned);
                Self { operation, meaning: meaning(&code, &message), code, message }
            }
            other => {
                let message = chain(other);
                let lower = message.to_lowercase();
                let meaning =
                    if lower.contains("credential") || lower.contains("token") { Meaning::Credentials } else { Meaning::Unreachable };
                Self { operation, code: String::new(), message, meaning }
            }
        }
    }

    /// An answer that is not in the service's own words: a proxy, a gateway, a server that is falling over.
    fn wordless(operation: &'static str, answer: &HttpResponse) -> Self {
        let status = answer.status().as_u16();
        let meaning = match status {
            401 | 403 => Meaning::Denied,
            404 => Meaning::Absent,
            429 => Meaning::Throttled,
            500.. => Meaning::Unreachable,
            _ => Meaning::Invalid,
        };
        let text = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).chars().take(200).collect::<String>();
        Self { operation, code: String::new(), message: format!("HTTP {status} {}", text.trim()).trim().to_owned(), meaning }
    }

    /// An answer that cannot be what the API promises.
    pub fn malformed(operation: &'static str, what: &str) -> Self {
        Self { operation, code: String::new(), message: format!("the answer has no {what}"), meaning: Meaning::Invalid }
    }

    /// A declared value that cannot be sent.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self { operation, code: String::new(), message: message.into(), meaning: Meaning::Invalid }
    }

    /// No usable credentials.
    pub fn credentials(operation: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { operation, code: String::new(), message: chain(error), meaning: Meaning::Credentials }
    }

    /// Whether what is named is not there.
    pub fn is_absent(&self) -> bool {
        self.meaning == Meaning::Absent
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.meaning {
            Meaning::Credentials => "log in again (for SSO: aws sso login), then run the same command again: it goes on from what is there",
            Meaning::Denied => "give the role this permission, then run the same command again",
            Meaning::Limit => "ask for a higher quota (Service Quotas) or remove what is not needed, then run the same command again",
            Meaning::Throttled | Meaning::Unreachable => "run the same command again: it goes on from what is there",
            Meaning::Capacity => "name another zone or instance type in Git, or try again later",
            Meaning::Exists | Meaning::Absent | Meaning::Dependency | Meaning::Invalid => return None,
        })
    }
}

/// The answer of a look: none where it is gone.
pub fn or_absent<T>(result: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

fn meaning(code: &str, message: &str) -> Meaning {
    let any = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
    if any(&["Throttl", "RequestLimitExceeded", "TooManyRequests", "SlowDown", "RequestThrottled", "PriorRequestNotComplete"]) {
        Meaning::Throttled
    } else if any(&[
        "ExpiredToken",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "AuthFailure",
        "SignatureDoesNotMatch",
        "RequestExpired",
        "InvalidAccessKeyId",
    ]) {
        Meaning::Credentials
    } else if any(&["AccessDenied", "Unauthorized", "NotAuthorized", "OperationNotPermitted"]) {
        Meaning::Denied
    } else if any(&["InsufficientInstanceCapacity", "InsufficientCapacity", "Unsupported.AvailabilityZone"]) {
        Meaning::Capacity
    } else if any(&["LimitExceeded", "QuotaExceeded", "TooManyBuckets", "ServiceQuota"]) {
        Meaning::Limit
    } else if any(&["NotFound", "NoSuch", "NonExistentQueue", "QueueDoesNotExist", "DoesNotExist", "NoSuchEntity", "Gateway.NotAttached"]) {
        Meaning::Absent
    } else if any(&[
        "AlreadyExists",
        "EntityAlreadyExists",
        "Duplicate",
        "AlreadyOwnedByYou",
        "ResourceInUseException",
        "QueueNameExists",
        "AlreadyAssociated",
        "InvalidSubnet.Conflict",
    ]) {
        Meaning::Exists
    } else if any(&["DependencyViolation", "InUse", "ResourceConflict", "DeleteConflict", "ConcurrentModification", "OperationAborted", "QueueDeletedRecently", "IncorrectState", "InvalidState"])
        || message.contains("scheduled for deletion")
        // A role that is seconds old cannot be assumed yet (EKS, Lambda, EC2 instance profiles).
        || message.contains("cannot be assumed") || message.contains("Invalid principal") || message.contains("Invalid IAM Instance Profile")
    {
        Meaning::Dependency
    } else if any(&["InternalError", "InternalFailure", "ServiceUnavailable", "ServerException", "ServerInternal", "Unavailable"]) {
        Meaning::Unreachable
    } else {
        Meaning::Invalid
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = cause.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_the_same_in_all_services() {
        for (code, expected) in [
            ("InvalidVpcID.NotFound", Meaning::Absent),
            ("NoSuchEntity", Meaning::Absent),
            ("ResourceNotFoundException", Meaning::Absent),
            ("AWS.SimpleQueueService.QueueDeletedRecently", Meaning::Dependency),
            ("VpcLimitExceeded", Meaning::Limit),
            ("RequestLimitExceeded", Meaning::Throttled),
            ("ThrottlingException", Meaning::Throttled),
            ("ExpiredTokenException", Meaning::Credentials),
            ("UnauthorizedOperation", Meaning::Denied),
            ("DependencyViolation", Meaning::Dependency),
            ("EntityAlreadyExists", Meaning::Exists),
            ("ValidationError", Meaning::Invalid),
        ] {
            assert_eq!(meaning(code, ""), expected, "{code}");
        }
    }
}
