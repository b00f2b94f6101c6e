//! Generators of an ApplicationSet: each gives sets of parameters (argo-cd `applicationset/generators`).

use crate::layers::template::functions::normalized;
use crate::layers::template::printed;
use crate::layers::template::{Style, TemplateError, fill, fill_text};
use crate::manifest::yaml::{SyntaxError, chunks, documents, substituted};
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
            let found = first(text).map_err(|error| Fault::Wrong(format!("list.elementsYaml: {}", error.message)))?;
            elements.extend(found.as_array().cloned().unwrap_or_default());
        }
        elements
            .into_iter()
            .map(|element| {
                let Value::Object(map) = element else { return Err(Fault::Wrong("list: an element is no map".to_owned())) };
                if self.is_go() {
                    return Ok(map.into_iter().map(|(key, value)| (key, as_floats(value))).collect());
                }
                // Without Go templates a parameter is a text; `values` is the only map (list.go).
                let mut parameters = Map::new();
                let mut add = |name: String, value: Value| match value {
                    Value::String(_) => {
                        parameters.insert(name, value);
                        Ok(())
                    }
                    _ => Err(Fault::Wrong(format!("list: {name} is no text; quote it, or set goTemplate: true"))),
                };
                for (key, value) in map {
                    match value {
                        Value::Object(values) if key == "values" => {
                            values.into_iter().try_for_each(|(name, value)| add(format!("values.{name}"), value))?;
                        }
                        value => add(key, value)?,
                    }
                }
                Ok(parameters)
            })
            .collect()
    }

    fn git(&mut self, given: &Value) -> Result<Vec<Parameters>, Fault> {
        let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
        let (url, revision, prefix) = (text("repoURL"), text("revision"), text("pathParamPrefix"));
        let asked = |key: &str| -> Vec<(String, bool)> {
            let list = given.get(key).and_then(Value::as_array).into_iter().flatten();
            list.map(|one| {
                let path = one.get("path").and_then(Value::as_str).unwrap_or_default();
                (path.to_owned(), one.get("exclude").and_then(Value::as_bool).unwrap_or(false))
            })
            .collect()
        };
        // Where both are asked for, directories alone count (git.go, GenerateParams).
        let (folders, documents) = (asked("directories"), asked("files"));
        let documents = if folders.is_empty() { documents } else { Vec::new() };
        if folders.is_empty() && documents.is_empty() {
            return Err(Fault::Wrong("git: asks for neither directories nor files".to_owned()));
        }
        let files =
            self.repositories.files(url, revision).map_err(|why| Fault::Unknown(format!("the files of {url} (generator git): {why}")))?;
        let mut found = Vec::new();
        for folder in folders_of(&files).into_iter().filter(|folder| wanted(folder, &folders, false)) {
            found.push(self.with_path(Map::new(), folder, None, prefix));
        }
        for file in files.iter().filter(|file| wanted(file, &documents, true)) {
            let content = self.repositories.text(url, revision, file).unwrap_or_default();
            // A file of the root is in `.` (Go's path.Dir).
            let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
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

    /// Each of the first with each of the second, which may use the parameters of the first. Where both give a parameter, the first one's
    /// counts; without Go templates they must agree (matrix.go, utils/map.go).
    fn matrix(&mut self, given: &Value, depth: usize) -> Result<Vec<Parameters>, Fault> {
        let Some([first, second]) = given.get("generators").and_then(Value::as_array).map(Vec::as_slice) else {
            return Err(Fault::Wrong("matrix: takes two generators".to_owned()));
        };
        let mut found = Vec::new();
        for (one, _) in self.run(first, depth + 1)? {
            for (mut other, _) in self.run(&self.interpolated(second, &one)?, depth + 1)? {
                if self.is_go() {
                    overridden(&mut other, &one);
                } else if let Some((key, value)) = one.iter().find(|(key, value)| other.get(*key).is_some_and(|own| own != *value)) {
                    let own = printed(&other[key]);
                    return Err(Fault::Wrong(format!("matrix: {key} is {} in one generator and {own} in the other", printed(value))));
                } else {
                    other.extend(one.clone());
                }
                found.push(other);
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
        // A key is a name at the top, dots and all: with Go templates `values.app` is none (merge.go, getParamSetsByMergeKey).
        let key_of = |parameters: &Parameters| json!(keys.iter().map(|key| parameters.get(*key)).collect::<Vec<_>>()).to_string();
        let is_go = self.is_go();
        let mut sets = |number: usize, generator: &Value| -> Result<Vec<Parameters>, Fault> {
            let found: Vec<Parameters> = self.run(generator, depth + 1)?.into_iter().map(|(parameters, _)| parameters).collect();
            let mut seen = BTreeSet::new();
            match found.iter().find(|parameters| !seen.insert(key_of(parameters))) {
                None => Ok(found),
                Some(twice) if keys.iter().all(|key| !twice.contains_key(*key)) => {
                    Err(Fault::Wrong(format!("merge: sets of generator {number} have no {}, and so are all the same", keys.join(", "))))
                }
                Some(_) => Err(Fault::Wrong(format!("merge: two sets of generator {number} have the same {}", keys.join(", ")))),
            }
        };
        let mut found = sets(1, first)?;
        for (at, generator) in others.iter().enumerate() {
            for other in sets(at + 2, generator)? {
                let wanted = key_of(&other);
                for parameters in found.iter_mut().filter(|parameters| key_of(parameters) == wanted) {
                    if is_go { overridden(parameters, &other) } else { parameters.extend(other.clone()) }
                }
            }
        }
        Ok(found)
    }
}

/// Parameters with those of others in their place, but for what is empty there (mergo, `WithOverride`).
fn overridden(parameters: &mut Parameters, others: &Parameters) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    for (key, other) in others {
        match (parameters.get_mut(key), other) {
            (Some(Value::Object(own)), Value::Object(other)) => overridden(own, other),
            (Some(_), other) if is_empty(other) => {}
            (Some(own), other) => *own = other.clone(),
            (None, other) => drop(parameters.insert(key.clone(), other.clone())),
        }
    }
}

/// All numbers as Go's JSON reads them: 64 bits of floating point, whatever they are.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Number(number), Value::from),
        Value::Array(items) => items.into_iter().map(as_floats).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, as_floats(value))).collect(),
        other => other,
    }
}

/// The first document of a text, as sigs.k8s.io/yaml reads it: `yes` is true.
fn first(text: &str) -> Result<Value, SyntaxError> {
    let is_something = |chunk: &&str| documents(chunk).map_or(true, |found| !found.is_empty());
    chunks(text).into_iter().map(|(_, chunk)| chunk).find(is_something).map_or(Ok(Value::Null), substituted)
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
            // As Go prints it.
            Value::Null => drop(out.insert(name, "<nil>".into())),
            other => drop(out.insert(name, printed(&other).into())),
        }
    }
    let mut out = Map::new();
    content.into_iter().for_each(|(key, value)| add(key, value, &mut out));
    out
}

/// The maps in a file: one, or a list of them.
fn contents(file: &str, text: &str) -> Result<Vec<Parameters>, Fault> {
    let found = first(text).map_err(|error| Fault::Wrong(format!("{file}:{}: is not valid YAML: {}", error.line, error.message)))?;
    match as_floats(found) {
        Value::Object(map) => Ok(vec![map]),
        Value::Array(items) => items
            .into_iter()
            .map(|item| {
                if let Value::Object(map) = item { Ok(map) } else { Err(Fault::Wrong(format!("{file}: holds a list of what are no maps"))) }
            })
            .collect(),
        Value::Null => Ok(vec![Map::new()]),
        _ => Err(Fault::Wrong(format!("{file}: holds neither a map nor a list of maps"))),
    }
}

/// All folders, but those whose name begins with a dot and what is in them.
fn folders_of(files: &[String]) -> Vec<&str> {
    let folders: BTreeSet<&str> = files.iter().flat_map(|file| file.match_indices('/').map(|(end, _)| &file[..end])).collect();
    folders.into_iter().filter(|folder| !folder.split('/').any(|part| part.starts_with('.'))).collect()
}

/// Whether one pattern takes a path and none that excludes does.
fn wanted(path: &str, patterns: &[(String, bool)], crosses: bool) -> bool {
    let is_met = |excludes: bool| patterns.iter().any(|(pattern, out)| *out == excludes && path_matches(pattern, path, crosses));
    is_met(false) && !is_met(true)
}

/// Folders are matched as Go's `path.Match` does it (which knows no `./` and no `/` at the end); files as Git's pathspecs, whose `*` crosses
/// `/`, for which `**` is no more than `*`, and which take all below a folder (`git ls-files`, gitglossary).
fn path_matches(pattern: &str, path: &str, crosses: bool) -> bool {
    let pattern = if crosses { pattern.trim_start_matches("./") } else { pattern };
    let is_below = || path.strip_prefix(pattern.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'));
    let pattern_chars: Vec<char> = pattern.chars().collect();
    crosses && is_below() || glob(&pattern_chars, &path.chars().collect::<Vec<_>>(), crosses)
}

fn glob(pattern: &[char], text: &[char], crosses: bool) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => glob(&[&['*'][..], rest].concat(), text, crosses),
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
        assert!(!path_matches("apps/*/", "apps/a", false) && !path_matches("./apps/*", "apps/a", false));
        assert!(path_matches("apps/**/config.json", "apps/a/b/config.json", true) && path_matches("apps/*.json", "apps/a/x.json", true));
        assert!(path_matches("./apps/", "apps/x.yaml", true) && path_matches("apps", "apps/x.yaml", true));
        // As `git ls-files` answers: a `*` more does not make a `/` less.
        assert!(!path_matches("apps/**/config.json", "apps/config.json", true) && !path_matches("**/x.json", "x.json", true));
    }
}
