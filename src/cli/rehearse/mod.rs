//! `rehearse`: a whole run against a sandbox of this machine; with `--disaster`, what stands is lost in between.

mod disaster;
mod interrupt;

use super::prove::Proof;
use super::start::{Input, finish, input, phase, reporter, stop_signal};
use super::{Failure, RehearseArgs, Show};
use crate::aws::Access;
use crate::cluster::{Apply, Cluster, ClusterError};
use crate::environment::Environment;
use crate::execute::restore::Restored;
use crate::execute::{self, Below, Events, Finished, Installation, Mode, Run};
use crate::health::Expressions;
use crate::layers::infrastructure::Declared;
use crate::manifest::Resource;
use crate::plan::estimate::estimate;
use crate::read::{self, Reading};
use crate::report::Reporter;
use crate::report::event::Happening;
use crate::sandbox::edge::Edge;
use crate::sandbox::{self, AgentFlags, CloudOptions, Sandbox, operator, standin};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

/// `blackstart rehearse`; the sandbox is gone when it returns, unless `--keep` asks for a look at it.
pub(super) async fn rehearse(args: RehearseArgs, show: Show) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.disaster {
        let disaster = disaster::known(name)?;
        return Box::pin(disaster::rehearse(&args, &disaster, show)).await;
    }
    let (events, reporter) = reporter(&args.run, show)?;
    let mode = if args.bootstrap { Mode::Bootstrap } else { Mode::Recover };
    let mut stop = stop_signal();
    let (stage, given) = match Box::pin(Stage::up(&args, &events, &mut stop)).await {
        Ok(up) => up,
        Err(failure) => return finish(Err(failure), events, reporter, &args.run, None).await,
    };
    let result = Box::pin(stage.run(&args, &events, given, mode, None, true)).await;
    stage.end(&args, result, events, reporter, &mut stop).await
}

/// A sandbox, and what belongs to it as long as it stands.
struct Stage {
    sandbox: Arc<Mutex<Sandbox>>,
    /// Where its stand-ins are told.
    teller: watch::Sender<Events>,
    /// Those that were told: they stand in for the next run too.
    standing: Arc<std::sync::Mutex<Vec<Happening>>>,
    stop: watch::Receiver<u8>,
    /// What the sandbox's own tasks run in: they outlive a run that dies.
    home: Handle,
}

impl Stage {
    /// Starts a sandbox while the repository is read. Problems of the repository end both.
    async fn up(args: &RehearseArgs, events: &Events, stop: &mut watch::Receiver<u8>) -> Result<(Self, Input), Failure> {
        let (stand_ins, mut told) = mpsc::unbounded_channel::<sandbox::StandIn>();
        let (teller, listener) = watch::channel(events.clone());
        let standing = Arc::new(std::sync::Mutex::new(Vec::new()));
        let all = standing.clone();
        tokio::spawn(async move {
            while let Some(stand_in) = told.recv().await {
                let happening = Happening::StandIn { object: stand_in.object, reason: stand_in.reason };
                all.lock().unwrap_or_else(PoisonError::into_inner).push(happening.clone());
                let events = listener.borrow().clone();
                events.send(happening);
            }
        });
        // What stands in the environment's file alone; the repository is read beside the sandbox's start.
        let input_args = &args.run.input;
        let environment = read::environment(&input_args.path, input_args.environment.as_deref(), input_args.region.as_deref())?;
        let aws = environment.spec.aws.as_ref();
        let cloud = (aws.is_some() || !environment.spec.infrastructure.is_empty()).then(|| {
            let default = CloudOptions::default();
            CloudOptions {
                account: aws.map_or(default.account, |aws| aws.account_id.clone()),
                time_scale: args.time_scale.seconds(),
                ..default
            }
        });
        let region = aws.map(|aws| aws.region.clone());
        let up = async {
            let zones = cloud.is_some();
            let options = sandbox::Options { audit: true, cloud, region, zones, stand_ins: Some(stand_ins), ..sandbox::Options::default() };
            Sandbox::up(options).await.map_err(Failure::from)
        };
        let read = async {
            let given = input(&args.run.input, true, events).await?;
            phase(events, "sandbox", "a control plane on this machine");
            Ok(given)
        };
        let (sandbox, given) = tokio::select! {
            both = async { tokio::try_join!(up, read) } => both?,
            _ = stop.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
        };
        Ok((Self { sandbox: Arc::new(Mutex::new(sandbox)), teller, standing, stop: stop.clone(), home: Handle::current() }, given))
    }

    /// Ends the report; then the sandbox goes, or stays to be looked at until Ctrl-C.
    async fn end(
        self,
        args: &RehearseArgs,
        result: Result<Finished, Failure>,
        events: Events,
        reporter: Reporter,
        stop: &mut watch::Receiver<u8>,
    ) -> Result<ExitCode, Failure> {
        self.teller.send_replace(Events::silent());
        let code = finish(result, events, reporter, &args.run, None).await;
        if args.keep {
            let (id, kubeconfig) = {
                let sandbox = self.sandbox.lock().await;
                (sandbox.id().to_owned(), sandbox.kubeconfig().display().to_string())
            };
            anstream::eprintln!("\nSandbox {id} stays until Ctrl-C: export KUBECONFIG={kubeconfig}");
            let _ = stop.changed().await;
        }
        self.down().await?;
        code
    }

    async fn down(self) -> Result<(), Failure> {
        if let Ok(sandbox) = Arc::try_unwrap(self.sandbox) {
            sandbox.into_inner().down().await?;
        }
        Ok(())
    }

    /// One whole run in it. `journals`: what a killed run left, where one was; `is_new`: its account never held anything.
    async fn run(
        &self,
        args: &RehearseArgs,
        events: &Events,
        mut given: Input,
        mode: Mode,
        journals: Option<&Path>,
        is_new: bool,
    ) -> Result<Finished, Failure> {
        self.teller.send_replace(events.clone());
        if !is_new {
            for stand_in in self.standing.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                events.send(stand_in.clone());
            }
        }
        super::context::tell(events, "rehearse", &given.environment, &given.plan.revision, &args.run.input.path);
        let access = self.access(&given.environment, is_new).await;
        let mut account = match &access {
            Some(access) => super::cloud::look(&given, access, mode, journals, events, &self.stop).await?,
            // Without a sandbox's AWS nothing is declared, and no other may be touched.
            None => None,
        };
        let claims = account.as_mut().map(|ahead| ahead.complete(&mut given.plan)).unwrap_or_default();
        let measured = super::start::measured(&args.run, &given.plan, true);
        execute::announce(&given.plan, &estimate(&given.plan, &measured, args.time_scale.seconds()), events);
        let (reading, environment, plan) = (given.reading.clone(), given.environment.clone(), given.plan.clone());
        let connected = OnceLock::new();
        let above = async |below: Option<Below>| Box::pin(above(args, events, self, given, mode, below, claims, &connected)).await;
        let mut finished = match account {
            Some(ahead) => Box::pin(ahead.carry(events, |below| above(Some(below)))).await?,
            None => Box::pin(above(None)).await?,
        };
        if let (true, Some(cluster)) = (finished.success, connected.get()) {
            let proof = Proof {
                cluster,
                reading: &reading,
                environment: &environment,
                plan: &plan,
                access: access.as_ref(),
                rehearsal: true,
                stop: self.stop.clone(),
            };
            finished.success = proof.tell(events).await?;
            finished.interrupted |= !finished.success && proof.is_interrupted();
        }
        Ok(finished)
    }

    /// How the sandbox's AWS is reached; none where it has none.
    async fn access(&self, environment: &Environment, is_new: bool) -> Option<Access> {
        let endpoint = self.sandbox.lock().await.edge().map(Edge::endpoint)?;
        Some(Access { sandbox: Some(endpoint), is_new, ..super::cloud::access(environment) })
    }
}

/// What stands above the cloud resources.
#[expect(clippy::too_many_arguments, reason = "what a run consists of, at the only place where it comes together")]
async fn above(
    args: &RehearseArgs,
    events: &Events,
    stage: &Stage,
    given: Input,
    mode: Mode,
    below: Option<Below>,
    claims: Vec<Restored>,
    connected: &OnceLock<Cluster>,
) -> Result<Finished, Failure> {
    let sandbox = &stage.sandbox;
    let cluster = connect(&given, &*sandbox.lock().await).await?;
    let _ = connected.set(cluster.clone());
    let Input { reading, plan, secrets, .. } = given;
    {
        let mapped = reading.sources.iter().filter_map(|(id, source)| Some((id.clone(), source.tree.clone()?)));
        sandbox.lock().await.set_sources(mapped.collect());
    }
    let stand_ins = standin::find(&reading, &secrets, &read::charts::definitions(&reading));
    for stand_in in &stand_ins.list {
        events.send(Happening::StandIn { object: stand_in.object.clone(), reason: stand_in.reason.clone() });
    }
    for message in unfulfilled(&reading, &stand_ins) {
        events.send(Happening::Warning { node: None, message });
    }
    let operator = tokio::spawn(operator::run(cluster.clone(), stand_ins.statuses));
    let start = {
        let (sandbox, cluster, sources) = (sandbox.clone(), cluster.clone(), stand_ins.sources);
        let task = async move {
            let mut sandbox = sandbox.lock().await;
            sandbox.install_agent().await.map_err(|error| error.to_string())?;
            for source in &sources {
                write_source(&cluster, source).await.map_err(|error| error.to_string())?;
            }
            // Releases of placeholders are quick but for helm's waiting: more at once, as large environments have it.
            let mut flags = AgentFlags::default();
            flags.helm.push("--concurrent=10".to_owned());
            sandbox.start_agent(&flags).await.map_err(|error| error.to_string())
        };
        let home = stage.home.clone();
        async move { home.spawn(task).await.map_err(|error| error.to_string())? }
    };
    let look = execute::look(&cluster, &plan.environment, &reading, mode).await?;
    let run = Run {
        mode,
        plan,
        reading,
        secrets,
        stand_ins: stand_ins.objects,
        cluster,
        installation: Installation { components: Vec::new(), start: Some(Box::pin(start)) },
        below,
        claims,
        follow: execute::follow::Follow::AsDeclared,
        timeout: args.run.timeout,
        events: events.clone(),
        stop: stage.stop.clone(),
    };
    let finished = execute::run(run, look).await;
    operator.abort();
    Ok(finished?)
}

/// As a real run connects, where the environment's EKS cluster is among the declared resources; else as the sandbox's administrator.
async fn connect(given: &Input, sandbox: &Sandbox) -> Result<Cluster, Failure> {
    let name = given.environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.as_deref());
    let is_it = |declared: &Declared| {
        declared.schema.service == "eks" && declared.schema.kind == "Cluster" && declared.spec()["name"].as_str() == name
    };
    let (Some(name), Some(edge), true) = (name, sandbox.edge(), given.plan.declared.iter().any(is_it)) else {
        return Ok(Cluster::connect(Some(sandbox.kubeconfig()), None).await?);
    };
    let access = Access { sandbox: Some(edge.endpoint()), ..super::cloud::access(&given.environment) };
    let cloud = super::cloud::connect(&access).await?;
    let mut config = super::kubeconfig::of_eks(&cloud, &access, name).await?;
    super::kubeconfig::in_sandbox(&mut config, &edge.endpoint(), edge.keys());
    Ok(Cluster::connect_with(&config, name).await?)
}

/// Writes a source; the server lists a kind a moment after its definition is established.
async fn write_source(cluster: &Cluster, source: &Resource) -> Result<(), ClusterError> {
    let how = Apply { manager: "blackstart-stand-in", ..Apply::flux() };
    let (mut pause, deadline) = (Duration::from_millis(20), Instant::now() + Duration::from_secs(30));
    loop {
        match cluster.apply(&source.value, &how).await {
            Err(ClusterError::KindUnknown { .. }) if Instant::now() < deadline => tokio::time::sleep(pause).await,
            result => return result.map(drop),
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Health checks that the status of a stand-in does not fulfil: said before a layer waits for them in vain.
fn unfulfilled(reading: &Reading, stand_ins: &standin::StandIns) -> Vec<String> {
    let mut messages = Vec::new();
    for read in &reading.layers {
        let expressions = Expressions::compile(&read.layer.spec.health_check_exprs).unwrap_or_default();
        for rule in stand_ins.statuses.iter().filter(|rule| expressions.covers(&rule.api_version, &rule.kind)) {
            if !standin::fulfils(rule, &expressions) {
                messages.push(format!(
                    "{}: no stand-in status could be made that fulfils its healthCheckExprs of {}; it may never become ready here",
                    read.layer.id, rule.kind
                ));
            }
        }
    }
    messages
}
