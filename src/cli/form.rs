//! Forms of what `plan` and `verify` print.

use super::Failure;
use super::start::print_out;
use crate::forms;
use crate::plan::Plan;
use crate::read::Reading;
use crate::verify::Verification;
use clap::ValueEnum;

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people.
    Human,
    /// For tools.
    Json,
    /// The same as YAML.
    Yaml,
    /// For the comment of a merge request.
    Markdown,
    /// The graph for Graphviz.
    Dot,
    /// The graph for Mermaid.
    Mermaid,
    /// The graph in the terminal.
    Graph,
    /// One page with the graph.
    Html,
    /// For code scanning.
    Sarif,
}

impl Form {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// A form that a verb does not have.
    pub(super) fn refuse(self, verb: &str, known: &str) -> Failure {
        Failure::new(format!("--output {}: {verb} has no such form", self.name())).hint(format!("write {known}")).code(2)
    }
}

/// Prints a plan in another form than the human one.
pub(super) fn plan(form: Form, plan: &Plan, reading: &Reading) -> Result<(), Failure> {
    let text = match form {
        Form::Human | Form::Json => forms::json(plan),
        Form::Yaml => forms::yaml(plan),
        Form::Markdown => forms::planned(plan),
        Form::Dot => forms::dot(plan),
        Form::Mermaid => forms::mermaid(plan),
        Form::Graph => forms::graph(plan, crate::report::columns(100)),
        Form::Html => forms::html(plan, reading, None),
        Form::Sarif => return Err(form.refuse("plan", "-o json, or blackstart verify -o sarif")),
    };
    print_out(&text)
}

/// Prints what `verify` finds.
pub(super) fn verification(form: Form, found: &Verification, plan: &Plan, reading: &Reading, verbose: bool) -> Result<(), Failure> {
    let text = match form {
        Form::Human => forms::verification(found, verbose),
        Form::Json => forms::json(found),
        Form::Yaml => forms::yaml(found),
        Form::Markdown => forms::verified(found),
        Form::Sarif => forms::sarif(found),
        Form::Html => forms::html(plan, reading, Some(found)),
        Form::Dot | Form::Mermaid | Form::Graph => return Err(form.refuse("verify", "human, json, yaml, markdown, sarif or html")),
    };
    print_out(&text)
}
