//! `prove`, and the last step of each run: whether all is what Git says.

use super::account::observed;
use super::start::{connect, print_out, read_all};
use super::{Failure, Output, StatusArgs};
use crate::aws::{Access, Cloud};
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::environment::check::Check as Endpoint;
use crate::execute::checks::{self, Asking};
use crate::execute::command::{self, Job, Surroundings};
use crate::execute::progress::{Made, Progress};
use crate::execute::prove::{self, Question};
use crate::execute::{Below, Events};
use crate::layers::outputs;
use crate::plan::Plan;
use crate::read::{Reading, Revision};
use crate::report::event::{Check, Happening, Verdict};
use crate::restore::claims::claims;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long what was made may take to be removed.
const GRACE: Duration = Duration::from_secs(5);

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// What is proved.
pub(super) struct Proof<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) reading: &'a Reading,
    pub(super) environment: &'a Environment,
    pub(super) plan: &'a Plan,
    /// The account; none where nothing is in one.
    pub(super) access: Option<&'a Access>,
    /// In a sandbox: what is real is not asked.
    pub(super) rehearsal: bool,
    /// How often the user asked to stop.
    pub(super) stop: watch::Receiver<u8>,
}

/// What was found, and the endpoints that were not asked.
struct Found {
    checks: Vec<Check>,
    not_asked: Vec<String>,
}

impl Proof<'_> {
    /// Looks at everything anew.
    async fn look(&self) -> Result<Found, Failure> {
        let claims = claims(self.reading, self.environment);
        let (mut checks, mut cloud) = (Vec::new(), None);
        let progress = Progress::default();
        let needs_secrets = self.reading.checks.iter().any(Endpoint::needs_account);
        if let Some(access) = self.access.filter(|_| !self.plan.declared.is_empty() || !claims.is_empty() || needs_secrets) {
            let account = Arc::new(super::cloud::connect(access).await?);
            let (observation, problems) = observed(&account, &self.plan.environment, &self.plan.declared).await?;
            for (position, found) in &observation.found {
                progress.ready(self.plan.declared[*position].node(), Made::of(&found.living));
            }
            if !self.plan.declared.is_empty() {
                checks.push(prove::resources(&self.plan.declared, &observation, &problems));
            }
            if !claims.is_empty() {
                checks.push(prove::volumes(&account, &claims).await.map_err(|error| super::cloud::unseen(&[error]))?);
            }
            cloud = Some(account);
        }
        self.commands(&progress, cloud.as_ref()).await?;
        let below = (cloud.is_some() || !self.reading.commands.is_empty()).then_some(Below { cloud, progress });
        let is_asked = |check: &&Endpoint| !self.rehearsal || !checks::is_outside(check, below.as_ref());
        let (asked, not_asked): (Vec<Endpoint>, Vec<Endpoint>) = self.reading.checks.iter().cloned().partition(|check| is_asked(&check));
        let asking = Asking {
            cluster: self.cluster,
            below: below.as_ref(),
            base: &self.environment.base,
            rehearsal: self.rehearsal,
            stop: self.stop.clone(),
        };
        let question = Question { cluster: self.cluster, reading: self.reading, below: below.as_ref(), claims: &claims };
        let (of_cluster, answers) = tokio::join!(Box::pin(prove::cluster(question)), checks::ask(&asked, asking));
        checks.extend(of_cluster);
        checks.extend(answers);
        Ok(Found { checks, not_asked: not_asked.into_iter().map(|check| format!("check {}", check.name)).collect() })
    }

    /// What the commands give that checks use: asked as `check` asks, nothing is run.
    async fn commands(&self, progress: &Progress, cloud: Option<&Arc<Cloud>>) -> Result<(), Failure> {
        let mut checks = self.reading.checks.clone();
        let used: BTreeSet<String> =
            checks.iter_mut().flat_map(Endpoint::texts).flat_map(|text| outputs::in_text(text)).map(|output| output.node).collect();
        for command in self.reading.commands.iter().filter(|command| !self.rehearsal && used.contains(&command.node())) {
            let surroundings = Surroundings {
                base: self.environment.base.clone(),
                cloud: cloud.cloned(),
                events: Events::silent(),
                stop: self.stop.clone(),
            };
            let job = Job::look(command.clone(), &surroundings).await.map_err(Failure::new)?;
            if let Some(command::Found::Present(outputs)) = job.found {
                progress.ready(command.node(), Made { outputs, living: None });
            }
        }
        Ok(())
    }

    /// Tells what was found; whether all of it holds.
    pub(super) async fn tell(&self, events: &Events) -> Result<bool, Failure> {
        if !self.reading.checks.is_empty() {
            super::start::phase(events, "prove", "objects, layers, agent and endpoints");
        }
        let found = self.look().await?;
        for object in found.not_asked {
            events.send(Happening::StandIn { object, reason: checks::REAL.to_owned() });
        }
        let holds = holds(&found.checks);
        for check in found.checks {
            events.send(Happening::Checked(check));
        }
        Ok(holds)
    }

    /// Whether the user asked to stop meanwhile.
    pub(super) fn is_interrupted(&self) -> bool {
        *self.stop.borrow() > 0
    }
}

fn holds(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict == Verdict::Held)
}

/// `blackstart prove`.
pub(super) async fn prove(args: StatusArgs, quiet: bool) -> Result<ExitCode, Failure> {
    let (environment, reading) = read_all(&args.input, Revision::Named("HEAD".into())).await?;
    let mut plan = crate::plan::plan(&reading, &environment, &crate::aws::catalogue());
    crate::read::signatures::tolerate(&mut plan.problems);
    if super::plan::is_blocked(&plan) {
        return Err(Failure::problems(plan.problems));
    }
    let cluster = connect(&args.cluster, &environment).await?;
    let access = environment.spec.aws.as_ref().map(|_| super::cloud::access(&environment));
    let stop = super::start::stop_signal();
    let mut hurry = stop.clone();
    let proof = Proof {
        cluster: &cluster,
        reading: &reading,
        environment: &environment,
        plan: &plan,
        access: access.as_ref(),
        rehearsal: false,
        stop,
    };
    let checks = tokio::select! {
        found = proof.look() => found?.checks,
        () = given_up(&mut hurry) => return Err(Failure::new("interrupted").code(130)),
    };
    if proof.is_interrupted() {
        return Err(Failure::new("interrupted").code(130));
    }
    let holds = holds(&checks);
    let text = match args.output {
        Output::Json => {
            let all = json!({
                "apiVersion": "blackstart/v1alpha1",
                "kind": "Proof",
                "environment": plan.environment,
                "revision": reading.revision,
                "holds": holds,
                "checks": checks,
            });
            serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
        }
        Output::Human if quiet => lines(checks.iter().filter(|check| check.verdict == Verdict::Failed)),
        Output::Human => lines(checks.iter()),
    };
    print_out(&text)?;
    Ok(ExitCode::from(u8::from(!holds)))
}

/// Returns some time after the first Ctrl-C, so that what was made can be removed, or at the second.
async fn given_up(stop: &mut watch::Receiver<u8>) {
    checks::stopped(stop).await;
    let _ = tokio::time::timeout(GRACE, stop.wait_for(|count| *count > 1)).await;
}

fn lines<'a>(checks: impl Iterator<Item = &'a Check>) -> String {
    let mut text = String::new();
    for check in checks {
        let _ = match check.verdict {
            Verdict::Held => writeln!(text, "{GOOD}✓{GOOD:#} {:<10} {}", check.name, check.detail),
            Verdict::Failed => writeln!(text, "{BAD}✗ {:<10}{BAD:#} {}", check.name, check.detail),
        };
        if let Some(fix) = &check.fix {
            let _ = writeln!(text, "  {:<10} {FAINT}{fix}{FAINT:#}", "");
        }
    }
    text
}
