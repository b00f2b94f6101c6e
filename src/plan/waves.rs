//! Level and wave: where a layer stands in the order that the repository declares.

use super::Constraint;
use super::sets::Sets;
use crate::layers::LayerId;
use crate::layers::flux::Layer;
use std::collections::HashMap;

/// Position of each layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// 0 without dependencies, else 1 + the highest level among them.
    pub(crate) level: u32,
    /// Earliest step in which it can start.
    pub(crate) wave: u32,
}

/// Computes all; layers in a cycle keep what was known when the cycle closed.
pub(super) fn positions(layers: &[&Layer], sets: &Sets) -> Vec<Position> {
    let index: HashMap<&LayerId, usize> = layers.iter().enumerate().map(|(index, layer)| (&layer.id, index)).collect();
    let find = |ids: Vec<LayerId>| -> Vec<usize> { ids.iter().filter_map(|id| index.get(id).copied()).collect() };
    let after =
        |layer: &Layer| layer.spec.application.iter().flat_map(|application| &application.after).map(|after| after.id.clone()).collect();
    let dependencies: Vec<Vec<usize>> = layers.iter().map(|layer| find(layer.depends_on())).collect();
    let mut before: Vec<Vec<usize>> =
        layers.iter().zip(&dependencies).map(|(layer, own)| [own.clone(), find(after(layer))].concat()).collect();
    let parents: Vec<Option<usize>> =
        layers.iter().map(|layer| layer.parent.as_ref().and_then(|parent| index.get(parent).copied())).collect();
    let mut awaited: Vec<Vec<usize>> = layers.iter().map(|layer| find(checked(layer))).collect();
    for (child, parent) in parents.iter().enumerate() {
        // Argo CD counts the health of an Application among that of the one that holds it, but an ApplicationSet does not wait for its own.
        let is_held = layers[child].spec.application.as_ref().is_some_and(|application| application.set.is_none());
        let is_awaited = |parent: &usize| layers[*parent].spec.wait && !sets.gives(&layers[child].id);
        if let Some(parent) = parent.filter(|parent| is_awaited(parent) || is_held) {
            awaited[parent].push(child);
        }
    }
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
    for order in &sets.orders {
        let (Some(&from), Some(&to)) = (index.get(&order.from), index.get(&order.to)) else { continue };
        match order.constraint {
            Constraint::ReadyBeforeStart => before[to].push(from),
            Constraint::AppliedBeforeStart => behind[to].push(from),
            Constraint::ReadyBeforeReady => awaited[to].push(from),
            Constraint::AppliedBeforeReady => {}
        }
    }
    // Each round settles at least the next layer of every chain; a cycle would go on for ever.
    let mut found = vec![Position::default(); layers.len()];
    let mut ready = vec![0; layers.len()];
    for _ in 0..=layers.len() * 2 {
        let mut changed = false;
        for at in 0..layers.len() {
            let of_argo = layers[at].spec.application.as_ref().map(|application| application.level);
            let level = of_argo.unwrap_or_else(|| dependencies[at].iter().map(|other| found[*other].level + 1).max().unwrap_or(0));
            // A root that is not in Git is no step of its own.
            let is_given = |layer: &Layer| layer.spec.application.as_ref().is_some_and(|application| application.given);
            let after_parent = parents[at].map_or(0, |parent| found[parent].wave + u32::from(!is_given(layers[parent])));
            let after_applied = behind[at].iter().map(|other| found[*other].wave + 1).max().unwrap_or(0);
            let wave = before[at].iter().map(|other| ready[*other] + 1).max().unwrap_or(0).max(after_parent).max(after_applied);
            let until = awaited[at].iter().map(|other| ready[*other]).max().unwrap_or(0).max(wave);
            let limit = u32::try_from(layers.len()).unwrap_or(u32::MAX);
            let next = Position { level: level.min(limit), wave: wave.min(limit) };
            if (next, until.min(limit)) != (found[at], ready[at]) {
                (found[at], ready[at], changed) = (next, until.min(limit), true);
            }
        }
        if !changed {
            break;
        }
    }
    found
}

/// Kustomizations that `healthChecks` names; beside `wait: true` nobody reads them (kustomize-controller `checkHealth`).
pub(crate) fn checked(layer: &Layer) -> Vec<LayerId> {
    if layer.spec.wait {
        return Vec::new();
    }
    let checks =
        layer.spec.health_checks.iter().filter(|check| check.kind == "Kustomization" && check.api_version.starts_with("kustomize.toolkit"));
    checks.map(|check| LayerId::new(check.namespace.as_deref().unwrap_or(&layer.id.namespace), &check.name)).collect()
}
