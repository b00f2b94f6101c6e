//! The graph as Mermaid, which forges draw in Markdown.

use super::{drawn, short};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// More edges than this are refused by Mermaid's own default (`maxEdges`).
const MOST_EDGES: usize = 500;

/// The graph. Cloud resources are left out where it would be too large with them.
pub fn mermaid(plan: &Plan) -> String {
    let mut edges = drawn(plan);
    if edges.len() > MOST_EDGES {
        edges.retain(|(from, to, _)| !from.starts_with("aws/") && !to.starts_with("aws/"));
    }
    let dropped = edges.len().saturating_sub(MOST_EDGES);
    edges.truncate(MOST_EDGES);
    let mut used: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
    used.extend(plan.nodes.iter().map(|node| node.id.as_str()).filter(|id| id.starts_with("layer/")));
    // Mermaid's own names may not hold slashes.
    let names: BTreeMap<&str, String> = used.iter().enumerate().map(|(number, id)| (*id, format!("n{number}"))).collect();
    let mut text = String::from("flowchart LR\n");
    if dropped > 0 {
        let _ = writeln!(text, "  %% {dropped} edges are left out: Mermaid draws {MOST_EDGES}");
    }
    for id in used.iter().filter(|id| !id.starts_with("layer/")) {
        let _ = writeln!(text, "  {}([\"{}\"])", names[id], label(short(id)));
    }
    let waves: BTreeSet<u32> = plan.layers.iter().map(|layer| layer.wave).collect();
    for wave in waves {
        let _ = writeln!(text, "  subgraph wave{wave}[\"wave {wave}\"]");
        for layer in plan.layers.iter().filter(|layer| layer.wave == wave) {
            let _ = writeln!(text, "    {}[\"{}\"]", names[layer.id.node().as_str()], label(&layer.id.to_string()));
        }
        text.push_str("  end\n");
    }
    for (from, to, _) in edges {
        let _ = writeln!(text, "  {} --> {}", names[from], names[to]);
    }
    text
}

fn label(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "#quot;")
}
