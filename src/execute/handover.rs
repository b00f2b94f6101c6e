//! Handing cloud resources to their controllers in the cluster (ACK): each object arrives there with the ID of what lives, so that the
//! controller adopts that and makes no second one.
//!
//! ```text
//! it lives in AWS? → object with mark and finalizer → status with the ID → applied as the agent → (its controller is in sync) → no mark
//! ```
//!
//! What was done is told by the object itself, so that a run that died between two steps is completed by the next. A controller that
//! has seen the object without the ID for a moment leaves it alone, since mark and finalizer come in one call with the rest.

use super::Below;
use super::progress::Progress;
use crate::aws::{self, Cloud, CloudError, Kind, Living, State};
use crate::cluster::watch::Watches;
use crate::cluster::{Applied, Apply, ApplyResult, Cluster, ClusterError, Mode, ssa};
use crate::health::{self, Health};
use crate::layers::infrastructure::{self, Place};
use crate::manifest::{ObjectId, Resource};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Annotation of an object whose resource was there before it: without an ID in its status, its controller makes nothing.
const MARK: &str = "services.k8s.aws/adopted";
/// Field manager of mark and finalizer.
const MANAGER: &str = "blackstart";
/// As ourselves; a finalizer or a mark of somebody else is the same finalizer, the same mark.
const OURS: Apply = Apply { manager: MANAGER, force: true, dry_run: false, mode: Mode::Straight };
/// Looks until an ID counts as stale: an answer of AWS may be behind what it has answered before.
const LOOKS: u32 = 3;
/// A controller that has not come by then does not come in this run.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why a resource was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// AWS.
    #[error("it cannot be looked at in AWS: {0}; the object was not written")]
    Cloud(#[from] CloudError),
    /// A stale ID.
    #[error("{0} does not live in AWS any more; the object was not written")]
    Gone(String),
    /// Being deleted.
    #[error("{id} is {word} in AWS; the object was not written")]
    Leaving {
        /// What AWS calls it.
        id: String,
        /// AWS' word.
        word: String,
    },
    /// Two resources for one object.
    #[error("in the cluster it stands for {found}, and this run has found or made {living}; the object was not written")]
    Another {
        /// In the object's status.
        found: String,
        /// Of this run.
        living: String,
    },
    /// Its controller is about to make it.
    #[error("its controller works on it and has given it no ID, while {0} lives in AWS; the object was not written")]
    Begun(String),
}

impl HandoverError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Cluster(error) => return error.hint(),
            Self::Cloud(error) => return error.hint().map(str::to_owned),
            Self::Gone(_) | Self::Leaving { .. } => "run the same command again: it looks at AWS anew, and makes what is missing".to_owned(),
            Self::Another { .. } => {
                "find out which of the two is the right one; remove the other, or the object from the cluster (with the annotation services.k8s.aws/deletion-policy: retain), then run the same command again".to_owned()
            }
            Self::Begun(_) => {
                "see what it says (kubectl describe); remove the object from the cluster (with the annotation services.k8s.aws/deletion-policy: retain), then run the same command again".to_owned()
            }
        })
    }
}

/// Hands over what lives below, object by object.
#[derive(Debug)]
pub struct Handover {
    cloud: Arc<Cloud>,
    progress: Progress,
    cluster: Cluster,
    watches: Arc<Watches>,
    /// Objects that still carry the mark.
    marked: Arc<Mutex<BTreeSet<ObjectId>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Handover {
    /// To this cluster; marks and statuses are written with the run's own rights. None where no account is there to hand over from.
    pub fn new(below: Below, cluster: Cluster) -> Option<Self> {
        Some(Self {
            cloud: below.cloud?,
            progress: below.progress,
            watches: Arc::new(Watches::new(cluster.clone())),
            cluster,
            marked: Arc::default(),
            tasks: Mutex::default(),
        })
    }

    /// An object that stands for a resource which this run has made or found; none for any other.
    pub fn of<'a>(&'a self, resource: &'a Resource) -> Option<Handed<'a>> {
        let living = self.progress.made(&infrastructure::node(resource)?)?.living?;
        let kind = aws::kinds()
            .find(|kind| infrastructure::service(resource) == Some(kind.schema().service) && kind.schema().kind == resource.kind())?;
        Some(Handed { handover: self, kind, resource, living })
    }

    /// Removes the mark when the object's controller has taken it over, in the background.
    fn unmark(&self, id: &ObjectId) {
        if !lock(&self.marked).insert(id.clone()) {
            return;
        }
        let (cluster, watches, marked, id) = (self.cluster.clone(), self.watches.clone(), self.marked.clone(), id.clone());
        watches.follow(&id.api_version, &id.kind);
        lock(&self.tasks).spawn(async move {
            let is_synced = |object: Option<&Value>| object.filter(|object| is_synced(object)).map(drop);
            if watches.until(&id, Instant::now() + LONGEST, is_synced).await.is_err() {
                return;
            }
            let change = json!({"metadata": {"annotations": {MARK: null}}});
            // Another layer may hold the same object, and mark it again meanwhile.
            lock(&marked).remove(&id);
            if cluster.merge_patch(&id, None, &change, MANAGER).await.is_err() {
                lock(&marked).insert(id);
            }
        });
    }

    /// How many objects still carry the mark.
    pub fn marked(&self) -> usize {
        lock(&self.marked).len()
    }

    /// Waits for what is not over, and gives the objects that still carry the mark: nobody has taken them over.
    pub async fn settle(&self, patience: Duration) -> Vec<ObjectId> {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let over = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, over).await;
        tasks.shutdown().await;
        lock(&self.marked).iter().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object and the resource that it stands for.
pub struct Handed<'a> {
    handover: &'a Handover,
    kind: &'static dyn Kind,
    resource: &'a Resource,
    living: Living,
}

impl Handed<'_> {
    /// Applies the object as a layer would, with all that a handover needs and that was not done before.
    pub async fn apply(&mut self, cluster: &Cluster, how: &Apply) -> Result<Applied, HandoverError> {
        let id = self.resource.id();
        if ssa::is_left_alone(&self.resource.value) {
            return Ok(cluster.apply(&self.resource.value, how).await?);
        }
        if self.handover.cluster.resolve(&id.api_version, &id.kind).await?.is_none() {
            // Not by an apply: the kind may be there the next moment, and then an object without an ID would be.
            return Err(ClusterError::KindUnknown { object: id.to_string(), api_version: id.api_version, kind: id.kind }.into());
        }
        let found = self.handover.cluster.get(&id).await?;
        match standing(found.as_ref(), self.kind, &self.living) {
            Standing::Leaving => Ok(cluster.apply(&self.resource.value, how).await?),
            Standing::Another(found) => Err(HandoverError::Another { found, living: self.living.id.clone() }),
            Standing::Begun => Err(HandoverError::Begun(self.living.id.clone())),
            Standing::Handed { mark, shared: false } => {
                let applied = cluster.apply(&self.resource.value, how).await?;
                if mark {
                    self.handover.unmark(&id);
                }
                Ok(applied)
            }
            // Found equal, it would be left as it is.
            Standing::Absent | Standing::Open | Standing::Handed { .. } if how.dry_run => {
                let applied = cluster.apply(&self.resource.value, how).await?;
                let result = if applied.result == ApplyResult::Unchanged { ApplyResult::Changed } else { applied.result };
                Ok(Applied { result, ..applied })
            }
            Standing::Handed { .. } => {
                let applied = self.finish(cluster, how).await?;
                self.handover.unmark(&id);
                Ok(applied)
            }
            standing @ (Standing::Absent | Standing::Open) => {
                self.look().await?;
                self.mark(standing == Standing::Absent).await?;
                self.identify().await?;
                let applied = self.finish(cluster, how).await?;
                self.handover.unmark(&id);
                let result = if standing == Standing::Absent { ApplyResult::Created } else { ApplyResult::Changed };
                Ok(Applied { result, ..applied })
            }
        }
    }

    /// Looks whether it still lives.
    pub async fn look(&mut self) -> Result<(), HandoverError> {
        let cloud = &self.handover.cloud;
        for look in 1..=LOOKS {
            match self.kind.look(cloud, &self.living).await? {
                Some(Living { state: State::Leaving(word), id, .. }) => return Err(HandoverError::Leaving { id, word }),
                Some(living) => {
                    self.living = living;
                    return Ok(());
                }
                None if look < LOOKS => tokio::time::sleep(cloud.pace(self.kind.poll())).await,
                None => {}
            }
        }
        Err(HandoverError::Gone(self.living.id.clone()))
    }

    /// Mark and finalizer; with all the rest in one call, where the object is not there.
    pub async fn mark(&self, whole: bool) -> Result<(), HandoverError> {
        let value = if whole { marked(&self.resource.value, self.resource) } else { marked(&self.names(), self.resource) };
        self.handover.cluster.apply(&value, &OURS).await?;
        Ok(())
    }

    /// The ID, in the status.
    pub async fn identify(&self) -> Result<(), HandoverError> {
        let status = status(self.kind, &self.living, self.handover.cloud.place());
        self.handover.cluster.merge_patch(&self.resource.id(), Some("status"), &json!({"status": status}), MANAGER).await?;
        Ok(())
    }

    /// Applies the object as the agent; then all but mark and finalizer is the agent's alone, so that it can take fields away later.
    pub async fn finish(&self, cluster: &Cluster, how: &Apply) -> Result<Applied, HandoverError> {
        // What is equal is not the agent's yet.
        let applied = cluster.apply(&self.resource.value, &Apply { mode: Mode::Straight, ..*how }).await?;
        if applied.result != ApplyResult::Skipped {
            self.handover.cluster.apply(&marked(&self.names(), self.resource), &OURS).await?;
        }
        Ok(applied)
    }

    /// The object without anything but its name.
    fn names(&self) -> Value {
        let id = self.resource.id();
        json!({"apiVersion": id.api_version, "kind": id.kind, "metadata": {"name": id.name, "namespace": id.namespace}})
    }
}

/// How an object is found before a handover.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Absent,
    /// There, without an ID: nobody has worked on it, or an earlier handover ended here.
    Open,
    /// Without an ID, and its controller is at work.
    Begun,
    /// With the ID.
    Handed {
        /// It still carries the mark.
        mark: bool,
        /// We still own its fields beside the agent.
        shared: bool,
    },
    /// With another ID.
    Another(String),
    Leaving,
}

fn standing(found: Option<&Value>, kind: &dyn Kind, living: &Living) -> Standing {
    let Some(object) = found else { return Standing::Absent };
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Standing::Leaving;
    }
    let none = Value::Null;
    let status = object.get("status").unwrap_or(&none);
    let mut has_id = false;
    for (path, wanted) in names(living) {
        match infrastructure::at(status, &path).and_then(Value::as_str).filter(|found| !found.is_empty()) {
            Some(found) if found != wanted => return Standing::Another(found.to_owned()),
            Some(_) => has_id = true,
            None => {}
        }
    }
    let is_marked = object.pointer("/metadata/annotations").and_then(|all| all.get(MARK)).and_then(Value::as_str) == Some("true");
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let is_finalized = finalizers.is_some_and(|all| all.contains(&finalizer(kind.schema().service, kind.schema().kind).into()));
    // A kind without an ID of its own has the account at least.
    has_id |= names(living).is_empty() && infrastructure::at(status, "ackResourceMetadata.ownerAccountID").is_some();
    match (has_id, is_finalized, is_marked) {
        (true, true, mark) => Standing::Handed { mark, shared: owns_spec(object) },
        (false, true, false) => Standing::Begun,
        _ => Standing::Open,
    }
}

/// Where the status names the resource: its ID and ARN.
fn names(living: &Living) -> Vec<(String, String)> {
    let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str);
    let is_name = |value: &str| value == living.id || Some(value) == arn;
    let ids = living.status.as_object().into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let arn = arn.map(|arn| ("ackResourceMetadata.arn".to_owned(), arn.to_owned()));
    ids.filter(|(_, value)| is_name(value)).chain(arn).collect()
}

/// What a controller has to find in the status of what it adopts.
fn status(kind: &dyn Kind, living: &Living, place: &Place) -> Value {
    let mut status =
        json!({"ackResourceMetadata": {"ownerAccountID": place.account, "region": place.region, "partition": place.partition}});
    for (path, value) in names(living) {
        infrastructure::put(&mut status, &path, value.into());
    }
    for field in kind.adopted_with() {
        if let Some(value) = infrastructure::at(&living.status, field) {
            infrastructure::put(&mut status, field, value.clone());
        }
    }
    status
}

/// With the annotation and the finalizer of an adopted object.
fn marked(object: &Value, resource: &Resource) -> Value {
    let mut object = object.clone();
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let mut annotations: Map<String, Value> = annotations.cloned().unwrap_or_default();
    annotations.insert(MARK.to_owned(), "true".into());
    object["metadata"]["annotations"] = annotations.into();
    let finalizer = finalizer(infrastructure::service(resource).unwrap_or_default(), resource.kind());
    let others = object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    let others = others.into_iter().filter(|other| *other != finalizer.as_str());
    object["metadata"]["finalizers"] = others.chain([finalizer.as_str().into()]).collect();
    object
}

/// As ACK's controllers call it (`FinalizerString` in each `pkg/resource/*/descriptor.go`).
fn finalizer(service: &str, kind: &str) -> String {
    format!("finalizers.{service}.services.k8s.aws/{kind}")
}

/// Whether fields of the spec are ours: a handover that ended before the agent had them alone.
fn owns_spec(object: &Value) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut own = entries.into_iter().flatten().filter(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply");
    own.any(|entry| entry.pointer("/fieldsV1/f:spec").is_some())
}

/// Whether its controller has said that it is as declared.
fn is_synced(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "ACK.ResourceSynced")) && health::of(object) == Health::Ready
}
