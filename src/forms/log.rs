//! What changed between two revisions, layer by layer: commits that touch what a layer is made of, and what became of its objects.

use super::compare::{Changed, INFRASTRUCTURE, objects};
use super::markdown::{Bounded, escaped};
use super::{BAD, FAINT, GOOD, NAME, TITLE, WARN, commit};
use crate::layers::LayerId;
use crate::manifest::ObjectId;
use crate::plan::Plan;
use crate::problem::count;
use crate::read::{Footprint, Reading};
use crate::repo::Change;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Commits that touch no layer, in the terminal.
const ELSEWHERE: usize = 10;

/// What `log -o json` prints.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Log`.
    pub kind: &'static str,
    /// Name of the environment.
    pub environment: String,
    /// Commit before.
    pub from: String,
    /// Commit after.
    pub to: String,
    /// All commits between them, newest first; those that are undone come last.
    pub commits: Vec<Entry>,
    /// Layers that change or that a commit touches, in their order.
    pub layers: Vec<Touched>,
    /// How many layers there are after it.
    pub total: usize,
}

/// A commit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// 40 hex digits.
    pub id: String,
    /// Name and address.
    pub author: String,
    /// When it was written, RFC 3339.
    pub time: String,
    /// First line of its message.
    pub subject: String,
    /// It is in the history of the first revision only: going to the second one takes it back.
    pub undone: bool,
    /// Layers whose files it touches.
    pub layers: Vec<String>,
    /// How many files it touches.
    pub files: usize,
}

/// A layer.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    /// `namespace/name`, or `infrastructure`.
    pub layer: String,
    /// `new`, `gone` or `kept`.
    pub fate: &'static str,
    /// Ids of the commits that touch its files, newest first.
    pub commits: Vec<String>,
    /// New objects.
    pub added: Vec<ObjectId>,
    /// Objects that are gone.
    pub removed: Vec<ObjectId>,
    /// Objects with another content.
    pub changed: Vec<ObjectId>,
}

/// One side: the plan, what it was made from, and what each layer is made of.
pub type Side<'a> = (&'a Plan, &'a Reading, &'a BTreeMap<LayerId, Footprint>);

/// `made` are the commits that lead to the second side, `undone` those that only the first one has; `folders` are the infrastructure's.
pub fn log(before: Side<'_>, after: Side<'_>, made: Vec<Change>, undone: Vec<Change>, folders: &[String]) -> Log {
    let declaration = |reading: &Reading, id: &LayerId| {
        let read = reading.layers.iter().find(|read| read.layer.id == *id)?;
        Some((read.layer.declaration.value.clone(), read.layer.declaration.origin.clone()))
    };
    let ids = |reading: &Reading| -> Vec<LayerId> { reading.layers.iter().map(|read| read.layer.id.clone()).collect() };
    let (old, new) = (ids(before.1), ids(after.1));
    let in_order: Vec<LayerId> = after.0.layers.iter().map(|layer| layer.id.clone()).collect();
    let gone: Vec<LayerId> = old.iter().filter(|id| !new.contains(id)).cloned().collect();
    let mut prints: Vec<(String, &'static str, Footprint)> = Vec::new();
    let folders = folders.iter().map(|folder| folder.trim_start_matches("./").trim_end_matches('/').to_owned());
    prints.push((INFRASTRUCTURE.to_owned(), "kept", Footprint { files: BTreeSet::new(), folders: folders.collect() }));
    for id in in_order.iter().chain(&gone) {
        let mut print = Footprint::default();
        for side in [before.2, after.2] {
            print.extend(side.get(id).cloned().unwrap_or_default());
        }
        let (was, is) = (declaration(before.1, id), declaration(after.1, id));
        // Where many layers are declared in one file, only a change of this very declaration counts.
        if was.as_ref().map(|(value, _)| value) != is.as_ref().map(|(value, _)| value) {
            let origins = [was, is].into_iter().flatten().filter_map(|(_, origin)| origin);
            print.files.extend(origins.map(|origin| origin.file).filter(|file| !file.contains(':')));
        }
        let fate = if gone.contains(id) {
            "gone"
        } else if old.contains(id) {
            "kept"
        } else {
            "new"
        };
        prints.push((id.to_string(), fate, print));
    }
    let mut commits = Vec::new();
    for (change, is_undone) in made.into_iter().map(|change| (change, false)).chain(undone.into_iter().map(|change| (change, true))) {
        let touches = |print: &Footprint| change.files.iter().any(|file| print.holds(file));
        let layers = prints.iter().filter(|(_, _, print)| touches(print)).map(|(layer, ..)| layer.clone()).collect();
        let Change { id, author, time, subject, files } = change;
        commits.push(Entry { id, author, time, subject, undone: is_undone, layers, files: files.len() });
    }
    let mut changed: BTreeMap<String, Changed> = objects(before.1, after.1).into_iter().map(|one| (one.layer.clone(), one)).collect();
    let layers = prints.into_iter().map(|(layer, fate, _)| {
        let own = changed.remove(&layer).unwrap_or_default();
        let commits = commits.iter().filter(|commit: &&Entry| commit.layers.contains(&layer)).map(|commit| commit.id.clone()).collect();
        Touched { layer, fate, commits, added: own.added, removed: own.removed, changed: own.changed }
    });
    let layers: Vec<Touched> =
        layers.filter(|touched| touched.fate != "kept" || touched.changes() || !touched.commits.is_empty()).collect();
    Log {
        api_version: "blackstart/v1alpha1",
        kind: "Log",
        environment: after.0.environment.clone(),
        from: before.0.revision.clone(),
        to: after.0.revision.clone(),
        layers,
        total: new.len(),
        commits,
    }
}

impl Touched {
    /// Whether an object of it is another one after this.
    fn changes(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }

    /// Signs and objects.
    fn objects(&self) -> impl Iterator<Item = (char, &ObjectId)> {
        let of = [('+', &self.added), ('~', &self.changed), ('-', &self.removed)];
        of.into_iter().flat_map(|(sign, ids)| ids.iter().map(move |id| (sign, id)))
    }

    /// What stands beside its name.
    fn note(&self) -> &'static str {
        match self.fate {
            "new" => "new layer",
            "gone" => "layer gone",
            _ if !self.changes() => "its objects stay as they are",
            // Variables, a source, the environment.
            _ if self.commits.is_empty() => "no file of its own: by what it takes from elsewhere",
            _ => "",
        }
    }
}

impl Log {
    /// In one sentence.
    fn summary(&self) -> String {
        let (undone, made): (Vec<&Entry>, Vec<&Entry>) = self.commits.iter().partition(|commit| commit.undone);
        let mut text = count(made.len(), "commit");
        if !undone.is_empty() {
            let _ = write!(text, ", {} undone", count(undone.len(), "commit"));
        }
        let layers = self.layers.iter().filter(|touched| touched.layer != INFRASTRUCTURE && (touched.fate != "kept" || touched.changes()));
        let _ = write!(text, "; objects of {} of {} change", layers.count(), count(self.total, "layer"));
        text
    }

    fn of<'l>(&'l self, ids: &[String]) -> Vec<&'l Entry> {
        self.commits.iter().filter(|commit| ids.contains(&commit.id)).collect()
    }

    /// Commits that touch nothing of the environment.
    fn elsewhere(&self) -> Vec<&Entry> {
        self.commits.iter().filter(|commit| commit.layers.is_empty()).collect()
    }
}

fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

fn undone(entry: &Entry) -> &'static str {
    if entry.undone { " (undone)" } else { "" }
}

/// The text for people.
pub fn logged(log: &Log) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{TITLE}{}{TITLE:#} from {} to {}: {}", log.environment, commit(&log.from).0, commit(&log.to).0, log.summary());
    let line = |entry: &Entry, text: &mut String| {
        let _ = writeln!(
            text,
            "  {WARN}{}{WARN:#} {}{} {FAINT}{} {}{FAINT:#}",
            commit(&entry.id).0,
            entry.subject,
            undone(entry),
            day(&entry.time),
            entry.author.split(" <").next().unwrap_or_default()
        );
    };
    for touched in &log.layers {
        let note = touched.note();
        let note = if note.is_empty() { String::new() } else { format!("  {FAINT}{note}{FAINT:#}") };
        let _ = writeln!(text, "\n{NAME}{}{NAME:#}{note}", touched.layer);
        log.of(&touched.commits).into_iter().for_each(|entry| line(entry, &mut text));
        for (sign, id) in touched.objects() {
            let style = match sign {
                '+' => GOOD,
                '-' => BAD,
                _ => WARN,
            };
            let _ = writeln!(text, "    {style}{sign}{style:#} {id}");
        }
    }
    let elsewhere = log.elsewhere();
    if !elsewhere.is_empty() {
        let _ = writeln!(text, "\n{FAINT}in no layer{FAINT:#}");
        elsewhere.iter().take(ELSEWHERE).for_each(|entry| line(entry, &mut text));
        if elsewhere.len() > ELSEWHERE {
            let _ = writeln!(text, "  {FAINT}and {} more{FAINT:#}", elsewhere.len() - ELSEWHERE);
        }
    }
    text
}

/// For the comment of a merge request, or the notes of a release.
pub fn logged_markdown(log: &Log) -> String {
    let mut out = Bounded::default();
    let (from, to) = (commit(&log.from).0, commit(&log.to).0);
    out.add(&format!("### {} from `{from}` to `{to}`\n\n{}.\n\n", escaped(&log.environment), log.summary()), 0);
    let line = |entry: &Entry| {
        let author = entry.author.split(" <").next().unwrap_or_default();
        format!("- `{}` {}{} ({}, {})\n", commit(&entry.id).0, escaped(&entry.subject), undone(entry), escaped(author), day(&entry.time))
    };
    for touched in &log.layers {
        let mut lines: Vec<String> = log.of(&touched.commits).into_iter().map(line).collect();
        lines.extend(touched.objects().map(|(sign, id)| format!("- {} {}\n", word(sign), escaped(&id.to_string()))));
        let note = touched.note();
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        out.folded(&format!("<b>{}</b>{note}", escaped(&touched.layer)), &lines);
    }
    let elsewhere: Vec<String> = log.elsewhere().into_iter().map(line).collect();
    if !elsewhere.is_empty() {
        out.folded("in no layer", &elsewhere);
    }
    out.finish()
}

fn word(sign: char) -> &'static str {
    match sign {
        '+' => "new",
        '-' => "gone",
        _ => "changed",
    }
}
