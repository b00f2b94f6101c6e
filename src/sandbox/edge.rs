//! What stands in front of the AWS emulator: every call is recorded, and faults are added that an emulator leaves out.

use super::SandboxError;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// One call as it came in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// When.
    pub time: jiff::Timestamp,
    /// Service, as it signs: `ec2`.
    pub service: String,
    /// Operation: `CreateVpc`; method and path where the protocol has no names.
    pub operation: String,
    /// Whether it could change anything.
    pub writes: bool,
    /// What was answered; 0 where the connection was dropped.
    pub status: u16,
}

/// Faults, as parts of all calls (0 to 1).
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Added to each call.
    pub latency: Duration,
    /// Answered with 503, and not carried out.
    pub errors: f64,
    /// Answered with the service's own word for too many calls, and not carried out.
    pub throttled: f64,
    /// Carried out, and the connection closed without an answer.
    pub dropped: f64,
}

/// A running edge; ends with its owner.
#[derive(Debug)]
pub struct Edge {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Faults>,
    dice: Mutex<fastrand::Rng>,
}

impl Edge {
    /// Stands in front of `upstream` (`http://127.0.0.1:PORT`) on a free port; the same seed gives the same faults to the same calls in a row.
    pub async fn start(upstream: &str, seed: u64) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io { what: "edge".to_owned(), source };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            dice: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { port, shared, task })
    }

    /// Where all services answer.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// All calls so far; forgotten with this.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, shared.clone()));
            // A client that goes away is no trouble of ours.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// An error here closes the connection without an answer.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, String> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let (service, operation) = named(&parts.method, parts.uri.path(), &parts.headers, &body);
    let faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let chance = shared.dice.lock().unwrap_or_else(PoisonError::into_inner).f64();
    tokio::time::sleep(faults.latency).await;
    let writes = !is_read(&parts.method, &operation);
    let record = |status: u16| {
        let call = Call { time: jiff::Timestamp::now(), service: service.clone(), operation: operation.clone(), writes, status };
        shared.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    };
    if chance < faults.errors {
        record(503);
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "fault of the sandbox"));
    }
    if chance < faults.errors + faults.throttled {
        record(400);
        return Ok(throttled(&service));
    }
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut forward = Request::builder().method(parts.method).uri(format!("{}{path}", shared.upstream));
    if let Some(headers) = forward.headers_mut() {
        *headers = parts.headers;
    }
    let forward = forward.body(Full::new(body)).map_err(|error| error.to_string())?;
    let answered = shared.client.request(forward).await.map_err(|error| error.to_string())?;
    let (parts, body) = answered.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if chance < faults.errors + faults.throttled + faults.dropped {
        record(0);
        return Err("dropped".to_owned());
    }
    record(parts.status.as_u16());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    // The body is whole here.
    response.headers_mut().remove(http::header::TRANSFER_ENCODING);
    Ok(response)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// In the words of the service's protocol.
fn throttled(service: &str) -> Response<Full<Bytes>> {
    let (status, text) = match service {
        "ec2" => (400, "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>fault of the sandbox</Message></Error></Errors><RequestID>0</RequestID></Response>"),
        "s3" => (503, "<Error><Code>SlowDown</Code><Message>fault of the sandbox</Message></Error>"),
        "iam" | "sts" | "rds" | "elasticloadbalancing" | "sns" | "route53" => {
            (400, "<ErrorResponse><Error><Code>Throttling</Code><Message>fault of the sandbox</Message></Error></ErrorResponse>")
        }
        _ => (400, r#"{"__type":"ThrottlingException","message":"fault of the sandbox"}"#),
    };
    let mut response = plain(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), text);
    response.headers_mut().insert("x-amzn-errortype", http::HeaderValue::from_static("ThrottlingException"));
    response
}

/// Service and operation: JSON protocols name the operation in a header, query protocols in the body, REST ones by method and path.
fn named(method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let service = text("authorization").and_then(|value| value.split_once("Credential=")?.1.split('/').nth(3)).unwrap_or("unknown").to_owned();
    let target = text("x-amz-target").and_then(|target| target.rsplit('.').next()).map(str::to_owned);
    let action = || {
        let body = std::str::from_utf8(body).ok()?;
        body.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned)
    };
    let operation = target.or_else(action).unwrap_or_else(|| format!("{method} {path}"));
    (service, operation)
}

fn is_read(method: &Method, operation: &str) -> bool {
    let by_name = ["Get", "List", "Describe", "Head", "Lookup", "Simulate", "BatchGet"].iter().any(|verb| operation.starts_with(verb));
    by_name || operation.contains(' ') && (method == Method::GET || method == Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_their_names_in_all_protocols() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", http::HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/sqs/aws4_request, Signed…"));
        let of = |headers: &HeaderMap, method: Method, body: &str| named(&method, "/clusters/a", headers, body.as_bytes());
        assert_eq!(of(&headers, Method::POST, "Version=1&Action=DescribeVpcs"), ("sqs".into(), "DescribeVpcs".into()));
        assert_eq!(of(&headers, Method::GET, "").1, "GET /clusters/a");
        headers.insert("x-amz-target", http::HeaderValue::from_static("AmazonSQS.CreateQueue"));
        assert_eq!(of(&headers, Method::POST, "{}").1, "CreateQueue");
        assert!(is_read(&Method::POST, "DescribeVpcs") && is_read(&Method::GET, "GET /clusters/a"));
        assert!(!is_read(&Method::POST, "CreateQueue") && !is_read(&Method::POST, "POST /clusters"));
    }
}
