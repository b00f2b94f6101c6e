//! The live view as lines: what runs and since when, what waits for what, how far it is. Pure: the caller gives the time and the room.

use super::event::Outcome;
use super::model::{Counts, NodeModel, RunModel, State};
use super::plain::{short_revision, waits};
use super::text::{Line, Tone, seconds};
use jiff::Timestamp;

/// More rows than this are summarised on a tall terminal too: what has scrolled above should stay in sight.
const MOST_RUNNING: usize = 12;
const MOST_WAITING: usize = 5;

/// The frame for a terminal of this size: lines of fewer than `columns` columns, at most `rows - 1` of them.
pub(crate) fn frame(model: &RunModel, now: Timestamp, columns: usize, rows: usize) -> Vec<Line> {
    // The last column stays empty: some terminals fold as soon as it is written.
    let columns = columns.saturating_sub(1).max(1);
    let room = rows.saturating_sub(1).max(1);
    let now = model.latest.map_or(now, |latest| latest.max(now));

    let mut lines = Vec::new();
    if room > 5 {
        lines.push(Line::new());
    }
    lines.push(head(model, now, columns));
    let counts = model.counts();
    if counts.all > 0 {
        lines.push(bar(&counts, columns));
    }
    let left = room.saturating_sub(lines.len());
    lines.extend(rows_of(model, now, columns, left));
    lines.truncate(room);
    lines
}

fn head(model: &RunModel, now: Timestamp, columns: usize) -> Line {
    let clock = seconds(model.since_began(now)).replace(|c: char| c == '.', ".");
    let phase = model.phases.last();
    let mut left = Line::new();
    if model.environment.is_empty() {
        left.push(Tone::Strong, phase.map_or("starting", |phase| &phase.name));
    } else {
        left.push(Tone::Strong, &model.environment);
        left.push(Tone::Faint, format!(" {}", short_revision(&model.revision)));
    }
    let detail = phase.filter(|_| model.environment.is_empty() || model.counts().waiting == 0).map(|phase| phase.detail.as_str());
    let shown = match (phase, detail) {
        (Some(phase), _) if !model.environment.is_empty() && phase.name != "run" => format!("{}: {}", phase.name, phase.detail),
        (_, Some(detail)) => detail.to_owned(),
        _ => String::new(),
    };
    if !shown.is_empty() && model.environment.is_empty() {
        left.push(Tone::Faint, format!("  {shown}"));
    } else if !shown.is_empty() && phase.is_some_and(|phase| phase.name != "run") {
        left.push(Tone::Normal, format!("  {shown}"));
    }
    let start = columns.saturating_sub(clock.len());
    let left = left.cut(start.saturating_sub(2));
    left.to_column(start).add(Tone::Strong, clock).cut(columns)
}

/// The bar and the counts, on one line: the bar takes what the counts leave.
fn bar(counts: &Counts, columns: usize) -> Line {
    let mut text = Line::new().add(Tone::Good, format!("{} of {} ready", counts.ready, counts.all));
    let mut part = |tone: Tone, number: usize, word: &str| {
        if number > 0 {
            text.push(Tone::Faint, ", ");
            text.push(tone, format!("{number} {word}"));
        }
    };
    part(Tone::Bad, counts.failed, "failed");
    part(Tone::Caution, counts.blocked, "blocked");
    part(Tone::Busy, counts.applying, "applying");
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
    let mut waiting: Vec<&NodeModel> =
        model.nodes.iter().filter(|node| node.state == State::Waiting && !node.is_skipped() && !node.waits_for.is_empty()).collect();
    waiting.sort_by_key(|node| node.waits_for.len());
    let handing: Vec<&NodeModel> = if model.nodes.iter().any(|node| node.handed_over.is_some()) {
        let open = |node: &&NodeModel| node.is_layer() && node.handed_over.is_none();
        model.nodes.iter().filter(|node| matches!(node.state, State::Over(Outcome::Ready | Outcome::Unchanged))).filter(open).collect()
    } else {
        Vec::new()
    };

    let waiting_rows = waiting.len().min(MOST_WAITING).min((room / 3).max(usize::from(running.is_empty())));
    let waiting_more = usize::from(waiting_rows > 0 && waiting.len() > waiting_rows);
    let running_room = room.saturating_sub(waiting_rows + waiting_more).min(MOST_RUNNING + 1);
    let running_rows = if running.len() <= running_room { running.len() } else { running_room.saturating_sub(1) };

    let shown = running[..running_rows].iter().chain(&waiting[..waiting_rows]).chain(handing.iter().take(MOST_WAITING));
    let names = shown.map(|node| model.short(&node.id).len()).max().unwrap_or(0).clamp(8, 32).min(columns / 3);
    let name = |node: &NodeModel, tone: Tone| {
        Line::new().to_column(2).join(Line::new().add(tone, model.short(&node.id)).cut(names)).to_column(2 + names + 2)
    };
    let mut lines = Vec::new();
    for node in &running[..running_rows] {
        let (tone, word) = if node.state == State::Applying { (Tone::Busy, "applying") } else { (Tone::Settling, "becoming ready") };
        let mut line = name(node, Tone::Strong).add(Tone::Normal, format!("{:>7}  ", seconds(since(node))));
        if columns >= 70 {
            line = line.join(Line::new().add(tone, word).to_column(16));
        }
        match node.ready_objects {
            Some((ready, of)) if node.state == State::Settling => {
                line.push(Tone::Normal, format!("{:>7}  ", format!("{ready}/{of}")));
                line.push(Tone::Faint, &node.message);
            }
            _ if node.objects > 0 => line.push(Tone::Normal, format!("{:>7}", node.objects)),
            _ => {}
        }
        lines.push(line.cut(columns));
    }
    if running.len() > running_rows && running_room > 0 {
        lines.push(Line::new().add(Tone::Faint, format!("  … {} more run", running.len() - running_rows)).cut(columns));
    }
    for node in &waiting[..waiting_rows] {
        lines.push(name(node, Tone::Normal).add(Tone::Faint, format!("waits for {}", waits(model, &node.waits_for, 3))).cut(columns));
    }
    if waiting_more > 0 {
        lines.push(Line::new().add(Tone::Faint, format!("  … {} more wait", waiting.len() - waiting_rows)).cut(columns));
    }
    if running.is_empty() && waiting.is_empty() {
        for node in handing.iter().take(MOST_WAITING) {
            lines.push(name(node, Tone::Normal).add(Tone::Faint, "the agent has not confirmed it yet").cut(columns));
        }
        if handing.len() > MOST_WAITING {
            lines.push(Line::new().add(Tone::Faint, format!("  … {} more to confirm", handing.len() - MOST_WAITING)).cut(columns));
        }
    }
    lines
}
