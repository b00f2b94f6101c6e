//! What a reader of files must hold for any input: no panic, no hang, and what it gives agrees with itself. Shared by `tests/mutations.rs` and by
//! the targets of cargo-fuzz in `fuzz/`.

#![allow(dead_code, reason = "each target of cargo-fuzz is one of these")]

use blackstart::environment;
use blackstart::manifest::write;
use blackstart::manifest::yaml::{Located, documents, substituted};
use blackstart::read::footprint;
use blackstart::render::envsubst::substitute;
use blackstart::render::plain;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A reader of bytes.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name.
pub(crate) const ALL: [(&str, Target); 4] =
    [("yaml", yaml), ("envsubst", envsubst), ("environment", environment_file), ("kustomization", kustomization)];

/// Lines as YAML counts them (1.2.2, 5.4): a carriage return alone ends one too.
fn lines(text: &str) -> u32 {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count();
    u32::try_from(lines).unwrap_or(u32::MAX).max(1)
}

/// YAML: what was read is the same after it was written, and its places lie in the text.
pub(crate) fn yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = lines(&text);
    match documents(&text) {
        Ok(found) => {
            for document in found {
                assert!(document.line >= 1 && document.line <= lines, "line {} of {lines}", document.line);
                let written = write(&document.value);
                match documents(&written) {
                    Ok(again) if again.len() == 1 => assert_eq!(again[0].value, document.value, "written as\n{written}"),
                    other => panic!("{other:?} of what was written as\n{written}"),
                }
            }
        }
        // One past the end is where a parser notices that something is missing.
        Err(error) => assert!(error.line >= 1 && error.line <= lines + 1 && error.column >= 1, "{error:?} of {lines} lines"),
    }
    let _ = substituted(&text);
    if let Ok(located) = Located::parse(&text) {
        assert!(located.line >= 1 && located.column >= 1);
        drop(located.value());
    }
}

/// envsubst: a text without `$` is left alone, and what has been replaced needs no further look but for what the values hold.
pub(crate) fn envsubst(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: BTreeMap<String, String> = [("A", "value"), ("EMPTY", ""), ("LONG", "ünïcödé and more"), ("n", "8080")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    if let Ok(found) = substitute(&text, &variables) {
        if !text.contains('$') {
            assert_eq!(found.text, text);
        }
        assert!(found.undefined.iter().all(|name| text.contains(name.as_str())), "{:?}", found.undefined);
    }
}

/// blackstart.yaml: whatever is wrong with it has a place in it.
pub(crate) fn environment_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = lines(&text);
    if let Err(problems) = environment::parse(&text, "blackstart.yaml") {
        assert!(!problems.is_empty());
        for problem in problems {
            let origin = problem.origin.as_ref().unwrap_or_else(|| panic!("{problem:?}"));
            assert!(origin.line >= 1 && origin.line <= lines + 1, "{problem:?} of {lines} lines");
        }
    }
}

/// A kustomization: its resources come from its folder, and no path leads out of the root.
pub(crate) fn kustomization(data: &[u8]) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let root = folder.path();
    for (path, text) in [
        ("base/kustomization.yaml", "resources: [a.yaml, ../top]\n"),
        ("base/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
        ("top/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(path, text).expect("written");
    }
    fs::write(root.join("top/kustomization.yaml"), data).expect("written");
    for object in plain(root, "top").unwrap_or_default() {
        let file = object.origin.as_ref().map(|origin| origin.file.clone()).unwrap_or_default();
        assert!(root.join(&file).is_file() && !file.contains(".."), "{file}");
    }
    let found = footprint(root, "top");
    assert!(found.holds("top/kustomization.yaml"));
    assert!(found.files.iter().chain(&found.folders).all(|path| !path.starts_with('/') && !path.contains("..")), "{found:?}");
}
