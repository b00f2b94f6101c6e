//! What became of data, and what was proved, in the terminal.

use super::event::{Fate, Verdict};
use super::model::RunModel;
use super::text::{Line, Tone, count, fold};
use jiff::Timestamp;

/// Columns of a word before its text.
const WORD: usize = 10;

/// What keeps data: restored, started empty, lost; those that never lost any are counted.
pub(crate) fn data(model: &RunModel, columns: usize) -> Vec<Line> {
    if model.fates.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new().add(Tone::Strong, "Data")];
    let living = model.fates.iter().filter(|fate| fate.fate == Fate::Living).count();
    if living > 0 {
        lines.push(row("kept", Tone::Good, &format!("{}, never lost", count(living, "place")), columns));
    }
    let mut told: Vec<_> = model.fates.iter().filter(|fate| fate.fate != Fate::Living).collect();
    told.sort_by(|one, other| (one.fate, &one.node).cmp(&(other.fate, &other.node)));
    for fate in told {
        let (word, tone) = match fate.fate {
            Fate::Living => ("kept", Tone::Good),
            Fate::Restored => ("restored", Tone::Good),
            Fate::Empty => ("empty", Tone::Faint),
            Fate::Lost => ("lost", Tone::Caution),
        };
        let age = fate.taken.zip(model.began).map(|(taken, began)| format!(", {} old", age(taken, began))).unwrap_or_default();
        lines.push(row(word, tone, &format!("{}: {}{age}", name(&fate.node), fate.detail), columns));
    }
    lines
}

/// What was looked at anew.
pub(crate) fn proof(model: &RunModel, columns: usize) -> Vec<Line> {
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

fn row(word: &str, tone: Tone, text: &str, columns: usize) -> Line {
    Line::new().up_to(2).add(tone, word).up_to(2 + WORD).add(Tone::Normal, text).cut(columns)
}

/// `PersistentVolumeClaim shop/data-0` of `restore/PersistentVolumeClaim/shop/data-0`, `sqs Queue shop/orders` of a cloud resource.
pub(crate) fn name(node: &str) -> String {
    let short = node.trim_start_matches("restore/").trim_start_matches("aws/");
    let spaces = if node.starts_with("aws/") { 2 } else { 1 };
    short.replacen('/', " ", spaces)
}

/// How long before: `3 min`, `7 h`, `12 days`.
pub(crate) fn age(taken: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(taken).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_people_do() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let said = |time: &str| age(time.parse().unwrap(), now);
        assert_eq!(said("2026-11-21T11:58:30Z"), "90 s");
        assert_eq!(said("2026-11-21T11:00:00Z"), "60 min");
        assert_eq!(said("2026-11-21T02:00:00Z"), "10 h");
        assert_eq!(said("2026-11-01T12:00:00Z"), "20 days");
        assert_eq!(said("2026-11-21T12:00:01Z"), "0 s", "clocks differ a little");
    }

    #[test]
    fn nodes_are_named_as_people_know_them() {
        assert_eq!(name("restore/PersistentVolumeClaim/shop/data-0"), "PersistentVolumeClaim shop/data-0");
        assert_eq!(name("aws/sqs/Queue/ack-system/orders"), "sqs Queue ack-system/orders");
    }
}
