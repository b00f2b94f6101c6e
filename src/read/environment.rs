//! Finds and loads the environment: the repository's own blackstart.yaml, `environments/NAME.yaml`, or any file.

use super::ReadError;
use crate::environment::{Command, Environment, Given, Secret, SecretSource, parse};
use crate::layers::outputs::Output;
use crate::manifest::{Resource, yaml};
use crate::problem::{Origin, Problem, nearest};
use crate::render::{Keyring, Keys, program};
use crate::repo::{Commit, Repository};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// The environment of a repository. `chosen` is a name or a file; without it `blackstart.yaml`, else the only file in `environments/`,
/// else one of which nothing is known. Both are looked for in PATH and the folders above it, up to the top of the repository.
/// `region`: as it is in that one, where that is not its own.
pub fn environment(path: &Path, chosen: Option<&str>, region: Option<&str>) -> Result<Environment, ReadError> {
    let environment = at_home(path, chosen)?;
    let Some(region) = region else { return Ok(environment) };
    environment.in_region(region).map_err(|problem| ReadError::Invalid { problems: vec![*problem] })
}

fn at_home(path: &Path, chosen: Option<&str>) -> Result<Environment, ReadError> {
    let repository = Repository::open(path)?;
    let root = repository.root();
    let is_file = chosen.is_some_and(|chosen| Path::new(chosen).is_file());
    if let Some(head) = repository.head().filter(|_| repository.is_bare() && !is_file) {
        return committed(&repository, &head, chosen);
    }
    let Some(file) = choose(&folders(&repository), chosen)? else { return Ok(Environment::default()) };
    let text = std::fs::read_to_string(&file).map_err(|source| ReadError::File { path: file.clone(), source })?;
    let file = file.canonicalize().unwrap_or(file);
    let shown = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
    let mut environment = parse(&text, &shown).map_err(|problems| ReadError::Invalid { problems })?;
    environment.base = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok(environment)
}

/// The environment of a repository that has no working tree, as HEAD has it.
fn committed(repository: &Repository, head: &Commit, chosen: Option<&str>) -> Result<Environment, ReadError> {
    let listed: Vec<String> = listed(repository, head);
    let own = "blackstart.yaml".to_owned();
    let file = match chosen {
        Some(name) if listed.iter().any(|known| known == name) => format!("environments/{name}.yaml"),
        Some(name) => return Err(unknown(name, &listed)),
        None if repository.text_at(&head.id, Path::new(&own)).is_some() => own,
        None => match listed.as_slice() {
            [] => return Ok(Environment::default()),
            [only] => format!("environments/{only}.yaml"),
            several => return Err(ambiguous(several)),
        },
    };
    let text = repository.text_at(&head.id, Path::new(&file)).unwrap_or_default();
    let mut environment = parse(&text, &file).map_err(|problems| ReadError::Invalid { problems })?;
    // What a path in it means: a place in the Git folder, and so most likely nothing.
    environment.base = repository.root().join(Path::new(&file).parent().unwrap_or(Path::new("")));
    Ok(environment)
}

fn listed(repository: &Repository, head: &Commit) -> Vec<String> {
    called(repository.names_at(&head.id, Path::new("environments")))
}

/// Names of environments by their files, sorted.
fn called(files: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = files.into_iter().filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

fn unknown(name: &str, listed: &[String]) -> ReadError {
    let near = nearest(name, listed.iter().map(String::as_str));
    let hint = match (near.as_slice(), listed) {
        ([], []) => "give a file, or make environments/NAME.yaml".to_owned(),
        ([], listed) => format!("there are: {}", listed.join(", ")),
        (near, _) => format!("did you mean {}?", near.join(", ")),
    };
    let message = format!("environment `{name}`: neither a file nor environments/{name}.yaml in the repository");
    ReadError::Invalid { problems: vec![Problem::blocks("environment-missing", message).hint(hint)] }
}

fn ambiguous(several: &[String]) -> ReadError {
    let message = format!("the repository has several environments: {}", several.join(", "));
    let problem = Problem::blocks("environment-ambiguous", message).hint(format!("choose one: --environment {}", several[0]));
    ReadError::Invalid { problems: vec![problem] }
}

/// Names of all environments in `environments/` of PATH or the folders above it, up to the top of the repository.
pub fn environments(path: &Path) -> Result<Vec<String>, ReadError> {
    let repository = Repository::open(path)?;
    if let Some(head) = repository.head().filter(|_| repository.is_bare()) {
        return Ok(listed(&repository, &head));
    }
    Ok(folders(&repository).iter().map(|folder| names(folder)).find(|names| !names.is_empty()).unwrap_or_default())
}

/// PATH and the folders above it.
fn folders(repository: &Repository) -> Vec<PathBuf> {
    let root = repository.root();
    root.join(repository.inside()).ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect()
}

fn choose(folders: &[PathBuf], chosen: Option<&str>) -> Result<Option<PathBuf>, ReadError> {
    let named =
        |name: &str| folders.iter().map(|folder| folder.join("environments").join(format!("{name}.yaml"))).find(|file| file.is_file());
    let listed = folders.iter().map(|folder| names(folder)).find(|names| !names.is_empty()).unwrap_or_default();
    if let Some(name) = chosen {
        if let Some(file) = Some(PathBuf::from(name)).filter(|file| file.is_file()).or_else(|| named(name)) {
            return Ok(Some(file));
        }
        return Err(unknown(name, &listed));
    }
    if let Some(file) = folders.iter().map(|folder| folder.join("blackstart.yaml")).find(|file| file.is_file()) {
        return Ok(Some(file));
    }
    match listed.as_slice() {
        [] => Ok(None),
        [only] => Ok(named(only)),
        several => Err(ambiguous(several)),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("environments")) else { return Vec::new() };
    called(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()))
}

/// Where the values of secrets are that AWS holds, as nodes of their marks.
const SECRETS_MANAGER: &str = "secretsmanager";
const SSM: &str = "ssm";

/// Values of Secrets that the environment names, by (namespace, name) and key.
#[derive(Clone, Default)]
pub struct SecretValues {
    values: BTreeMap<(String, String), BTreeMap<String, Zeroizing<String>>>,
    /// Credentials of AWS, for what its keys have encrypted and no Secret says how; as environment variables.
    aws: Vec<(&'static str, Zeroizing<String>)>,
    /// Keyrings that were made, by Secret.
    rings: Rings,
}

/// Keyrings by namespace and name of their Secret.
type Rings = Arc<Mutex<BTreeMap<(String, String), Arc<Keyring>>>>;

impl std::fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl SecretValues {
    /// Adds one.
    pub fn insert(&mut self, namespace: &str, name: &str, key: &str, value: Zeroizing<String>) {
        self.values.entry((namespace.to_owned(), name.to_owned())).or_default().insert(key.to_owned(), value);
    }

    /// By (namespace, name).
    pub(super) fn iter(&self) -> impl Iterator<Item = (&(String, String), &BTreeMap<String, Zeroizing<String>>)> {
        self.values.iter()
    }

    /// With credentials of AWS, as environment variables of its own programs.
    #[must_use]
    pub fn with_aws(self, aws: Vec<(&'static str, Zeroizing<String>)>) -> Self {
        Self { aws, ..self }
    }

    /// What reading needs and this machine has: files, environment variables, and the programs that give keys for decryption. What is
    /// absent is left out: a plan works without it. `self` has what was fetched from elsewhere.
    pub(super) fn and_local(mut self, environment: &Environment) -> Self {
        for secret in &environment.spec.secrets {
            let needed = !matches!(secret.from, SecretSource::Command(_)) || is_for_decryption(&secret.key);
            if let (true, Ok(value)) = (needed, value(secret, environment)) {
                self.insert(&secret.namespace, &secret.name, &secret.key, value);
            }
        }
        self
    }

    /// What kustomize-controller takes from a decryption Secret (`internal/decryptor`): `.agekey` for age, `.asc` for PGP, `sops.aws-kms` for
    /// AWS; without a Secret, the credentials at hand.
    pub(crate) fn keys(&self, secret: Option<(&str, &str)>) -> Keys {
        let mut keys = Keys { aws: self.aws.clone(), ..Keys::default() };
        let Some((namespace, name)) = secret else { return keys };
        let id = (namespace.to_owned(), name.to_owned());
        let Some(data) = self.values.get(&id) else { return keys };
        let lines = data.iter().filter(|(key, _)| is_kind(key, "agekey")).flat_map(|(_, value)| value.lines());
        keys.age = lines.map(str::trim).filter(|line| line.starts_with("AGE-")).map(|line| Zeroizing::new(line.to_owned())).collect();
        let armoured: Vec<&str> = data.iter().filter(|(key, _)| is_kind(key, "asc")).map(|(_, value)| value.as_str()).collect();
        if !armoured.is_empty() {
            let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
            keys.pgp = Some(rings.entry(id).or_insert_with(|| Arc::new(Keyring::new(&armoured))).clone());
        }
        if let Some(text) = data.get("sops.aws-kms") {
            keys.aws = of_aws(text);
        }
        keys
    }
}

/// Whether a key of a Secret has this ending, as kustomize-controller reads it.
fn is_kind(key: &str, ending: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, last)| last == ending)
}

/// Whether a key of a Secret is one that decrypts.
pub fn is_for_decryption(key: &str) -> bool {
    is_kind(key, "agekey") || is_kind(key, "asc") || key == "sops.aws-kms"
}

/// The credentials in `sops.aws-kms` (kustomize-controller `internal/sops/awskms`), as AWS' own environment variables.
fn of_aws(text: &str) -> Vec<(&'static str, Zeroizing<String>)> {
    const NAMES: [(&str, &str); 3] = [
        ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ("aws_session_token", "AWS_SESSION_TOKEN"),
    ];
    let document = yaml::documents(text).ok().and_then(|documents| documents.into_iter().next());
    let text = |key: &str| document.as_ref().and_then(|document| document.value.get(key)?.as_str()).unwrap_or_default().to_owned();
    // An empty session token hides that of the user.
    NAMES.into_iter().map(|(key, name)| (name, Zeroizing::new(text(key)))).collect()
}

/// Why the value of a secret cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Unavailable {
    /// Where it should come from.
    pub what: String,
    /// Why it did not.
    pub why: String,
}

/// The value of one secret.
fn value(secret: &Secret, environment: &Environment) -> Result<Zeroizing<String>, ReadError> {
    local(&secret.from, &environment.base).map_err(|Unavailable { what, why }| ReadError::Secret {
        secret: format!("{}/{}", secret.namespace, secret.name),
        what,
        why,
    })
}

/// A secret value that this machine has; `base` is the folder of the environment's file.
pub fn local(source: &SecretSource, base: &Path) -> Result<Zeroizing<String>, Unavailable> {
    let failed = |what: String, why: String| Unavailable { what, why };
    match source {
        SecretSource::File(path) => {
            let path = place(path, base);
            std::fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| failed(path.display().to_string(), error.to_string()))
        }
        SecretSource::Env(name) => {
            std::env::var(name).map(Zeroizing::new).map_err(|_| failed(format!("environment variable {name}"), "is not set".to_owned()))
        }
        SecretSource::Command(words) => {
            let (name, arguments) = words.split_first().map(|(name, rest)| (name.as_str(), rest)).unwrap_or_default();
            let program = if name.contains('/') { Some(place(name, base)) } else { program::find(name) };
            let program = program.ok_or_else(|| failed(format!("program {name}"), "was not found on PATH".to_owned()))?;
            let output =
                program::run(&program, arguments, &[], None).map_err(|error| failed(format!("program {name}"), error.to_string()))?;
            let text =
                Zeroizing::new(String::from_utf8(output.stdout).map_err(|_| failed(format!("program {name}"), "gave no text".to_owned()))?);
            if !output.success {
                let why = output.stderr.lines().last().unwrap_or("failed without a word").to_owned();
                return Err(failed(format!("program {name}"), why));
            }
            // Programs end their output with a line break that is not part of the secret.
            Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
        }
        SecretSource::SecretsManager(name) => {
            Err(failed(format!("secret {name} of Secrets Manager"), "AWS is asked in a run only".to_owned()))
        }
        SecretSource::Ssm(name) => Err(failed(format!("parameter {name} of Systems Manager"), "AWS is asked in a run only".to_owned())),
    }
}

/// All that the environment puts into the cluster before the agent starts: its secrets, with their values, and its variables.
/// Every value that cannot be had is a problem of its own. What AWS holds or a provider gives is a mark, replaced when the object is written.
pub async fn secrets(environment: &Environment) -> Result<Vec<Resource>, ReadError> {
    let environment = environment.clone();
    let given = tokio::task::spawn_blocking(move || given(&environment)).await.map_err(|_| ReadError::Stopped)?;
    given.map_err(|problems| ReadError::Invalid { problems })
}

fn unavailable(secret: &Secret, error: &ReadError) -> Problem {
    let hint = match &secret.from {
        SecretSource::File(_) => "put the file there, or correct spec.secrets.from.file (a relative path starts at the environment's file)",
        SecretSource::Env(_) => "set the variable for this command",
        SecretSource::Command(_) => "run the command by hand to see what it says",
        SecretSource::SecretsManager(_) | SecretSource::Ssm(_) => "look whether it is there, with the same credentials",
    };
    Problem::blocks("secret-unavailable", error.to_string()).at(secret.origin.clone()).hint(hint)
}

fn given(environment: &Environment) -> Result<Vec<Resource>, Vec<Problem>> {
    let mut objects: BTreeMap<(&str, &str, &str), Object> = BTreeMap::new();
    let mut problems = Vec::new();
    for secret in &environment.spec.secrets {
        let encoded = match value(secret, environment) {
            _ if secret.from.is_in_aws() => in_aws(&secret.key, &secret.from).mark(),
            Ok(value) => STANDARD.encode(value.as_bytes()),
            Err(error) => {
                problems.push(unavailable(secret, &error));
                continue;
            }
        };
        let object = objects.entry(("Secret", &secret.namespace, &secret.name)).or_insert_with(|| Object::at(secret.origin.as_ref()));
        object.data.insert(secret.key.clone(), encoded);
        object.labels.extend(secret.labels.clone());
        object.kind = object.kind.take().or_else(|| secret.r#type.clone());
    }
    for given in &environment.spec.variables {
        let encode = |value: &String| if given.kind == "Secret" { STANDARD.encode(value) } else { value.clone() };
        let object = objects.entry((&given.kind, &given.namespace, &given.name)).or_insert_with(|| Object::at(given.origin.as_ref()));
        object.data.extend(given.data.iter().map(|(key, value)| (key.clone(), encode(value))));
    }
    for given in &environment.spec.outputs {
        let object = objects.entry((&given.kind, &given.namespace, &given.name)).or_insert_with(|| Object::at(given.origin.as_ref()));
        object.data.extend(given.data.iter().map(|(key, (output, _))| (key.clone(), output.mark())));
    }
    for command in &environment.spec.commands {
        problems.extend(unset(command, environment));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(objects.into_iter().map(|((kind, namespace, name), object)| object.resource(kind, namespace, name)).collect())
}

/// One Secret or ConfigMap, put together from several entries.
#[derive(Default)]
struct Object {
    data: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    /// Type of a Secret.
    kind: Option<String>,
    origin: Option<Origin>,
}

impl Object {
    fn at(origin: Option<&Origin>) -> Self {
        Self { origin: origin.cloned(), ..Self::default() }
    }

    fn resource(self, kind: &str, namespace: &str, name: &str) -> Resource {
        let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "data": self.data});
        if !self.labels.is_empty() {
            value["metadata"]["labels"] = json!(self.labels);
        }
        if let Some(kind) = self.kind {
            value["type"] = kind.into();
        }
        Resource { value, origin: self.origin }
    }
}

/// A value that AWS holds, as an output of it.
fn in_aws(key: &str, source: &SecretSource) -> Output {
    let (node, field) = match source {
        SecretSource::SecretsManager(name) => (SECRETS_MANAGER, name.as_str()),
        SecretSource::Ssm(name) => (SSM, name.as_str()),
        _ => Default::default(),
    };
    Output { variable: key.to_owned(), node: node.to_owned(), field: field.to_owned() }
}

/// Where an output is held by AWS: that.
pub fn held_by_aws(output: &Output) -> Option<SecretSource> {
    match output.node.as_str() {
        SECRETS_MANAGER => Some(SecretSource::SecretsManager(output.field.clone())),
        SSM => Some(SecretSource::Ssm(output.field.clone())),
        _ => None,
    }
}

/// Secrets of a command that this machine should have and has not; programs are asked when the command runs.
fn unset<'e>(command: &'e Command, environment: &'e Environment) -> impl Iterator<Item = Problem> + 'e {
    command.env.iter().filter_map(|(name, given)| {
        let Given::Secret(source @ (SecretSource::File(_) | SecretSource::Env(_))) = given else { return None };
        let error = local(source, &environment.base).err()?;
        let message = format!("command {}: env.{name} cannot be had from {}: {}", command.name, error.what, error.why);
        Some(Problem::blocks("secret-unavailable", message).at(command.origin.clone()))
    })
}

/// A path of an environment file: `~/` is the home folder, a relative one starts at the file's folder.
pub fn place(path: &str, base: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => base.join(path),
    }
}
