//! The critical path: the chain of nodes that determined when the last one was ready.
//!
//! Computed backwards from times alone. Events name an edge's reason, not what exactly it orders, so this is read from what
//! happened: a node was released by the last that it waited for (its last `waiting` event, else the latest end among its
//! edges), and its readiness was held by what it was seen to wait for after it started, or by what was applied only after it started.

use super::model::RunModel;
use jiff::Timestamp;

/// One step of the path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Place of the node in the model.
    pub(crate) node: usize,
    /// From when the path leads through this node (the end of the step before).
    pub(crate) from: Timestamp,
    /// Until when.
    pub(crate) until: Timestamp,
    /// Why it followed the step before; none for the first.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Mark {
    Applied,
    Ready,
}

/// The path to the node that ended last; empty while nothing is ready.
pub(crate) fn critical_path(model: &RunModel) -> Vec<Step> {
    let last = (0..model.nodes.len()).filter(|&place| model.nodes[place].finished.is_some() && model.nodes[place].started.is_some());
    let Some(last) = last.max_by_key(|&place| model.nodes[place].finished) else { return Vec::new() };
    let Some(until) = model.nodes[last].finished else { return Vec::new() };

    let mut steps = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let (mut node, mut mark, mut until) = (last, Mark::Ready, until);
    loop {
        // Clocks of one process do not run backwards, but a file that is replayed may say anything.
        if !seen.insert((node, mark)) {
            break;
        }
        let before = if mark == Mark::Ready { held_ready(model, node) } else { None }.or_else(|| released(model, node));
        let Some((from_node, from_mark, from, reason)) = before else {
            let from = model.nodes[node].started.unwrap_or(until).min(until);
            steps.push(Step { node, from, until, reason: None });
            break;
        };
        steps.push(Step { node, from: from.min(until), until, reason: Some(reason) });
        (node, mark, until) = (from_node, from_mark, from);
    }
    steps.reverse();
    steps
}

type Before = (usize, Mark, Timestamp, String);

/// What this node's readiness waited for at last.
fn held_ready(model: &RunModel, place: usize) -> Option<Before> {
    let node = &model.nodes[place];
    let (started, finished) = (node.started?, node.finished?);
    model
        .into_node(place)
        .filter_map(|edge| {
            let from = &model.nodes[edge.from];
            let ready = from.ready()?;
            let held = node.ready_needs.contains(&from.id) || from.applied.or(from.started)? > started;
            (held && ready > started && ready <= finished).then(|| (edge.from, Mark::Ready, ready, edge.reason.clone()))
        })
        .max_by_key(|(_, _, time, _)| *time)
}

/// What let this node start.
fn released(model: &RunModel, place: usize) -> Option<Before> {
    // What has no work of its own (the cluster) is never started.
    let started = model.nodes[place].started.or(model.nodes[place].finished)?;
    let mark = |from: usize, time| if model.nodes[from].ready() == Some(time) { Mark::Ready } else { Mark::Applied };
    // Such a node tells what it waits for only once; what came last is seen by its edges.
    let told = model.nodes[place].started.and_then(|_| model.waited_last_for(place)).and_then(|(from, reason)| {
        let from = model.find(from)?;
        let time = model.release(from, Some(started))?;
        Some((from, mark(from, time), time, reason.to_owned()))
    });
    told.or_else(|| {
        model
            .into_node(place)
            .filter_map(|edge| {
                let time = model.release(edge.from, Some(started))?;
                Some((edge.from, mark(edge.from, time), time, edge.reason.clone()))
            })
            .max_by_key(|(_, _, time, _)| *time)
    })
}
