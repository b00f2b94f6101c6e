//! `rehearse`: a whole run against a sandbox of this machine.

use super::cloud::Ahead;
use super::start::{Input, input, phase, stop_signal};
use super::{Failure, RehearseArgs};
use crate::cluster::{Apply, Cluster, ClusterError};
use crate::execute::{self, Below, Events, Finished, Installation, Mode, Run};
use crate::health::Expressions;
use crate::manifest::Resource;
use crate::read::{self, Reading};
use crate::report::event::Happening;
use crate::sandbox::cloud::Moto;
use crate::sandbox::{self, AgentFlags, Sandbox, operator, standin};
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
    // The control plane needs seconds to start; the repository is read meanwhile. Problems of the repository end both.
    let up = async {
        let options = sandbox::Options { audit: true, stand_ins: Some(stand_ins), ..sandbox::Options::default() };
        Sandbox::up(options).await.map_err(Failure::from)
    };
    let read = async {
        let given = input(&args.run.input, events).await?;
        phase(events, "sandbox", "a control plane on this machine");
        Ok(given)
    };
    let (sandbox, given) = tokio::select! {
        both = async { tokio::try_join!(up, read) } => both?,
        _ = stop.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
    };
    let sandbox = Arc::new(Mutex::new(sandbox));
    let result = run(args, events, &sandbox, given, stop.clone()).await;
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
    execute::announce(&given.plan, events);
    let mode = if args.bootstrap { Mode::Bootstrap } else { Mode::Recover };
    let account = look_at_account(&given, mode, sandbox, events, &stop).await?;
    let above = async |below: Option<Below>| above(args, events, sandbox, given, mode, below, stop).await;
    match account {
        // The account ends with what is made in it.
        Some((ahead, _moto)) => ahead.carry(events, |below| above(Some(below))).await,
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
    let Input { reading, plan, secrets, .. } = given;
    let kubeconfig = {
        let sandbox = sandbox.lock().await;
        let mapped = reading.sources.iter().filter_map(|(id, source)| Some((id.clone(), source.tree.clone()?)));
        sandbox.set_sources(mapped.collect());
        sandbox.kubeconfig().to_owned()
    };
    let cluster = Cluster::connect(Some(&kubeconfig), None).await?;
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

/// The account of a rehearsal, and what is to be made in it; none where nothing is declared.
async fn look_at_account(
    given: &Input,
    mode: Mode,
    sandbox: &Arc<Mutex<Sandbox>>,
    events: &Events,
    stop: &tokio::sync::watch::Receiver<u8>,
) -> Result<Option<(Ahead, Moto)>, Failure> {
    if given.plan.declared.is_empty() {
        return Ok(None);
    }
    let mut access = super::cloud::access(&given.environment);
    let logs = sandbox.lock().await.logs().to_owned();
    let moto = Moto::start(&logs, access.account.as_deref().unwrap_or("123456789012")).await?;
    events.send(Happening::StandIn { object: "AWS".into(), reason: "moto keeps what is made in memory, and makes it without delay".into() });
    access.sandbox = Some(moto.endpoint());
    Ok(super::cloud::look(given, &access, mode, events, stop).await?.map(|ahead| (ahead, moto)))
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
