//! `rehearse`: a whole run against a sandbox of this machine.

use super::cloud::Ahead;
use super::start::{Input, input, phase, stop_signal};
use super::{Failure, RehearseArgs};
use crate::aws::Access;
use crate::cluster::{Apply, Cluster, ClusterError};
use crate::execute::{self, Below, Events, Finished, Installation, Mode, Run};
use crate::health::Expressions;
use crate::layers::infrastructure::Declared;
use crate::manifest::Resource;
use crate::plan::estimate::estimate;
use crate::read::{self, Reading};
use crate::report::event::Happening;
use crate::sandbox::edge::Edge;
use crate::sandbox::{self, AgentFlags, CloudOptions, Sandbox, operator, standin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// The whole of it; the sandbox is gone when it returns, unless `--keep` asks for a look at it.
pub(super) async fn rehearse(args: &RehearseArgs, events: &Events) -> Result<Finished, Failure> {
    let mut stop = stop_signal();
    let (stand_ins, mut told) = mpsc::unbounded_channel::<sandbox::StandIn>();
    let teller = tokio::spawn({
        let events = events.clone();
        async move {
            while let Some(stand_in) = told.recv().await {
                events.send(Happening::StandIn { object: stand_in.object, reason: stand_in.reason });
            }
        }
    });
    // What stands in the environment's file alone; the repository is read beside the sandbox's start.
    let environment = read::environment(&args.run.input.path, args.run.input.environment.as_deref())?;
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
    // The control plane needs seconds to start; the repository is read meanwhile. Problems of the repository end both.
    let up = async {
        let options = sandbox::Options { audit: true, cloud, region, stand_ins: Some(stand_ins), ..sandbox::Options::default() };
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
    let sandbox = Arc::new(Mutex::new(sandbox));
    let result = Box::pin(run(args, events, &sandbox, given, stop.clone())).await;
    if args.keep {
        let (id, kubeconfig) = {
            let sandbox = sandbox.lock().await;
            (sandbox.id().to_owned(), sandbox.kubeconfig().display().to_string())
        };
        phase(events, "keep", &format!("sandbox {id} stays until Ctrl-C: export KUBECONFIG={kubeconfig}"));
        let _ = stop.changed().await;
    }
    if let Ok(sandbox) = Arc::try_unwrap(sandbox) {
        sandbox.into_inner().down().await?;
    }
    teller.abort();
    result
}

async fn run(
    args: &RehearseArgs,
    events: &Events,
    sandbox: &Arc<Mutex<Sandbox>>,
    given: Input,
    stop: tokio::sync::watch::Receiver<u8>,
) -> Result<Finished, Failure> {
    super::context::tell(events, "rehearse", &given.environment, &given.plan.revision, &args.run.input.path);
    let measured = super::start::measured(&args.run, &given.plan, true);
    execute::announce(&given.plan, &estimate(&given.plan, &measured, args.time_scale.seconds()), events);
    let mode = if args.bootstrap { Mode::Bootstrap } else { Mode::Recover };
    let account = look_at_account(&given, mode, sandbox, events, &stop).await?;
    let above = async |below: Option<Below>| above(args, events, sandbox, given, mode, below, stop).await;
    match account {
        Some(ahead) => Box::pin(ahead.carry(events, |below| above(Some(below)))).await,
        None => above(None).await,
    }
}

/// What stands above the cloud resources.
async fn above(
    args: &RehearseArgs,
    events: &Events,
    sandbox: &Arc<Mutex<Sandbox>>,
    given: Input,
    mode: Mode,
    below: Option<Below>,
    stop: tokio::sync::watch::Receiver<u8>,
) -> Result<Finished, Failure> {
    let cluster = connect(&given, &*sandbox.lock().await).await?;
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
        async move {
            let mut sandbox = sandbox.lock().await;
            sandbox.install_agent().await.map_err(|error| error.to_string())?;
            for source in &sources {
                write_source(&cluster, source).await.map_err(|error| error.to_string())?;
            }
            // Releases of placeholders are quick but for helm's waiting: more at once, as large environments have it.
            let mut flags = AgentFlags::default();
            flags.helm.push("--concurrent=10".to_owned());
            sandbox.start_agent(&flags).await.map_err(|error| error.to_string())
        }
    };
    let look = execute::look(&cluster, &plan.environment, &reading, mode).await?;
    let run = Run {
        mode,
        plan,
        reading: Arc::new(reading),
        secrets,
        stand_ins: stand_ins.objects,
        cluster,
        installation: Installation { components: Vec::new(), start: Some(Box::pin(start)) },
        below,
        timeout: args.run.timeout,
        events: events.clone(),
        stop,
    };
    let finished = execute::run(run, look).await;
    operator.abort();
    Ok(finished?)
}

/// What is to be made in the sandbox's AWS; none where nothing is declared.
async fn look_at_account(
    given: &Input,
    mode: Mode,
    sandbox: &Arc<Mutex<Sandbox>>,
    events: &Events,
    stop: &tokio::sync::watch::Receiver<u8>,
) -> Result<Option<Ahead>, Failure> {
    let endpoint = sandbox.lock().await.edge().map(Edge::endpoint);
    // Without a sandbox's AWS nothing is declared, and no other may be touched.
    let Some(endpoint) = endpoint else { return Ok(None) };
    let access = Access { sandbox: Some(endpoint), ..super::cloud::access(&given.environment) };
    super::cloud::look(given, &access, mode, events, stop).await
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
