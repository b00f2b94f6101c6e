//! What a change does to order and objects: two plans of the same environment, one beside the other.

use super::{BAD, FAINT, GOOD, TITLE, WARN, commit, short};
use crate::layers::{LayerId, infrastructure};
use crate::manifest::{ObjectId, Resource};
use crate::plan::{Action, Edge, Plan};
use crate::problem::count;
use crate::read::Reading;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What is below the cluster, as a layer.
pub(super) const INFRASTRUCTURE: &str = "infrastructure";

/// What `plan --compare REV -o json` prints.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Comparison`.
    pub kind: &'static str,
    /// Name of the environment.
    pub environment: String,
    /// Commit before.
    pub from: String,
    /// Commit after.
    pub to: String,
    /// Nodes that are new.
    pub added: Vec<String>,
    /// Nodes that are gone.
    pub removed: Vec<String>,
    /// Layers that start in another wave.
    pub moved: Vec<Moved>,
    /// Edges that are new.
    pub edges_added: Vec<Edge>,
    /// Edges that are gone.
    pub edges_removed: Vec<Edge>,
    /// Objects, layer by layer.
    pub objects: Vec<Changed>,
    /// Problems that are new, as their messages.
    pub problems_added: Vec<String>,
    /// Problems that are solved.
    pub problems_removed: Vec<String>,
}

/// A layer that starts in another wave.
#[derive(Clone, Debug, Serialize)]
pub struct Moved {
    /// `namespace/name`.
    pub layer: String,
    /// Wave before.
    pub from: u32,
    /// Wave after.
    pub to: u32,
}

/// What changes in one layer (`infrastructure` for what is built below the cluster).
#[expect(clippy::struct_field_names, reason = "a field of the JSON")]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Changed {
    /// `namespace/name`.
    pub layer: String,
    /// New objects.
    pub added: Vec<ObjectId>,
    /// Objects that are gone.
    pub removed: Vec<ObjectId>,
    /// Objects with another content.
    pub changed: Vec<ObjectId>,
}

/// Two plans, each with what it was made from: before, after.
pub fn compare(before: (&Plan, &Reading), after: (&Plan, &Reading)) -> Comparison {
    let nodes = |plan: &Plan| -> BTreeSet<String> {
        plan.nodes
            .iter()
            .filter(|node| node.action != Action::Unknown || node.id.starts_with("layer/"))
            .map(|node| node.id.clone())
            .collect()
    };
    let (old, new) = (nodes(before.0), nodes(after.0));
    let waves = |plan: &Plan| -> BTreeMap<String, u32> { plan.layers.iter().map(|layer| (layer.id.to_string(), layer.wave)).collect() };
    let earlier = waves(before.0);
    let moved = waves(after.0).into_iter().filter_map(|(layer, to)| {
        let from = *earlier.get(&layer)?;
        (from != to).then_some(Moved { layer, from, to })
    });
    let key = |edge: &Edge| (edge.from.clone(), edge.to.clone(), edge.constraint, edge.reason.clone());
    let missing = |from: &Plan, others: &Plan| -> Vec<Edge> {
        let known: BTreeSet<_> = others.edges.iter().map(key).collect();
        let mut found: Vec<Edge> = from.edges.iter().filter(|edge| !known.contains(&key(edge))).cloned().collect();
        found.sort_by_key(key);
        found
    };
    let messages = |plan: &Plan| -> BTreeSet<String> {
        plan.problems.iter().map(|problem| format!("{} [{}]", problem.message, problem.rule)).collect()
    };
    let (was, is) = (messages(before.0), messages(after.0));
    Comparison {
        api_version: "blackstart/v1alpha1",
        kind: "Comparison",
        environment: after.0.environment.clone(),
        from: before.0.revision.clone(),
        to: after.0.revision.clone(),
        added: new.difference(&old).cloned().collect(),
        removed: old.difference(&new).cloned().collect(),
        moved: moved.collect(),
        edges_added: missing(after.0, before.0),
        edges_removed: missing(before.0, after.0),
        objects: objects(before.1, after.1),
        problems_added: is.difference(&was).cloned().collect(),
        problems_removed: was.difference(&is).cloned().collect(),
    }
}

pub(super) fn objects(before: &Reading, after: &Reading) -> Vec<Changed> {
    type Content<'r> = BTreeMap<ObjectId, &'r Resource>;
    fn all(reading: &Reading) -> BTreeMap<String, Content<'_>> {
        let layers = reading.layers.iter().filter(|read| read.rendered);
        let layers = layers.map(|read| (read.layer.id.to_string(), read.objects.iter().map(|object| (object.id(), object)).collect()));
        let below = reading.infrastructure.iter().map(|object| (object.id(), object)).collect();
        layers.chain([(INFRASTRUCTURE.to_owned(), below)]).collect()
    }
    let (old, new) = (all(before), all(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let nothing = Content::new();
    let mut found = Vec::new();
    for name in names {
        let (was, is) = (old.get(name).unwrap_or(&nothing), new.get(name).unwrap_or(&nothing));
        let changed = Changed {
            layer: name.clone(),
            added: is.keys().filter(|id| !was.contains_key(*id)).cloned().collect(),
            removed: was.keys().filter(|id| !is.contains_key(*id)).cloned().collect(),
            changed: is
                .iter()
                .filter(|(id, object)| was.get(*id).is_some_and(|other| other.value != object.value))
                .map(|(id, _)| id.clone())
                .collect(),
        };
        if !(changed.added.is_empty() && changed.removed.is_empty() && changed.changed.is_empty()) {
            found.push(changed);
        }
    }
    found
}

impl Comparison {
    /// Nodes whose work is another one: new or gone, other objects, other edges to them, another declaration.
    pub fn touched(&self) -> BTreeSet<String> {
        let mut nodes: BTreeSet<String> = self.added.iter().chain(&self.removed).cloned().collect();
        nodes.extend(self.edges_added.iter().chain(&self.edges_removed).map(|edge| edge.to.clone()));
        for Changed { layer, added, removed, changed } in &self.objects {
            let objects = added.iter().chain(removed).chain(changed);
            if layer == INFRASTRUCTURE {
                nodes.extend(objects.filter_map(infrastructure::node_of));
            } else {
                nodes.insert(format!("layer/{layer}"));
                let layers = objects.filter(|id| id.kind == "Kustomization" && id.group() == "kustomize.toolkit.fluxcd.io");
                nodes.extend(layers.map(|id| LayerId::new(id.namespace.as_deref().unwrap_or_default(), &id.name).node()));
            }
        }
        nodes
    }

    /// In one sentence.
    pub fn summary(&self) -> String {
        let sum = |of: fn(&Changed) -> usize| self.objects.iter().map(of).sum::<usize>();
        let (added, removed, changed) =
            (sum(|layer| layer.added.len()), sum(|layer| layer.removed.len()), sum(|layer| layer.changed.len()));
        let parts = [
            (self.added.len(), "new node"),
            (self.removed.len(), "node gone"),
            (self.moved.len(), "layer in another wave"),
            (self.edges_added.len(), "new reason to wait"),
            (self.edges_removed.len(), "reason gone"),
            (added, "new object"),
            (changed, "changed object"),
            (removed, "object gone"),
            (self.problems_added.len(), "new problem"),
            (self.problems_removed.len(), "problem solved"),
        ];
        let words: Vec<String> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| match (number, what.split_once(' ')) {
                (1, _) => format!("1 {what}"),
                // The noun stands first or last.
                (_, Some((noun @ ("node" | "layer" | "reason" | "object" | "problem"), rest))) => format!("{number} {noun}s {rest}"),
                (_, Some(("new", "reason to wait"))) => format!("{number} new reasons to wait"),
                _ => format!("{number} {what}s"),
            })
            .collect();
        if words.is_empty() { "Nothing changes in order or objects.".to_owned() } else { format!("{}.", words.join(", ")) }
    }

    /// Headings with their lines; empty ones left out.
    pub fn sections(&self) -> Vec<(&'static str, Vec<String>)> {
        let edge = |edge: &Edge| format!("{} after {} ({})", short(&edge.to), short(&edge.from), edge.reason);
        let objects = |of: fn(&Changed) -> &Vec<ObjectId>| -> Vec<String> {
            self.objects.iter().flat_map(|layer| of(layer).iter().map(move |id| format!("{id} in {}", layer.layer))).collect()
        };
        let all = [
            ("new problems", self.problems_added.clone()),
            ("solved problems", self.problems_removed.clone()),
            ("new nodes", self.added.iter().map(|node| short(node).to_owned()).collect()),
            ("nodes gone", self.removed.iter().map(|node| short(node).to_owned()).collect()),
            ("another wave", self.moved.iter().map(|moved| format!("{}: {} → {}", moved.layer, moved.from, moved.to)).collect()),
            ("new reasons to wait", self.edges_added.iter().map(edge).collect()),
            ("reasons gone", self.edges_removed.iter().map(edge).collect()),
            ("new objects", objects(|layer| &layer.added)),
            ("changed objects", objects(|layer| &layer.changed)),
            ("objects gone", objects(|layer| &layer.removed)),
        ];
        all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

/// The text for people.
pub fn comparison(change: &Comparison) -> String {
    let mut text = String::new();
    let now = if commit(&change.to).1 { " with uncommitted changes" } else { "" };
    let _ = writeln!(
        text,
        "{TITLE}{}{TITLE:#} from {} to {}{WARN}{now}{WARN:#}",
        change.environment,
        commit(&change.from).0,
        commit(&change.to).0
    );
    for (title, lines) in change.sections() {
        let (sign, style) = match title {
            "new problems" => ("!", BAD),
            title if title.starts_with("new") => ("+", GOOD),
            title if title.ends_with("gone") || title.starts_with("solved") => ("-", BAD),
            _ => ("~", WARN),
        };
        let _ = writeln!(
            text,
            "\n{TITLE}{title}{TITLE:#} {FAINT}{}{FAINT:#}",
            count(lines.len(), "line").replace(" lines", "").replace(" line", "")
        );
        for line in lines {
            let _ = writeln!(text, "  {style}{sign}{style:#} {line}");
        }
    }
    let _ = writeln!(text, "\n{}", change.summary());
    text
}
