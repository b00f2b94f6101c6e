//! Helm charts as archives: from a folder of a repository, or a placeholder for one that cannot be fetched.

use super::archive::{self, Entry};
use crate::manifest::yaml;
use serde_json::Value;
use std::io;
use std::path::Path;

/// A packaged chart.
pub(super) struct Chart {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) bytes: Vec<u8>,
    /// Dependencies that `Chart.yaml` names and `charts/` does not hold.
    pub(super) missing: Vec<String>,
}

/// Packages a chart folder in the layout of `helm package`. `metadata` (what a `Revision` strategy adds) goes behind the version;
/// `values` replaces the chart's own `values.yaml`.
pub(super) fn package(folder: &Path, metadata: Option<&str>, values: Option<String>) -> io::Result<Chart> {
    let declared = std::fs::read_to_string(folder.join("Chart.yaml"))?;
    let field = |key: &str| top_level(&declared, key).ok_or_else(|| io::Error::other(format!("Chart.yaml has no {key}")));
    let name = field("name")?;
    let plain = field("version")?;
    let version = metadata.map_or_else(|| plain.clone(), |metadata| format!("{plain}+{metadata}"));
    let mut files = archive::read(folder, &format!("{name}/"), true)?;
    if version != plain {
        replace_version(&mut files, &name, &version);
    }
    if let Some(values) = values {
        let path = format!("{name}/values.yaml");
        files.retain(|(file, _)| *file != path);
        files.push((path, values.into_bytes()));
    }
    let missing = dependencies(&declared).into_iter().filter(|dependency| !vendored(&files, &name, dependency)).collect();
    let bytes = archive::pack(&files)?;
    Ok(Chart { name, version, bytes, missing })
}

/// A chart that accepts any values, has no hooks and makes one ConfigMap that says what it stands for.
pub(super) fn placeholder(name: &str, version: &str) -> io::Result<Chart> {
    let chart =
        format!("apiVersion: v2\nname: {name}\nversion: {version}\ndescription: Stand-in of a chart that the sandbox cannot fetch.\n");
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{{{ .Release.Name }}}}-stand-in\n  labels:\n    blackstart/stand-in: chart\n\
         data:\n  chart: {name}\n  version: \"{version}\"\n  why: the sandbox has no way to the registry of this chart\n"
    );
    let files = [
        (format!("{name}/Chart.yaml"), chart.into_bytes()),
        (format!("{name}/templates/stand-in.yaml"), template.into_bytes()),
        (format!("{name}/values.yaml"), b"{}\n".to_vec()),
    ];
    Ok(Chart { name: name.to_owned(), version: version.to_owned(), bytes: archive::pack(&files)?, missing: Vec::new() })
}

/// Values files merged in order, maps deeply, the later file winning (source-controller `spec.valuesFiles`); as JSON, which is YAML.
pub(super) fn merged_values(texts: &[String]) -> io::Result<String> {
    let mut merged = Value::Object(serde_json::Map::new());
    for text in texts {
        let values = yaml::documents(text).map_err(io::Error::other)?.into_iter().next();
        merge(&mut merged, values.map(|document| document.value).unwrap_or_default());
    }
    Ok(format!("{merged:#}\n"))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

/// A scalar at the top of `Chart.yaml`; charts write these on one line.
fn top_level(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.trim_start().strip_prefix(':')?;
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    })
}

fn replace_version(files: &mut [Entry], name: &str, version: &str) {
    let path = format!("{name}/Chart.yaml");
    if let Some((_, bytes)) = files.iter_mut().find(|(file, _)| *file == path) {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| if top_level(line, "version").is_some() { format!("version: {version}") } else { line.to_owned() })
            .collect();
        *bytes = (lines.join("\n") + "\n").into_bytes();
    }
}

/// Names under `dependencies:`.
fn dependencies(text: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| line.trim_end() != "dependencies:")
        .skip(1)
        .take_while(|line| line.starts_with([' ', '-', '#']) || line.trim().is_empty())
        .filter_map(|line| top_level(line.trim_start_matches([' ', '-']), "name"))
        .collect()
}

fn vendored(files: &[Entry], chart: &str, dependency: &str) -> bool {
    let folder = format!("{chart}/charts/{dependency}/");
    let archive = format!("{chart}/charts/{dependency}-");
    files.iter().any(|(path, _)| path.starts_with(&folder) || path.starts_with(&archive))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_later_values_file_wins_inside_of_maps() {
        let merged = merged_values(&["a: {b: 1, c: 2}\nl: [1, 2]\n".to_owned(), String::new(), "a: {b: 3}\nl: [4]\n".to_owned()]).unwrap();
        let merged: Value = serde_json::from_str(&merged).unwrap();
        assert_eq!(merged, serde_json::json!({"a": {"b": 3, "c": 2}, "l": [4]}));
    }

    #[test]
    fn a_chart_folder_becomes_an_archive_below_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("Chart.yaml"),
            "apiVersion: v2\nname: shop # ours\nversion: \"1.2.3\"\ndependencies:\n  - name: redis\n    version: 1.x\n",
        )
        .unwrap();
        let chart = package(folder.path(), Some("abc"), None).unwrap();
        assert_eq!((chart.name.as_str(), chart.version.as_str()), ("shop", "1.2.3+abc"));
        assert_eq!(chart.missing, ["redis"]);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(chart.bytes.as_slice()));
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_string_lossy(), "shop/Chart.yaml");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        assert!(text.contains("version: 1.2.3+abc\n"), "{text}");
    }
}
