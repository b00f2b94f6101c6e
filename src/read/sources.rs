//! Sources and their files: which repository on disk stands for a source object, ignore rules, includes, and what an ArtifactGenerator
//! puts together (fluxcd/source-watcher, `artifactgenerators`).

mod artifact;

use super::origins::Origins;
use super::{ReadError, ReadOptions, Revision, Source, SourceTree};
use crate::layers::SourceId;
use crate::manifest::Resource;
use crate::problem::Origin;
use crate::render::{Base, Bases, join};
use crate::repo::bundle::unpack;
use crate::repo::{Export, Exported, PrivateFolder, Repository, hex, is_called, same_url};
use artifact::{Stage, copy};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The files of one source, ready to render from.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    pub(crate) content: String,
    pub(crate) revision: String,
    pub(crate) repository: PathBuf,
    /// Comes before the path in an origin: empty for PATH itself, else `NAME:`.
    prefix: String,
    /// Files that stand elsewhere in their repository: path here → (prefix, path there).
    moved: HashMap<String, (String, String)>,
    list: Vec<String>,
    /// What these files stand for although nobody here has it: references that the clone lacks.
    pub(crate) assumed: BTreeSet<String>,
    origins: OnceLock<Origins>,
}

impl Files {
    /// An origin as people write it.
    pub(crate) fn shown(&self, origin: &Origin) -> Origin {
        let file = match self.moved.get(&origin.file) {
            Some((prefix, file)) => format!("{prefix}{file}"),
            None => format!("{}{}", self.prefix, origin.file),
        };
        Origin { file, line: origin.line }
    }

    pub(crate) fn origins(&self) -> &Origins {
        self.origins.get_or_init(|| Origins::index(&self.root, &self.list))
    }

    /// All files, sorted.
    pub(crate) fn list(&self) -> &[String] {
        &self.list
    }

    /// As one calls it in a message.
    pub(crate) fn name(&self) -> String {
        let place = self.prefix.trim_end_matches(':');
        if place.is_empty() { "the repository".to_owned() } else { place.to_owned() }
    }

    /// Text of a file by its path as shown.
    pub(crate) fn text_of(&self, shown: &str) -> Option<String> {
        let moved =
            self.moved.iter().find(|(_, (prefix, file))| shown.strip_prefix(prefix.as_str()) == Some(file)).map(|(here, _)| here.as_str());
        let file = moved.or_else(|| shown.strip_prefix(self.prefix.as_str()))?;
        std::fs::read_to_string(self.root.join(file)).ok()
    }

    /// Where `Kind name` or `Kind namespace/name` (or a file) of the layer at `path` stands.
    pub(crate) fn place_of(&self, object: &str, path: &str) -> Option<Origin> {
        let object = object.split(", ").next().unwrap_or(object);
        if self.list.iter().any(|file| file == object) {
            return Some(Origin { file: object.to_owned(), line: 1 });
        }
        let (kind, name) = object.split_once(' ')?;
        let name = name.rsplit('/').next().unwrap_or(name);
        let resource = Resource { value: serde_json::json!({"kind": kind, "metadata": {"name": name}}), origin: None };
        self.origins().find(&resource, path)
    }

    fn tree(&self) -> SourceTree {
        SourceTree {
            root: self.root.clone(),
            revision: self.revision.clone(),
            repository: self.repository.clone(),
            inside: self.prefix.split_once(':').map_or(self.prefix.as_str(), |(_, inside)| inside).to_owned(),
        }
    }
}

/// Whether the files of a source are at hand.
pub(crate) enum Found {
    Files(Arc<Files>),
    /// Nobody has declared it yet.
    NotYet,
    /// Declared, but not on this machine; why.
    Elsewhere(String),
    /// Its definition is wrong.
    Wrong(String),
}

/// A repository on disk and its export.
struct Opened {
    repository: Repository,
    exported: Exported,
    /// The folder of the repository that these files are, with a `/` at its end; empty for all of it.
    inside: String,
    prefix: String,
    /// The commit, where a source asks for another one than the one that is read.
    commit: Option<String>,
}

pub(crate) struct Sources {
    folder: Arc<PrivateFolder>,
    revision: Revision,
    mapped: Vec<(String, PathBuf)>,
    opened: Vec<Opened>,
    entry: SourceId,
    entry_urls: Vec<String>,
    /// Branches and tags that mean PATH as it is read.
    entry_references: Vec<String>,
    declared: BTreeMap<SourceId, Resource>,
    generators: BTreeMap<(String, String), (Resource, Value)>,
    files: BTreeMap<SourceId, Arc<Files>>,
}

impl Sources {
    /// Exports PATH itself.
    pub(crate) fn new(options: &ReadOptions, repository: Repository, folder: &Arc<PrivateFolder>) -> Result<Self, ReadError> {
        let what = match &options.revision {
            Revision::WorkingTree => Export::WorkingTree,
            Revision::Named(name) => Export::Commit(repository.resolve(name)?),
        };
        let exported = repository.export(&what, folder, "path")?;
        let entry_urls = repository.remotes();
        let entry = SourceId { kind: String::new(), namespace: String::new(), name: String::new() };
        Ok(Self {
            folder: Arc::clone(folder),
            revision: options.revision.clone(),
            mapped: options.sources.clone(),
            opened: vec![Opened { repository, exported, inside: String::new(), prefix: String::new(), commit: None }],
            entry,
            entry_urls,
            entry_references: Vec::new(),
            declared: BTreeMap::new(),
            generators: BTreeMap::new(),
            files: BTreeMap::new(),
        })
    }

    /// All clones that are given, for remote bases.
    pub(crate) fn clones(&mut self) -> Result<Bases, ReadError> {
        let mut clones = Vec::new();
        for (name, path) in self.mapped.clone() {
            let index = self.open(&path)?;
            let Opened { repository, exported, .. } = &self.opened[index];
            clones.push(Base { name, repository: repository.clone(), files: exported.clone() });
        }
        Ok(Bases::new(clones))
    }

    /// PATH.
    pub(crate) fn repository(&self) -> &Repository {
        &self.opened[0].repository
    }

    /// Files of PATH, nothing left out.
    pub(crate) fn exported(&self) -> &Exported {
        &self.opened[0].exported
    }

    /// Which source PATH stands for.
    pub(crate) fn set_entry(&mut self, id: SourceId, url: Option<String>, declaration: Option<Resource>) {
        self.entry = id.clone();
        self.entry_urls.extend(url);
        if let Some(declaration) = declaration {
            self.entry_urls.push(declaration.text("/spec/url").to_owned());
            self.declared.insert(id, declaration);
        }
        self.entry_urls.retain(|url| !url.is_empty() && !url.contains("${"));
    }

    /// URLs that mean PATH although nothing declares them as its source.
    pub(crate) fn set_urls(&mut self, urls: Vec<String>, references: Vec<String>) {
        self.entry_references = references;
        let is_known = |url: &String| self.entry_urls.iter().any(|known| same_url(known, url));
        // A remote of PATH is certain; another URL is a guess that is not needed then.
        if !urls.iter().any(is_known) {
            self.entry_urls.extend(urls);
        }
    }

    /// Takes a declared source for PATH where nothing else tells what PATH is: it has no remote, and the agent's own source is not declared.
    /// `path` is the folder that a layer wants of it.
    pub(crate) fn adopt(&mut self, id: &SourceId, path: &str) -> bool {
        let url = self.declared.get(id).map(|declaration| declaration.text("/spec/url").to_owned()).unwrap_or_default();
        let folder = join("", path).filter(|folder| !folder.is_empty() && self.exported().has_folder(folder));
        let is_free = id.kind == "GitRepository" && self.entry_urls.is_empty() && !url.is_empty() && !url.contains("${");
        if is_free && folder.is_some() {
            self.entry_urls.push(url);
        }
        is_free && folder.is_some()
    }

    /// Takes note of a source that has no object of its own.
    pub(crate) fn declare_as(&mut self, id: &SourceId, declaration: Resource) {
        self.declared.entry(id.clone()).or_insert(declaration);
    }

    /// Text of a file of PATH.
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        self.opened[0].exported.text(file).map(std::borrow::Cow::into_owned)
    }

    /// Takes note of a rendered object, if it is a source or a generator.
    pub(crate) fn declare(&mut self, resource: &Resource) {
        let namespace = resource.namespace().unwrap_or("default");
        match (resource.group(), resource.kind()) {
            (
                "source.toolkit.fluxcd.io",
                kind @ ("GitRepository" | "OCIRepository" | "Bucket" | "ExternalArtifact" | "HelmRepository" | "HelmChart"),
            ) => {
                let id = SourceId { kind: kind.to_owned(), namespace: namespace.to_owned(), name: resource.name().to_owned() };
                self.declared.insert(id, resource.clone());
            }
            ("source.extensions.fluxcd.io", "ArtifactGenerator") => {
                for artifact in resource.value.pointer("/spec/artifacts").and_then(Value::as_array).into_iter().flatten() {
                    if let Some(name) = artifact.get("name").and_then(Value::as_str) {
                        self.generators.insert((namespace.to_owned(), name.to_owned()), (resource.clone(), artifact.clone()));
                    }
                }
            }
            _ => {}
        }
    }

    /// All sources that are declared so far.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &SourceId> {
        self.declared.keys()
    }

    /// The generator that makes an ExternalArtifact.
    pub(crate) fn generator(&self, id: &SourceId) -> Option<&Resource> {
        self.generators
            .get(&(id.namespace.clone(), id.name.clone()))
            .map(|(generator, _)| generator)
            .filter(|_| id.kind == "ExternalArtifact")
    }

    /// Files of a source.
    pub(crate) fn find(&mut self, id: &SourceId) -> Result<Found, ReadError> {
        self.find_within(id, 0)
    }

    fn find_within(&mut self, id: &SourceId, depth: u32) -> Result<Found, ReadError> {
        if let Some(files) = self.files.get(id) {
            return Ok(Found::Files(Arc::clone(files)));
        }
        if depth > 8 {
            return Ok(Found::Wrong(format!("{id} includes itself")));
        }
        let found = if let Some(path) = self.mapped(id) {
            let mut index = self.open(&path)?;
            // Git's own sources are whole repositories; what is pushed or packed elsewhere is any folder of one.
            if id.is_packed() {
                index = self.folder_of(index, &path)?;
            } else if let Some((_, name)) = self.declared.get(id).and_then(reference).filter(|(kind, _)| *kind != "branch") {
                // A branch is worked on in the clone that is given, and so is what is not there under this name.
                index = self.at(index, &name)?.unwrap_or(index);
            }
            self.view(index, id, depth)?
        } else if id.kind == "ExternalArtifact" {
            match self.generators.get(&(id.namespace.clone(), id.name.clone())).cloned() {
                Some((generator, artifact)) => self.generate(&generator, &artifact, depth)?,
                None if self.declared.contains_key(id) => Found::Elsewhere("it is made by something that is not in Git".to_owned()),
                None => Found::NotYet,
            }
        } else if *id == self.entry {
            self.view(0, id, depth)?
        } else {
            let Some(declaration) = self.declared.get(id) else { return Ok(Found::NotYet) };
            let url = declaration.text("/spec/url").to_owned();
            if self.entry_urls.iter().any(|entry| same_url(entry, &url)) {
                match self.at_reference(id)? {
                    Ok(index) => self.view(index, id, depth)?,
                    // A shallow clone has one branch: the order is shown with its files, and nothing is started from them.
                    Err(why) => match self.view(0, id, depth)? {
                        Found::Files(mut files) => {
                            if let Some(files) = Arc::get_mut(&mut files) {
                                files.assumed.insert(format!("{url} {why}"));
                            }
                            Found::Files(files)
                        }
                        other => other,
                    },
                }
            } else {
                let what = if url.is_empty() { "what it holds".to_owned() } else { url };
                Found::Elsewhere(format!("{what} is not on this machine"))
            }
        };
        if let Found::Files(files) = &found {
            self.files.insert(id.clone(), Arc::clone(files));
        }
        Ok(found)
    }

    /// `--source MATCH=PATH`.
    fn mapped(&self, id: &SourceId) -> Option<PathBuf> {
        let url = self.declared.get(id).map(|declaration| declaration.text("/spec/url")).unwrap_or_default();
        let matches = |wanted: &str| wanted == id.to_string() || is_called(url, wanted);
        self.mapped.iter().find(|(wanted, _)| matches(wanted)).map(|(_, path)| path.clone())
    }

    /// Opens and exports a repository once: a clone, a bare one, or a bundle.
    fn open(&mut self, path: &Path) -> Result<usize, ReadError> {
        let repository = if path.is_file() {
            let bundle = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let name = format!("bundle-{}", hex(&Sha256::digest(bundle.as_os_str().as_encoded_bytes())[..8]));
            let unpacked = self.folder.path().join(&name);
            Repository::open(&if unpacked.is_dir() { unpacked } else { unpack(&bundle, &self.folder, &name)? })?
        } else {
            Repository::open(path)?
        };
        let is_it = |opened: &Opened| opened.commit.is_none() && opened.inside.is_empty() && opened.repository.root() == repository.root();
        if let Some(index) = self.opened.iter().position(is_it) {
            return Ok(index);
        }
        let index = self.opened.len();
        let what = match &self.revision {
            Revision::WorkingTree if !repository.is_bare() => Export::WorkingTree,
            // --revision names a commit of PATH; another repository is taken at its own HEAD.
            _ => Export::Commit(repository.resolve("HEAD")?),
        };
        let exported = repository.export(&what, &self.folder, &format!("source-{index}"))?;
        // As the user calls it: a bundle lies unpacked elsewhere, `fleet.git` is a bare one.
        let name = if path.is_file() { path.file_stem() } else { repository.root().file_name() };
        let name = name.unwrap_or_default().to_string_lossy();
        let prefix = format!("{}:", name.strip_suffix(".git").unwrap_or(&name));
        self.opened.push(Opened { repository, exported, inside: String::new(), prefix, commit: None });
        Ok(index)
    }

    /// The folder of an opened repository that a path names.
    fn folder_of(&mut self, index: usize, path: &Path) -> Result<usize, ReadError> {
        let inside = if path.is_file() { String::new() } else { Repository::open(path)?.inside().to_owned() };
        if inside.is_empty() {
            return Ok(index);
        }
        let inside = format!("{inside}/");
        let base = &self.opened[index];
        let is_it = |opened: &Opened| opened.inside == inside && opened.repository.root() == base.repository.root();
        if let Some(known) = self.opened.iter().position(is_it) {
            return Ok(known);
        }
        let prefix = format!("{}{inside}", base.prefix);
        let opened = Opened {
            repository: base.repository.clone(),
            exported: base.exported.below(&inside)?,
            inside,
            prefix,
            commit: base.commit.clone(),
        };
        self.opened.push(opened);
        Ok(self.opened.len() - 1)
    }

    /// PATH's repository at what a source of the same URL asks for: PATH itself where that is what the entry's source asks for or what is
    /// checked out, else another commit of it.
    fn at_reference(&mut self, id: &SourceId) -> Result<Result<usize, String>, ReadError> {
        let asked = |id: &SourceId| self.declared.get(id).and_then(reference);
        let Some(wanted) = asked(id) else { return Ok(Ok(0)) };
        let repository = &self.opened[0].repository;
        if asked(&self.entry).as_ref() == Some(&wanted)
            || self.entry_references.contains(&wanted.1)
            || repository.branch().as_ref() == Some(&wanted.1)
        {
            return Ok(Ok(0));
        }
        let (kind, name) = wanted;
        Ok(self.at(0, &name)?.ok_or_else(|| {
            let hint = if kind == "semver" { "(the newest tag of a range is not looked for)" } else { "in this clone" };
            format!("has no {kind} {name} {hint}")
        }))
    }

    /// An opened repository at a branch, tag or commit; none where it has no such thing. What is checked out is taken as it lies there.
    fn at(&mut self, index: usize, name: &str) -> Result<Option<usize>, ReadError> {
        let Opened { repository, exported, prefix, .. } = &self.opened[index];
        if repository.branch().as_deref() == Some(name) {
            return Ok(Some(index));
        }
        let Some(commit) = repository.find(name) else { return Ok(None) };
        if commit.id == exported.revision {
            return Ok(Some(index));
        }
        let is_it = |opened: &Opened| opened.commit.as_ref() == Some(&commit.id) && opened.repository.root() == repository.root();
        if let Some(index) = self.opened.iter().position(is_it) {
            return Ok(Some(index));
        }
        let prefix = match prefix.strip_suffix(':') {
            Some(repository) => format!("{repository}@{name}:"),
            None => format!("{name}:"),
        };
        let repository = repository.clone();
        let index = self.opened.len();
        let exported = repository.export(&Export::Commit(commit.clone()), &self.folder, &format!("source-{index}"))?;
        self.opened.push(Opened { repository, exported, inside: String::new(), prefix, commit: Some(commit.id) });
        Ok(Some(index))
    }

    /// A repository as the source object makes it: ignore rules, includes, revision.
    fn view(&mut self, index: usize, id: &SourceId, depth: u32) -> Result<Found, ReadError> {
        let declaration = self.declared.get(id).cloned();
        let ignore =
            declaration.as_ref().and_then(|source| source.value.pointer("/spec/ignore")).and_then(Value::as_str).map(str::to_owned);
        let opened = &self.opened[index];
        let name = format!("view-{}", self.files.len() + usize::try_from(depth).unwrap_or(0) * 1000);
        // Ignore rules are source-controller's; Argo CD reads a repository whole.
        let exported = if id.kind == "Git" || id.kind == "Chart" {
            opened.exported.clone()
        } else {
            let sparse = declaration.as_ref().and_then(|source| source.value.pointer("/spec/sparseCheckout")?.as_array());
            let sparse = sparse.into_iter().flatten().filter_map(|path| join("", path.as_str()?)).collect::<Vec<_>>();
            opened.exported.view(ignore.as_deref(), &sparse, &name)
        };
        let branch = declaration
            .as_ref()
            .and_then(|source| {
                ["branch", "tag", "name"].into_iter().find_map(|key| source.value.pointer(&format!("/spec/ref/{key}"))?.as_str())
            })
            // As it stands in the file; with a variable in it, it says nothing.
            .filter(|branch| !branch.contains("${"))
            .map(str::to_owned)
            .or_else(|| opened.repository.branch())
            .unwrap_or_else(|| "HEAD".to_owned());
        let files = Files {
            root: exported.root()?.to_owned(),
            content: exported.content,
            revision: format!("{branch}@sha1:{}", exported.revision),
            repository: opened.repository.root().to_owned(),
            prefix: opened.prefix.clone(),
            moved: HashMap::new(),
            list: exported.files,
            assumed: BTreeSet::new(),
            origins: OnceLock::new(),
        };
        let includes = declaration.as_ref().and_then(|source| source.value.pointer("/spec/include")).and_then(Value::as_array).cloned();
        match includes {
            Some(includes) if !includes.is_empty() => self.include(&files, &includes, id, depth),
            _ => Ok(Found::Files(Arc::new(files))),
        }
    }

    /// `spec.include` of a GitRepository: `fromPath` of another one appears at `toPath` (by default a folder with its name).
    fn include(&mut self, base: &Files, includes: &[Value], id: &SourceId, depth: u32) -> Result<Found, ReadError> {
        let mut stage = Stage::new(&self.folder)?;
        let mut assumed = base.assumed.clone();
        for file in &base.list {
            stage.copy(base, file, file)?;
        }
        for include in includes {
            let text = |pointer: &str| include.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let name = text("/repository/name");
            let other = SourceId { kind: "GitRepository".to_owned(), namespace: id.namespace.clone(), name: name.to_owned() };
            let files = match self.find_within(&other, depth + 1)? {
                Found::Files(files) => files,
                other => return Ok(other),
            };
            assumed.extend(files.assumed.iter().cloned());
            let from = join("", text("/fromPath")).unwrap_or_default();
            let to = join("", if text("/toPath").is_empty() { name } else { text("/toPath") }).unwrap_or_default();
            for file in &files.list {
                if super::entry::is_inside(file, &from) {
                    let inside = file[from.len()..].trim_start_matches('/');
                    stage.copy(&files, file, &format!("{to}/{inside}"))?;
                }
            }
        }
        let files = stage.finish(base.revision.clone(), base.repository.clone(), base.prefix.clone());
        Ok(Found::Files(Arc::new(Files { assumed, ..files })))
    }

    /// One artifact of an ArtifactGenerator.
    fn generate(&mut self, generator: &Resource, artifact: &Value, depth: u32) -> Result<Found, ReadError> {
        let own = generator.namespace().unwrap_or("default");
        let mut sources: BTreeMap<String, Arc<Files>> = BTreeMap::new();
        for source in generator.value.pointer("/spec/sources").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| source.get(key).and_then(Value::as_str);
            let (Some(alias), Some(kind), Some(name)) = (text("alias"), text("kind"), text("name")) else {
                return Ok(Found::Wrong(format!("{}: a source lacks alias, kind or name", generator.id())));
            };
            let id = SourceId { kind: kind.to_owned(), namespace: text("namespace").unwrap_or(own).to_owned(), name: name.to_owned() };
            match self.find_within(&id, depth + 1)? {
                Found::Files(files) => {
                    sources.insert(alias.to_owned(), files);
                }
                Found::Elsewhere(why) => return Ok(Found::Elsewhere(format!("{}: {why}", generator.id()))),
                other => return Ok(other),
            }
        }
        let mut stage = Stage::new(&self.folder)?;
        for operation in artifact.get("copy").and_then(Value::as_array).into_iter().flatten() {
            if let Err(why) = copy(operation, &sources, &mut stage)? {
                return Ok(Found::Wrong(format!("{}: {why}", generator.id())));
            }
        }
        let taken = artifact.get("revision").or_else(|| artifact.get("originRevision")).and_then(Value::as_str);
        let origin = taken.and_then(|alias| sources.get(alias.trim_start_matches('@'))).or_else(|| sources.values().next());
        let (revision, repository, prefix) =
            origin.map_or_else(Default::default, |files| (files.revision.clone(), files.repository.clone(), files.prefix.clone()));
        let assumed = sources.values().flat_map(|files| files.assumed.iter().cloned()).collect();
        Ok(Found::Files(Arc::new(Files { assumed, ..stage.finish(revision, repository, prefix) })))
    }

    /// Everything that is known about sources at the end.
    pub(crate) fn finish(self) -> BTreeMap<SourceId, Source> {
        let mut sources: BTreeMap<SourceId, Source> =
            self.declared.into_iter().map(|(id, declaration)| (id, Source { declaration: Some(declaration), tree: None })).collect();
        for (id, files) in self.files {
            sources.entry(id).or_insert(Source { declaration: None, tree: None }).tree = Some(files.tree());
        }
        sources
    }
}

/// What `spec.ref` asks for: kind and name, in the order in which source-controller looks (`commit`, `name`, `semver`, `tag`, `branch`;
/// fluxcd/pkg `git/gogit`, Client.clone).
/// None where nothing is asked for, or a variable stands in it.
fn reference(declaration: &Resource) -> Option<(&'static str, String)> {
    let given = declaration.value.pointer("/spec/ref")?;
    let text = |key: &str| given.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let found = [("commit", "commit"), ("name", "reference"), ("semver", "semver"), ("tag", "tag"), ("branch", "branch")];
    let (kind, name) = found.into_iter().find_map(|(key, kind)| Some((kind, text(key)?)))?;
    // A full reference is the branch or tag that it names.
    let name = ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    (!name.contains("${")).then(|| (kind, name.to_owned()))
}
