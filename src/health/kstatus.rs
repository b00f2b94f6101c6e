//! Rules of kstatus, in its order: deletion, generation, `Reconciling` and `Stalled`, the kind's own rule, `Ready`.

use super::{Health, is_own_group};
use serde_json::Value;

/// One condition, as far as rules read it.
struct Condition<'a> {
    name: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

/// An object's fields with the defaults that the rules give them.
struct Object<'a>(&'a Value);

impl<'a> Object<'a> {
    fn text(&self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer).and_then(Value::as_i64)
    }

    fn count(&self, pointer: &str) -> i64 {
        self.number(pointer).unwrap_or(0)
    }

    fn replicas(&self) -> i64 {
        self.number("/spec/replicas").unwrap_or(1)
    }

    fn conditions(&self) -> impl Iterator<Item = Condition<'a>> + use<'a> {
        let list = self.0.pointer("/status/conditions").and_then(Value::as_array);
        list.into_iter().flatten().map(|condition| {
            let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
            Condition { name: text("type"), status: text("status"), reason: text("reason"), message: text("message") }
        })
    }

    fn condition(&self, name: &str) -> Option<Condition<'a>> {
        self.conditions().find(|condition| condition.name == name)
    }
}

impl Condition<'_> {
    /// What it says, for a message: its message, else its reason, else its name and status.
    fn words(&self) -> String {
        match (self.message, self.reason) {
            ("", "") => format!("{} is {}", self.name, self.status),
            ("", reason) => reason.to_owned(),
            (message, _) => message.to_owned(),
        }
    }
}

fn in_progress(message: impl Into<String>) -> Health {
    Health::InProgress(message.into())
}

pub(super) fn of(value: &Value) -> Health {
    let object = Object(value);
    if !object.text("/metadata/deletionTimestamp").is_empty() {
        let finalizers: Vec<&str> =
            value.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        return Health::Terminating(if finalizers.is_empty() {
            "scheduled for deletion".to_owned()
        } else {
            format!("scheduled for deletion, held by {}", finalizers.join(", "))
        });
    }
    if let (Some(generation), Some(observed)) = (object.number("/metadata/generation"), object.number("/status/observedGeneration"))
        && generation != observed
    {
        return in_progress(if observed <= 0 {
            "its controller has not looked at it yet".to_owned()
        } else {
            format!("generation is {generation}, its controller has seen {observed}")
        });
    }
    for condition in object.conditions().filter(|condition| condition.status == "True") {
        match condition.name {
            "Reconciling" => return in_progress(condition.words()),
            "Stalled" => return Health::Failed(condition.words()),
            _ => {}
        }
    }
    let group = object.text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    match (group, object.text("/kind")) {
        ("", "Pod") => pod(&object),
        ("", "Service") => service(&object),
        ("", "PersistentVolumeClaim") => match object.text("/status/phase") {
            "Bound" => Health::Ready,
            "" => in_progress("claim is not bound"),
            phase => in_progress(format!("claim is not bound, phase {phase}")),
        },
        ("", "Secret" | "ConfigMap") | ("batch", "CronJob") | ("policy", "PodDisruptionBudget") => Health::Ready,
        ("apps" | "extensions", "Deployment") => deployment(&object),
        ("apps" | "extensions", "ReplicaSet") => replica_set(&object),
        ("apps" | "extensions", "DaemonSet") => daemon_set(&object),
        ("apps", "StatefulSet") => stateful_set(&object),
        ("batch", "Job") => job(&object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&object),
        (group, kind) => generic(&object, group, kind),
    }
}

/// `Ready` where there is one, ACK's conditions, else what can be said of a kind that says nothing.
fn generic(object: &Object<'_>, group: &str, kind: &str) -> Health {
    if group.ends_with(".services.k8s.aws")
        && let Some(health) = ack(object)
    {
        return health;
    }
    // A third status is as no condition at all (kstatus `checkReadyCondition`).
    let ready = object.conditions().find(|condition| condition.name == "Ready" && matches!(condition.status, "True" | "False" | "Unknown"));
    match ready {
        Some(ready) if ready.status == "True" => Health::Ready,
        Some(ready) => in_progress(ready.words()),
        None if is_own_group(group) => Health::Ready,
        None if is_reconciled_by_flux(object, group, kind) => in_progress("its controller has not looked at it yet"),
        None => Health::Assumed,
    }
}

/// Flux' kinds that get a Ready condition soon. Alerts, Providers and HelmRepositories of type `oci` never get one.
fn is_reconciled_by_flux(object: &Object<'_>, group: &str, kind: &str) -> bool {
    match group {
        "kustomize.toolkit.fluxcd.io" | "helm.toolkit.fluxcd.io" | "image.toolkit.fluxcd.io" | "fluxcd.controlplane.io" => true,
        "source.toolkit.fluxcd.io" | "source.extensions.fluxcd.io" => kind != "HelmRepository" || object.text("/spec/type") != "oci",
        "notification.toolkit.fluxcd.io" => kind == "Receiver",
        _ => false,
    }
}

/// <https://aws-controllers-k8s.github.io/docs/guides/conditions>: Terminal needs a change of the spec, Recoverable does not.
fn ack(object: &Object<'_>) -> Option<Health> {
    if let Some(terminal) = object.condition("ACK.Terminal").filter(|condition| condition.status == "True") {
        return Some(Health::Failed(terminal.words()));
    }
    let synced = object.condition("ACK.ResourceSynced")?;
    if synced.status == "True" {
        return Some(Health::Ready);
    }
    let why = ["ACK.Recoverable", "ACK.ReferencesResolved", "ACK.Advisory"].into_iter().find_map(|name| {
        object
            .condition(name)
            .filter(|condition| !condition.message.is_empty() && (condition.status == "True") == (name != "ACK.ReferencesResolved"))
    });
    Some(in_progress(why.unwrap_or(synced).words()))
}

/// A Service of type LoadBalancer counts as soon as it has a cluster IP; kstatus does not wait for the address outside.
fn service(object: &Object<'_>) -> Health {
    if object.text("/spec/type") == "LoadBalancer" && object.text("/spec/clusterIP").is_empty() {
        return in_progress("it has no cluster IP yet");
    }
    Health::Ready
}

fn deployment(object: &Object<'_>) -> Health {
    // Without a deadline the controller never sets Progressing.
    let mut progressing = object.number("/spec/progressDeadlineSeconds").is_none_or(|seconds| seconds == i64::from(i32::MAX));
    let mut available = false;
    for condition in object.conditions() {
        match condition.name {
            "Progressing" if condition.reason == "ProgressDeadlineExceeded" => return Health::Failed(condition.words()),
            "Progressing" => progressing |= condition.status == "True" && condition.reason == "NewReplicaSetAvailable",
            "Available" => available |= condition.status == "True",
            _ => {}
        }
    }
    let wanted = object.replicas();
    let [present, updated, ready, up] =
        ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"].map(|field| object.count(&format!("/status/{field}")));
    if wanted > present {
        return in_progress(format!("{present} of {wanted} replicas exist"));
    }
    if wanted > updated {
        return in_progress(format!("{updated} of {wanted} replicas are updated"));
    }
    if present > wanted {
        return in_progress(format!("{} old replicas are pending termination", present - wanted));
    }
    if updated > up {
        return in_progress(format!("{up} of {updated} replicas are available"));
    }
    if wanted > ready {
        return in_progress(format!("{ready} of {wanted} replicas are ready"));
    }
    if !progressing {
        return in_progress("its new ReplicaSet is not available");
    }
    if !available {
        return in_progress("it is not Available");
    }
    Health::Ready
}

fn replica_set(object: &Object<'_>) -> Health {
    if let Some(failure) = object.condition("ReplicaFailure").filter(|condition| condition.status == "True") {
        return in_progress(failure.words());
    }
    let wanted = object.replicas();
    let [present, labelled, ready, up] =
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"].map(|field| object.count(&format!("/status/{field}")));
    if wanted > labelled {
        return in_progress(format!("{labelled} of {wanted} replicas are labelled"));
    }
    if wanted > up {
        return in_progress(format!("{up} of {wanted} replicas are available"));
    }
    if wanted > ready {
        return in_progress(format!("{ready} of {wanted} replicas are ready"));
    }
    if present > wanted {
        return in_progress(format!("{} replicas are pending termination", present - wanted));
    }
    Health::Ready
}

fn daemon_set(object: &Object<'_>) -> Health {
    if object.number("/metadata/generation").is_none() || object.number("/status/observedGeneration").is_none() {
        return in_progress("its controller has not looked at it yet");
    }
    let Some(wanted) = object.number("/status/desiredNumberScheduled") else {
        return in_progress("the number of its pods is not known yet");
    };
    for (field, words) in [
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ] {
        let present = object.count(&format!("/status/{field}"));
        if wanted > present {
            return in_progress(format!("{present} of {wanted} pods are {words}"));
        }
    }
    Health::Ready
}

fn stateful_set(object: &Object<'_>) -> Health {
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        return Health::Ready;
    }
    let wanted = object.replicas();
    let [present, ready, current, updated] =
        ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas"].map(|field| object.count(&format!("/status/{field}")));
    if wanted > present {
        return in_progress(format!("{present} of {wanted} replicas exist"));
    }
    if wanted > ready {
        return in_progress(format!("{ready} of {wanted} replicas are ready"));
    }
    if present > wanted {
        return in_progress(format!("{} replicas are pending termination", present - wanted));
    }
    if let Some(partition) = object.number("/spec/updateStrategy/rollingUpdate/partition").filter(|partition| *partition != -1) {
        let wanted = wanted - partition;
        return if updated < wanted { in_progress(format!("{updated} of {wanted} replicas are updated")) } else { Health::Ready };
    }
    if wanted > current {
        return in_progress(format!("{current} of {wanted} replicas are current"));
    }
    if object.text("/status/currentRevision") != object.text("/status/updateRevision") {
        return in_progress("its update is not finished");
    }
    Health::Ready
}

/// As Flux does: ready when it is over, not when it runs.
fn job(object: &Object<'_>) -> Health {
    if object.0.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        return Health::Ready;
    }
    for condition in object.conditions().filter(|condition| condition.status == "True") {
        match condition.name {
            "Complete" => return Health::Ready,
            "Failed" => return Health::Failed(condition.words()),
            _ => {}
        }
    }
    if object.text("/status/startTime").is_empty() {
        return in_progress("it has not started");
    }
    let [active, succeeded, failed] = ["active", "succeeded", "failed"].map(|field| object.count(&format!("/status/{field}")));
    in_progress(format!("it runs: {active} pods active, {succeeded} succeeded, {failed} failed"))
}

fn pod(object: &Object<'_>) -> Health {
    let unschedulable =
        || object.condition("PodScheduled").filter(|condition| condition.status == "False" && condition.reason == "Unschedulable");
    match object.text("/status/phase") {
        // kstatus calls a pod that has ended in failure complete, too.
        "Succeeded" | "Failed" => Health::Ready,
        "Running" => {
            if object.condition("Ready").is_some_and(|condition| condition.status == "True") {
                return Health::Ready;
            }
            let statuses = object.0.pointer("/status/containerStatuses").and_then(Value::as_array);
            let looping: Vec<&str> = statuses
                .into_iter()
                .flatten()
                .filter(|status| status.pointer("/state/waiting/reason").and_then(Value::as_str) == Some("CrashLoopBackOff"))
                .filter_map(|status| status.get("name").and_then(Value::as_str))
                .collect();
            if looping.is_empty() {
                in_progress("it runs and is not ready")
            } else {
                Health::Failed(format!("containers crash again and again: {}", looping.join(", ")))
            }
        }
        // kstatus calls it failed after 15 s; a node may still join, so here it stays in progress until its time is over.
        "Pending" => in_progress(unschedulable().map_or_else(|| "it is pending".to_owned(), |condition| condition.words())),
        "" => in_progress("nobody has looked at it yet"),
        phase => in_progress(format!("its phase is {phase}")),
    }
}

fn definition(object: &Object<'_>) -> Health {
    for condition in object.conditions() {
        match (condition.name, condition.status) {
            ("NamesAccepted", "False") => return Health::Failed(condition.words()),
            ("Established", "False") if condition.reason != "Installing" => return Health::Failed(condition.words()),
            ("Established", "True") => return Health::Ready,
            _ => {}
        }
    }
    in_progress("it is not established yet")
}
