//! For the comment of a merge request: a summary in sight, everything else folded, never longer than a forge takes.

use super::{Comparison, commit, list, place, short, word};
use crate::plan::{Plan, PlannedLayer};
use crate::problem::{Severity, Unknown, count};
use crate::verify::rules;
use crate::verify::{Finding, Verification};
use std::fmt::Write as _;

/// GitHub takes 65536 characters in a comment; bytes count at least as much.
const MOST: usize = 60_000;
/// What stands at the end of a text that was cut.
const CUT: &str = "\n_Cut here: the rest does not fit into a comment. See it all with `blackstart` itself._\n";

/// Collects parts as long as they fit.
#[derive(Default)]
pub(super) struct Bounded {
    text: String,
    left_out: usize,
}

impl Bounded {
    /// Adds a part, or counts it as left out. `spare` bytes are kept for what closes the sections around it.
    pub(super) fn add(&mut self, part: &str, spare: usize) {
        if self.left_out > 0 || self.text.len() + part.len() + spare + CUT.len() + 64 > MOST {
            self.left_out += 1;
        } else {
            self.text.push_str(part);
        }
    }

    /// A folded section whose lines are left out from the end where they do not fit.
    pub(super) fn folded(&mut self, summary: &str, lines: &[String]) {
        const END: &str = "\n</details>\n\n";
        let before = self.left_out;
        self.add(&format!("<details><summary>{summary}</summary>\n\n"), END.len());
        if self.left_out > before {
            return;
        }
        for line in lines {
            self.add(line, END.len());
        }
        self.text.push_str(END);
    }

    pub(super) fn finish(mut self) -> String {
        if self.left_out > 0 {
            self.text.push_str(CUT);
        }
        self.text
    }
}

/// A plan.
pub fn planned(plan: &Plan) -> String {
    let mut out = Bounded::default();
    let objects: usize = plan.layers.iter().map(|layer| layer.objects.len()).sum();
    let waves = plan.layers.iter().map(|layer| layer.wave).max().map_or(0, |wave| wave + 1);
    let (sha, dirty) = commit(&plan.revision);
    let dirty = if dirty { " with uncommitted changes" } else { "" };
    let what = [
        count(plan.layers.len(), "layer"),
        count(objects, "object"),
        count(waves as usize, "wave"),
        count(plan.declared.len(), "cloud resource"),
    ];
    out.add(&format!("### Plan of {} at `{sha}`{dirty}\n\n{}.\n\n", escaped(&plan.environment), what.join(", ")), 0);
    if plan.problems.is_empty() {
        out.add("No problems.\n\n", 0);
    } else {
        for problem in &plan.problems {
            let hint = problem.hint.as_ref().map(|hint| format!("<br>{}", escaped(hint))).unwrap_or_default();
            out.add(
                &format!(
                    "- **{}** {} `{}` {}{hint}\n",
                    word(problem.severity),
                    code(&place(problem.origin.as_ref())),
                    problem.rule,
                    escaped(&problem.message)
                ),
                0,
            );
        }
        out.add("\n", 0);
    }
    for wave in 0..waves {
        let layers: Vec<&PlannedLayer> = plan.layers.iter().filter(|layer| layer.wave == wave).collect();
        let lines: Vec<String> = layers.iter().map(|layer| line(plan, layer)).collect();
        out.folded(&format!("wave {wave}: {}", count(layers.len(), "layer")), &lines);
    }
    not_known(&plan.unknowns, &mut out);
    out.finish()
}

fn not_known(unknowns: &[Unknown], out: &mut Bounded) {
    let lines: Vec<String> =
        unknowns.iter().map(|unknown| format!("- {} needs {}\n", code(short(&unknown.node)), escaped(&unknown.needs))).collect();
    if !lines.is_empty() {
        out.folded(&format!("not known from Git ({})", lines.len()), &lines);
    }
}

fn line(plan: &Plan, layer: &PlannedLayer) -> String {
    let node = layer.id.node();
    let mut after: Vec<String> = plan
        .edges
        .iter()
        .filter(|edge| edge.to == node && !edge.constraint.is_for_ready() && edge.reason != "declared there")
        .map(|edge| format!("{} ({})", code(short(&edge.from)), escaped(&edge.reason)))
        .collect();
    after.dedup();
    let after = if after.is_empty() { String::new() } else { format!(", after {}", list(&after, 4)) };
    format!("- {}: {}{after}\n", code(&layer.id.to_string()), count(layer.objects.len(), "object"))
}

/// What `verify` finds.
pub fn verified(found: &Verification) -> String {
    let mut out = Bounded::default();
    let (sha, dirty) = commit(&found.revision);
    let dirty = if dirty { " with uncommitted changes" } else { "" };
    let new = found.baseline.as_ref().map(|baseline| format!(" since `{baseline}`")).unwrap_or_default();
    out.add(&format!("### Start of {} from nothing at `{sha}`{dirty}{new}\n\n", escaped(&found.environment)), 0);
    let steps = count(found.steps.len(), "step");
    let start = match found.stopped.len() {
        0 => format!("Simulated: all {} start in {steps}.", count(found.layers, "layer")),
        stopped => {
            format!("Simulated: **{stopped} of {} never start**; nothing moves any more after {steps}.", count(found.layers, "layer"))
        }
    };
    let layers = [
        (&found.stopped, "Never start"),
        (&found.unready, "Start, and never become ready"),
        (&found.unread, "Not looked at, since Git does not tell what they hold"),
    ];
    let start = layers.iter().filter(|(layers, _)| !layers.is_empty()).fold(start, |text, (layers, what)| {
        let names: Vec<String> = layers.iter().map(|id| code(&id.to_string())).collect();
        format!("{text}\n\n{what}: {}.", list(&names, 10))
    });
    let counts =
        [(Severity::Blocks, "the start stops"), (Severity::Differs, "it comes up other than before"), (Severity::Risk, "it may go wrong")];
    let rows = counts.iter().fold(String::new(), |mut rows, (severity, what)| {
        let _ = writeln!(rows, "| {} | {what} | {} |", word(*severity), found.count(*severity));
        rows
    });
    out.add(&format!("{start}\n\n| | | |\n|---|---|--:|\n{rows}| accepted | | {} |\n\n", found.accepted.len()), 0);
    let mut rules: Vec<(&str, Severity)> = found.findings.iter().map(|finding| (finding.problem.rule, finding.problem.severity)).collect();
    rules.dedup();
    for (rule, severity) in rules {
        let of_rule: Vec<&Finding> =
            found.findings.iter().filter(|finding| finding.problem.rule == rule && finding.problem.severity == severity).collect();
        let title = rules::find(rule).map_or(rule, |rule| rule.title);
        let mut lines: Vec<String> =
            rules::find(rule).map(|rule| format!("{} To do: {}.\n\n", escaped(rule.why), escaped(rule.fix))).into_iter().collect();
        lines.extend(of_rule.iter().map(|finding| item(finding)));
        out.folded(&format!("<b>{}</b> {} ({}) <code>{rule}</code>", word(severity), escaped(title), of_rule.len()), &lines);
    }
    let accepted: Vec<String> = found
        .accepted
        .iter()
        .map(|finding| {
            let reason = finding.accepted.as_ref().map_or("", |accepted| accepted.reason.as_str());
            format!("- `{}` {}: {}\n", finding.problem.rule, escaped(&finding.problem.message), escaped(reason))
        })
        .collect();
    if !accepted.is_empty() {
        out.folded(&format!("accepted ({})", accepted.len()), &accepted);
    }
    not_known(&found.unknowns, &mut out);
    out.finish()
}

fn item(finding: &Finding) -> String {
    // The rule's own advice stands above all its findings.
    let own = rules::find(finding.problem.rule).map(|rule| rule.fix);
    let hint = finding.problem.hint.as_deref().filter(|hint| Some(*hint) != own);
    let hint = hint.map(|hint| format!("<br>{}", escaped(hint))).unwrap_or_default();
    format!("- {} {}{hint}\n", code(&place(finding.problem.origin.as_ref())), escaped(&finding.problem.message))
}

/// What a change does.
pub fn compared(change: &Comparison) -> String {
    let mut out = Bounded::default();
    out.add(
        &format!(
            "### {} from `{}` to `{}`\n\n{}\n\n",
            escaped(&change.environment),
            commit(&change.from).0,
            commit(&change.to).0,
            escaped(&change.summary())
        ),
        0,
    );
    for (title, lines) in change.sections() {
        let lines: Vec<String> = lines.iter().map(|line| format!("- {}\n", escaped(line))).collect();
        out.folded(&format!("{title} ({})", lines.len()), &lines);
    }
    out.finish()
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('`', "'")) }
}

/// Text of a repository must not become markup, nor call anybody.
pub(super) fn escaped(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => done.push_str("&lt;"),
            '>' => done.push_str("&gt;"),
            '&' => done.push_str("&amp;"),
            '@' => done.push_str("&#64;"),
            '*' | '_' | '`' | '[' | ']' | '|' | '\\' | '#' | '~' => {
                done.push('\\');
                done.push(c);
            }
            '\n' => done.push_str("<br>"),
            c => done.push(c),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_below_the_bound_and_is_closed() {
        let mut out = Bounded::default();
        for section in 0..50 {
            let lines: Vec<String> = (0..100).map(|line| format!("- line {line} of section {section}, quite long\n")).collect();
            out.folded("x", &lines);
        }
        let text = out.finish();
        assert!(text.len() <= MOST && text.len() > MOST - 500, "{}", text.len());
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        assert!(text.ends_with(CUT));
    }

    #[test]
    fn markup_and_mentions_are_taken_apart() {
        assert_eq!(escaped("<b> @you a_b"), "&lt;b&gt; &#64;you a\\_b");
    }
}
