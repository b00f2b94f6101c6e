//! The disaster happens: what goes is deleted, in the account and the cluster of a sandbox.

use super::disaster::{Cluster as Loss, Dice, Disaster, Namespaces};
use crate::aws::leftovers::Whose;
use crate::aws::observe::Observation;
use crate::aws::{self, Cloud, CloudError, Living, VOLUME, Wanted};
use crate::cluster::watch::Watches;
use crate::cluster::{Cluster, ClusterError, Preconditions, wait};
use crate::execute::Events;
use crate::execute::destroy::{self, Demolition};
use crate::layers::infrastructure::{Change, Declared, Difference, at, put};
use crate::manifest::ObjectId;
use crate::plan::Plan;
use crate::problem::count;
use crate::read::Reading;
use crate::restore::claims::Claim;
use crate::sandbox::{Sandbox, SandboxError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long a namespace may take to go.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kinds of the agent that hold their namespace by a finalizer.
const AGENT: [(&str, &str); 7] = [
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("source.toolkit.fluxcd.io/v1", "GitRepository"),
    ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ("source.toolkit.fluxcd.io/v1", "HelmRepository"),
    ("source.toolkit.fluxcd.io/v1", "HelmChart"),
    ("source.toolkit.fluxcd.io/v1", "Bucket"),
];
/// Fields that protect a resource against its deletion.
const PROTECTIONS: [&str; 3] = ["deletionProtection", "deletionProtectionEnabled", "disableAPITermination"];

impl Dice for fastrand::Rng {
    fn below(&mut self, end: usize) -> usize {
        self.usize(..end)
    }
}

/// The environment as it lives before.
#[derive(Debug)]
pub struct Before<'a> {
    /// The account; none where nothing is in one.
    pub cloud: Option<Arc<Cloud>>,
    /// What lives there.
    pub observation: &'a Observation,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The plan.
    pub plan: &'a Plan,
    /// The repository.
    pub reading: &'a Reading,
    /// The claims of its layers.
    pub claims: &'a [Claim],
    /// The region that it comes back in, where its own is lost.
    pub to: Option<&'a str>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Cloud resources: nodes.
    pub resources: Vec<String>,
    /// Volumes.
    pub volumes: usize,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// All that the cluster held.
    pub cluster: bool,
    /// The agent.
    pub agent: bool,
    /// The region, with all that was in it.
    pub region: Option<String>,
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |number: usize, noun: &str| (number > 0).then(|| count(number, noun));
        let mut parts: Vec<String> =
            [count(self.resources.len(), "cloud resource"), count(self.volumes, "volume")].into_iter().flatten().collect();
        parts.extend(self.region.as_ref().map(|region| format!("all of {region}")));
        parts.extend(self.cluster.then(|| "all that the cluster held".to_owned()));
        parts.extend(self.agent.then(|| "the agent".to_owned()));
        parts.extend((!self.namespaces.is_empty()).then(|| format!("namespace {}", self.namespaces.join(", "))));
        f.write_str(&if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") })
    }
}

/// Why a disaster did not happen as it should.
#[derive(Debug, thiserror::Error)]
pub enum StrikeError {
    /// The account.
    #[error("disaster: {0}")]
    Cloud(#[from] CloudError),
    /// The cluster.
    #[error("disaster: {0}")]
    Cluster(#[from] ClusterError),
    /// The sandbox.
    #[error("disaster: {0}")]
    Sandbox(#[from] SandboxError),
    /// Some did not go.
    #[error("disaster: could not be deleted: {0}")]
    Survived(String),
}

/// Does it. Gives what went.
pub async fn strike(disaster: &Disaster, sandbox: &mut Sandbox, before: Before<'_>, seed: u64) -> Result<Gone, StrikeError> {
    if let Some(to) = before.to {
        sandbox.lose_region(to).await?;
        return Ok(Gone { region: before.cloud.as_ref().map(|cloud| cloud.place().region.clone()), ..Gone::default() });
    }
    let mut dice = fastrand::Rng::with_seed(seed);
    let doomed = doomed(disaster, &before, &mut dice);
    let is_cluster = |node: &String| node.starts_with("aws/eks/Cluster/");
    let mut gone = Gone {
        cluster: disaster.cluster != Loss::Stays || doomed.iter().any(is_cluster),
        agent: disaster.agent,
        resources: doomed.iter().cloned().collect(),
        ..Gone::default()
    };
    if gone.cluster {
        sandbox.lose_cluster().await?;
    } else {
        gone.namespaces = namespaces(disaster, &before, &mut dice);
        delete_namespaces(before.cluster, &gone.namespaces).await?;
        if disaster.agent {
            sandbox.stop_agent().await?;
            uninstall(before.cluster).await?;
        }
    }
    if let Some(cloud) = &before.cloud {
        delete_resources(cloud, &before, &doomed).await?;
        if disaster.volumes {
            gone.volumes = delete_volumes(cloud, before.claims).await?;
        }
    }
    Ok(gone)
}

/// Cloud resources that go: those of the disaster, with the cluster's own where it goes.
fn doomed(disaster: &Disaster, before: &Before<'_>, dice: &mut impl Dice) -> BTreeSet<String> {
    let all = before.plan.declared.iter().enumerate();
    let living = all.filter(|(position, _)| before.observation.found.contains_key(position)).map(|(_, declared)| declared.node());
    let living: Vec<String> = living.collect();
    let clusters = living.iter().filter(|node| node.starts_with("aws/eks/Cluster/") && disaster.cluster == Loss::Deleted);
    let clusters: BTreeSet<String> = clusters.cloned().collect();
    // Members of a cluster go with it; what waits for it for other reasons stays.
    let members = |edge: &&crate::plan::Edge| !edge.from.starts_with("aws/eks/Cluster/") || edge.to.starts_with("aws/eks/");
    let edges: Vec<crate::plan::Edge> = before.plan.edges.iter().filter(members).cloned().collect();
    disaster.resources.doomed(&living, &clusters, &only_once(&before.plan.declared), &edges, dice)
}

/// What moto cannot make twice: it keeps the address of an instance that is gone.
fn only_once(declared: &[Declared]) -> BTreeSet<String> {
    let is_fixed = |one: &&Declared| one.schema.kind == "Instance" && at(one.spec(), "privateIPAddress").is_some();
    declared.iter().filter(is_fixed).map(Declared::node).collect()
}

fn namespaces(disaster: &Disaster, before: &Before<'_>, dice: &mut impl Dice) -> Vec<String> {
    let system = ["flux-system", "kube-system", "kube-public", "kube-node-lease", "default"];
    match &disaster.namespaces {
        Namespaces::None => Vec::new(),
        Namespaces::Named(names) => names.clone(),
        Namespaces::Claiming => {
            let names: BTreeSet<&String> = before.claims.iter().map(|claim| &claim.namespace).collect();
            names.into_iter().cloned().collect()
        }
        Namespaces::Half => {
            let objects = before.reading.layers.iter().flat_map(|read| &read.objects);
            let mut names: Vec<String> =
                objects.filter(|object| object.kind() == "Namespace").map(|object| object.name().to_owned()).collect();
            names.retain(|name| !system.contains(&name.as_str()));
            names.sort();
            names.dedup();
            let mut drawn = Vec::new();
            for _ in 0..names.len().div_ceil(2) {
                drawn.push(names.swap_remove(dice.below(names.len())));
            }
            drawn
        }
    }
}

/// As `flux uninstall` does it: what the agent manages stays, and its own objects let go of their namespace.
async fn uninstall(cluster: &Cluster) -> Result<(), StrikeError> {
    for (api_version, kind) in AGENT {
        let objects = match cluster.list(api_version, kind, None, None).await {
            Err(ClusterError::KindUnknown { .. }) => continue,
            objects => objects?,
        };
        for object in objects {
            let id = ObjectId::of(&object);
            cluster.merge_patch(&id, None, &json!({"metadata": {"finalizers": null}}), "blackstart-disaster").await?;
        }
    }
    delete_namespaces(cluster, &["flux-system".to_owned()]).await
}

async fn delete_namespaces(cluster: &Cluster, names: &[String]) -> Result<(), StrikeError> {
    let watches = Watches::new(cluster.clone());
    for name in names {
        let id = ObjectId::new("v1", "Namespace", None, name);
        cluster.delete(&id, &Preconditions::default()).await?;
        wait::gone(&watches, &id, PATIENCE).await?;
    }
    Ok(())
}

async fn delete_resources(cloud: &Arc<Cloud>, before: &Before<'_>, doomed: &BTreeSet<String>) -> Result<(), StrikeError> {
    let mut all: Vec<(Declared, Living)> = Vec::new();
    for (position, found) in &before.observation.found {
        let declared = &before.plan.declared[*position];
        if doomed.contains(&declared.node()) {
            unprotect(cloud, declared, &found.living).await?;
            all.push((declared.clone(), found.living.clone()));
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let (sink, mut told) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(0);
    let finished = destroy::destroy(Demolition {
        cloud: cloud.clone(),
        environment: before.plan.environment.clone(),
        revision: before.plan.revision.clone(),
        doomed: all,
        edges: before.plan.edges.iter().filter(|edge| edge.from.starts_with("aws/") && edge.to.starts_with("aws/")).cloned().collect(),
        cluster: None,
        whose: Whose::default(),
        // Looks are ten times a second in a sandbox.
        timeout: Some(Duration::from_secs(3600)),
        events: Events::new(sink),
        stop,
    })
    .await;
    while told.try_recv().is_ok() {}
    if finished.success {
        return Ok(());
    }
    let list: Vec<String> = finished.failures.iter().map(|(node, error)| format!("{node}: {error}")).collect();
    Err(StrikeError::Survived(list.join("; ")))
}

/// Whoever deletes in anger switches protections off first.
async fn unprotect(cloud: &Cloud, declared: &Declared, living: &Living) -> Result<(), CloudError> {
    let Some(field) = PROTECTIONS.into_iter().find(|field| at(&living.spec, field) == Some(&Value::Bool(true))) else { return Ok(()) };
    let Some(kind) = aws::kind(declared.schema) else { return Ok(()) };
    let mut spec = declared.spec().clone();
    put(&mut spec, field, json!(false));
    let difference = Difference { path: field, declared: json!(false), living: json!(true), change: Change::InPlace };
    let wanted =
        Wanted { declared: declared.clone(), spec, unknown: Vec::new(), tags: BTreeMap::new(), token: String::new(), backup: None };
    kind.update(cloud, &wanted, living, &[difference]).await
}

async fn delete_volumes(cloud: &Cloud, claims: &[Claim]) -> Result<usize, CloudError> {
    if claims.is_empty() {
        return Ok(0);
    }
    let Some(kind) = aws::kind(&VOLUME) else { return Ok(0) };
    let living = kind.list(cloud, &[]).await?;
    for volume in &living {
        kind.delete(cloud, volume).await?;
    }
    Ok(living.len())
}
