//! `verify`, `explain`, and `plan --compare`: what is known from Git alone, asked in other ways.

use super::form::{self, Form};
use super::start::{print_out, read_all};
use super::{Failure, InputArgs};
use crate::environment::Environment;
use crate::execute::adoption;
use crate::forms;
use crate::manifest::patch::unified;
use crate::plan::estimate::estimate;
use crate::plan::{Plan, PlannedLayer};
use crate::problem::{Severity, nearest};
use crate::read::{self, Reading, Revision};
use crate::verify::{Subject, Verification, rules, verify as check};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::process::ExitCode;

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  blackstart verify --environment production                         what stands against a start from nothing
  blackstart verify --baseline origin/main -o markdown               what a merge request adds, as its comment
  blackstart verify -o sarif > blackstart.sarif                      for code scanning
  blackstart verify --fail-on blocks                                 1 only where the start would stop

The rules are explained in docs/rules.md. A finding is accepted in Git, with a reason:
an annotation blackstart.dev/accept: \"RULE: REASON\" of the object, or spec.accept of the environment.
Exit code: 0, 1 where something is found, 2 where the input cannot be read.";
pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  blackstart explain flux-system/apps
  blackstart explain apps ~/fleet --entrypoint clusters/staging";

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Show only what is not found at REV: what a change adds
    #[arg(long, value_name = "REV")]
    baseline: Option<String>,
    /// Exit with 1 from this severity on: blocks, differs or risk
    #[arg(long, default_value = "risk", value_name = "SEVERITY", hide_possible_values = true)]
    fail_on: Level,
    /// Form of the output: human, json, yaml, markdown, sarif or html
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: Form,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The layer: namespace/name, or its name where only one is called so
    layer: String,
    #[command(flatten)]
    input: InputArgs,
}

/// A severity on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Blocks,
    Differs,
    Risk,
}

impl Level {
    fn severity(self) -> Severity {
        match self {
            Self::Blocks => Severity::Blocks,
            Self::Differs => Severity::Differs,
            Self::Risk => Severity::Risk,
        }
    }
}

/// `blackstart verify`.
pub(super) async fn verify(args: VerifyArgs, verbose: bool) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await.map_err(|failure| failure.code(2))?;
    let (plan, mut found) = verified(&environment, &reading);
    if let Some(baseline) = &args.baseline {
        let earlier = at(&args.input, baseline).await.map_err(|failure| failure.code(2))?;
        found = found.since(baseline, &verified(&environment, &earlier).1);
    }
    patches(&mut found, &plan, &reading);
    form::verification(args.output, &found, &plan, &reading, verbose)?;
    let failed = found.findings.iter().any(|finding| finding.problem.severity <= args.fail_on.severity());
    Ok(ExitCode::from(u8::from(failed)))
}

fn verified(environment: &Environment, reading: &Reading) -> (Plan, Verification) {
    let mut plan = crate::plan::plan(reading, environment, &crate::aws::catalogue());
    plan.expected = Some(estimate(&plan, &BTreeMap::new(), 1.0));
    let (shipped, absent, written) = (read::charts::by_release(reading), read::charts::absent(reading), read::written(reading));
    let found = check(&Subject { reading, environment, plan: &plan, shipped: &shipped, absent: &absent, written: &written });
    (plan, found)
}

/// The same input at another revision.
async fn at(input: &InputArgs, revision: &str) -> Result<Reading, Failure> {
    let input = InputArgs { revision: Some(revision.to_owned()), ..input.clone() };
    Ok(read_all(&input, Revision::WorkingTree).await?.1)
}

/// Adds the patches that declare a tag.
fn patches(found: &mut Verification, plan: &Plan, reading: &Reading) {
    for finding in &mut found.findings {
        let declared = plan.declared.iter().find(|declared| finding.object.as_ref() == Some(&declared.resource.id()));
        let Some(declared) = declared.filter(|_| finding.problem.rule == rules::IDENTITY) else { continue };
        let (Some(origin), Some(tags)) = (declared.origin(), rules::proposal(declared, &plan.environment)) else { continue };
        let Some(text) = reading.text(&origin.file) else { continue };
        finding.patch = adoption::insertion(declared, &tags, &text).map(|insertion| unified(&origin.file, &text, &[insertion]));
    }
}

/// `blackstart explain`.
pub(super) async fn explain(args: ExplainArgs) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    plan.expected = Some(estimate(&plan, &BTreeMap::new(), 1.0));
    let layer = named(&plan, &args.layer)?;
    print_out(&forms::explain(&plan, layer))?;
    Ok(ExitCode::SUCCESS)
}

fn named<'p>(plan: &'p Plan, name: &str) -> Result<&'p PlannedLayer, Failure> {
    let wanted = name.strip_prefix("layer/").unwrap_or(name);
    let found: Vec<&PlannedLayer> = plan.layers.iter().filter(|layer| layer.id.to_string() == wanted || layer.id.name == wanted).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            let all: Vec<String> = plan.layers.iter().map(|layer| layer.id.to_string()).collect();
            let mut near = nearest(wanted, all.iter().map(String::as_str));
            if near.is_empty() {
                let names = nearest(wanted, plan.layers.iter().map(|layer| layer.id.name.as_str()));
                near = plan.layers.iter().filter(|layer| names.contains(&layer.id.name)).map(|layer| layer.id.to_string()).collect();
            }
            let hint = if near.is_empty() { "blackstart plan lists them".to_owned() } else { format!("did you mean {}?", near.join(", ")) };
            Err(Failure::new(format!("layer {wanted}: nothing declares it")).hint(hint).code(2))
        }
        several => {
            let all: Vec<String> = several.iter().map(|layer| layer.id.to_string()).collect();
            Err(Failure::new(format!("layer {wanted}: several are called so")).hint(format!("write one of {}", all.join(", "))).code(2))
        }
    }
}

/// `blackstart plan --compare REV`.
pub(super) async fn compare(
    input: &InputArgs,
    revision: &str,
    output: Form,
    environment: &Environment,
    after: (&Plan, &Reading),
) -> Result<(), Failure> {
    let reading = at(input, revision).await?;
    let before = crate::plan::plan(&reading, environment, &crate::aws::catalogue());
    let change = forms::compare((&before, &reading), after);
    print_out(&match output {
        Form::Human => forms::comparison(&change),
        Form::Json => forms::json(&change),
        Form::Yaml => forms::yaml(&change),
        Form::Markdown => forms::compared(&change),
        other => return Err(other.refuse("plan --compare", "human, json, yaml or markdown")),
    })
}
