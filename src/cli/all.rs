//! `plan --all`: every environment of a repository, or every entry point where no file names one.

use super::form::Form;
use super::start::read_all;
use super::{Failure, InputArgs, PlanArgs};
use crate::forms;
use crate::plan::Plan;
use crate::plan::estimate::estimate;
use crate::read::{self, Revision};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

/// What `plan --all -o json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plans {
    api_version: &'static str,
    kind: &'static str,
    environments: Vec<Plan>,
}

/// Plans all of them; one that cannot be read does not stop the others.
pub(super) async fn plan(args: &PlanArgs, quiet: bool) -> Result<ExitCode, Failure> {
    let mut plans = Vec::new();
    let mut failures = Vec::new();
    for input in inputs(&args.input)? {
        match read_all(&input, Revision::WorkingTree).await {
            Ok((environment, reading)) => {
                let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
                plan.expected = Some(estimate(&plan, &BTreeMap::new(), 1.0));
                plans.push((input.entrypoint, plan));
            }
            Err(failure) => failures.push((input.environment.or(input.entrypoint).unwrap_or_default(), failure)),
        }
    }
    // `clusters/a/00` and `clusters/b/00` have the same last folder.
    let names: Vec<String> = plans.iter().map(|(_, plan)| plan.environment.clone()).collect();
    let is_one_of_several = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let plans: Vec<Plan> = plans
        .into_iter()
        .map(|(entrypoint, plan)| match entrypoint.filter(|_| is_one_of_several(&plan.environment)) {
            Some(entrypoint) => Plan { environment: entrypoint, ..plan },
            None => plan,
        })
        .collect();
    let is_blocked = plans.iter().any(super::plan::is_blocked);
    let text = match args.output {
        Form::Human => {
            let mut text = String::new();
            for (at, plan) in plans.iter().enumerate() {
                let _ = write!(text, "{}{}", if at > 0 { "\n" } else { "" }, super::plan::text(plan, quiet));
            }
            text
        }
        Form::Json => forms::json(&Plans { api_version: "blackstart/v1alpha1", kind: "Plans", environments: plans }),
        Form::Yaml => forms::yaml(&Plans { api_version: "blackstart/v1alpha1", kind: "Plans", environments: plans }),
        form => return Err(form.refuse("plan --all", "human, json or yaml")),
    };
    super::start::print_out(&text)?;
    let failed = !failures.is_empty();
    for (name, failure) in failures {
        failure.of(&name).show();
    }
    Ok(ExitCode::from(u8::from(is_blocked || failed)))
}

/// One input for each environment in `environments/`, else for each entry point.
fn inputs(given: &InputArgs) -> Result<Vec<InputArgs>, Failure> {
    let names = read::environments(&given.path)?;
    if !names.is_empty() {
        return Ok(names.into_iter().map(|name| InputArgs { environment: Some(name), ..given.clone() }).collect());
    }
    // A single file is the only environment.
    if read::environment(&given.path, None, None)?.file.is_some() {
        return Ok(vec![given.clone()]);
    }
    let revision = given.revision.clone().map_or(Revision::WorkingTree, Revision::Named);
    let paths = read::entrypoints(&given.path, &revision)?;
    if paths.is_empty() {
        return Err(read::ReadError::NoEntrypoint { path: given.path.clone(), charts: Vec::new() }.into());
    }
    Ok(paths.into_iter().map(|path| InputArgs { entrypoint: Some(path), ..given.clone() }).collect())
}
