//! How long a plan takes, for people: the whole, and the chain that decides it.

use super::plan::{FAINT, TITLE, short};
use crate::plan::Plan;
use crate::report::clock;
use std::fmt::Write as _;

/// Steps of the chain that are shown; the rest is summed up.
const MOST: usize = 12;

/// What the plan as a whole takes.
pub(super) fn lines(plan: &Plan, text: &mut String) {
    let Some(expected) = plan.expected.as_ref().filter(|expected| expected.seconds >= 1.0) else { return };
    let source = match expected.measured {
        0 => "by usual durations".to_owned(),
        measured => format!("{measured} of {} nodes as measured before, the rest by usual durations", plan.nodes.len()),
    };
    let _ = writeln!(text, "\n{TITLE}expected to take {}{TITLE:#}  {FAINT}{source}; the longest chain:{FAINT:#}", clock(expected.seconds));
    // In their order, the longest only.
    let mut longest: Vec<usize> = (0..expected.path.len()).collect();
    longest.sort_by(|one, other| expected.path[*other].seconds.total_cmp(&expected.path[*one].seconds));
    longest.truncate(MOST);
    for (position, step) in expected.path.iter().enumerate() {
        if longest.contains(&position) && step.seconds >= 1.0 {
            let name = short(&step.node);
            let _ = writeln!(text, "  {:>8}  {}", clock(step.seconds), name.strip_prefix("aws/").unwrap_or(name));
        }
    }
}

/// What one node takes, where that is worth telling.
pub(super) fn of(plan: &Plan, node: &str) -> String {
    let found = plan.expected.as_ref().and_then(|expected| expected.nodes.iter().find(|(id, _)| id == node));
    found.filter(|(_, seconds)| *seconds >= 1.0).map(|(_, seconds)| format!("~{}", clock(*seconds))).unwrap_or_default()
}
