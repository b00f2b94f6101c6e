//! Events to terminal, JSON lines, tables and pages. Decides nothing.
//!
//! ```text
//! Sink → Reporter ─┬→ JSON lines, as they come
//!                  └→ model (pure: events folded into what is known)
//!                       ├→ plain   one line for each thing that happened
//!                       ├→ live    what runs and what waits, redrawn
//!                       ├→ end     tables, critical path, failures, for a terminal
//!                       └→ document (report.json) → page (report.html), markdown (report.md)
//! ```
//!
//! There is one clock: every time that is shown counts from the first event of the run.
//! A reader that is slow, gone or full never stops a run: writing fails silently to a terminal and is told at the end for files.

mod compare;
pub mod document;
mod end;
pub mod event;
mod gantt;
mod headline;
mod live;
mod markdown;
pub mod model;
mod page;
mod path;
mod plain;
mod proved;
mod remaining;
mod reporter;
mod screen;
mod shown;
mod spent;
mod text;

#[cfg(test)]
mod tests;

pub use compare::{Comparison, compare};
pub use document::Report;
pub use model::RunModel;
/// Seconds that each node took, by the report of an earlier run of this environment in a folder; empty where there is none.
pub fn measured(folder: &std::path::Path, environment: &str, rehearsal: bool) -> std::collections::BTreeMap<String, f64> {
    remaining::Earlier::measured(folder, environment, rehearsal)
}

pub use reporter::{Color, Error, Mode, Options, Output, Reporter, Summary, Verbosity, start};
pub use screen::restore_terminal;
pub use shown::text as shown;

/// Columns of the terminal that stdout is, else what COLUMNS says, else `page`.
pub fn columns(page: usize) -> usize {
    let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let told = || std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    terminal.filter(|&columns| columns > 0).or_else(told).filter(|&columns| columns > 0).unwrap_or(page)
}

/// The files of a report, as a folder gets them: name and content.
pub fn files(report: &Report) -> Vec<(&'static str, String)> {
    reporter::contents(report)
}

pub(crate) use text::clock;
