//! The graph for Graphviz: one column a wave.

use super::{drawn, short};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The graph. Nodes are called by their ids.
pub fn dot(plan: &Plan) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n",
        quoted(&plan.environment)
    );
    text.push_str("  edge [color=\"#8a93a0\", fontname=\"sans-serif\", fontsize=9];\n");
    for node in plan.nodes.iter().filter(|node| !node.id.starts_with("layer/")) {
        let _ = writeln!(text, "  {} [label={}, shape=ellipse];", quoted(&node.id), quoted(short(&node.id)));
    }
    let mut waves: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for layer in &plan.layers {
        let id = quoted(&layer.id.node());
        let label = quoted(&format!("{}\\n{} objects", layer.id, layer.objects.len()));
        let style = if layer.suspended || layer.remote { ", style=\"rounded,dashed\"" } else { "" };
        let _ = writeln!(text, "  {id} [label={label}{style}];");
        waves.entry(layer.wave).or_default().push(id);
    }
    for ids in waves.values() {
        let _ = writeln!(text, "  {{ rank=same; {} }}", ids.join("; "));
    }
    for (from, to, edges) in drawn(plan) {
        let mut reasons: Vec<&str> = edges.iter().map(|edge| edge.reason.as_str()).collect();
        reasons.dedup();
        let _ = writeln!(text, "  {} -> {} [tooltip={}];", quoted(from), quoted(to), quoted(&reasons.join(", ")));
    }
    text.push_str("}\n");
    text
}

/// As a quoted ID of the DOT language; `\n` stays a line break.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}
