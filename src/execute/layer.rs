//! Writing one layer's objects: in the stages of kustomize-controller, in parallel within a stage, each waiting for what it needs.

use super::Shared;
use crate::cluster::ssa;
use crate::cluster::{Apply, ApplyResult, Cluster, ClusterError};
use crate::manifest::{ObjectId, Resource};
use crate::report::event::Happening;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One object as the server answered.
#[derive(Debug)]
pub struct Written {
    /// Which.
    pub id: ObjectId,
    /// Created, changed or as it was.
    pub result: ApplyResult,
    /// The object; none where the server was not asked (`ssa: Ignore`, `reconcile: disabled`).
    pub object: Option<Value>,
}

/// Why a layer could not be written: the object first.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object}{place}: {cause}", place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default())]
pub struct ApplyFailed {
    /// Which object.
    pub object: ObjectId,
    /// Where it is declared.
    pub place: Option<crate::problem::Origin>,
    /// Why.
    pub cause: String,
}

/// What is written, as whom, and for how long it may be tried.
#[derive(Debug)]
pub struct Work {
    /// Id of the node, for events.
    pub node: String,
    /// Client, impersonating the layer's service account where it names one.
    pub cluster: Cluster,
    /// Objects, prepared.
    pub objects: Vec<Resource>,
    /// Field manager.
    pub manager: &'static str,
    /// Until when a missing kind, namespace or webhook backend is waited for.
    pub deadline: Instant,
    /// Only look what would change.
    pub dry_run: bool,
}

/// Writes all objects; the first error ends it after what already runs is over.
pub async fn apply(work: Work, shared: Arc<Shared>) -> Result<Vec<Written>, ApplyFailed> {
    let mut written = Vec::with_capacity(work.objects.len());
    for stage in ssa::stage(&work.objects) {
        let mut running: FuturesUnordered<_> = stage.iter().map(|resource| apply_one(&work, resource, &shared)).collect();
        let mut failure = None;
        let mut definitions = Vec::new();
        while let Some(result) = running.next().await {
            match result {
                Ok(object) => {
                    if object.id.kind == "CustomResourceDefinition" && !work.dry_run {
                        definitions.push(object.id.clone());
                    }
                    written.push(object);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        drop(running);
        if let Some(failure) = failure {
            return Err(failure);
        }
        for definition in definitions {
            let patience = work.deadline.saturating_duration_since(Instant::now());
            shared.watches.established(&definition, patience).await.map_err(|cause| ApplyFailed {
                object: definition.clone(),
                place: None,
                cause: format!("not established: {cause}"),
            })?;
        }
    }
    Ok(written)
}

async fn apply_one(work: &Work, resource: &Resource, shared: &Shared) -> Result<Written, ApplyFailed> {
    let id = resource.id();
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    loop {
        let permit = shared.requests.acquire().await;
        let options = Apply { manager: work.manager, force: true, dry_run: work.dry_run };
        let result = ssa::apply(&work.cluster, resource, &options).await;
        drop(permit);
        let error = match result {
            Ok(applied) => {
                return Ok(Written { id, result: applied.result, object: Some(applied.object) });
            }
            Err(error) => error,
        };
        let failed = |cause: String| ApplyFailed { object: id.clone(), place: resource.origin.clone(), cause };
        // Another layer, or a chart, may still bring what this object needs: its kind, its namespace, the webhook's backend.
        if !may_still_come(&error) {
            return Err(failed(error.to_string()));
        }
        if Instant::now() + pause >= work.deadline {
            return Err(failed(format!("{error} (waited until the layer's timeout)")));
        }
        if !told {
            told = true;
            shared.send(Happening::Retried { node: work.node.clone(), error: format!("{id}: {error}") });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.definitions_changed.notified() => {}
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn may_still_come(error: &ClusterError) -> bool {
    error.is_unknown_kind() || error.is_missing_namespace() || error.is_webhook_unreachable()
}
