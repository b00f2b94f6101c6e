//! Which layer is handed to the agent when. Pure.
//!
//! A layer's own Kustomization object is written when the layer is ready here and all layers that it declares are written:
//! an agent that sees the parent applies the children itself, and knows none of our edges. It is best written after the agent
//! reports what it depends on as Ready, since kustomize-controller looks at a waiting dependency again only every 30 s
//! (`--requeue-dependency`); where that would never come (a child that depends on its own parent), it is written all the same and nudged.

use std::collections::BTreeSet;

/// Index of a layer.
pub type Index = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    NotReady,
    Ready,
    Written,
    Confirmed,
    Given,
}

#[derive(Debug)]
struct Layer {
    children: Vec<Index>,
    dependencies: Vec<Index>,
    /// Layers that declare each other, in a circle, this one among them (the agent's own sync often stands in a layer below it).
    circle: Vec<Index>,
    stage: Stage,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Handover {
    layers: Vec<Layer>,
}

impl Handover {
    /// For each layer, in order: the layers that it declares, and those that it depends on; both as indices into the same list.
    pub fn new(layers: impl IntoIterator<Item = (Vec<Index>, Vec<Index>)>) -> Self {
        let mut layers: Vec<Layer> = layers
            .into_iter()
            .map(|(children, dependencies)| Layer { children, dependencies, circle: Vec::new(), stage: Stage::NotReady })
            .collect();
        let below: Vec<BTreeSet<Index>> = (0..layers.len()).map(|layer| below(&layers, layer)).collect();
        for (layer, state) in layers.iter_mut().enumerate() {
            state.circle = below[layer].iter().copied().filter(|&other| other == layer || below[other].contains(&layer)).collect();
            if !state.circle.contains(&layer) {
                state.circle.push(layer);
            }
        }
        Self { layers }
    }

    /// The layer is ready here.
    pub fn ready(&mut self, layer: Index) {
        if self.layers[layer].stage == Stage::NotReady {
            self.layers[layer].stage = Stage::Ready;
        }
    }

    /// The layer will not be handed over (failed, suspended, another cluster).
    pub fn give_up(&mut self, layer: Index) {
        if self.layers[layer].stage != Stage::Confirmed {
            self.layers[layer].stage = Stage::Given;
        }
    }

    /// The layers to write now, each given out once.
    pub fn take_due(&mut self) -> Vec<Index> {
        let may: Vec<Index> = (0..self.layers.len()).filter(|&layer| self.may_be_written(layer)).collect();
        let mut now: Vec<Index> = may.iter().copied().filter(|&layer| self.dependencies_confirmed(layer)).collect();
        let moving =
            self.layers.iter().enumerate().any(|(layer, state)| state.stage == Stage::Written && self.dependencies_confirmed(layer));
        if now.is_empty() && !moving {
            now = may;
        }
        for &layer in &now {
            self.layers[layer].stage = Stage::Written;
        }
        now
    }

    /// The agent reports the layer Ready at our revision. Gives the written layers whose dependencies are all confirmed by this: nudge them.
    pub fn confirmed(&mut self, layer: Index) -> Vec<Index> {
        self.layers[layer].stage = Stage::Confirmed;
        (0..self.layers.len())
            .filter(|&other| {
                self.layers[other].stage == Stage::Written
                    && self.layers[other].dependencies.contains(&layer)
                    && self.dependencies_confirmed(other)
            })
            .collect()
    }

    /// Written and not yet confirmed.
    pub fn is_awaited(&self, layer: Index) -> bool {
        self.layers[layer].stage == Stage::Written
    }

    /// Whether everything it depends on is confirmed (or was never to be handed over).
    pub fn dependencies_confirmed(&self, layer: Index) -> bool {
        self.layers[layer].dependencies.iter().all(|&other| matches!(self.layers[other].stage, Stage::Confirmed | Stage::Given))
    }

    /// Whether nothing more can come.
    pub fn is_over(&self) -> bool {
        self.layers.iter().enumerate().all(|(layer, state)| match state.stage {
            Stage::Confirmed | Stage::Given | Stage::NotReady => true,
            Stage::Ready => !self.may_be_written(layer),
            Stage::Written => false,
        })
    }

    /// All that it declares is written; layers of a circle count as one.
    fn may_be_written(&self, layer: Index) -> bool {
        let circle = &self.layers[layer].circle;
        let is_written = |layer: Index| matches!(self.layers[layer].stage, Stage::Written | Stage::Confirmed);
        self.layers[layer].stage == Stage::Ready
            && circle.iter().all(|&member| self.layers[member].stage == Stage::Ready || is_written(member))
            && circle.iter().flat_map(|&member| &self.layers[member].children).all(|child| circle.contains(child) || is_written(*child))
    }
}

/// All that a layer declares, and what these declare.
fn below(layers: &[Layer], layer: Index) -> BTreeSet<Index> {
    let mut found = BTreeSet::new();
    let mut open = layers[layer].children.clone();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&layers[next].children);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_come_before_the_parent_and_dependencies_before_dependents() {
        // 0 declares 1 and 2; 2 depends on 1.
        let mut handover = Handover::new([(vec![1, 2], vec![]), (vec![], vec![]), (vec![], vec![1])]);
        for layer in 0..3 {
            handover.ready(layer);
        }
        assert_eq!(handover.take_due(), [1]);
        assert_eq!(handover.take_due(), [0usize; 0]);
        assert_eq!(handover.confirmed(1), [0usize; 0]);
        assert_eq!(handover.take_due(), [2]);
        assert_eq!(handover.take_due(), [0]);
        handover.confirmed(2);
        handover.confirmed(0);
        assert!(handover.is_over());
    }

    #[test]
    fn a_child_that_depends_on_its_parent_is_written_and_nudged() {
        let mut handover = Handover::new([(vec![1], vec![]), (vec![], vec![0])]);
        handover.ready(0);
        handover.ready(1);
        assert_eq!(handover.take_due(), [1]);
        assert_eq!(handover.take_due(), [0]);
        assert_eq!(handover.confirmed(0), [1]);
    }

    #[test]
    fn the_parent_of_a_failed_child_is_kept_back() {
        let mut handover = Handover::new([(vec![1], vec![]), (vec![], vec![])]);
        handover.ready(0);
        handover.give_up(1);
        assert_eq!(handover.take_due(), [0usize; 0]);
        assert!(handover.is_over());
    }

    #[test]
    fn layers_that_declare_each_other_wait_for_all_others() {
        // 0 declares 1 and 2; 1 declares 0.
        let mut handover = Handover::new([(vec![1, 2], vec![]), (vec![0], vec![]), (vec![], vec![])]);
        for layer in 0..2 {
            handover.ready(layer);
        }
        assert_eq!(handover.take_due(), [0usize; 0]);
        handover.ready(2);
        assert_eq!(handover.take_due(), [2]);
        assert_eq!(handover.take_due(), [0, 1]);
    }
}
