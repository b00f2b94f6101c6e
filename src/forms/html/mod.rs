//! One page that needs nothing else: the graph by waves, a list beside it, and all about the node that is chosen. Its own policy forbids
//! it to load anything.

mod place;

use super::{commit, drawn, short, word};
use crate::plan::{Action, Edge, Plan};
use crate::problem::count;
use crate::problem::{Origin, Severity, Unknown};
use crate::read::Reading;
use crate::verify::Verification;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use place::{HEIGHT, Placed, WIDTH, place};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Letters that fit into a box, of the name and of the line below it.
const LETTERS: (usize, usize) = (21, 28);

/// The page of a plan, with what `verify` finds where it was asked for.
pub fn html(plan: &Plan, reading: &Reading, found: Option<&Verification>) -> String {
    let placed = place(plan);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'", hash(STYLE), hash(SCRIPT));
    let data = data(plan, reading, found).to_string().replace('<', "\\u003c");
    let worst = worst(found);
    let what = if found.is_some() { "Start from nothing" } else { "Plan" };
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (what) " of " (plan.environment) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(plan, found))
                main {
                    (side(&placed, &worst))
                    (graph(plan, &placed, &worst))
                    section #about aria-live="polite" tabindex="-1" {}
                }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn header(plan: &Plan, found: Option<&Verification>) -> Markup {
    let (sha, dirty) = commit(&plan.revision);
    let objects: usize = plan.layers.iter().map(|layer| layer.objects.len()).sum();
    let waves = plan.layers.iter().map(|layer| layer.wave).max().map_or(0, |wave| wave as usize + 1);
    let mut parts = vec![count(plan.layers.len(), "layer"), count(objects, "object"), count(waves, "wave")];
    if !plan.declared.is_empty() {
        parts.push(count(plan.declared.len(), "cloud resource"));
    }
    if let Some(expected) = plan.expected.as_ref().filter(|expected| expected.seconds >= 1.0) {
        parts.push(format!("about {}", crate::report::clock(expected.seconds)));
    }
    let problems = plan.problems.iter().filter(|problem| problem.severity == Severity::Blocks).count();
    let verdict = match found {
        Some(found) if found.count(Severity::Blocks) > 0 => {
            ("blocks", format!("{} against a start", count(found.findings.len(), "finding")))
        }
        Some(found) if !found.findings.is_empty() => ("differs", count(found.findings.len(), "finding")),
        Some(_) if !plan.unknowns.is_empty() => ("good", "nothing that Git tells stands against a start".to_owned()),
        Some(_) => ("good", "nothing stands against a start".to_owned()),
        None if problems > 0 => ("blocks", format!("{} to solve before a start", count(problems, "problem"))),
        None => ("good", "no problems".to_owned()),
    };
    markup! {
        header {
            h1 { (plan.environment) }
            p { code { (sha) } @if dirty { " with uncommitted changes" } ": " (parts.join(", ")) }
            button #verdict .(verdict.0) type="button" { (verdict.1) }
        }
    }
}

/// Search and list.
fn side(placed: &[Placed<'_>], worst: &BTreeMap<String, Severity>) -> Markup {
    let mut columns: Vec<(&str, Vec<&Placed<'_>>)> = Vec::new();
    for node in placed {
        match columns.last_mut().filter(|(heading, _)| *heading == node.heading) {
            Some((_, nodes)) => nodes.push(node),
            None => columns.push((&node.heading, vec![node])),
        }
    }
    markup! {
        nav aria-label="Nodes" {
            input #search type="search" placeholder="Search ( / )" aria-label="Search layers, objects and files" autocomplete="off";
            div #list {
                @for (heading, nodes) in columns {
                    section {
                        h2 { (heading) }
                        @for node in nodes {
                            button type="button" data-node=(node.id) class=[worst.get(node.id).map(|severity| word(*severity))] { (short(node.id)) }
                        }
                    }
                }
            }
            p #none hidden { "Nothing is called so." }
        }
    }
}

fn graph(plan: &Plan, placed: &[Placed<'_>], worst: &BTreeMap<String, Severity>) -> Markup {
    let at: BTreeMap<&str, &Placed<'_>> = placed.iter().map(|node| (node.id, node)).collect();
    let objects: BTreeMap<String, usize> = plan.layers.iter().map(|layer| (layer.id.node(), layer.objects.len())).collect();
    let skipped: BTreeSet<&str> = plan.nodes.iter().filter(|node| node.action == Action::Skip).map(|node| node.id.as_str()).collect();
    let (right, bottom) = placed.iter().fold((WIDTH, HEIGHT), |(x, y), node| (x.max(node.x + WIDTH), y.max(node.y + HEIGHT)));
    let mut headings: BTreeMap<u32, &str> = BTreeMap::new();
    for node in placed {
        headings.entry(node.left).or_insert(&node.heading);
    }
    markup! {
        div #graph {
            svg #map viewBox=(format!("-20 -50 {} {}", right + 40, bottom + 80)) tabindex="0" role="application"
                aria-label="Graph of the start; arrow keys move from node to node, plus and minus zoom, 0 shows all" {
                g #view {
                    @for (x, heading) in headings { text.wave x=(x) y="-16" { (heading) } }
                    @for (from, to, _) in drawn(plan) {
                        @if let (Some(a), Some(b)) = (at.get(from), at.get(to)) { path.edge data-from=(from) data-to=(to) d=(curve(a, b)) {} }
                    }
                    @for node in placed {
                        g.node.(class(node.id)).skipped[skipped.contains(node.id)] .(worst.get(node.id).map_or("well", |severity| word(*severity)))
                            data-node=(node.id) transform=(format!("translate({} {})", node.x, node.y)) {
                            title { (short(node.id)) }
                            rect width=(WIDTH) height=(HEIGHT) rx="6" {}
                            text.name x="12" y="19" { (cut(name(node.id), LETTERS.0)) }
                            text.more x="12" y="35" { (cut(&more(node.id, &objects), LETTERS.1)) }
                        }
                    }
                }
            }
            div.tools {
                button #in type="button" aria-label="Larger" { "+" }
                button #out type="button" aria-label="Smaller" { "−" }
                button #fit type="button" { "all" }
            }
        }
    }
}

fn class(id: &str) -> &'static str {
    if id.starts_with("layer/") {
        "layer"
    } else if id.starts_with("aws/") {
        "cloud"
    } else {
        "base"
    }
}

fn name(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// The second line of a box.
fn more(id: &str, objects: &BTreeMap<String, usize>) -> String {
    let above = short(id).rsplit_once('/').map_or("", |(above, _)| above);
    match objects.get(id) {
        Some(number) => format!("{above} · {number}"),
        None => above.replace('/', " "),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

fn curve(from: &Placed<'_>, to: &Placed<'_>) -> String {
    if from.x == to.x {
        let (x, down) = (from.x + WIDTH / 2, to.y > from.y);
        return format!("M{x} {}L{x} {}", from.y + if down { HEIGHT } else { 0 }, to.y + if down { 0 } else { HEIGHT });
    }
    let (x1, y1, x2, y2) = (from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2);
    let bend = (x2.saturating_sub(x1) / 2).max(40);
    format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, i64::from(x2) - i64::from(bend))
}

/// The worst that is found about each node.
fn worst(found: Option<&Verification>) -> BTreeMap<String, Severity> {
    let mut worst: BTreeMap<String, Severity> = BTreeMap::new();
    for finding in found.into_iter().flat_map(|found| &found.findings) {
        let Some(layer) = &finding.layer else { continue };
        let severity = worst.entry(layer.node()).or_insert(finding.problem.severity);
        *severity = (*severity).min(finding.problem.severity);
    }
    worst
}

/// What the page shows of each node when it is chosen.
fn data(plan: &Plan, reading: &Reading, found: Option<&Verification>) -> Value {
    let read: BTreeMap<String, &crate::read::ReadLayer> = reading.layers.iter().map(|read| (read.layer.id.node(), read)).collect();
    let layers: BTreeMap<String, &crate::plan::PlannedLayer> = plan.layers.iter().map(|layer| (layer.id.node(), layer)).collect();
    let nodes: serde_json::Map<String, Value> = plan
        .nodes
        .iter()
        .map(|node| {
            let mut about = json!({"name": short(&node.id), "action": node.action.word(), "owner": node.owner});
            if let Some(layer) = layers.get(&node.id) {
                about["wave"] = layer.wave.into();
                about["path"] = layer.path.clone().into();
                about["source"] = layer.source.to_string().into();
                about["declared"] = shown(layer.declared.as_ref());
            }
            if let Some(read) = read.get(&node.id) {
                about["objects"] =
                    read.objects.iter().map(|object| json!([object.id().to_string(), shown(object.origin.as_ref())])).collect();
                let files: BTreeSet<&str> =
                    read.objects.iter().filter_map(|object| object.origin.as_ref()).map(|origin| origin.file.as_str()).collect();
                about["files"] = files.into_iter().collect();
            }
            (node.id.clone(), about)
        })
        .collect();
    let edge = |edge: &Edge| json!([edge.from, edge.to, edge.constraint, edge.reason, shown(edge.origin.as_ref())]);
    let problem = |rule: &str, severity: Severity, message: &str, hint: Option<&String>, origin: Option<&Origin>, node: Option<String>| json!({"rule": rule, "severity": word(severity), "message": message, "hint": hint, "place": shown(origin), "node": node});
    let findings: Vec<Value> = match found {
        Some(found) => found
            .findings
            .iter()
            .map(|finding| {
                let one = &finding.problem;
                let node = finding.layer.as_ref().map(crate::layers::LayerId::node);
                problem(one.rule, one.severity, &one.message, one.hint.as_ref(), one.origin.as_ref(), node)
            })
            .collect(),
        None => plan
            .problems
            .iter()
            .map(|one| problem(one.rule, one.severity, &one.message, one.hint.as_ref(), one.origin.as_ref(), None))
            .collect(),
    };
    let unknown = |one: &Unknown| json!({"node": one.node, "needs": one.needs, "place": shown(one.origin.as_ref())});
    json!({
        "nodes": nodes,
        "edges": plan.edges.iter().map(edge).collect::<Vec<_>>(),
        "findings": findings,
        "unknowns": plan.unknowns.iter().map(unknown).collect::<Vec<_>>(),
    })
}

fn shown(origin: Option<&Origin>) -> Value {
    origin.map(ToString::to_string).into()
}
