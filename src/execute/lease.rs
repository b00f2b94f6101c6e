//! One run at a time for an environment, and the mark of an unfinished bootstrap: a Lease in `kube-system`.
//!
//! The Lease is the only thing that a run writes where nothing is missing. Its annotation `blackstart/bootstrap: unfinished`
//! says that all declared objects that exist were made by an interrupted first start, so that the same command may go on.

use crate::cluster::{Cluster, ClusterError};
use crate::manifest::ObjectId;
use serde_json::{Value, json};
use std::time::Duration;

const SECONDS: i64 = 30;
const NAMESPACE: &str = "kube-system";
const BOOTSTRAP: &str = "blackstart/bootstrap";
const MANAGER: &str = "blackstart";

/// A held Lease; renewed in the background until it is released.
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    id: ObjectId,
    holder: String,
    renewal: tokio::task::JoinHandle<()>,
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
    /// The API server refused.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Who holds a Lease: host, process id and start time, so that a dead holder on this host is known as dead.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = std::process::id();
    format!("{host}/{process}/{}", start_time(process).unwrap_or_default())
}

/// Start time of a process in clock ticks since boot (`/proc/PID/stat`, field 22).
fn start_time(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn is_dead(holder: &str) -> bool {
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

impl Lease {
    /// Takes the Lease of an environment. `bootstrap` marks it as an unfinished first start where it is new.
    pub async fn take(cluster: &Cluster, environment: &str) -> Result<Self, LeaseError> {
        let id = ObjectId {
            api_version: "coordination.k8s.io/v1".into(),
            kind: "Lease".into(),
            namespace: Some(NAMESPACE.into()),
            name: format!("blackstart-{environment}"),
        };
        let holder = holder();
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": SECONDS, "acquireTime": now(), "renewTime": now()});
        let found = cluster.get(&id).await?;
        let mut unfinished_bootstrap = false;
        match found {
            None => {
                let lease = json!({
                    "apiVersion": id.api_version, "kind": id.kind,
                    "metadata": {"namespace": NAMESPACE, "name": id.name, "labels": {"app.kubernetes.io/managed-by": MANAGER}},
                    "spec": spec,
                });
                // Two that start at once: the second create fails with a conflict and says so.
                cluster.create(&lease, MANAGER).await?;
            }
            Some(lease) => {
                unfinished_bootstrap =
                    lease.pointer("/metadata/annotations/blackstart~1bootstrap").and_then(Value::as_str) == Some("unfinished");
                let other = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
                let age = lease
                    .pointer("/spec/renewTime")
                    .and_then(Value::as_str)
                    .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                    .map_or(i64::MAX, |time| jiff::Timestamp::now().as_second() - time.as_second());
                if !other.is_empty() && other != holder && age < SECONDS && !is_dead(other) {
                    return Err(LeaseError::Held { environment: environment.into(), holder: other.into(), age });
                }
                let version = lease.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                cluster.merge_patch(&id, None, &json!({"metadata": {"resourceVersion": version}, "spec": spec}), MANAGER).await?;
            }
        }
        let renewal = tokio::spawn(renew(cluster.clone(), id.clone(), holder.clone()));
        Ok(Self { cluster: cluster.clone(), id, holder, renewal, unfinished_bootstrap })
    }

    /// Marks the first start as begun; before its first write.
    pub async fn begin_bootstrap(&self) -> Result<(), ClusterError> {
        self.annotate(json!("unfinished")).await
    }

    /// The first start is over: everything was ready.
    pub async fn finish_bootstrap(&self) -> Result<(), ClusterError> {
        self.annotate(Value::Null).await
    }

    async fn annotate(&self, value: Value) -> Result<(), ClusterError> {
        self.cluster.merge_patch(&self.id, None, &json!({"metadata": {"annotations": {BOOTSTRAP: value}}}), MANAGER).await.map(drop)
    }

    /// Gives the Lease back. An error is no reason to fail: it expires by itself.
    pub async fn release(self) {
        self.renewal.abort();
        let free = json!({"spec": {"holderIdentity": Value::Null, "renewTime": now()}});
        let _ = tokio::time::timeout(Duration::from_secs(2), self.cluster.merge_patch(&self.id, None, &free, MANAGER)).await;
    }

    /// Who holds it.
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn renew(cluster: Cluster, id: ObjectId, holder: String) {
    let mut clock = tokio::time::interval(Duration::from_secs(10));
    clock.tick().await;
    loop {
        clock.tick().await;
        let _ = cluster.merge_patch(&id, None, &json!({"spec": {"holderIdentity": holder, "renewTime": now()}}), MANAGER).await;
    }
}
