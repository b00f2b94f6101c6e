//! What `verify` finds, for people: by rule, what blocks first, each place a line.

use super::{BAD, FAINT, GOOD, NAME, TITLE, WARN, commit, list, place, short, word};
use crate::problem::Severity;
use crate::problem::count;
use crate::verify::rules;
use crate::verify::{Finding, Verification};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// So many findings of a rule are shown without --verbose.
const MOST: usize = 10;

/// The text; `verbose` adds why each rule matters, the steps of the simulated start and what is accepted in full.
pub fn verification(found: &Verification, verbose: bool) -> String {
    let mut text = String::new();
    let (sha, dirty) = commit(&found.revision);
    let dirty = if dirty { " with uncommitted changes" } else { "" };
    let _ = writeln!(
        text,
        "{TITLE}{}{TITLE:#} at {sha}{WARN}{dirty}{WARN:#}: {}, {}",
        found.environment,
        count(found.layers, "layer"),
        count(found.objects, "object"),
    );
    let steps = count(found.steps.len(), "step");
    let _ = match found.stopped.len() {
        0 => writeln!(text, "{FAINT}a start from nothing, simulated:{FAINT:#} {GOOD}all layers start{GOOD:#} in {steps}"),
        stopped => writeln!(
            text,
            "{FAINT}a start from nothing, simulated:{FAINT:#} {BAD}{stopped} of {} never start{BAD:#}; nothing moves any more after {steps}",
            count(found.layers, "layer")
        ),
    };
    let most = if verbose { usize::MAX } else { MOST };
    for (layers, style, what) in [
        (&found.stopped, BAD, "never start"),
        (&found.unready, BAD, "start, and never become ready"),
        (&found.unread, WARN, "not looked at, since Git does not tell what they hold"),
    ] {
        if !layers.is_empty() {
            let names: Vec<String> = layers.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  {style}{what}:{style:#} {}", list(&names, most));
        }
    }
    if verbose {
        for (number, step) in found.steps.iter().enumerate() {
            let layers: Vec<String> = step.layers.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                text,
                "  {FAINT}{:>3}{FAINT:#}  {} {FAINT}({} of custom resources exist){FAINT:#}",
                number + 1,
                layers.join(", "),
                count(step.kinds, "kind")
            );
        }
    }
    if let (Some(baseline), Some(known)) = (&found.baseline, found.known) {
        let _ = writeln!(text, "{FAINT}since {baseline}; {} there already{FAINT:#}", count(known, "finding"));
    }
    let mut groups: Vec<(&str, Severity, Vec<&Finding>)> = Vec::new();
    for finding in &found.findings {
        let (rule, severity) = (finding.problem.rule, finding.problem.severity);
        match groups.iter_mut().find(|(other, same, _)| *other == rule && *same == severity) {
            Some((.., findings)) => findings.push(finding),
            None => groups.push((rule, severity, vec![finding])),
        }
    }
    for (rule, severity, findings) in groups {
        group(rule, severity, &findings, verbose, &mut text);
    }
    accepted(found, verbose, &mut text);
    unknowns(found, verbose, &mut text);
    let _ = writeln!(text, "\n{}", total(found));
    text
}

fn group(id: &str, severity: Severity, findings: &[&Finding], verbose: bool, text: &mut String) {
    let rule = rules::find(id);
    let style = match severity {
        Severity::Blocks => BAD,
        Severity::Differs => WARN,
        Severity::Risk => NAME,
    };
    let title = rule.map_or("", |rule| rule.title);
    let many = if findings.len() > 1 { format!(" ({})", findings.len()) } else { String::new() };
    let _ = writeln!(text, "\n{style}{}{style:#}  {TITLE}{title}{TITLE:#}{many} {FAINT}[{id}]{FAINT:#}", word(severity));
    if let (true, Some(rule)) = (verbose, rule) {
        let _ = writeln!(text, "  {FAINT}{}{FAINT:#}", rule.why);
    }
    let same = findings.iter().all(|finding| finding.problem.hint == findings[0].problem.hint);
    let most = if verbose || findings.len() <= MOST + 2 { findings.len() } else { MOST };
    for finding in &findings[..most] {
        let origin = place(finding.problem.origin.as_ref());
        let origin = if origin.is_empty() { origin } else { format!("{NAME}{origin}{NAME:#} ") };
        let _ = writeln!(text, "  {origin}{}", finding.problem.message);
        if let (false, Some(hint)) = (same, &finding.problem.hint) {
            let _ = writeln!(text, "    {GOOD}hint:{GOOD:#} {hint}");
        }
    }
    if most < findings.len() {
        let _ = writeln!(text, "  {FAINT}and {} more; --verbose shows all{FAINT:#}", findings.len() - most);
    }
    if let (true, Some(hint)) = (same, &findings[0].problem.hint) {
        let _ = writeln!(text, "  {GOOD}hint:{GOOD:#} {hint}");
    }
}

fn accepted(found: &Verification, verbose: bool, text: &mut String) {
    if found.accepted.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{TITLE}accepted{TITLE:#}");
    // One line for each reason; every place with --verbose.
    let mut reasons: BTreeMap<(&str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in &found.accepted {
        let reason = finding.accepted.as_ref().map_or("", |accepted| accepted.reason.as_str());
        reasons.entry((finding.problem.rule, reason)).or_default().push(finding);
    }
    for ((rule, reason), findings) in reasons {
        let many = if findings.len() > 1 { format!(" ({})", findings.len()) } else { String::new() };
        let origin = place(findings[0].accepted.as_ref().and_then(|accepted| accepted.origin.as_ref()));
        let _ = writeln!(text, "  {rule}{many}: {reason} {FAINT}{origin}{FAINT:#}");
        for finding in findings.iter().filter(|_| verbose) {
            let _ = writeln!(text, "    {FAINT}{} {}{FAINT:#}", place(finding.problem.origin.as_ref()), finding.problem.message);
        }
    }
}

fn unknowns(found: &Verification, verbose: bool, text: &mut String) {
    if found.unknowns.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{TITLE}not known from Git, and so not looked at{TITLE:#}");
    let most = if verbose || found.unknowns.len() <= MOST + 2 { found.unknowns.len() } else { MOST };
    for unknown in &found.unknowns[..most] {
        let _ = writeln!(text, "  {} needs {} {FAINT}{}{FAINT:#}", short(&unknown.node), unknown.needs, place(unknown.origin.as_ref()));
    }
    if most < found.unknowns.len() {
        let _ = writeln!(text, "  {FAINT}and {} more; --verbose shows all{FAINT:#}", found.unknowns.len() - most);
    }
}

/// `2 block a start, 3 differ, 4 risks, 1 accepted.`
fn total(found: &Verification) -> String {
    let (blocks, differs, risks) = (found.count(Severity::Blocks), found.count(Severity::Differs), found.count(Severity::Risk));
    let accepted = if found.accepted.is_empty() { String::new() } else { format!(" {FAINT}{} accepted.{FAINT:#}", found.accepted.len()) };
    if found.findings.is_empty() && !found.stopped.is_empty() {
        let stopped = count(found.stopped.len(), "layer");
        return format!("{BAD}Nothing new, but {stopped} of a start from nothing never start.{BAD:#}{accepted}");
    }
    if found.findings.is_empty() {
        let new = if found.baseline.is_some() { "Nothing new" } else { "Nothing" };
        return match found.unknowns.len() {
            0 => format!("{GOOD}{new} stands against a start from nothing.{GOOD:#}{accepted}"),
            unknowns => format!(
                "{GOOD}{new} of what Git tells stands against a start from nothing;{GOOD:#} {WARN}{} not known.{WARN:#}{accepted}",
                if unknowns == 1 { "1 thing is".to_owned() } else { format!("{unknowns} things are") }
            ),
        };
    }
    let mut parts = Vec::new();
    if blocks > 0 {
        parts.push(format!(
            "{BAD}{} a start{BAD:#}",
            if blocks == 1 { "1 finding blocks".to_owned() } else { format!("{blocks} findings block") }
        ));
    }
    if differs > 0 {
        parts.push(format!("{WARN}{} another result{WARN:#}", if differs == 1 { "1 gives".to_owned() } else { format!("{differs} give") }));
    }
    if risks > 0 {
        parts.push(count(risks, "risk"));
    }
    format!("{}.{accepted}", parts.join(", "))
}
