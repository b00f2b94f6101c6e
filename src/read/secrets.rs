//! Secrets and variables of an environment as objects: read as late as possible, all problems at once, values never in a message.

use crate::environment::{Environment, SecretSource};
use crate::manifest::Resource;
use crate::problem::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// A program that gives a secret may ask a human first.
const PATIENCE: Duration = Duration::from_secs(60);

/// All secrets (entries of one name become one Secret with several keys), then all variables, in the environment's order.
/// `base` is the folder that relative paths start at.
pub async fn secrets(environment: &Environment, base: &Path) -> Result<Vec<Resource>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut objects: BTreeMap<(String, String, String), Map<String, Value>> = BTreeMap::new();
    let mut order = Vec::new();
    for secret in &environment.secrets {
        let name = format!("secret {}/{}", secret.namespace, secret.name);
        match value(&secret.from, base).await {
            Ok(value) => {
                let key = ("Secret".to_owned(), secret.namespace.clone(), secret.name.clone());
                if !objects.contains_key(&key) {
                    order.push((key.clone(), secret.origin.clone()));
                }
                objects.entry(key).or_default().insert(secret.key.clone(), json!(STANDARD.encode(&*value)));
            }
            Err((reason, hint)) => {
                problems.push(Problem::blocks("secret-unavailable", format!("{name}: {reason}")).at(secret.origin.clone()).hint(hint));
            }
        }
    }
    for variables in &environment.variables {
        let key = (variables.kind.clone(), variables.namespace.clone(), variables.name.clone());
        if !objects.contains_key(&key) {
            order.push((key.clone(), variables.origin.clone()));
        }
        let is_secret = variables.kind == "Secret";
        let data = variables.data.iter().map(|(name, text)| (name.clone(), json!(if is_secret { STANDARD.encode(text) } else { text.clone() })));
        objects.entry(key).or_default().extend(data);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(order
        .into_iter()
        .map(|(key, origin)| {
            let data = objects.remove(&key).unwrap_or_default();
            let (kind, namespace, name) = key;
            let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name}, "data": data});
            Resource { value, origin }
        })
        .collect())
}

/// The value of one secret; otherwise why not, and what to do.
pub async fn value(source: &SecretSource, base: &Path) -> Result<Zeroizing<Vec<u8>>, (String, String)> {
    match source {
        SecretSource::File(file) => {
            let path = place(file, base);
            std::fs::read(&path)
                .map(Zeroizing::new)
                .map_err(|error| (format!("file {}: {error}", path.display()), "put the key there, or name another file".to_owned()))
        }
        SecretSource::Env(name) => std::env::var(name)
            .map(|value| Zeroizing::new(value.into_bytes()))
            .map_err(|_| (format!("environment variable {name}: not set"), format!("export {name} before the run"))),
        SecretSource::Command(words) => command(words, base).await,
        SecretSource::SecretsManager(name) => Err((
            format!("AWS Secrets Manager {name}: this version does not read AWS yet"),
            "use `command` with the aws program until it does".to_owned(),
        )),
        SecretSource::Ssm(name) => Err((
            format!("AWS Systems Manager parameter {name}: this version does not read AWS yet"),
            "use `command` with the aws program until it does".to_owned(),
        )),
    }
}

async fn command(words: &[String], base: &Path) -> Result<Zeroizing<Vec<u8>>, (String, String)> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(("command: empty".to_owned(), "give the program and its arguments as a list".to_owned()));
    };
    let hint = format!("run it by hand: {}", words.join(" "));
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(base)
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(PATIENCE, child).await {
        Err(_) => Err((format!("command {program}: no answer within {} s", PATIENCE.as_secs()), hint)),
        Ok(Err(error)) => Err((format!("command {program}: cannot be started: {error}"), hint)),
        Ok(Ok(output)) if !output.status.success() => Err((format!("command {program}: failed ({})", output.status), hint)),
        Ok(Ok(output)) => Ok(Zeroizing::new(output.stdout)),
    }
}

/// `~/` is the home folder, a relative path starts at `base`.
fn place(file: &str, base: &Path) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => base.join(file),
    }
}
