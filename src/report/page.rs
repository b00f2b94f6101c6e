//! report.html: one page that needs nothing else, for the morning after. Light and dark, wide and narrow.

use super::document::{Entry, Report};
use super::event::{Fate, Outcome, Verdict};
use super::gantt::gantt;
use super::plain::{moment, short_revision};
use super::shown;
use super::text::seconds;
use crate::problem::count;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names as a person says them: without the namespace where all layers share one.
#[derive(Debug)]
pub(crate) struct Names {
    namespace: Option<String>,
}

impl Names {
    /// For the layers of this report.
    pub(crate) fn of(report: &Report) -> Self {
        let mut namespaces = report.layers.iter().filter_map(|layer| layer.id.split_once('/')).map(|(namespace, _)| namespace);
        let first = namespaces.next();
        Self { namespace: first.filter(|first| namespaces.all(|namespace| namespace == *first)).map(str::to_owned) }
    }

    /// Of a node id, or of a layer's `namespace/name`; `Subnet private-a` of a cloud resource.
    pub(crate) fn short<'a>(&self, id: &'a str) -> Cow<'a, str> {
        if let Some(("aws", rest)) = id.split_once('/') {
            let parts: Vec<&str> = rest.split('/').collect();
            return match parts.as_slice() {
                [_, kind, .., name] => format!("{kind} {name}").into(),
                _ => rest.into(),
            };
        }
        let layer = id.strip_prefix("layer/").unwrap_or(id);
        match (&self.namespace, layer.split_once('/')) {
            (Some(only), Some((namespace, name))) if only == namespace => name.into(),
            _ => layer.into(),
        }
    }
}

/// The page. Loads nothing: its own policy forbids it.
pub(crate) fn html(report: &Report) -> String {
    let names = Names::of(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (report.headline) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    (result(report))
                    (numbers(report))
                    (spent(report))
                    (states(report))
                    (proof(report))
                    (failures(report, &names))
                    @if report.layers.iter().chain(&report.nodes).any(|entry| entry.start.is_some()) {
                        h2 { "Timeline" }
                        (gantt(report, &names))
                    }
                    (path(report, &names))
                    (layers(report, &names))
                    (stand_ins(report))
                    (warnings(report, &names))
                    footer { "blackstart " (env!("CARGO_PKG_VERSION")) ", run " span.mono { (report.run) } ". All times count from the start of the command." }
                }
            }
        }
    };
    page.into_string()
}

fn result(report: &Report) -> Markup {
    let class = match (report.success, report.stand_ins.is_empty()) {
        (true, true) => "result",
        (true, false) => "result caution",
        (false, _) => "result bad",
    };
    html! {
        div class=(class) {
            h1 { (report.headline) }
            p {
                @if !report.revision.is_empty() { "Revision " code title=(report.revision) { (short_revision(&report.revision)) } }
                @if let Some(started) = report.started { ", started " (moment(started)) }
                "."
            }
            @if let Some(commit) = &report.commit {
                p { (commit.subject) br; span.faint { (commit.author) ", " (commit.time) ", " (commit.signature) } }
            }
            @if !report.by.verb.is_empty() { p.faint { (shown::run(report)) } }
            @if let Some(summary) = report.summary.as_ref().filter(|_| !report.success) { p { (summary) } }
        }
    }
}

fn numbers(report: &Report) -> Markup {
    let ready = report.layers.iter().filter(|layer| layer.ready.is_some()).count();
    let all = report.layers.iter().filter(|layer| layer.result != Some(Outcome::Skipped)).count();
    let objects: usize = report.layers.iter().map(|layer| layer.objects).sum();
    let number = |value: String, words: &str| html! { div { b { (value) } span { (words) } } };
    let named = |id: &str, value: String, words: &str| html! { div { b id=(id) { (value) } span { (words) } } };
    html! {
        div.numbers {
            @if let Some(ready) = report.ready_seconds { (named("ready", seconds(ready), "until everything was ready")) }
            @if let Some(handover) = report.handover_seconds { (number(seconds(handover), "until all was handed over")) }
            @if report.ready_seconds.is_none() { (number(seconds(report.total_seconds), "until the end")) }
            (named("layers", format!("{ready} of {all}"), "layers ready"))
            (number(objects.to_string(), "objects"))
            @if report.done.states_restored + report.done.states_kept + report.done.states_lost > 0 {
                (number((report.done.states_restored + report.done.states_kept).to_string(), "states are back"))
                (number(report.done.states_lost.to_string(), "states are lost"))
            }
            @if report.rehearsal { (number(report.stand_ins.len().to_string(), "stand-ins")) }
            @if report.retries > 0 { (number(report.retries.to_string(), if report.retries == 1 { "call tried again" } else { "calls tried again" })) }
        }
    }
}

/// What the time was spent on, as one bar; and what was done.
fn spent(report: &Report) -> Markup {
    let done = shown::done(report);
    html! {
        @if let (Some(spent), Some(ready)) = (report.spent, report.ready_seconds.filter(|ready| *ready > 0.0)) {
            h2 { "What the time was spent on" }
            div.spent {
                @for (class, value, word) in [("handover", spent.sandbox, "the sandbox"), ("provider", spent.provider, "provider"), ("settling", spent.waiting, "waiting"), ("applying", spent.own, "own")] {
                    @if value > 0.0 { span class=(class) style=(format!("width:{:.2}%", value / ready * 100.0)) title=(format!("{word} {}", seconds(value))) {} }
                }
            }
            div.legend {
                span { i.key.provider {} b #spent-provider { (seconds(spent.provider)) } " providers made something" }
                span { i.key.settling {} b #spent-waiting { (seconds(spent.waiting)) } " waiting until healthy" }
                @if spent.sandbox > 0.0 { span { i.key.sandbox {} b { (seconds(spent.sandbox)) } " the sandbox's start" } }
                span { i.key.applying {} b #spent-own { (seconds(spent.own)) } " the tool itself" }
            }
        }
        @if !done.is_empty() { p.done { (done) } }
    }
}

/// What became of the data: what is lost first.
fn states(report: &Report) -> Markup {
    html! {
        @if !report.states.is_empty() {
            h2 { "Data" }
            table {
                thead { tr { th { "state" } th {} th.wide { "from" } th { "recovery point" } th { "missing" } } }
                tbody {
                    @for state in &report.states {
                        tr {
                            td.name { (state.state) }
                            td {
                                span class=(match state.fate { Fate::Lost => "bad", Fate::Empty => "warn", Fate::Restored | Fate::Kept => "good" }) { (state.fate.word()) }
                            }
                            td.wide.mono { (state.source.as_deref().unwrap_or_default()) }
                            td { (state.as_of.map(moment).unwrap_or_default()) }
                            td.faint { (state.detail.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

/// What was looked at anew at the end.
fn proof(report: &Report) -> Markup {
    html! {
        @if !report.checks.is_empty() {
            h2 { "Proof" }
            table {
                tbody {
                    @for check in &report.checks {
                        tr {
                            td {
                                @match check.verdict {
                                    Verdict::Held => span.good { "✓ holds" },
                                    Verdict::Failed => span.bad { "✗ fails" },
                                }
                            }
                            td.name { (check.name) }
                            td { (check.detail) @if let Some(fix) = &check.fix { br; span.faint { (fix) } } }
                        }
                    }
                }
            }
        }
    }
}

fn failures(report: &Report, names: &Names) -> Markup {
    let unfinished: Vec<&Entry> =
        report.layers.iter().chain(&report.nodes).filter(|entry| entry.start.is_some() && entry.end.is_none()).collect();
    html! {
        @if !report.failures.is_empty() {
            h2 { "What failed" }
            @for failure in &report.failures {
                div.failure {
                    h3 { (names.short(&failure.node)) }
                    pre { (failure.error) }
                    @if !failure.blocked.is_empty() {
                        p { "Blocks " (failure.blocked.len()) ": " (failure.blocked.iter().map(|node| names.short(node)).collect::<Vec<_>>().join(", ")) }
                    }
                }
            }
        }
        @if !unfinished.is_empty() {
            h2 { "Unfinished" }
            p { (unfinished.iter().map(|entry| names.short(&entry.id)).collect::<Vec<_>>().join(", ")) }
        }
    }
}

fn path(report: &Report, names: &Names) -> Markup {
    let longest = report.critical_path.iter().map(|step| step.seconds).fold(0.001, f64::max);
    html! {
        @if report.critical_path.len() > 1 {
            h2 { "Critical path" }
            p.faint { "Each waited for the one above it. To be back sooner, shorten these." }
            table {
                thead { tr { th { "what" } th.n { "until" } th.n { "took" } th.wide {} th { "why after the one above" } } }
                tbody {
                    @for step in &report.critical_path {
                        tr {
                            td.name title=(step.node) { (names.short(&step.node)) }
                            td.n { (seconds(step.end)) }
                            td.n { (seconds(step.seconds)) }
                            td.bar.wide { span.share style=(format!("width:{:.1}%", step.seconds / longest * 100.0)) {} }
                            td.faint { (step.reason.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

fn layers(report: &Report, names: &Names) -> Markup {
    let mut rows: Vec<&Entry> = report.layers.iter().collect();
    rows.sort_by(|a, b| {
        let key = |entry: &Entry| entry.start.unwrap_or(f64::MAX);
        key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let handed = rows.iter().any(|layer| layer.handed_over.is_some());
    let time = |time: Option<f64>| time.map(seconds).unwrap_or_default();
    html! {
        @if !rows.is_empty() {
            h2 { "Layers" }
            table {
                thead {
                    tr {
                        th { "layer" } th.n.wide { "start" } th.n.wide { "applied" } th.n { "ready" }
                        @if handed { th.n { "handed over" } }
                        th.n.wide { "objects" } th { "waited last for" }
                    }
                }
                tbody {
                    @for layer in rows {
                        tr {
                            td.name.critical[layer.critical] title=(layer.id) { (names.short(&layer.id)) }
                            td.n.wide { (time(layer.start)) }
                            td.n.wide { (time(layer.applied)) }
                            td.n { (ready(layer)) }
                            @if handed { td.n { (time(layer.handed_over)) } }
                            td.n.wide { @if layer.start.is_some() { (layer.objects) } }
                            td.faint { @if let Some(waited) = &layer.waited_last_for { (names.short(&waited.node)) " (" (waited.reason) ")" } }
                        }
                    }
                }
            }
        }
    }
}

fn ready(layer: &Entry) -> Markup {
    let (class, text) = match (layer.result, layer.ready) {
        (Some(Outcome::Failed), _) => ("bad", "failed".to_owned()),
        (Some(Outcome::Blocked), _) => ("warn", "blocked".to_owned()),
        (Some(Outcome::Skipped), _) => ("faint", "skipped".to_owned()),
        (_, Some(ready)) => ("good", seconds(ready)),
        (_, None) if layer.start.is_some() => ("warn", "unfinished".to_owned()),
        (_, None) => ("faint", "not begun".to_owned()),
    };
    html! { span class=(class) { (text) } }
}

fn stand_ins(report: &Report) -> Markup {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stand_in in &report.stand_ins {
        groups.entry(&stand_in.reason).or_default().push(&stand_in.object);
    }
    html! {
        @if !groups.is_empty() {
            h2 { (count(report.stand_ins.len(), "stand-in")) }
            p.faint { "Put in place of what cannot run here; what they stand for is not proved by this run." }
            ul { @for (reason, objects) in groups { li { (reason) br; span.faint { (objects.join(", ")) } } } }
        }
    }
}

fn warnings(report: &Report, names: &Names) -> Markup {
    let changed: Vec<&Entry> = report.layers.iter().filter(|layer| !layer.changed_by_agent.is_empty()).collect();
    html! {
        @if !report.warnings.is_empty() || !changed.is_empty() || !report.faults.is_empty() {
            h2 { "Warnings" }
            ul {
                @for warning in &report.warnings {
                    li { @if let Some(node) = &warning.node { b { (names.short(node)) } " " } (warning.message) }
                }
                @for fault in &report.faults {
                    li { b { (names.short(&fault.node)) } " " (fault.error) " " span.faint { "(tried again " (count(fault.times, "time")) ")" } }
                }
                @for layer in changed {
                    li { b { (names.short(&layer.id)) } " the agent changed what was as declared: " (layer.changed_by_agent.join(", ")) }
                }
            }
        }
    }
}
