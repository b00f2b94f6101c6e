//! Charts that kustomizations take in (`helmCharts`, `HelmChartInflationGenerator`): only a kustomize that is told to (`--enable-helm`) calls
//! helm for them, and fetches them. Here they are found and named.

use super::native::{join, kustomization_file, scan};
use crate::manifest::yaml::documents;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chart {
    /// The kustomization that takes it in, from the root.
    pub(super) file: String,
    /// Its name.
    pub(super) name: String,
    version: String,
    repository: String,
}

/// As one names it: `redis 1.0.0 of https://charts.example.com`.
impl std::fmt::Display for Chart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        [(" ", &self.version), (" of ", &self.repository)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .try_for_each(|(word, text)| write!(f, "{word}{text}"))
    }
}

/// Those of a folder's kustomization and of all that it leads to.
pub(super) fn charts(root: &Path, folder: &str) -> Vec<Chart> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let place = root.join(folder);
    let mut open = vec![folder.to_owned()];
    if kustomization_file(&place).is_none() {
        // The generated kustomization lists what is there.
        open.extend(scan(&place).unwrap_or_default().iter().filter_map(|path| join(folder, path)));
    }
    while let Some(folder) = open.pop() {
        let place = root.join(&folder);
        let Some(name) = kustomization_file(&place).filter(|_| seen.insert(folder.clone())) else { continue };
        let Some(kustomization) = first(&place.join(name)) else { continue };
        let list = |field: &str| kustomization.get(field).and_then(Value::as_array).into_iter().flatten();
        let file = join(&folder, name).unwrap_or_default();
        found.extend(list("helmCharts").map(|chart| read(&file, chart)));
        let generators = list("generators").filter_map(|entry| first(&root.join(join(&folder, entry.as_str()?)?)));
        found.extend(generators.filter(|value| value["kind"] == "HelmChartInflationGenerator").map(|chart| read(&file, &chart)));
        open.extend(["resources", "bases", "components"].into_iter().flat_map(list).filter_map(|entry| join(&folder, entry.as_str()?)));
    }
    found
}

/// Kustomizations that do not take them in, added to those that are changed anyway. `own` stands for that of `folder`, where it was changed.
pub(super) fn leave_out(root: &Path, folder: &str, charts: &[Chart], own: Option<&Value>, changed: &mut BTreeMap<String, Value>) {
    for place in charts.iter().map(|chart| chart.file.as_str()).collect::<BTreeSet<_>>() {
        let inside = place.rsplit_once('/').map_or("", |(inside, _)| inside);
        let own = own.filter(|_| inside == folder);
        // A changed kustomization of the folder itself has this name.
        let name = if own.is_some() { join(folder, "kustomization.yaml").unwrap_or_default() } else { place.to_owned() };
        let Some(mut value) = changed.get(&name).or(own).cloned().or_else(|| first(&root.join(place))) else { continue };
        let takes = |entry: &Value| {
            let generator = entry.as_str().and_then(|entry| first(&root.join(join(inside, entry)?)));
            generator.is_some_and(|value| value["kind"] == "HelmChartInflationGenerator")
        };
        if let Some(entries) = value.get_mut("generators").and_then(Value::as_array_mut) {
            entries.retain(|entry| !takes(entry));
        }
        if let Some(map) = value.as_object_mut() {
            map.remove("helmCharts");
            map.remove("helmGlobals");
        }
        changed.insert(name, value);
    }
}

fn first(file: &Path) -> Option<Value> {
    documents(&fs::read_to_string(file).ok()?).ok()?.into_iter().next().map(|document| document.value)
}

fn read(file: &str, chart: &Value) -> Chart {
    let text = |key: &str| chart.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Chart { file: file.to_owned(), name: text("name"), version: text("version"), repository: text("repo") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_found_behind_bases_and_generators() {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("a/kustomization.yaml", "resources: [../b, x.yaml]\ngenerators: [chart.yaml]\n"),
            ("a/chart.yaml", "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\nname: redis\n"),
            (
                "b/kustomization.yaml",
                "resources: [../a]\nhelmCharts:\n- {name: nats, repo: 'https://charts.example.com', version: 1.0.0}\n",
            ),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let found: Vec<String> = charts(root.path(), "a").iter().map(|chart| format!("{}: {chart}", chart.file)).collect();
        assert_eq!(found, ["a/kustomization.yaml: redis", "b/kustomization.yaml: nats 1.0.0 of https://charts.example.com"]);
    }
}
