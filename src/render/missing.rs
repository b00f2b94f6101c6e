//! Files that kustomizations name and nobody has: told with their lines and all at once, before kustomize would stop at the first. The rest
//! of such a layer is rendered without them, so that one lost file does not hide what else stands there.

use super::MissingFile;
use super::native::{join, kustomization_file, scan};
use super::remote::remote;
use crate::manifest::Resource;
use crate::manifest::yaml::{Located, documents};
use crate::problem::Origin;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Lists of files and folders.
const LISTS: [&str; 5] = ["resources", "bases", "components", "crds", "configurations"];
/// Lists of entries with a file each.
const PATHS: [&str; 3] = ["patches", "patchesJson6902", "replacements"];
/// Lists of entries with files each, as `file` or `key=file`.
const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// Marks what a generator makes without all of its files.
const MARK: &str = "blackstart/lacks-files";

/// What the kustomizations from a folder on name and is not there. No word on one that cannot be read: kustomize tells that.
pub(super) fn find(root: &Path, folder: &str) -> Vec<MissingFile> {
    let mut walk = Walk { root, seen: BTreeSet::new(), files: Vec::new() };
    let place = root.join(folder);
    if kustomization_file(&place).is_some() {
        walk.visit(folder);
    } else {
        // The generated kustomization lists what is there: only folders with one of their own may lack something.
        let inside = scan(&place).unwrap_or_default();
        inside.iter().filter_map(|path| join(folder, path)).filter(|path| root.join(path).is_dir()).for_each(|path| walk.visit(&path));
    }
    walk.files
}

/// Kustomizations that do not name the missing files, added to those that are changed anyway. `own` stands for that of `folder`, where
/// it was changed.
pub(super) fn leave_out(root: &Path, folder: &str, files: &[MissingFile], own: Option<&Value>, changed: &mut BTreeMap<String, Value>) {
    for place in files.iter().map(|file| file.origin.file.as_str()).collect::<BTreeSet<_>>() {
        let inside = place.rsplit_once('/').map_or("", |(inside, _)| inside);
        let own = own.filter(|_| inside == folder);
        // A changed kustomization of the folder itself has this name.
        let name = if own.is_some() { join(folder, "kustomization.yaml").unwrap_or_default() } else { place.to_owned() };
        let read = || documents(&fs::read_to_string(root.join(place)).ok()?).ok()?.into_iter().next().map(|document| document.value);
        let Some(mut value) = changed.get(&name).or(own).cloned().or_else(read) else { continue };
        let gone: BTreeSet<&str> = files.iter().filter(|file| file.origin.file == place).map(|file| file.path.as_str()).collect();
        lessen(&mut value, |entry| join(inside, entry).is_none_or(|path| !gone.contains(path.as_str())));
        changed.insert(name, value);
    }
}

fn lessen(kustomization: &mut Value, stays: impl Fn(&str) -> bool) {
    for field in LISTS {
        if let Some(entries) = kustomization.get_mut(field).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry.as_str().is_none_or(&stays));
        }
    }
    for field in PATHS {
        if let Some(entries) = kustomization.get_mut(field).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry.get("path").and_then(Value::as_str).is_none_or(&stays));
        }
    }
    let generators = GENERATORS.iter().filter_map(|field| kustomization.get(field)?.as_array().map(|all| (*field, all.len())));
    for (field, at) in generators.flat_map(|(field, length)| (0..length).map(move |at| (field, at))).collect::<Vec<_>>() {
        let generator = &mut kustomization[field][at];
        let mut is_less = false;
        for part in ["files", "envs"] {
            if let Some(entries) = generator.get_mut(part).and_then(Value::as_array_mut) {
                let before = entries.len();
                entries.retain(|entry| entry.as_str().is_none_or(|entry| stays(file_of(entry, part == "files"))));
                is_less |= entries.len() < before;
            }
        }
        if is_less {
            let options = &mut generator["options"];
            if !options.is_object() {
                *options = json!({});
            }
            if !options["annotations"].is_object() {
                options["annotations"] = json!({});
            }
            options["annotations"][MARK] = "true".into();
        }
    }
}

/// Objects without those whose name is a hash of what is missing.
pub(super) fn known(objects: Vec<Resource>) -> Vec<Resource> {
    let pointer = "/metadata/annotations";
    let is_hashed = |object: &Resource| {
        let end = object.name().rsplit_once('-').map_or("", |(_, end)| end);
        // kustomize `api/hasher`: letters and digits that spell no words.
        end.len() == 10 && end.chars().all(|c| "2456789bcdfghkmt".contains(c))
    };
    let keep = |mut object: Resource| {
        let is_marked = object.annotation(MARK).is_some();
        if is_marked && is_hashed(&object) {
            return None;
        }
        if let Some(annotations) = object.value.pointer_mut(pointer).and_then(Value::as_object_mut).filter(|_| is_marked) {
            annotations.remove(MARK);
            if annotations.is_empty() {
                object.value["metadata"].as_object_mut()?.remove("annotations");
            }
        }
        Some(object)
    };
    objects.into_iter().filter_map(keep).collect()
}

/// The file of an entry of a generator, which may give it a key.
fn file_of(entry: &str, is_keyed: bool) -> &str {
    entry.split_once('=').filter(|_| is_keyed).map_or(entry, |(_, name)| name)
}

struct Walk<'r> {
    root: &'r Path,
    seen: BTreeSet<String>,
    files: Vec<MissingFile>,
}

impl Walk<'_> {
    fn visit(&mut self, folder: &str) {
        let place = self.root.join(folder);
        let Some(name) = kustomization_file(&place).filter(|_| self.seen.insert(folder.to_owned())) else { return };
        let Some(file) = join(folder, name) else { return };
        let Some(read) = fs::read_to_string(place.join(name)).ok().and_then(|text| Located::parse(&text).ok()) else { return };
        for field in LISTS {
            for entry in read.get(field).map_or(&[][..], Located::items) {
                if let Some(next) = self.named(&file, folder, field, entry) {
                    self.visit(&next);
                }
            }
        }
        for field in PATHS {
            for entry in read.get(field).map_or(&[][..], Located::items).iter().filter_map(|entry| entry.get("path")) {
                self.named(&file, folder, &format!("{field}.path"), entry);
            }
        }
        for field in GENERATORS {
            for generator in read.get(field).map_or(&[][..], Located::items) {
                for part in ["files", "envs"] {
                    for entry in generator.get(part).map_or(&[][..], Located::items) {
                        self.named(&file, folder, &format!("{field}.{part}"), entry);
                    }
                }
            }
        }
    }

    /// The folder that an entry names, and a note of what is not there.
    fn named(&mut self, file: &str, folder: &str, field: &str, entry: &Located) -> Option<String> {
        let text = entry.text()?;
        let is_keyed = GENERATORS.iter().any(|generator| field.strip_prefix(generator) == Some(".files"));
        let name = file_of(text, is_keyed);
        // Inline YAML, another host, and what lies outside are none of this tree's.
        if name.is_empty() || name.starts_with('/') || name.contains('\n') || name.contains("://") || remote(name).is_some() {
            return None;
        }
        let path = join(folder, name)?;
        if let Ok(metadata) = self.root.join(&path).metadata() {
            return metadata.is_dir().then_some(path);
        }
        let origin = Origin { file: file.to_owned(), line: entry.line };
        self.files.push(MissingFile { origin, field: field.to_owned(), path });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        find(root.path(), "apps/a").iter().map(|file| format!("{}: {} {}", file.origin, file.field, file.path)).collect()
    }

    #[test]
    fn each_field_that_names_a_file_is_looked_through_on_all_levels() {
        let found = missing(&[
            (
                "apps/a/kustomization.yaml",
                concat!(
                    "resources:\n  - a.yaml\n  - ../base\n  - gone.yaml\n",
                    "configMapGenerator:\n  - name: x\n    files:\n      - key=conf/a.ini\n      - b.ini\n    envs: [c.env]\n",
                    "patches:\n  - path: patch.yaml\n  - patch: |\n      a: b\nreplacements: [{path: r.yaml}]\n",
                ),
            ),
            ("apps/a/a.yaml", ""),
            ("apps/base/kustomization.yml", "resources: [../../gone]\ncomponents: [../a]\n"),
        ]);
        assert_eq!(
            found,
            [
                "apps/base/kustomization.yml:1: resources gone",
                "apps/a/kustomization.yaml:4: resources apps/a/gone.yaml",
                "apps/a/kustomization.yaml:12: patches.path apps/a/patch.yaml",
                "apps/a/kustomization.yaml:15: replacements.path apps/a/r.yaml",
                "apps/a/kustomization.yaml:8: configMapGenerator.files apps/a/conf/a.ini",
                "apps/a/kustomization.yaml:9: configMapGenerator.files apps/a/b.ini",
                "apps/a/kustomization.yaml:10: configMapGenerator.envs apps/a/c.env",
            ]
        );
    }

    #[test]
    fn a_folder_without_kustomization_may_hold_one_that_lacks_something() {
        let found = missing(&[("apps/a/x.yaml", ""), ("apps/a/deep/er/kustomization.yaml", "resources: [gone.yaml]\n")]);
        assert_eq!(found, ["apps/a/deep/er/kustomization.yaml:1: resources apps/a/deep/er/gone.yaml"]);
    }

    #[test]
    fn what_is_there_and_what_is_elsewhere_is_not_missing() {
        let found = missing(&[
            (
                "apps/a/kustomization.yaml",
                concat!(
                    "resources: [a.yaml, ../b, 'https://github.com/org/repo//base?ref=v1', 'github.com/org/repo/base?ref=v1', /etc/x, ../../../out]\n",
                    "configMapGenerator: [{name: x, files: [a.yaml, k=a.yaml, 'u=https://example.com/x'], literals: [p=gone.ini]}]\n",
                    "patches: [{patch: 'gone.yaml'}]\n",
                ),
            ),
            ("apps/a/a.yaml", ""),
            ("apps/b/plain.yaml", "resources: [gone.yaml]\n"),
        ]);
        assert!(found.is_empty(), "{found:?}");
        assert!(missing(&[("apps/a/kustomization.yaml", "resources: [gone\n")]).is_empty());
    }
}
