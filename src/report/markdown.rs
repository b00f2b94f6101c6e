//! report.md.
use super::document::Report;
pub(crate) fn text(report: &Report) -> String {
    format!("# {}\n", report.headline)
}
