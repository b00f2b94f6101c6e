//! One API call: sent, timed, tried again where that can help, and its answer read or turned into an error.

use super::error::{Again, ClusterError, Status, classify};
use super::{Cluster, Retry};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use kube::client::Body;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// The server's own limit for a request that is not a watch (kube-apiserver `--request-timeout`) is 60 s.
const ATTEMPT: Duration = Duration::from_secs(65);
/// First pause between attempts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause: a control plane that comes back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Attempts where a failure is more likely to be for good.
const A_FEW: u32 = 5;
/// A kind is served a moment after its definition is Established, on each API server on its own.
const SERVED_SOON: Duration = Duration::from_secs(15);

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

/// What a call is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// `Deployment shop/api`, or a kind for lists.
    pub(super) object: &'a (dyn std::fmt::Display + Sync),
    /// apiVersion and kind; empty where a 404 says nothing about the kind.
    pub(super) kind: (&'a str, &'a str),
}

/// A call.
pub(super) struct Call<'a> {
    pub(super) verb: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content: Option<&'static str>,
    pub(super) body: Bytes,
    /// Whether sending it twice does no more than sending it once.
    pub(super) idempotent: bool,
    /// Whether the kind may not be served yet, although it will be.
    pub(super) settling: bool,
    pub(super) subject: Subject<'a>,
}

/// A good answer.
pub(super) struct Answer {
    /// 200 or 201.
    pub(super) code: u16,
    /// The server's clock when it answered, as Unix seconds.
    pub(super) date: Option<i64>,
    /// How long the last attempt took.
    pub(super) took: Duration,
    pub(super) body: Bytes,
}

enum Failure {
    /// Nobody heard it: any call may be sent again.
    NotSent(String),
    /// It may have been heard.
    Broken(String),
    /// The server answered.
    Said(Status),
}

impl Cluster {
    /// Sends a call, again and again where that can help, at most until the patience of this handle ends.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, ClusterError> {
        let start = Instant::now();
        let mut attempts = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            attempts += 1;
            let left = self.patience.saturating_sub(start.elapsed()).max(Duration::from_secs(1));
            let failure = {
                let _turn = self.inner.turns.acquire().await;
                match self.attempt(call, left.min(ATTEMPT)).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                }
            };
            let (again, wait) = match &failure {
                Failure::NotSent(_) => (Again::UntilDeadline, None),
                Failure::Broken(_) if call.idempotent => (Again::UntilDeadline, None),
                Failure::Broken(_) => (Again::Never, None),
                Failure::Said(status) if call.settling && status.kind_is_unknown() && start.elapsed() < SERVED_SOON => {
                    (Again::UntilDeadline, None)
                }
                // 429 is said before anything is done; other failures may come after.
                Failure::Said(status) if !call.idempotent && status.code != 429 => (Again::Never, None),
                Failure::Said(status) => (status.again(), status.retry_after()),
            };
            let wait = wait.unwrap_or_else(|| jitter(pause));
            let goes_on = again == Again::UntilDeadline || (again == Again::AFewTimes && attempts < A_FEW);
            if !goes_on || start.elapsed() + wait >= self.patience {
                return Err(self.give_up(call, failure, again, start.elapsed(), attempts));
            }
            if let Some(listener) = &self.listener {
                listener(&Retry {
                    object: call.subject.object.to_string(),
                    verb: call.verb,
                    error: failure.text(),
                    attempt: attempts,
                    after: wait,
                });
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends a watch: the answer's body is left open.
    pub(super) async fn open(&self, call: &Call<'_>) -> Result<Response<Body>, ClusterError> {
        let request = self.request(call).map_err(|reason| malformed(call, reason))?;
        let response = tokio::time::timeout(ATTEMPT, self.inner.client.send(request))
            .await
            .map_err(|_| self.unreachable("no answer in time".to_owned()))?
            .map_err(|error| self.unreachable(chain(&error)))?;
        let code = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect_bytes().await.unwrap_or_default();
        Err(classify(&Status::read(code, &body), &self.inner.server, call.verb, &call.subject.object.to_string(), call.subject.kind))
    }

    async fn attempt(&self, call: &Call<'_>, limit: Duration) -> Result<Answer, Failure> {
        let start = Instant::now();
        let request = self.request(call).map_err(Failure::Broken)?;
        let exchange =
            async {
                let response =
                    self.inner.client.send(request).await.map_err(|error| {
                        if is_connect(&error) { Failure::NotSent(chain(&error)) } else { Failure::Broken(chain(&error)) }
                    })?;
                let code = response.status().as_u16();
                let date = header(response.headers(), &DATE).and_then(unix_seconds);
                let retry_after = header(response.headers(), &RETRY_AFTER).and_then(|value| value.parse::<u64>().ok());
                let good = response.status().is_success();
                let body = response.into_body().collect_bytes().await.map_err(|error| Failure::Broken(chain(&error)))?;
                if good {
                    return Ok(Answer { code, date, took: start.elapsed(), body });
                }
                let mut status = Status::read(code, &body);
                if let Some(seconds) = retry_after {
                    status.details.get_or_insert_default().retry_after_seconds = seconds;
                }
                Err(Failure::Said(status))
            };
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Broken(format!("no answer within {}s", limit.as_secs()))),
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Body>, String> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(USER_AGENT, HeaderValue::from_static(super::USER_AGENT))
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content) = call.content {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        if let Some(user) = &self.user {
            request = request.header(IMPERSONATE_USER, user.as_ref());
        }
        request.body(Body::from(call.body.clone())).map_err(|error| error.to_string())
    }

    fn give_up(&self, call: &Call<'_>, failure: Failure, again: Again, after: Duration, attempts: u32) -> ClusterError {
        match failure {
            Failure::NotSent(reason) | Failure::Broken(reason) => self.unreachable(reason),
            Failure::Said(status) if again == Again::Never || status.kind_is_unknown() => {
                classify(&status, &self.inner.server, call.verb, &call.subject.object.to_string(), call.subject.kind)
            }
            Failure::Said(status) => {
                ClusterError::GaveUp { object: call.subject.object.to_string(), verb: call.verb, after, attempts, reason: status.message }
            }
        }
    }

    pub(super) fn unreachable(&self, reason: String) -> ClusterError {
        ClusterError::Unreachable { server: self.inner.server.clone(), reason }
    }
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Self::NotSent(text) | Self::Broken(text) => text.clone(),
            Self::Said(status) => format!("{} ({})", status.message, status.code),
        }
    }
}

pub(super) fn malformed(call: &Call<'_>, reason: String) -> ClusterError {
    ClusterError::Malformed { object: call.subject.object.to_string(), verb: call.verb, reason }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_connect(error: &kube::Error) -> bool {
    let kube::Error::Service(inner) = error else { return false };
    inner.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The causes of an error in one line, without repeating what an outer one has said already.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = error.source();
    }
    text
}

/// Half of it, plus a random part of the other half, so that many callers do not come back together.
pub(super) fn jitter(pause: Duration) -> Duration {
    let half = pause / 2;
    let random = std::hash::RandomState::new().build_hasher().finish();
    let span = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % span)
}

/// `Tue, 15 Nov 1994 08:12:31 GMT` (RFC 9110) as Unix seconds.
fn unix_seconds(date: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(date).ok().map(|zoned| zoned.timestamp().as_second())
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("system:node"), "system:node");
        assert_eq!(segment("../x?y"), "..%2Fx%3Fy");
    }

    #[test]
    fn the_servers_clock_is_read() {
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        for _ in 0..100 {
            let pause = jitter(Duration::from_millis(100));
            assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_millis(100));
        }
    }
}
