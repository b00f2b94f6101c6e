//! `report.json`: the published shape of a run's report. What `-o json` prints, what report.md and report.html are made from.

use super::event::{Check, Commit, Context, Fate, Outcome, State as StateEntry};
use super::headline::headline;
use super::model::{NodeModel, RunModel, State};
use super::path::critical_path;
use super::spent::{Spent, spent};
use crate::plan::Action;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// `apiVersion` and `kind` of a report.
pub(crate) const API_VERSION: &str = "blackstart/v1alpha1";
pub(crate) const KIND: &str = "Report";
/// Entries of one list that a report holds, but those of nodes; the rest is counted.
const MOST: usize = 200;
/// Longest message of a failure or a fault, in bytes.
const LONGEST: usize = 4096;

/// A run's report. All seconds count from `started`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// `blackstart/v1alpha1`.
    pub api_version: Cow<'static, str>,
    /// `Report`.
    pub kind: Cow<'static, str>,
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
    /// What the time until everything was ready was spent on; absent if something is not ready.
    pub spent: Option<Spent>,
    /// Who ran what.
    pub by: By,
    /// The commit, for people.
    pub commit: Option<Commit>,
    /// How many of what was done.
    pub done: Done,
    /// What became of each state, what is lost first.
    pub states: Vec<StateEntry>,
    /// What was looked at anew at the end, and whether it holds.
    pub checks: Vec<Check>,
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
    /// What went wrong in them, the most frequent first.
    pub faults: Vec<FaultEntry>,
    /// Entries that are left out of lists that would be too long.
    pub left_out: usize,
}

/// Who ran what, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct By {
    /// `recover`, `bootstrap`, `rehearse`, `destroy`.
    pub verb: String,
    /// User.
    pub user: String,
    /// Machine.
    pub host: String,
    /// Version of the tool.
    pub version: String,
    /// Account, where the environment names one.
    pub account: Option<String>,
    /// Region.
    pub region: Option<String>,
}

/// How many of what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Done {
    /// Cloud resources made.
    pub created: usize,
    /// Found and taken over.
    pub adopted: usize,
    /// Changed in place.
    pub updated: usize,
    /// Left as they were.
    pub kept: usize,
    /// Made from a backup.
    pub restored: usize,
    /// Deleted.
    pub deleted: usize,
    /// Objects made in the cluster.
    pub objects_created: usize,
    /// Objects changed.
    pub objects_changed: usize,
    /// Objects that were as declared.
    pub objects_kept: usize,
    /// States made from a backup.
    pub states_restored: usize,
    /// States that survived.
    pub states_kept: usize,
    /// States that are gone.
    pub states_lost: usize,
}

/// What went wrong in calls that were tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultEntry {
    /// Node id.
    pub node: String,
    /// What.
    pub error: String,
    /// How often.
    pub times: usize,
}

/// A phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// Node id.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// One step of the critical path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StandInEntry {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// A warning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WarningEntry {
    /// Node id, where there is one.
    pub node: Option<String>,
    /// What.
    pub message: String,
}

/// A root cause.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
        let mut states = model.states.clone();
        states.sort_by(|one, other| (one.fate, &one.state).cmp(&(other.fate, &other.state)));
        let mut faults: Vec<FaultEntry> = model
            .faults
            .iter()
            .map(|((node, error), times)| FaultEntry { node: node.clone(), error: error.clone(), times: *times })
            .collect();
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.times));
        let (layers, nodes): (Vec<_>, Vec<_>) = model.nodes.iter().enumerate().partition(|(_, node)| node.is_layer());
        let mut report = Self {
            api_version: Cow::Borrowed(API_VERSION),
            kind: Cow::Borrowed(KIND),
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
            spent: spent(model, &steps).map(|all| all.each(round)),
            by: by(model),
            commit: model.context.as_ref().and_then(|context| context.commit.clone()),
            done: done(model),
            states,
            checks: model.checks.clone(),
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
            faults,
            left_out: 0,
        };
        report.bound();
        report
    }

    /// A run of thousands of layers on a bad day must not fill a disk, or a ConfigMap, with what nobody reads.
    fn bound(&mut self) {
        let mut left_out = 0;
        let mut cut = |length: usize| left_out += length.saturating_sub(MOST);
        cut(self.stand_ins.len());
        cut(self.warnings.len());
        cut(self.failures.len());
        cut(self.faults.len());
        cut(self.states.len());
        cut(self.checks.len());
        self.stand_ins.truncate(MOST);
        self.warnings.truncate(MOST);
        self.failures.truncate(MOST);
        self.faults.truncate(MOST);
        self.states.truncate(MOST);
        self.checks.truncate(MOST);
        let errors = self.failures.iter_mut().map(|failure| &mut failure.error).chain(self.faults.iter_mut().map(|fault| &mut fault.error));
        let details = self.checks.iter_mut().map(|check| &mut check.detail);
        let entries = self.layers.iter_mut().chain(&mut self.nodes).filter_map(|entry| entry.error.as_mut());
        for error in errors.chain(details).chain(entries).filter(|error| error.len() > LONGEST) {
            let end = (0..=LONGEST).rev().find(|&end| error.is_char_boundary(end)).unwrap_or_default();
            error.truncate(end);
            error.push('…');
        }
        self.left_out = left_out;
    }
}

fn by(model: &RunModel) -> By {
    let context = model.context.clone().unwrap_or_default();
    let Context { verb, user, host, version, account, region, .. } = context;
    By { verb, user, host, version, account, region }
}

fn done(model: &RunModel) -> Done {
    let mut done = Done::default();
    for node in &model.nodes {
        let (created, changed, unchanged) = node.written.unwrap_or_default();
        done.objects_created += created;
        done.objects_changed += changed;
        done.objects_kept += unchanged;
        if !node.id.starts_with("aws/") || node.ready().is_none() {
            continue;
        }
        *match node.action {
            Action::Create => &mut done.created,
            Action::Adopt => &mut done.adopted,
            Action::Update => &mut done.updated,
            Action::Restore => &mut done.restored,
            Action::Delete => &mut done.deleted,
            _ => &mut done.kept,
        } += 1;
    }
    for state in &model.states {
        *match state.fate {
            Fate::Lost => &mut done.states_lost,
            Fate::Restored => &mut done.states_restored,
            Fate::Kept => &mut done.states_kept,
            Fate::Empty => continue,
        } += 1;
    }
    done
}
