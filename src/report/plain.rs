//! One line for each thing that happened: the whole output without a terminal, and what scrolls above the live view on one.

use super::event::{Event, Fate, Happening, Outcome, State};
use super::model::RunModel;
use super::reporter::Verbosity;
use super::text::{Line, Tone, clock, fold, seconds};
use crate::plan::Action;
use crate::problem::count;

/// Where lines go: the live view shows itself what begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A pipe or file: the lines are all there is.
    Pipe,
    /// Above the live view.
    AboveLive,
}

/// Columns of time and of the word that says what happened.
const TIME: usize = 8;
const WORD: usize = TIME + 2 + 13;
/// Room that a detail needs beside its name; with less it goes below.
const LEAST_DETAIL: usize = 36;

/// The line for an event that the model has just taken; none where it is not worth one. Folded where the columns are known.
pub(crate) fn lines(model: &RunModel, event: &Event, place: Place, verbosity: Verbosity, columns: Option<usize>) -> Vec<Line> {
    let Some(entry) = entry(model, event, place, verbosity) else { return Vec::new() };
    let time = seconds(model.since_began(event.time));
    let mut line = Line::new().add(Tone::Faint, format!("{time:>TIME$}")).up_to(TIME + 2).add(entry.tone, entry.word).up_to(WORD);
    let mut start = WORD;
    if !entry.name.is_empty() {
        line.push(Tone::Strong, &entry.name);
        start += name_column(model);
    }
    let Some(columns) = columns else {
        // One line for each event, whatever the message holds: that is what grep and log collectors want.
        let detail: Vec<&str> = entry.detail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let start = if entry.name.is_empty() { start } else { start.max(line.width() + 1) };
        return vec![if detail.is_empty() { line } else { line.up_to(start).add(Tone::Normal, detail.join("; ")) }];
    };
    if entry.detail.is_empty() {
        return vec![line];
    }
    // A detail stays in its column if it fits, goes nearer if it fits then, and else is folded: in its column or, where that is too
    // narrow, below.
    let needed = unicode_width::UnicodeWidthStr::width(entry.detail.as_str());
    let near = line.width() + 2;
    let one_line = !entry.detail.contains('\n');
    if !(one_line && start.max(near - 1) + needed <= columns) {
        if one_line && near + needed <= columns {
            start = near;
        } else if start.max(near - 1) + LEAST_DETAIL > columns {
            start = if columns >= WORD + LEAST_DETAIL { WORD } else { 4 };
        }
    }
    let mut lines = Vec::new();
    for (number, detail) in fold(&entry.detail, columns.saturating_sub(start.max(1)).max(12)).into_iter().enumerate() {
        if number == 0 && line.width() <= start {
            lines.push(std::mem::take(&mut line).up_to(start).add(Tone::Normal, detail));
        } else {
            if number == 0 {
                lines.push(std::mem::take(&mut line));
            }
            lines.push(Line::new().up_to(start).add(Tone::Normal, detail));
        }
    }
    lines
}

/// What a line says.
struct Entry {
    tone: Tone,
    word: String,
    name: String,
    detail: String,
}

fn entry(model: &RunModel, event: &Event, place: Place, verbosity: Verbosity) -> Option<Entry> {
    let entry = |tone: Tone, word: &str, name: &str, detail: &str| Entry {
        tone,
        word: word.to_owned(),
        name: model.short(name).to_owned(),
        detail: detail.to_owned(),
    };
    let (quiet, verbose, pipe) = (verbosity == Verbosity::Quiet, verbosity == Verbosity::Verbose, place == Place::Pipe);

    match &event.happening {
        Happening::Finished { node, result: Outcome::Failed, error, .. } => {
            Some(entry(Tone::Bad, "failed", node, error.as_deref().unwrap_or("no reason was given")))
        }
        // The end's tables say the rest.
        _ if quiet => None,
        Happening::Phase { name, detail } => Some(entry(Tone::Strong, name, "", detail)),
        Happening::Planned { environment, revision, nodes, .. } => {
            let layers = nodes.iter().filter(|(id, _)| id.starts_with("layer/")).count();
            let resources = nodes.iter().filter(|(id, _)| id.starts_with("aws/")).count();
            let what = match resources {
                _ if model.is_demolition() => format!("{} to delete", nodes.len()),
                0 => count(layers, "layer"),
                resources => format!("{}, {}", count(resources, "cloud resource"), count(layers, "layer")),
            };
            Some(entry(Tone::Strong, "planned", "", &format!("{environment} at {}: {what}", short_revision(revision))))
        }
        Happening::Expected { seconds, .. } => Some(entry(Tone::Faint, "expected", "", &format!("{} until all is ready", clock(*seconds)))),
        Happening::State(state) => {
            let tone = match state.fate {
                Fate::Lost => Tone::Bad,
                Fate::Empty => Tone::Caution,
                Fate::Restored | Fate::Kept => Tone::Good,
            };
            Some(entry(tone, state.fate.word(), "", &format!("{}{}", state.state, told(state))))
        }
        Happening::Waiting { node, on } if verbose && !on.is_empty() => Some(entry(Tone::Faint, "waiting", node, &waits(model, on))),
        Happening::Started { node, action, objects } if pipe || verbose => {
            let detail = match action {
                Action::Apply if *objects > 0 => count(*objects, "object"),
                Action::Apply => String::new(),
                action => action.word().to_owned(),
            };
            Some(entry(Tone::Busy, "start", node, &detail))
        }
        Happening::Applied { node, created, changed, unchanged } if verbose => {
            Some(entry(Tone::Settling, "applied", node, &format!("{created} created, {changed} changed, {unchanged} unchanged")))
        }
        Happening::Progress { node, ready, of, message } if verbose => {
            Some(entry(Tone::Faint, "progress", node, &format!("{ready}/{of}  {message}")))
        }
        Happening::Finished { node, action, result, error } => {
            let known = model.find(node).map(|place| &model.nodes[place]);
            let took = known
                .and_then(|node| Some(node.finished?.duration_since(node.started?).as_secs_f64()))
                .map(|took| format!("in {}", seconds(took)))
                .unwrap_or_default();
            match result {
                Outcome::Ready if *action == Action::Delete => Some(entry(Tone::Good, "deleted", node, &took)),
                Outcome::Ready => {
                    let objects = known.map_or(0, |node| node.objects);
                    let objects = if objects > 0 { format!(", {}", count(objects, "object")) } else { String::new() };
                    Some(entry(Tone::Good, "ready", node, &format!("{took}{objects}")))
                }
                // What had nothing to do (the cluster itself) is not worth a line.
                Outcome::Unchanged if known.is_none_or(|node| node.started.is_none()) && !verbose => None,
                Outcome::Unchanged => Some(entry(Tone::Good, "unchanged", node, &took)),
                Outcome::Skipped => Some(entry(Tone::Faint, "skipped", node, error.as_deref().unwrap_or_default())),
                // One failure may block hundreds; the end counts them under their cause.
                Outcome::Blocked => verbose.then(|| entry(Tone::Caution, "blocked", node, error.as_deref().unwrap_or_default())),
                Outcome::Failed => None,
            }
        }
        Happening::HandedOver { node, changed } => {
            if !changed.is_empty() {
                Some(entry(Tone::Caution, "handed over", node, &format!("the agent changed {}", count(changed.len(), "object"))))
            } else if verbose || (pipe && all_ready(model)) {
                Some(entry(Tone::Good, "handed over", node, ""))
            } else {
                None
            }
        }
        Happening::StandIn { object, reason } if pipe || verbose => {
            Some(entry(Tone::Caution, "stand-in", "", &format!("{object}: {reason}")))
        }
        Happening::Warning { node, message } => Some(match node {
            Some(node) => entry(Tone::Caution, "warning", node, message),
            None => entry(Tone::Caution, "warning", "", message),
        }),
        Happening::Retried { node, error } if verbose => Some(entry(Tone::Caution, "retried", node, error)),
        _ => None,
    }
}

/// ` from snap-1 as of 2026-11-21 03:00:00 UTC, 12 messages`.
pub(crate) fn told(state: &State) -> String {
    let source = state.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
    let time = state.as_of.map(|time| format!(" as of {}", moment(time))).unwrap_or_default();
    let detail = state.detail.as_ref().map(|detail| format!(", {detail}")).unwrap_or_default();
    format!("{source}{time}{detail}")
}

/// `2026-11-21 03:00:00 UTC`.
pub(crate) fn moment(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Whether only the agent is waited for: then its word is the only sign of life.
fn all_ready(model: &RunModel) -> bool {
    let counts = model.counts();
    counts.ready == counts.all
}

/// `a (dependsOn, Namespace shop), b (dependsOn)`.
fn waits(model: &RunModel, on: &[(String, String)]) -> String {
    let mut named: Vec<(&str, Vec<&str>)> = Vec::new();
    for (node, reason) in on {
        match named.iter_mut().find(|(known, _)| known == node) {
            Some((_, reasons)) => reasons.push(reason),
            None => named.push((node, vec![reason])),
        }
    }
    let named: Vec<String> = named.into_iter().map(|(node, reasons)| format!("{} ({})", model.short(node), reasons.join(", "))).collect();
    named.join(", ")
}

/// Twelve characters of a commit, and whether the tree was changed.
pub(crate) fn short_revision(revision: &str) -> String {
    let (commit, dirty) = revision.strip_suffix("-dirty").map_or((revision, ""), |commit| (commit, "-dirty"));
    if commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        format!("{}{dirty}", &commit[..12])
    } else {
        revision.to_owned()
    }
}

/// Width of the names' column: as wide as most of them need.
fn name_column(model: &RunModel) -> usize {
    let widest = model.nodes.iter().map(|node| model.short(&node.id).len()).max().unwrap_or(0);
    widest.clamp(8, 40) + 2
}
