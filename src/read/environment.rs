//! Finds and loads the environment: the repository's own blackstart.yaml, `environments/NAME.yaml`, or any file.

use super::ReadError;
use crate::environment::{Environment, SecretSource, parse};
use crate::problem::{Problem, nearest};
use crate::render::Keys;
use crate::repo::Repository;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment of a repository. `chosen` is a name or a file; without it the repository's `blackstart.yaml`, else the only file
/// below `environments/`, else one of which nothing is known (its name is filled in by `read`).
pub fn environment(path: &Path, chosen: Option<&str>) -> Result<Environment, ReadError> {
    let repository = Repository::open(path)?;
    let root = repository.root();
    let listed = names(root);
    let file = match chosen {
        Some(name) if Path::new(name).is_file() => PathBuf::from(name),
        Some(name) if root.join("environments").join(format!("{name}.yaml")).is_file() => root.join("environments").join(format!("{name}.yaml")),
        Some(name) => {
            let near = nearest(name, listed.iter().map(String::as_str));
            let hint = match (near.as_slice(), listed.as_slice()) {
                ([], []) => "give a file, or make environments/NAME.yaml".to_owned(),
                ([], listed) => format!("there are: {}", listed.join(", ")),
                (near, _) => format!("did you mean {}?", near.join(", ")),
            };
            let message = format!("environment `{name}`: neither a file nor environments/{name}.yaml in the repository");
            return Err(ReadError::Invalid { problems: vec![Problem::blocks("environment-missing", message).hint(hint)] });
        }
        None if root.join("blackstart.yaml").is_file() => root.join("blackstart.yaml"),
        None => match listed.as_slice() {
            [] => return Ok(Environment::default()),
            [only] => root.join("environments").join(format!("{only}.yaml")),
            several => {
                let message = format!("the repository has several environments: {}", several.join(", "));
                let problem = Problem::blocks("environment-ambiguous", message).hint(format!("choose one: --environment {}", several[0]));
                return Err(ReadError::Invalid { problems: vec![problem] });
            }
        },
    };
    let text = std::fs::read_to_string(&file).map_err(|source| ReadError::File { path: file.clone(), source })?;
    let shown = file.canonicalize().ok().and_then(|file| file.strip_prefix(root).ok().map(Path::to_owned)).unwrap_or_else(|| file.clone());
    parse(&text, &shown.to_string_lossy().replace('\\', "/")).map_err(|problems| ReadError::Invalid { problems })
}

fn names(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("environments")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

/// Values of Secrets that the environment names, by (namespace, name) and key.
#[derive(Clone, Default)]
pub struct SecretValues(pub BTreeMap<(String, String), BTreeMap<String, Zeroizing<String>>>);

impl std::fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SecretValues {
    /// Adds one.
    pub fn insert(&mut self, namespace: &str, name: &str, key: &str, value: Zeroizing<String>) {
        self.0.entry((namespace.to_owned(), name.to_owned())).or_default().insert(key.to_owned(), value);
    }

    /// What can be had on this machine without running or calling anything: files and environment variables. What is absent is left out:
    /// a plan works without it.
    pub fn local(environment: &Environment, base: &Path) -> Self {
        let mut values = Self::default();
        for secret in &environment.secrets {
            let value = match &secret.from {
                SecretSource::File(path) => std::fs::read_to_string(place(path, base)).ok(),
                SecretSource::Env(name) => std::env::var(name).ok(),
                SecretSource::Command(_) | SecretSource::SecretsManager(_) | SecretSource::Ssm(_) => None,
            };
            if let Some(value) = value {
                values.insert(&secret.namespace, &secret.name, &secret.key, Zeroizing::new(value));
            }
        }
        values
    }

    /// Age identities of a decryption Secret: the keys that end with `.agekey`, as kustomize-controller takes them.
    pub fn age_keys(&self, namespace: &str, name: &str) -> Keys {
        let Some(data) = self.0.get(&(namespace.to_owned(), name.to_owned())) else { return Keys::default() };
        let lines = data.iter().filter(|(key, _)| key.ends_with(".agekey")).flat_map(|(_, value)| value.lines());
        Keys(lines.map(str::trim).filter(|line| line.starts_with("AGE-")).map(|line| Zeroizing::new(line.to_owned())).collect())
    }
}

/// A path of an environment file: `~/` is the home folder, a relative one starts at the file's folder.
pub fn place(path: &str, base: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => base.join(path),
    }
}
