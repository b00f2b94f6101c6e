//! `destroy`: shows what is lost, asks for the environment's name, then deletes.

use super::account::{self, Account};
use super::ask::ask;
use super::plan::resource_name;
use super::start::{connect, finish, read_all, reporter, stop_signal};
use super::{DestroyArgs, Failure, Show};
use crate::aws::leftovers::{self, Leftovers, Whose};
use crate::aws::{self, Living};
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::execute::clearing::{self, Inside};
use crate::execute::destroy::{Demolition, Fate, destroy as demolish, doomed, fates};
use crate::execute::lease;
use crate::layers::infrastructure::{Declared, at};
use crate::plan::Plan;
use crate::read::Revision;
use anstyle::{AnsiColor, Style};
use futures::stream::{StreamExt as _, iter};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

const TITLE: Style = Style::new().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
const FAINT: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
/// Calls under way at once.
const CALLS: usize = 16;

/// The cluster that goes too.
enum Upper {
    /// blackstart.yaml names none, or it stays: left alone.
    None,
    /// With its node.
    Reached(String, Cluster, Box<Inside>),
    Unreachable(String),
}

/// `blackstart destroy`.
pub(super) async fn destroy(args: DestroyArgs, show: Show) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.run.input, Revision::Named("HEAD".into())).await?;
    let plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    account::refuse(&plan, &environment)?;
    let Some(account) = account::look(&plan, &environment).await? else {
        anstream::eprintln!("{}: declares no cloud resources; there is nothing to destroy", plan.environment);
        return Ok(ExitCode::SUCCESS);
    };
    let (fates, mut problems) = fates(&plan.declared, &account.observation, &plan.edges);
    problems.extend(account.problems.iter().cloned());
    if !problems.is_empty() {
        return Err(Failure::problems(problems));
    }
    let doomed = doomed(&plan.declared, &account.observation, &fates);
    let upper = upper(&args, &environment, &plan, &doomed).await?;
    let whose = whose(&account, &plan, &fates, &doomed, &upper);
    let left = leftovers::find(&account.cloud, &whose).await.map_err(|error| super::cloud::unseen(&[error]))?;
    let has_inside = matches!(&upper, Upper::Reached(_, _, inside) if !inside.is_empty());
    anstream::eprint!("{}", listing(&plan, &account, &fates, &upper, &left).await);
    if doomed.is_empty() && left.is_empty() && !has_inside {
        anstream::eprintln!("Nothing of {} is left to delete.", plan.environment);
        return Ok(ExitCode::SUCCESS);
    }
    confirm(&args, &plan.environment)?;
    let (events, reporter) = reporter(&args.run, show)?;
    super::context::tell(&events, "destroy", &environment, &plan.revision, &args.run.input.path);
    let work = Demolition {
        cloud: account.cloud,
        environment: plan.environment,
        revision: plan.revision,
        doomed,
        edges: plan.edges.into_iter().filter(|edge| edge.from.starts_with("aws/") && edge.to.starts_with("aws/")).collect(),
        cluster: match upper {
            Upper::Reached(node, cluster, inside) => Some((node, cluster, *inside)),
            _ => None,
        },
        whose,
        timeout: args.run.timeout,
        events: events.clone(),
        stop: stop_signal(),
    };
    finish(Ok(demolish(work).await), events, reporter, &args.run, None).await
}

/// The environment's cluster, where blackstart.yaml names it and it is not kept: a kubeconfig that merely lies about is never touched.
async fn upper(args: &DestroyArgs, environment: &Environment, plan: &Plan, doomed: &[(Declared, Living)]) -> Result<Upper, Failure> {
    let Some(named) = &environment.spec.cluster else { return Ok(Upper::None) };
    if let Some(name) = &named.eks
        && !clusters(doomed).any(|doomed| doomed == *name)
    {
        return Ok(Upper::None);
    }
    let node = plan.nodes.iter().find(|node| node.id.starts_with("cluster/")).map_or_else(String::new, |node| node.id.clone());
    let cluster = match connect(&args.cluster, environment).await {
        Ok(cluster) => cluster,
        Err(failure) => return Ok(Upper::Unreachable(failure.message().to_owned())),
    };
    // A run that works on it now would make again what is deleted here.
    match lease::look(&cluster, &plan.environment).await {
        Err(error @ lease::LeaseError::Held { .. }) => return Err(crate::execute::RunError::from(error).into()),
        Err(error) => return Ok(Upper::Unreachable(error.to_string())),
        Ok(_) => {}
    }
    match clearing::look(&cluster).await {
        Ok(inside) => Ok(Upper::Reached(node, cluster, Box::new(inside))),
        Err(error) => Ok(Upper::Unreachable(error.to_string())),
    }
}

/// Names of the EKS clusters among these.
fn clusters(doomed: &[(Declared, Living)]) -> impl Iterator<Item = String> {
    let clusters = doomed.iter().filter(|(declared, _)| is_cluster(declared));
    clusters.filter_map(|(_, living)| Some(at(&living.spec, "name")?.as_str()?.to_owned()))
}

fn is_cluster(declared: &Declared) -> bool {
    declared.schema.service == "eks" && declared.schema.kind == "Cluster"
}

fn whose(account: &Account, plan: &Plan, fates: &[Fate], doomed: &[(Declared, Living)], upper: &Upper) -> Whose {
    let living = account.observation.found.values().map(|found| &found.living);
    let arns = living.clone().filter_map(|living| living.status.pointer("/ackResourceMetadata/arn")?.as_str().map(str::to_owned));
    let mut whose = Whose { declared: living.clone().map(|living| living.id.clone()).chain(arns).collect(), ..Whose::default() };
    whose.clusters.extend(clusters(doomed));
    // One that an earlier destroy deleted may have left something. One that only lives elsewhere than in the manifests is another's.
    let gone = plan.declared.iter().zip(fates).filter(|(declared, fate)| is_cluster(declared) && **fate == Fate::Gone);
    whose.clusters.extend(gone.filter_map(|(declared, _)| Some(at(declared.spec(), "name")?.as_str()?.to_owned())));
    if let Upper::Reached(_, _, inside) = upper {
        whose.volumes.extend(inside.handles.iter().cloned());
        whose.declared.extend(inside.retained.iter().cloned());
    }
    whose
}

/// What goes, what is lost with it, and what stays.
async fn listing(plan: &Plan, account: &Account, fates: &[Fate], upper: &Upper, left: &Leftovers) -> String {
    let place = account.cloud.place();
    let mut text = format!("{TITLE}{}{TITLE:#} in account {} ({})\n", plan.environment, place.account, place.region);
    let all = || plan.declared.iter().zip(fates).enumerate();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (_, (declared, _)) in all().filter(|(_, (_, fate))| **fate == Fate::Delete) {
        *kinds.entry(format!("{} {}", declared.schema.service, declared.schema.kind)).or_default() += 1;
    }
    for (kind, count) in &kinds {
        let _ = writeln!(text, "  {BAD}delete{BAD:#} {count:>3} {kind}");
    }
    let holdings = all().filter(|(_, (_, fate))| **fate == Fate::Delete).filter_map(|(position, (declared, _))| {
        Some((declared, &account.observation.found[&position].living, aws::kind(declared.schema)?))
    });
    let holdings =
        iter(holdings).map(|(declared, living, kind)| async move { (declared, living, kind.holds(&account.cloud, living).await) });
    let holdings: Vec<_> = holdings.buffered(CALLS).collect().await;
    for (declared, living, holds) in holdings {
        let words = match holds {
            Ok(None) => continue,
            Ok(Some(words)) => words,
            Err(error) => format!("what it holds is not known: {error}"),
        };
        let _ = writeln!(text, "  {BAD}lost{BAD:#}   {NAME}{}{NAME:#} {}: {words}", resource_name(&declared.node()), living.id);
    }
    match upper {
        Upper::None => {}
        Upper::Unreachable(why) => {
            let _ =
                writeln!(text, "  {FAINT}the cluster does not answer; what it made in the account is deleted by its tags: {why}{FAINT:#}");
        }
        Upper::Reached(node, _, inside) => {
            for object in &inside.ways_in {
                let _ = writeln!(text, "  {BAD}delete{BAD:#} in {node}: {object}");
            }
            for (claim, size) in &inside.claims {
                let _ = writeln!(text, "  {BAD}lost{BAD:#}   in {node}: {claim} ({size})");
            }
            for volume in &inside.retained {
                let _ = writeln!(text, "  keep   {volume} {FAINT}(a volume that does not go with its claim){FAINT:#}");
            }
        }
    }
    if !left.is_empty() {
        let _ = writeln!(text, "  {BAD}delete{BAD:#} made by the cluster: {}", left.words());
    }
    for (position, (declared, fate)) in all() {
        if let Fate::Keep(why) = fate {
            let id = &account.observation.found[&position].living.id;
            let _ = writeln!(text, "  keep   {NAME}{}{NAME:#} {id} {FAINT}({why}){FAINT:#}", resource_name(&declared.node()));
        }
    }
    text
}

/// Only the environment's own name will do.
fn confirm(args: &DestroyArgs, name: &str) -> Result<(), Failure> {
    let question = format!("This cannot be undone. Type {TITLE}{name}{TITLE:#} to delete it:");
    let given = match &args.confirm {
        Some(given) => Some(given.clone()),
        None => ask(&question).map_err(|error| Failure::new("standard input: cannot be read").because(&error).code(3))?,
    };
    match given {
        Some(given) if given == name => Ok(()),
        Some(given) => Err(Failure::new(format!("`{given}` is not the name of this environment; nothing was deleted")).code(2)),
        None => {
            let failure = Failure::new("nobody to ask: standard input is no terminal; nothing was deleted");
            Err(failure.hint(format!("look at the list above, then run the same command with --confirm {name}")).code(2))
        }
    }
}
