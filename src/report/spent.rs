//! What the time until everything was ready was spent on, along the critical path: nothing else made the run longer.

use super::model::RunModel;
use super::path::Step;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Seconds, which add up to the time until everything was ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    /// Providers and other provisioners made something. Nobody can be quicker than that.
    pub provider: f64,
    /// Objects were written and became healthy: images, probes, elections.
    pub waiting: f64,
    /// The tool's own: reading, planning, looking, writing, and the pauses between two steps.
    pub own: f64,
}

/// Of a run whose nodes are all ready.
pub(crate) fn spent(model: &RunModel, steps: &[Step]) -> Option<Spent> {
    let whole = model.ready_seconds()?;
    let mut spent = Spent::default();
    for step in steps {
        let node = &model.nodes[step.node];
        let within = |from: Option<Timestamp>, until: Timestamp| {
            let from = from.map_or(step.from, |from| from.max(step.from));
            until.min(step.until).duration_since(from).as_secs_f64().max(0.0)
        };
        if is_made_below(&node.id) {
            spent.provider += within(node.started, step.until);
        } else if node.applied.is_some() {
            spent.waiting += within(node.applied, step.until);
        }
    }
    spent.own = (whole - spent.provider - spent.waiting).max(0.0);
    Some(spent)
}

/// Whether a node is made by a provider: a cloud resource, or a command.
pub(crate) fn is_made_below(node: &str) -> bool {
    node.starts_with("aws/") || node.starts_with("command/")
}
