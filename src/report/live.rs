//! The live view as lines: what runs and since when, what waits for what, how far it is. Pure: the caller gives the time and the room.

use super::event::Outcome;
use super::model::{Counts, NodeModel, RunModel, State};
use super::plain::short_revision;
use super::text::{Line, Tone, clock, list};
use crate::problem::count;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// More rows than this are summarised on a tall terminal too: what has scrolled above should stay in sight.
const MOST_RUNNING: usize = 12;
const MOST_QUEUES: usize = 5;
/// With fewer columns, the colour alone says whether a layer is being applied or becomes ready.
const WORDS: usize = 100;

/// The frame for a terminal of this size, with the seconds that remain where they are known: lines of fewer than `columns` columns, at most `rows - 1` of them.
pub(crate) fn frame(model: &RunModel, now: Timestamp, remaining: Option<f64>, columns: usize, rows: usize) -> Vec<Line> {
    // The last column stays empty: some terminals fold as soon as it is written.
    let columns = columns.saturating_sub(1).max(1);
    let room = rows.saturating_sub(1).max(1);
    let now = model.latest.map_or(now, |latest| latest.max(now));

    let mut lines = Vec::new();
    if room > 5 {
        lines.push(Line::new());
    }
    lines.push(head(model, now, remaining, columns));
    let counts = model.counts();
    if counts.all > 0 {
        lines.push(bar(&counts, model.is_demolition(), columns));
    }
    let left = room.saturating_sub(lines.len());
    lines.extend(rows_of(model, now, columns, left));
    lines.truncate(room);
    lines
}

fn head(model: &RunModel, now: Timestamp, remaining: Option<f64>, columns: usize) -> Line {
    let left = remaining.map(|remaining| format!(", about {} left", clock(remaining.ceil()))).unwrap_or_default();
    let clock = format!("{}{left}", clock(model.since_began(now)));
    let mut left = Line::new();
    if !model.environment.is_empty() {
        left = left.add(Tone::Strong, &model.environment).add(Tone::Faint, format!(" {}", short_revision(&model.revision)));
    }
    // While layers run, the bar says what is done; every other phase says it itself.
    if let Some(phase) = model.phases.last().filter(|phase| phase.name != "run") {
        let gap = if left.width() > 0 { "  " } else { "" };
        left = left.add(Tone::Normal, gap).add(Tone::Strong, &phase.name).add(Tone::Faint, format!("  {}", phase.detail));
    }
    let start = columns.saturating_sub(clock.len());
    left.cut(start.saturating_sub(2)).up_to(start).add(Tone::Strong, clock).cut(columns)
}

/// The bar and the counts, on one line: the bar takes what the counts leave.
fn bar(counts: &Counts, is_demolition: bool, columns: usize) -> Line {
    let (done, busy) = if is_demolition { ("gone", "being deleted") } else { ("ready", "applying") };
    let mut text = Line::new().add(Tone::Good, format!("{} of {} {done}", counts.ready, counts.all));
    let mut part = |tone: Tone, number: usize, word: &str| {
        if number > 0 {
            text.push(Tone::Faint, ", ");
            text.push(tone, format!("{number} {word}"));
        }
    };
    part(Tone::Bad, counts.failed, "failed");
    part(Tone::Caution, counts.blocked, "blocked");
    part(Tone::Busy, counts.applying, busy);
    part(Tone::Settling, counts.settling, "becoming ready");
    part(Tone::Faint, counts.waiting, "waiting");
    part(Tone::Good, counts.handed_over, "handed over");
    let width = columns.saturating_sub(text.width() + 2).min(48);
    if width < 8 {
        return text.cut(columns);
    }
    segments(counts, width).add(Tone::Normal, "  ").join(text)
}

/// A bar whose parts are as long as their share; a part that exists is seen.
fn segments(counts: &Counts, width: usize) -> Line {
    let parts = [
        (Tone::Good, counts.ready, "━"),
        (Tone::Bad, counts.failed, "━"),
        (Tone::Caution, counts.blocked, "━"),
        (Tone::Settling, counts.settling, "━"),
        (Tone::Busy, counts.applying, "━"),
        (Tone::Faint, counts.waiting, "┄"),
    ];
    let mut line = Line::new();
    let (mut before, mut column) = (0, 0);
    for (tone, number, stroke) in parts {
        before += number;
        let end = (before * width).div_ceil(counts.all.max(1)).min(width);
        if number > 0 && end > column {
            line.push(tone, stroke.repeat(end - column));
            column = end;
        }
    }
    line
}

fn rows_of(model: &RunModel, now: Timestamp, columns: usize, room: usize) -> Vec<Line> {
    let since = |node: &NodeModel| node.started.map_or(0.0, |started| now.duration_since(started).as_secs_f64().max(0.0));
    // Longest first: what holds the run up stays on top and does not jump about.
    let mut running: Vec<&NodeModel> = model.nodes.iter().filter(|node| matches!(node.state, State::Applying | State::Settling)).collect();
    running.sort_by_key(|node| node.started);
    let queues = queues(model);

    let queue_rows = queues.len().min(MOST_QUEUES).min((room / 3).max(usize::from(running.is_empty())));
    let queues_more = usize::from(queue_rows > 0 && queues.len() > queue_rows);
    let running_room = room.saturating_sub(queue_rows + queues_more).min(MOST_RUNNING + 1);
    let running_rows = if running.len() <= running_room { running.len() } else { running_room.saturating_sub(1) };

    // The column must not jump about either: it is as wide as any name of the run needs, within reason.
    let names = model
        .nodes
        .iter()
        .filter(|node| node.is_layer())
        .map(|node| model.short(&node.id).len())
        .max()
        .unwrap_or(0)
        .clamp(8, 32)
        .min(columns / 3);
    let mut lines = Vec::new();
    for node in &running[..running_rows] {
        let (tone, word) = if node.state == State::Applying { (Tone::Busy, "applying") } else { (Tone::Settling, "becoming ready") };
        let name = Line::new().add(Tone::Strong, model.short(&node.id)).cut(names);
        let mut line = Line::new().up_to(2).join(name).up_to(2 + names + 1).add(Tone::Normal, format!("{:>7}  ", clock(since(node))));
        if columns >= WORDS {
            line = line.join(Line::new().add(tone, word).up_to(16));
        }
        match node.ready_objects {
            Some((ready, of)) if node.state == State::Settling => {
                line.push(if columns >= WORDS { Tone::Normal } else { tone }, format!("{:<8}", format!("{ready}/{of}")));
                line.push(Tone::Faint, &node.message);
            }
            _ if node.objects > 0 => line.push(if columns >= WORDS { Tone::Normal } else { tone }, count(node.objects, "object")),
            _ => {}
        }
        lines.push(line.cut(columns));
    }
    if running.len() > running_rows && running_room > 0 {
        lines.push(Line::new().add(Tone::Faint, format!("  … {} more run", running.len() - running_rows)).cut(columns));
    }
    for queue in &queues[..queue_rows] {
        let line = match queue.waiting[..] {
            [one] => Line::new().add(Tone::Normal, format!("  {one} waits for ")).add(Tone::Strong, &queue.held_by),
            ref all => {
                let line = Line::new().add(Tone::Normal, format!("  {} wait for ", all.len())).add(Tone::Strong, &queue.held_by);
                line.add(Tone::Faint, format!(": {}", all.join(", ")))
            }
        };
        lines.push(line.cut(columns));
    }
    if queues_more > 0 {
        let rest: usize = queues[queue_rows..].iter().map(|queue| queue.waiting.len()).sum();
        lines.push(Line::new().add(Tone::Faint, format!("  … {rest} more wait for others")).cut(columns));
    }
    lines.extend(unconfirmed(model, running.is_empty() && queues.is_empty(), columns));
    lines
}

/// Nodes that wait for the same.
struct Queue<'a> {
    held_by: String,
    waiting: Vec<&'a str>,
    /// Whether all that it waits for runs already: it is next.
    next: bool,
}

/// All that wait, by what they wait for: what is next first, then the longest.
fn queues(model: &RunModel) -> Vec<Queue<'_>> {
    let mut groups: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for node in model.nodes.iter().filter(|node| node.state == State::Waiting && !node.is_skipped() && !node.waits_for.is_empty()) {
        let mut held_by: Vec<&str> = node.waits_for.iter().map(|(node, _)| node.as_str()).collect();
        held_by.sort_unstable();
        held_by.dedup();
        groups.entry(held_by).or_default().push(model.short(&node.id));
    }
    let mut queues: Vec<Queue<'_>> = groups
        .into_iter()
        .map(|(held_by, waiting)| Queue {
            next: held_by.iter().all(|id| model.find(id).is_some_and(|place| model.nodes[place].state != State::Waiting)),
            held_by: list(held_by.into_iter().map(|id| model.short(id)), 3),
            waiting,
        })
        .collect();
    queues.sort_by_key(|queue| (!queue.next, Reverse(queue.waiting.len())));
    queues
}

/// At the end: what the agent has still to confirm.
fn unconfirmed(model: &RunModel, nothing_else: bool, columns: usize) -> Option<Line> {
    if !nothing_else || !model.nodes.iter().any(|node| node.handed_over.is_some()) {
        return None;
    }
    let ready = |node: &&NodeModel| matches!(node.state, State::Over(Outcome::Ready | Outcome::Unchanged));
    let open: Vec<&str> = model
        .nodes
        .iter()
        .filter(|node| node.is_layer() && node.handed_over.is_none())
        .filter(ready)
        .map(|node| model.short(&node.id))
        .collect();
    let line = Line::new().add(Tone::Normal, format!("  {} to be confirmed by the agent", open.len())).add(Tone::Faint, ": ");
    (!open.is_empty()).then(|| line.add(Tone::Faint, open.join(", ")).cut(columns))
}
