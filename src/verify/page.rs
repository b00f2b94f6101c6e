//! docs/rules.md, made from the table.

use super::rules::{RULES, Rule};
use crate::problem::Severity;
use std::fmt::Write as _;

/// The page.
pub fn page() -> String {
    let mut text = String::from(
        "# Rules of `blackstart verify`\n\n\
         This page is made from the table in `src/verify/rules` (`UPDATE_DOCS=1 cargo test --lib verify`); a test keeps both equal.\n\n\
         | severity | means |\n|---|---|\n\
         | blocks | a start from nothing stops |\n\
         | differs | it comes up other than before |\n\
         | risk | it may go wrong |\n\n\
         A finding is accepted with a reason, in Git: by an annotation of the object, or of its layer's Kustomization,\n\n\
         ```yaml\nmetadata:\n  annotations:\n    blackstart.dev/accept: |\n      image-mutable: the vendor publishes no versions\n```\n\n\
         or in the environment, where what is not given matches all:\n\n\
         ```yaml\nspec:\n  accept:\n    - {rule: image-mutable, layer: flux-system/apps, match: {kind: CronJob}, reason: a nightly build is meant}\n```\n\n\
         Accepted findings are counted and listed. What accepts nothing is a finding itself.\n",
    );
    let (own, found): (Vec<&Rule>, Vec<&Rule>) = RULES.iter().copied().partition(|rule| rule.check.is_some());
    text.push_str("\n## Found by verify alone\n\n| rule | severity | |\n|---|---|---|\n");
    for rule in &own {
        let _ = writeln!(text, "| [{0}](#{0}) | {1} | {2} |", rule.id, word(rule.severity), rule.title);
    }
    text.push_str("\n## Found by plan too\n\nWhat blocks here is refused by a run, and cannot be accepted.\n\n| rule | severity | | why | what to do |\n|---|---|---|---|---|\n");
    for rule in &found {
        let _ = writeln!(text, "| {} | {} | {} | {} | {} |", rule.id, word(rule.severity), rule.title, rule.why, rule.fix);
    }
    text.push_str("\n## In detail\n");
    for rule in &own {
        let _ = write!(
            text,
            "\n### {}\n\n**{}** ({})\n\n{}\n\nWhat to do: {}.\n",
            rule.id,
            rule.title,
            word(rule.severity),
            rule.why,
            rule.fix
        );
    }
    text
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocks => "blocks",
        Severity::Differs => "differs",
        Severity::Risk => "risk",
    }
}
