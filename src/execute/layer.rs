//! Writing one layer's objects: in the stages of kustomize-controller, in parallel within a stage, each waiting for what it needs.

use super::handover::HandoverError;
use super::{Shared, stuck};
use crate::cluster::{Applied, Apply, ApplyResult, Cluster, ClusterError, Preconditions, ssa, wait};
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
    /// The object; null where the server was not asked (`ssa: Ignore`, `reconcile: disabled`).
    pub object: Value,
    /// Of what the agent must not change; see [`ssa::fingerprint`].
    pub fingerprint: ssa::Fingerprint,
}

/// Why a layer could not be written: the object first.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{object}{place}: {cause}{hint}",
    place = place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default(),
    hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
)]
pub struct ApplyFailed {
    /// Which object.
    pub object: ObjectId,
    /// Where it is declared.
    pub place: Option<crate::problem::Origin>,
    /// Why.
    pub cause: String,
    /// What to do next.
    pub hint: Option<String>,
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
    /// As whom, and whether to look first.
    pub how: Apply,
    /// Until when a missing kind, namespace or webhook backend is waited for.
    pub deadline: Instant,
    /// The layer asks that what cannot be changed is made anew (`spec.force`); an object may ask for itself.
    pub force: bool,
}

/// How long a missing right is asked for again: the API server's authorizer follows roles and bindings by watches, and so
/// refuses for a moment what a role allows that this very run has written.
const AUTHORIZER: Duration = Duration::from_secs(5);

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
                    let is_new = matches!(object.result, ApplyResult::Created | ApplyResult::Changed);
                    if object.id.kind == "CustomResourceDefinition" && is_new && !work.how.dry_run {
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
            wait::settled(&shared.watches, &definition, patience).await.map_err(|error| ApplyFailed {
                object: definition.clone(),
                place: None,
                cause: error.to_string(),
                hint: error.hint(),
            })?;
            shared.definitions_changed.notify_waiters();
        }
    }
    Ok(written)
}

async fn apply_one(work: &Work, resource: &Resource, shared: &Shared) -> Result<Written, ApplyFailed> {
    let id = resource.id();
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    let mut refusals = None;
    let failed = |cause: String| {
        // The object stands at the head of the message already.
        let cause = cause.strip_prefix(&format!("{id}: ")).map_or(cause.clone(), str::to_owned);
        ApplyFailed { object: id.clone(), place: resource.origin.clone(), cause, hint: None }
    };
    // A resource that was made below the cluster arrives with its ID.
    let mut handed = shared.handover.as_ref().and_then(|handover| handover.of(resource));
    loop {
        let permit = shared.requests.acquire().await;
        let result = match &mut handed {
            Some(handed) => handed.apply(&work.cluster, &work.how).await,
            None => match shared.pin.as_ref().filter(|pin| pin.covers(&id)) {
                Some(pin) => pin.apply(&work.cluster, &resource.value, &work.how).await.map_err(HandoverError::from),
                None => work.cluster.apply(&resource.value, &work.how).await.map_err(HandoverError::from),
            },
        };
        drop(permit);
        let error = match result {
            Ok(Applied { object, result, .. }) if result != ApplyResult::Skipped && is_leaving(&object) => {
                // Whoever deletes it is not done: what is written into it now would go with it.
                let reason = "it is being deleted".to_owned();
                if work.how.dry_run {
                    return Err(failed(reason));
                }
                if !told {
                    told = true;
                    shared.send(Happening::Retried { node: work.node.clone(), error: format!("{id}: {reason}") });
                }
                if let Err(cause) = gone(work, &id, shared).await {
                    let hint = if id.kind == "Namespace" { stuck::holder(&work.cluster, &id.name).await } else { None };
                    return Err(ApplyFailed { hint, ..failed(cause) });
                }
                continue;
            }
            Ok(Applied { object, result, fingerprint, dropped }) => {
                if !dropped.is_empty() {
                    let message = format!("{id}: fields that {} does not have are left out: {}", id.kind, dropped.join(", "));
                    shared.send(Happening::Warning { node: Some(work.node.clone()), message });
                }
                return Ok(Written { id, result, object, fingerprint });
            }
            Err(HandoverError::Cluster(error)) => error,
            Err(refusal) => return Err(ApplyFailed { hint: refusal.hint(), ..failed(refusal.to_string()) }),
        };
        let refused = |cause: String| ApplyFailed { hint: hint(&error, resource), ..failed(cause) };
        let may_be_replaced = (work.force || ssa::is_forced(&resource.value)) && error.is_immutable() && !work.how.dry_run;
        if may_be_replaced && matches!(work.cluster.get(&id).await, Ok(Some(_))) {
            shared.send(Happening::Warning {
                node: Some(work.node.clone()),
                message: format!("{id}: made anew, as its `force` asks: {error}"),
            });
            work.cluster.delete(&id, &Preconditions::default()).await.map_err(|error| failed(error.to_string()))?;
            gone(work, &id, shared).await.map_err(failed)?;
            continue;
        }
        // Another layer, or a chart, may still bring what this object needs: its kind, its namespace, the webhook's backend.
        if !may_still_come(&error) {
            return Err(refused(error.to_string()));
        }
        let until = match error {
            ClusterError::Forbidden { .. } => work.deadline.min(*refusals.get_or_insert(Instant::now()) + AUTHORIZER),
            _ => work.deadline,
        };
        if Instant::now() + pause >= until {
            let waited = if until == work.deadline { " (waited until the layer's timeout)" } else { "" };
            let failure = refused(format!("{error}{waited}"));
            return Err(match (&failure.hint, &id.namespace) {
                (None, Some(namespace)) if is_in_leaving_namespace(&error) => {
                    ApplyFailed { hint: stuck::holder(&work.cluster, namespace).await, ..failure }
                }
                _ => failure,
            });
        }
        if !told {
            told = true;
            shared.send(Happening::Retried { node: work.node.clone(), error: failed(error.to_string()).to_string() });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.definitions_changed.notified() => {}
            () = shared.stopping() => return Err(failed(format!("{error} (stopped waiting for it)"))),
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// What to do about it; what the server does not take has to be corrected where it stands.
fn hint(error: &ClusterError, resource: &Resource) -> Option<String> {
    error.hint().or_else(|| match (error, &resource.origin) {
        (ClusterError::Rejected { .. }, Some(origin)) => {
            Some(format!("correct {origin}, commit and push it, then run the same command again: it goes on from what is there"))
        }
        _ => None,
    })
}

/// Waits until an object that is being deleted is gone.
async fn gone(work: &Work, id: &ObjectId, shared: &Shared) -> Result<(), String> {
    let patience = work.deadline.saturating_duration_since(Instant::now());
    tokio::select! {
        gone = wait::gone(&shared.watches, id, patience) => gone.map_err(|error| error.to_string()),
        () = shared.stopping() => Err("it is being deleted (stopped waiting for that)".to_owned()),
    }
}

fn is_leaving(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn may_still_come(error: &ClusterError) -> bool {
    match error {
        ClusterError::KindUnknown { .. } | ClusterError::Forbidden { .. } => true,
        ClusterError::NotFound { reason, .. } => reason.starts_with("namespaces "),
        error => is_in_leaving_namespace(error) || error.is_webhook_silent(),
    }
}

fn is_in_leaving_namespace(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Rejected { code: 403, reason, .. } if reason.contains("because it is being terminated"))
}
