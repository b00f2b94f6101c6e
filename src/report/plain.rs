//! One line for each thing that happened: the whole output without a terminal, and what scrolls above the live view on one.

use super::event::{Event, Happening, Outcome};
use super::model::RunModel;
use super::reporter::Verbosity;
use super::text::{Line, Tone, count, seconds};
use crate::plan::Action;

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
const WORD: usize = TIME + 2 + 11;

/// The line for an event that the model has just taken; none where it is not worth one.
pub(crate) fn line(model: &RunModel, event: &Event, place: Place, verbosity: Verbosity) -> Option<Line> {
    let time = seconds(model.since_began(event.time));
    let names = name_column(model);
    let entry = |tone: Tone, word: &str, name: &str, detail: &str| {
        let line = Line::new().add(Tone::Faint, format!("{time:>TIME$}")).to_column(TIME + 2).add(tone, word).to_column(WORD);
        if name.is_empty() {
            return line.add(Tone::Normal, detail);
        }
        let name = model.short(name);
        let line = line.add(Tone::Strong, name);
        if detail.is_empty() { line } else { line.to_column(WORD + names).add(Tone::Normal, detail) }
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
            Some(entry(Tone::Strong, "planned", "", &format!("{environment} at {}: {}", short_revision(revision), count(layers, "layer"))))
        }
        Happening::Waiting { node, on } if verbose && !on.is_empty() => {
            Some(entry(Tone::Faint, "waiting", node, &waits(model, on, usize::MAX)))
        }
        Happening::Started { node, action, objects } if pipe || verbose => {
            let detail = match action {
                Action::Apply if *objects > 0 => count(*objects, "object"),
                Action::Apply => String::new(),
                action => action_word(*action).to_owned(),
            };
            Some(entry(Tone::Busy, "start", node, &detail))
        }
        Happening::Applied { node, created, changed, unchanged } if verbose => {
            Some(entry(Tone::Settling, "applied", node, &format!("{created} created, {changed} changed, {unchanged} unchanged")))
        }
        Happening::Progress { node, ready, of, message } if verbose => {
            Some(entry(Tone::Faint, "progress", node, &format!("{ready}/{of}  {message}")))
        }
        Happening::Finished { node, result, error, .. } => {
            let known = model.find(node).map(|place| &model.nodes[place]);
            let took = known
                .and_then(|node| Some(node.finished?.duration_since(node.started?).as_secs_f64()))
                .map(|took| format!("in {}", seconds(took)))
                .unwrap_or_default();
            match result {
                Outcome::Ready => {
                    let objects = known.map_or(0, |node| node.objects);
                    let objects = if objects > 0 { format!(", {}", count(objects, "object")) } else { String::new() };
                    Some(entry(Tone::Good, "ready", node, &format!("{took}{objects}")))
                }
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
            } else if pipe || verbose {
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

/// `a (dependsOn), b (Namespace shop)`.
pub(crate) fn waits(model: &RunModel, on: &[(String, String)], most: usize) -> String {
    let named: Vec<String> = on.iter().take(most).map(|(node, reason)| format!("{} ({reason})", model.short(node))).collect();
    let rest = on.len() - named.len();
    if rest == 0 { named.join(", ") } else { format!("{} and {rest} more", named.join(", ")) }
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

/// What is done, as one reads it in a sentence.
pub(crate) fn action_word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Adopt => "adopt",
        Action::Update => "update",
        Action::Restore => "restore",
        Action::Keep => "keep",
        Action::Apply => "apply",
        Action::Wait => "only awaited",
        Action::Skip => "skip",
        Action::Unknown => "",
    }
}

/// Width of the names' column: as wide as most of them need.
fn name_column(model: &RunModel) -> usize {
    let widest = model.nodes.iter().map(|node| model.short(&node.id).len()).max().unwrap_or(0);
    widest.clamp(8, 40) + 2
}
