//! A check that is a program in the cluster: a Job that is made, awaited and removed.

use super::{Asking, stopped};
use crate::cluster::watch::Watches;
use crate::cluster::{Cluster, Preconditions};
use crate::environment::check::{Check, Job};
use crate::manifest::ObjectId;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the API server may take to write it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds that Kubernetes keeps a Job that nobody could remove any more.
const KEPT: u32 = 600;
/// Letters of what a program has said last.
const MOST: usize = 300;

/// Until it has completed, failed for good, or its time is over.
pub(super) async fn run(check: &Check, job: &Job, asking: &Asking<'_>) -> Result<String, String> {
    let cluster = asking.cluster.with_patience(PATIENCE);
    let object = object(check, job);
    let made = cluster.create(&object, "blackstart").await.map_err(|error| {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{error}{hint}")
    })?;
    let text = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = ObjectId::new("batch/v1", "Job", Some(&job.namespace), &text("/metadata/name"));
    let result = ended(&id, check.timeout, asking).await;
    let result = match result {
        Ok(()) if asking.rehearsal => Ok(format!("{id} has completed; in a rehearsal no container runs")),
        Ok(()) => Ok(format!("{id} has completed")),
        Err(why) => Err(format!("{id} {why}{}", said(&cluster, &id).await)),
    };
    let own = Preconditions { uid: Some(text("/metadata/uid")), ..Preconditions::default() };
    match (cluster.delete(&id, &own).await, result) {
        (Ok(_), result) => result,
        (Err(error), result) => {
            let left = format!("it could not be removed: {error}; kubectl delete job {} -n {}", id.name, job.namespace);
            result.map(|text| format!("{text}; {left}")).map_err(|text| format!("{text}; {left}"))
        }
    }
}

async fn ended(id: &ObjectId, timeout: Duration, asking: &Asking<'_>) -> Result<(), String> {
    let watches = Watches::new(asking.cluster.clone());
    watches.follow(&id.api_version, &id.kind);
    let mut stop = asking.stop.clone();
    let seen = tokio::select! {
        seen = watches.until(id, Instant::now() + timeout, |object| end(object?)) => seen,
        () = stopped(&mut stop) => return Err("was interrupted before it had completed".to_owned()),
    };
    seen.unwrap_or_else(|_| {
        let trouble = watches.trouble(&id.api_version, &id.kind).map(|why| format!(" ({why})")).unwrap_or_default();
        Err(format!("has not completed within {} s{trouble}", timeout.as_secs().max(1)))
    })
}

/// How a Job has ended; none while it runs.
fn end(job: &Value) -> Option<Result<(), String>> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let holds = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "True");
    if holds("Complete").is_some() {
        return Some(Ok(()));
    }
    let failed = holds("Failed")?;
    let text = |key: &str| failed[key].as_str().unwrap_or_default();
    Some(Err(format!("has failed: {} {}", text("reason"), text("message")).trim_end().to_owned()))
}

/// What its last Pod has said, where it tells.
async fn said(cluster: &Cluster, id: &ObjectId) -> String {
    let selector = format!("batch.kubernetes.io/job-name={}", id.name);
    let pods = cluster.list("v1", "Pod", id.namespace.as_deref(), Some(&selector)).await.unwrap_or_default();
    let made = |pod: &Value| pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default().to_owned();
    let state = pods.iter().max_by_key(|pod| made(pod)).and_then(|pod| pod.pointer("/status/containerStatuses/0/state").cloned());
    let text = match state.as_ref().and_then(|state| state.as_object()?.iter().next()) {
        Some((kind, state)) if kind == "terminated" => {
            let message = state["message"].as_str().unwrap_or_default().trim();
            let code = state["exitCode"].as_i64().map(|code| format!("exit code {code}")).unwrap_or_default();
            if message.is_empty() { code } else { format!("{code}: {message}") }
        }
        Some((kind, state)) if kind == "waiting" => {
            format!("{} {}", state["reason"].as_str().unwrap_or_default(), state["message"].as_str().unwrap_or_default()).trim().to_owned()
        }
        _ => cluster.events_for(id).await.last().cloned().unwrap_or_default(),
    };
    if text.is_empty() {
        return String::new();
    }
    // The end of what it said tells why.
    let skip = text.chars().count().saturating_sub(MOST);
    let text: String = text.chars().skip(skip).collect();
    format!(" ({}{})", if skip > 0 { "…" } else { "" }, text.replace('\n', "; "))
}

fn object(check: &Check, job: &Job) -> Value {
    let env: Vec<Value> = job.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let mut container = json!({
        "name": "check",
        "image": job.image,
        "env": env,
        // What it printed last is what a person needs to know, and the Pod is gone then.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if !job.command.is_empty() {
        container["command"] = json!(job.command);
    }
    let mut pod = json!({"restartPolicy": "Never", "containers": [container]});
    if let Some(account) = &job.service_account_name {
        pod["serviceAccountName"] = json!(account);
    }
    let labels = json!({"app.kubernetes.io/managed-by": "blackstart", "blackstart.dev/check": check.name});
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        // A name of its own for each run: what a dead one left is in nobody's way.
        "metadata": {"name": format!("blackstart-check-{}-{:05x}", check.name, fastrand::u32(..0x10_0000)), "namespace": job.namespace, "labels": labels},
        "spec": {
            "activeDeadlineSeconds": check.timeout.as_secs().max(1),
            "ttlSecondsAfterFinished": KEPT,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_completed_or_failed_by_its_conditions() {
        let job = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": "BackoffLimitExceeded", "message": "too often"}]}});
        assert_eq!(end(&json!({"status": {"active": 1}})), None);
        assert_eq!(end(&job("SuccessCriteriaMet", "True")), None);
        assert_eq!(end(&job("Complete", "True")), Some(Ok(())));
        assert_eq!(end(&job("Failed", "False")), None);
        assert_eq!(end(&job("Failed", "True")), Some(Err("has failed: BackoffLimitExceeded too often".into())));
    }
}
