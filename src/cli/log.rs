//! `log`: what changed between two revisions, layer by layer.

use super::form::Form;
use super::start::{print_out, read_all};
use super::{Failure, InputArgs};
use crate::environment::Environment;
use crate::forms;
use crate::read::{ReadError, Reading, Revision, footprints};
use crate::repo::{RepoError, Repository};
use clap::Args;
use std::process::ExitCode;

pub(super) const LOG_EXAMPLES: &str = "\
Examples:
  blackstart log v1.4.0..v1.5.0                       what a release brings, layer by layer
  blackstart log v1.4.0                               since then, up to HEAD
  blackstart log HEAD..v1.4.0                         what going back would undo
  blackstart log origin/main.. -o markdown            for the comment of a merge request

A commit belongs to a layer where it touches a file that the layer is made of: its folder, what its kustomizations name, its own declaration.
Exit code: 0, 1 where a revision cannot be read.";

/// Arguments of `log`.
#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// FROM..TO; TO is HEAD where it is left out
    #[arg(value_name = "FROM..TO")]
    range: String,
    #[command(flatten)]
    input: InputArgs,
    /// Form of the output: human, json, yaml or markdown
    #[arg(short, long, default_value = "human", value_name = "FORM", hide_possible_values = true, help_heading = "Display")]
    output: Form,
}

/// `blackstart log`.
pub(super) async fn log(args: LogArgs) -> Result<ExitCode, Failure> {
    if args.input.revision.is_some() {
        return Err(Failure::new("--revision: log takes its revisions as FROM..TO").code(2));
    }
    let (from, to) = range(&args.range)?;
    let repository = Repository::open(&args.input.path).map_err(unread)?;
    let resolve = |name: &str| repository.resolve(name).map_err(unread);
    let (from, to) = (resolve(from)?.id, resolve(to)?.id);
    let (_, before) = at(&args.input, &from).await?;
    let (environment, after) = at(&args.input, &to).await?;
    let plan = |reading: &Reading| crate::plan::plan(reading, &environment, &crate::aws::catalogue());
    let walked = |from: &str, to: &str| repository.changes(from, to).map_err(unread);
    let (made, undone) = (walked(&from, &to)?, walked(&to, &from)?);
    let folders: Vec<String> = environment.spec.infrastructure.iter().map(|folder| folder.path.clone()).collect();
    let (earlier, later) = (plan(&before), plan(&after));
    let (old, new) = (footprints(&before), footprints(&after));
    let log = forms::log((&earlier, &before, &old), (&later, &after, &new), made, undone, &folders);
    print_out(&match args.output {
        Form::Human => forms::logged(&log),
        Form::Json => forms::json(&log),
        Form::Yaml => forms::yaml(&log),
        Form::Markdown => forms::logged_markdown(&log),
        other => return Err(other.refuse("log", "human, json, yaml or markdown")),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn unread(error: RepoError) -> Failure {
    ReadError::from(error).into()
}

async fn at(input: &InputArgs, revision: &str) -> Result<(Environment, Reading), Failure> {
    let input = InputArgs { revision: Some(revision.to_owned()), ..input.clone() };
    read_all(&input, Revision::WorkingTree).await.map_err(|failure| failure.of(crate::repo::short(revision)))
}

fn range<'t>(text: &'t str) -> Result<(&'t str, &'t str), Failure> {
    let (from, to) = text.split_once("..").unwrap_or((text, "HEAD"));
    if to.starts_with('.') || to.contains("..") {
        let message = format!("{text}: is no range of two revisions");
        return Err(Failure::new(message).hint("write FROM..TO; commits that only FROM has are told as undone").code(2));
    }
    let or_head = |name: &'t str| if name.is_empty() { "HEAD" } else { name };
    Ok((or_head(from), or_head(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_revisions_or_one() {
        let told = |text: &str| range(text).ok().map(|(from, to)| format!("{from} {to}"));
        assert_eq!(told("v1..v2").as_deref(), Some("v1 v2"));
        assert_eq!(told("v1").as_deref(), Some("v1 HEAD"));
        assert_eq!(told("v1..").as_deref(), Some("v1 HEAD"));
        assert_eq!(told("..v2").as_deref(), Some("HEAD v2"));
        assert_eq!(told("release-1.2..release-1.3").as_deref(), Some("release-1.2 release-1.3"));
        assert_eq!((told("a...b"), told("a..b..c")), (None, None));
    }
}
