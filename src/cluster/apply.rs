//! Server-side apply, and what it did.

use super::http::{Answer, Call, Subject, malformed};
use super::{ApiKind, Cluster, ClusterError, ssa};
use crate::manifest::ObjectId;
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Field manager of Flux's kustomize-controller.
const FLUX: &str = "kustomize-controller";

/// How often an object is read again that changes while it is looked at.
const LOOKS: u32 = 5;

/// How to apply.
#[derive(Clone, Copy, Debug)]
pub struct Apply {
    /// Field manager.
    pub manager: &'static str,
    /// Take over fields that another manager owns with another value.
    pub force: bool,
    /// Everything but the write (validation, admission, defaults).
    pub dry_run: bool,
    /// Whether to look first.
    pub mode: Mode,
}

/// Whether an apply looks at the living object first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One PATCH. The API server itself writes nothing where nothing changes (resourceVersion stays), but a change of
    /// ownership alone is a change to it. For a start from nothing.
    Straight,
    /// As the agent does: read, skip where the living object says so, dry run, compare labels, annotations and
    /// everything but metadata and status, and write only where that differs. Where an environment may be alive.
    IfDrifted,
}

impl Apply {
    /// As kustomize-controller applies, for a start from nothing.
    pub fn flux() -> Self {
        Self { manager: FLUX, force: true, dry_run: false, mode: Mode::Straight }
    }

    /// Looking first.
    #[must_use]
    pub fn if_drifted(self) -> Self {
        Self { mode: Mode::IfDrifted, ..self }
    }

    /// Without the write.
    #[must_use]
    pub fn dry(self) -> Self {
        Self { dry_run: true, ..self }
    }
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyResult {
    /// It was not there.
    Created,
    /// It was different.
    Changed,
    /// It was as declared.
    Unchanged,
    /// It is there and declared as not to be touched (`ssa: IfNotPresent`, `ssa: Ignore`, `reconcile: disabled`).
    Skipped,
}

/// What an apply did, and the object as it is now.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The object, without `metadata.managedFields`; null where it was skipped without being looked at.
    pub object: Value,
    /// What was done.
    pub result: ApplyResult,
    /// Fields that the kind does not have, and that were left out, as the agent does: `.spec.replica`.
    pub dropped: Vec<String>,
    /// Of what the agent must not change afterwards; see [`ssa::fingerprint`].
    pub fingerprint: ssa::Fingerprint,
}

impl Applied {
    fn new(object: Value, result: ApplyResult, how: &Apply) -> Self {
        let fingerprint = ssa::fingerprint(&object, how.manager);
        Self { object: without_managers(object), result, dropped: Vec::new(), fingerprint }
    }
}

/// Newest resourceVersion seen for each API group before: what an apply answers and is not newer was not written by it.
/// By group, because an aggregated API server may count on its own.
#[derive(Default)]
pub(super) struct Horizon {
    newest: Mutex<HashMap<String, u64>>,
}

impl Horizon {
    fn get(&self, group: &str) -> u64 {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(group).copied().unwrap_or(0)
    }

    pub(super) fn saw(&self, group: &str, version: u64) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.get_mut(group) {
            Some(known) => *known = version.max(*known),
            None => {
                newest.insert(group.to_owned(), version);
            }
        }
    }
}

impl Cluster {
    /// Applies one object (as `ssa::prepare` gives it).
    ///
    /// The result is told from the answer alone: 201 is Created. Otherwise it is Unchanged where its resourceVersion is
    /// not newer than one seen before the call, or where our manager's entry in managedFields is older than the call by
    /// the server's own clock (the server renews that time whenever an apply changes anything); else Changed.
    /// Only when somebody else wrote the object in the same second can an unchanged object be told as Changed.
    ///
    /// A field that one of Kubernetes' own kinds does not have is left out and told in `dropped`: server-side apply refuses
    /// it, and the agent's typed round trip drops it silently.
    pub async fn apply(&self, resource: &Value, how: &Apply) -> Result<Applied, ClusterError> {
        let mut pruned: Option<Value> = None;
        let mut dropped = Vec::new();
        loop {
            let refused = match self.apply_as_it_is(pruned.as_ref().unwrap_or(resource), how).await {
                Ok(applied) => return Ok(Applied { dropped, ..applied }),
                Err(error) => error,
            };
            let ClusterError::Rejected { reason, .. } = &refused else { return Err(refused) };
            if !ssa::is_typed(resource) {
                return Err(refused);
            }
            // The server may name them one by one; each turn drops at least one.
            let more = ssa::prune(pruned.get_or_insert_with(|| resource.clone()), reason);
            if more.is_empty() {
                return Err(refused);
            }
            dropped.extend(more);
        }
    }

    async fn apply_as_it_is(&self, resource: &Value, how: &Apply) -> Result<Applied, ClusterError> {
        let id = id_of(resource)?;
        if ssa::is_left_alone(resource) {
            return Ok(Applied::new(Value::Null, ApplyResult::Skipped, how));
        }
        let kind = self.needed(&id, &id.api_version, &id.kind).await?;
        if kind.namespaced && id.namespace.is_none() {
            return Err(ClusterError::NamespaceMissing { object: id.to_string(), kind: id.kind });
        }
        let body = serde_json::to_vec(resource).map(Bytes::from).map_err(|error| ClusterError::Malformed {
            object: id.to_string(),
            verb: "patch",
            reason: error.to_string(),
        })?;
        if how.mode == Mode::IfDrifted || ssa::is_only_made_when_absent(resource) {
            let mut looks = 0;
            loop {
                looks += 1;
                match self.read(&id, &kind).await {
                    Ok(living) => {
                        if ssa::is_left_alone(&living) || ssa::is_only_made_when_absent(resource) {
                            return Ok(Applied::new(living, ApplyResult::Skipped, how));
                        }
                        if how.mode == Mode::IfDrifted {
                            let (_, wanted) = self.patch(&id, &kind, body.clone(), &how.dry()).await?;
                            if !ssa::has_drifted(&living, &wanted) {
                                return Ok(Applied::new(living, ApplyResult::Unchanged, how));
                            }
                            // Somebody wrote it between the two: the difference may be theirs.
                            if version_of(&living) != version_of(&wanted) && looks < LOOKS {
                                continue;
                            }
                        }
                    }
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error),
                }
                break;
            }
        }
        let before = self.inner.horizon.get(id.group());
        let (answer, object) = self.patch(&id, &kind, body, how).await?;
        let version = version_of(&object);
        let result = if answer.code == 201 {
            ApplyResult::Created
        } else if version != 0 && version <= before || !renewed(&object, how.manager, &answer) {
            ApplyResult::Unchanged
        } else {
            ApplyResult::Changed
        };
        if !how.dry_run {
            self.inner.horizon.saw(id.group(), version);
            if ssa::is_definition(resource) {
                self.learn(resource);
            }
        }
        Ok(Applied::new(object, result, how))
    }

    async fn patch(&self, id: &ObjectId, kind: &ApiKind, body: Bytes, how: &Apply) -> Result<(Answer, Value), ClusterError> {
        let dry_run = if how.dry_run { "&dryRun=All" } else { "" };
        let call = Call {
            verb: "patch",
            method: Method::PATCH,
            path: format!("{}?fieldManager={}&force={}{dry_run}", kind.object(id.namespace.as_deref(), &id.name), how.manager, how.force),
            content: Some("application/apply-patch+yaml"),
            body,
            idempotent: true,
            settling: kind.learnt,
            subject: Subject { object: id, kind: (&id.api_version, &id.kind) },
        };
        let answer = self.send(&call).await?;
        let object = serde_json::from_slice(&answer.body).map_err(|error| malformed(&call, error.to_string()))?;
        Ok((answer, object))
    }
}

/// What names an object; an error where it is no Kubernetes object.
pub(super) fn id_of(object: &Value) -> Result<ObjectId, ClusterError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
        (Some(api_version), Some(kind), Some(name)) => Ok(ObjectId { api_version, kind, namespace: text("/metadata/namespace"), name }),
        (api_version, kind, name) => Err(ClusterError::Malformed {
            object: format!("{} {}", kind.as_deref().unwrap_or("object"), name.as_deref().unwrap_or("without a name")),
            verb: "apply",
            reason: format!(
                "{} is missing",
                if api_version.is_none() {
                    "apiVersion"
                } else if kind.is_none() {
                    "kind"
                } else {
                    "metadata.name"
                }
            ),
        }),
    }
}

/// metadata.resourceVersion as a number (comparable within one resource since Kubernetes 1.35, in practice always); 0 where it is none.
pub(super) fn version_of(object: &Value) -> u64 {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Without managedFields: half of an object's size, and of no use to a run.
pub(super) fn without_managers(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Whether the manager's entry was written during the call, by the server's clock.
fn renewed(object: &Value, manager: &str, answer: &Answer) -> bool {
    let Some(entries) = object.pointer("/metadata/managedFields").and_then(Value::as_array) else { return true };
    let entry = entries.iter().find(|entry| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none_or(|sub| sub.as_str().is_none_or(str::is_empty))
    });
    let written = entry.and_then(|entry| entry["time"].as_str()).and_then(|time| time.parse::<Timestamp>().ok());
    let (Some(written), Some(answered)) = (written, answer.date) else { return true };
    // Both clocks count whole seconds.
    let began = answered - i64::try_from(answer.took.saturating_add(Duration::from_millis(999)).as_secs()).unwrap_or(i64::MAX);
    written.as_second() >= began
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(date: i64, took: u64) -> Answer {
        Answer { code: 200, date: Some(date), took: Duration::from_millis(took), body: Bytes::new() }
    }

    fn object(time: &str) -> Value {
        json!({"metadata": {"managedFields": [{"manager": FLUX, "operation": "Update", "time": "2030-01-01T00:00:00Z"},
            {"manager": FLUX, "operation": "Apply", "time": time}]}})
    }

    #[test]
    fn an_entry_older_than_the_call_was_not_written_by_it() {
        assert!(!renewed(&object("1970-01-01T00:00:57Z"), FLUX, &answer(60, 1500)));
        assert!(renewed(&object("1970-01-01T00:00:58Z"), FLUX, &answer(60, 1500)));
        assert!(renewed(&object("1970-01-01T00:00:58Z"), "other", &answer(60, 1500)));
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        let error = id_of(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})).unwrap_err();
        assert_eq!(error.to_string(), "ConfigMap without a name: apply: not understood: metadata.name is missing");
    }
}
