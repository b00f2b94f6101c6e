//! A call as it comes in, by the names that people know, and an answer in the words of its service's protocol.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One call as it came in.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// A request with what its signature and its protocol say of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Access key that signed it.
    pub(super) key: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) operation: String,
}

impl Asked {
    /// Service and operation: JSON protocols name the operation in a header, query protocols in the body, REST ones by method and path.
    pub(super) fn new(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // Credential=KEY/DATE/REGION/SERVICE/aws4_request
        let scope = text("authorization").and_then(|value| value.split_once("Credential=")?.1.split(',').next());
        let mut scope = scope.unwrap_or("unknown/0/unknown/unknown").split('/').map(str::to_owned);
        let (key, _, region) = (scope.next().unwrap_or_default(), scope.next(), scope.next().unwrap_or_default());
        let service = scope.next().unwrap_or_default();
        let target = text("x-amz-target").and_then(|target| target.rsplit('.').next()).map(str::to_owned);
        let mut asked = Self { method, uri, headers, body, key, region, service, operation: String::new() };
        asked.operation = target
            .or_else(|| asked.form("Action"))
            .or_else(|| (asked.service == "eks").then(|| super::eks::operation(&asked)).flatten())
            .unwrap_or_else(|| format!("{} {}", asked.method, asked.uri.path()));
        asked
    }

    /// Whether it could change anything.
    pub(super) fn writes(&self) -> bool {
        let reads = ["Get", "List", "Describe", "Head", "Lookup", "Simulate", "BatchGet"];
        let by_name = reads.iter().any(|verb| self.operation.starts_with(verb));
        !by_name && !(self.operation.contains(' ') && (self.method == Method::GET || self.method == Method::HEAD))
    }

    /// A field of a query protocol's body.
    pub(super) fn form(&self, name: &str) -> Option<String> {
        self.forms().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All fields of a query protocol's body.
    pub(super) fn forms(&self) -> impl Iterator<Item = (String, String)> {
        let text = std::str::from_utf8(&self.body).ok().filter(|text| !text.starts_with(['{', '<'])).unwrap_or_default();
        pairs(text)
    }

    /// The body of a JSON protocol.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// `a=b&c=d`, decoded.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(&key.replace('+', " ")), decoded(&value.replace('+', " ")))
    })
}

/// Without percent signs.
pub(super) fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let byte = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok())).flatten();
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { status, headers, body: value.to_string().into() }
    }

    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(text.as_bytes()) }
    }

    /// A refusal in the words of the service's protocol.
    pub(super) fn refused(service: &str, status: u16, code: &str, message: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut answer = match service {
            "ec2" => Self::text(
                status,
                &format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>0</RequestID></Response>"
                ),
            ),
            "s3" => Self::text(status, &format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")),
            "iam" | "sts" | "rds" | "elasticloadbalancing" | "sns" | "route53" => Self::text(
                status,
                &format!("<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"),
            ),
            _ => Self::json(status, &json!({"__type": code, "message": message})),
        };
        if let Ok(code) = HeaderValue::from_str(code) {
            answer.headers.insert("x-amzn-errortype", code);
        }
        answer
    }

    pub(super) fn into_response(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, headers: &HeaderMap, body: &str) -> Asked {
        Asked::new(method, Uri::from_static("/clusters/a"), headers.clone(), Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn operations_have_their_names_in_all_protocols() {
        let mut headers = HeaderMap::new();
        let signed = |service: &str| {
            HeaderValue::from_str(&format!("AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host"))
        };
        headers.insert("authorization", signed("sqs").expect("a header"));
        let query = asked(Method::POST, &headers, "Version=1&Action=DescribeVpcs&Name=a%2Fb+c");
        assert_eq!((query.service.as_str(), query.region.as_str(), query.key.as_str()), ("sqs", "eu-west-1", "A"));
        assert_eq!(query.operation, "DescribeVpcs");
        assert_eq!(query.form("Name").as_deref(), Some("a/b c"));
        assert!(!query.writes());
        let rest = asked(Method::GET, &headers, "");
        assert_eq!(rest.operation, "GET /clusters/a");
        assert!(!rest.writes() && asked(Method::PUT, &headers, "").writes());
        headers.insert("authorization", signed("eks").expect("a header"));
        assert_eq!(asked(Method::GET, &headers, "").operation, "DescribeCluster");
        headers.insert("x-amz-target", HeaderValue::from_static("AmazonSQS.CreateQueue"));
        let target = asked(Method::POST, &headers, "{}");
        assert!(target.operation == "CreateQueue" && target.writes());
    }
}
