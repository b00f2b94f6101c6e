//! Recoveries that die: each runs in threads of its own, which are gone in the middle of what they do, as after a `kill -9`.

use super::super::start::{Input, input};
use super::super::{Failure, RehearseArgs};
use super::{Stage, connect};
use crate::execute::{Events, Mode, lease};
use crate::report::event::{Event, Happening};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a cluster may take to answer that a run left half made.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest time between the node after which a recovery dies and its death.
const AFTER: Duration = Duration::from_millis(500);

/// When a recovery dies: with this part of its nodes done, and so much later.
#[derive(Clone, Copy)]
struct Death {
    part: f64,
    later: Duration,
}

/// Starts `number` recoveries one after the other; each dies at a drawn moment, when some of its nodes are done and others are not. Gives what
/// those have told that ended before, with an error.
pub(super) async fn die(
    args: &RehearseArgs,
    stage: &Stage,
    given: &Input,
    journals: &Path,
    number: u32,
    seed: u64,
) -> Result<Vec<Events>, Failure> {
    let mut over = Vec::new();
    let mut dice = fastrand::Rng::with_seed(seed);
    for turn in 1..=number {
        let death = Death { part: dice.f64() * 0.9, later: AFTER.mul_f64(dice.f64()) };
        let (sink, told) = mpsc::unbounded_channel();
        let events = Events::new(sink);
        let began = Instant::now();
        let ended = tokio::task::block_in_place(|| {
            // A scope: the threads borrow what the rehearsal owns, and are over before it goes on.
            std::thread::scope(|scope| scope.spawn(|| cut_off(args, stage, (&events, told), journals, death)).join())
        });
        let ended = ended.map_err(|_| Failure::new("a recovery that was to be cut off panicked"))??;
        if ended {
            anstream::eprintln!("Recovery {turn} of {number} was over before it was to die.");
            over.push(events.remembered());
        } else {
            anstream::eprintln!("Recovery {turn} of {number} died after {:.1}s.", began.elapsed().as_secs_f64());
            // Where it had no cluster yet, there is no Lease either.
            if let Ok(cluster) = connect(given, &*stage.sandbox.lock().await).await {
                // What holds it all the same is told by the next run.
                let _ = tokio::time::timeout(PATIENCE, lease::bury(&cluster, &given.plan.environment)).await;
            }
        }
    }
    Ok(over)
}

/// Returns when it is time to die.
async fn comes(mut told: mpsc::UnboundedReceiver<Event>, death: Death) {
    let (mut open, mut done) = (None, 0.0);
    while let Some(event) = told.recv().await {
        match event.happening {
            #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
            Happening::Planned { nodes, .. } => open = Some(nodes.len() as f64 * death.part),
            Happening::Finished { .. } => done += 1.0,
            _ => continue,
        }
        if open.is_some_and(|open| done >= open) {
            tokio::time::sleep(death.later).await;
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// One recovery that is silent and has no time to clean up; whether it ended by itself.
fn cut_off(
    args: &RehearseArgs,
    stage: &Stage,
    (events, told): (&Events, mpsc::UnboundedReceiver<Event>),
    journals: &Path,
    death: Death,
) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(&error))?;
    let ended = runtime.block_on(async {
        let run = async {
            let given = input(&args.run.input, true, events).await?;
            Box::pin(stage.run(args, events, given, Mode::Recover, Some(journals), false)).await.map(|_| ())
        };
        // A recovery that fails is not what is looked at here: the last one has to succeed.
        tokio::select! {
            _ = run => true,
            () = comes(told, death) => false,
        }
    });
    // All of its tasks with it, wherever they stand.
    runtime.shutdown_background();
    Ok(ended)
}
