//! One run at a time for an environment, and the mark of an unfinished bootstrap: a Lease in `kube-system`.
//!
//! The Lease is the only thing that a run writes where nothing is missing. Its annotation `blackstart/bootstrap: unfinished`
//! says that all declared objects that exist were made by an interrupted first start, so that the same command may go on.

use crate::cluster::{Cluster, ClusterError};
use crate::manifest::ObjectId;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

const SECONDS: i64 = 30;
const NAMESPACE: &str = "kube-system";
const BOOTSTRAP: &str = "blackstart/bootstrap";
const MANAGER: &str = "blackstart";

/// A held Lease; renewed in the background until it is released.
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    id: ObjectId,
    renewal: tokio::task::JoinHandle<()>,
    lost: watch::Receiver<Option<String>>,
    /// Whether an earlier first start of this environment was not finished.
    pub unfinished_bootstrap: bool,
}

/// Why the Lease cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds it.
    #[error("environment `{environment}` is being worked on by another run: {holder}, last sign of life {age} s ago")]
    Held {
        /// Environment.
        environment: String,
        /// Who.
        holder: String,
        /// Seconds since it was renewed.
        age: i64,
    },
    /// Another run took it while this one stood still.
    #[error("environment `{environment}` is being worked on by another run now: {holder}; this one stood still for too long, and ends")]
    Lost {
        /// Environment.
        environment: String,
        /// Who.
        holder: String,
    },
    /// The API server refused.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Who holds a Lease: host, process id and start time, so that a dead holder on this host is known as dead.
pub(super) fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = std::process::id();
    format!("{host}/{process}/{}", start_time(process).unwrap_or_default())
}

/// Start time of a process in clock ticks since boot (`/proc/PID/stat`, field 22).
fn start_time(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

pub(super) fn is_dead(holder: &str) -> bool {
    let mut parts = holder.split('/');
    let (Some(host), Some(process), Some(start)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let Ok(process) = process.parse::<u32>() else { return false };
    host == here && start_time(process).unwrap_or_default().to_string() != start
}

fn now() -> String {
    // MicroTime: RFC 3339 with exactly six digits.
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The Lease of an environment as it was found: nobody holds it. What was read after it holds for a run that takes it unchanged.
#[derive(Debug)]
pub struct Found {
    id: ObjectId,
    object: Option<Value>,
    /// Whether an earlier first start of this environment was not finished.
    pub unfinished_bootstrap: bool,
}

/// Looks at the Lease of an environment; an error where another run holds it. Writes nothing.
pub async fn look(cluster: &Cluster, environment: &str) -> Result<Found, LeaseError> {
    let id = id(environment);
    let object = cluster.get(&id).await?;
    let Some(lease) = &object else { return Ok(Found { id, object, unfinished_bootstrap: false }) };
    let age = lease
        .pointer("/spec/renewTime")
        .and_then(Value::as_str)
        .and_then(|time| time.parse::<jiff::Timestamp>().ok())
        .map_or(i64::MAX, |time| jiff::Timestamp::now().as_second() - time.as_second());
    let other = holder_of(lease);
    if !other.is_empty() && age < SECONDS && !is_dead(other) {
        return Err(LeaseError::Held { environment: environment.into(), holder: other.into(), age });
    }
    let unfinished_bootstrap = lease.pointer("/metadata/annotations/blackstart~1bootstrap").and_then(Value::as_str) == Some("unfinished");
    Ok(Found { id, object, unfinished_bootstrap })
}

/// Frees the Lease of a run of this very process that died with its threads (a rehearsal's): by its process it would pass for a living one.
pub async fn bury(cluster: &Cluster, environment: &str) -> Result<(), ClusterError> {
    let id = id(environment);
    let Some(lease) = cluster.get(&id).await? else { return Ok(()) };
    if holder_of(&lease) == holder() {
        cluster.merge_patch(&id, None, &free(), MANAGER).await?;
    }
    Ok(())
}

/// What makes a Lease nobody's.
fn free() -> Value {
    json!({"spec": {"holderIdentity": Value::Null, "renewTime": now()}})
}

fn id(environment: &str) -> ObjectId {
    ObjectId::new("coordination.k8s.io/v1", "Lease", Some(NAMESPACE), &format!("blackstart-{environment}"))
}

fn holder_of(lease: &Value) -> &str {
    lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

impl Lease {
    /// Takes the Lease as it was found; none where somebody has written it since. `first_start` marks it as an unfinished
    /// bootstrap in the same write.
    pub async fn take(cluster: &Cluster, found: Found, first_start: bool) -> Result<Option<Self>, ClusterError> {
        let Found { id, object, unfinished_bootstrap } = found;
        let holder = holder();
        let is_new = object.is_none();
        let mut lease = object.unwrap_or_else(|| {
            json!({
                "apiVersion": id.api_version, "kind": id.kind,
                "metadata": {"namespace": NAMESPACE, "name": id.name, "labels": {"app.kubernetes.io/managed-by": MANAGER}},
            })
        });
        lease["spec"] = json!({"holderIdentity": holder, "leaseDurationSeconds": SECONDS, "acquireTime": now(), "renewTime": now()});
        if first_start {
            lease["metadata"]["annotations"][BOOTSTRAP] = json!("unfinished");
        }
        let taken = if is_new { cluster.create(&lease, MANAGER).await } else { cluster.replace(&lease, MANAGER).await };
        match taken {
            Ok(_) => {}
            Err(ClusterError::Exists { .. } | ClusterError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let (sender, lost) = watch::channel(None);
        let renewal = tokio::spawn(renew(cluster.clone(), id.clone(), holder, sender));
        Ok(Some(Self { cluster: cluster.clone(), id, renewal, lost, unfinished_bootstrap }))
    }

    /// Returns, with the new holder, when another run has taken the Lease: this one stood still for too long.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        if let Ok(holder) = lost.wait_for(Option::is_some).await {
            return holder.clone().unwrap_or_default();
        }
        std::future::pending().await
    }

    /// The first start is over: everything was ready.
    pub async fn finish_bootstrap(&self) -> Result<(), ClusterError> {
        let change = json!({"metadata": {"annotations": {BOOTSTRAP: Value::Null}}});
        self.cluster.merge_patch(&self.id, None, &change, MANAGER).await.map(drop)
    }

    /// Gives the Lease back. An error is no reason to fail: it expires by itself.
    pub async fn release(self) {
        self.renewal.abort();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.cluster.merge_patch(&self.id, None, &free(), MANAGER)).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(cluster: Cluster, id: ObjectId, holder: String, lost: watch::Sender<Option<String>>) {
    let mut clock = tokio::time::interval(Duration::from_secs(10));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock.tick().await;
    loop {
        clock.tick().await;
        // A server that does not answer is no reason to stop: nobody else can take it then.
        let Ok(Some(lease)) = cluster.get(&id).await else { continue };
        if holder_of(&lease) != holder {
            let _ = lost.send(Some(holder_of(&lease).to_owned()));
            return;
        }
        let version = &lease["metadata"]["resourceVersion"];
        let change = json!({"metadata": {"resourceVersion": version}, "spec": {"renewTime": now()}});
        let _ = cluster.merge_patch(&id, None, &change, MANAGER).await;
    }
}
