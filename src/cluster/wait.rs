//! Waits that order needs inside a layer: a definition is established, a namespace active, a webhook's backend answers.

use super::watch::Watches;
use super::{Apply, Cluster, ClusterError};
use crate::health::{self, Health};
use crate::manifest::ObjectId;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Waits until an object that stands before others is ready: a CustomResourceDefinition Established, a Namespace Active,
/// any other by its health. Its kind is watched from now on.
pub async fn settled(watches: &Watches, id: &ObjectId, patience: Duration) -> Result<(), ClusterError> {
    watches.follow(&id.api_version, &id.kind);
    let verdict = |object: Option<&Value>| match object.map(health::of)? {
        Health::Ready | Health::Assumed => Some(Ok(())),
        Health::Failed(reason) => Some(Err(reason)),
        Health::InProgress(_) | Health::Terminating(_) => None,
    };
    let not_in_time = |last: String| ClusterError::NotInTime { object: id.to_string(), wanted: "ready".to_owned(), after: patience, last };
    match watches.until(id, Instant::now() + patience, verdict).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(not_in_time(reason)),
        Err(last) => {
            let trouble = watches.trouble(&id.api_version, &id.kind);
            let last =
                trouble.or_else(|| last.map(|object| health::of(&object).to_string())).unwrap_or_else(|| "it is not there".to_owned());
            Err(not_in_time(last))
        }
    }
}

/// Waits until the admission webhooks in the way of this object answer: a dry-run apply, tried again while nobody answers.
/// A denial is an answer. Costs one request where all is well.
pub async fn admitted(cluster: &Cluster, resource: &Value, patience: Duration) -> Result<(), ClusterError> {
    match cluster.with_patience(patience).apply(resource, &Apply::flux().dry()).await {
        Err(error @ (ClusterError::Unreachable { .. } | ClusterError::GaveUp { .. })) => Err(error),
        _ => Ok(()),
    }
}

/// Waits until an object is gone; its kind is watched from now on.
pub async fn gone(watches: &Watches, id: &ObjectId, patience: Duration) -> Result<(), ClusterError> {
    watches.follow(&id.api_version, &id.kind);
    let deadline = Instant::now() + patience;
    let synced = watches.synced(&id.api_version, &id.kind, deadline).await;
    // The store may not know an object that was there before; the server does.
    if watches.get(id).is_none() && watches.cluster().get(id).await?.is_none() {
        return Ok(());
    }
    let late =
        |last: &str| ClusterError::NotInTime { object: id.to_string(), wanted: "gone".to_owned(), after: patience, last: last.to_owned() };
    if !synced {
        return Err(late("its kind cannot be watched"));
    }
    let mut seen = false;
    let is_gone = |object: Option<&Value>| {
        seen |= object.is_some();
        (seen && object.is_none()).then_some(())
    };
    watches
        .until(id, deadline, is_gone)
        .await
        .map_err(|last| late(&last.map_or_else(|| "it was not seen".to_owned(), |object| health::of(&object).to_string())))
}
