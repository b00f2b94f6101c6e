//! Generators of an ApplicationSet: each gives sets of parameters (argo-cd `applicationset/generators`).

use crate::layers::template::functions::normalized;
use crate::layers::template::{Style, TemplateError, fill, fill_text};
use crate::manifest::merge;
use crate::manifest::yaml::documents;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Parameters of one Application.
pub(super) type Parameters = Map<String, Value>;

/// Files of the repositories that generators look into.
pub trait Repositories {
    /// All files of a revision (`HEAD` or empty: the one that is read), with `/`, sorted; else why they are not at hand.
    fn files(&mut self, url: &str, revision: &str) -> Result<Vec<String>, String>;
    /// Text of one of them.
    fn text(&mut self, url: &str, revision: &str, path: &str) -> Option<String>;
}

/// Why an ApplicationSet gives no Applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Git does not say it: what it needs.
    Unknown(String),
    /// It is wrong.
    Wrong(String),
}

impl From<TemplateError> for Fault {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Function { .. } | TemplateError::Later { .. } => Self::Unknown(format!("the result of a template: {error}")),
            TemplateError::Wrong { .. } => Self::Wrong(format!("template {error}")),
        }
    }
}

/// Parameters with the template that their generator has of its own.
pub(super) type Sets = Vec<(Parameters, Option<Value>)>;

/// What a generator needs that Git does not say.
const ELSEWHERE: [(&str, &str); 5] = [
    ("clusters", "the clusters that are registered with Argo CD (generator clusters)"),
    ("clusterDecisionResource", "the clusters that another controller chooses (generator clusterDecisionResource)"),
    ("scmProvider", "the repositories of an organisation (generator scmProvider asks its API)"),
    ("pullRequest", "the open pull requests (generator pullRequest asks an API)"),
    ("plugin", "the answer of a plugin (generator plugin)"),
];

/// Generators in generators, no deeper than Argo CD allows.
const DEPTH: usize = 3;

pub(super) struct Generators<'a> {
    pub(super) repositories: &'a mut dyn Repositories,
    pub(super) style: Style,
}

impl Generators<'_> {
    /// Parameters of one generator; those of the generator around it may stand in its fields.
    pub(super) fn run(&mut self, generator: &Value, depth: usize) -> Result<Sets, Fault> {
        let Some(map) = generator.as_object() else { return Err(Fault::Wrong("a generator is no map".to_owned())) };
        if depth >= DEPTH {
            return Err(Fault::Wrong("generators are nested too deep".to_owned()));
        }
        let Some((name, given)) = map.iter().find(|(key, value)| *key != "selector" && !value.is_null()) else {
            return Err(Fault::Wrong("a generator is empty".to_owned()));
        };
        if let Some((_, needs)) = ELSEWHERE.iter().find(|(other, _)| other == name) {
            return Err(Fault::Unknown((*needs).to_owned()));
        }
        let mut found: Vec<Parameters> = match name.as_str() {
            "list" => self.list(given)?,
            "git" => self.git(given)?,
            "matrix" => self.matrix(given, depth)?,
            "merge" => self.merge(given, depth)?,
            other => return Err(Fault::Wrong(format!("generator {other} is not known"))),
        };
        if let Some(selector) = map.get("selector") {
            found.retain(|parameters| selects(selector, parameters));
        }
        let own = given.get("template").filter(|template| template.is_object());
        Ok(found.into_iter().map(|parameters| (parameters, own.cloned())).collect())
    }

    fn is_go(&self) -> bool {
        self.style != Style::Simple
    }

    fn list(&self, given: &Value) -> Result<Vec<Parameters>, Fault> {
        let mut elements: Vec<Value> = given.get("elements").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(text) = given.get("elementsYaml").and_then(Value::as_str).filter(|text| !text.trim().is_empty()) {
            let found = documents(text).map_err(|error| Fault::Wrong(format!("list.elementsYaml: {}", error.message)))?;
            elements.extend(found.into_iter().next().and_then(|document| document.value.as_array().cloned()).unwrap_or_default());
        }
        elements
            .into_iter()
            .map(|element| {
                let Value::Object(map) = element else { return Err(Fault::Wrong("list: an element is no map".to_owned())) };
                if self.is_go() {
                    return Ok(map);
                }
                // Without Go templates a parameter is a text; `values` is the only map.
                let mut parameters = Map::new();
                for (key, value) in map {
                    match value {
                        Value::Object(values) if key == "values" => {
                            parameters.extend(values.into_iter().map(|(name, value)| (format!("values.{name}"), value)));
                        }
                        Value::Object(_) | Value::Array(_) => {
                            return Err(Fault::Wrong(format!("list: {key} is no text; set goTemplate: true")));
                        }
                        value => drop(parameters.insert(key, value)),
                    }
                }
                Ok(parameters)
            })
            .collect()
    }

    fn git(&mut self, given: &Value) -> Result<Vec<Parameters>, Fault> {
        let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
        let (url, revision, prefix) = (text("repoURL"), text("revision"), text("pathParamPrefix"));
        let files =
            self.repositories.files(url, revision).map_err(|why| Fault::Unknown(format!("the files of {url} (generator git): {why}")))?;
        let asked = |key: &str| -> Vec<(String, bool)> {
            let list = given.get(key).and_then(Value::as_array).into_iter().flatten();
            list.map(|one| {
                let path = one.get("path").and_then(Value::as_str).unwrap_or_default();
                (path.trim_start_matches("./").to_owned(), one.get("exclude").and_then(Value::as_bool).unwrap_or(false))
            })
            .collect()
        };
        let (folders, documents) = (asked("directories"), asked("files"));
        let mut found = Vec::new();
        for folder in folders_of(&files).into_iter().filter(|folder| wanted(folder, &folders, false)) {
            found.push(self.with_path(Map::new(), folder, None, prefix));
        }
        for file in files.iter().filter(|file| wanted(file, &documents, true)) {
            let content = self.repositories.text(url, revision, file).unwrap_or_default();
            let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
            for content in contents(file, &content)? {
                let content = if self.is_go() { content } else { flat(content) };
                found.push(self.with_path(content, folder, Some(name), prefix));
            }
        }
        let values = given.get("values").and_then(Value::as_object).cloned().unwrap_or_default();
        for parameters in &mut found {
            let mut made = Map::new();
            for (name, value) in &values {
                made.insert(name.clone(), fill(value, parameters, self.style)?);
            }
            if self.is_go() && !made.is_empty() {
                parameters.insert("values".to_owned(), Value::Object(made));
            } else {
                parameters.extend(made.into_iter().map(|(name, value)| (format!("values.{name}"), value)));
            }
        }
        Ok(found)
    }

    /// Parameters about a folder, or a file in it.
    fn with_path(&self, mut parameters: Parameters, folder: &str, file: Option<&str>, prefix: &str) -> Parameters {
        let segments: Vec<&str> = folder.split('/').collect();
        let basename = segments.last().copied().unwrap_or_default();
        if self.is_go() {
            let mut path = json!({"path": folder, "basename": basename, "basenameNormalized": normalized(basename), "segments": segments});
            if let Some(file) = file {
                path["filename"] = file.into();
                path["filenameNormalized"] = normalized(file).into();
            }
            if prefix.is_empty() {
                parameters.insert("path".to_owned(), path);
            } else {
                parameters.insert(prefix.to_owned(), json!({"path": path}));
            }
            return parameters;
        }
        let root = if prefix.is_empty() { "path".to_owned() } else { format!("{prefix}.path") };
        let mut add = |name: String, value: &str| drop(parameters.insert(name, value.into()));
        add(root.clone(), folder);
        add(format!("{root}.basename"), basename);
        add(format!("{root}.basenameNormalized"), &normalized(basename));
        if let Some(file) = file {
            add(format!("{root}.filename"), file);
            add(format!("{root}.filenameNormalized"), &normalized(file));
        }
        for (at, segment) in segments.iter().enumerate() {
            add(format!("{root}[{at}]"), segment);
        }
        parameters
    }

    /// Each of the first with each of the second, which may use the parameters of the first.
    fn matrix(&mut self, given: &Value, depth: usize) -> Result<Vec<Parameters>, Fault> {
        let Some([first, second]) = given.get("generators").and_then(Value::as_array).map(Vec::as_slice) else {
            return Err(Fault::Wrong("matrix: takes two generators".to_owned()));
        };
        let mut found = Vec::new();
        for (one, _) in self.run(first, depth + 1)? {
            for (other, _) in self.run(&self.interpolated(second, &one)?, depth + 1)? {
                let mut both = Value::Object(one.clone());
                merge(&mut both, Value::Object(other));
                found.extend(both.as_object().cloned());
            }
        }
        Ok(found)
    }

    /// A generator's fields with parameters in place; its template is filled later.
    fn interpolated(&self, generator: &Value, parameters: &Parameters) -> Result<Value, Fault> {
        let Some(map) = generator.as_object() else { return Ok(generator.clone()) };
        let mut filled = Map::new();
        for (key, value) in map {
            let mut value = value.clone();
            let template = value.as_object_mut().and_then(|value| value.remove("template"));
            // A list's own elements may hold templates for later; Argo CD fills them all the same.
            let mut value = fill(&value, parameters, self.style)?;
            if let (Some(map), Some(template)) = (value.as_object_mut(), template) {
                map.insert("template".to_owned(), template);
            }
            filled.insert(key.clone(), value);
        }
        Ok(Value::Object(filled))
    }

    /// The first one's sets, changed by those of the others that agree with them on all keys.
    fn merge(&mut self, given: &Value, depth: usize) -> Result<Vec<Parameters>, Fault> {
        let generators = given.get("generators").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let keys: Vec<&str> = given.get("mergeKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let [first, others @ ..] = generators else { return Err(Fault::Wrong("merge: takes two generators or more".to_owned())) };
        if others.is_empty() || keys.is_empty() {
            return Err(Fault::Wrong("merge: takes two generators or more, and mergeKeys".to_owned()));
        }
        let key_of = |parameters: &Parameters| -> Vec<Option<Value>> { keys.iter().map(|key| lookup(parameters, key)).collect() };
        let mut found: Vec<Parameters> = self.run(first, depth + 1)?.into_iter().map(|(parameters, _)| parameters).collect();
        let mut seen = BTreeSet::new();
        for parameters in &found {
            if !seen.insert(json!(key_of(parameters)).to_string()) {
                return Err(Fault::Wrong(format!("merge: two sets of the first generator have the same {}", keys.join(", "))));
            }
        }
        for generator in others {
            for (other, _) in self.run(generator, depth + 1)? {
                let wanted = key_of(&other);
                for parameters in found.iter_mut().filter(|parameters| key_of(parameters) == wanted) {
                    let mut both = Value::Object(std::mem::take(parameters));
                    merge(&mut both, Value::Object(other.clone()));
                    *parameters = both.as_object().cloned().unwrap_or_default();
                }
            }
        }
        Ok(found)
    }
}

/// A parameter by its whole name, else by the parts between dots.
fn lookup(parameters: &Parameters, key: &str) -> Option<Value> {
    parameters.get(key).cloned().or_else(|| {
        let mut parts = key.split('.');
        let first = parameters.get(parts.next()?)?;
        parts.try_fold(first, |at, part| at.get(part)).cloned()
    })
}

/// `generator.selector` over the parameters, as over labels.
fn selects(selector: &Value, parameters: &Parameters) -> bool {
    let labels = flat(parameters.clone());
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let matched =
        selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten().all(|(key, value)| label(key) == value.as_str());
    matched && selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().all(|expression| matches(expression, label))
}

/// One expression of a label selector.
pub(in crate::layers) fn matches<'l>(expression: &Value, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
    let found = label(text("key"));
    let listed =
        found.is_some_and(|found| expression.get("values").and_then(Value::as_array).into_iter().flatten().any(|value| value == found));
    match text("operator") {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        _ => false,
    }
}

/// All values as texts, deeper ones under a name with dots.
fn flat(content: Parameters) -> Parameters {
    fn add(name: String, value: Value, out: &mut Parameters) {
        match value {
            Value::Object(map) => map.into_iter().for_each(|(key, value)| add(format!("{name}.{key}"), value, out)),
            Value::Array(items) => items.into_iter().enumerate().for_each(|(at, value)| add(format!("{name}.{at}"), value, out)),
            Value::String(text) => drop(out.insert(name, text.into())),
            Value::Null => drop(out.insert(name, "".into())),
            other => drop(out.insert(name, other.to_string().into())),
        }
    }
    let mut out = Map::new();
    content.into_iter().for_each(|(key, value)| add(key, value, &mut out));
    out
}

/// The maps in a file: one, or a list of them.
fn contents(file: &str, text: &str) -> Result<Vec<Parameters>, Fault> {
    let found = documents(text).map_err(|error| Fault::Wrong(format!("{file}:{}: is not valid YAML: {}", error.line, error.message)))?;
    match found.into_iter().next().map(|document| document.value) {
        Some(Value::Object(map)) => Ok(vec![map]),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| {
                if let Value::Object(map) = item { Ok(map) } else { Err(Fault::Wrong(format!("{file}: holds a list of what are no maps"))) }
            })
            .collect(),
        Some(_) => Err(Fault::Wrong(format!("{file}: holds neither a map nor a list of maps"))),
        None => Ok(vec![Map::new()]),
    }
}

/// All folders, but those whose name begins with a dot and what is in them.
fn folders_of(files: &[String]) -> Vec<&str> {
    let folders: BTreeSet<&str> = files.iter().flat_map(|file| file.match_indices('/').map(|(end, _)| &file[..end])).collect();
    folders.into_iter().filter(|folder| !folder.split('/').any(|part| part.starts_with('.'))).collect()
}

/// Whether one pattern takes a path and none that excludes does.
fn wanted(path: &str, patterns: &[(String, bool)], crosses: bool) -> bool {
    let is_met = |excludes: bool| {
        patterns.iter().any(|(pattern, out)| *out == excludes && path_matches(pattern.trim_end_matches('/'), path, crosses))
    };
    is_met(false) && !is_met(true)
}

/// Folders are matched as Go's `path.Match` does it, files as Git's pathspecs, whose `*` crosses `/` and which take all below a folder.
fn path_matches(pattern: &str, path: &str, crosses: bool) -> bool {
    let pattern_chars: Vec<char> = pattern.chars().collect();
    let is_below = crosses && path.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('/'));
    is_below || glob(&pattern_chars, &path.chars().collect::<Vec<_>>(), crosses)
}

fn glob(pattern: &[char], text: &[char], crosses: bool) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', '/', rest @ ..] if crosses => {
            glob(rest, text, crosses) || (0..text.len()).any(|at| text[at] == '/' && glob(rest, &text[at + 1..], crosses))
        }
        ['*', rest @ ..] => {
            let most = if crosses { text.len() } else { text.iter().position(|c| *c == '/').unwrap_or(text.len()) };
            (0..=most).any(|skipped| glob(rest, &text[skipped..], crosses))
        }
        ['?', rest @ ..] => text.first().is_some_and(|c| crosses || *c != '/') && glob(rest, &text[1..], crosses),
        ['[', rest @ ..] if rest.contains(&']') => {
            let end = rest.iter().position(|c| *c == ']').unwrap_or_default();
            let (negated, set) = if matches!(rest.first(), Some('^' | '!')) { (true, &rest[1..end]) } else { (false, &rest[..end]) };
            let Some(found) = text.first() else { return false };
            let inside = set.contains(found) || set.windows(3).any(|range| range[1] == '-' && range[0] <= *found && *found <= range[2]);
            inside != negated && glob(&rest[end + 1..], &text[1..], crosses)
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && glob(rest, &text[1..], crosses),
    }
}

/// A text with the parameters in place.
pub(super) fn filled(text: &str, parameters: &Parameters, style: Style) -> Result<String, Fault> {
    Ok(fill_text(text, parameters, style)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_matched_by_segments_and_files_across_them() {
        assert!(
            path_matches("apps/*", "apps/a", false) && !path_matches("apps/*", "apps/a/b", false) && path_matches("*/[a-c]", "x/b", false)
        );
        assert!(path_matches("apps/**/config.json", "apps/a/b/config.json", true) && path_matches("apps/*.json", "apps/a/x.json", true));
        assert!(path_matches("apps/**/config.json", "apps/config.json", true) && path_matches("apps", "apps/x.yaml", true));
    }
}
