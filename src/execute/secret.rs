//! Secret values, asked for when they are needed: from this machine, from a program, from AWS.

use super::Below;
use crate::aws::{Cloud, CloudError};
use crate::environment::SecretSource;
use crate::layers::outputs::{self, Output};
use crate::manifest::Resource;
use crate::read::{self, Unavailable};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::Path;
use zeroize::Zeroizing;

/// Why a value of AWS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// This machine, or a program of it.
    #[error(transparent)]
    Here(#[from] Unavailable),
    /// AWS.
    #[error("{0}")]
    There(#[from] CloudError),
    /// There is no account to ask.
    #[error("AWS: blackstart.yaml names no account (spec.aws)")]
    NoAccount,
}

impl Missing {
    /// Whether it may still appear.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::There(error) => error.is_absent(),
            Self::NoAccount => false,
        }
    }
}

/// A secret value; `base` is the folder of the environment's file.
pub async fn fetch(source: &SecretSource, base: &Path, cloud: Option<&Cloud>) -> Result<Zeroizing<String>, Missing> {
    match source {
        SecretSource::SecretsManager(name) => Ok(cloud.ok_or(Missing::NoAccount)?.secret(name).await?),
        SecretSource::Ssm(name) => Ok(cloud.ok_or(Missing::NoAccount)?.parameter(name).await?),
        local => {
            let (source, base) = (local.clone(), base.to_owned());
            let stopped = |_| Unavailable { what: "this machine".to_owned(), why: "reading was stopped".to_owned() };
            Ok(tokio::task::spawn_blocking(move || read::local(&source, &base)).await.map_err(stopped)??)
        }
    }
}

/// An object of the environment with the values that its marks stand for. In a rehearsal, what AWS holds is made up.
pub(super) async fn complete(mut object: Resource, below: Option<&Below>, rehearsal: bool) -> Result<Resource, String> {
    let is_secret = object.kind() == "Secret";
    let Some(data) = object.value.get_mut("data").and_then(Value::as_object_mut) else { return Ok(object) };
    for value in data.values_mut() {
        let Some(output) = value.as_str().and_then(|text| outputs::in_text(text).into_iter().next()) else { continue };
        let text = match read::held_by_aws(&output) {
            Some(source) => match fetch(&source, Path::new(""), below.and_then(|below| below.cloud.as_deref())).await {
                Err(_) if rehearsal => Zeroizing::new("stand-in".to_owned()),
                text => text.map_err(|error| format!("{} cannot be had: {error}", output.variable))?,
            },
            None => Zeroizing::new(outputs::paste(&output.mark(), |output| given(below, output))),
        };
        if outputs::is_open(&text) {
            return Err(unknown(&output));
        }
        *value = if is_secret { STANDARD.encode(text.as_bytes()).into() } else { text.as_str().into() };
    }
    Ok(object)
}

/// What the storey below gives so far.
pub(super) fn given(below: Option<&Below>, output: &Output) -> Option<Value> {
    output.of(&below?.progress.made(&output.node)?.outputs).cloned()
}

/// An object of a layer with all values that it waits for.
pub(super) fn filled(object: &Value, below: Option<&Below>) -> Result<Value, String> {
    let filled = outputs::fill(object, |output| given(below, output))?;
    match outputs::outputs(&filled).first() {
        Some(output) => Err(unknown(output)),
        None => Ok(filled),
    }
}

/// Why a value that something waits for cannot be given.
pub(super) fn unknown(output: &Output) -> String {
    format!("{} is not known: {} gives no {}", output.variable, output.node.trim_start_matches("aws/"), output.field)
}
