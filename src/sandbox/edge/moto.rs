//! The emulator behind the edge: calls are forwarded to it, and it is asked what the edge has to know.

use super::call::{Answer, Asked};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::fmt::Write as _;

/// moto, somewhere on the loopback.
#[derive(Debug)]
pub(super) struct Moto {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Whose account and region a question is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) key: &'a str,
    pub(super) region: &'a str,
}

impl Asked {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { key: &self.key, region: &self.region }
    }
}

impl Moto {
    pub(super) fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Its answer to a call, as it is.
    pub(super) async fn forward(&self, asked: &Asked) -> Result<Answer, String> {
        let path = asked.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = Request::builder().method(asked.method.clone()).uri(format!("{}{path}", self.endpoint));
        if let Some(headers) = request.headers_mut() {
            *headers = asked.headers.clone();
        }
        self.send(request.body(Full::new(asked.body.clone())).map_err(|error| error.to_string())?).await
    }

    /// Asks in the query protocol; `Err` holds its refusal. A question of the edge's own is neither recorded nor faulted.
    pub(super) async fn ask(&self, scope: Scope<'_>, service: &str, action: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let version = match service {
            "ec2" => "2016-11-15",
            "iam" => "2010-05-08",
            "elasticloadbalancing" => "2015-12-01",
            _ => "2011-06-15",
        };
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in fields {
            let _ = write!(body, "&{name}=");
            for byte in value.bytes() {
                let _ = if byte.is_ascii_alphanumeric() { write!(body, "{}", char::from(byte)) } else { write!(body, "%{byte:02X}") };
            }
        }
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0",
            scope.key, scope.region
        );
        let request = Request::post(&self.endpoint)
            .header(http::header::AUTHORIZATION, signed)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())?;
        let answer = self.send(request).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status.is_success() { Ok(text) } else { Err(text) }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let answered = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (mut parts, body) = answered.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        // The body is whole here, and may be changed.
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        parts.headers.remove(http::header::CONTENT_LENGTH);
        Ok(Answer { status: parts.status, headers: parts.headers, body: renamed(body) })
    }
}

/// Roots of moto's answers about buckets, and what S3 calls them; SDKs that read strictly refuse the former.
const ROOTS: &[(&str, &str)] = &[
    ("GetBucketAccelerateConfigurationResponse", "AccelerateConfiguration"),
    ("GetBucketNotificationResponse", "NotificationConfiguration"),
    ("GetBucketVersioningResponse", "VersioningConfiguration"),
];

fn renamed(body: Bytes) -> Bytes {
    let Some(text) = std::str::from_utf8(&body).ok().filter(|text| text.starts_with("<?xml") && text.contains("<GetBucket")) else {
        return body;
    };
    match ROOTS.iter().find(|(root, _)| text.contains(&format!("<{root}"))) {
        Some((root, name)) => text.replace(root, name).into(),
        None => body,
    }
}

/// The texts of all elements of a name; moto's answers have no attributes and no other forms.
pub(super) fn texts<'x>(xml: &'x str, name: &str) -> Vec<&'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(open.as_str()).skip(1).filter_map(|rest| rest.split_once(close.as_str())).map(|(text, _)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_wherever_they_stand() {
        let xml = "<set><item><id>a</id><name>x</name></item><item><id>b</id></item></set>";
        assert_eq!(texts(xml, "id"), ["a", "b"]);
        assert!(texts(xml, "none").is_empty());
    }
}
