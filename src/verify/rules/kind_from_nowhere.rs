//! Custom resources of a group that nothing in Git is known to define.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::facts::Facts;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "kind-from-nowhere",
    severity: Severity::Risk,
    title: "Nothing in Git is known to define a kind",
    why: "No layer holds its definition, and no chart that is at hand or known brings it. Either a chart that could not be looked into does, \
          or the definition was put into the old cluster by hand, and the new one will not have it.",
    fix: "add the definitions to a layer; where a chart brings them, accept this with a line that says which",
    check: Some(check),
};

#[expect(clippy::type_complexity, reason = "a group, used in this function alone")]
fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<&str, (usize, BTreeMap<&str, usize>, &Resource, usize)> = BTreeMap::new();
    for (layer, object) in facts.objects().filter(|(_, object)| !facts.is_given(object.group())) {
        let is_brought = facts.kinds.contains_key(&(object.group().to_owned(), object.kind().to_owned()));
        if is_brought || facts.is_of_argo(object.group(), object.kind()) {
            continue;
        }
        let entry = groups.entry(object.group()).or_insert_with(|| (0, BTreeMap::new(), object, layer));
        entry.0 += 1;
        *entry.1.entry(object.kind()).or_default() += 1;
    }
    let finding = |(group, (number, kinds, first, layer)): (&str, (usize, BTreeMap<&str, usize>, &Resource, usize))| {
        let kinds: Vec<&str> = kinds.into_keys().collect();
        let message =
            format!("{}: nothing in Git is known to define {group} ({}), {} in all", first.id(), kinds.join(", "), count(number, "object"));
        Finding::new(&RULE, message).of(facts.layer(layer)).about(first)
    };
    groups.into_iter().map(finding).collect()
}
