//! What the sandbox's own verbs and its API server ask of the edge: faults, calls, tokens. On a path that only the sandbox's owner knows.

use super::call::{Answer, Asked, Call};
use super::eks::review;
use super::faults::Faults;
use super::{Shared, lock};
use crate::sandbox::SandboxError;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

pub(super) const PATH: &str = "_blackstart";

/// The last part of the path, where the rest of it is right.
pub(super) fn question<'a>(asked: &'a Asked, secret: &str) -> Option<&'a str> {
    asked.uri.path().strip_prefix('/')?.strip_prefix(PATH)?.strip_prefix('/')?.strip_prefix(secret)?.strip_prefix('/')
}

pub(super) async fn answer(question: &str, asked: &Asked, shared: &Shared) -> Answer {
    let value = match question {
        "token-review" => review(&shared.eks, &shared.moto, &shared.keys, &asked.json()).await,
        "calls" => json!(*lock(&shared.calls)),
        "faults" if asked.method == Method::POST => match serde_json::from_slice::<Faults>(&asked.body) {
            Ok(faults) => {
                shared.set_faults(faults);
                json!({})
            }
            Err(error) => return Answer::text(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        "faults" => json!(*lock(&shared.faults)),
        _ => return Answer::text(StatusCode::NOT_FOUND, "no such question"),
    };
    Answer::json(StatusCode::OK, &value)
}

/// The edge of a running sandbox, from another process.
#[derive(Clone, Debug)]
pub struct Control {
    base: String,
}

impl Control {
    /// At the address in the sandbox's state.
    pub fn new(base: String) -> Self {
        Self { base }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Where kube-apiserver asks about tokens.
    pub fn token_review(&self) -> String {
        format!("{}/token-review", self.base)
    }

    /// Every call so far.
    pub async fn calls(&self) -> Result<Vec<Call>, SandboxError> {
        self.ask(Method::GET, "calls", String::new()).await
    }

    /// Faults as they are set.
    pub async fn faults(&self) -> Result<Faults, SandboxError> {
        self.ask(Method::GET, "faults", String::new()).await
    }

    /// Faults from now on.
    pub async fn set_faults(&self, faults: &Faults) -> Result<(), SandboxError> {
        let _: serde_json::Value = self.ask(Method::POST, "faults", json!(faults).to_string()).await?;
        Ok(())
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, method: Method, question: &str, body: String) -> Result<T, SandboxError> {
        let failed = |error: &dyn std::fmt::Display| SandboxError::Io {
            what: "edge of the sandbox".to_owned(),
            source: std::io::Error::other(error.to_string()),
        };
        let request = Request::builder().method(method).uri(format!("{}/{question}", self.base)).body(Full::new(bytes::Bytes::from(body)));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request.map_err(|error| failed(&error))?).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        if !status.is_success() {
            return Err(failed(&String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }
}
