//! report.html.
use super::{document::Report, model::RunModel};
pub(crate) fn html(report: &Report, _model: &RunModel) -> String {
    report.headline.clone()
}
