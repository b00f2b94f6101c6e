//! What a plan was compared with: the account and the cluster as they are. Data for `plan --live`; pure.

use super::{Action, Node, Plan};
use crate::layers::LayerId;
use crate::layers::infrastructure::{Change, Declared, Difference};
use crate::problem::Origin;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Beside the plan itself, whose nodes carry the actions that follow from it.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// What was looked at, and found.
    pub live: Seen,
    /// Declared fields of cloud resources that live otherwise.
    pub differences: Vec<Differing>,
}

/// What was looked at, and found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Account; none where no cloud resource is declared.
    pub account: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Cloud resources that live.
    pub resources: Vec<Living>,
    /// The cluster.
    pub cluster: Reached,
    /// Whether the agent is installed there.
    pub agent: bool,
    /// What a run would do with the objects of each layer.
    pub layers: Vec<LayerChanges>,
}

/// A declared cloud resource that lives.
#[derive(Clone, Debug, Serialize)]
pub struct Living {
    /// Node.
    pub node: String,
    /// What AWS calls it.
    pub id: String,
    /// Why it is the one.
    pub evidence: String,
}

/// Whether the cluster answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reached {
    /// URL of its API server, where it did.
    pub server: Option<String>,
    /// Why not, where it did not.
    pub unreachable: Option<String>,
}

/// What a run would do with the objects of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Not there.
    pub create: usize,
    /// There, and other than declared.
    pub change: usize,
    /// As declared, or not to be touched.
    pub keep: usize,
}

/// The same, with the layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerChanges {
    /// `namespace/name`.
    pub id: LayerId,
    /// How many of its objects.
    #[serde(flatten)]
    pub changes: Changes,
}

/// A declared field that lives otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Differing {
    /// Node.
    pub node: String,
    /// Path in `spec`; `tags` for tags.
    pub path: &'static str,
    /// What Git declares.
    pub declared: Value,
    /// What lives.
    pub living: Value,
    /// Whether a run changes it; otherwise it is a problem.
    pub in_place: bool,
    /// Where it is declared.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

impl Changes {
    /// What a run does with the layer.
    pub fn action(self) -> Action {
        match self {
            Self { create: 0, change: 0, .. } => Action::Keep,
            Self { change: 0, keep: 0, .. } => Action::Create,
            _ => Action::Update,
        }
    }

    /// In words: `2 to create, 1 to change, 12 as declared`.
    pub fn words(self) -> String {
        let parts = [(self.create, "to create"), (self.change, "to change"), (self.keep, "as declared")];
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

impl Differing {
    /// Of a declared resource.
    pub fn new(declared: &Declared, difference: &Difference) -> Self {
        Self {
            node: declared.node(),
            path: difference.path,
            declared: difference.declared.clone(),
            living: difference.living.clone(),
            in_place: difference.change != Change::Never,
            origin: declared.origin(),
        }
    }
}

impl Plan {
    /// Leaves of the claims only those whose data comes back: the others have nothing to wait for.
    pub fn restore(&mut self, nodes: &BTreeSet<String>) {
        let others: Vec<String> = self.state.iter().map(|state| state.node.clone()).collect();
        for node in others.iter().filter(|node| node.starts_with("restore/") && !nodes.contains(*node)) {
            self.forget(node);
        }
    }

    /// Takes in a cloud resource that no manifest declares.
    pub fn add(&mut self, declared: &Declared) {
        let node = Node { id: declared.node(), action: Action::Restore, owner: "provider", seconds: declared.schema.seconds.into() };
        self.nodes.insert(0, node);
    }

    /// Takes a node out of it, with its edges: there is nothing to do.
    pub fn forget(&mut self, node: &str) {
        self.nodes.retain(|other| other.id != node);
        self.edges.retain(|edge| edge.from != node && edge.to != node);
    }

    /// Gives a node another action, as what lives asks for; those that are skipped stay so.
    pub fn act(&mut self, node: &str, action: Action) {
        if let Some(node) = self.nodes.iter_mut().find(|other| other.id == node && other.action != Action::Skip) {
            node.action = action;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_made_changed_or_kept_by_what_its_objects_need() {
        let action = |create, change, keep| Changes { create, change, keep }.action();
        assert_eq!(action(2, 0, 0), Action::Create);
        assert_eq!(action(1, 0, 1), Action::Update);
        assert_eq!(action(0, 1, 0), Action::Update);
        assert_eq!((action(0, 0, 3), action(0, 0, 0)), (Action::Keep, Action::Keep));
    }
}
