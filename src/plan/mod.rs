//! The plan: data that can be printed, saved and compared; the run does what it says and nothing else. Pure.

mod below;
mod build;
pub mod cloud;
mod eks;
pub mod estimate;
mod implied;
pub mod live;
mod needs;
mod outputs;
mod sets;
mod waves;

pub use below::Left;
pub use build::plan;
pub(crate) use implied::{composite_kinds, is_implied};
pub(crate) use needs::secrets_made;

use crate::environment::{Command, RestoreRule};
use crate::layers::infrastructure::Declared;
use crate::layers::{LayerId, SourceId};
use crate::manifest::ObjectId;
use crate::problem::{Origin, Problem, Unknown};
use crate::restore::Keeper;
use serde::{Deserialize, Serialize};

/// What `plan -o json` prints.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Plan`.
    pub kind: &'static str,
    /// Name of the environment.
    pub environment: String,
    /// Commit, `-dirty` for a changed working tree.
    pub revision: String,
    /// Layers in order: by wave, then by name.
    pub layers: Vec<PlannedLayer>,
    /// The cloud resources among it, with their manifests.
    #[serde(skip)]
    pub declared: Vec<Declared>,
    /// Cloud resources of layers that their controllers in the cluster make.
    #[serde(rename = "leftToControllers", skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// What keeps data, and the rule by which that comes back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<State>,
    /// The commands among it.
    #[serde(skip)]
    pub commands: Vec<Command>,
    /// How long it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<estimate::Estimate>,
    /// Everything that the run does.
    pub nodes: Vec<Node>,
    /// Why it does it in this order.
    pub edges: Vec<Edge>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is not known.
    pub unknowns: Vec<Unknown>,
    /// What it was compared with, where it was.
    #[serde(flatten)]
    pub live: Option<live::Live>,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLayer {
    /// `namespace/name`.
    pub id: LayerId,
    /// `Kustomization` or `Application`.
    pub kind: &'static str,
    /// `Kind/namespace/name` of its source.
    pub source: SourceId,
    /// Folder in the source.
    pub path: String,
    /// The layer that declares it.
    pub parent: Option<LayerId>,
    /// `spec.dependsOn`.
    pub depends_on: Vec<LayerId>,
    /// 0 without dependencies, else 1 + the highest level among them (by `dependsOn` alone). Argo CD: the position of its step among
    /// those of the Application that holds it.
    pub level: u32,
    /// Earliest step in which it can start: after the layer that declares it, after what its dependencies wait for.
    #[serde(skip)]
    pub wave: u32,
    /// The same for tools; Argo CD: the sync wave, which orders neighbours alone.
    #[serde(rename = "wave")]
    pub named_wave: i64,
    /// Whether its objects are known.
    pub rendered: bool,
    /// Suspended: neither applied nor awaited.
    pub suspended: bool,
    /// For another cluster: planned, not applied.
    pub remote: bool,
    /// What it holds.
    pub objects: Vec<ObjectId>,
    /// What the charts of its releases make, where they stand in Git.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<PlannedChart>,
    /// Where it is declared.
    pub declared: Option<Origin>,
}

/// What a chart makes.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedChart {
    /// The HelmRelease.
    pub release: ObjectId,
    /// What it installs.
    pub objects: Vec<ObjectId>,
}

/// Something that keeps data.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Its node.
    pub node: String,
    /// `PersistentVolumeClaim`, `Table`, `DBInstance`, `DBCluster`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `required`, `newest`, `empty`, or the time that a backup must be as old as.
    pub rule: String,
    /// Where it is declared.
    #[serde(flatten)]
    pub origin: Option<Origin>,
    /// Where its data comes from, once that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl State {
    /// Before anything was looked at.
    pub fn new(node: String, keeper: Keeper<'_>, rule: RestoreRule) -> Self {
        let rule = match rule {
            RestoreRule::Required => "required".to_owned(),
            RestoreRule::Newest => "newest".to_owned(),
            RestoreRule::Empty => "empty".to_owned(),
            RestoreRule::At(time) => time,
        };
        let Keeper { kind, namespace, name, origin } = keeper;
        Self { node, kind: kind.into(), namespace: namespace.into(), name: name.into(), rule, origin: origin.cloned(), from: None }
    }
}

/// What is done with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Made.
    Create,
    /// Found, and taken over.
    Adopt,
    /// Changed in place.
    Update,
    /// Made from a backup.
    Restore,
    /// Left as it is.
    Keep,
    /// Applied to the cluster.
    Apply,
    /// Only awaited.
    Wait,
    /// Neither applied nor awaited (suspended, or for another cluster).
    Skip,
    /// Deleted; by `destroy` alone.
    Delete,
    /// Not known.
    #[default]
    Unknown,
}

impl Action {
    /// As one reads it in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Adopt => "adopt",
            Action::Update => "update",
            Action::Restore => "restore",
            Action::Keep => "keep",
            Action::Apply => "apply",
            Action::Wait => "only awaited",
            Action::Skip => "skip",
            Action::Delete => "delete",
            Action::Unknown => "",
        }
    }
}

/// One thing that the run does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// `aws/<service>/<Kind>/<namespace>/<name>`, `command/<name>`, `cluster/<name>`, `agent/flux`, `agent/argocd`, `secret/<namespace>/<name>`, `variables/<namespace>/<name>` (a ConfigMap), `layer/<namespace>/<name>`.
    pub id: String,
    /// What is done.
    pub action: Action,
    /// Who owns it after the run: `flux`, `argocd`, `ack` (its controller in the cluster, by an object in a layer), `blackstart`, `command`, `provider`.
    pub owner: &'static str,
    /// Usual seconds until it is ready, from a table.
    pub seconds: f64,
}

/// What of `from` must be over before what of `to` may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constraint {
    /// `from` is ready before `to` starts.
    ReadyBeforeStart,
    /// `from` is applied before `to` starts.
    AppliedBeforeStart,
    /// `from` is ready before `to` is ready.
    ReadyBeforeReady,
    /// `from` is made before `to` is ready: resources that name each other.
    AppliedBeforeReady,
}

impl Constraint {
    /// Whether it holds back only that `to` calls itself ready, not its start.
    pub fn is_for_ready(self) -> bool {
        matches!(self, Constraint::ReadyBeforeReady | Constraint::AppliedBeforeReady)
    }
}

/// Why one node comes before another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Node id.
    pub from: String,
    /// Node id.
    pub to: String,
    /// What exactly is ordered.
    pub constraint: Constraint,
    /// In words: `dependsOn`, `declared by`, `wait`, `CustomResourceDefinition x.y.z`, `Namespace shop`, `source …`.
    pub reason: String,
    /// Where it stands.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}
