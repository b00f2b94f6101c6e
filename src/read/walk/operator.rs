//! ResourceSets of the Flux Operator in the walk: what they give is declared as if it stood in Git, once their inputs are known.

use super::Walk;
use crate::layers::flux::is_kustomization;
use crate::layers::operator::{Given, generate};
use crate::problem::{Problem, Unknown};

impl Walk<'_> {
    /// Takes note of what the sets give whose inputs are known; with `give_up`, the others are told.
    pub(super) fn resource_sets(&mut self, give_up: bool) -> bool {
        let mut moved = false;
        for (index, set) in std::mem::take(&mut self.sets) {
            let layer = self.items[index].layer.id.clone();
            let mut unknown = |needs: String| {
                self.unknowns.push(Unknown { node: layer.node(), needs: format!("{needs} for {}", set.id()), origin: set.origin.clone() });
            };
            match generate(&set, &self.providers) {
                Given::NotYet(_) if !give_up => {
                    self.sets.push((index, set));
                    continue;
                }
                Given::NotYet(what) => unknown(format!("{what}, which is not in Git,")),
                Given::Unknown(needs) => unknown(needs),
                Given::Wrong(why) => {
                    self.problems.push(
                        Problem::blocks("resourceset-invalid", format!("{} of layer {layer}: {why}", set.id())).at(set.origin.clone()),
                    );
                }
                Given::Resources(resources) => {
                    for resource in resources {
                        self.sources.declare(&resource);
                        self.known.declare(&resource);
                        if is_kustomization(&resource) {
                            self.child(index, &resource);
                        }
                    }
                }
            }
            moved = true;
        }
        moved
    }
}
