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
    /// Who runs what, and where; sent once, when it is known.
    Context(Context),
    /// A state was restored, kept or lost: a volume, a table, a database, what a bucket or a queue held.
    State(State),
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

/// Who runs what, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// `recover`, `bootstrap`, `rehearse`, `destroy`.
    pub verb: String,
    /// User of this machine.
    pub user: String,
    /// Name of this machine.
    pub host: String,
    /// Version of the tool.
    pub version: String,
    /// Account, where the environment names one.
    pub account: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// The commit that is brought up.
    pub commit: Option<Commit>,
}

/// A commit, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Commit {
    /// Name and address.
    pub author: String,
    /// When it was written, RFC 3339.
    pub time: String,
    /// First line of its message.
    pub subject: String,
    /// Who signed it, and whether that is good, as Git tells.
    pub signature: String,
}

/// What became of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The claim, table or database: `PersistentVolumeClaim shop/data`.
    pub state: String,
    /// What became of it.
    pub fate: Fate,
    /// Where it was restored from, or lives: `snap-0a1…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Up to when its data reach: the recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    /// What is known of what is missing: `12 messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What becomes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is gone.
    Lost,
    /// It begins empty, as the environment asks.
    Empty,
    /// Made from a backup.
    Restored,
    /// It survived.
    Kept,
}

impl Fate {
    /// As one reads it in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Empty => "empty",
            Self::Restored => "restored",
            Self::Kept => "kept",
        }
    }
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
