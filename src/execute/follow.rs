//! Which commit the agent's sources follow: as Git declares, pinned (`--pin`), or no longer pinned (`--unpin`). A living agent is held back while
//! that changes, so that it neither rolls forward nor back by itself: each layer is given back at its handover.

use super::{Look, Run, RunError};
use crate::agent::pin::{self, Pin, Pinned};
use crate::agent::{self, Living};
use crate::cluster::{Cluster, ClusterError};
use crate::layers::LayerId;
use crate::manifest::ObjectId;
use crate::read::Reading;
use crate::repo::short;
use crate::report::event::Happening;
use std::collections::BTreeMap;

/// What becomes of the agent's sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// They stay as they are; a pin at another commit is refused.
    #[default]
    AsDeclared,
    /// They stay at our commit.
    Pinned(Pin),
    /// A pin is taken away.
    Unpinned,
}

impl Follow {
    /// The pin that is set.
    pub fn pin(&self) -> Option<&Pin> {
        match self {
            Self::Pinned(pin) => Some(pin),
            _ => None,
        }
    }
}

/// The sources that a pin must hold so that all of what is read from PATH stays at its commit; in words why that cannot be done.
pub fn pin(reading: &Reading) -> Result<Pin, String> {
    let entry = reading.layers.first().map(|read| &read.layer.source).ok_or("there is no layer")?;
    if entry.kind != "GitRepository" {
        return Err(format!("{entry}: only a GitRepository can be pinned"));
    }
    let own = reading.sources.get(entry).and_then(|source| Some(source.tree.as_ref()?.repository.clone()));
    let mut sources = Vec::new();
    for (id, source) in reading.sources.iter().filter(|(id, _)| id.kind == "GitRepository") {
        let at_ours =
            source.tree.as_ref().is_some_and(|tree| Some(&tree.repository) == own.as_ref() && tree.revision.ends_with(&reading.revision));
        let Some(declaration) = source.declaration.as_ref().filter(|_| at_ours) else { continue };
        // What Git itself pins needs no pin of ours.
        if declaration.text("/spec/ref/commit").is_empty() {
            let written = reading.layers.iter().any(|read| read.objects.iter().any(|object| object.id() == declaration.id()));
            if !written {
                return Err(format!("{id}: no layer declares it, so that whoever makes it would let it follow its branch"));
            }
            sources.push(declaration.id());
        }
    }
    Ok(Pin { commit: reading.revision.clone(), sources })
}

/// Refuses to go on beside a pin that keeps the agent elsewhere.
pub(super) fn refuse(run: &Run, look: &Look) -> Result<(), RunError> {
    if run.follow != Follow::AsDeclared {
        return Ok(());
    }
    match ours(&run.reading, &look.pinned).find(|pinned| pinned.commit != run.reading.revision) {
        None => Ok(()),
        Some(pinned) => Err(RunError::Pinned {
            source_object: Box::new(pinned.id()),
            pinned: pinned.commit.clone(),
            ours: run.reading.revision.clone(),
        }),
    }
}

/// Of the pinned sources those that this environment reads.
fn ours<'p>(reading: &'p Reading, pinned: &'p [Pinned]) -> impl Iterator<Item = &'p Pinned> {
    pinned.iter().filter(|pinned| {
        reading.sources.keys().any(|id| id.kind == "GitRepository" && (&id.namespace, &id.name) == (&pinned.namespace, &pinned.name))
    })
}

/// Sources whose commit changes by this run, each with the revision that the agent must have before a layer is given to it.
pub(super) fn moved(run: &Run) -> Vec<(ObjectId, String)> {
    let sources =
        run.reading.sources.values().filter_map(|source| Some((source.declaration.as_ref()?.id(), source.tree.as_ref()?.revision.clone())));
    sources
        .filter(|(id, _)| match &run.follow {
            Follow::AsDeclared => false,
            Follow::Pinned(pin) => pin.covers(id),
            Follow::Unpinned => id.kind == "GitRepository",
        })
        .collect()
}

/// Holds the agent's layers and moves its living sources. Gives the layers as they are then.
pub(super) async fn carry_out(
    run: &Run,
    look_pinned: &[Pinned],
    living: BTreeMap<LayerId, Living>,
) -> Result<BTreeMap<LayerId, Living>, ClusterError> {
    let cluster = &run.cluster;
    let to_lift: Vec<ObjectId> =
        if run.follow == Follow::Unpinned { ours(&run.reading, look_pinned).map(Pinned::id).collect() } else { Vec::new() };
    let is_there = match run.follow.pin() {
        Some(pin) => !already(cluster, pin).await?,
        None => !to_lift.is_empty(),
    };
    if !is_there {
        return Ok(living);
    }
    let held: Vec<&LayerId> = run
        .reading
        .layers
        .iter()
        .map(|read| &read.layer)
        .filter(|layer| !layer.spec.suspend && layer.spec.kube_config.is_none())
        .map(|layer| &layer.id)
        .filter(|id| living.get(id).is_some_and(|living| !living.suspended))
        .collect();
    for id in &held {
        agent::suspend(cluster, id).await?;
    }
    if let Some(pin) = run.follow.pin() {
        for id in &pin.sources {
            if pin.set(cluster, id).await? {
                let message = format!("{id}: pinned at {}", short(&pin.commit));
                run.events.send(Happening::Phase { name: "pin".into(), detail: message });
            }
        }
    }
    for id in &to_lift {
        pin::lift(cluster, id).await?;
        run.events.send(Happening::Phase { name: "unpin".into(), detail: format!("{id}: follows what Git declares") });
    }
    if held.is_empty() { Ok(living) } else { agent::living(cluster).await }
}

/// Whether all of the pin's living sources are pinned so; sources that are not there are written with their pin.
async fn already(cluster: &Cluster, pin: &Pin) -> Result<bool, ClusterError> {
    for id in &pin.sources {
        match cluster.get(id).await {
            Ok(Some(living)) if pin::of(&living) != Some(&pin.commit) => return Ok(false),
            Ok(_) | Err(ClusterError::KindUnknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
