//! The timeline of report.html: names on the left, one SVG on the right that takes the width it gets, so that it reads on a phone too.
//! Nothing in the SVG is text (it is stretched); the axis above it is.

use super::document::{Entry, Report};
use super::page::Names;
use super::spent::is_made_below;
use super::text::seconds;
use crate::report::event::Outcome;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write as _;

/// Height of a row, and of the bar in it.
const ROW: usize = 22;
const BAR: usize = 12;
/// With more rows than this they become lower.
const MANY: usize = 150;
const LOW_ROW: usize = 13;
const LOW_BAR: usize = 8;
/// Width of the SVG's own coordinates.
const WIDTH: f64 = 10_000.0;

/// The timeline with its legend.
pub(crate) fn gantt(report: &Report, names: &Names) -> Markup {
    let mut rows: Vec<&Entry> = report.nodes.iter().chain(&report.layers).filter(|entry| entry.start.is_some()).collect();
    rows.sort_by(|a, b| a.start.partial_cmp(&b.start).unwrap_or(std::cmp::Ordering::Equal));
    let whole = report.total_seconds.max(0.001);
    let (row, bar) = if rows.len() > MANY { (LOW_ROW, LOW_BAR) } else { (ROW, BAR) };
    let height = row * rows.len();
    let ticks = ticks(whole);
    let percent = |time: f64| time / whole * 100.0;
    html! {
        div.legend {
            span { i.key.waiting {} "waiting" }
            @if rows.iter().any(|entry| is_made_below(&entry.id)) { span { i.key.provider {} "a provider makes it" } }
            span { i.key.applying {} "applying" }
            span { i.key.settling {} "becoming ready" }
            @if report.layers.iter().any(|layer| layer.handed_over.is_some()) { span { i.key.handover {} "until handed over" } }
            @if report.layers.iter().any(|layer| layer.result == Some(Outcome::Failed)) { span { i.key.failed {} "failed" } }
            span { i.key.critical {} "critical path" }
        }
        div.gantt style=(format!("--row:{row}px")) {
            div {}
            div.axis {
                @for tick in &ticks { span style=(format!("left:{:.2}%", percent(*tick))) { (tick_label(*tick)) } }
            }
            div.phases-name { "phase" }
            div.phases {
                @for phase in &report.phases {
                    span style=(format!("left:{:.2}%;width:{:.2}%", percent(phase.start), percent(phase.seconds))) title=(format!("{}: {}, {}", phase.name, phase.detail, seconds(phase.seconds))) { @if percent(phase.seconds) > 4.0 { (phase.name) } }
                }
            }
            div.names {
                @for entry in &rows {
                    div.critical[entry.critical] .failed[entry.result == Some(Outcome::Failed)] title=(entry.id) { (names.short(&entry.id)) }
                }
            }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) height=(height) preserveAspectRatio="none" role="img" aria-label="Timeline of all layers" {
                @for tick in &ticks {
                    (line("grid", x(*tick, whole), 0, x(*tick, whole), height))
                }
                @for (place, entry) in rows.iter().enumerate() { (bars(report, entry, place * row + (row - bar) / 2, bar, whole)) }
                (path(report, &rows, row, whole))
            }
        }
    }
}

fn x(time: f64, whole: f64) -> f64 {
    (time / whole * WIDTH).clamp(0.0, WIDTH)
}

fn line(class: &str, x1: f64, y1: usize, x2: f64, y2: usize) -> Markup {
    html! { line class=(class) x1=(format!("{x1:.1}")) y1=(y1) x2=(format!("{x2:.1}")) y2=(y2) {} }
}

fn bars(report: &Report, entry: &Entry, top: usize, height: usize, whole: f64) -> Markup {
    let end = entry.end.unwrap_or(report.total_seconds);
    let start = entry.start.unwrap_or(end);
    let applied = entry.applied.unwrap_or(end).min(end);
    let waits = report.phases.iter().find(|phase| phase.name == "run").map_or(start, |phase| phase.start.min(start));
    let failed = entry.result == Some(Outcome::Failed);
    let piece = |class: &str, from: f64, to: f64| -> Markup {
        let (left, right) = (x(from, whole), x(to, whole));
        // Something that took no time at all is still seen.
        let width = if class == "waiting" || class == "handover" { right - left } else { (right - left).max(WIDTH / 500.0) };
        if width <= 0.0 {
            return PreEscaped(String::new());
        }
        let (y, high) = if class == "waiting" || class == "handover" { (top + height / 2 - 1, 2) } else { (top, height) };
        html! { rect class=(class) x=(format!("{left:.1}")) y=(y) width=(format!("{width:.1}")) height=(high) {} }
    };
    let mut title = format!("{}: start {}", entry.id, seconds(start));
    for (word, time) in [("applied", entry.applied), ("ready", entry.ready), ("handed over", entry.handed_over)] {
        if let Some(time) = time {
            let _ = write!(title, ", {word} {}", seconds(time));
        }
    }
    if let Some(waited) = &entry.waited_last_for {
        let _ = write!(title, "; waited last for {} ({})", waited.node, waited.reason);
    }
    html! {
        g {
            title { (title) }
            (piece("waiting", waits, start))
            @if let Some(handed) = entry.handed_over { (piece("handover", end, handed)) }
            @if is_made_below(&entry.id) {
                (piece(if failed { "failed" } else { "provider" }, start, end))
            } @else {
                @if entry.applied.is_some() { (piece(if failed { "failed" } else { "settling" }, applied, end)) }
                (piece(if failed && entry.applied.is_none() { "failed" } else { "applying" }, start, applied))
            }
        }
    }
}

/// The critical path as one line of steps: along the bars, and down or up where the next one begins.
fn path(report: &Report, rows: &[&Entry], row: usize, whole: f64) -> Markup {
    let place = |node: &str| {
        let id = node.strip_prefix("layer/").unwrap_or(node);
        rows.iter().position(|entry| entry.id == id)
    };
    let mut drawn = String::new();
    for step in &report.critical_path {
        let Some(place) = place(&step.node) else { continue };
        let y = place * row + row / 2;
        let letter = if drawn.is_empty() { 'M' } else { 'L' };
        let _ = write!(drawn, "{letter}{:.1} {y}L{:.1} {y}", x(step.start, whole), x(step.end, whole));
    }
    html! { @if !drawn.is_empty() { path.critical d=(drawn) {} } }
}

/// Four to eight round times on the axis, zero included.
fn ticks(whole: f64) -> Vec<f64> {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
    let step = steps.into_iter().find(|step| whole / step <= 6.0).unwrap_or(7200.0 * (whole / 43_200.0).ceil());
    (0..16).map(|number| f64::from(number) * step).take_while(|tick| *tick <= whole * 0.97).collect()
}

fn tick_label(tick: f64) -> String {
    let label = seconds(tick);
    label.replace(".0s", "s").replace(" 00s", "")
}
