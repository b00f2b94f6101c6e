//! One source of an Argo CD Application to objects, as argo-cd's repository server makes them (`reposerver/repository/repository.go`):
//! plain files, kustomize, or a Helm chart that stands in Git.

use super::native::{is_yaml, join, kustomization_file};
use super::{RenderError, Renderer, Request, helm, inflate, yaml_error};
use crate::layers::argo::{Directory, Kustomize, Source};
use crate::layers::flux::Spec;
use crate::manifest::Resource;
use crate::manifest::yaml::{chunks, documents};
use crate::problem::Origin;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One source, ready to render.
#[derive(Clone, Debug)]
pub struct Part {
    /// Root of its files.
    pub root: PathBuf,
    /// Names their content.
    pub content: String,
    /// What is asked of them.
    pub source: Source,
    /// Roots and contents of other sources whose value files are used, by `ref`.
    pub lent: BTreeMap<String, (PathBuf, String)>,
    /// The Application's name.
    pub name: String,
    /// Its destination's namespace.
    pub namespace: String,
    /// Its project.
    pub project: String,
    /// Commit of the files.
    pub revision: String,
    /// Something beside Git is in its values: it must not reach the cache.
    pub is_private: bool,
    /// Its value files stand in the place of the chart's own values, as Flux has it.
    pub replaces_values: bool,
    /// `spec.postRenderers` of a HelmRelease.
    pub post_renderers: Vec<Value>,
}

impl Part {
    /// The folder, plain.
    pub(crate) fn path(&self) -> Option<String> {
        join("", self.source.path.as_deref().unwrap_or_default())
    }

    /// `$ARGOCD_APP_…` in a text (argo-cd, "Build environment").
    pub(super) fn with_variables(&self, text: &str) -> String {
        let short = |length: usize| self.revision.get(..length).unwrap_or(&self.revision);
        let known = [
            ("ARGOCD_APP_REVISION_SHORT_8", short(8)),
            ("ARGOCD_APP_REVISION_SHORT", short(7)),
            ("ARGOCD_APP_REVISION", &self.revision),
            ("ARGOCD_APP_NAMESPACE", &self.namespace),
            ("ARGOCD_APP_NAME", &self.name),
            ("ARGOCD_APP_PROJECT_NAME", &self.project),
            ("ARGOCD_APP_SOURCE_PATH", self.source.path.as_deref().unwrap_or_default()),
            ("ARGOCD_APP_SOURCE_REPO_URL", &self.source.repo_url),
            ("ARGOCD_APP_SOURCE_TARGET_REVISION", &self.source.target_revision),
        ];
        let mut text = text.to_owned();
        for (name, value) in known {
            text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
        }
        text
    }
}

impl Renderer {
    /// Objects of one source, as they stand in the files: without the destination's namespace. Origins are paths from the root.
    pub fn render_application(&self, part: &Part) -> Result<Vec<Resource>, RenderError> {
        let no_folder = || RenderError::NoFolder { path: part.source.path.clone().unwrap_or_default() };
        let path = part.path().filter(|path| part.root.join(path).is_dir()).ok_or_else(no_folder)?;
        let source = overridden(part, &path)?;
        let named = [
            ("helm", source.helm.is_some()),
            ("kustomize", source.kustomize.is_some()),
            ("directory", source.directory.is_some()),
            ("plugin", source.plugin.is_some()),
        ];
        let named: Vec<&str> = named.into_iter().filter_map(|(tool, is_named)| is_named.then_some(tool)).collect();
        let folder = part.root.join(&path);
        let tool = match named.as_slice() {
            [] if folder.join("Chart.yaml").is_file() => "helm",
            [] if kustomization_file(&folder).is_some() => "kustomize",
            [] => "directory",
            [only] => only,
            several => return Err(RenderError::Tool { message: format!("its source names several tools: {}", several.join(", ")) }),
        };
        let part = Part { source, ..part.clone() };
        let rendered = match tool {
            "helm" => self.helm(&part, &path),
            "kustomize" => self.kustomized(&part, &path),
            "plugin" => {
                let name = part.source.plugin.as_ref().and_then(|plugin| plugin.get("name")?.as_str()).unwrap_or("without a name");
                Err(RenderError::Lacking { what: format!("what its plugin {name} renders") })
            }
            _ => directory(&part.root, &path, part.source.directory.as_ref().unwrap_or(&Directory::default())),
        };
        rendered.map(|mut objects| {
            objects.iter_mut().for_each(name_of_its_own);
            objects
        })
    }

    /// Objects of a chart in Git, without the release's namespace. Origins are paths from the root.
    pub fn render_chart(&self, part: &Part) -> Result<Vec<Resource>, RenderError> {
        let path = part.path().ok_or_else(|| RenderError::NoFolder { path: part.source.path.clone().unwrap_or_default() })?;
        self.post_rendered(self.helm(part, &path)?, &part.post_renderers, part.is_private)
    }

    fn kustomized(&self, part: &Part, path: &str) -> Result<Vec<Resource>, RenderError> {
        let default = Kustomize::default();
        let asked = part.source.kustomize.as_ref().unwrap_or(&default);
        let spec = Spec {
            path: path.to_owned(),
            name_prefix: asked.name_prefix.clone(),
            name_suffix: asked.name_suffix.clone(),
            target_namespace: asked.namespace.clone(),
            patches: asked.patches.clone(),
            images: asked.images.iter().map(|image| self::image(&part.with_variables(image))).collect(),
            components: asked.components.clone(),
            ignore_missing_components: asked.ignore_missing_components,
            ..Spec::default()
        };
        let mut more = Map::new();
        if asked.label_without_selector && !asked.common_labels.is_empty() {
            more.insert("labels".to_owned(), json!([{"pairs": asked.common_labels, "includeSelectors": false}]));
        } else if !asked.common_labels.is_empty() {
            more.insert("commonLabels".to_owned(), json!(asked.common_labels));
        }
        if !asked.common_annotations.is_empty() {
            more.insert("commonAnnotations".to_owned(), json!(asked.common_annotations));
        }
        if !asked.replicas.is_empty() {
            more.insert("replicas".to_owned(), json!(asked.replicas));
        }
        let request = Request { root: part.root.clone(), content: part.content.clone(), spec, keys: None };
        self.build(&request, path, &more)
    }
}

/// Names of the charts that what is rendered from a folder takes from elsewhere: those that its chart depends on, those that its
/// kustomization takes in.
pub(crate) fn charts(root: &Path, path: &str) -> Vec<String> {
    let Some(path) = join("", path) else { return Vec::new() };
    if root.join(&path).join("Chart.yaml").is_file() {
        return helm::dependencies(root, &path);
    }
    inflate::charts(root, &path).into_iter().map(|chart| chart.name).collect()
}

/// A name for an object that gets one only when it is applied (`generateName`): it is shown with `*` for the rest.
fn name_of_its_own(object: &mut Resource) {
    let begin = object.text("/metadata/generateName").to_owned();
    if object.name().is_empty() && !begin.is_empty() {
        object.value["metadata"]["name"] = format!("{begin}*").into();
    }
}

/// Whether an object has a name, or a beginning of one.
pub(super) fn is_named(object: &Resource) -> bool {
    !object.name().is_empty() || !object.text("/metadata/generateName").is_empty()
}

/// The source with what `.argocd-source.yaml` and `.argocd-source-NAME.yaml` in its folder change.
fn overridden(part: &Part, path: &str) -> Result<Source, RenderError> {
    let mut source = part.source.clone();
    for file in [".argocd-source.yaml".to_owned(), format!(".argocd-source-{}.yaml", part.name)] {
        let file = join(path, &file).unwrap_or_default();
        let Ok(text) = fs::read_to_string(part.root.join(&file)) else { continue };
        let found = documents(&text).map_err(|error| yaml_error(file.clone(), error, &text))?;
        let Some(given) = found.into_iter().next().map(|document| document.value) else { continue };
        let wrong = |error: serde_json::Error| RenderError::Tool { message: format!("{file}: cannot be read: {error}") };
        let given: Source = serde_json::from_value(given).map_err(wrong)?;
        if let Some(helm) = given.helm {
            let own = source.helm.get_or_insert_default();
            own.parameters.retain(|parameter| !helm.parameters.iter().any(|other| other.name == parameter.name));
            own.parameters.extend(helm.parameters);
            own.values = helm.values.or(own.values.take());
            own.values_object = helm.values_object.or(own.values_object.take());
            own.release_name = helm.release_name.or(own.release_name.take());
            if !helm.value_files.is_empty() {
                own.value_files = helm.value_files;
            }
        }
        if let Some(kustomize) = given.kustomize {
            let own = source.kustomize.get_or_insert_default();
            let name = |image: &str| self::image(image)["name"].clone();
            own.images.retain(|image| !kustomize.images.iter().any(|other| name(other) == name(image)));
            own.images.extend(kustomize.images);
        }
        source.directory = given.directory.or(source.directory);
    }
    Ok(source)
}

/// `name=new:tag@digest` as kustomize's own form.
fn image(text: &str) -> Value {
    let (name, new) = text.split_once('=').map_or((None, text), |(name, new)| (Some(name), new));
    let (rest, digest) = new.split_once('@').map_or((new, None), |(rest, digest)| (rest, Some(digest)));
    // A `:` before the last `/` is a port.
    let colon = rest.rfind(':').filter(|colon| !rest[*colon..].contains('/'));
    let (new_name, tag) = colon.map_or((rest, None), |colon| (&rest[..colon], Some(&rest[colon + 1..])));
    let mut image = json!({"name": name.unwrap_or(new_name)});
    if name.is_some_and(|name| name != new_name) {
        image["newName"] = new_name.into();
    }
    for (key, value) in [("newTag", tag), ("digest", digest)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            image[key] = value.into();
        }
    }
    image
}

/// Plain manifests of a folder (`findManifests`): YAML and JSON, one by one, with `include` and `exclude`.
fn directory(root: &Path, path: &str, asked: &Directory) -> Result<Vec<Resource>, RenderError> {
    let mut files = Vec::new();
    listed(root, path, asked.recurse, &mut files).map_err(|source| RenderError::Read { path: path.to_owned(), source })?;
    let mut found = Vec::new();
    for file in files {
        let inside = file[path.len()..].trim_start_matches('/');
        let is_met = |patterns: &str| alternatives(patterns).iter().any(|pattern| matches(pattern, inside));
        if !asked.include.is_empty() && !is_met(&asked.include) || !asked.exclude.is_empty() && is_met(&asked.exclude) {
            continue;
        }
        if Path::new(&file).extension().is_some_and(|extension| extension == "jsonnet") {
            return Err(RenderError::Lacking { what: format!("what {file} (Jsonnet) gives") });
        }
        let text = fs::read_to_string(root.join(&file)).map_err(|source| RenderError::Read { path: file.clone(), source })?;
        if !text.contains("+argocd:skip-file-rendering") {
            read(&file, &text, &mut found)?;
        }
    }
    Ok(found)
}

fn read(file: &str, text: &str, found: &mut Vec<Resource>) -> Result<(), RenderError> {
    for (before, chunk) in chunks(text) {
        let parsed = match documents(chunk) {
            Ok(parsed) => parsed,
            // A file that is no manifest at all is passed over.
            Err(_) if !["apiVersion:", "kind:", "metadata:"].iter().all(|word| text.contains(word)) => return Ok(()),
            Err(mut error) => {
                error.line += before;
                return Err(yaml_error(file.to_owned(), error, text));
            }
        };
        for document in parsed {
            let origin = Origin { file: file.to_owned(), line: before + document.line };
            let is_list = document.value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            let items = document.value.get("items").filter(|_| is_list).and_then(Value::as_array).cloned();
            for value in items.unwrap_or_else(|| vec![document.value]) {
                let resource = Resource { value, origin: Some(origin.clone()) };
                if !resource.kind().is_empty() && !resource.api_version().is_empty() && is_named(&resource) {
                    found.push(resource);
                }
            }
        }
    }
    Ok(())
}

/// Files that may hold manifests, in the order of a walk by name.
fn listed(root: &Path, folder: &str, recurse: bool, files: &mut Vec<String>) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(root.join(folder))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Some(path) = entry.file_name().to_str().and_then(|name| join(folder, name)) else { continue };
        if entry.file_type()?.is_dir() {
            if recurse {
                listed(root, &path, recurse, files)?;
            }
        } else if is_yaml(&path) || is_json(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_json(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "json" || extension == "jsonnet")
}

/// `{a,b}` is a or b; it may stand around a whole pattern or in it.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![pattern.to_owned()] };
    inside.split(',').flat_map(|one| alternatives(&format!("{before}{one}{after}"))).collect()
}

/// gobwas/glob without separators: `*` crosses `/`.
fn matches(pattern: &str, path: &str) -> bool {
    let joined = |text: &str| text.replace('/', "\u{1}");
    crate::repo::glob(&joined(pattern), &joined(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_as_kustomize_reads_them() {
        assert_eq!(image("nginx:1.27"), json!({"name": "nginx", "newTag": "1.27"}));
        assert_eq!(
            image("nginx=registry:5000/nginx@sha256:ab"),
            json!({"name": "nginx", "newName": "registry:5000/nginx", "digest": "sha256:ab"})
        );
        assert_eq!(image("a/b=c/d:2"), json!({"name": "a/b", "newName": "c/d", "newTag": "2"}));
    }

    #[test]
    fn an_object_whose_name_is_made_later_is_kept() {
        let mut found = Vec::new();
        read("a.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\n", &mut found).expect("read");
        found.iter_mut().for_each(name_of_its_own);
        assert_eq!(found.iter().map(Resource::name).collect::<Vec<_>>(), ["migrate-*"]);
    }

    #[test]
    fn plain_files_with_include_exclude_and_what_is_no_manifest() {
        let root = tempfile::tempdir().expect("a folder");
        let object = |name: &str| format!("# x\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        for (path, text) in [
            ("app/a.yaml", object("a")),
            ("app/deep/b.json", "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"b\"}}".to_owned()),
            ("app/deep/c.yml", format!("{}---\n{}", object("c"), object("d"))),
            ("app/skip.yaml", format!("# +argocd:skip-file-rendering\n{}", object("skipped"))),
            ("app/values.yaml", "{{ not: yaml".to_owned()),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let names = |asked: Directory| -> Vec<String> {
            let found = directory(root.path(), "app", &asked).expect("read");
            found.iter().map(|resource| format!("{} {}", resource.name(), resource.origin.as_ref().expect("origin"))).collect()
        };
        assert_eq!(names(Directory::default()), ["a app/a.yaml:2"]);
        let all = Directory { recurse: true, ..Directory::default() };
        assert_eq!(names(all.clone()), ["a app/a.yaml:2", "b app/deep/b.json:1", "c app/deep/c.yml:2", "d app/deep/c.yml:7"]);
        assert_eq!(
            names(Directory { include: "{*.json,deep/c*}".into(), exclude: "*.json".into(), ..all }),
            ["c app/deep/c.yml:2", "d app/deep/c.yml:7"]
        );
    }
}
