//! What a written node still waits for: its objects by their health, its patience.

use super::super::Run;
use super::super::layer::Written;
use super::super::queue::{Index, Stage};
use super::{Engine, Job, Message};
use crate::agent;
use crate::cluster::ApplyResult;
use crate::health::Health;
use crate::layers::flux::Layer;
use crate::manifest::ObjectId;
use crate::problem::Origin;
use crate::report::event::{Happening, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

impl Engine {
    pub(super) fn applied(&mut self, index: Index, written: &[Written]) {
        self.quiet_since = Instant::now();
        let count = |result| written.iter().filter(|written| written.result == result).count();
        let (created, changed, unchanged) = (count(ApplyResult::Created), count(ApplyResult::Changed), count(ApplyResult::Unchanged));
        let node = &mut self.nodes[index];
        node.wrote |= created + changed > 0;
        self.wrote |= node.wrote;
        node.deadline = Some(Instant::now() + node.patience);
        self.shared.send(Happening::Applied { node: node.id.clone(), created, changed, unchanged });
        let blocked = self.queue.applied(index);
        self.tell_dependents(index);
        let (all, checks) = match &self.nodes[index].job {
            Job::Layer(position) => {
                let layer = &self.run.reading.layers[*position].layer;
                // kustomize-controller: `wait` makes it ignore `healthChecks`.
                (layer.spec.wait, if layer.spec.wait { Vec::new() } else { health_checks(layer) })
            }
            _ => (true, Vec::new()),
        };
        let mut wanted = Vec::new();
        // What we write as ourselves is not the agent's to leave alone.
        let is_agents = matches!(self.nodes[index].job, Job::Agent | Job::Layer(_));
        for object in written {
            if object.object.is_null() {
                continue;
            }
            if is_agents {
                self.baseline.record(&object.id, object.fingerprint);
            }
            let node = &mut self.nodes[index];
            let awaited = all || checks.iter().any(|check| same_object(check, &object.id));
            let settles = !awaited && object.id.kind == "HelmRelease";
            if !awaited && !settles {
                continue;
            }
            node.awaited += usize::from(awaited);
            let message = match node.expressions.of(&object.object) {
                Health::Ready | Health::Assumed => continue,
                Health::InProgress(message) | Health::Failed(message) | Health::Terminating(message) => message,
            };
            if awaited {
                node.pending.insert(object.id.clone(), message)
            } else {
                node.settling.insert(object.id.clone(), message)
            };
            wanted.push(object.id.clone());
        }
        for check in checks {
            if self.is_layer_object(&check) || written.iter().any(|written| same_object(&check, &written.id)) {
                continue;
            }
            let node = &mut self.nodes[index];
            node.awaited += 1;
            node.pending.insert(check.clone(), "not found".into());
            wanted.push(check);
        }
        for id in wanted {
            self.by_object.entry(id.clone()).or_default().push(index);
            self.want(&id);
        }
        for node in blocked {
            self.block(node);
        }
        self.freed(index);
        self.progress(index);
        self.healthy_if_done(index);
    }

    pub(super) fn is_layer_object(&self, id: &ObjectId) -> bool {
        self.layer_of_object.contains_key(id)
    }

    /// Follows an object; what the store knows of it already counts at once, since no change may follow.
    pub(super) fn want(&mut self, id: &ObjectId) {
        self.shared.watches.follow(&id.api_version, &id.kind);
        self.shared.watches.want(id);
        self.changed(id);
    }

    pub(super) fn changed(&mut self, id: &ObjectId) {
        let Some(object) = self.shared.watches.get(id) else { return };
        self.judge(id, &object);
        if id.kind == "CustomResourceDefinition" {
            self.shared.definitions_changed.notify_waiters();
        }
        if let Some(&position) = self.layer_of_object.get(id) {
            self.judge_handover(position, &object);
        }
    }

    pub(super) fn judge(&mut self, id: &ObjectId, object: &Value) {
        let Some(nodes) = self.by_object.get(id).cloned() else { return };
        for index in nodes {
            let node = &mut self.nodes[index];
            let awaited = node.pending.contains_key(id);
            if !awaited && !node.settling.contains_key(id) {
                continue;
            }
            match node.expressions.of(object) {
                Health::Ready | Health::Assumed => {
                    node.pending.remove(id);
                    node.settling.remove(id);
                    self.nudge_releases_after(id);
                    self.progress(index);
                    self.healthy_if_done(index);
                }
                Health::Failed(message) if awaited => {
                    self.fail(index, &format!("{id}: {message}"));
                }
                Health::InProgress(message) | Health::Failed(message) | Health::Terminating(message) => {
                    let list = if awaited { &mut node.pending } else { &mut node.settling };
                    if list.get(id).is_some_and(|earlier| *earlier != message) {
                        list.insert(id.clone(), message);
                        self.progress(index);
                    }
                }
            }
        }
    }

    pub(super) fn progress(&self, index: Index) {
        let node = &self.nodes[index];
        if let Some((id, message)) = node.pending.first_key_value() {
            let (ready, of) = (node.awaited - node.pending.len().min(node.awaited), node.awaited);
            self.shared.send(Happening::Progress { node: node.id.clone(), ready, of, message: format!("{id}: {message}") });
        }
    }

    pub(super) fn healthy_if_done(&mut self, index: Index) {
        if self.nodes[index].pending.is_empty() && self.queue.stage(index) == Stage::Applied {
            self.ready(index);
        }
    }

    pub(super) fn nudge_releases_after(&self, id: &ObjectId) {
        let Some(waiting) = self.releases_after.get(id) else { return };
        for release in waiting {
            if self.wrote && self.by_object.contains_key(release) {
                let (cluster, release) = (self.run.cluster.clone(), release.clone());
                tokio::spawn(async move { agent::nudge(&cluster, &release).await });
            }
        }
    }

    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        for index in 0..self.nodes.len() {
            if self.nodes[index].deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let patience = self.nodes[index].patience.as_secs();
            if let Some((id, message)) = self.nodes[index].pending.first_key_value() {
                let more = match self.nodes[index].pending.len() {
                    1 => String::new(),
                    count => format!(" (and {} more objects)", count - 1),
                };
                let place = self.place_of(index, id).map(|origin| format!(" ({origin})")).unwrap_or_default();
                let error = format!("{id}{place}: not ready within {patience} s: {message}{more}");
                let hint = self.look_at(id);
                let (cluster, sender, id) = (self.run.cluster.clone(), self.sender.clone(), id.clone());
                // Failed only when its last events are known too; it cannot expire twice.
                self.nodes[index].deadline = None;
                tokio::spawn(async move {
                    let events = tokio::time::timeout(Duration::from_secs(5), cluster.events_for(&id)).await.unwrap_or_default();
                    let events: Vec<String> = events.into_iter().rev().take(3).map(|event| format!("\nlast event: {event}")).collect();
                    let _ = sender.send(Message::Late(index, format!("{error}{}\nhint: {hint}", events.concat())));
                });
                continue;
            }
            let settling = std::mem::take(&mut self.nodes[index].settling);
            if let Some((id, message)) = settling.first_key_value() {
                let node = self.nodes[index].id.clone();
                let place = self.place_of(index, id).map(|origin| format!(" ({origin})")).unwrap_or_default();
                let error = format!("{id}{place}: not ready within {patience} s: {message}\nhint: {}", self.look_at(id));
                self.finished.failures.push((node.clone(), error.clone()));
                let action = self.nodes[index].action;
                self.shared.send(Happening::Finished { node, action, result: Outcome::Failed, error: Some(error) });
            }
        }
        let late: Vec<usize> = self
            .handover_deadlines
            .iter()
            .filter(|&(&position, &deadline)| deadline <= now && self.handover.is_awaited(position))
            .map(|(&position, _)| position)
            .collect();
        for position in late {
            // Told once.
            self.handover_deadlines.remove(&position);
            let why = self.handover_messages.get(&position).cloned().unwrap_or_else(|| "the agent has not looked at it".into());
            let _ = self.sender.send(Message::Given(position, Err(format!("the agent does not report it Ready at our revision: {why}"))));
        }
    }

    /// Where an object of a node is declared; a health check may name one that another layer, or nobody, declares.
    pub(super) fn place_of(&self, index: Index, id: &ObjectId) -> Option<Origin> {
        let Job::Layer(position) = self.nodes[index].job else { return self.components.get(id).cloned() };
        let layers = &self.run.reading.layers;
        let all = std::iter::once(&layers[position]).chain(layers);
        all.flat_map(|read| &read.objects).find(|object| same_object(&object.id(), id)).and_then(|object| object.origin.clone())
    }

    /// What to do about an object that does not become ready.
    pub(super) fn look_at(&self, id: &ObjectId) -> String {
        let namespace = id.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        let look = format!("kubectl describe {}{namespace} {}", id.kind.to_lowercase(), id.name);
        if self.rehearsal {
            format!("`blackstart rehearse --keep` leaves the sandbox to look at: {look}")
        } else {
            format!("{look}; then run the same command again: it goes on from what is there")
        }
    }
}

pub(super) fn health_checks(layer: &Layer) -> Vec<ObjectId> {
    layer
        .spec
        .health_checks
        .iter()
        .map(|check| ObjectId {
            api_version: check.api_version.clone(),
            kind: check.kind.clone(),
            namespace: check.namespace.clone().filter(|namespace| !namespace.is_empty()),
            name: check.name.clone(),
        })
        .collect()
}

/// The same object, whatever version each names.
pub(super) fn same_object(left: &ObjectId, right: &ObjectId) -> bool {
    left.kind == right.kind && left.name == right.name && left.namespace == right.namespace && left.group() == right.group()
}

pub(super) fn releases_after(run: &Run) -> BTreeMap<ObjectId, Vec<ObjectId>> {
    let mut after: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
    for object in run.reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.kind() == "HelmRelease") {
        let id = object.id();
        for dependency in object.value.pointer("/spec/dependsOn").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| dependency.get(key).and_then(Value::as_str).map(str::to_owned);
            let Some(name) = text("name") else { continue };
            let before = ObjectId { name, namespace: text("namespace").or_else(|| id.namespace.clone()), ..id.clone() };
            after.entry(before).or_default().push(id.clone());
        }
    }
    after
}
