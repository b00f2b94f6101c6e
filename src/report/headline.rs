//! The result of a run in one line.

use super::model::RunModel;
use super::text::seconds;
use crate::problem::count;

/// For the end of the terminal's output and the head of the pages. With stand-ins it never says that anything is back or proved.
pub(crate) fn headline(model: &RunModel) -> String {
    let counts = model.counts();
    let is_demolition = model.is_demolition();
    let name = if model.environment.is_empty() { "The run" } else { &model.environment };
    let result = match (model.success(), model.is_rehearsal(), model.stand_ins.len()) {
        (true, ..) if is_demolition => "is gone".to_owned(),
        (false, ..) if is_demolition && model.end.is_some() => "is not gone".to_owned(),
        (true, false, _) => "is back".to_owned(),
        (true, true, 0) => "rehearsed".to_owned(),
        (true, true, stand_ins) => format!("rehearsed with {}", count(stand_ins, "stand-in")),
        (false, ..) if model.end.is_none() && counts.all == 0 => "did not begin".to_owned(),
        (false, ..) if model.end.is_none() => "was interrupted".to_owned(),
        (false, true, _) => "was not rehearsed to the end".to_owned(),
        (false, ..) => "is not back".to_owned(),
    };
    let (noun, done) = if is_demolition { ("resource", "deleted") } else { ("layer", "ready") };
    let all = count(counts.all, noun);
    let ready = if counts.ready == counts.all { format!("{all} {done}") } else { format!("{} of {all} {done}", counts.ready) };
    let mut parts = vec![match model.ready_seconds() {
        Some(time) => format!("{ready} in {}", seconds(time)),
        None => ready,
    }];
    match model.handover_seconds() {
        Some(time) => parts.push(format!("handed over in {}", seconds(time))),
        None if counts.handed_over > 0 => parts.push(format!("{} handed over", counts.handed_over)),
        None => {}
    }
    for (number, word) in [(counts.failed, "failed"), (counts.blocked, "blocked"), (counts.skipped, "skipped")] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    if counts.all == 0 { format!("{name} {result}") } else { format!("{name} {result}: {}", parts.join(", ")) }
}
