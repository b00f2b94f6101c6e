//! Recoveries that die: each runs in threads of its own, which are gone in the middle of what they do, as after a `kill -9`.

use super::super::start::{Input, input};
use super::super::{Failure, RehearseArgs};
use super::{Stage, connect};
use crate::execute::{Events, Mode, lease};
use std::path::Path;
use std::time::Duration;

/// How long a cluster may take to answer that a run left half made.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts `number` recoveries one after the other; each dies at a drawn moment, at the latest after `longest`. Gives what those have told
/// that were quicker.
pub(super) async fn die(
    args: &RehearseArgs,
    stage: &Stage,
    given: &Input,
    journals: &Path,
    number: u32,
    longest: Duration,
    seed: u64,
) -> Result<Vec<Events>, Failure> {
    let mut over = Vec::new();
    let mut dice = fastrand::Rng::with_seed(seed);
    for turn in 1..=number {
        let after = longest.mul_f64(dice.f64());
        let events = Events::silent();
        let ended = tokio::task::block_in_place(|| {
            // A scope: the threads borrow what the rehearsal owns, and are over before it goes on.
            std::thread::scope(|scope| scope.spawn(|| cut_off(args, stage, &events, journals, after)).join())
        });
        let ended = ended.map_err(|_| Failure::new("a recovery that was to be cut off panicked"))??;
        if ended {
            anstream::eprintln!("Recovery {turn} of {number} was over before it was to die.");
            over.push(events);
        } else {
            anstream::eprintln!("Recovery {turn} of {number} died after {:.1}s.", after.as_secs_f64());
            // Where it had no cluster yet, there is no Lease either.
            if let Ok(cluster) = connect(given, &*stage.sandbox.lock().await).await {
                // What holds it all the same is told by the next run.
                let _ = tokio::time::timeout(PATIENCE, lease::bury(&cluster, &given.plan.environment)).await;
            }
        }
    }
    Ok(over)
}

/// One recovery that is silent and has no time to clean up; whether it was quicker.
fn cut_off(args: &RehearseArgs, stage: &Stage, events: &Events, journals: &Path, after: Duration) -> Result<bool, Failure> {
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
        tokio::time::timeout(after, run).await.is_ok()
    });
    // All of its tasks with it, wherever they stand.
    runtime.shutdown_background();
    Ok(ended)
}
