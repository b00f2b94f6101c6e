//! Two reports of one environment, side by side: what got slower, what came and went.

use super::document::{Entry, Report};
use super::text::{Line, Tone, seconds};
use serde::Serialize;
use std::collections::BTreeMap;

/// Nodes whose time changed that are shown.
const MOST: usize = 12;
/// Changes that are noise.
const NOISE: f64 = 0.5;

/// What differs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `ReportComparison`.
    pub kind: &'static str,
    /// Ids of both runs.
    pub runs: (String, String),
    /// Figures of the whole, before and after.
    pub figures: Vec<Figure>,
    /// Nodes that took longer or shorter, the greatest change first.
    pub nodes: Vec<Figure>,
    /// Nodes of the second alone.
    pub added: Vec<String>,
    /// Nodes of the first alone.
    pub removed: Vec<String>,
}

/// One figure in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// In the first.
    pub before: Option<f64>,
    /// In the second.
    pub after: Option<f64>,
    /// Whether it is a count, not seconds.
    #[serde(skip)]
    count: bool,
}

impl Figure {
    fn change(&self) -> f64 {
        self.after.unwrap_or_default() - self.before.unwrap_or_default()
    }

    fn shown(&self, value: Option<f64>) -> String {
        match value {
            None => "–".to_owned(),
            Some(value) if self.count => format!("{value:.0}"),
            Some(value) => seconds(value),
        }
    }
}

/// Compares two reports.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let figure = |name: &str, count: bool, of: &dyn Fn(&Report) -> Option<f64>| Figure {
        name: name.to_owned(),
        before: of(before),
        after: of(after),
        count,
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    let number = |number: usize| Some(number as f64);
    let figures = vec![
        figure("until ready", false, &|report| report.ready_seconds),
        figure("  provider", false, &|report| Some(report.spent?.provider)),
        figure("  waiting", false, &|report| Some(report.spent?.waiting)),
        figure("  the tool itself", false, &|report| Some(report.spent?.own)),
        figure("until handed over", false, &|report| report.handover_seconds),
        figure("in all", false, &|report| Some(report.total_seconds)),
        figure("layers", true, &|report| number(report.layers.len())),
        figure("cloud resources and others", true, &|report| number(report.nodes.len())),
        figure("failed", true, &|report| number(report.failures.len())),
        figure("states lost", true, &|report| number(report.done.states_lost)),
        figure("stand-ins", true, &|report| number(report.stand_ins.len())),
        figure("warnings", true, &|report| number(report.warnings.len())),
        figure("tried again", true, &|report| number(report.retries)),
    ];
    let (one, other) = (took(before), took(after));
    let mut nodes: Vec<Figure> = one
        .iter()
        .filter_map(|(id, before)| Some(Figure { name: id.clone(), before: *before, after: *other.get(id)?, count: false }))
        .filter(|figure| figure.before.is_some() && figure.after.is_some() && figure.change().abs() >= NOISE)
        .collect();
    nodes.sort_by(|a, b| b.change().abs().total_cmp(&a.change().abs()).then(a.name.cmp(&b.name)));
    let only = |of: &BTreeMap<String, Option<f64>>, others: &BTreeMap<String, Option<f64>>| {
        of.keys().filter(|id| !others.contains_key(*id)).cloned().collect()
    };
    Comparison {
        api_version: super::document::API_VERSION,
        kind: "ReportComparison",
        runs: (before.run.clone(), after.run.clone()),
        figures,
        nodes,
        added: only(&other, &one),
        removed: only(&one, &other),
    }
}

/// Seconds that each node took.
fn took(report: &Report) -> BTreeMap<String, Option<f64>> {
    let took = |entry: &Entry| (entry.id.clone(), entry.ready.zip(entry.start).map(|(ready, start)| ready - start));
    report.layers.iter().chain(&report.nodes).map(took).collect()
}

impl Comparison {
    /// For people.
    pub fn text(&self, color: bool) -> String {
        let mut lines = Vec::new();
        let shown: Vec<&Figure> = self.figures.iter().filter(|figure| !(figure.count && figure.before == figure.after)).collect();
        lines.push(row("", "before", "after", "", Tone::Faint, Tone::Faint));
        lines.extend(shown.iter().map(|figure| of(figure)));
        if !self.nodes.is_empty() {
            lines.extend([Line::new(), Line::new().add(Tone::Strong, "Slower or quicker")]);
            lines.extend(self.nodes.iter().take(MOST).map(of));
            if self.nodes.len() > MOST {
                lines.push(Line::new().add(Tone::Faint, format!("  and {} more; -o json lists all", self.nodes.len() - MOST)));
            }
        }
        for (word, ids) in [("Only in the second", &self.added), ("Only in the first", &self.removed)] {
            if !ids.is_empty() {
                lines.extend([Line::new(), Line::new().add(Tone::Strong, word)]);
                lines.extend(ids.iter().take(MOST).map(|id| Line::new().up_to(2).add(Tone::Normal, id)));
                if ids.len() > MOST {
                    lines.push(Line::new().add(Tone::Faint, format!("  and {} more; -o json lists all", ids.len() - MOST)));
                }
            }
        }
        lines.iter().fold(String::new(), |text, line| text + &line.render(color) + "\n")
    }
}

fn of(figure: &Figure) -> Line {
    let change = figure.change();
    let (tone, sign) = match change {
        change if change.abs() < 0.05 => (Tone::Faint, ""),
        change if change > 0.0 => (Tone::Caution, "+"),
        _ => (Tone::Good, "-"),
    };
    let both = figure.before.is_some() && figure.after.is_some();
    let value = Some(change.abs());
    let difference = if both && !sign.is_empty() { format!("{sign}{}", figure.shown(value)) } else { String::new() };
    row(&figure.name, &figure.shown(figure.before), &figure.shown(figure.after), &difference, Tone::Normal, tone)
}

fn row(name: &str, before: &str, after: &str, change: &str, tone: Tone, change_tone: Tone) -> Line {
    let name = Line::new().up_to(2).add(tone, name).cut(46);
    name.up_to(46).add(tone, format!("{before:>10}{after:>10}")).add(change_tone, format!("{change:>10}"))
}
