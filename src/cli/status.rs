//! `status`: where an environment stands, in a short table.

use super::account::{self, Account};
use super::start::{connect, print_out, read_all};
use super::{ClusterArgs, Failure, Output, StatusArgs};
use crate::aws::State;
use crate::cluster::{Cluster, ClusterError};
use crate::environment::Environment;
use crate::execute::survey::{self, Agent, Standing};
use crate::plan::Plan;
use crate::plan::live::{Differing, Reached};
use crate::read::{Reading, Revision};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;

const TITLE: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();

/// What `status -o json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    api_version: &'static str,
    kind: &'static str,
    environment: String,
    revision: String,
    /// Everything is as declared.
    as_declared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws: Option<Cloud>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Upper>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cloud {
    account: String,
    region: String,
    declared: usize,
    found: usize,
    /// Nodes that do not live.
    missing: Vec<Place>,
    /// Made, changed or deleted just now, or failed.
    unsettled: Vec<Place>,
    differences: Vec<Differing>,
    /// More than one candidate.
    problems: Vec<crate::problem::Problem>,
}

/// A node, where it is declared, and AWS' word for its state where that tells something.
#[derive(Clone, Serialize)]
struct Place {
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(flatten)]
    origin: Option<crate::problem::Origin>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upper {
    #[serde(flatten)]
    reached: Reached,
    version: String,
    agent: Option<Agent>,
    ready: usize,
    layers: Vec<Standing>,
}

/// `blackstart status`.
pub(super) async fn status(args: StatusArgs, quiet: bool) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::Named("HEAD".into())).await?;
    super::start::flux_only(&reading, "status")?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    crate::read::signatures::tolerate(&mut plan.problems);
    if super::plan::is_blocked(&plan) {
        return Err(Failure::problems(plan.problems));
    }
    let status = ask(&plan, &reading, &environment, &args.cluster).await?;
    let text = match args.output {
        Output::Json => serde_json::to_string_pretty(&status).unwrap_or_default() + "\n",
        Output::Human if quiet => String::new(),
        Output::Human => human(&status),
    };
    print_out(&text)?;
    Ok(ExitCode::from(u8::from(!status.as_declared)))
}

async fn ask(plan: &Plan, reading: &Reading, environment: &Environment, place: &ClusterArgs) -> Result<Status, Failure> {
    let upper = async {
        if plan.layers.is_empty() {
            return None;
        }
        let asked = async {
            let cluster = connect(place, environment).await?;
            let (agent, layers) = tell(&cluster, reading).await?;
            Ok::<_, Failure>((cluster, agent, layers))
        };
        Some(match asked.await {
            Ok((cluster, agent, layers)) => Upper {
                reached: Reached { server: Some(cluster.server().to_owned()), unreachable: None },
                version: cluster.version().to_owned(),
                agent,
                ready: layers.iter().filter(|layer| layer.missing.is_none()).count(),
                layers,
            },
            Err(failure) => Upper {
                reached: Reached { server: None, unreachable: Some(failure.message().to_owned()) },
                version: String::new(),
                agent: None,
                ready: 0,
                layers: Vec::new(),
            },
        })
    };
    let (account, cluster) = tokio::join!(Box::pin(account::look(plan, environment)), Box::pin(upper));
    let aws = account?.map(|account| cloud(plan, &account));
    let lower_is_well = aws
        .as_ref()
        .is_none_or(|aws| aws.missing.is_empty() && aws.unsettled.is_empty() && aws.differences.is_empty() && aws.problems.is_empty());
    let upper_is_well = cluster.as_ref().is_none_or(|upper| {
        let agent_is_well = upper.agent.as_ref().is_some_and(|agent| agent.unavailable.is_empty());
        upper.reached.server.is_some() && agent_is_well && upper.ready == upper.layers.len()
    });
    Ok(Status {
        api_version: "blackstart/v1alpha1",
        kind: "Status",
        environment: plan.environment.clone(),
        revision: plan.revision.clone(),
        as_declared: lower_is_well && upper_is_well,
        aws,
        cluster,
    })
}

async fn tell(cluster: &Cluster, reading: &Reading) -> Result<(Option<Agent>, Vec<Standing>), ClusterError> {
    tokio::try_join!(survey::agent(cluster), survey::layers(cluster, reading))
}

fn cloud(plan: &Plan, account: &Account) -> Cloud {
    let place = account.cloud.place();
    let mut cloud = Cloud {
        account: place.account.clone(),
        region: place.region.clone(),
        declared: plan.declared.len(),
        found: account.observation.found.len(),
        missing: Vec::new(),
        unsettled: Vec::new(),
        differences: Vec::new(),
        problems: account.problems.clone(),
    };
    for (position, declared) in plan.declared.iter().enumerate() {
        let place = Place { node: declared.node(), state: None, origin: declared.origin() };
        let Some(found) = account.observation.found.get(&position) else {
            // One with several candidates is told by its problem.
            if !account.problems.iter().any(|problem| problem.message.starts_with(&format!("{}:", declared.resource.id()))) {
                cloud.missing.push(place);
            }
            continue;
        };
        if let State::Pending(word) | State::Failed(word) | State::Leaving(word) = &found.living.state {
            cloud.unsettled.push(Place { state: Some(word.clone()), ..place });
        }
        cloud.differences.extend(found.differences.iter().map(|difference| Differing::new(declared, difference)));
    }
    cloud
}

fn human(status: &Status) -> String {
    let mut text = String::new();
    let sha = crate::repo::short(&status.revision);
    let (style, word) = if status.as_declared { (GOOD, "as declared") } else { (BAD, "not as declared") };
    let _ = writeln!(text, "{TITLE}{}{TITLE:#} at {sha}: {style}{word}{style:#}", status.environment);
    if let Some(aws) = &status.aws {
        let _ = writeln!(text, "  {FAINT}account{FAINT:#}  {} {}", aws.account, aws.region);
        let mut parts = vec![format!("{} of {} found", aws.found, aws.declared)];
        let differing: std::collections::BTreeSet<&str> = aws.differences.iter().map(|difference| difference.node.as_str()).collect();
        let counts = [
            (aws.missing.len(), "missing"),
            (differing.len(), "different"),
            (aws.unsettled.len(), "not settled"),
            (aws.problems.len(), "ambiguous"),
        ];
        parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
        let _ = writeln!(text, "  {FAINT}cloud{FAINT:#}    {}", parts.join(", "));
        for place in &aws.missing {
            line(&mut text, "missing", place, "");
        }
        for place in &aws.unsettled {
            line(&mut text, "not settled", place, &format!(": {}", place.state.as_deref().unwrap_or_default()));
        }
        for difference in &aws.differences {
            let place = Place { node: difference.node.clone(), state: None, origin: difference.origin.clone() };
            line(&mut text, "different", &place, &format!(": {}", super::plan::difference(difference)));
        }
        for problem in &aws.problems {
            text.push_str(&super::failure::problem_text(problem));
        }
    }
    if let Some(upper) = &status.cluster {
        cluster(upper, &mut text);
    }
    text
}

fn line(text: &mut String, word: &str, place: &Place, rest: &str) {
    let origin = place.origin.as_ref().map(|origin| format!("  {FAINT}{origin}{FAINT:#}")).unwrap_or_default();
    let _ = writeln!(text, "           {BAD}{word}{BAD:#} {}{rest}{origin}", super::plan::resource_name(&place.node));
}

fn cluster(upper: &Upper, text: &mut String) {
    let Some(server) = &upper.reached.server else {
        let why = upper.reached.unreachable.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  {FAINT}cluster{FAINT:#}  {BAD}not reachable{BAD:#}: {why}");
        return;
    };
    let _ = writeln!(text, "  {FAINT}cluster{FAINT:#}  {server} {}", upper.version);
    let _ = match &upper.agent {
        None => writeln!(text, "  {FAINT}agent{FAINT:#}    {BAD}not installed{BAD:#}"),
        Some(agent) if agent.unavailable.is_empty() => writeln!(text, "  {FAINT}agent{FAINT:#}    Flux {}", agent.version),
        Some(agent) => {
            writeln!(text, "  {FAINT}agent{FAINT:#}    Flux {}, {BAD}not available{BAD:#}: {}", agent.version, agent.unavailable.join(", "))
        }
    };
    for pinned in upper.agent.iter().flat_map(|agent| &agent.pinned) {
        let _ = writeln!(text, "  {FAINT}pinned{FAINT:#}   {pinned}");
        let _ = writeln!(text, "           {FAINT}to follow Git again: blackstart recover --unpin, or {}{FAINT:#}", pinned.by_hand());
    }
    let _ = writeln!(text, "  {FAINT}layers{FAINT:#}   {} of {} ready at this revision", upper.ready, upper.layers.len());
    for layer in &upper.layers {
        if let Some(missing) = &layer.missing {
            let _ = writeln!(text, "           {BAD}not ready{BAD:#} {}: {missing}", layer.id);
        }
    }
}
