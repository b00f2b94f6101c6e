//! report.md: the report for a ticket or a chat.

use super::document::{Entry, Report};
use super::event::{Fate, Outcome, Verdict};
use super::page::Names;
use super::plain::{moment, short_revision};
use super::shown;
use super::text::seconds;
use crate::problem::count;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The report as Markdown (GitHub's tables).
pub(crate) fn text(report: &Report) -> String {
    let names = Names::of(report);
    let mut out = format!("# {}\n\n", cell(&report.headline));
    let started = report.started.map(|time| format!(", started {}", moment(time))).unwrap_or_default();
    if !report.revision.is_empty() {
        add(&mut out, &format!("Revision `{}`{started}. Times count from the start of the command.", short_revision(&report.revision)));
    }
    facts(report, &mut out);
    states(report, &mut out);
    proof(report, &mut out);
    let phases: Vec<String> = report.phases.iter().map(|phase| format!("{} {}", cell(&phase.name), seconds(phase.seconds))).collect();
    if !phases.is_empty() {
        add(&mut out, &format!("Phases: {}.", phases.join(", ")));
    }
    if let Some(summary) = report.summary.as_ref().filter(|_| !report.success) {
        add(&mut out, &cell(summary));
    }
    for failure in &report.failures {
        add(&mut out, &format!("## Failed: {}", cell(&names.short(&failure.node))));
        // Indented, so that nothing in the message can be taken for Markdown.
        let lines: Vec<String> = failure.error.lines().map(|line| format!("    {line}")).collect();
        add(&mut out, &lines.join("\n"));
        if !failure.blocked.is_empty() {
            let blocked: Vec<String> = failure.blocked.iter().map(|node| cell(&names.short(node))).collect();
            add(&mut out, &format!("Blocks {}: {}", blocked.len(), blocked.join(", ")));
        }
    }
    if report.critical_path.len() > 1 {
        out.push_str("## Critical path\n\n| what | until | took | why after the one above |\n|---|--:|--:|---|\n");
        for step in &report.critical_path {
            let reason = step.reason.as_deref().map(cell).unwrap_or_default();
            let _ = writeln!(out, "| {} | {} | {} | {reason} |", cell(&names.short(&step.node)), seconds(step.end), seconds(step.seconds));
        }
        out.push('\n');
    }
    if !report.layers.is_empty() {
        out.push_str(
            "## Layers\n\n| layer | start | applied | ready | handed over | objects | waited last for |\n|---|--:|--:|--:|--:|--:|---|\n",
        );
        let mut layers: Vec<&Entry> = report.layers.iter().collect();
        layers.sort_by(|a, b| a.start.unwrap_or(f64::MAX).total_cmp(&b.start.unwrap_or(f64::MAX)));
        for layer in layers {
            let time = |time: Option<f64>| time.map(seconds).unwrap_or_default();
            let waited =
                layer.waited_last_for.as_ref().map(|waited| format!("{} ({})", cell(&names.short(&waited.node)), cell(&waited.reason)));
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(&names.short(&layer.id)),
                time(layer.start),
                time(layer.applied),
                ready(layer),
                time(layer.handed_over),
                if layer.start.is_some() { layer.objects.to_string() } else { String::new() },
                waited.unwrap_or_default()
            );
        }
        out.push('\n');
    }
    if !report.stand_ins.is_empty() {
        add(&mut out, &format!("## {}", count(report.stand_ins.len(), "stand-in")));
        let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for stand_in in &report.stand_ins {
            groups.entry(&stand_in.reason).or_default().push(cell(&stand_in.object));
        }
        let items: Vec<String> =
            groups.into_iter().map(|(reason, objects)| format!("- {}: {}", cell(reason), objects.join(", "))).collect();
        add(&mut out, &items.join("\n"));
    }
    let mut warnings: Vec<String> = Vec::new();
    for warning in &report.warnings {
        let node = warning.node.as_ref().map(|node| format!("{}: ", cell(&names.short(node)))).unwrap_or_default();
        warnings.push(format!("- {node}{}", cell(&warning.message)));
    }
    for layer in report.layers.iter().filter(|layer| !layer.changed_by_agent.is_empty()) {
        let objects: Vec<String> = layer.changed_by_agent.iter().map(|object| cell(object)).collect();
        warnings.push(format!("- {}: the agent changed what was as declared: {}", cell(&names.short(&layer.id)), objects.join(", ")));
    }
    if report.retries > 0 {
        warnings.push(format!("- calls tried again: {}", report.retries));
    }
    for fault in &report.faults {
        warnings.push(format!("  - {} times, {}: {}", fault.times, cell(&names.short(&fault.node)), cell(&fault.error)));
    }
    if !warnings.is_empty() {
        add(&mut out, "## Warnings");
        add(&mut out, &warnings.join("\n"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Who, what commit, what the time went into, what was done; what nobody told is left out.
fn facts(report: &Report, out: &mut String) {
    let time = if report.spent.is_some() { shown::time(report) } else { String::new() };
    let who = if report.by.verb.is_empty() { String::new() } else { shown::run(report) };
    let commit = if report.commit.is_some() { shown::revision(report) } else { String::new() };
    let facts = [("Run", who), ("Commit", commit), ("Time", time), ("Done", shown::done(report))];
    let facts: Vec<String> =
        facts.iter().filter(|(_, fact)| !fact.is_empty()).map(|(name, fact)| format!("- {name}: {}", cell(fact))).collect();
    if !facts.is_empty() {
        add(out, &facts.join("\n"));
    }
}

fn states(report: &Report, out: &mut String) {
    if report.states.is_empty() {
        return;
    }
    out.push_str("## Data\n\n| state | | from | recovery point | missing |\n|---|---|---|---|---|\n");
    for state in &report.states {
        let text = |text: &Option<String>| text.as_deref().map(cell).unwrap_or_default();
        let time = state.as_of.map(moment).unwrap_or_default();
        let word = if state.fate == Fate::Lost { "**lost**" } else { state.fate.word() };
        let _ = writeln!(out, "| {} | {word} | {} | {time} | {} |", cell(&state.state), text(&state.source), text(&state.detail));
    }
    out.push('\n');
}

fn proof(report: &Report, out: &mut String) {
    if report.checks.is_empty() {
        return;
    }
    out.push_str("## Proof\n\n| | check | found |\n|---|---|---|\n");
    for check in &report.checks {
        let word = if check.verdict == Verdict::Held { "holds" } else { "**fails**" };
        let fix = check.fix.as_deref().map(|fix| format!("; {}", cell(fix))).unwrap_or_default();
        let _ = writeln!(out, "| {word} | {} | {}{fix} |", cell(&check.name), cell(&check.detail));
    }
    out.push('\n');
}

fn add(out: &mut String, paragraph: &str) {
    out.push_str(paragraph);
    out.push_str("\n\n");
}

fn ready(layer: &Entry) -> String {
    match (layer.result, layer.ready) {
        (Some(Outcome::Failed), _) => "**failed**".to_owned(),
        (Some(Outcome::Blocked), _) => "blocked".to_owned(),
        (Some(Outcome::Skipped), _) => "skipped".to_owned(),
        (_, Some(ready)) => seconds(ready),
        (_, None) if layer.start.is_some() => "unfinished".to_owned(),
        (_, None) => "not begun".to_owned(),
    }
}

/// Text that is only text: on one line, with what Markdown would read escaped.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in super::text::clean(text).chars() {
        match c {
            '\\' | '|' | '*' | '_' | '[' | ']' | '`' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}
