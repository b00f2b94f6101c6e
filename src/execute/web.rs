//! Plain HTTP questions to whoever serves images, charts and AWS, and to an environment's own endpoints: no redirects to elsewhere but a few,
//! no bodies beyond a bound.

use crate::host::is_loopback;
use bytes::Bytes;
use http::header::{HeaderMap, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A chart repository's index may be large; more than this no agent reads either (source-controller's own limit is 50 MiB).
const MOST: usize = 50 * 1024 * 1024;
/// Redirects that are followed.
const HOPS: usize = 5;

type Service = BoxCloneSyncService<Request<Full<Bytes>>, http::Response<hyper::body::Incoming>, BoxError>;

/// Asks.
#[derive(Clone)]
pub(super) struct Web {
    service: Service,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// PEM file with the only certificate authorities that count; those of this machine where absent.
    pub(super) ca: Option<PathBuf>,
    /// Any certificate will do.
    pub(super) insecure: bool,
    /// The name that the certificate must hold, where it is not the URL's host.
    pub(super) name: Option<String>,
}

impl Web {
    /// With the certificates that this machine trusts.
    pub(super) fn new() -> Result<Self, String> {
        Self::trusting(Trust::default())
    }

    /// With other certificates.
    pub(super) fn trusting(trust: Trust) -> Result<Self, String> {
        let mut config = kube::Config::new(Uri::from_static("https://localhost"));
        if let Some(ca) = &trust.ca {
            // Without a certificate in it nobody would be trusted, and every answer would blame the server.
            let pem = std::fs::read_to_string(ca).map_err(|error| format!("{}: {error}", ca.display()))?;
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(format!("{}: holds no certificate (PEM)", ca.display()));
            }
        }
        config.root_cert_file = trust.ca;
        config.accept_invalid_certs = trust.insecure;
        config.tls_server_name = trust.name;
        let connector = config.rustls_https_connector().map_err(|error| error.to_string())?;
        let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
        Ok(Self { service: BoxCloneSyncService::new(client.map_err(BoxError::from)) })
    }

    /// One question; redirects are followed without what proves who we are.
    pub(super) async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        tokio::time::timeout(PATIENCE, self.follow(method, url, headers))
            .await
            .map_err(|_| format!("{} does not answer within {} s", host(url), PATIENCE.as_secs()))?
    }

    async fn follow(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut url = url.to_owned();
        for hop in 0..=HOPS {
            let answer = self.once(method.clone(), &url, if hop == 0 { headers } else { &[] }).await?;
            let next = answer.header(LOCATION).filter(|_| answer.status.is_redirection()).map(|next| absolute(&url, next));
            match next {
                Some(next) => url = next,
                None => return Ok(answer),
            }
        }
        Err(format!("{} redirects more than {HOPS} times", host(&url)))
    }

    /// One question, one answer, whatever it is; the caller bounds it.
    pub(super) async fn once(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(url).header(USER_AGENT, concat!("blackstart/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).map_err(|error| format!("{url}: {error}"))?;
        let failed = |error: &(dyn std::error::Error + 'static)| format!("{} cannot be reached: {}", host(url), root(error));
        let (parts, body) = self.service.clone().oneshot(request).await.map_err(|error| failed(error.as_ref()))?.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(|error| failed(error.as_ref()))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// The innermost cause says what happened.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?']).next().unwrap_or(url)
}

fn absolute(base: &str, next: &str) -> String {
    match base.split_once("://") {
        Some((scheme, rest)) if next.starts_with('/') => format!("{scheme}://{}{next}", rest.split('/').next().unwrap_or_default()),
        _ => next.to_owned(),
    }
}

/// `http` for this machine, `https` for all others.
pub(super) fn scheme(host: &str) -> &'static str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_loopback(name) { "http" } else { "https" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_be_relative() {
        assert_eq!(absolute("https://a.example/charts/index.yaml", "/other"), "https://a.example/other");
        assert_eq!(absolute("https://a.example/x", "https://b.example/y"), "https://b.example/y");
        assert_eq!((scheme("localhost:5000"), scheme("[::1]:5000"), scheme("ghcr.io")), ("http", "http", "https"));
    }
}
