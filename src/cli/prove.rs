//! `prove`, and the last step of each run: whether all is what Git says.

use super::account::observed;
use super::start::{connect, print_out, read_all};
use super::{Failure, Output, StatusArgs};
use crate::aws::Access;
use crate::cluster::Cluster;
use crate::environment::Environment;
use crate::execute::progress::{Made, Progress};
use crate::execute::prove::{self, Question};
use crate::execute::{Below, Events};
use crate::plan::Plan;
use crate::read::{Reading, Revision};
use crate::report::event::{Check, Happening, Verdict};
use crate::restore::claims::claims;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

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
}

impl Proof<'_> {
    /// Looks at everything anew.
    pub(super) async fn checks(&self) -> Result<Vec<Check>, Failure> {
        let claims = claims(self.reading, self.environment);
        let mut checks = Vec::new();
        let mut below = None;
        if let Some(access) = self.access.filter(|_| !self.plan.declared.is_empty() || !claims.is_empty()) {
            let cloud = Arc::new(super::cloud::connect(access).await?);
            let (observation, problems) = observed(&cloud, &self.plan.environment, &self.plan.declared).await?;
            let progress = Progress::default();
            for (position, found) in &observation.found {
                progress.ready(self.plan.declared[*position].node(), Made::of(&found.living));
            }
            if !self.plan.declared.is_empty() {
                checks.push(prove::resources(&self.plan.declared, &observation, &problems));
            }
            if !claims.is_empty() {
                checks.push(prove::volumes(&cloud, &claims).await.map_err(|error| super::cloud::unseen(&[error]))?);
            }
            below = Some(Below { cloud: Some(cloud), progress });
        }
        let question = Question { cluster: self.cluster, reading: self.reading, below: below.as_ref(), claims: &claims };
        checks.extend(prove::cluster(question).await);
        Ok(checks)
    }

    /// Tells what was found; whether all of it holds.
    pub(super) async fn tell(&self, events: &Events) -> Result<bool, Failure> {
        let checks = self.checks().await?;
        let holds = holds(&checks);
        for check in checks {
            events.send(Happening::Checked(check));
        }
        Ok(holds)
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
    let proof = Proof { cluster: &cluster, reading: &reading, environment: &environment, plan: &plan, access: access.as_ref() };
    let checks = proof.checks().await?;
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
