//! Argo CD Applications as layers: what of `argoproj.io/v1alpha1` renders and orders them (argo-cd `pkg/apis/application/v1alpha1/types.go`),
//! and what an ApplicationSet generates. Pure.

mod generators;
mod set;
mod sync;

pub(in crate::layers) use generators::matches;
pub use generators::{Fault, Repositories};
pub use set::{Generated, Rollout, generate};
pub use sync::{Phase, Step, idle_wave, in_sync_order, step};

use super::flux::{Layer, Spec};
use super::{LayerId, SourceId};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How Applications name the cluster that Argo CD itself runs in.
const HERE: [&str; 2] = ["https://kubernetes.default.svc", "in-cluster"];

/// What an Application asks beside the [`Spec`] of its layer.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Where its files come from, in order.
    pub sources: Vec<Source>,
    /// Charts that are not in Git as they are rendered: those of registries, and those that a chart or kustomization in Git takes from one.
    pub charts: Vec<String>,
    /// Namespace of objects that have none.
    pub namespace: String,
    /// Argo CD makes that namespace itself.
    pub creates_namespace: bool,
    /// Project.
    pub project: String,
    /// Sync wave, as written.
    pub wave: i32,
    /// Position of its step among the steps of the Application that holds it.
    pub level: u32,
    /// What must be healthy before Argo CD applies it.
    pub after: Vec<After>,
    /// The ApplicationSet that makes it, and its part in the progressive sync.
    pub set: Option<(LayerId, Option<Rollout>)>,
    /// Who begins its syncs.
    pub syncs: Syncs,
    /// Its hydrator: the branch that its files are pushed to when they are rendered.
    pub hydrated: Option<String>,
    /// Named by the environment: something outside Git makes it, so that it is no layer of the repository.
    pub given: bool,
}

/// Who begins the syncs of an Application (`syncPolicy.automated`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncs {
    /// Somebody who is asked to.
    #[default]
    OnRequest,
    /// Argo CD.
    ByItself {
        /// What has left Git is removed.
        prunes: bool,
    },
}

/// A neighbour in an earlier step.
#[derive(Clone, Debug)]
pub struct After {
    /// Who.
    pub id: LayerId,
    /// Why.
    pub reason: String,
    /// Where that is written.
    pub origin: Option<Origin>,
}

/// One source of an Application.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Repository.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// Folder in it.
    pub path: Option<String>,
    /// Branch, tag or commit; a version of a chart.
    pub target_revision: String,
    /// Chart of a registry.
    pub chart: Option<String>,
    /// Name by which value files of other sources mean this one.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Helm.
    pub helm: Option<Helm>,
    /// kustomize.
    pub kustomize: Option<Kustomize>,
    /// Plain files.
    pub directory: Option<Directory>,
    /// A program beside Argo CD.
    pub plugin: Option<Value>,
}

/// `source.helm`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as Argo CD has them")]
pub struct Helm {
    /// Files with values, from the chart's folder; `/` is the repository, `$NAME` another source.
    pub value_files: Vec<String>,
    /// Single values.
    pub parameters: Vec<Parameter>,
    /// Single values from files.
    pub file_parameters: Vec<Parameter>,
    /// Values as text.
    pub values: Option<String>,
    /// Values; they win over the text.
    pub values_object: Option<Value>,
    /// Name of the release; the Application's where absent.
    pub release_name: Option<String>,
    /// Namespace of the release; the destination's where absent.
    pub namespace: Option<String>,
    /// Without the definitions in `crds`.
    pub skip_crds: bool,
    /// Without tests.
    pub skip_tests: bool,
    /// Without the chart's own schema of values.
    pub skip_schema_validation: bool,
    /// A file that is not there is left out.
    pub ignore_missing_value_files: bool,
    /// Version that the chart is told of the cluster.
    pub kube_version: Option<String>,
    /// APIs that the chart is told of.
    pub api_versions: Vec<String>,
}

/// One value of a chart.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parameter {
    /// Name, with dots.
    pub name: String,
    /// Value.
    pub value: String,
    /// Never a number.
    pub force_string: bool,
    /// File with the value.
    pub path: String,
}

/// `source.kustomize`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kustomize {
    /// Prefix of all names.
    pub name_prefix: Option<String>,
    /// Suffix of all names.
    pub name_suffix: Option<String>,
    /// Namespace of all objects.
    pub namespace: Option<String>,
    /// Images, as `kustomize edit set image` takes them.
    pub images: Vec<String>,
    /// Replicas.
    pub replicas: Vec<Value>,
    /// Labels of all objects.
    pub common_labels: BTreeMap<String, String>,
    /// Those labels stay out of selectors.
    pub label_without_selector: bool,
    /// Annotations of all objects.
    pub common_annotations: BTreeMap<String, String>,
    /// Patches.
    pub patches: Vec<Value>,
    /// Components.
    pub components: Vec<String>,
    /// Missing components are left out.
    pub ignore_missing_components: bool,
}

/// `source.directory`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Directory {
    /// Folders below too.
    pub recurse: bool,
    /// Glob of files; all where empty.
    pub include: String,
    /// Glob of files that are left out.
    pub exclude: String,
}

/// The cluster and namespace of the Argo CD that reads an environment.
#[derive(Clone, Debug)]
pub struct Home {
    /// Argo CD's own namespace.
    pub namespace: String,
    /// Further names of its cluster, as destinations give them.
    pub servers: Vec<String>,
    /// The environment's EKS cluster; a destination may be its ARN.
    pub cluster: Option<String>,
}

impl Home {
    fn is_here(&self, destination: &Value) -> bool {
        let text = |key: &str| destination.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut names = [text("server"), text("name")].into_iter().filter(|name| !name.is_empty());
        names.all(|name| {
            let of_cluster = self
                .cluster
                .as_ref()
                .is_some_and(|cluster| name.strip_prefix("arn:").is_some_and(|arn| arn.ends_with(&format!(":cluster/{cluster}"))));
            HERE.contains(&name) || of_cluster || self.servers.iter().any(|server| server == name)
        })
    }
}

/// Whether a resource is an Application.
pub fn is_application(resource: &Resource) -> bool {
    resource.kind() == "Application" && resource.group() == "argoproj.io"
}

/// Whether a resource is an ApplicationSet.
pub fn is_application_set(resource: &Resource) -> bool {
    resource.kind() == "ApplicationSet" && resource.group() == "argoproj.io"
}

/// Reads an Application; a field of the wrong type is a problem at the place of the declaration.
#[expect(clippy::result_large_err, reason = "a problem is made once, and kept")]
pub fn layer(declaration: Resource, parent: Option<LayerId>, home: &Home) -> Result<Layer, Problem> {
    let id = LayerId::new(declaration.namespace().unwrap_or(&home.namespace), declaration.name());
    let origin = declaration.origin.clone();
    let invalid = |what: &str, why: String| {
        Problem::blocks("application-invalid", format!("Application {id}: {what} cannot be read: {why}")).at(origin.clone())
    };
    let given = declaration.value.get("spec").cloned().unwrap_or_default();
    // `sources` wins over `source` (types.go, HasMultipleSources).
    let names = [
        ("its name", id.name.as_str(), 253, "letters from a to z, digits, `-` and `.`"),
        ("spec.destination.namespace", destination_namespace(&given), 63, "letters from a to z, digits and `-`"),
    ];
    for (what, name, most, letters) in names {
        if !is_name(name, most) {
            let message = format!("Application {id}: {what}: `{name}` is no name of Kubernetes: {letters}");
            return Err(Problem::blocks("application-invalid", message).at(origin.clone()));
        }
    }
    let several = given.get("sources").and_then(Value::as_array).filter(|sources| !sources.is_empty());
    let mut sources = several.cloned().unwrap_or_else(|| given.get("source").cloned().into_iter().collect());
    // `sourceHydrator` wins over both (types.go, GetSources). What stands on its branch is what its dry source renders to.
    if let Some(dry) = given.pointer("/sourceHydrator/drySource") {
        sources = vec![dry.clone()];
    }
    if sources.is_empty() {
        return Err(invalid("spec.source", "it is missing".to_owned()));
    }
    let sources: Vec<Source> = sources
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("spec.source", error.to_string()))?;
    let destination = given.get("destination").cloned().unwrap_or_default();
    let options = given.pointer("/syncPolicy/syncOptions").and_then(Value::as_array);
    let has_option = |wanted: &str| options.into_iter().flatten().any(|option| option == wanted);
    let is_set = |value: &Value, key: &str, wanted: bool| value.get(key) == Some(&Value::Bool(wanted));
    let automated = given.pointer("/syncPolicy/automated").filter(|automated| automated.is_object());
    let automated = automated.filter(|automated| !is_set(automated, "enabled", false));
    let text = |pointer: &str| given.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let application = Application {
        namespace: text("/destination/namespace"),
        creates_namespace: has_option("CreateNamespace=true"),
        project: text("/project"),
        wave: sync::wave(&declaration),
        charts: sources.iter().filter_map(|source| source.chart.clone()).collect(),
        syncs: automated.map_or(Syncs::OnRequest, |automated| Syncs::ByItself { prunes: is_set(automated, "prune", true) }),
        hydrated: given.pointer("/sourceHydrator/syncSource/targetBranch").and_then(Value::as_str).map(str::to_owned),
        sources,
        ..Application::default()
    };
    let main = application.sources.iter().find(|source| source.reference.is_none() || source.path.is_some());
    let main = main.or(application.sources.first());
    let spec = Spec {
        path: main.and_then(|source| source.path.clone().or_else(|| source.chart.clone())).unwrap_or_default(),
        kube_config: (!home.is_here(&destination)).then_some(destination),
        ..Spec::default()
    };
    let source = main.map_or_else(|| Source::default().id(&id.namespace), |source| source.id(&id.namespace));
    let spec = Spec { application: Some(Arc::new(application)), ..spec };
    Ok(Layer { id, parent, source, spec, declaration })
}

fn destination_namespace(spec: &Value) -> &str {
    spec.pointer("/destination/namespace").and_then(Value::as_str).unwrap_or_default()
}

/// What the API server takes for a name (RFC 1123), or nothing; dots stand only in the longer ones.
fn is_name(text: &str, most: usize) -> bool {
    let is_part = |part: &str| {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        is_end(part.chars().next())
            && is_end(part.chars().next_back())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.is_empty() || text.len() <= most && (most > 63 || !text.contains('.')) && text.split('.').all(is_part)
}

impl Source {
    /// Its name in the plan: a repository and revision, or a chart and version.
    pub fn id(&self, namespace: &str) -> SourceId {
        let kind = if self.chart.is_some() { "Chart" } else { "Git" };
        let name = match &self.chart {
            Some(chart) => format!("{}/{chart}", self.repo_url.trim_end_matches('/')),
            None => self.repo_url.clone(),
        };
        let revision = self.target_revision.trim();
        let name = if revision.is_empty() || revision == "HEAD" { name } else { format!("{name}@{revision}") };
        SourceId { kind: kind.to_owned(), namespace: namespace.to_owned(), name }
    }

    /// The object that would declare it, had Argo CD sources of their own.
    pub fn declaration(&self, namespace: &str) -> Resource {
        let id = self.id(namespace);
        let revision = Some(self.target_revision.trim()).filter(|revision| !revision.is_empty() && *revision != "HEAD");
        let value = json!({
            "kind": id.kind,
            "metadata": {"name": id.name, "namespace": id.namespace},
            "spec": {"url": self.repo_url, "ref": revision.map_or_else(|| json!({}), |revision| json!({"name": revision}))},
        });
        Resource { value, origin: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home { namespace: "argocd".into(), servers: vec![], cluster: Some("hub".into()) }
    }

    fn application(spec: &Value) -> Layer {
        let value = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "a", "annotations": {"argocd.argoproj.io/sync-wave": "-2"}}, "spec": spec});
        layer(Resource { value, origin: None }, None, &home()).expect("an application")
    }

    #[test]
    fn the_cluster_of_argo_cd_has_several_names_and_any_other_is_another_one() {
        let at = |destination: Value| application(&json!({"source": {"path": "x"}, "destination": destination})).spec.kube_config.is_none();
        assert!(at(json!({})) && at(json!({"server": "https://kubernetes.default.svc"})) && at(json!({"name": "in-cluster"})));
        assert!(at(json!({"server": "arn:aws:eks:eu-west-1:111122223333:cluster/hub"})));
        assert!(!at(json!({"server": "arn:aws:eks:eu-west-1:111122223333:cluster/spoke"})) && !at(json!({"name": "spoke"})));
    }

    #[test]
    fn a_source_that_only_lends_its_values_is_not_the_layers_own() {
        let found = application(&json!({"sources": [
            {"repoURL": "https://example.com/values", "ref": "values"},
            {"repoURL": "https://example.com/charts/", "chart": "redis", "targetRevision": "1.2"},
        ]}));
        assert_eq!(
            (found.source.to_string().as_str(), found.spec.path.as_str()),
            ("Chart/argocd/https://example.com/charts/redis@1.2", "redis")
        );
        assert_eq!(found.spec.application.expect("argo").wave, -2);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = |name: &str, spec: Value| {
            let value = json!({"kind": "Application", "metadata": {"name": name}, "spec": spec});
            layer(Resource { value, origin: None }, None, &home()).expect_err("wrong").message
        };
        assert_eq!(told("a", json!({})), "Application argocd/a: spec.source cannot be read: it is missing");
        let source = json!({"path": "x"});
        assert_eq!(
            told("Ingress_Nginx", json!({"source": source})),
            "Application argocd/Ingress_Nginx: its name: `Ingress_Nginx` is no name of Kubernetes: letters from a to z, digits, `-` and `.`"
        );
        assert_eq!(
            told("a", json!({"source": source, "destination": {"namespace": "a.b"}})),
            "Application argocd/a: spec.destination.namespace: `a.b` is no name of Kubernetes: letters from a to z, digits and `-`"
        );
    }

    #[test]
    fn a_hydrator_takes_its_files_from_the_dry_source() {
        let found = application(&json!({"sourceHydrator": {
            "drySource": {"repoURL": "https://example.com/fleet", "path": "apps/a", "targetRevision": "HEAD"},
            "syncSource": {"targetBranch": "env/dev", "path": "apps/a"},
        }}));
        assert_eq!((found.spec.path.as_str(), found.spec.application.expect("argo").hydrated.as_deref()), ("apps/a", Some("env/dev")));
    }

    #[test]
    fn what_syncs_by_itself_is_known() {
        let of = |policy: Value| application(&json!({"source": {"path": "x"}, "syncPolicy": policy})).spec.application.expect("argo").syncs;
        assert_eq!(of(json!({})), Syncs::OnRequest);
        assert_eq!(of(json!({"automated": {}})), Syncs::ByItself { prunes: false });
        assert_eq!(of(json!({"automated": {"prune": true}})), Syncs::ByItself { prunes: true });
        assert_eq!(of(json!({"automated": {"enabled": false, "prune": true}})), Syncs::OnRequest);
    }
}
