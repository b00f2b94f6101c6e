//! Files that kustomizations name and nobody has: told with their lines and all at once, before kustomize would stop at the first.

use super::native::{join, kustomization_file};
use super::remote::remote;
use super::{MissingFile, RenderError};
use crate::manifest::yaml::Located;
use crate::problem::Origin;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lists of files and folders.
const LISTS: [&str; 5] = ["resources", "bases", "components", "crds", "configurations"];
/// Lists of entries with a file each.
const PATHS: [&str; 3] = ["patches", "patchesJson6902", "replacements"];
/// Lists of entries with files each, as `file` or `key=file`.
const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// What the kustomizations from a folder on name and is not there. No word on one that cannot be read: kustomize tells that.
pub(super) fn refuse(root: &Path, folder: &str) -> Result<(), RenderError> {
    let mut walk = Walk { root, seen: BTreeSet::new(), files: Vec::new() };
    walk.visit(folder);
    if walk.files.is_empty() { Ok(()) } else { Err(RenderError::Missing { files: walk.files }) }
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
        let name = text.split_once('=').filter(|_| is_keyed).map_or(text, |(_, name)| name);
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
        match refuse(root.path(), "apps/a") {
            Err(RenderError::Missing { files }) => {
                files.iter().map(|file| format!("{}: {} {}", file.origin, file.field, file.path)).collect()
            }
            other => {
                other.expect("nothing else is refused");
                Vec::new()
            }
        }
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
