//! Where rendered objects stand: kustomize loses that, so the files are searched for a document of the same kind and name.

use crate::layers::flux::Layer;
use crate::manifest::Resource;
use crate::manifest::yaml::chunks;
use crate::problem::Origin;
use std::collections::HashMap;
use std::path::Path;

/// All documents of a source by kind.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    documents: HashMap<String, Vec<Place>>,
    /// Kustomizations, for generated objects.
    kustomizations: Vec<(String, String)>,
}

#[derive(Debug)]
struct Place {
    name: String,
    origin: Origin,
}

impl Origins {
    /// Reads headers only: `kind` and `metadata.name` at their usual indentation.
    pub(crate) fn index(root: &Path, files: &[String]) -> Self {
        let mut origins = Self::default();
        for file in files.iter().filter(|file| crate::render::is_yaml(file) || file.ends_with("/Kustomization")) {
            let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
            let name = file.rsplit_once('/').map_or(file.as_str(), |(_, name)| name);
            if name.starts_with("kustomization.y") || name == "Kustomization" {
                origins.kustomizations.push((file.clone(), text));
                continue;
            }
            for (before, chunk) in chunks(&text) {
                if let Some((kind, name, line)) = header(chunk) {
                    let origin = Origin { file: file.clone(), line: before + line };
                    origins.documents.entry(kind).or_default().push(Place { name, origin });
                }
            }
        }
        origins
    }

    /// Best guess for an object of the layer at `path`: the same name, else a prefix or suffix of it, else a template of it; nearest file first.
    pub(crate) fn find(&self, resource: &Resource, path: &str) -> Option<Origin> {
        let name = resource.name();
        if let Some(places) = self.documents.get(resource.kind()) {
            let best = places
                .iter()
                .filter_map(|place| {
                    let quality = if place.name == name {
                        0
                    } else if place.name.contains("${") && like(&place.name, name) {
                        1
                    } else if !place.name.is_empty() && name.contains(&place.name) || place.name == "_" {
                        2
                    } else {
                        return None;
                    };
                    Some((quality, distance(&place.origin.file, path), place))
                })
                .min_by_key(|(quality, distance, place)| (*quality, *distance, place.origin.clone()));
            if let Some((.., place)) = best {
                return Some(place.origin.clone());
            }
        }
        self.generated(name, path)
    }

    /// The generator of a ConfigMap or Secret, whose name may end with a hash.
    fn generated(&self, name: &str, path: &str) -> Option<Origin> {
        let plain = name.rsplit_once('-').filter(|(_, hash)| hash.len() == 10).map_or(name, |(plain, _)| plain);
        let mut files: Vec<_> = self.kustomizations.iter().map(|(file, text)| (distance(file, path), file, text)).collect();
        files.sort();
        files.iter().find_map(|(_, file, text)| {
            let named = |line: &str| {
                line.trim().trim_start_matches("- ").strip_prefix("name:").map(|rest| rest.trim().trim_matches(['"', '\'']).to_owned())
            };
            let line = text.lines().position(|line| named(line).is_some_and(|found| found == plain))?;
            Some(Origin { file: (*file).clone(), line: u32::try_from(line + 1).ok()? })
        })
    }
}

/// Kind, name and first line of a document.
fn header(chunk: &str) -> Option<(String, String, u32)> {
    let value = |line: &str, key: &str| {
        let rest = line.strip_prefix(key)?.strip_prefix(':')?;
        let rest = rest.split(" #").next().unwrap_or_default().trim();
        // An anchor stands before the value that it names.
        let rest = rest.strip_prefix('&').and_then(|rest| rest.split_once(' ')).map_or(rest, |(_, rest)| rest.trim_start());
        Some(rest.trim_matches(['"', '\'']).to_owned())
    };
    let (mut kind, mut name, mut first, mut in_metadata, mut depth) = (None, None, None, false, None);
    for (index, line) in chunk.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') || line.starts_with("---") {
            continue;
        }
        first.get_or_insert(index + 1);
        if line.starts_with(' ') {
            if in_metadata && name.is_none() {
                // A label may be called `name` too; it stands deeper.
                let depth = *depth.get_or_insert(indent(line));
                name = value(line.trim_start(), "name").filter(|_| indent(line) == depth);
            }
            continue;
        }
        in_metadata = line.starts_with("metadata:");
        if in_metadata && line.contains('{') {
            name = line.split(['{', ',', '}']).find_map(|part| value(part.trim(), "name"));
        }
        if kind.is_none() {
            kind = value(line, "kind");
        }
    }
    Some((kind?, name.unwrap_or_default(), u32::try_from(first?).ok()?))
}

/// Whether a name can come from a template such as `${APP}-cache`.
fn like(template: &str, name: &str) -> bool {
    let mut rest = name;
    let mut text = template;
    let mut anchored = true;
    while let Some(start) = text.find("${") {
        let (fixed, after) = text.split_at(start);
        match (anchored, rest.strip_prefix(fixed), rest.find(fixed)) {
            (true, Some(left), _) => rest = left,
            (false, _, Some(at)) => rest = &rest[at + fixed.len()..],
            _ => return false,
        }
        anchored = false;
        text = after.split_once('}').map_or("", |(_, after)| after);
    }
    if anchored { rest == text } else { rest.ends_with(text) }
}

/// How far a file is from a layer's folder: 0 inside, else by the folders they do not share.
fn distance(file: &str, path: &str) -> usize {
    if super::entry::is_inside(file, path) {
        return 0;
    }
    let folders: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let shared = folders.iter().zip(file.split('/')).take_while(|(a, b)| **a == *b).count();
    1 + folders.len() - shared
}

/// Fills in where the entries of `dependsOn` and `substituteFrom` stand, from the text of the declaration.
pub(crate) fn entries(layer: &mut Layer, text: &str) {
    let Some(origin) = layer.declaration.origin.clone() else { return };
    let place = |key: &str, name: &str| entry(text, &origin, key, name);
    for dependency in &mut layer.spec.depends_on {
        dependency.origin = place("dependsOn:", &dependency.name).or_else(|| Some(origin.clone()));
    }
    if let Some(post_build) = &mut layer.spec.post_build {
        for reference in &mut post_build.substitute_from {
            reference.origin = place("substituteFrom:", &reference.name).or_else(|| Some(origin.clone()));
        }
    }
}

/// Place of the entry that names something, in the list `key` of the document that stands at `origin`.
pub(crate) fn entry(text: &str, origin: &Origin, key: &str, name: &str) -> Option<Origin> {
    let lines: Vec<&str> = text.lines().collect();
    let start = origin.line.saturating_sub(1) as usize;
    let end = lines.iter().skip(start).position(|line| line.starts_with("---")).map_or(lines.len(), |length| start + length);
    let document = lines.get(start..end)?;
    let head = document.iter().position(|line| line.trim_start().starts_with(key))?;
    let depth = indent(document[head]);
    let below = document.iter().enumerate().skip(head);
    let line = below.take_while(|(at, line)| {
        *at == head || line.trim().is_empty() || indent(line) > depth || indent(line) == depth && line.trim_start().starts_with('-')
    });
    let (at, _) = line.into_iter().find(|(_, line)| names(line, name))?;
    Some(Origin { file: origin.file.clone(), line: u32::try_from(start + at + 1).ok()? })
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a line says `name: NAME`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices("name:").any(|(at, key)| {
        let rest = line[at + key.len()..].trim_start().trim_start_matches(['"', '\'']);
        rest.strip_prefix(name).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '.'))
    })
}

/// First line below `from` that holds a text.
pub(crate) fn line_with(text: &str, from: u32, wanted: &str) -> Option<u32> {
    let skip = from.saturating_sub(1) as usize;
    let at = text.lines().skip(skip).position(|line| line.contains(wanted))?;
    u32::try_from(skip + at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_are_read_without_parsing() {
        let text = "---\n# x\napiVersion: v1\nkind: Secret # y\nmetadata:\n  labels:\n    name: no\n  name: \"a\"\n";
        assert_eq!(header(text), Some(("Secret".into(), "a".into(), 3)));
        assert_eq!(header("kind: Secret\nmetadata: {namespace: b, name: a}\n"), Some(("Secret".into(), "a".into(), 1)));
        assert_eq!(header("kind: Secret\nmetadata:\n  name: &app \"a\"\n"), Some(("Secret".into(), "a".into(), 1)));
        assert_eq!(header("kind: Secret\nmetadata: {name: &app a}\n"), Some(("Secret".into(), "a".into(), 1)));
        assert_eq!(header("# nothing\n"), None);
    }

    #[test]
    fn templates_match_what_they_become() {
        assert!(like("${APP}", "atuin") && like("${APP}-cache", "atuin-cache") && like("a-${B}-c", "a-x-c"));
        assert!(!like("${APP}-cache", "atuin-data") && !like("a-${B}", "b-x"));
    }

    #[test]
    fn entries_of_depends_on_know_their_line() {
        let text =
            "apiVersion: x\nkind: Kustomization\nmetadata:\n  name: a\nspec:\n  dependsOn:\n  - name: abc\n  - name: ab\n  path: x\n";
        let value = json!({"kind": "Kustomization", "metadata": {"name": "a", "namespace": "n"}, "spec": {"dependsOn": [{"name": "abc"}, {"name": "ab"}, {"name": "gone"}]}});
        let declaration = Resource { value, origin: Some(Origin { file: "f".into(), line: 1 }) };
        let mut layer = crate::layers::flux::layer(declaration, None).expect("layer");
        entries(&mut layer, text);
        let lines: Vec<u32> = layer.spec.depends_on.iter().map(|entry| entry.origin.as_ref().expect("origin").line).collect();
        assert_eq!(lines, [7, 8, 1]);
    }
}
