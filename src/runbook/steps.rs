//! The order of things with their times: a row for each step in which something begins.

use crate::plan::{Constraint, Plan};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// Names of one row; more are counted.
const MOST: usize = 8;
/// Rows that begin within so many seconds of each other are one.
const CLOSE: f64 = 15.0;

/// Seconds as one says them of a night: `40 seconds`, `15 minutes`, `2 hours 5 minutes`.
pub(super) fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and no plan lasts so long")]
    let whole = seconds.max(0.0).ceil() as u64;
    let count = |number: u64, one: &str| if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") };
    match whole {
        0..100 => count(whole, "second"),
        100..7200 => count(whole.div_ceil(60), "minute"),
        _ if (whole / 60).is_multiple_of(60) => count(whole / 3600, "hour"),
        _ => format!("{} {}", count(whole / 3600, "hour"), count(whole / 60 % 60, "minute")),
    }
}

/// Section 3.
pub(super) fn order(plan: &Plan, out: &mut String) {
    let Some(expected) = &plan.expected else { return };
    let took: HashMap<&str, f64> = expected.nodes.iter().map(|(id, seconds)| (id.as_str(), *seconds)).collect();
    let (begins, shared) = (begins(plan, &took), shared(plan));
    let mut rows: Vec<(f64, &str, f64)> = plan
        .nodes
        .iter()
        .map(|node| (begins[node.id.as_str()], node.id.as_str(), took.get(node.id.as_str()).copied().unwrap_or_default()))
        .collect();
    rows.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(other.1)));
    out.push_str("## 3. What happens, in this order\n\nEach thing begins as soon as what it needs is there; times by what is usual, or measured before. What takes longer than three times as long hangs.\n\n| begins after | what | longest of them |\n|--:|---|--:|\n");
    let mut at = 0;
    while at < rows.len() {
        let first = rows[at].0;
        let group: Vec<&(f64, &str, f64)> = rows[at..].iter().take_while(|row| row.0 - first < CLOSE).collect();
        at += group.len();
        let mut kinds: BTreeMap<&str, Vec<(f64, String)>> = BTreeMap::new();
        for (_, id, took) in &group {
            let (kind, name) = parts(id, shared.as_deref());
            kinds.entry(kind).or_default().push((*took, name));
        }
        let longest = group.iter().map(|row| row.2).fold(0.0, f64::max);
        for (number, (kind, names)) in kinds.iter_mut().enumerate() {
            // What takes longest is what one waits for.
            names.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
            let more = names.len().saturating_sub(MOST);
            let shown = names.iter().take(MOST).map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let (begins, longest) = if number == 0 { (time(first), time(longest)) } else { Default::default() };
            let _ = writeln!(out, "| {begins} | {kind}: {shown}{more} | {longest} |");
        }
    }
    let _ = writeln!(out, "| {} | everything is ready | |\n", time(expected.seconds));
}

/// What a person calls a node: its kind, and its name. `shared` is the namespace of all layers.
fn parts<'i>(id: &'i str, shared: Option<&str>) -> (&'i str, String) {
    let Some((kind, rest)) = id.split_once('/') else { return ("", id.to_owned()) };
    match kind {
        "aws" => {
            let words: Vec<&str> = rest.split('/').collect();
            let name = match words.as_slice() {
                [service, kind, _, name] => format!("{service} {kind} {name}"),
                _ => rest.to_owned(),
            };
            ("AWS", name)
        }
        "layer" => {
            let own = rest.split_once('/').filter(|(namespace, _)| Some(*namespace) == shared).map_or(rest, |(_, name)| name);
            ("layers", own.to_owned())
        }
        "secret" | "variables" | "outputs" => ("secrets and variables", rest.to_owned()),
        kind => (kind, rest.to_owned()),
    }
}

/// The one namespace of all layers.
fn shared(plan: &Plan) -> Option<String> {
    let mut namespaces = plan.nodes.iter().filter_map(|node| Some(node.id.strip_prefix("layer/")?.split_once('/')?.0));
    let first = namespaces.next()?;
    namespaces.all(|namespace| namespace == first).then(|| first.to_owned())
}

/// Seconds after which each node begins: what holds it back is over then.
fn begins<'p>(plan: &'p Plan, took: &HashMap<&str, f64>) -> HashMap<&'p str, f64> {
    let mut begins: HashMap<&str, f64> = plan.nodes.iter().map(|node| (node.id.as_str(), 0.0)).collect();
    // Each pass moves what waits one step further; a circle, which the plan has told of, ends with the passes.
    for _ in 0..plan.nodes.len() {
        let mut moved = false;
        for edge in plan.edges.iter().filter(|edge| !edge.constraint.is_for_ready()) {
            let (Some(&from), Some(&to)) = (begins.get(edge.from.as_str()), begins.get(edge.to.as_str())) else { continue };
            let own = took.get(edge.from.as_str()).copied().unwrap_or_default();
            let over = from + if edge.constraint == Constraint::AppliedBeforeStart { own.min(1.0) } else { own };
            if over > to + 0.001 {
                begins.insert(&edge.to, over);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::{Action, Edge, Node, estimate::Estimate};
    use super::*;

    #[test]
    fn rows_follow_the_order_and_are_summed_up() {
        let node = |id: &str, seconds| Node { id: id.into(), action: Action::Create, owner: "blackstart", seconds };
        let edge = |from: &str, to: &str| Edge {
            from: from.into(),
            to: to.into(),
            constraint: Constraint::ReadyBeforeStart,
            reason: String::new(),
            origin: None,
        };
        let nodes = vec![node("layer/n/apps", 20.0), node("aws/eks/Cluster/i/c", 840.0), node("aws/sqs/Queue/i/q", 2.0)];
        let expected =
            Estimate { seconds: 860.0, nodes: nodes.iter().map(|node| (node.id.clone(), node.seconds)).collect(), ..Estimate::default() };
        let plan = Plan { nodes, edges: vec![edge("aws/eks/Cluster/i/c", "layer/n/apps")], expected: Some(expected), ..Plan::default() };
        let mut out = String::new();
        order(&plan, &mut out);
        let rows: Vec<&str> = out.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| begins")).collect();
        assert_eq!(
            rows,
            [
                "| 0 seconds | AWS: eks Cluster c, sqs Queue q | 14 minutes |",
                "| 14 minutes | layers: apps | 20 seconds |",
                "| 15 minutes | everything is ready | |",
            ]
        );
        assert_eq!((time(7500.0).as_str(), time(60.0).as_str()), ("2 hours 5 minutes", "60 seconds"));
    }
}
