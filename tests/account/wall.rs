//! What stands between the edge and moto in a test: answers some calls itself, as AWS would, and lets the others through.

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;

/// A question.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An answer.
pub(crate) fn says(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let answer = headers.iter().fold(Response::builder().status(status), |answer, (name, value)| answer.header(*name, *value));
    answer.body(Full::new(body.into())).unwrap()
}

/// Refuses what has `word` in it, with this code; everything where the word is empty. Gives its endpoint.
pub(crate) async fn wall(upstream: &str, word: &'static str, code: &'static str) -> String {
    serve(Some(upstream), move |asked| {
        if !asked.text().contains(word) {
            return None;
        }
        let error = format!("<Error><Code>{code}</Code><Message>refused by the test</Message></Error>");
        Some(says(
            400,
            &[],
            if asked.header("authorization").contains("/ec2/") {
                format!("<Response><Errors>{error}</Errors></Response>")
            } else {
                format!("<ErrorResponse>{error}</ErrorResponse>")
            },
        ))
    })
    .await
}

/// Answers what it knows; the rest goes to `upstream`, or is 404. Gives its endpoint.
pub(crate) async fn serve(
    upstream: Option<&str>,
    answer: impl Fn(&Asked) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let upstream: Option<Arc<str>> = upstream.map(Into::into);
    let answer = Arc::new(answer);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (upstream, client, answer) = (upstream.clone(), client.clone(), answer.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: hyper::Request<Incoming>| {
                    let (upstream, client, answer) = (upstream.clone(), client.clone(), answer.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
                        let asked = Asked { method: parts.method, path, headers: parts.headers, body };
                        if let Some(known) = answer(&asked) {
                            return Ok::<_, String>(known);
                        }
                        let Some(upstream) = upstream else { return Ok(says(404, &[], "")) };
                        let Asked { method, path, headers, body } = asked;
                        let mut forward = http::Request::builder().method(method).uri(format!("{upstream}{path}"));
                        *forward.headers_mut().ok_or("headers")? = headers;
                        let forward = forward.body(Full::new(body)).map_err(|error| error.to_string())?;
                        let (mut parts, body) = client.request(forward).await.map_err(|error| error.to_string())?.into_parts();
                        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                        parts.headers.remove(http::header::TRANSFER_ENCODING);
                        Ok(Response::from_parts(parts, Full::new(body)))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    endpoint
}
