//! A plan, or what `verify` finds, in the form that is asked for: text out, and nothing else. Pure; decides nothing.
//!
//! `verification` and `explain` are for people, `markdown` for the comment of a merge request, `dot` and `mermaid` draw the graph,
//! `sarif` is for code scanning, `html` is one page that needs nothing else. JSON and YAML are the data itself; their schema stands in
//! `docs/schema`.

mod compare;
mod dot;
mod explain;
mod graph;
mod html;
mod log;
mod markdown;
mod mermaid;
mod sarif;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod tests;
mod verification;

pub use compare::{Comparison, compare, comparison};
pub use dot::dot;
pub use explain::explain;
pub use graph::graph;
pub use html::html;
pub use log::{Log, Side, Touched, log, logged, logged_markdown};
pub use markdown::{compared, planned, verified};
pub use mermaid::mermaid;
pub use sarif::sarif;
pub use verification::verification;

use crate::manifest::write;
use crate::plan::{Edge, Plan};
use crate::problem::{Origin, Severity};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const TITLE: Style = Style::new().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();

/// As JSON, with a line end.
pub fn json(data: &impl Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(data).unwrap_or_default())
}

/// The same as YAML.
pub fn yaml(data: &impl Serialize) -> String {
    write(&serde_json::to_value(data).unwrap_or_default())
}

/// The first twelve digits of a commit, and whether the working tree had changes.
pub fn commit(revision: &str) -> (&str, bool) {
    let (sha, dirty) = revision.split_once('-').map_or((revision, false), |(sha, _)| (sha, true));
    (crate::repo::short(sha), dirty)
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocks => "blocks",
        Severity::Differs => "differs",
        Severity::Risk => "risk",
    }
}

/// `namespace/name` of a layer, and what other nodes are called in a sentence.
pub fn short(node: &str) -> &str {
    node.strip_prefix("layer/").or_else(|| node.strip_prefix("aws/")).unwrap_or(node)
}

fn place(origin: Option<&Origin>) -> String {
    origin.map(ToString::to_string).unwrap_or_default()
}

/// The first few, and how many more.
fn list(words: &[String], most: usize) -> String {
    match words.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{} and {more} more", words[..most].join(", ")),
        _ => words.join(", "),
    }
}

/// Edges of the graph as it is drawn: one from each node to each other, with all its reasons; who declares a layer only where nothing else
/// holds it back.
fn drawn(plan: &Plan) -> Vec<(&str, &str, Vec<&Edge>)> {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Edge>> = BTreeMap::new();
    let mut held: BTreeSet<&str> = BTreeSet::new();
    for edge in plan.edges.iter().filter(|edge| !edge.constraint.is_for_ready()) {
        pairs.entry((&edge.from, &edge.to)).or_default().push(edge);
        if edge.reason != "declared there" {
            held.insert(&edge.to);
        }
    }
    pairs.retain(|(_, to), edges| !held.contains(to) || edges.iter().any(|edge| edge.reason != "declared there"));
    pairs.into_iter().map(|((from, to), edges)| (from, to, edges)).collect()
}
