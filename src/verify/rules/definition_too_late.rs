//! A custom resource stands in a layer that is applied before anything defines its kind.

use super::{Finding, Rule};
use crate::manifest::ObjectId;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use crate::verify::objects::list;
use crate::verify::simulate::{Lack, Lacking};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "definition-too-late",
    severity: Severity::Blocks,
    title: "A kind is used before anything defines it",
    why: "The agent tries all objects of a layer in a dry run before it writes any. On an empty cluster the dry run of a custom resource \
          fails until its definition is there. Where the definition comes from a chart in the same layer, or from a layer that waits for this \
          one or that this one declares, it never comes. A living cluster hides it: the definition is still there from earlier.",
    fix: "put the custom resources into a layer of their own that depends on the layer with the definition",
    check: Some(check),
};

#[expect(clippy::type_complexity, reason = "a group, used in this function alone")]
fn check(facts: &Facts<'_>) -> Vec<Finding> {
    // All kinds that one thing brings to one layer are one finding.
    let mut groups: BTreeMap<(usize, ObjectId), (&Lack<'_>, usize, Vec<String>, BTreeSet<&str>)> = BTreeMap::new();
    for lack in &facts.start.lacks {
        let Lacking::Kind { kind: (group, kind), objects, by, .. } = &lack.what else { continue };
        let entry = groups.entry((lack.layer, by.object.id())).or_insert_with(|| (lack, 0, Vec::new(), BTreeSet::new()));
        entry.1 += objects;
        entry.2.push(kind.clone());
        entry.3.insert(group);
    }
    let finding = |(lack, objects, kinds, groups): (&Lack<'_>, usize, Vec<String>, BTreeSet<&str>)| {
        let Lacking::Kind { first, by, .. } = &lack.what else { return None };
        let (layer, other) = (facts.layer(lack.layer), facts.layer(by.layer));
        let what = by.words();
        let why = if by.layer == lack.layer {
            "of the same layer, which is not written before the dry run of the whole layer succeeds".to_owned()
        } else if other.parent.as_ref() == Some(&layer.id) {
            format!("in layer {}, which this layer itself declares", other.id)
        } else {
            format!("in layer {}, which starts only after this layer", other.id)
        };
        let message = format!(
            "layer {}: the start stops in step {}: it holds {} of {} ({}), defined only by {what} {why}",
            layer.id,
            lack.step,
            count(objects, "object"),
            list(&kinds, 3),
            groups.into_iter().collect::<Vec<_>>().join(", ")
        );
        Some(Finding::new(&RULE, message).of(layer).at(first.origin.clone()))
    };
    groups.into_values().filter_map(finding).collect()
}
