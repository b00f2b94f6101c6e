//! `report.json`: the published shape of a run's report. What `-o json` prints, what report.md and report.html are made from.

use super::event::Outcome;
use super::headline::headline;
use super::model::{NodeModel, RunModel, State};
use super::path::critical_path;
use crate::plan::Action;
use jiff::Timestamp;
use serde::Serialize;

/// A run's report. All seconds count from `started`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Report`.
    pub kind: &'static str,
    /// Environment.
    pub environment: String,
    /// Commit, `-dirty` for a changed working tree.
    pub revision: String,
    /// Id of the run, as in its events.
    pub run: String,
    /// First event.
    pub started: Option<Timestamp>,
    /// Last event.
    pub ended: Option<Timestamp>,
    /// Whether everything is ready (and handed over, where that was asked).
    pub success: bool,
    /// Whether it ran in a sandbox or with stand-ins.
    pub rehearsal: bool,
    /// The result in one line.
    pub headline: String,
    /// What the run said at its end; absent if it was interrupted.
    pub summary: Option<String>,
    /// Until everything was ready; absent if something is not.
    pub ready_seconds: Option<f64>,
    /// Seconds from the plan until everything should have been ready; `readySeconds` counts from the beginning.
    pub expected_seconds: Option<f64>,
    /// Until the agent had confirmed every layer; absent if it has not.
    pub handover_seconds: Option<f64>,
    /// From first to last event.
    pub total_seconds: f64,
    /// What the tool did, one after the other.
    pub phases: Vec<PhaseEntry>,
    /// Layers in the order of the plan; `id` is `namespace/name`.
    pub layers: Vec<Entry>,
    /// The other nodes (secrets, agent, cluster); `id` is the node's.
    pub nodes: Vec<Entry>,
    /// The chain that determined when the last node was ready; empty if the run was interrupted.
    pub critical_path: Vec<PathEntry>,
    /// What was put in place of what cannot run here.
    pub stand_ins: Vec<StandInEntry>,
    /// Things to mend or to know.
    pub warnings: Vec<WarningEntry>,
    /// Root causes, first of all.
    pub failures: Vec<FailureEntry>,
    /// Calls that were tried again.
    pub retries: usize,
}

/// A phase.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseEntry {
    /// Name.
    pub name: String,
    /// What it does.
    pub detail: String,
    /// When it began.
    pub start: f64,
    /// How long it took.
    pub seconds: f64,
}

/// A layer or another node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `namespace/name` of a layer, else the node's id.
    pub id: String,
    /// What was done.
    pub action: Action,
    /// How it ended; absent if it did not.
    pub result: Option<Outcome>,
    /// When its work began.
    pub start: Option<f64>,
    /// When all its objects were written.
    pub applied: Option<f64>,
    /// When it was ready.
    pub ready: Option<f64>,
    /// When its work was over, ready or not.
    pub end: Option<f64>,
    /// When the agent confirmed it.
    pub handed_over: Option<f64>,
    /// How many objects it has.
    pub objects: usize,
    /// Of them, created.
    pub created: usize,
    /// Changed.
    pub changed: usize,
    /// As declared.
    pub unchanged: usize,
    /// What held it back at last, before it started.
    pub waited_last_for: Option<Reason>,
    /// Why it failed.
    pub error: Option<String>,
    /// Calls that were tried again.
    pub retries: usize,
    /// Objects that the agent changed although they were as declared.
    pub changed_by_agent: Vec<String>,
    /// Whether it is on the critical path.
    pub critical: bool,
}

/// A node that is waited for.
#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    /// Node id.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// One step of the critical path.
#[derive(Clone, Debug, Serialize)]
pub struct PathEntry {
    /// Node id.
    pub node: String,
    /// From when it determined the end.
    pub start: f64,
    /// Until when.
    pub end: f64,
    /// How long.
    pub seconds: f64,
    /// Why it followed the step before; absent for the first.
    pub reason: Option<String>,
}

/// A stand-in.
#[derive(Clone, Debug, Serialize)]
pub struct StandInEntry {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// A warning.
#[derive(Clone, Debug, Serialize)]
pub struct WarningEntry {
    /// Node id, where there is one.
    pub node: Option<String>,
    /// What.
    pub message: String,
}

/// A root cause.
#[derive(Clone, Debug, Serialize)]
pub struct FailureEntry {
    /// Node id.
    pub node: String,
    /// Why it failed: the object first.
    pub error: String,
    /// Node ids of what could not start because of it.
    pub blocked: Vec<String>,
}

/// Milliseconds are enough, and do not change from float noise.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

impl Report {
    /// From what is known of a run.
    pub fn of(model: &RunModel) -> Self {
        let steps = if model.end.is_some() { critical_path(model) } else { Vec::new() };
        let seconds = |time: Option<Timestamp>| time.map(|time| round(model.since_began(time)));
        let entry = |(place, node): (usize, &NodeModel)| {
            let (created, changed, unchanged) = node.written.unwrap_or_default();
            Entry {
                id: node.id.strip_prefix("layer/").unwrap_or(&node.id).to_owned(),
                action: node.action,
                result: match node.state {
                    State::Over(result) => Some(result),
                    _ if node.is_skipped() => Some(Outcome::Skipped),
                    _ => None,
                },
                start: seconds(node.started),
                applied: seconds(node.applied),
                ready: seconds(node.ready()),
                end: seconds(node.finished),
                handed_over: seconds(node.handed_over),
                objects: node.objects,
                created,
                changed,
                unchanged,
                waited_last_for: model
                    .waited_last_for(place)
                    .map(|(node, reason)| Reason { node: node.to_owned(), reason: reason.to_owned() }),
                error: node.error.clone(),
                retries: node.retries,
                changed_by_agent: node.changed_by_agent.clone(),
                critical: steps.iter().any(|step| step.node == place),
            }
        };
        let (layers, nodes): (Vec<_>, Vec<_>) = model.nodes.iter().enumerate().partition(|(_, node)| node.is_layer());
        Self {
            api_version: "blackstart/v1alpha1",
            kind: "Report",
            environment: model.environment.clone(),
            revision: model.revision.clone(),
            run: model.run.clone(),
            started: model.began,
            ended: model.latest,
            success: model.success(),
            rehearsal: model.is_rehearsal(),
            headline: headline(model),
            summary: model.end.as_ref().map(|end| end.summary.clone()),
            ready_seconds: model.ready_seconds().map(round),
            expected_seconds: model.expected.map(|(_, expected)| round(expected)),
            handover_seconds: model.handover_seconds().map(round),
            total_seconds: model.latest.map_or(0.0, |time| round(model.since_began(time))),
            phases: model
                .phase_times()
                .into_iter()
                .map(|(phase, from, to)| PhaseEntry {
                    name: phase.name.clone(),
                    detail: phase.detail.clone(),
                    start: round(from),
                    seconds: round(to - from),
                })
                .collect(),
            layers: layers.into_iter().map(entry).collect(),
            nodes: nodes.into_iter().map(entry).collect(),
            critical_path: steps
                .iter()
                .map(|step| {
                    let (start, end) = (round(model.since_began(step.from)), round(model.since_began(step.until)));
                    PathEntry {
                        node: model.nodes[step.node].id.clone(),
                        start,
                        end,
                        seconds: round(end - start),
                        reason: step.reason.clone(),
                    }
                })
                .collect(),
            stand_ins: model
                .stand_ins
                .iter()
                .map(|stand_in| StandInEntry { object: stand_in.object.clone(), reason: stand_in.reason.clone() })
                .collect(),
            warnings: model
                .warnings
                .iter()
                .map(|warning| WarningEntry { node: warning.node.clone(), message: warning.message.clone() })
                .collect(),
            failures: model
                .failures()
                .into_iter()
                .map(|(place, blocked)| FailureEntry {
                    node: model.nodes[place].id.clone(),
                    error: model.nodes[place].error.clone().unwrap_or_default(),
                    blocked: blocked.into_iter().map(|place| model.nodes[place].id.clone()).collect(),
                })
                .collect(),
            retries: model.retries,
        }
    }
}
