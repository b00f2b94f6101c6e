//! What a run says of itself; everything that a person or a tool sees of a run is made from these alone.

use crate::plan::Action;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Id of the run, the same in all its events.
    pub run: String,
    /// What.
    #[serde(flatten)]
    pub happening: Happening,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Happening {
    /// A phase of the tool itself begins (`read`, `sandbox`, `connect`, `run`, `handover`, `prove`).
    Phase {
        /// Its name.
        name: String,
        /// What it does, in a few words.
        detail: String,
    },
    /// The plan is known; the run begins.
    Planned {
        /// Environment.
        environment: String,
        /// Revision.
        revision: String,
        /// Ids of all nodes, in order, with action.
        nodes: Vec<(String, Action)>,
        /// `(from, to, reason)`, as in the plan.
        edges: Vec<(String, String, String)>,
    },
    /// How long it should take, by usual durations and by what earlier runs have measured.
    Expected {
        /// Seconds from the plan until all is ready.
        seconds: f64,
        /// `(node, seconds)`.
        nodes: Vec<(String, f64)>,
    },
    /// A node waits: the nodes that hold it back, with reasons. Sent at the beginning and whenever the set changes.
    Waiting {
        /// Node.
        node: String,
        /// `(node, reason)`.
        on: Vec<(String, String)>,
    },
    /// A node's work begins.
    Started {
        /// Node.
        node: String,
        /// What is done.
        action: Action,
        /// How many objects it has.
        objects: usize,
    },
    /// All of a node's objects are written; it now becomes ready.
    Applied {
        /// Node.
        node: String,
        /// How many were created.
        created: usize,
        /// How many were changed.
        changed: usize,
        /// How many were as declared.
        unchanged: usize,
    },
    /// What a node still waits for, when that changes.
    Progress {
        /// Node.
        node: String,
        /// How many objects are ready.
        ready: usize,
        /// Of how many.
        of: usize,
        /// The first that is not, and why.
        message: String,
    },
    /// A node's work is over.
    Finished {
        /// Node.
        node: String,
        /// What was done.
        action: Action,
        /// How it ended.
        result: Outcome,
        /// Why it failed: the object first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The agent reports the layer Ready at our revision.
    HandedOver {
        /// Node.
        node: String,
        /// Objects that the agent changed although they were as declared.
        changed: Vec<String>,
    },
    /// Something was put in place of what cannot run here.
    StandIn {
        /// What: `CustomResourceDefinition x.y.z`.
        object: String,
        /// Why.
        reason: String,
    },
    /// Something to mend or to know.
    Warning {
        /// Node, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
        /// What.
        message: String,
    },
    /// What becomes of something that keeps data.
    State {
        /// Its node.
        node: String,
        /// What.
        fate: Fate,
        /// The time that its data is of, where it comes from a backup.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken: Option<Timestamp>,
        /// From where, or why not.
        detail: String,
    },
    /// Something that must hold was looked at.
    Checked(Check),
    /// A call was tried again.
    Retried {
        /// Node.
        node: String,
        /// What failed.
        error: String,
    },
    /// The run is over.
    Ended {
        /// Whether everything is ready (and handed over, where that was asked).
        success: bool,
        /// In one line.
        summary: String,
    },
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, in a word or two.
    pub name: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do where it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It does.
    Held,
    /// It does not.
    Failed,
}

/// What becomes of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was never gone.
    Living,
    /// It comes from a backup.
    Restored,
    /// It starts empty, as is allowed.
    Empty,
    /// It is gone.
    Lost,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Ready.
    Ready,
    /// Was as declared; nothing was written.
    Unchanged,
    /// Neither applied nor awaited.
    Skipped,
    /// Failed itself.
    Failed,
    /// Could not start because of another node.
    Blocked,
}

/// Where events go.
pub type Sink = tokio::sync::mpsc::UnboundedSender<Event>;
