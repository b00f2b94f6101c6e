//! What lives so far of the lower storey: told by whoever makes it, for whoever waits for it.

use crate::aws::Living;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// A resource that is there and can be used, or the end of a command.
#[derive(Clone, Debug)]
pub struct Made {
    /// What others may use of it: fields of its status and spec, or what a command printed.
    pub outputs: Value,
    /// As it lives in the account; none for a command.
    pub living: Option<Living>,
}

impl Made {
    /// Of a living resource.
    pub fn of(living: &Living) -> Self {
        Self { outputs: living.outputs(), living: Some(living.clone()) }
    }
}

/// Where all nodes of the lower storey stand, by node id.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Ready.
    pub ready: BTreeMap<String, Made>,
    /// Failed, or held back for good; with the reason.
    pub failed: BTreeMap<String, String>,
    /// Nothing more will be told.
    pub over: bool,
}

/// Tells of the lower storey; clones tell the same.
#[derive(Clone, Debug)]
pub struct Progress {
    told: watch::Sender<Told>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { told: watch::Sender::new(Told::default()) }
    }
}

impl Progress {
    /// A node is ready.
    pub fn ready(&self, node: String, made: Made) {
        self.told.send_modify(|told| drop(told.ready.insert(node, made)));
    }

    /// A node can never be ready.
    pub fn failed(&self, node: String, why: String) {
        self.told.send_modify(|told| drop(told.failed.insert(node, why)));
    }

    /// The lower storey is over.
    pub fn over(&self) {
        self.told.send_modify(|told| told.over = true);
    }

    /// To wait for what is told.
    pub fn subscribe(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// What a ready node gives.
    pub fn made(&self, node: &str) -> Option<Made> {
        self.told.borrow().ready.get(node).cloned()
    }
}
