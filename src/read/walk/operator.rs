//! ResourceSets of the Flux Operator in the walk: what they give is declared as if it stood in Git, once their inputs are known. What they
//! copy has the data of the other object, once that is known.

use super::super::{ReadSet, origins};
use super::Walk;
use crate::layers::operator::{Given, copied_from, depends_on, generate};
use crate::manifest::{ObjectId, Resource};
use crate::problem::{Origin, Problem, Unknown};
use std::collections::BTreeMap;

/// A ConfigMap or Secret whose data is another one's.
pub(super) struct Copy {
    pub(super) resource: Resource,
    set: ObjectId,
    layer: usize,
}

impl Copy {
    /// Whether it is this object (kind, namespace, name).
    pub(super) fn is(&self, (kind, namespace, name): (&str, &str, &str)) -> bool {
        self.resource.kind() == kind && self.resource.namespace() == Some(namespace) && self.resource.name() == name
    }
}

impl Walk<'_> {
    /// Takes note of what the sets give whose inputs are known; with `give_up`, first a set that takes what providers there are, and
    /// where there is none of these, the others are told.
    pub(super) fn resource_sets(&mut self, give_up: bool) -> bool {
        let mut moved = self.copy();
        let mut waiting = Vec::new();
        for (index, set) in std::mem::take(&mut self.sets) {
            // What one gives may be what another one looks for.
            if give_up && moved {
                waiting.push((index, set, String::new()));
                continue;
            }
            match generate(&set, &self.providers, give_up) {
                Given::NotYet(what) => waiting.push((index, set, what)),
                given => {
                    self.given(index, &set, given);
                    moved = true;
                }
            }
        }
        let tells = give_up && !moved;
        for (index, set, what) in waiting {
            if tells {
                self.needs(index, format!("{what}, which is not in Git, for {}", set.id()), set.origin.clone());
                moved = true;
            } else {
                self.sets.push((index, set));
            }
        }
        moved
    }

    fn given(&mut self, index: usize, set: &Resource, given: Given) {
        match given {
            Given::NotYet(_) => {}
            Given::Unknown(needs) => self.needs(index, format!("{needs} for {}", set.id()), set.origin.clone()),
            Given::Wrong(why) => {
                let message = format!("{} of layer {}: {why}", set.id(), self.items[index].layer.id);
                self.problems.push(Problem::blocks("resourceset-invalid", message).at(set.origin.clone()));
            }
            Given::Resources(steps, lacks) => {
                for needs in lacks {
                    self.needs(index, format!("{needs} for {}", set.id()), set.origin.clone());
                }
                for resource in steps.iter().flatten() {
                    self.sources.declare(resource);
                    if copied_from(resource).is_some() {
                        self.copies.push(Copy { resource: resource.clone(), set: set.id(), layer: index });
                        continue;
                    }
                    self.known.declare(resource);
                    self.takes(index, resource);
                }
                let dependencies = self.dependencies(index, set);
                self.made.insert(set.id(), ReadSet { steps, dependencies });
            }
        }
    }

    /// Where the entries of a set's `dependsOn` stand.
    fn dependencies(&self, index: usize, set: &Resource) -> Vec<Option<Origin>> {
        let text = set.origin.as_ref().and_then(|origin| self.items[index].files.as_ref()?.text_of(&origin.file));
        let place = |name: &str| origins::entry(text.as_ref()?, set.origin.as_ref()?, "dependsOn:", name).or_else(|| set.origin.clone());
        depends_on(set).iter().map(|dependency| place(&dependency.name)).collect()
    }

    /// Gives the copies their data whose other object is known.
    fn copy(&mut self) -> bool {
        let before = self.copies.len();
        let known = &mut self.known;
        self.copies.retain(|copy| copied_from(&copy.resource).is_some_and(|from| !known.copy(&copy.resource, from)));
        self.copies.len() < before
    }

    /// Copies of what nobody declares, by what they copy.
    pub(super) fn tell_copies(&mut self) {
        let mut lacking: BTreeMap<(usize, String), Vec<Copy>> = BTreeMap::new();
        for copy in std::mem::take(&mut self.copies) {
            if let Some((namespace, name)) = copied_from(&copy.resource) {
                lacking.entry((copy.layer, format!("{} {namespace}/{name}", copy.resource.kind()))).or_default().push(copy);
            }
        }
        for ((layer, what), copies) in lacking {
            let Some(first) = copies.first() else { continue };
            let which = match copies.len() {
                1 => format!("its copy {} of {}", first.resource.id(), first.set),
                count => format!("its {count} copies, {} of {} and others", first.resource.id(), first.set),
            };
            self.needs(layer, format!("{what}, which is not in Git, for {which}"), first.resource.origin.clone());
        }
    }

    fn needs(&mut self, index: usize, needs: String, origin: Option<Origin>) {
        self.unknowns.push(Unknown { node: self.items[index].layer.id.node(), needs, origin });
    }
}
