//! Secrets and variables of an environment: read as late as possible, all problems at once, values never in a message.

use super::environment::{SecretValues, place};
use crate::environment::{Environment, SecretSource};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// A program that gives a secret may ask a human first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads all secrets of an environment, programs included. `base` is the folder that relative paths start at.
pub async fn secret_values(environment: &Environment, base: &Path) -> Result<SecretValues, Vec<Problem>> {
    let mut values = SecretValues::default();
    let mut problems = Vec::new();
    for secret in &environment.secrets {
        let text = value(&secret.from, base).await.and_then(|bytes| {
            let hint = "a Secret's value of an environment is text; encode it, or let Git hold it encrypted".to_owned();
            std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| ("its value is not UTF-8".to_owned(), hint))
        });
        match text {
            Ok(text) => values.insert(&secret.namespace, &secret.name, &secret.key, text),
            Err((reason, hint)) => {
                let message = format!("secret {}/{}: {reason}", secret.namespace, secret.name);
                problems.push(Problem::blocks("secret-unavailable", message).at(secret.origin.clone()).hint(hint));
            }
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Secrets (entries of one name become one Secret with several keys), then variables, as objects in the environment's order.
pub fn secret_objects(environment: &Environment, values: &SecretValues) -> Vec<Resource> {
    type Key = (String, String, String);
    let mut objects: BTreeMap<Key, Map<String, Value>> = BTreeMap::new();
    let mut order: Vec<(Key, Option<Origin>)> = Vec::new();
    let mut add = |key: Key, origin: &Option<Origin>, data: Vec<(String, Value)>| {
        if !objects.contains_key(&key) {
            order.push((key.clone(), origin.clone()));
        }
        objects.entry(key).or_default().extend(data);
    };
    for secret in &environment.secrets {
        let name = (secret.namespace.clone(), secret.name.clone());
        let Some(value) = values.0.get(&name).and_then(|data| data.get(&secret.key)) else { continue };
        let data = vec![(secret.key.clone(), json!(STANDARD.encode(value.as_bytes())))];
        add(("Secret".to_owned(), name.0, name.1), &secret.origin, data);
    }
    for variables in &environment.variables {
        let encoded = |text: &String| if variables.kind == "Secret" { STANDARD.encode(text) } else { text.clone() };
        let data = variables.data.iter().map(|(name, text)| (name.clone(), json!(encoded(text)))).collect();
        add((variables.kind.clone(), variables.namespace.clone(), variables.name.clone()), &variables.origin, data);
    }
    order
        .into_iter()
        .map(|(key, origin)| {
            let data = objects.remove(&key).unwrap_or_default();
            let (kind, namespace, name) = key;
            let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": namespace, "name": name}, "data": data});
            Resource { value, origin }
        })
        .collect()
}

/// The value of one secret; otherwise why not, and what to do.
async fn value(source: &SecretSource, base: &Path) -> Result<Zeroizing<Vec<u8>>, (String, String)> {
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
