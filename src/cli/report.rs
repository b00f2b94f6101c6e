//! `report`: kept reports, shown again and compared; and where a run keeps its own beside a folder.

use super::start::{connect, print_out};
use super::{ClusterArgs, Failure, Output, ReportArgs, RunArgs};
use crate::environment::Environment;
use crate::execute::keep::{Place, in_bucket, in_cluster};
use crate::read;
use crate::report::{self, Report};
use std::path::Path;
use std::process::ExitCode;

/// `blackstart report`.
pub(super) fn report(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let reports = args.folders.iter().map(|folder| read_report(folder)).collect::<Result<Vec<_>, _>>()?;
    let color = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    if args.compare {
        let [before, after] = reports.as_slice() else {
            return Err(Failure::new("--compare: wants two reports").hint("blackstart report --compare before/ after/").code(2));
        };
        if before.environment != after.environment {
            return Err(Failure::new(format!(
                "--compare: these are of two environments: {} and {}",
                before.environment, after.environment
            ))
            .code(2));
        }
        let comparison = report::compare(before, after);
        let text = match args.output {
            Output::Json => serde_json::to_string_pretty(&comparison).unwrap_or_default() + "\n",
            Output::Human => comparison.text(color),
        };
        print_out(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = report::columns(120);
    let texts: Vec<String> = match args.output {
        Output::Json => reports.iter().map(|report| serde_json::to_string_pretty(report).unwrap_or_default() + "\n").collect(),
        Output::Human => reports.iter().map(|report| report::shown(report, columns, color)).collect(),
    };
    print_out(&texts.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// A folder with a report.json, or the file itself.
fn read_report(path: &Path) -> Result<Report, Failure> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let failed = |error: &dyn std::error::Error| {
        let failure = Failure::new(format!("{}: cannot be read as a report", file.display())).because(error);
        failure.hint("give a folder that a run wrote: blackstart recover --report DIR").code(3)
    };
    let text = std::fs::read_to_string(&file).map_err(|error| failed(&error))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| failed(&error))?;
    if report.kind != "Report" {
        return Err(Failure::new(format!("{}: is of kind {}, not Report", file.display(), report.kind)).code(3));
    }
    Ok(report)
}

/// Whether `--report` names a place that is no folder.
pub(super) fn place(args: &RunArgs) -> Result<Option<Place>, Failure> {
    let text = args.report.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    if !text.contains("://") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why| Failure::new(format!("--report: {why}")).code(2))
}

/// Keeps the report of a run that is over. `cluster` is none where the run's own is gone with it.
pub(super) async fn keep(place: &Place, report: &Report, args: &RunArgs, cluster: Option<&ClusterArgs>) -> Result<(), Failure> {
    let input = &args.input;
    let environment: Environment = read::environment(&input.path, input.environment.as_deref(), input.region.as_deref())?;
    let files = report::files(report);
    let failed = |why: String| Failure::new(format!("report: cannot be kept in {place}: {why}")).hint("keep it in a folder: --report DIR");
    match place {
        Place::Bucket { bucket, prefix } => {
            let cloud = super::cloud::connect(&super::cloud::access(&environment)).await?;
            in_bucket(&cloud, bucket, prefix, &report.run, &files).await.map_err(|error| failed(error.to_string()))?;
        }
        Place::ConfigMap { namespace, name } => {
            let Some(cluster) = cluster else { return Err(failed("there is no cluster left to keep it in".to_owned())) };
            let cluster = connect(cluster, &environment).await?;
            let left_out = in_cluster(&cluster, namespace, name, &files).await.map_err(|error| failed(error.to_string()))?;
            if !left_out.is_empty() {
                anstream::eprintln!("report: {} did not fit into a ConfigMap", left_out.join(", "));
            }
        }
    }
    anstream::eprintln!("report: {place}");
    Ok(())
}
