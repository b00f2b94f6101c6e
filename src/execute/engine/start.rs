//! Starting a node: what is written for it, as whom, and whether it is looked at first.

use super::super::OURS;
use super::super::layer::{self, ApplyFailed, Work, Written};
use super::super::queue::Index;
use super::super::restore::{self, From, Restored};
use super::super::secret;
use super::super::{Installation, Shared};
use super::{Engine, Job, Message, NOT_MADE};
use crate::agent::{self, Living};
use crate::cluster::{Apply, ApplyResult, Cluster, ssa};
use crate::layers::LayerId;
use crate::layers::flux;
use crate::manifest::{ObjectId, Resource};
use crate::plan::Action;
use crate::report::event::Happening;
use crate::restore::volumes::Volume;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

impl Engine {
    pub(super) fn start(&mut self, index: Index, installation: &mut Option<Installation>) {
        self.quiet_since = Instant::now();
        let deadline = Instant::now() + self.nodes[index].patience;
        let id = self.nodes[index].id.clone();
        match &self.nodes[index].job {
            // Told by whoever makes it.
            Job::Below if self.run.below.is_some() => {}
            Job::Below => self.fail(index, NOT_MADE),
            Job::Nothing => {
                self.queue.applied(index);
                self.ready(index);
                self.freed(index);
            }
            Job::Skip(reason) => {
                let message = format!("not applied: {reason}");
                self.shared.send(Happening::Warning { node: Some(id), message });
                self.queue.applied(index);
                self.skip(index);
            }
            Job::Secret(position) => {
                let (secret, below, rehearsal) = (self.run.secrets[*position].clone(), self.run.below.clone(), self.rehearsal);
                self.shared.send(Happening::Started { node: id.clone(), action: Action::Apply, objects: 1 });
                let cluster = self.run.cluster.clone();
                let (sender, shared) = (self.sender.clone(), self.shared.clone());
                tokio::spawn(async move {
                    let (object, place) = (secret.id(), secret.origin.clone());
                    let result = match secret::complete(secret, below.as_ref(), rehearsal).await {
                        Ok(secret) => {
                            let work = Work { node: id, cluster, objects: vec![secret], how: OURS, deadline, force: false };
                            apply_with_namespace(work, shared).await
                        }
                        Err(cause) => Err(ApplyFailed { object, place, cause, hint: None }),
                    };
                    let _ = sender.send(Message::Applied(index, result));
                });
            }
            Job::Claim(position) => {
                let Restored { claim, from } = self.run.claims[*position].clone();
                let volume = match from {
                    From::Living(volume) => Some(volume),
                    From::Node(node) => self.made(&node),
                };
                let action = self.nodes[index].action;
                self.shared.send(Happening::Started { node: id, action, objects: 1 });
                let (sender, cluster) = (self.sender.clone(), self.run.cluster.clone());
                tokio::spawn(async move {
                    let result = match volume {
                        Some(volume) => restore::bind(&cluster, &claim, &volume).await,
                        None => Err(restore::unmade(&claim)),
                    };
                    let _ = sender.send(Message::Applied(index, result));
                });
            }
            Job::Agent => {
                let installation = installation.take().unwrap_or_default();
                // A started process is no object, and yet something that was not there.
                self.nodes[index].wrote = installation.start.is_some();
                self.shared.send(Happening::Started { node: id.clone(), action: Action::Apply, objects: installation.components.len() });
                let work = Work {
                    node: id,
                    cluster: self.run.cluster.clone(),
                    objects: self.agent_objects(installation.components),
                    how: Apply::flux(),
                    deadline,
                    force: false,
                };
                let (sender, shared, cluster) = (self.sender.clone(), self.shared.clone(), self.run.cluster.clone());
                let namespace = self.run.reading.entry.namespace.clone();
                tokio::spawn(async move {
                    let mut applied = apply_differences(work, shared).await.map_err(|error| error.to_string());
                    if let (Ok(_), Err(error)) = (&applied, agent::ensure_namespace(&cluster, &namespace).await) {
                        applied = Err(error.to_string());
                    }
                    let result = match (applied, installation.start) {
                        (Ok(written), Some(start)) => start.await.map(|()| written),
                        (applied, _) => applied,
                    };
                    let _ = sender.send(Message::AgentStarted(index, result));
                });
            }
            Job::Layer(position) => self.start_layer(index, *position, deadline),
        }
    }

    /// The volume that a node of the storey below has made.
    fn made(&self, node: &str) -> Option<Volume> {
        let made = self.run.below.as_ref()?.progress.made(node)?;
        restore::made(&made.outputs, &made.living?.id)
    }

    pub(super) fn start_layer(&mut self, index: Index, position: usize, deadline: Instant) {
        let id = self.nodes[index].id.clone();
        let objects = match self.layer_objects(position) {
            Ok(objects) => objects,
            Err(error) => {
                let _ = self.sender.send(Message::Applied(index, Err(*error)));
                return;
            }
        };
        self.shared.send(Happening::Started { node: id.clone(), action: self.nodes[index].action, objects: objects.len() });
        let layer = &self.run.reading.layers[position].layer;
        let cluster = match &layer.spec.service_account_name {
            // The account may be made by this very layer's parent; the agent impersonates it in the same way.
            Some(account) => self.run.cluster.impersonating(&format!("system:serviceaccount:{}:{account}", layer.id.namespace)),
            None => self.run.cluster.clone(),
        };
        // Where an environment lives, only what differs is written: its objects may carry marks of the agent, and other owners.
        let how = if self.living.is_empty() { Apply::flux() } else { Apply::flux().if_drifted() };
        let work = Work { node: id, cluster, objects, how, deadline, force: layer.spec.force };
        let living = self.living.get(&layer.id).cloned();
        let (sender, shared, cluster) = (self.sender.clone(), self.shared.clone(), self.run.cluster.clone());
        let layer_id = layer.id.clone();
        tokio::spawn(async move {
            let result = match living {
                Some(living) => {
                    let held = || {
                        let _ = sender.send(Message::Held(position));
                    };
                    apply_beside_agent(work, shared, &cluster, &layer_id, &living, held).await
                }
                None => layer::apply(work, shared).await,
            };
            let _ = sender.send(Message::Applied(index, result));
        });
    }

    /// The objects of a layer as the agent would write them, without the Kustomizations that are handed over later.
    pub(super) fn layer_objects(&self, position: usize) -> Result<Vec<Resource>, Box<ApplyFailed>> {
        let read = &self.run.reading.layers[position];
        let ours = read.objects.iter().filter(|object| !self.is_handed_over(object));
        ours.map(|object| {
            let known = Resource { value: self.known(object)?, origin: object.origin.clone() };
            Ok(Resource { value: ssa::prepare(&known, &read.layer), ..known })
        })
        .collect()
    }

    /// An object with the values of the storey below in it.
    pub(super) fn known(&self, object: &Resource) -> Result<Value, Box<ApplyFailed>> {
        secret::filled(&object.value, self.run.below.as_ref())
            .map_err(|cause| Box::new(ApplyFailed { object: object.id(), place: object.origin.clone(), cause, hint: None }))
    }

    /// The agent's components carry the labels of the entry layer where that layer declares them too.
    pub(super) fn agent_objects(&self, components: Vec<Resource>) -> Vec<Resource> {
        let Some(entry) = self.run.reading.layers.first() else { return components };
        let declared: BTreeSet<ObjectId> = entry.objects.iter().map(Resource::id).collect();
        components
            .into_iter()
            .filter(|object| !self.is_handed_over(object))
            .map(|object| {
                if declared.contains(&object.id()) {
                    Resource { value: ssa::prepare(&object, &entry.layer), origin: object.origin }
                } else {
                    object
                }
            })
            .collect()
    }

    /// A Kustomization of this plan that the run itself applies: its object is written last.
    pub(super) fn is_handed_over(&self, object: &Resource) -> bool {
        flux::is_kustomization(object)
            && self
                .layer_of_object
                .get(&object.id())
                .is_some_and(|&position| self.node_of_layer[position].is_some_and(|node| matches!(self.nodes[node].job, Job::Layer(_))))
    }
}

/// What a dry run answers where it would change nothing; none where it would, or where it fails
/// (an object whose kind or namespace is gone is a difference too).
pub(super) async fn look(work: &Work, shared: &Arc<Shared>) -> Option<Vec<Written>> {
    let look = Work {
        node: work.node.clone(),
        cluster: work.cluster.clone(),
        objects: work.objects.clone(),
        how: work.how.if_drifted().dry(),
        deadline: Instant::now(),
        force: false,
    };
    let written = layer::apply(look, shared.clone()).await.ok()?;
    written.iter().all(|written| matches!(written.result, ApplyResult::Unchanged | ApplyResult::Skipped)).then_some(written)
}

/// Writes only where something differs: a recovery of what is healthy makes no write.
pub(super) async fn apply_differences(work: Work, shared: Arc<Shared>) -> Result<Vec<Written>, ApplyFailed> {
    match look(&work, &shared).await {
        Some(unchanged) => Ok(unchanged),
        None => layer::apply(work, shared).await,
    }
}

/// The same, with the namespace before it where that is not there yet: its layer comes after the secrets.
pub(super) async fn apply_with_namespace(mut work: Work, shared: Arc<Shared>) -> Result<Vec<Written>, ApplyFailed> {
    if let Some(unchanged) = look(&work, &shared).await {
        return Ok(unchanged);
    }
    let mut objects = Vec::new();
    for object in std::mem::take(&mut work.objects) {
        for resource in agent::with_namespace(object) {
            let is_new = resource.kind() != "Namespace" || matches!(work.cluster.get(&resource.id()).await, Ok(None));
            if is_new {
                objects.push(resource);
            }
        }
    }
    work.objects = objects;
    layer::apply(work, shared).await
}

/// Applies a layer that a living agent also works on: nothing is written where nothing differs;
/// otherwise the agent's layer is suspended first, and resumed at handover.
pub(super) async fn apply_beside_agent(
    work: Work,
    shared: Arc<Shared>,
    cluster: &Cluster,
    layer: &LayerId,
    living: &Living,
    held: impl FnOnce(),
) -> Result<Vec<Written>, ApplyFailed> {
    if let Some(unchanged) = look(&work, &shared).await {
        return Ok(unchanged);
    }
    if !living.suspended {
        // Told first: a hold that is given up in vain costs nothing, one that is forgotten stops the agent.
        held();
        agent::suspend(cluster, layer).await.map_err(|error| ApplyFailed {
            object: agent::kustomization_id(layer),
            place: None,
            cause: format!("cannot be suspended: {error}"),
            hint: error.hint(),
        })?;
    }
    layer::apply(work, shared).await
}
