//! `preflight`: all that a recovery needs, looked at before it; and the short form of it that a run begins with.

use super::account::observed;
use super::start::{Input, print_out, read_unlocked};
use super::{Failure, Output, PreflightArgs, Show};
use crate::aws::{Access, Cloud, CloudError};
use crate::environment::Environment;
use crate::execute::Events;
use crate::execute::preflight::{self, Given, Lower};
use crate::execute::restore::{self, Question};
use crate::plan::Plan;
use crate::preflight::{Backup, Check, Group, Preflight, Verdict};
use crate::problem::{Problem, Severity, count};
use crate::read::signatures::{Signed, UNSIGNED};
use crate::read::{Reading, Revision};
use crate::report::Verbosity;
use crate::report::event::Happening;
use crate::restore::claims::claims;
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;
use std::process::ExitCode;

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();

/// Findings of a group that are well and are shown one by one; more are counted.
const FEW: usize = 3;

/// `blackstart preflight`.
pub(super) async fn preflight(args: PreflightArgs, show: Show) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_unlocked(&args.input, Revision::Named("HEAD".into())).await?;
    let plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    let mut checks = repository(&plan);
    checks.extend(reading.signed.as_ref().map_or_else(Vec::new, |signed| signatures(signed, &plan)));
    let access = super::cloud::access(&environment);
    let needs_account = environment.spec.aws.is_some() || !plan.declared.is_empty();
    let cloud = if needs_account {
        let (cloud, more) = preflight::connect(&access).await;
        checks.extend(more);
        cloud
    } else {
        None
    };
    let (more, remote) = futures::future::join(
        Box::pin(look(&environment, &plan, &reading, cloud.as_ref(), &access, &args)),
        super::remote::check(&reading, &args.input, false),
    )
    .await;
    checks.extend(more);
    checks.push(match remote {
        Ok(()) => Check::ok(Group::Source, "remote", "has this commit, or is not asked for one"),
        Err(failure) => {
            let check = Check::blocker(Group::Source, "remote", failure.reason());
            match failure.advice() {
                Some(advice) => check.fix(advice),
                None => check,
            }
        }
    });
    let all = Preflight::new(&plan.environment, &plan.revision, checks);
    print_out(&match args.output {
        Output::Json => serde_json::to_string_pretty(&all).unwrap_or_default() + "\n",
        Output::Human => human(&all, show.verbosity),
    })?;
    Ok(ExitCode::from(u8::from(all.blockers > 0)))
}

async fn look(
    environment: &Environment,
    plan: &Plan,
    reading: &Reading,
    cloud: Option<&Cloud>,
    access: &Access,
    args: &PreflightArgs,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let observation = match cloud {
        Some(cloud) => match observed(cloud, &plan.environment, &plan.declared).await {
            Ok((observation, problems)) => {
                checks.extend(problems.iter().map(|problem| told(Group::Names, problem)));
                Some(observation)
            }
            Err(failure) => {
                checks.push(Check::blocker(Group::Permissions, "account", failure.reason()));
                None
            }
        },
        None => None,
    };
    let claims = claims(reading, environment);
    let mut declared = plan.declared.clone();
    let (mut restoration, mut backups) = (None, Vec::new());
    if let (Some(cloud), Some(observation)) = (cloud, &observation) {
        let name = &plan.environment;
        let question = Question { cloud, environment, name, declared: &plan.declared, observation, claims: &claims, is_new: access.is_new };
        match restore::survey(question).await {
            Ok((found, listed)) => {
                declared.extend(found.volumes.iter().cloned());
                (restoration, backups) = (Some(found), listed);
            }
            Err(errors) => {
                let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let fix = errors.iter().find_map(CloudError::hint);
                let check = Check::blocker(Group::Backups, "account", words.join("; "));
                checks.push(fix.map_or(check.clone(), |fix| check.fix(fix)));
            }
        }
    }
    let lower = cloud.map(|cloud| Lower {
        cloud,
        declared: &declared,
        observation: observation.as_ref(),
        backups: restoration.as_ref().map(|restoration| &restoration.backups),
        has_claims: !claims.is_empty(),
    });
    let given = Given { environment, plan, reading, lower, access, backups: &backups, resolver: args.resolver, short: false };
    checks.extend(preflight::look(given).await);
    checks
}

/// What the plan itself has found.
fn repository(plan: &Plan) -> Vec<Check> {
    let objects: usize = plan.layers.iter().map(|layer| layer.objects.len()).sum();
    let (layers, resources) = (count(plan.layers.len(), "layer"), count(plan.declared.len(), "cloud resource"));
    let read = format!("{layers}, {}, {resources}", count(objects, "object"));
    let mut checks: Vec<Check> = plan.problems.iter().map(|problem| told(Group::Repository, problem)).collect();
    if checks.is_empty() {
        checks.push(Check::ok(Group::Repository, "plan", read));
    }
    checks
}

/// What holds of the commits' signatures, and who could make it hold; what does not is a problem of the plan.
fn signatures(signed: &Signed, plan: &Plan) -> Vec<Check> {
    let mut checks = Vec::new();
    if !plan.problems.iter().any(|problem| problem.rule == UNSIGNED) {
        let found = match &signed.since {
            Some(since) => {
                format!("{} since {} signed by allowed authors", count(signed.commits, "commit"), crate::repo::short(since))
            }
            None => "the commit is signed by an allowed author".to_owned(),
        };
        checks.push(Check::ok(Group::Repository, "signatures", found));
    }
    if let Some(file) = &signed.keys_in_tree {
        let found = format!("{file} says whose signatures count, and whoever can push can change it");
        let fix = "give --allowed-signers FILE, or an environment's file from outside the repository";
        checks.push(Check::warning(Group::Repository, "signers", found).fix(fix));
    }
    checks
}

fn told(group: Group, problem: &Problem) -> Check {
    let check = match problem.severity {
        Severity::Blocks => Check::blocker(group, problem.rule, &problem.message),
        Severity::Differs | Severity::Risk => Check::warning(group, problem.rule, &problem.message),
    };
    let check = check.at(problem.origin.clone());
    match &problem.hint {
        Some(hint) => check.fix(hint),
        None => check,
    }
}

/// The first step of a run: what stands against it as a whole. Blockers end it, warnings are told, the rest is nobody's business now.
pub(super) async fn before(
    given: &Input,
    lower: Option<Lower<'_>>,
    access: &Access,
    backups: &[Backup],
    ignore: bool,
    events: &Events,
) -> Result<(), Failure> {
    let Input { environment, reading, plan, .. } = given;
    let looked = Given { environment, plan, reading, lower, access, backups, resolver: None, short: true };
    let all = Preflight::new(&plan.environment, &plan.revision, preflight::look(looked).await);
    for check in all.checks.iter().filter(|check| check.verdict == Verdict::Warning || (ignore && check.verdict == Verdict::Blocker)) {
        let fix = check.fix.as_ref().map(|fix| format!(" ({fix})")).unwrap_or_default();
        events.send(Happening::Warning { node: None, message: format!("{}: {}{fix}", check.name, check.found) });
    }
    let blockers: Vec<Problem> = all.checks.iter().filter(|check| check.verdict == Verdict::Blocker).map(problem).collect();
    if blockers.is_empty() || ignore {
        return Ok(());
    }
    Err(Failure::problems(blockers).hint("all checks: blackstart preflight; to go on all the same: --ignore-preflight"))
}

fn problem(check: &Check) -> Problem {
    let problem = Problem::blocks("preflight", format!("{}: {}", check.name, check.found)).at(check.origin.clone());
    match &check.fix {
        Some(fix) => problem.hint(fix),
        None => problem,
    }
}

fn human(all: &Preflight, verbosity: Verbosity) -> String {
    let mut text = String::new();
    let sha = crate::repo::short(&all.revision);
    if verbosity != Verbosity::Quiet {
        let _ = writeln!(text, "{TITLE}{}{TITLE:#} at {sha}", all.environment);
    }
    let mut groups: Vec<Group> = all.checks.iter().map(|check| check.group).collect();
    groups.dedup();
    for group in groups {
        let checks: Vec<&Check> = all.checks.iter().filter(|check| check.group == group).collect();
        let well = checks.iter().filter(|check| check.verdict == Verdict::Ok).count();
        let is_counted = well > FEW && verbosity != Verbosity::Verbose;
        let shown: Vec<&&Check> = checks
            .iter()
            .filter(|check| match check.verdict {
                Verdict::Blocker => true,
                Verdict::Ok => !is_counted && verbosity != Verbosity::Quiet,
                Verdict::Warning | Verdict::NotChecked => verbosity != Verbosity::Quiet,
            })
            .collect();
        if shown.is_empty() && verbosity == Verbosity::Quiet {
            continue;
        }
        let _ = writeln!(text, "\n{TITLE}{}{TITLE:#}", group.heading());
        // What nobody could tell for the same reason is one line.
        for alike in
            shown.chunk_by(|one, other| one.verdict == Verdict::NotChecked && (one.verdict, &one.found) == (other.verdict, &other.found))
        {
            line(alike, &mut text);
        }
        if is_counted && verbosity != Verbosity::Quiet {
            let _ = writeln!(text, "  {GOOD}ok{GOOD:#}           {well} more {FAINT}(-v lists them){FAINT:#}");
        }
    }
    let count = |number: usize, one: &str| if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") };
    let mut parts = Vec::new();
    if all.blockers > 0 {
        parts.push(format!("{BAD}{}{BAD:#}", count(all.blockers, "blocker")));
    }
    if all.warnings > 0 {
        parts.push(format!("{WARN}{}{WARN:#}", count(all.warnings, "warning")));
    }
    if all.not_checked > 0 {
        parts.push(format!("{} not checked", all.not_checked));
    }
    let parts = parts.join(", ");
    let _ = match (all.blockers, parts.is_empty()) {
        (0, true) => writeln!(text, "\n{GOOD}Nothing stands against a recovery.{GOOD:#}"),
        (0, false) => writeln!(text, "\n{GOOD}Nothing stands against a recovery{GOOD:#}: {parts}."),
        _ => writeln!(text, "\n{parts}."),
    };
    text
}

/// Names of one line; more are counted.
const MOST: usize = 4;

fn line(alike: &[&&Check], text: &mut String) {
    let Some(check) = alike.first() else { return };
    let names: Vec<&str> = alike.iter().take(MOST).map(|check| check.name.as_str()).collect();
    let more = if alike.len() > MOST { format!(" and {} more", alike.len() - MOST) } else { String::new() };
    let names = format!("{}{more}", names.join(", "));
    let (style, word) = match check.verdict {
        Verdict::Blocker => (BAD, "blocker"),
        Verdict::Warning => (WARN, "warning"),
        Verdict::NotChecked => (FAINT, "not checked"),
        Verdict::Ok => (GOOD, "ok"),
    };
    let origin = check.origin.as_ref().filter(|_| check.verdict != Verdict::Ok && alike.len() == 1);
    let origin = origin.map(|origin| format!("  {FAINT}{origin}{FAINT:#}")).unwrap_or_default();
    let _ = writeln!(text, "  {style}{word}{style:#}{} {}: {}{origin}", " ".repeat(12 - word.len()), names, check.found);
    if let Some(fix) = &check.fix {
        let _ = writeln!(text, "               {GOOD}fix:{GOOD:#} {fix}");
    }
}
