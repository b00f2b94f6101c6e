//! Charts that stand in Git, by `helm template` as argo-cd calls it (`util/helm/cmd.go`). Nothing is fetched: a chart whose dependencies
//! are not beside it is not rendered.

use super::argo::{Part, is_named};
use super::cache::Cache;
use super::native::{is_yaml, join};
use super::{RenderError, Renderer, mirror, program, yaml_error};
use crate::layers::argo::Helm;
use crate::manifest::yaml::{chunks, documents};
use crate::manifest::{Resource, write};
use crate::problem::Origin;
use crate::repo::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// What helm is called with: arguments, and values for its standard input.
struct Call {
    arguments: Vec<String>,
    input: Option<String>,
}

impl Renderer {
    pub(super) fn helm(&self, part: &Part, path: &str) -> Result<Vec<Resource>, RenderError> {
        let (program, cache) = self
            .helm
            .get_or_init(|| {
                let program = program::find("helm")?;
                let cache = Cache::open(&program);
                Some((program, cache))
            })
            .as_ref()
            .ok_or(RenderError::NoProgram { name: "helm" })?;
        let default = Helm::default();
        let asked = part.source.helm.as_ref().unwrap_or(&default);
        let call = call(part, path, asked)?;
        let key = cache.as_ref().filter(|_| !part.is_private).map(|cache| (cache, key(part, path, &call)));
        let cached = key.as_ref().and_then(|(cache, key)| cache.get(key));
        let text = if let Some(text) = cached {
            text
        } else {
            let near = near(part, path)?;
            let text = if near.is_empty() && !part.replaces_values {
                self.template(program, &part.root, path, &call, &part.root)?
            } else {
                let mirror = self.beside(part, path, &near)?;
                let text = self.template(program, &mirror, path, &call, &part.root);
                let _ = fs::remove_dir_all(&mirror);
                text?
            };
            if let Some((cache, key)) = &key {
                cache.put(key, &text);
            }
            text
        };
        resources(&text, &part.root, path)
    }

    fn template(&self, program: &Path, root: &Path, path: &str, call: &Call, shown: &Path) -> Result<String, RenderError> {
        let home = self.folder.path().join("helm");
        let home = home.to_string_lossy();
        let environment = [
            ("HELM_CACHE_HOME", &*home),
            ("HELM_CONFIG_HOME", &*home),
            ("HELM_DATA_HOME", &*home),
            ("HELM_PLUGINS", &*home),
            ("KUBECONFIG", "/dev/null"),
        ];
        let chart = root.join(path).to_string_lossy().into_owned();
        let arguments = ["template", &chart].into_iter().map(str::to_owned).chain(call.arguments.iter().cloned());
        let output = program::run(program, arguments, &environment, call.input.as_deref().map(str::as_bytes))
            .map_err(|source| RenderError::Read { path: program.display().to_string(), source })?;
        if output.success {
            return String::from_utf8(output.stdout)
                .map_err(|_| RenderError::Helm { message: "its output is not UTF-8".to_owned(), place: None });
        }
        let mut message = output.stderr.lines().filter(|line| !is_noise(line)).map(str::trim).collect::<Vec<_>>().join(" ");
        for root in [root, shown] {
            message = message.replace(&format!("{}/", root.display()), "");
        }
        let message = message.trim().trim_start_matches("Error: ").to_owned();
        Err(RenderError::Helm { place: place(&message, shown, path), message })
    }

    /// The source with charts of the same repository beside the chart that names them, as `helm dependency build` would put them, and
    /// without the chart's own values where others stand for them.
    fn beside(&self, part: &Part, path: &str, near: &BTreeMap<String, String>) -> Result<PathBuf, RenderError> {
        let failed = |source| RenderError::Read { path: path.to_owned(), source };
        let mirror = self.folder.path().join(format!("mirror-{}", self.mirrors.fetch_add(1, Ordering::Relaxed)));
        let charts = join(path, "charts").unwrap_or_default();
        let mut real = BTreeSet::from([path.to_owned()]);
        if part.root.join(&charts).is_dir() {
            real.insert(charts.clone());
        }
        let own = join(path, "values.yaml").filter(|own| part.replaces_values && part.root.join(own).is_file());
        let files = own.into_iter().map(|own| (own, b"{}\n".to_vec())).collect();
        mirror::make(&part.root, &mirror, &files, &BTreeSet::new(), &real).map_err(failed)?;
        fs::create_dir_all(mirror.join(&charts)).map_err(failed)?;
        for (name, folder) in near {
            std::os::unix::fs::symlink(part.root.join(folder), mirror.join(&charts).join(name)).map_err(failed)?;
        }
        Ok(mirror)
    }
}

fn is_noise(line: &str) -> bool {
    line.trim().is_empty()
        || line.starts_with("Use --debug flag")
        || line.contains("found symbolic link in path")
        || line.starts_with("WARNING")
}

/// Names one result: files, chart, and all that helm is told.
fn key(part: &Part, path: &str, call: &Call) -> String {
    let lent: Vec<(&String, &String)> = part.lent.iter().map(|(name, (_, content))| (name, content)).collect();
    let hide = |argument: &String| {
        part.lent
            .values()
            .map(|(root, _)| root)
            .chain([&part.root])
            .fold(argument.clone(), |text, root| text.replace(&*root.to_string_lossy(), ""))
    };
    let arguments: Vec<String> = call.arguments.iter().map(hide).collect();
    hex(&Sha256::digest(json!(["helm", part.content, path, lent, arguments, call.input, part.replaces_values]).to_string()))
}

fn call(part: &Part, path: &str, asked: &Helm) -> Result<Call, RenderError> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut arguments = vec![
        "--name-template".to_owned(),
        text(&asked.release_name).unwrap_or_else(|| part.name.clone()),
        "--namespace".to_owned(),
        text(&asked.namespace)
            .or_else(|| Some(part.namespace.clone()).filter(|name| !name.is_empty()))
            .unwrap_or_else(|| "default".to_owned()),
    ];
    let flags = [
        ("--include-crds", !asked.skip_crds),
        ("--skip-tests", asked.skip_tests),
        ("--skip-schema-validation", asked.skip_schema_validation),
    ];
    arguments.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag.to_owned()));
    if let Some(version) = text(&asked.kube_version) {
        arguments.extend(["--kube-version".to_owned(), version]);
    }
    for version in &asked.api_versions {
        arguments.extend(["--api-versions".to_owned(), version.clone()]);
    }
    for file in &asked.value_files {
        match value_file(part, path, &part.with_variables(file))? {
            Some(place) => arguments.extend(["--values".to_owned(), place.to_string_lossy().into_owned()]),
            None if asked.ignore_missing_value_files => {}
            None => return Err(RenderError::Tool { message: format!("helm.valueFiles: {file} is not there") }),
        }
    }
    let object = asked.values_object.as_ref().filter(|values| !values.is_null());
    let input = object.map(write).or_else(|| text(&asked.values));
    if input.is_some() {
        arguments.extend(["--values".to_owned(), "-".to_owned()]);
    }
    for parameter in &asked.parameters {
        let flag = if parameter.force_string { "--set-string" } else { "--set" };
        arguments.extend([flag.to_owned(), format!("{}={}", parameter.name, escaped(&part.with_variables(&parameter.value)))]);
    }
    for parameter in &asked.file_parameters {
        let place = value_file(part, path, &part.with_variables(&parameter.path))?
            .ok_or_else(|| RenderError::Tool { message: format!("helm.fileParameters: {} is not there", parameter.path) })?;
        arguments.extend(["--set-file".to_owned(), format!("{}={}", parameter.name, place.display())]);
    }
    Ok(Call { arguments, input })
}

/// Commas part values for helm; inside `{…}` they are meant so (`cleanSetParameters`).
fn escaped(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut before = ' ';
    for c in value.chars() {
        if c == ',' && before != '\\' {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

/// A file of values, where it is there: from the chart's folder, from the root (`/…`), or from another source (`$NAME/…`).
fn value_file(part: &Part, path: &str, file: &str) -> Result<Option<PathBuf>, RenderError> {
    if file.contains("://") {
        return Err(RenderError::Lacking { what: format!("the value file {file}") });
    }
    let outside = || RenderError::Tool { message: format!("helm.valueFiles: {file} is outside of its repository") };
    let place = if let Some(rest) = file.strip_prefix('$') {
        let (name, inside) = rest.split_once('/').unwrap_or((rest, ""));
        let Some((root, _)) = part.lent.get(name) else {
            return Err(RenderError::Tool { message: format!("helm.valueFiles: {file}: no source has the ref `{name}`") });
        };
        root.join(join("", inside).ok_or_else(outside)?)
    } else {
        let folder = if file.starts_with('/') { "" } else { path };
        part.root.join(join(folder, file).ok_or_else(outside)?)
    };
    Ok(place.is_file().then_some(place))
}

/// Charts of the same repository that this one depends on, by name: folder. One that is nowhere is told.
fn near(part: &Part, path: &str) -> Result<BTreeMap<String, String>, RenderError> {
    let mut found = BTreeMap::new();
    let folder = part.root.join(path);
    for file in ["Chart.yaml", "requirements.yaml"] {
        let Ok(text) = fs::read_to_string(folder.join(file)) else { continue };
        let parsed = documents(&text).map_err(|error| yaml_error(join(path, file).unwrap_or_default(), error, &text))?;
        let dependencies = parsed.first().and_then(|document| document.value.get("dependencies")?.as_array()).into_iter().flatten();
        for dependency in dependencies {
            let text = |key: &str| dependency.get(key).and_then(Value::as_str).unwrap_or_default();
            let (name, repository) = (text("name"), text("repository"));
            if is_beside(&folder.join("charts"), name) {
                continue;
            }
            let near = repository.strip_prefix("file://").and_then(|near| join(path, near)).filter(|near| part.root.join(near).is_dir());
            let Some(near) = near else {
                let whence = if repository.is_empty() { String::new() } else { format!(" from {repository}") };
                return Err(RenderError::Lacking { what: format!("chart {name} {}{whence}, which its chart depends on", text("version")) });
            };
            found.insert(name.to_owned(), near);
        }
    }
    Ok(found)
}

/// Names of the charts that a chart depends on.
pub(super) fn dependencies(root: &Path, path: &str) -> Vec<String> {
    let read = |file: &&str| fs::read_to_string(root.join(path).join(file)).ok();
    let values = ["Chart.yaml", "requirements.yaml"].iter().filter_map(read).flat_map(|text| documents(&text).unwrap_or_default());
    let names = |value: Value| -> Vec<String> {
        let dependencies = value.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        dependencies.filter_map(|dependency| dependency.get("name")?.as_str()).map(str::to_owned).collect()
    };
    values.flat_map(|document| names(document.value)).collect()
}

fn is_beside(charts: &Path, name: &str) -> bool {
    let entries = fs::read_dir(charts).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|file| {
        file == name
            || file
                .strip_suffix(".tgz")
                .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'))
                .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit() || c == 'v'))
    })
}

/// helm's output, each object with the template it comes from.
fn resources(text: &str, root: &Path, path: &str) -> Result<Vec<Resource>, RenderError> {
    let mut found = Vec::new();
    for (_, chunk) in chunks(text) {
        let parsed =
            documents(chunk).map_err(|error| RenderError::Helm { message: format!("its output cannot be read: {error}"), place: None })?;
        let template = chunk.lines().find_map(|line| line.strip_prefix("# Source: ")?.split_once('/').map(|(_, inside)| inside.trim()));
        for document in parsed {
            let is_list = document.value.get("kind").and_then(Value::as_str) == Some("List");
            let items = document.value.get("items").filter(|_| is_list).and_then(Value::as_array).cloned();
            for value in items.unwrap_or_else(|| vec![document.value]) {
                let mut resource = Resource { value, origin: None };
                if !resource.kind().is_empty() && is_named(&resource) {
                    resource.origin = template.and_then(|template| origin(&resource, root, &join(path, template)?));
                    found.push(resource);
                }
            }
        }
    }
    Ok(found)
}

/// The document of a template that an object most likely comes from.
fn origin(resource: &Resource, root: &Path, file: &str) -> Option<Origin> {
    let text = fs::read_to_string(root.join(file)).ok()?;
    let kind = format!("kind: {}", resource.kind());
    let parts: Vec<(u32, &str)> = chunks(&text).into_iter().filter(|(_, part)| part.lines().any(|line| line.trim_end() == kind)).collect();
    let named = parts
        .iter()
        .find(|(_, part)| part.lines().any(|line| line.trim().strip_prefix("name:").is_some_and(|name| name.trim() == resource.name())));
    let (before, part) = named.or(parts.first()).copied().unwrap_or((0, &text));
    let line = part.lines().position(|line| line.starts_with("apiVersion:") || line.trim_end() == kind).unwrap_or_default();
    Some(Origin { file: file.to_owned(), line: before + u32::try_from(line + 1).ok()? })
}

/// `(chart/templates/x.yaml:15:5)` or `(chart/templates/x.yaml:15)` in helm's words, as a place in the source.
fn place(message: &str, root: &Path, path: &str) -> Option<Origin> {
    message.split(['(', ' ', ')']).find_map(|word| {
        let mut parts = word.trim_matches([':', '"']).split(':');
        let (_, inside) = parts.next()?.split_once('/')?;
        let line = parts.next()?.parse().ok()?;
        let file =
            join(path, inside).filter(|file| is_yaml(file) || Path::new(file).extension().is_some_and(|extension| extension == "tpl"))?;
        root.join(&file).is_file().then_some(Origin { file, line })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_of_a_value_are_escaped_once() {
        assert_eq!((escaped("a,b"), escaped("a\\,b"), escaped("{a,b}")), ("a\\,b".to_owned(), "a\\,b".to_owned(), "{a,b}".to_owned()));
    }
}
