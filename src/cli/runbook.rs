//! `runbook`: the page for the night, of one environment.

use super::start::{print_out, read_all};
use super::{Failure, RunbookArgs};
use crate::plan::estimate::estimate;
use crate::read::Revision;
use crate::repo::Repository;
use crate::report;
use crate::runbook::{Facts, page};
use std::process::ExitCode;

/// `blackstart runbook`.
pub(super) async fn runbook(args: RunbookArgs) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    if super::plan::is_blocked(&plan) {
        // A page that promises what cannot be done is worse than none.
        return Err(Failure::problems(plan.problems));
    }
    let measured = args.report.as_deref().map(|folder| report::measured(folder, &plan.environment, false)).unwrap_or_default();
    plan.expected = Some(estimate(&plan, &measured, 1.0));
    let flag = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!(" --{name} {value}")).unwrap_or_default();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        remote: Repository::open(&args.input.path).ok().and_then(|repository| repository.remotes().into_iter().next()),
        flags: flag("environment", &args.input.environment) + &flag("entrypoint", &args.input.entrypoint),
        decrypts: reading.layers.iter().any(|read| read.layer.spec.decryption.is_some()),
    };
    let text = page(&plan, &environment, &facts);
    let Some(file) = &args.output else {
        print_out(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::write(file, text).map_err(|error| Failure::new(format!("{}: cannot be written", file.display())).because(&error).code(3))?;
    Ok(ExitCode::SUCCESS)
}
