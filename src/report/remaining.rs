//! How long a run may still take: known only where the report folder holds the report of an earlier run of the same environment.

use super::model::{NodeModel, RunModel, State};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How long each node took before.
#[derive(Debug)]
pub(crate) struct Earlier {
    environment: String,
    rehearsal: bool,
    seconds: HashMap<String, f64>,
}

/// What is read of report.json; the rest may change.
#[derive(Deserialize)]
struct Document {
    environment: String,
    rehearsal: bool,
    layers: Vec<Took>,
    nodes: Vec<Took>,
}

#[derive(Deserialize)]
struct Took {
    id: String,
    start: Option<f64>,
    ready: Option<f64>,
}

impl Earlier {
    /// From the report in this folder; none where there is none that can be read.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        Self::of(&std::fs::read_to_string(folder.join("report.json")).ok()?)
    }

    /// From the text of report.json.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let document: Document = serde_json::from_str(text).ok()?;
        let layers = document.layers.into_iter().map(|took| (format!("layer/{}", took.id), took));
        let nodes = document.nodes.into_iter().map(|took| (took.id.clone(), took));
        let seconds = layers.chain(nodes).filter_map(|(id, took)| Some((id, took.ready? - took.start?))).collect();
        Some(Self { environment: document.environment, rehearsal: document.rehearsal, seconds })
    }

    /// By what the plan expects, where no report tells more.
    pub(crate) fn usual(model: &RunModel) -> Option<Self> {
        let known = !model.usual.is_empty();
        known.then(|| Self { environment: model.environment.clone(), rehearsal: model.is_rehearsal(), seconds: model.usual.clone() })
    }

    /// Seconds of each node of this environment, from the report in a folder; nothing where it tells of another one.
    pub(crate) fn measured(folder: &Path, environment: &str, rehearsal: bool) -> BTreeMap<String, f64> {
        let earlier = Self::read(folder).filter(|earlier| earlier.environment == environment && earlier.rehearsal == rehearsal);
        earlier.map(|earlier| earlier.seconds.into_iter().collect()).unwrap_or_default()
    }

    /// Seconds until everything is ready: the longest chain of what is not over. None where it would be a guess: a node that was
    /// never seen to become ready, a failure, or a chain that takes longer than it did.
    pub(crate) fn remaining(&self, model: &RunModel, now: Timestamp) -> Option<f64> {
        if model.environment != self.environment || model.is_rehearsal() != self.rehearsal || !model.failures().is_empty() {
            return None;
        }
        let mut known = vec![None; model.nodes.len()];
        let mut longest = 0.0_f64;
        for place in 0..model.nodes.len() {
            longest = longest.max(self.chain(model, place, now, &mut known)?);
        }
        (longest >= 1.0).then_some(longest)
    }

    fn chain(&self, model: &RunModel, place: usize, now: Timestamp, known: &mut [Option<f64>]) -> Option<f64> {
        if let Some(known) = known[place] {
            return Some(known);
        }
        let own = self.own(&model.nodes[place], now)?;
        // A layer and the one that declares it wait for each other's different ends: the way back counts nothing.
        known[place] = Some(0.0);
        let mut before = 0.0_f64;
        if own > 0.0 && model.nodes[place].state == State::Waiting {
            for edge in model.into_node(place) {
                before = before.max(self.chain(model, edge.from, now, known)?);
            }
        }
        known[place] = Some(before + own);
        known[place]
    }

    fn own(&self, node: &NodeModel, now: Timestamp) -> Option<f64> {
        match (node.state, node.started) {
            (State::Over(_), _) => Some(0.0),
            _ if node.is_skipped() => Some(0.0),
            (_, None) => self.seconds.get(&node.id).map(|seconds| seconds.max(0.001)),
            (_, Some(started)) => Some((self.seconds.get(&node.id)? - now.duration_since(started).as_secs_f64()).max(0.0)),
        }
    }
}
