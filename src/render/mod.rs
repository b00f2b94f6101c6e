//! From the files of a layer to its objects, as kustomize-controller builds them: generated kustomization, kustomize, SOPS.
//! Variables come after that (`envsubst`), since they may be in objects of other layers.
//!
//! Folders of plain manifests are read directly (`native`); for everything else `kustomize` runs, or `kubectl kustomize` where that is
//! all there is. Its output is cached by the content of the source and what the layer asks; decrypted content never is.

pub mod argo;
mod bases;
mod cache;
pub mod envsubst;
mod helm;
mod inflate;
mod keyring;
mod kustomization;
mod mirror;
mod missing;
mod native;
mod patch;
mod post;
pub mod program;
mod remote;
mod sops;

pub use bases::{Base, Bases};
pub use keyring::Keyring;
pub(crate) use sops::holds_encrypted;
pub use sops::is_encrypted;

use crate::layers::flux::Spec;
use crate::manifest::Resource;
use crate::manifest::yaml::{SyntaxError, documents};
use crate::problem::Origin;
use crate::repo::PrivateFolder;
use cache::Cache;
use remote::Remotes;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

pub(crate) use native::{KUSTOMIZATION_FILES, is_yaml, join, kustomization_file};
use patch::Patch;

/// What can go wrong with one layer. Paths are from the root of its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The folder is not in the source.
    #[error("path {path}: no such folder in the source")]
    NoFolder {
        /// `spec.path`.
        path: String,
    },
    /// A file is not YAML.
    #[error("{path}: is not valid YAML: {}", error.message)]
    Yaml {
        /// The file.
        path: String,
        /// Where and why.
        error: SyntaxError,
        /// The line.
        excerpt: Option<String>,
    },
    /// Kustomizations name files that are not there.
    #[error("what its kustomization names is not there: {}", files.iter().map(|file| format!("{} ({})", file.path, file.field)).collect::<Vec<_>>().join(", "))]
    Missing {
        /// One at least.
        files: Vec<MissingFile>,
        /// What the layer holds as far as that is known without them.
        known: Vec<Resource>,
    },
    /// A file of a folder without kustomization is no manifest.
    #[error("{path} is no manifest, it lacks {lacks}")]
    NoManifest {
        /// The file.
        path: String,
        /// Line of the document.
        line: u32,
        /// The first field that is not there.
        lacks: &'static str,
    },
    /// kustomize refused.
    #[error("kustomize: {message}")]
    Kustomize {
        /// What it said.
        message: String,
    },
    /// helm refused.
    #[error("helm: {message}")]
    Helm {
        /// What it said.
        message: String,
        /// Where.
        place: Option<Origin>,
    },
    /// What is asked of the files cannot be done.
    #[error("{message}")]
    Tool {
        /// What, and why.
        message: String,
    },
    /// Something that is not in Git is needed.
    #[error("{what} is not in Git")]
    Lacking {
        /// What.
        what: String,
    },
    /// Kustomizations take in charts, which only a kustomize that may call helm does.
    #[error("{file} takes in chart {chart} (helmCharts), which kustomize-controller does not do: use a HelmRelease")]
    Inflates {
        /// The first such kustomization.
        file: String,
        /// Its charts.
        chart: String,
        /// What there is beside them.
        known: Vec<Resource>,
    },
    /// A program is not installed.
    #[error("{name} is needed and was found neither on PATH nor among the sandbox's components")]
    NoProgram {
        /// Its name.
        name: &'static str,
    },
    /// An encrypted object or file cannot be decrypted with the keys at hand.
    #[error("{object}: cannot be decrypted: {message}")]
    Decrypt {
        /// What.
        object: String,
        /// Why.
        message: String,
        /// Public keys that could.
        recipients: Vec<String>,
    },
    /// Decrypted files have to lie somewhere while kustomize reads them, and a disk is no place for that.
    #[error("what holds secrets is only written into memory for kustomize, and /dev/shm cannot be written here")]
    NoMemory,
    /// A file or program failed.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What a kustomization names and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFile {
    /// Where it is named.
    pub origin: Origin,
    /// In which field.
    pub field: String,
    /// Path from the root of the source.
    pub path: String,
}

/// What decrypts, wiped from memory when dropped.
#[derive(Clone, Default)]
pub struct Keys {
    /// Age identities.
    pub age: Vec<Zeroizing<String>>,
    /// PGP.
    pub pgp: Option<Arc<Keyring>>,
    /// Credentials for AWS KMS, as environment variables of sops.
    pub aws: Vec<(&'static str, Zeroizing<String>)>,
}

impl Keys {
    /// Whether there is one that could open what is encrypted for these.
    fn may_open(&self, for_kms: bool) -> bool {
        !self.age.is_empty() || self.pgp.is_some() || (for_kms && !self.aws.is_empty())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} age keys, PGP: {}, AWS: {}", self.age.len(), self.pgp.is_some(), !self.aws.is_empty())
    }
}

/// One layer to render.
#[derive(Clone, Debug)]
pub struct Request {
    /// Root of the source's files.
    pub root: PathBuf,
    /// Names their content.
    pub content: String,
    /// What the layer asks.
    pub spec: Spec,
    /// Keys; none where the layer is not decrypted, empty where no key is at hand.
    pub keys: Option<Keys>,
}

/// Objects of one layer, variables not yet replaced.
#[derive(Debug)]
pub struct Rendered {
    /// In kustomize's order; with origin (from the root of the source) where they were read directly.
    pub resources: Vec<Resource>,
    /// Something is encrypted and no key was at hand.
    pub encrypted: bool,
}

/// Objects of a folder of plain manifests, without kustomize; none where that is needed.
pub fn plain(root: &Path, path: &str) -> Option<Vec<Resource>> {
    native::build(root, path, &native::Additions::default())
}

/// Renders layers; may be used by several threads.
#[derive(Debug)]
pub struct Renderer {
    program: Option<(PathBuf, &'static [&'static str])>,
    cache: Option<Cache>,
    folder: Arc<PrivateFolder>,
    mirrors: AtomicU32,
    bases: Bases,
    /// Looked for when the first chart comes.
    helm: OnceLock<Option<(PathBuf, Option<Cache>)>>,
}

impl Renderer {
    /// One whose mirrors are made in a private folder.
    pub fn new(folder: Arc<PrivateFolder>) -> Self {
        let kustomize = || program::find("kustomize").map(|program| (program, &["build"][..]));
        let kubectl = || program::find("kubectl").map(|program| (program, &["kustomize"][..]));
        let program = kustomize().or_else(kubectl);
        let cache = program.as_ref().and_then(|(program, _)| Cache::open(program));
        Self { program, cache, folder, mirrors: AtomicU32::new(0), bases: Bases::default(), helm: OnceLock::new() }
    }

    /// With clones for remote bases.
    #[must_use]
    pub fn with_bases(mut self, bases: Bases) -> Self {
        self.bases = bases;
        self
    }

    /// Objects of one layer.
    pub fn render(&self, request: &Request) -> Result<Rendered, RenderError> {
        let path = join("", &request.spec.path)
            .filter(|path| request.root.join(path).is_dir())
            .ok_or_else(|| RenderError::NoFolder { path: request.spec.path.clone() })?;
        let mut resources = self.build(request, &path, &Map::new())?;
        let mut encrypted = false;
        for resource in resources.iter_mut().filter(|resource| sops::holds_encrypted(resource)) {
            match &request.keys {
                Some(keys) if keys.may_open(sops::is_for_kms(resource)) => sops::decrypt_resource(resource, keys)?,
                // Without `spec.decryption` the controller applies it as it stands, and so does not fail here.
                Some(_) => encrypted = true,
                None => {}
            }
        }
        Ok(Rendered { resources, encrypted })
    }

    /// The objects as kustomize gives them; `more` is merged into the kustomization. What was built once is not built again, unless
    /// files are decrypted for it.
    fn build(&self, request: &Request, path: &str, more: &Map<String, Value>) -> Result<Vec<Resource>, RenderError> {
        let opens = request.keys.as_ref().is_some_and(|keys| keys.may_open(true) && !sops::Sources::find(&request.root, path).is_empty());
        let Some(cache) = self.cache.as_ref().filter(|_| !opens) else { return self.build_anew(request, path, more) };
        let key = format!("{}-objects", Cache::key(&[&request.content, self.bases.content()], path, &request.spec, more));
        if let Some(objects) = cache.objects(&key) {
            return Ok(objects);
        }
        let objects = self.build_anew(request, path, more)?;
        cache.put_objects(&key, &objects);
        Ok(objects)
    }

    fn build_anew(&self, request: &Request, path: &str, more: &Map<String, Value>) -> Result<Vec<Resource>, RenderError> {
        let changed = kustomization::changes(&request.spec) || !more.is_empty();
        let quick = || {
            let namespace = kustomization::target_namespace(&request.spec);
            let patches: Vec<Patch> = request.spec.patches.iter().map(Patch::read).collect::<Option<_>>()?;
            let exists = |component: &str| join(path, component).is_some_and(|folder| request.root.join(folder).is_dir());
            let components: Vec<&String> = kustomization::components(&request.spec, exists).collect();
            let plain = native::build(&request.root, path, &native::Additions { namespace, components: &components, patches: &patches });
            if plain.is_some() || !changed {
                return plain.map(Ok);
            }
            let spec = Spec { target_namespace: None, patches: Vec::new(), ..request.spec.clone() };
            let changed = kustomization::changes(&spec);
            match self.kustomize(&Request { spec, ..request.clone() }, path, changed, more) {
                Ok(built) => native::finish(built, namespace, &patches).map(Ok),
                // What is known without the missing files has to have both.
                Err(RenderError::Missing { .. }) => None,
                // Neither a namespace nor a patch mends what kustomize cannot put together.
                Err(error) => Some(Err(error)),
            }
        };
        let done = if more.is_empty() && !kustomization::changes_more(&request.spec) { quick() } else { None };
        done.unwrap_or_else(|| self.kustomize(request, path, changed, more))
    }

    fn kustomize(&self, request: &Request, path: &str, changed: bool, more: &Map<String, Value>) -> Result<Vec<Resource>, RenderError> {
        let folder = request.root.join(path);
        let own = native::kustomization_file(&folder);
        let sources = request.keys.as_ref().filter(|keys| keys.may_open(true)).map(|keys| (keys, sops::Sources::find(&request.root, path)));
        let sources = sources.filter(|(_, sources)| !sources.is_empty());
        let cache = self.cache.as_ref().filter(|_| sources.is_none());
        let key = cache.map(|_| Cache::key(&[&request.content, self.bases.content()], path, &request.spec, more));
        let cached = |key: &Option<String>| cache.zip(key.as_ref()).and_then(|(cache, key)| cache.get(key));
        let text = if let Some(text) = cached(&key) {
            text
        } else {
            let files = missing::find(&request.root, path);
            let charts = inflate::charts(&request.root, path);
            let is_less = !files.is_empty() || !charts.is_empty();
            let key = key.map(|key| if is_less { format!("{key}-known") } else { key });
            if let Some(text) = cached(&key).filter(|_| is_less) {
                return Err(lessened(missing::known(built(&text)?), files, &charts));
            }
            let merged = Self::merged(request, path, own, changed, more)?;
            let mut remotes = Remotes::find(&request.root, path, &self.bases, merged.as_ref())?;
            missing::leave_out(&request.root, path, &files, merged.as_ref(), &mut remotes.files);
            inflate::leave_out(&request.root, path, &charts, merged.as_ref(), &mut remotes.files);
            let output = if merged.is_some() || sources.is_some() || !remotes.is_empty() {
                let mirror = self.mirror(request, path, own, Inputs { merged, sources, remotes })?;
                let output = self.run(&mirror.join(path), &[&mirror, &request.root]);
                // Decrypted files must not stay longer than needed.
                let _ = fs::remove_dir_all(&mirror);
                output
            } else {
                self.run(&folder, &[&request.root])
            };
            let invalid =
                || invalid_file(&request.root, path).or_else(|| own.is_none().then(|| no_manifest(&request.root, path)).flatten());
            let output = output.or_else(|error| match invalid() {
                Some(invalid) => Err(invalid),
                // What is left may be nothing that kustomize takes.
                None if is_less => Ok(String::new()),
                None => Err(error),
            })?;
            if let Some((cache, key)) = cache.zip(key.as_ref()) {
                cache.put(key, &output);
            }
            if is_less {
                return Err(lessened(missing::known(built(&output)?), files, &charts));
            }
            output
        };
        built(&text)
    }

    /// The layer's kustomization as the controller writes it; none where it is the folder's own.
    fn merged(
        request: &Request,
        path: &str,
        own: Option<&'static str>,
        changed: bool,
        more: &Map<String, Value>,
    ) -> Result<Option<Value>, RenderError> {
        if !changed && own.is_some() {
            return Ok(None);
        }
        let folder = request.root.join(path);
        let read = |source| RenderError::Read { path: path.to_owned(), source };
        let base = match own {
            None => kustomization::listing(&native::scan(&folder).map_err(read)?),
            Some(name) => {
                let text = fs::read_to_string(folder.join(name)).map_err(read)?;
                let file = join(path, name).unwrap_or_default();
                let found = documents(&text).map_err(|error| yaml_error(file, error, &text))?;
                found.into_iter().next().map_or(Value::Null, |document| document.value)
            }
        };
        let exists = |component: &str| join(path, component).is_some_and(|folder| request.root.join(folder).is_dir());
        Ok(Some(kustomization::add(kustomization::merge(base, &request.spec, exists), more)))
    }

    /// A private view of the source in which the layer's kustomization is as the controller writes it, encrypted files are in clear, and
    /// remote bases are clones.
    fn mirror(&self, request: &Request, path: &str, own: Option<&'static str>, inputs: Inputs<'_>) -> Result<PathBuf, RenderError> {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let read = |source| RenderError::Read { path: path.to_owned(), source };
        let Inputs { merged, sources, remotes } = inputs;
        let has_changed = !remotes.is_empty();
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut removed = BTreeSet::new();
        for (file, kustomization) in merged.map(|merged| (below("kustomization.yaml"), merged)).into_iter().chain(remotes.files) {
            files.insert(file, kustomization.to_string().into_bytes());
        }
        if files.contains_key(&below("kustomization.yaml")) {
            removed.extend(own.map(below).into_iter().filter(|name| !files.contains_key(name)));
        }
        let mut real_folders = BTreeSet::new();
        if let Some((keys, sources)) = sources {
            if !self.folder.in_memory() {
                return Err(RenderError::NoMemory);
            }
            files.extend(sources.decrypt(&request.root, keys)?);
            real_folders = sources.folders;
        }
        if has_changed {
            real_folders.extend(remotes.folders);
        }
        let mirror = self.folder.path().join(format!("mirror-{}", self.mirrors.fetch_add(1, Ordering::Relaxed)));
        mirror::make(&request.root, &mirror, &files, &removed, &real_folders).map_err(read)?;
        for (name, clone) in remotes.clones {
            std::os::unix::fs::symlink(clone, mirror.join(name)).map_err(read)?;
        }
        Ok(mirror)
    }

    fn run(&self, folder: &Path, hide: &[&Path]) -> Result<String, RenderError> {
        let (program, command) = self.program.as_ref().ok_or(RenderError::NoProgram { name: "kustomize" })?;
        let mut arguments: Vec<&std::ffi::OsStr> = command.iter().map(std::ffi::OsStr::new).collect();
        arguments.extend([std::ffi::OsStr::new("--load-restrictor"), "LoadRestrictionsNone".as_ref(), folder.as_os_str()]);
        let output = program::run(program, arguments, &[], None)
            .map_err(|source| RenderError::Read { path: program.display().to_string(), source })?;
        if output.success {
            return String::from_utf8(output.stdout).map_err(|_| RenderError::Kustomize { message: "its output is not UTF-8".to_owned() });
        }
        let mut message = output.stderr.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
        for root in hide {
            message = message.replace(&format!("{}/", root.display()), "").replace(&root.display().to_string(), ".");
        }
        Err(RenderError::Kustomize { message: message.trim().trim_start_matches("Error: ").to_owned() })
    }
}

/// What a mirror changes.
struct Inputs<'k> {
    merged: Option<Value>,
    sources: Option<(&'k Keys, sops::Sources)>,
    remotes: Remotes,
}

/// What is known without files that are not there, or without charts.
fn lessened(known: Vec<Resource>, files: Vec<MissingFile>, charts: &[inflate::Chart]) -> RenderError {
    let names: Vec<String> = charts.iter().map(ToString::to_string).collect();
    match charts.first() {
        Some(first) if files.is_empty() => RenderError::Inflates { file: first.file.clone(), chart: names.join(", chart "), known },
        _ => RenderError::Missing { known, files },
    }
}

/// Objects of kustomize's output.
fn built(output: &str) -> Result<Vec<Resource>, RenderError> {
    let parsed = documents(output).map_err(|error| RenderError::Kustomize { message: format!("its output cannot be read: {error}") })?;
    Ok(parsed.into_iter().map(|document| Resource { value: document.value, origin: None }).collect())
}

fn yaml_error(path: String, error: SyntaxError, text: &str) -> RenderError {
    let excerpt = text.lines().nth(error.line.saturating_sub(1) as usize).map(str::to_owned);
    RenderError::Yaml { path, error, excerpt }
}

/// The first file that the generated kustomization of a folder lists and that kustomize takes for no manifest.
fn no_manifest(root: &Path, path: &str) -> Option<RenderError> {
    for file in native::scan(&root.join(path)).ok()?.iter().filter_map(|file| join(path, file)) {
        let Ok(text) = fs::read_to_string(root.join(&file)) else { continue };
        for document in documents(&text).ok()? {
            let value = |pointer: &str| document.value.pointer(pointer);
            let is_list = value("/items").is_some() && value("/kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            let fields = [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")];
            let lacks = fields.into_iter().find(|(pointer, _)| value(pointer).is_none_or(Value::is_null)).filter(|_| !is_list);
            if let Some((_, lacks)) = lacks {
                return Some(RenderError::NoManifest { path: file, line: document.line, lacks });
            }
        }
    }
    None
}

/// The first file below a folder that is not YAML: a better answer than what kustomize says about it.
fn invalid_file(root: &Path, path: &str) -> Option<RenderError> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(root.join(&folder)).ok()?.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = join(&folder, entry.file_name().to_str()?)?;
            if entry.path().is_dir() {
                folders.push(name);
            } else if is_yaml(&name) {
                let text = fs::read_to_string(entry.path()).ok()?;
                if let Err(error) = documents(&text) {
                    return Some(yaml_error(name, error, &text));
                }
            }
        }
    }
    None
}
