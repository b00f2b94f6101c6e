//! What `plan` prints: waves, what each layer holds and waits for, and everything that is wrong or not known.

use super::failure::problem_text;
use crate::plan::live::{Differing, Live};
use crate::plan::{Constraint, Edge, Plan, PlannedLayer, State};
use crate::problem::{Severity, count};
use anstyle::{AnsiColor, Style};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub(super) const TITLE: Style = Style::new().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
pub(super) const FAINT: Style = Style::new().dimmed();
const WARN: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();

/// Whether a start would stop: something is wrong that blocks it.
pub(super) fn is_blocked(plan: &Plan) -> bool {
    plan.problems.iter().any(|problem| problem.severity == Severity::Blocks)
}

/// The plan for people; `quiet` leaves out what is well.
pub(super) fn text(plan: &Plan, quiet: bool) -> String {
    if quiet { problems(plan) } else { human(plan) }
}

fn human(plan: &Plan) -> String {
    let mut text = String::new();
    let objects: usize = plan.layers.iter().map(|layer| layer.objects.len()).sum();
    let waves: BTreeSet<u32> = plan.layers.iter().map(|layer| layer.wave).collect();
    let (sha, dirty) = plan.revision.split_once('-').map_or((plan.revision.as_str(), ""), |(sha, _)| (sha, " with uncommitted changes"));
    let _ = writeln!(
        text,
        "{TITLE}{}{TITLE:#} at {}{WARN}{dirty}{WARN:#}: {}, {}, {}",
        plan.environment,
        crate::repo::short(sha),
        count(plan.layers.len(), "layer"),
        count(objects, "object"),
        count(waves.len(), "wave"),
    );
    if let Some(live) = &plan.live {
        seen(live, &mut text);
    }
    before_layers(plan, &mut text);
    for wave in waves {
        let _ = writeln!(text, "\n{TITLE}wave {wave}{TITLE:#}");
        for layer in plan.layers.iter().filter(|layer| layer.wave == wave) {
            layer_lines(plan, layer, &mut text);
        }
    }
    if !plan.unknowns.is_empty() {
        let _ = writeln!(text, "\n{TITLE}not known from Git{TITLE:#}");
        for unknown in &plan.unknowns {
            let place = unknown.origin.as_ref().map(|origin| format!(" {FAINT}{origin}{FAINT:#}")).unwrap_or_default();
            let _ = writeln!(text, "  {} needs {}{place}", short(&unknown.node), unknown.needs);
        }
    }
    super::expected::lines(plan, &mut text);
    let _ = writeln!(text);
    if !plan.problems.is_empty() {
        let _ = writeln!(text, "{TITLE}problems{TITLE:#}");
    }
    text + &problems(plan)
}

/// What is wrong, and how much in all.
fn problems(plan: &Plan) -> String {
    let mut text = String::new();
    if !plan.problems.is_empty() {
        for problem in &plan.problems {
            text.push_str(&problem_text(problem));
        }
        let _ = writeln!(text);
    }
    let blocking = plan.problems.iter().filter(|problem| problem.severity == Severity::Blocks).count();
    let others = plan.problems.len() - blocking;
    let _ = match (blocking, others) {
        (0, 0) => writeln!(text, "{GOOD}No problems.{GOOD:#}"),
        (0, others) => writeln!(text, "{WARN}{}.{WARN:#}", count(others, "risk")),
        (blocking, 0) => writeln!(text, "{BAD}{} to solve before a start.{BAD:#}", count(blocking, "problem")),
        (blocking, others) => {
            writeln!(text, "{BAD}{} to solve before a start{BAD:#}, {}.", count(blocking, "problem"), count(others, "risk"))
        }
    };
    text
}

/// What the plan was compared with.
fn seen(live: &Live, text: &mut String) {
    let seen = &live.live;
    if let (Some(account), Some(region)) = (&seen.account, &seen.region) {
        let _ = writeln!(text, "{FAINT}account:{FAINT:#} {account} {region}, {} found there", count(seen.resources.len(), "resource"));
    }
    let _ = match (&seen.cluster.server, &seen.cluster.unreachable) {
        (Some(server), _) if seen.agent => writeln!(text, "{FAINT}cluster:{FAINT:#} {server}"),
        (Some(server), _) => writeln!(text, "{FAINT}cluster:{FAINT:#} {server}, without the agent"),
        (None, why) => {
            let why = why.as_deref().unwrap_or_default();
            writeln!(text, "{FAINT}cluster:{FAINT:#} {WARN}not reachable{WARN:#}, so all of it is to be made: {why}")
        }
    };
}

/// `ec2 VPC infra/main` of `aws/ec2/VPC/infra/main`.
pub(super) fn resource_name(node: &str) -> String {
    node.strip_prefix("aws/").unwrap_or(node).replacen('/', " ", 2)
}

/// `spec.x is 1 in Git and 2 in AWS`; long values are cut.
pub(super) fn difference(difference: &Differing) -> String {
    let value = |value: &serde_json::Value| {
        let text = value.to_string();
        let cut: String = text.chars().take(80).collect();
        if cut.len() < text.len() { cut + "…" } else { text }
    };
    let what = if difference.path == "tags" { "tags are".to_owned() } else { format!("spec.{} is", difference.path) };
    let end = if difference.in_place { "" } else { ", which cannot be changed in place" };
    format!("{what} {} in Git and {} in AWS{end}", value(&difference.declared), value(&difference.living))
}

/// What comes before the first layer.
fn before_layers(plan: &Plan, text: &mut String) {
    infrastructure(plan, text);
    let is_before = |id: &&str| !id.starts_with("layer/") && !id.starts_with("restore/") && !crate::execute::is_below(id);
    let names: Vec<&str> = plan.nodes.iter().map(|node| node.id.as_str()).filter(is_before).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "{FAINT}first:{FAINT:#} {}", names.join(", "));
    }
    if !plan.state.is_empty() {
        let _ = writeln!(text, "\n{TITLE}data{TITLE:#}  {FAINT}what a recovery brings back, by which rule{FAINT:#}");
    }
    let name = |state: &State| format!("{} {}/{}", state.kind, state.namespace, state.name);
    let width = plan.state.iter().map(|state| name(state).len()).max().unwrap_or(0);
    for state in &plan.state {
        let rule = match state.rule.as_str() {
            "required" => "required: without a backup, nothing is written",
            "newest" => "the newest backup, else empty",
            "empty" => "starts empty",
            time => &format!("as of {time}"),
        };
        let _ = writeln!(text, "  {NAME}{:<width$}{NAME:#}  {FAINT}{rule}{FAINT:#}", name(state));
    }
}

/// Cloud resources and commands, each with who owns it after the run and what it waits for; then resources that are left to their controllers.
fn infrastructure(plan: &Plan, text: &mut String) {
    let resources = plan.declared.iter().map(|one| (one.node(), format!("{} {} {}", one.schema.service, one.schema.kind, one.key())));
    let commands = plan.commands.iter().map(|one| (one.node(), format!("command {}", one.name)));
    let all: Vec<(String, String)> = resources.chain(commands).collect();
    if all.is_empty() {
        left(plan, text);
        return;
    }
    let owners: BTreeMap<&str, &str> = plan.nodes.iter().map(|node| (node.id.as_str(), node.owner)).collect();
    let owner = |node: &str| owners.get(node).copied().unwrap_or_default();
    let mut what = Vec::new();
    for (number, noun) in [(plan.declared.len(), "cloud resource"), (plan.commands.len(), "command")] {
        what.extend((number > 0).then(|| count(number, noun)));
    }
    let handed = plan.declared.iter().filter(|one| owner(&one.node()) == "ack").count();
    if handed > 0 {
        what.push(format!("{handed} handed over to ACK in the cluster"));
    }
    let _ = writeln!(text, "\n{TITLE}infrastructure{TITLE:#}  {FAINT}{}{FAINT:#}", what.join(", "));
    let width = all.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    for (node, name) in &all {
        let after: Vec<String> = group(plan.edges.iter().filter(|edge| edge.to == *node))
            .into_iter()
            .map(|(from, edges)| {
                let reasons: Vec<&str> = edges.iter().map(|edge| edge.reason.as_str()).collect();
                format!("{} {FAINT}({}){FAINT:#}", from.rsplit('/').next().unwrap_or(from), list(&reasons, 3))
            })
            .collect();
        let time = super::expected::of(plan, node);
        let (owner, after) = match after.as_slice() {
            [] => (format!("{:<10} {time}", owner(node)).trim_end().to_owned(), String::new()),
            after => (format!("{:<10} {time:<8}", owner(node)), format!("  after {}", after.join(", "))),
        };
        let action = plan.live.as_ref().map(|_| format!("{:<7} ", action_of(plan, node))).unwrap_or_default();
        let _ = writeln!(text, "  {action}{NAME}{name:<width$}{NAME:#}  {FAINT}{owner}{FAINT:#}{after}");
        let Some(live) = &plan.live else { continue };
        if let Some(living) = live.live.resources.iter().find(|living| living.node == *node) {
            let _ = writeln!(text, "          {FAINT}{}, by {}{FAINT:#}", living.id, living.evidence);
        }
        for differing in live.differences.iter().filter(|differing| differing.node == *node) {
            let _ = writeln!(text, "          {}", difference(differing));
        }
    }
    left(plan, text);
    let _ = writeln!(text);
}

/// What the controllers in the cluster make, and why, where that is not what was asked for.
fn left(plan: &Plan, text: &mut String) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for left in &plan.left {
        reasons.entry(&left.reason).or_default().push(left.id.trim_start_matches("aws/"));
    }
    for (reason, ids) in reasons {
        let _ = writeln!(
            text,
            "{FAINT}left to ACK's controllers ({reason}):{FAINT:#} {}: {}",
            count(ids.len(), "cloud resource"),
            list(&ids, 4)
        );
    }
}

fn layer_lines(plan: &Plan, layer: &PlannedLayer, text: &mut String) {
    let state = match layer {
        layer if layer.suspended => " (suspended: neither applied nor awaited)",
        layer if layer.remote => " (for another cluster: planned, not applied)",
        layer if !layer.rendered && layer.objects.is_empty() => " (objects not known)",
        layer if !layer.rendered => " (more objects not known)",
        _ => "",
    };
    let time = super::expected::of(plan, &layer.id.node());
    let time = if time.is_empty() { time } else { format!("  {time}") };
    // Where Argo CD's own number says something else.
    let own =
        Some(layer.named_wave).filter(|own| *own != i64::from(layer.wave)).map(|own| format!("  sync wave {own}")).unwrap_or_default();
    let _ = writeln!(text, "  {NAME}{}{NAME:#}{WARN}{state}{WARN:#}  {FAINT}{}{own}{time}{FAINT:#}", layer.id, layer.path);
    if !layer.objects.is_empty() {
        let _ = writeln!(text, "      {}: {}", count(layer.objects.len(), "object"), kinds(layer));
    }
    let node = layer.id.node();
    if let Some(live) = plan.live.as_ref().and_then(|live| live.live.layers.iter().find(|other| other.id == layer.id)) {
        let _ = writeln!(text, "      {}: {}", action_of(plan, &node), live.changes.words());
    }
    // Neighbours with the same reason are told once.
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let (mut handed, mut claims) = (0, 0);
    let own = || plan.edges.iter().filter(|edge| edge.to == node);
    let before: BTreeSet<&str> = own().filter(|edge| !edge.constraint.is_for_ready()).map(|edge| edge.from.as_str()).collect();
    // What it uses of a layer that comes before it anyway is told there.
    let is_used = |edge: &&Edge| edge.constraint == Constraint::AppliedBeforeReady;
    for (from, edges) in
        group(own().filter(|edge| before.contains(edge.from.as_str()) && (!edge.constraint.is_for_ready() || is_used(edge))))
    {
        if from.starts_with("aws/") {
            handed += 1;
            continue;
        }
        if from.starts_with("restore/") {
            claims += 1;
            continue;
        }
        // Who declares it is told where nothing else holds it back.
        let told: Vec<&str> = edges.iter().filter(|edge| edge.reason != "declared there").map(|edge| edge.reason.as_str()).collect();
        if !told.is_empty() {
            alike.entry(list(&told, 3)).or_default().push(short(from));
        }
    }
    let mut reasons: Vec<(&str, String)> = Vec::new();
    for (told, from) in &alike {
        match from.as_slice() {
            [first, _, _, _, ..] => reasons.push((first, format!("{} {FAINT}({told}){FAINT:#}", list(from, 2)))),
            few => reasons.extend(few.iter().map(|from| (*from, format!("{from} {FAINT}({told}){FAINT:#}")))),
        }
    }
    reasons.sort();
    let mut reasons: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
    if claims > 0 {
        reasons.push(format!("the data of {}", count(claims, "claim")));
    }
    if handed > 0 {
        reasons.push(format!("{} {FAINT}(handed over there){FAINT:#}", count(handed, "cloud resource")));
    }
    if !reasons.is_empty() && (layer.parent.is_some() || handed > 0) {
        let _ = writeln!(text, "      after {}", reasons.join(", "));
    }
    let uses: Vec<String> = group(own().filter(|edge| is_used(edge) && !before.contains(edge.from.as_str())))
        .into_iter()
        .map(|(from, edges)| {
            let told: Vec<&str> = edges.iter().map(|edge| edge.reason.as_str()).collect();
            format!("{} {FAINT}({}){FAINT:#}", short(from), list(&told, 3))
        })
        .collect();
    if !uses.is_empty() {
        let _ = writeln!(text, "      uses {}", list(&uses.iter().map(String::as_str).collect::<Vec<_>>(), 4));
    }
    let awaited: Vec<&str> = plan
        .edges
        .iter()
        .filter(|edge| edge.to == node && edge.constraint == Constraint::ReadyBeforeReady)
        .map(|edge| short(&edge.from))
        .collect();
    if !awaited.is_empty() {
        let _ = writeln!(
            text,
            "      ready when {} ready",
            if awaited.len() == 1 { format!("{} is", awaited[0]) } else { format!("{} are", list(&awaited, 4)) }
        );
    }
}

fn action_of(plan: &Plan, node: &str) -> &'static str {
    plan.nodes.iter().find(|other| other.id == node).map_or("", |node| node.action.word())
}

fn group<'e>(edges: impl Iterator<Item = &'e Edge>) -> BTreeMap<&'e str, Vec<&'e Edge>> {
    let mut groups: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        groups.entry(edge.from.as_str()).or_default().push(edge);
    }
    groups
}

/// `3 Deployment, 2 Service`: the most frequent first.
fn kinds(layer: &PlannedLayer) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for object in &layer.objects {
        *counts.entry(object.kind.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    list(&words.iter().map(String::as_str).collect::<Vec<_>>(), 6)
}

/// The first few, and how many more.
fn list(words: &[&str], most: usize) -> String {
    match words.len().checked_sub(most) {
        Some(more) if more > 0 => format!("{} and {more} more", words[..most].join(", ")),
        _ => words.join(", "),
    }
}

pub(super) fn short(node: &str) -> &str {
    node.strip_prefix("layer/").unwrap_or(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(list(&["a", "b"], 2), "a, b");
        assert_eq!(count(1, "layer"), "1 layer");
    }
}
