//! A kept report in a terminal: the result, what was done, what became of the data, the critical path, failures.

use super::document::Report;
use super::event::Fate;
use super::page::Names;
use super::plain::{moment, short_revision, told};
use super::spent::Spent;
use super::text::{Line, Tone, fold, seconds};
use crate::problem::count;

/// Nodes of the critical path, and entries of other lists, that are shown.
const MOST: usize = 20;

/// For people, in at most so many columns.
pub fn text(report: &Report, columns: usize, color: bool) -> String {
    let mut text = String::new();
    for line in lines(report, columns.max(20)) {
        text.push_str(&line.render(color));
        text.push('\n');
    }
    text
}

fn lines(report: &Report, columns: usize) -> Vec<Line> {
    let names = Names::of(report);
    let tone = match (report.success, report.stand_ins.is_empty()) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Caution,
        (false, _) => Tone::Bad,
    };
    let mut out: Vec<Line> = fold(&report.headline, columns).into_iter().map(|line| Line::new().add(tone, line)).collect();
    let mut facts =
        |name: &str, value: String| {
            if !value.is_empty() {
                let value = fold(&value, columns.saturating_sub(12).max(10));
                out.extend(value.into_iter().enumerate().map(|(number, line)| {
                    Line::new().add(Tone::Faint, if number == 0 { name } else { "" }).up_to(12).add(Tone::Normal, line)
                }));
            }
        };
    facts("run", run(report));
    facts("revision", revision(report));
    facts("time", time(report));
    facts("done", done(report));
    for state in report.states.iter().take(MOST) {
        let tone = if state.fate == Fate::Lost { Tone::Bad } else { Tone::Normal };
        let line = Line::new().add(Tone::Faint, "state").up_to(12).add(tone, format!("{:<9}", state.fate.word()));
        out.push(line.add(Tone::Normal, format!("{}{}", state.state, told(state))).cut(columns));
    }
    if report.critical_path.len() > 1 {
        out.extend([Line::new(), Line::new().add(Tone::Strong, "Critical path")]);
        // The longest steps say most.
        let mut longest: Vec<usize> = (0..report.critical_path.len()).collect();
        longest.sort_by(|&one, &other| report.critical_path[other].seconds.total_cmp(&report.critical_path[one].seconds));
        longest.truncate(MOST);
        for (_, step) in report.critical_path.iter().enumerate().filter(|(place, _)| longest.contains(place)) {
            let line = Line::new()
                .add(Tone::Faint, format!("{:>9} ", seconds(step.end)))
                .add(Tone::Normal, format!("{:>9}  ", format!("+{}", seconds(step.seconds))));
            out.push(
                line.add(Tone::Strong, names.short(&step.node))
                    .add(Tone::Faint, step.reason.as_ref().map(|why| format!("  {why}")).unwrap_or_default())
                    .cut(columns),
            );
        }
    }
    for failure in &report.failures {
        out.extend([Line::new(), Line::new().add(Tone::Bad, "failed  ").add(Tone::Strong, names.short(&failure.node))]);
        out.extend(fold(&failure.error, columns.saturating_sub(2)).into_iter().map(|line| Line::new().up_to(2).add(Tone::Normal, line)));
        if !failure.blocked.is_empty() {
            out.push(Line::new().up_to(2).add(Tone::Caution, format!("blocks {}", failure.blocked.len())));
        }
    }
    let warnings: Vec<String> = report
        .warnings
        .iter()
        .map(|warning| warning.node.as_ref().map_or(warning.message.clone(), |node| format!("{}: {}", names.short(node), warning.message)))
        .chain(
            report
                .faults
                .iter()
                .map(|fault| format!("{}: {} ({} tried again)", names.short(&fault.node), fault.error, count(fault.times, "time"))),
        )
        .collect();
    if !warnings.is_empty() {
        out.extend([Line::new(), Line::new().add(Tone::Caution, "Warnings")]);
        for warning in warnings.iter().take(MOST) {
            out.extend(fold(warning, columns.saturating_sub(2)).into_iter().map(|line| Line::new().up_to(2).add(Tone::Normal, line)));
        }
        if warnings.len() > MOST {
            out.push(Line::new().up_to(2).add(Tone::Faint, format!("and {} more", warnings.len() - MOST)));
        }
    }
    out
}

/// `recover by ops on laptop, 2026-11-21 03:00:00 UTC, account 111122223333 eu-west-1`.
pub(super) fn run(report: &Report) -> String {
    let by = &report.by;
    let mut parts = Vec::new();
    if !by.verb.is_empty() {
        let who = if by.user.is_empty() { String::new() } else { format!(" by {}", by.user) };
        let place = if by.host.is_empty() { String::new() } else { format!(" on {}", by.host) };
        parts.push(format!("{}{who}{place}", by.verb));
    }
    parts.extend(report.started.map(moment));
    if let Some(account) = &by.account {
        parts.push(format!("account {account} {}", by.region.as_deref().unwrap_or_default()).trim_end().to_owned());
    }
    parts.join(", ")
}

/// `4f0c2d6a91b3 by A <a@example.com>: subject (signed …)`.
pub(super) fn revision(report: &Report) -> String {
    let Some(commit) = &report.commit else { return short_revision(&report.revision) };
    format!("{} by {}: {} ({})", short_revision(&report.revision), commit.author, commit.subject, commit.signature)
}

/// `2m 03s until ready: provider 1m 40s, waiting 20.1s, own 2.9s`.
pub(super) fn time(report: &Report) -> String {
    let Some(ready) = report.ready_seconds else { return format!("{} until the end", seconds(report.total_seconds)) };
    let spent = report.spent.map(|spent| {
        let sandbox = if spent.sandbox > 0.0 { format!("the sandbox {}, ", seconds(spent.sandbox)) } else { String::new() };
        let Spent { provider, waiting, own, .. } = spent;
        format!(": provider {}, waiting {}, {sandbox}the tool itself {}", seconds(provider), seconds(waiting), seconds(own))
    });
    let handed = report.handover_seconds.map(|handed| format!("; handed over after {}", seconds(handed)));
    let expected = report.expected_seconds.map(|expected| format!("; {} were expected", seconds(expected)));
    format!("{} until ready{}{}{}", seconds(ready), spent.unwrap_or_default(), handed.unwrap_or_default(), expected.unwrap_or_default())
}

/// `3 resources created, 2 adopted; 40 objects created; 2 states restored, 1 lost`.
pub(super) fn done(report: &Report) -> String {
    let done = &report.done;
    let group = |noun: &str, counts: &[(usize, &str)]| {
        let parts: Vec<String> = counts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
        (!parts.is_empty()).then(|| format!("{noun}: {}", parts.join(", ")))
    };
    let groups = [
        group(
            "resources",
            &[
                (done.created, "created"),
                (done.adopted, "adopted"),
                (done.updated, "updated"),
                (done.restored, "restored"),
                (done.kept, "kept"),
                (done.deleted, "deleted"),
            ],
        ),
        group("objects", &[(done.objects_created, "created"), (done.objects_changed, "changed"), (done.objects_kept, "kept")]),
        group("states", &[(done.states_restored, "restored"), (done.states_kept, "kept"), (done.states_lost, "lost")]),
    ];
    groups.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
