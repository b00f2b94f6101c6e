//! What stands in the terminal when a run is over: the layers, the critical path, stand-ins, warnings, failures, and the result last,
//! where the eye is.

use super::event::{Fate, Outcome};
use super::headline::headline;
use super::model::{NodeModel, RunModel, State};
use super::path::critical_path;
use super::plain::told;
use super::reporter::{Error, Verbosity};
use super::text::{Line, Tone, fold, list, seconds};
use crate::problem::count;
use jiff::Timestamp;
use std::path::PathBuf;

/// Rows of the table of layers, and objects of one stand-in's reason, that are shown without `-v`.
const MOST_LAYERS: usize = 60;
const MOST_OBJECTS: usize = 4;

/// The end of a run, in at most so many columns.
pub(crate) fn lines(model: &RunModel, columns: usize, verbosity: Verbosity, files: &[PathBuf]) -> Vec<Line> {
    let columns = columns.max(20);
    let mut out = Vec::new();
    if model.given_up && model.nodes.is_empty() {
        // Nothing was begun; the error alone says it.
        return out;
    }
    if verbosity != Verbosity::Quiet {
        section(&mut out, table(model, columns, verbosity));
        section(&mut out, path(model, columns));
        section(&mut out, states(model, columns));
        section(&mut out, super::proved::lines(model, columns));
        section(&mut out, stand_ins(model, columns, verbosity));
        section(&mut out, warnings(model, columns));
    }
    section(&mut out, failures(model, columns, verbosity));
    section(&mut out, result(model, columns, verbosity, files));
    out
}

/// A line for what could not be written.
pub(crate) fn error(error: &Error) -> Line {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Line::new().add(Tone::Caution, "warning: ").add(Tone::Normal, format!("{error}{source}"))
}

fn section(out: &mut Vec<Line>, lines: Vec<Line>) {
    if !lines.is_empty() {
        out.push(Line::new());
        out.extend(lines);
    }
}

/// One column of the table: its heading, whether it is set to the right, how soon it goes when there is no room (0: never).
struct Column {
    heading: &'static str,
    right: bool,
    goes: u8,
    cells: Vec<(Tone, String)>,
}

fn table(model: &RunModel, columns: usize, verbosity: Verbosity) -> Vec<Line> {
    let all: Vec<usize> = (0..model.nodes.len()).filter(|&place| model.nodes[place].is_layer()).collect();
    let mut shown = all.clone();
    if shown.len() > MOST_LAYERS && verbosity != Verbosity::Verbose {
        // Those that ended last say most; what failed is always among them, what is blocked is told under its cause.
        shown.sort_by_key(|&place| {
            let node = &model.nodes[place];
            (node.state != State::Over(Outcome::Failed), std::cmp::Reverse(node.finished.filter(|_| node.started.is_some())))
        });
        shown.truncate(MOST_LAYERS / 2);
    }
    if shown.is_empty() {
        return Vec::new();
    }
    shown.sort_by_key(|&place| (model.nodes[place].started.is_none(), model.nodes[place].started, place));
    let critical: Vec<usize> = critical_path(model).iter().map(|step| step.node).collect();
    let nodes: Vec<&NodeModel> = shown.iter().map(|&place| &model.nodes[place]).collect();
    let times = |time: fn(&NodeModel) -> Option<Timestamp>, tone: Tone| -> Vec<(Tone, String)> {
        nodes.iter().map(|node| (tone, time(node).map(|time| seconds(model.since_began(time))).unwrap_or_default())).collect()
    };
    let mut grid = vec![
        Column {
            heading: "layer",
            right: false,
            goes: 0,
            cells: shown
                .iter()
                .map(|place| {
                    let name = model.short(&model.nodes[*place].id).to_owned();
                    (if critical.contains(place) { Tone::Strong } else { Tone::Normal }, name)
                })
                .collect(),
        },
        Column { heading: "start", right: true, goes: 4, cells: times(|node| node.started, Tone::Faint) },
        Column { heading: "applied", right: true, goes: 3, cells: times(|node| node.applied, Tone::Faint) },
        Column { heading: "ready", right: true, goes: 0, cells: nodes.iter().map(|node| ready_cell(model, node)).collect() },
        Column { heading: "handed over", right: true, goes: 5, cells: times(|node| node.handed_over, Tone::Faint) },
        Column {
            heading: "objects",
            right: true,
            goes: 2,
            cells: nodes
                .iter()
                .map(|node| (Tone::Faint, if node.started.is_some() { node.objects.to_string() } else { String::new() }))
                .collect(),
        },
        Column {
            heading: "waited last for",
            right: false,
            goes: 1,
            cells: shown
                .iter()
                .map(|&place| {
                    (Tone::Faint, model.waited_last_for(place).map(|(node, reason)| because(model, node, reason)).unwrap_or_default())
                })
                .collect(),
        },
    ];
    grid.retain(|column| column.goes == 0 || column.cells.iter().any(|(_, cell)| !cell.is_empty()));
    let mut lines = lay_out(grid, columns);
    if shown.len() < all.len() {
        let hint =
            format!("… and {} that did not end last or start at all; -v or --report lists all", count(all.len() - shown.len(), "layer"));
        lines.extend(fold(&hint, columns).into_iter().map(|line| Line::new().add(Tone::Faint, line)));
    }
    lines
}

fn ready_cell(model: &RunModel, node: &NodeModel) -> (Tone, String) {
    match node.state {
        State::Over(Outcome::Failed) => (Tone::Bad, "failed".to_owned()),
        State::Over(Outcome::Blocked) => (Tone::Caution, "blocked".to_owned()),
        _ if node.is_skipped() => (Tone::Faint, "skipped".to_owned()),
        State::Over(_) => (Tone::Good, node.finished.map(|time| seconds(model.since_began(time))).unwrap_or_default()),
        _ if node.started.is_some() => (Tone::Caution, "unfinished".to_owned()),
        _ => (Tone::Faint, "not begun".to_owned()),
    }
}

/// `databases (dependsOn)`.
fn because(model: &RunModel, node: &str, reason: &str) -> String {
    format!("{} ({reason})", model.short(node))
}

fn lay_out(mut grid: Vec<Column>, columns: usize) -> Vec<Line> {
    const GAP: usize = 2;
    const LEAST_REASON: usize = 16;
    let width = |column: &Column| {
        let cells = column.cells.iter().map(|(_, cell)| Line::new().add(Tone::Normal, cell).width());
        cells.max().unwrap_or(0).max(column.heading.len())
    };
    // The last column may be cut; the others go one by one.
    let needed = |grid: &[Column]| -> usize {
        grid.iter().map(|column| if column.goes == 1 { LEAST_REASON.min(width(column)) } else { width(column) } + GAP).sum::<usize>() - GAP
    };
    while needed(&grid) > columns {
        let Some(goes) = grid.iter().map(|column| column.goes).max().filter(|goes| *goes > 0) else { break };
        grid.retain(|column| column.goes != goes);
    }
    let widths: Vec<usize> = grid.iter().map(width).collect();
    // Where even the name and its end do not fit, the name is cut.
    let fixed: usize = widths.iter().skip(1).map(|width| width + GAP).sum();
    let first =
        if grid.last().is_some_and(|column| column.goes == 1) { widths[0] } else { widths[0].min(columns.saturating_sub(fixed).max(6)) };

    let row = |cells: Vec<(Tone, String)>| {
        let mut line = Line::new();
        let mut column = 0;
        for (place, (tone, cell)) in cells.into_iter().enumerate() {
            let width = if place == 0 { first } else { widths[place] };
            let cell = Line::new().add(tone, cell).cut(width);
            let start = if grid[place].right { column + width - cell.width() } else { column };
            line = if start > line.width() { line.up_to(start) } else { line };
            line = line.join(cell);
            column += width + GAP;
        }
        line.cut(columns)
    };
    let mut lines = vec![row(grid.iter().map(|column| (Tone::Faint, column.heading.to_owned())).collect())];
    let rows = grid.first().map_or(0, |column| column.cells.len());
    lines.extend((0..rows).map(|place| row(grid.iter().map(|column| column.cells[place].clone()).collect())));
    lines
}

fn path(model: &RunModel, columns: usize) -> Vec<Line> {
    let steps = critical_path(model);
    // Of a run that was interrupted it would say what happened to end last, which is nothing.
    let is_open = |node: &NodeModel| node.finished.is_none() && !node.is_skipped();
    let is_cut = model.end.is_none() || model.nodes.iter().any(is_open);
    if steps.len() < 2 || is_cut {
        return Vec::new();
    }
    let names = steps.iter().map(|step| model.short(&model.nodes[step.node].id).len()).max().unwrap_or(0).min(columns * 2 / 5);
    let mut lines =
        vec![Line::new().add(Tone::Strong, "Critical path").add(Tone::Faint, ": each waited for the one above it").cut(columns)];
    for step in steps {
        let took = step.until.duration_since(step.from).as_secs_f64();
        let node = &model.nodes[step.node];
        let mut line = Line::new()
            .add(Tone::Faint, format!("{:>8}", seconds(model.since_began(step.until))))
            .add(Tone::Normal, format!("{:>9}  ", format!("+{}", seconds(took))))
            .add(if node.state == State::Over(Outcome::Failed) { Tone::Bad } else { Tone::Strong }, model.short(&node.id));
        if let Some(reason) = step.reason {
            line = line.up_to(19 + names + 2).add(Tone::Faint, reason);
        }
        lines.push(line.cut(columns));
    }
    lines
}

/// What became of the data, what is lost first.
fn states(model: &RunModel, columns: usize) -> Vec<Line> {
    if model.states.is_empty() {
        return Vec::new();
    }
    let mut states: Vec<_> = model.states.iter().collect();
    states.sort_by(|one, other| (one.fate, &one.state).cmp(&(other.fate, &other.state)));
    let mut lines = vec![Line::new().add(Tone::Strong, "Data")];
    for state in states {
        let tone = match state.fate {
            Fate::Lost => Tone::Bad,
            Fate::Empty => Tone::Caution,
            Fate::Restored | Fate::Kept => Tone::Good,
        };
        let line = Line::new().up_to(2).add(tone, format!("{:<9} ", state.fate.word())).add(Tone::Normal, &state.state);
        lines.push(line.add(Tone::Faint, told(state)).cut(columns));
    }
    lines
}

fn stand_ins(model: &RunModel, columns: usize, verbosity: Verbosity) -> Vec<Line> {
    if model.stand_ins.is_empty() {
        return Vec::new();
    }
    let most = if verbosity == Verbosity::Verbose { usize::MAX } else { MOST_OBJECTS };
    let mut lines = vec![
        Line::new().add(Tone::Caution, count(model.stand_ins.len(), "stand-in")).add(Tone::Faint, ": not proved by this run").cut(columns),
    ];
    for (reason, objects) in model.stand_ins_by_reason() {
        if let [only] = objects[..] {
            lines.extend(indented(&format!("{only}: {reason}"), 2, Tone::Normal, columns));
            continue;
        }
        lines.extend(indented(reason, 2, Tone::Normal, columns));
        lines.extend(indented(&list(objects, most), 4, Tone::Faint, columns));
    }
    lines
}

fn warnings(model: &RunModel, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let changed = model.nodes.iter().filter(|node| !node.changed_by_agent.is_empty()).map(|node| {
        let objects = list(node.changed_by_agent.iter().map(String::as_str), MOST_OBJECTS);
        (Some(node.id.as_str()), format!("the agent changed what was as declared: {objects}"))
    });
    let told = model.warnings.iter().map(|warning| (warning.node.as_deref(), warning.message.clone()));
    for (node, message) in told.chain(changed) {
        let text = node.map_or(message.clone(), |node| format!("{}: {message}", model.short(node)));
        lines.extend(indented(&text, 2, Tone::Normal, columns));
    }
    if model.retries > 0 {
        let calls = if model.retries == 1 { "1 call was" } else { &format!("{} calls were", model.retries) };
        lines.extend(indented(&format!("{calls} tried again"), 2, Tone::Normal, columns));
    }
    if !lines.is_empty() {
        lines.insert(0, Line::new().add(Tone::Caution, "Warnings"));
    }
    lines
}

fn failures(model: &RunModel, columns: usize, verbosity: Verbosity) -> Vec<Line> {
    let most = if verbosity == Verbosity::Verbose { usize::MAX } else { 6 };
    let mut lines = Vec::new();
    for (place, blocked) in model.failures() {
        let node = &model.nodes[place];
        lines.push(Line::new().add(Tone::Bad, "failed  ").add(Tone::Strong, model.short(&node.id)).cut(columns));
        for line in node.error.as_deref().unwrap_or("no reason was given").lines() {
            let tone = if line.starts_with("hint: ") { Tone::Good } else { Tone::Normal };
            lines.extend(indented(line, 2, tone, columns));
        }
        if !blocked.is_empty() {
            let names = list(blocked.iter().map(|&place| model.short(&model.nodes[place].id)), most);
            lines.extend(indented(&format!("blocks {}: {names}", blocked.len()), 2, Tone::Caution, columns));
        }
    }
    let unfinished: Vec<&NodeModel> = model.nodes.iter().filter(|node| node.started.is_some() && node.finished.is_none()).collect();
    if model.end.is_none() || !unfinished.is_empty() {
        for node in unfinished.iter().take(most) {
            lines.push(Line::new().add(Tone::Caution, "unfinished  ").add(Tone::Strong, model.short(&node.id)).cut(columns));
            if !node.message.is_empty() {
                lines.extend(indented(&node.message, 2, Tone::Normal, columns));
            }
        }
        if unfinished.len() > most {
            lines.push(Line::new().add(Tone::Caution, format!("and {} more unfinished", unfinished.len() - most)).cut(columns));
        }
    }
    lines
}

fn result(model: &RunModel, columns: usize, verbosity: Verbosity, files: &[PathBuf]) -> Vec<Line> {
    let tone = match (model.success(), model.stand_ins.is_empty()) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Caution,
        (false, _) => Tone::Bad,
    };
    let mut lines: Vec<Line> = fold(&headline(model), columns).into_iter().map(|line| Line::new().add(tone, line)).collect();
    // An error that ended the run is told by the program itself, after this.
    if let Some(end) = model.end.as_ref().filter(|end| !end.success && !end.summary.is_empty() && !model.given_up) {
        lines.extend(fold(&end.summary, columns).into_iter().map(|line| Line::new().add(Tone::Normal, line)));
    }
    if verbosity == Verbosity::Quiet {
        return lines;
    }
    let phases: Vec<String> =
        model.phase_times().into_iter().map(|(phase, from, to)| format!("{} {}", phase.name, seconds(to - from))).collect();
    if let Some((expected, measured)) = model.expected_and_measured() {
        let text = format!("expected {} from the plan until all is ready, measured {}", seconds(expected), seconds(measured));
        lines.extend(fold(&text, columns).into_iter().map(|line| Line::new().add(Tone::Faint, line)));
    }
    if !phases.is_empty() {
        lines.extend(fold(&phases.join(", "), columns).into_iter().map(|line| Line::new().add(Tone::Faint, line)));
    }
    if let Some(file) = files.iter().find(|file| file.extension().is_some_and(|end| end == "html")).or(files.first()) {
        // Not folded: it is there to be copied.
        lines.push(Line::new().add(Tone::Faint, "report: ").add(Tone::Normal, file.display().to_string()));
    }
    lines
}

fn indented(text: &str, indent: usize, tone: Tone, columns: usize) -> Vec<Line> {
    fold(text, columns.saturating_sub(indent).max(10)).into_iter().map(|line| Line::new().up_to(indent).add(tone, line)).collect()
}
