//! What stands between the edge and moto in a test: refuses calls whose body or path has a word in it, as AWS would.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Refuses what has `word` in it, with this code; everything where the word is empty. Gives its endpoint.
pub(crate) async fn wall(upstream: &str, word: &'static str, code: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let upstream = upstream.to_owned();
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (upstream, client) = (upstream.clone(), client.clone());
            tokio::spawn(async move {
                let answer = service_fn(|request: hyper::Request<Incoming>| {
                    let (upstream, client) = (upstream.clone(), client.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                        if String::from_utf8_lossy(&body).contains(word) {
                            let signed = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
                            let error = format!("<Error><Code>{code}</Code><Message>refused by the test</Message></Error>");
                            let text = if signed.contains("/ec2/") {
                                format!("<Response><Errors>{error}</Errors></Response>")
                            } else {
                                format!("<ErrorResponse>{error}</ErrorResponse>")
                            };
                            return http::Response::builder()
                                .status(400)
                                .body(Full::new(Bytes::from(text)))
                                .map_err(|error| error.to_string());
                        }
                        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                        let mut forward = http::Request::builder().method(parts.method).uri(format!("{upstream}{path}"));
                        *forward.headers_mut().ok_or("headers")? = parts.headers;
                        let forward = forward.body(Full::new(body)).map_err(|error| error.to_string())?;
                        let (mut parts, body) = client.request(forward).await.map_err(|error| error.to_string())?.into_parts();
                        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
                        parts.headers.remove(http::header::TRANSFER_ENCODING);
                        Ok(http::Response::from_parts(parts, Full::new(body)))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    endpoint
}
