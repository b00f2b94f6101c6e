//! Why a layer runs when it runs, and all that waits for it.

use super::{BAD, FAINT, NAME, TITLE, WARN, list, place, short};
use crate::plan::{Edge, Plan, PlannedLayer};
use crate::problem::count;
use crate::report::clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

/// The text for one layer.
pub fn explain(plan: &Plan, layer: &PlannedLayer) -> String {
    let node = layer.id.node();
    let mut text = String::new();
    let declared = place(layer.declared.as_ref());
    let _ = writeln!(text, "{TITLE}{}{TITLE:#}  {FAINT}{declared}{FAINT:#}", layer.id);
    let state = match layer {
        layer if layer.suspended => "suspended: neither applied nor awaited".to_owned(),
        layer if layer.remote => "for another cluster: planned, not applied".to_owned(),
        layer if !layer.rendered && layer.objects.is_empty() => "its objects are not known".to_owned(),
        layer => {
            let more = if layer.rendered { "" } else { ", and more that are not known," };
            format!("{}{more} from {} of {}", count(layer.objects.len(), "object"), layer.path, layer.source)
        }
    };
    let _ = writeln!(text, "  {state}");
    for chart in &layer.charts {
        let _ = writeln!(text, "  {} of its chart, by {}", count(chart.objects.len(), "object"), chart.release);
    }
    let starts = starts(plan);
    if let Some(start) = starts.get(node.as_str()) {
        let _ = writeln!(text, "  wave {}; starts about {} after the first call", layer.wave, clock(*start));
    }
    let before: Vec<&Edge> = plan.edges.iter().filter(|edge| edge.to == node && !edge.constraint.is_for_ready()).collect();
    let _ = writeln!(text, "\n{TITLE}starts after{TITLE:#}");
    if before.is_empty() {
        let _ = writeln!(text, "  nothing: it starts at once");
    }
    for edge in &before {
        edge_line(plan, edge, &edge.from, &mut text);
    }
    let until: Vec<&Edge> = plan.edges.iter().filter(|edge| edge.to == node && edge.constraint.is_for_ready()).collect();
    if !until.is_empty() {
        let _ = writeln!(text, "\n{TITLE}is ready only after{TITLE:#}");
        for edge in until {
            edge_line(plan, edge, &edge.from, &mut text);
        }
    }
    let chain = chain(plan, &node, &starts);
    if chain.len() > 2 {
        let _ = writeln!(text, "\n{TITLE}the chain that decides its time{TITLE:#}");
        for (step, reason) in &chain {
            let start = starts.get(step.as_str()).copied().unwrap_or_default();
            let reason = if reason.is_empty() { String::new() } else { format!("  {FAINT}{reason}{FAINT:#}") };
            let _ = writeln!(text, "  {:>8}  {NAME}{}{NAME:#}{reason}", clock(start), short(step));
        }
    }
    waiting(plan, &node, &mut text);
    let problems: Vec<_> = plan.problems.iter().filter(|problem| problem.message.contains(&layer.id.to_string())).collect();
    if !problems.is_empty() {
        let _ = writeln!(text, "\n{TITLE}problems{TITLE:#}");
        for problem in problems {
            let _ =
                writeln!(text, "  {BAD}{}{BAD:#} {} {FAINT}[{}]{FAINT:#}", place(problem.origin.as_ref()), problem.message, problem.rule);
        }
    }
    text
}

fn edge_line(plan: &Plan, edge: &Edge, other: &str, text: &mut String) {
    let moment = match edge.constraint {
        crate::plan::Constraint::ReadyBeforeStart | crate::plan::Constraint::ReadyBeforeReady => "is ready",
        _ => "is applied",
    };
    let skipped = plan.nodes.iter().any(|node| node.id == other && node.action == crate::plan::Action::Skip);
    let skipped = if skipped { format!(" {WARN}(skipped){WARN:#}") } else { String::new() };
    let origin = place(edge.origin.as_ref());
    let _ = writeln!(text, "  {NAME}{}{NAME:#}{skipped} {moment}: {} {FAINT}{origin}{FAINT:#}", short(other), edge.reason);
}

/// All that waits for it: directly with the reason, and how many behind those.
fn waiting(plan: &Plan, node: &str, text: &mut String) {
    let mut direct: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for edge in plan.edges.iter().filter(|edge| edge.from == node) {
        let what = if edge.constraint.is_for_ready() { format!("to be ready: {}", edge.reason) } else { edge.reason.clone() };
        direct.entry(&edge.to).or_default().push(what);
    }
    let mut all: BTreeSet<&str> = BTreeSet::new();
    let mut left: VecDeque<&str> = VecDeque::from([node]);
    while let Some(at) = left.pop_front() {
        for edge in plan.edges.iter().filter(|edge| edge.from == at && !edge.constraint.is_for_ready()) {
            if edge.to != node && all.insert(&edge.to) {
                left.push_back(&edge.to);
            }
        }
    }
    let _ = writeln!(text, "\n{TITLE}waits for it{TITLE:#}");
    if direct.is_empty() {
        let _ = writeln!(text, "  nothing");
        return;
    }
    for (other, mut reasons) in direct.iter().map(|(other, reasons)| (*other, reasons.clone())) {
        reasons.dedup();
        let _ = writeln!(text, "  {NAME}{}{NAME:#} {FAINT}({}){FAINT:#}", short(other), list(&reasons, 3));
    }
    let behind: Vec<String> = all.iter().filter(|other| !direct.contains_key(*other)).map(|other| short(other).to_owned()).collect();
    if !behind.is_empty() {
        let _ = writeln!(text, "  {FAINT}and behind these:{FAINT:#} {}", behind.join(", "));
    }
}

/// Usual seconds from the first call until each node starts; cycles keep what was known when they closed.
fn starts(plan: &Plan) -> BTreeMap<&str, f64> {
    let seconds: BTreeMap<&str, f64> = match &plan.expected {
        Some(expected) => expected.nodes.iter().map(|(id, seconds)| (id.as_str(), *seconds)).collect(),
        None => plan.nodes.iter().map(|node| (node.id.as_str(), node.seconds)).collect(),
    };
    let mut starts: BTreeMap<&str, f64> = plan.nodes.iter().map(|node| (node.id.as_str(), 0.0)).collect();
    for _ in 0..=plan.nodes.len() {
        let mut changed = false;
        for edge in plan.edges.iter().filter(|edge| !edge.constraint.is_for_ready()) {
            let earliest = starts.get(edge.from.as_str()).copied().unwrap_or_default() + until(edge, &seconds);
            if let Some(start) = starts.get_mut(edge.to.as_str()).filter(|start| **start < earliest) {
                (*start, changed) = (earliest, true);
            }
        }
        if !changed {
            break;
        }
    }
    starts
}

/// What of the first node's time an edge waits for.
fn until(edge: &Edge, seconds: &BTreeMap<&str, f64>) -> f64 {
    let all = seconds.get(edge.from.as_str()).copied().unwrap_or_default();
    match edge.constraint {
        crate::plan::Constraint::ReadyBeforeStart => all,
        _ => all.min(0.5),
    }
}

/// From the beginning to this node, each step by the edge that holds it back longest.
fn chain(plan: &Plan, node: &str, starts: &BTreeMap<&str, f64>) -> Vec<(String, String)> {
    let seconds: BTreeMap<&str, f64> = plan.nodes.iter().map(|node| (node.id.as_str(), node.seconds)).collect();
    let mut chain = vec![(node.to_owned(), String::new())];
    while chain.len() <= plan.nodes.len() {
        let at = chain[chain.len() - 1].0.clone();
        let before = plan.edges.iter().filter(|edge| edge.to == at && !edge.constraint.is_for_ready());
        let ends = |edge: &&Edge| starts.get(edge.from.as_str()).copied().unwrap_or_default() + until(edge, &seconds);
        let Some(edge) = before.max_by(|a, b| ends(a).total_cmp(&ends(b)).then_with(|| b.from.cmp(&a.from))) else { break };
        if chain.iter().any(|(known, _)| *known == edge.from) {
            break;
        }
        if let Some(last) = chain.last_mut() {
            last.1.clone_from(&edge.reason);
        }
        chain.push((edge.from.clone(), String::new()));
    }
    chain.reverse();
    chain
}
