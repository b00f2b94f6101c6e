//! Handing layers to the agent: when it is calm, and until the agent confirms.

use super::super::layer::ApplyFailed;
use super::{Engine, Message, PATIENCE, QUIET};
use crate::agent;
use crate::cluster::ssa;
use crate::layers::SourceId;
use crate::manifest::Resource;
use crate::report::event::Happening;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

impl Engine {
    /// Writes the Kustomization objects whose turn it is.
    pub(super) fn hand_over(&mut self) {
        let calm = self.queue.is_over() || (!self.queue.is_applying() && self.quiet_since.elapsed() >= QUIET);
        if !self.agent_ready || !calm || self.stopping {
            return;
        }
        self.nudge_sources();
        if !self.has_moved() {
            return;
        }
        for position in self.handover.take_due() {
            let layer = &self.run.reading.layers[position].layer;
            // Never less than two of the agent's own looks at a dependency (30 s each).
            let limit = self.run.timeout.unwrap_or(Duration::MAX);
            let deadline = Instant::now() + layer.patience().unwrap_or(PATIENCE).min(limit).max(Duration::from_secs(60));
            self.handover_deadlines.insert(position, deadline);
            let object = match self.kustomization(position) {
                Ok(object) => object,
                Err(error) => {
                    let _ = self.sender.send(Message::Given(position, Err(error.to_string())));
                    continue;
                }
            };
            let living = self.living.get(&layer.id).cloned();
            let (cluster, sender, shared) = (self.run.cluster.clone(), self.sender.clone(), self.shared.clone());
            tokio::spawn(async move {
                let permit = shared.requests.acquire().await;
                let result = agent::give(&cluster, &object, living.as_ref()).await.map_err(|error| error.to_string());
                drop(permit);
                let _ = sender.send(Message::Given(position, result));
            });
        }
    }

    /// The layer's own object as the layer that holds it (its parent, itself, or one below it) would write it.
    pub(super) fn kustomization(&self, position: usize) -> Result<Resource, Box<ApplyFailed>> {
        let layers = &self.run.reading.layers;
        let layer = &layers[position].layer;
        let id = layer.declaration.id();
        let parent = layers.iter().find(|read| Some(&read.layer.id) == layer.parent.as_ref());
        // The parent's patches are in the declaration already.
        let (declaration, owner) = match parent {
            Some(parent) => (&layer.declaration, Some(&parent.layer)),
            None => layers
                .iter()
                .find_map(|read| Some((read.objects.iter().find(|object| object.id() == id)?, Some(&read.layer))))
                .unwrap_or((&layer.declaration, None)),
        };
        let known = Resource { value: self.known(declaration)?, origin: declaration.origin.clone() };
        let value = owner.map_or_else(|| known.value.clone(), |owner| ssa::prepare(&known, owner));
        Ok(Resource { value, origin: known.origin })
    }

    pub(super) fn judge_handover(&mut self, position: usize, object: &Value) {
        if !self.handover.is_awaited(position) {
            return;
        }
        let layer = &self.run.reading.layers[position].layer;
        match agent::confirmation(object, &layer.source, self.revision(&layer.source)) {
            agent::Confirmation::Ready => {
                let node = layer.id.node();
                self.shared.send(Happening::HandedOver { node, changed: Vec::new() });
                self.handover_messages.remove(&position);
                for other in self.handover.confirmed(position) {
                    self.nudge_layer(other);
                }
            }
            agent::Confirmation::Waiting(message) => {
                self.handover_messages.insert(position, message);
            }
            agent::Confirmation::DependencyNotReady => {
                self.handover_messages.insert(position, "it waits for a layer that it depends on".into());
                // Once: each nudge is a change that leads here again, until the agent has looked.
                let asked = object.pointer("/metadata/annotations").and_then(|all| all.get("reconcile.fluxcd.io/requestedAt"));
                let is_handled = asked == object.pointer("/status/lastHandledReconcileAt");
                if self.handover.dependencies_confirmed(position) && is_handled {
                    self.nudge_layer(position);
                }
            }
        }
    }

    /// Asks the agent to look at a layer now. Where nothing was written it is left to its own pace, unless it is on its way to our commit.
    pub(super) fn nudge_layer(&self, position: usize) {
        let layer = &self.run.reading.layers[position].layer;
        let id = layer.declaration.id();
        let is_git = layer.source.kind == "GitRepository";
        let newest = self.shared.watches.get(&id);
        let is_behind = is_git && newest.is_some_and(|object| agent::is_at_another(&object, self.revision(&layer.source)));
        if self.wrote || is_behind {
            let cluster = self.run.cluster.clone();
            tokio::spawn(async move { agent::nudge(&cluster, &id).await });
        }
    }

    /// A living agent looks for new commits only at its own interval: where it has another one than ours it is asked to look now.
    fn nudge_sources(&mut self) {
        if self.living.is_empty() || std::mem::replace(&mut self.sources_asked, true) {
            return;
        }
        for (source, read) in &self.run.reading.sources {
            let (Some(tree), Some(declaration), "GitRepository") = (&read.tree, &read.declaration, source.kind.as_str()) else { continue };
            let (cluster, id, revision) = (self.run.cluster.clone(), declaration.id(), tree.revision.clone());
            tokio::spawn(async move {
                if let Ok(Some(living)) = cluster.get(&id).await
                    && agent::is_at_another(&living, Some(&revision))
                {
                    agent::nudge(&cluster, &id).await;
                }
            });
        }
    }

    /// Whether the agent has the commit that its sources were moved to; asked once, told by a message.
    fn has_moved(&mut self) -> bool {
        let Some(moved) = &mut self.moved else { return true };
        for (id, revision) in std::mem::take(moved) {
            self.moving += 1;
            let (shared, sender) = (self.shared.clone(), self.sender.clone());
            let patience = self.run.timeout.unwrap_or(PATIENCE);
            tokio::spawn(async move {
                let is_there = |object: Option<&Value>| object.filter(|object| !agent::is_at_another(object, Some(&revision))).map(drop);
                let found = shared.watches.until(&id, (Instant::now() + patience).into(), is_there).await;
                let result = found.map_err(|last| {
                    let has = last.as_ref().and_then(|object| object.pointer("/status/artifact/revision")?.as_str()).unwrap_or("nothing");
                    format!("{id}: the agent has {has} and not {revision} within {} s", patience.as_secs())
                });
                let _ = sender.send(Message::Moved(result));
            });
        }
        false
    }

    /// The agent has another commit than ours: given back now, its layers would go there.
    pub(super) fn stay_held(&mut self, error: &str) {
        self.finished.failures.push(("agent".to_owned(), error.to_owned()));
        let message = format!("{error}\nthe layers stay suspended, so that it does not roll them on; the same command goes on from here");
        self.shared.send(Happening::Warning { node: None, message });
        self.held.clear();
        (0..self.run.reading.layers.len()).for_each(|position| self.handover.give_up(position));
    }

    fn revision(&self, source: &SourceId) -> Option<&str> {
        self.run.reading.sources.get(source)?.tree.as_ref().map(|tree| tree.revision.as_str())
    }
}
