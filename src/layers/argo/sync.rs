//! The order in which Argo CD applies the objects of one Application: phase, wave, kind, name (argo-cd gitops-engine `pkg/sync/sync_tasks.go`,
//! `pkg/sync/hook`, `pkg/sync/syncwaves`).

use crate::manifest::Resource;

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
    let wave = wave(resource).unwrap_or_default();
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

/// The sync wave, else the weight of a Helm hook, else 0; a sync wave that is no number is given back.
pub(super) fn wave(resource: &Resource) -> Result<i32, &str> {
    if let Some(text) = resource.annotation(WAVE) {
        return text.trim().parse().map_err(|_| text);
    }
    Ok(resource.annotation(HELM_WEIGHT).and_then(|text| text.trim().parse().ok()).unwrap_or_default())
}

/// What a sync applies, in its order.
pub fn in_sync_order(mut objects: Vec<Resource>) -> Vec<Resource> {
    objects.retain(|object| step(object).is_some());
    objects.sort_by_cached_key(|object| {
        let kind = KINDS.iter().position(|kind| *kind == object.kind()).unwrap_or(KINDS.len());
        (step(object), kind, object.name().to_owned())
    });
    objects
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
        let names: Vec<String> = in_sync_order(objects).iter().map(|object| format!("{} {}", object.kind(), object.name())).collect();
        assert_eq!(names, ["Job migrate", "Widget first", "Namespace web", "Deployment web", "Deployment late", "Job check"]);
    }

    #[test]
    fn a_hook_of_argo_cd_wins_over_one_of_helm() {
        let hook = object("Job", "x", &[(HOOK, "Sync"), (HELM_HOOK, "post-install"), (WAVE, "2"), (HELM_WEIGHT, "7")]);
        assert_eq!(step(&hook), Some(Step { phase: Phase::Sync, wave: 2 }));
    }
}
