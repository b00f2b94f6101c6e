//! `spec.aws.regions`.

use super::super::Spec;
use super::super::region::Elsewhere;
use super::{Fields, Reader};
use crate::manifest::yaml::{Content, Located};
use crate::problem::nearest;
use std::collections::BTreeMap;

impl Reader<'_> {
    pub(super) fn regions(&mut self, aws: &Fields<'_>) -> BTreeMap<String, Elsewhere> {
        let Some(node) = aws.entries.get("regions") else { return BTreeMap::new() };
        let Content::Map(entries) = &node.content else {
            self.wrong(node, "spec.aws.regions", "a map from region to what is other there");
            return BTreeMap::new();
        };
        entries.iter().map(|(region, _, node)| (region.clone(), self.elsewhere(node, &format!("spec.aws.regions.{region}")))).collect()
    }

    fn elsewhere(&mut self, node: &Located, path: &str) -> Elsewhere {
        let fields = self.fields(node, path, &["variables", "restore"]);
        let variables = if fields.entries.contains_key("variables") { self.texts(&fields, "variables") } else { BTreeMap::new() };
        let items = self.list(&fields, "restore").iter().enumerate();
        let restore = items.filter_map(|(index, item)| self.restore(item, &format!("{path}.restore[{index}]"))).collect();
        Elsewhere { variables, restore }
    }

    /// A variable that has another value elsewhere has one here.
    pub(super) fn variables_elsewhere(&mut self, aws: &Located, spec: &Spec) {
        let known: Vec<&String> = spec.variables.iter().flat_map(|variables| variables.data.keys()).collect();
        let Some(Content::Map(regions)) = aws.get("regions").map(|node| &node.content) else { return };
        for (region, _, node) in regions {
            let Some(Content::Map(variables)) = node.get("variables").map(|node| &node.content) else { continue };
            for (name, place, _) in variables {
                if !known.contains(&name) {
                    let near = nearest(name, known.iter().map(|name| name.as_str()));
                    let hint = near.first().map(|near| format!("did you mean `{near}`?"));
                    self.problem(*place, format!("spec.aws.regions.{region}.variables.{name}: is in no entry of spec.variables"), hint);
                }
            }
        }
    }
}
