//! What was proved, in the terminal.

use super::event::Verdict;
use super::model::RunModel;
use super::text::{Line, Tone, fold};

/// Columns of a word before its text.
const WORD: usize = 10;

/// What was looked at anew.
pub(crate) fn lines(model: &RunModel, columns: usize) -> Vec<Line> {
    if model.checks.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new().add(Tone::Strong, "Proof")];
    for check in &model.checks {
        let (mark, tone) = match check.verdict {
            Verdict::Held => ("✓", Tone::Good),
            Verdict::Failed => ("✗", Tone::Bad),
        };
        let text = match &check.fix {
            Some(fix) => format!("{} ({fix})", check.detail),
            None => check.detail.clone(),
        };
        let lead = Line::new().up_to(2).add(tone, format!("{mark} {}", check.name));
        let mut folded = fold(&text, columns.saturating_sub(WORD + 6).max(10)).into_iter();
        lines.push(lead.up_to(WORD + 6).add(Tone::Normal, folded.next().unwrap_or_default()));
        lines.extend(folded.map(|line| Line::new().up_to(WORD + 6).add(Tone::Normal, line)));
    }
    lines
}
