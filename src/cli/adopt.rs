//! `adopt`: on a healthy day, marks what lives as what the manifests mean, and says which tags Git should declare.

use super::account::{self, Account, observed};
use super::ask::ask;
use super::failure::problem_text;
use super::plan::resource_name;
use super::start::{connect, print_out, read_all};
use super::{AdoptArgs, Failure};
use crate::aws::{self, CloudError};
use crate::execute::adoption;
use crate::layers::infrastructure::{Declared, TAG_ENVIRONMENT, TAG_RESOURCE, Tags};
use crate::manifest::patch::{Insertion, unified};
use crate::plan::Plan;
use crate::read::{Reading, Revision};
use anstyle::{AnsiColor, Style};
use futures::stream::{StreamExt as _, iter};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

const NAME: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();
/// Calls under way at once.
const CALLS: usize = 16;

/// `blackstart adopt`.
pub(super) async fn adopt(args: AdoptArgs) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::WorkingTree).await?;
    let plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    account::refuse(&plan, &environment)?;
    let Some(mut account) = account::look(&plan, &environment).await? else {
        anstream::eprintln!("{}: declares no cloud resources; there is nothing to adopt", plan.environment);
        return Ok(ExitCode::SUCCESS);
    };
    let open: Vec<usize> = (0..plan.declared.len()).filter(|position| !account.observation.found.contains_key(position)).collect();
    if !open.is_empty() {
        match connect(&args.cluster, &environment).await {
            Ok(cluster) => {
                let named = adoption::named(&cluster, &plan.declared, &open).await?;
                if !named.is_empty() {
                    let naming = adoption::naming(&plan.declared, &named);
                    (account.observation, account.problems) = observed(&account.cloud, &plan.environment, &naming).await?;
                    adoption::credit(&mut account.observation, &named);
                }
            }
            Err(failure) => {
                anstream::eprintln!("{FAINT}the cluster was not asked for what has no name: {}{FAINT:#}", failure.message());
            }
        }
    }
    if !account.problems.is_empty() {
        return Err(Failure::problems(account.problems));
    }
    let marking = list(&plan, &account);
    let code = if marking.is_empty() { ExitCode::SUCCESS } else { mark(&args, &plan, &account, &marking).await? };
    print_out(&patch(&plan, &account, &reading))?;
    Ok(code)
}

/// Shows each resource with its evidence; gives those that are to be marked.
fn list(plan: &Plan, account: &Account) -> Vec<usize> {
    let mut marking = Vec::new();
    let mut text = String::new();
    for (position, declared) in plan.declared.iter().enumerate() {
        let name = resource_name(&declared.node());
        let Some(found) = account.observation.found.get(&position) else {
            let _ = writeln!(text, "missing  {NAME}{name}{NAME:#}  {FAINT}nothing that lives fits{FAINT:#}");
            continue;
        };
        let living = &found.living;
        let word = if found.wants_marks(declared, &plan.environment) {
            marking.push(position);
            "mark"
        } else if declared.schema.tags == Tags::None {
            // The name alone says it.
            "no tags"
        } else if living.is_tended() && living.tags.get(TAG_RESOURCE) != Some(&declared.key()) {
            "by ACK"
        } else {
            "marked"
        };
        let made = living.created.as_deref().map(|time| format!(", made {time}")).unwrap_or_default();
        let _ = writeln!(text, "{word:<8} {NAME}{name}{NAME:#}  {} {FAINT}by {}{made}{FAINT:#}", living.id, found.evidence);
    }
    anstream::eprint!("{text}");
    marking
}

/// Asks, then sets our two tags on each.
async fn mark(args: &AdoptArgs, plan: &Plan, account: &Account, marking: &[usize]) -> Result<ExitCode, Failure> {
    let place = account.cloud.place();
    let count = marking.len();
    let what = if count == 1 { "1 resource".to_owned() } else { format!("{count} resources") };
    let question =
        format!("Set the tags {TAG_ENVIRONMENT} and {TAG_RESOURCE} on {what} in account {} ({})? [y/N]", place.account, place.region);
    if !args.yes {
        let answer = ask(&question).map_err(|error| Failure::new("standard input: cannot be read").because(&error).code(3))?;
        match answer.as_deref() {
            Some("y" | "Y" | "yes") => {}
            Some(_) => return Err(Failure::new("not confirmed; nothing was written")),
            None => {
                let failure =
                    Failure::new(format!("{what} to mark, and nobody to ask: standard input is no terminal; nothing was written"));
                return Err(failure.hint("look at the list above, then run the same command with --yes").code(2));
            }
        }
    }
    let marks = iter(marking).map(|&position| async move {
        let declared = &plan.declared[position];
        let living = &account.observation.found[&position].living;
        (declared, aws::mark(&account.cloud, declared, living, &declared.marks(&plan.environment)).await)
    });
    let results: Vec<(&Declared, Result<(), CloudError>)> = marks.buffer_unordered(CALLS).collect().await;
    let failed: Vec<String> = results.iter().filter_map(|(declared, result)| Some(declared.error(result.as_ref().err()?))).collect();
    if failed.is_empty() {
        anstream::eprintln!("{what} marked");
        return Ok(ExitCode::SUCCESS);
    }
    let failure = Failure::new(format!("{} of {count} marked; not marked: {}", count - failed.len(), failed.join("; ")));
    let hint = results.iter().find_map(|(_, result)| result.as_ref().err()?.hint());
    Err(failure.hint(hint.unwrap_or("run the same command again: it goes on with what is not marked")))
}

/// What Git should declare, since an ACK controller takes away what Git does not, and our tags are gone with a resource.
fn patch(plan: &Plan, account: &Account, reading: &Reading) -> String {
    let mut files: BTreeMap<String, (String, Vec<Insertion>)> = BTreeMap::new();
    for (position, declared) in plan.declared.iter().enumerate() {
        let Some(found) = account.observation.found.get(&position) else { continue };
        let Some(tags) = adoption::proposal(declared, found, &plan.environment) else { continue };
        let words: Vec<String> = tags.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let words = words.join(", ");
        let text = declared.origin().and_then(|origin| reading.text(&origin.file));
        let insertion = text.as_ref().and_then(|text| adoption::insertion(declared, &tags, text));
        let problem = crate::problem::Problem::blocks(
            "cloud-identity",
            format!("{}: nothing but our tags tells it from others; declare the tag {words}", declared.resource.id()),
        );
        anstream::eprint!("{}", problem_text(&problem.at(declared.origin())));
        if let (Some(origin), Some(text), Some(insertion)) = (declared.origin(), text, insertion) {
            files.entry(origin.file).or_insert_with(|| (text, Vec::new())).1.push(insertion);
        }
    }
    files.iter().map(|(file, (text, insertions))| unified(file, text, insertions)).collect()
}
