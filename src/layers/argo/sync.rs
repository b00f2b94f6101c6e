//! The order in which Argo CD applies the objects of one Application: phase, wave, kind, name (argo-cd gitops-engine `pkg/sync/sync_tasks.go`,
//! `pkg/sync/hook`, `pkg/sync/syncwaves`).

use crate::layers::scope::Scopes;
use crate::manifest::Resource;
use std::collections::HashMap;

const WAVE: &str = "argocd.argoproj.io/sync-wave";
const HOOK: &str = "argocd.argoproj.io/hook";
const HELM_HOOK: &str = "helm.sh/hook";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";

/// Kinds that come first, in this order; all others come after them (`sync_tasks.go`, `kindOrder`).
const KINDS: [&str; 35] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
];

/// Part of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before all else.
    PreSync,
    /// The objects themselves.
    Sync,
    /// When these are healthy.
    PostSync,
}

/// What is applied together, and healthy before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Phase.
    pub phase: Phase,
    /// Sync wave.
    pub wave: i32,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.phase {
            Phase::Sync => write!(f, "sync wave {}", self.wave),
            phase => write!(f, "{phase:?} wave {}", self.wave),
        }
    }
}

/// First step in which a sync applies an object; none for what a sync leaves out (hooks of deletions and failures, `Skip`, Helm's tests).
pub fn step(resource: &Resource) -> Option<Step> {
    let wave = wave(resource);
    let words = |key: &str| resource.annotation(key).into_iter().flat_map(|text| text.split(',')).map(str::trim);
    let own: Vec<Option<Phase>> = words(HOOK)
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "PreSync" => Some(Phase::PreSync),
            "Sync" => Some(Phase::Sync),
            "PostSync" => Some(Phase::PostSync),
            _ => None,
        })
        .collect();
    // Helm's annotation counts where Argo CD's own says nothing; a definition marked `crd-install` is no hook.
    let of_helm = || {
        words(HELM_HOOK)
            .map(|word| match word {
                "pre-install" | "pre-upgrade" => Some(Phase::PreSync),
                "post-install" | "post-upgrade" => Some(Phase::PostSync),
                "crd-install" => Some(Phase::Sync),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let phases = if own.is_empty() { of_helm() } else { own };
    let phase = if phases.is_empty() { Some(Phase::Sync) } else { phases.into_iter().flatten().min() };
    Some(Step { phase: phase?, wave })
}

/// The sync wave where it is a number, else the weight of a Helm hook, else 0 (`syncwaves.Wave`).
pub(super) fn wave(resource: &Resource) -> i32 {
    let number = |key: &str| resource.annotation(key)?.parse().ok();
    number(WAVE).or_else(|| number(HELM_WEIGHT)).unwrap_or_default()
}

/// A sync wave that is no number, and so counts for nothing.
pub fn idle_wave(resource: &Resource) -> Option<&str> {
    resource.annotation(WAVE).filter(|text| text.parse::<i32>().is_err())
}

/// What a sync applies, in its order; `namespace` is that of objects which name none.
pub fn in_sync_order(mut objects: Vec<Resource>, namespace: &str) -> Vec<Resource> {
    objects.retain(|object| step(object).is_some());
    objects.sort_by_cached_key(|object| {
        let kind = KINDS.iter().position(|kind| *kind == object.kind()).unwrap_or(KINDS.len());
        (step(object), kind, object.name().to_owned())
    });
    // Definitions and namespaces come no later than their first user, whatever their wave (`adjustDeps`).
    let kind = |object: &Resource| Some((object.group().to_owned(), object.kind().to_owned()));
    let definition = |object: &Resource| {
        let defined = (object.text("/spec/group").to_owned(), object.text("/spec/names/kind").to_owned());
        (object.kind() == "CustomResourceDefinition").then_some(defined)
    };
    forward(&mut objects, definition, kind);
    let mut scopes = Scopes::default();
    for object in &objects {
        scopes.declare(object);
    }
    let place =
        |object: &Resource| scopes.is_namespaced(object).then(|| (String::new(), object.namespace().unwrap_or(namespace).to_owned()));
    let own = |object: &Resource| {
        let is_namespace = object.kind() == "Namespace" && object.group().is_empty();
        is_namespace.then(|| (String::new(), object.name().to_owned()))
    };
    forward(&mut objects, own, place);
    objects
}

type Key = (String, String);

/// Moves each object that others need before the first of those.
fn forward(objects: &mut [Resource], gives: impl Fn(&Resource) -> Option<Key>, needs: impl Fn(&Resource) -> Option<Key>) {
    let mut first: HashMap<Key, usize> = HashMap::new();
    for at in 0..objects.len() {
        if let Some(key) = gives(&objects[at]) {
            if let Some(&before) = first.get(&key) {
                objects[before..=at].rotate_right(1);
                first.values_mut().filter(|known| **known >= before).for_each(|known| *known += 1);
            }
        } else if let Some(key) = needs(&objects[at]) {
            first.entry(key).or_insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, name: &str, annotations: &[(&str, &str)]) -> Resource {
        let annotations: serde_json::Map<_, _> = annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        Resource { value: json!({"kind": kind, "metadata": {"name": name, "annotations": annotations}}), origin: None }
    }

    #[test]
    fn phase_comes_before_wave_and_wave_before_kind() {
        let objects = vec![
            object("Deployment", "late", &[(WAVE, "1")]),
            object("Deployment", "web", &[]),
            object("Job", "check", &[(HOOK, "PostSync"), (WAVE, "-9")]),
            object("Namespace", "web", &[]),
            object("Job", "migrate", &[(HELM_HOOK, "pre-install,pre-upgrade"), (HELM_WEIGHT, "5")]),
            object("Widget", "first", &[(WAVE, "-1")]),
            object("Pod", "test", &[(HELM_HOOK, "test")]),
            object("Job", "cleanup", &[(HOOK, "PostDelete")]),
        ];
        let names: Vec<String> = in_sync_order(objects, "").iter().map(|object| format!("{} {}", object.kind(), object.name())).collect();
        assert_eq!(names, ["Job migrate", "Widget first", "Namespace web", "Deployment web", "Deployment late", "Job check"]);
    }

    #[test]
    fn a_namespace_and_a_definition_come_before_their_first_user_whatever_their_wave() {
        let mut definition = object("CustomResourceDefinition", "widgets.x.example.com", &[(WAVE, "2")]);
        definition.value["spec"] = json!({"group": "x.example.com", "names": {"kind": "Widget"}});
        let mut widget = object("Widget", "w", &[]);
        widget.value["apiVersion"] = "x.example.com/v1".into();
        let objects = vec![
            object("Job", "migrate", &[(HOOK, "PreSync")]),
            object("Namespace", "shop", &[(WAVE, "1")]),
            object("ConfigMap", "c", &[]),
            widget,
            definition,
        ];
        let names: Vec<String> = in_sync_order(objects, "shop").iter().map(|object| object.name().to_owned()).collect();
        assert_eq!(names, ["shop", "migrate", "c", "widgets.x.example.com", "w"]);
    }

    #[test]
    fn a_wave_that_is_no_number_counts_for_nothing() {
        let hook = object("Job", "x", &[(WAVE, "first"), (HELM_WEIGHT, "7")]);
        assert_eq!((wave(&hook), idle_wave(&hook)), (7, Some("first")));
        let plain = object("Job", "x", &[(WAVE, "-3")]);
        assert_eq!((wave(&plain), idle_wave(&plain)), (-3, None));
    }

    #[test]
    fn a_hook_of_argo_cd_wins_over_one_of_helm() {
        let hook = object("Job", "x", &[(HOOK, "Sync"), (HELM_HOOK, "post-install"), (WAVE, "2"), (HELM_WEIGHT, "7")]);
        assert_eq!(step(&hook), Some(Step { phase: Phase::Sync, wave: 2 }));
    }
}
