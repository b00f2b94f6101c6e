//! SOPS with age, PGP and AWS KMS keys, by the `sops` program. Keys go to it in its environment, content through pipes: nothing in clear reaches a disk
//! or an argument. What is decrypted, and as which format, follows kustomize-controller `internal/decryptor`.

use super::native::{join, kustomization_file};
use super::program;
use super::{Keys, RenderError};
use crate::manifest::Resource;
use crate::manifest::yaml::documents;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Formats of sops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
    Dotenv,
    Ini,
    Binary,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }

    fn of_path(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json" | "dockerconfigjson") => Self::Json,
            Some("env") => Self::Dotenv,
            Some("ini") => Self::Ini,
            _ => Self::Binary,
        }
    }

    /// What the encrypted form always holds.
    fn marker(self) -> &'static str {
        match self {
            Self::Yaml => "mac: ENC[",
            Self::Json | Self::Binary => "\"mac\": \"ENC[",
            Self::Dotenv => "sops_mac=ENC[",
            Self::Ini => "mac = ENC[",
        }
    }

    fn marks(self, content: &[u8]) -> bool {
        let marker = self.marker().as_bytes();
        content.windows(marker.len()).any(|window| window == marker)
    }
}

/// Whether an object is encrypted as a whole.
pub fn is_encrypted(resource: &Resource) -> bool {
    resource.value.pointer("/sops/mac").is_some_and(Value::is_string)
}

/// Keys in a Secret's `data` that hold encrypted files.
fn encrypted_data(resource: &Resource) -> Vec<(String, Vec<u8>, Format)> {
    if resource.kind() != "Secret" {
        return Vec::new();
    }
    let Some(Value::Object(data)) = resource.value.get("data") else { return Vec::new() };
    data.iter()
        .filter_map(|(key, value)| {
            let content = STANDARD.decode(value.as_str()?).ok()?;
            let format = [Format::Dotenv, Format::Json, Format::Yaml, Format::Ini].into_iter().find(|format| format.marks(&content))?;
            Some((key.clone(), content, format))
        })
        .collect()
}

/// Whether something in an object is encrypted.
pub(crate) fn holds_encrypted(resource: &Resource) -> bool {
    is_encrypted(resource) || !encrypted_data(resource).is_empty()
}

/// Whether a key of AWS KMS opens something in an object.
pub(crate) fn is_for_kms(resource: &Resource) -> bool {
    let names = |content: &[u8]| String::from_utf8_lossy(content).contains(":kms:");
    (is_encrypted(resource) && names(resource.value.to_string().as_bytes()))
        || encrypted_data(resource).iter().any(|(_, content, _)| names(content))
}

/// Decrypts an object in place.
pub(crate) fn decrypt_resource(resource: &mut Resource, keys: &Keys) -> Result<(), RenderError> {
    let name = resource.id().to_string();
    if is_encrypted(resource) {
        let content = resource.value.to_string();
        let clear = decrypt(&name, content.as_bytes(), (Format::Json, Format::Json), keys)?;
        // The parser's own words could quote what was decrypted.
        resource.value = serde_json::from_slice(&clear).map_err(|_| RenderError::Decrypt {
            object: name,
            message: "sops gave something else than an object".to_owned(),
            recipients: Vec::new(),
        })?;
        return Ok(());
    }
    for (key, content, format) in encrypted_data(resource) {
        let clear = decrypt(&format!("{name}, key {key}"), &content, (format, Format::of_path(&key)), keys)?;
        if let Some(data) = resource.value.get_mut("data").and_then(Value::as_object_mut) {
            data.insert(key, STANDARD.encode(&*clear).into());
        }
    }
    Ok(())
}

/// Encrypted files that generators and patches of a layer's kustomizations read.
pub(crate) struct Sources {
    /// Path from the root, with the format to decrypt as.
    files: BTreeMap<String, Format>,
    /// Folders of all kustomizations that were visited.
    pub(crate) folders: BTreeSet<String>,
}

impl Sources {
    /// Walks the kustomizations from a folder on.
    pub(crate) fn find(root: &Path, folder: &str) -> Self {
        let mut sources = Self { files: BTreeMap::new(), folders: BTreeSet::new() };
        sources.visit(root, folder);
        sources
    }

    /// Whether none is encrypted.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn visit(&mut self, root: &Path, folder: &str) {
        if !self.folders.insert(folder.to_owned()) {
            return;
        }
        let place = root.join(folder);
        let Some(file) = kustomization_file(&place) else { return };
        let Ok(text) = fs::read_to_string(place.join(file)) else { return };
        let Ok(found) = documents(&text) else { return };
        let Some(kustomization) = found.first().map(|document| &document.value) else { return };
        let texts = |key: &str| -> Vec<&str> {
            kustomization.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
        };
        for generator in kustomization.get("secretGenerator").and_then(Value::as_array).into_iter().flatten() {
            let listed = |key: &str| generator.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            for entry in listed("files") {
                let (key, path) = entry.split_once('=').unwrap_or((entry, entry));
                self.add(root, folder, path, Format::of_path(key));
            }
            for path in listed("envs").chain(generator.get("env").and_then(Value::as_str)) {
                let format = Format::of_path(path);
                self.add(root, folder, path, if format == Format::Binary { Format::Dotenv } else { format });
            }
        }
        for patch in kustomization.get("patches").and_then(Value::as_array).into_iter().flatten() {
            if let Some(path) = patch.get("path").and_then(Value::as_str).filter(|path| !path.contains("://")) {
                self.add(root, folder, path, Format::of_path(path));
            }
        }
        for path in ["resources", "components", "bases"].into_iter().flat_map(texts) {
            if let Some(path) = join(folder, path)
                && root.join(&path).is_dir()
            {
                self.visit(root, &path);
            }
        }
    }

    fn add(&mut self, root: &Path, folder: &str, path: &str, format: Format) {
        if let Some(path) = join(folder, path)
            && fs::read(root.join(&path)).is_ok_and(|content| format.marks(&content))
        {
            self.files.insert(path, format);
        }
    }

    /// The files in clear; for memory-backed private folders only.
    pub(crate) fn decrypt(&self, root: &Path, keys: &Keys) -> Result<BTreeMap<String, Vec<u8>>, RenderError> {
        self.files
            .iter()
            .map(|(path, format)| {
                let content = fs::read(root.join(path)).map_err(|source| RenderError::Read { path: path.clone(), source })?;
                decrypt(path, &content, (*format, *format), keys).map(|clear| (path.clone(), clear.to_vec()))
            })
            .collect()
    }
}

fn decrypt(object: &str, content: &[u8], (from, to): (Format, Format), keys: &Keys) -> Result<zeroize::Zeroizing<Vec<u8>>, RenderError> {
    let program = program::find("sops").ok_or(RenderError::NoProgram { name: "sops" })?;
    let failed = |message: String| RenderError::Decrypt { object: object.to_owned(), message, recipients: recipients(content) };
    let identities = zeroize::Zeroizing::new(keys.age.iter().map(|key| key.as_str()).collect::<Vec<_>>().join("\n"));
    let home = keys.pgp.as_ref().map(|ring| ring.home()).transpose().map_err(failed)?;
    let mut environment = vec![("SOPS_AGE_KEY", identities.as_str()), ("SOPS_AGE_KEY_FILE", "")];
    environment.extend(home.as_deref().map(|home| ("GNUPGHOME", home)));
    environment.extend(keys.aws.iter().map(|(name, value)| (*name, value.as_str())));
    // The MAC covers the object as it was written; kustomize has added names and labels since (so kustomize-controller ignores it too).
    let arguments = ["decrypt", "--ignore-mac", "--input-type", from.name(), "--output-type", to.name(), "/dev/stdin"];
    let output = program::run(&program, arguments, &environment, Some(content))
        .map_err(|source| RenderError::Read { path: program.display().to_string(), source })?;
    if output.success {
        return Ok(zeroize::Zeroizing::new(output.stdout));
    }
    Err(failed(reason(&output.stderr)))
}

/// The line of sops' report that says why; the report itself is a page long.
fn reason(stderr: &str) -> String {
    let lines = || stderr.lines().map(|line| line.trim().trim_matches('|').trim()).filter(|line| !line.is_empty());
    let telling =
        lines().find(|line| line.contains("no identity matched") || line.contains("no age identity") || line.contains("did not find"));
    let text = if telling.is_some() { "none of the given keys fits" } else { lines().next().unwrap_or("sops gave no reason") };
    text.to_owned()
}

/// The age recipients that a file was encrypted for.
fn recipients(content: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(content);
    let found: BTreeSet<String> = text
        .match_indices("age1")
        .map(|(at, _)| text[at..].chars().take_while(char::is_ascii_alphanumeric).collect::<String>())
        .filter(|recipient| recipient.len() > 50)
        .collect();
    found.into_iter().collect()
}
