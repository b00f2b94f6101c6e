//! `rehearse`: a whole run against a sandbox of this machine.

use super::start::{phase, rehearsal_input, stop_signal};
use super::{Failure, RehearseArgs};
use crate::cluster::Cluster;
use crate::execute::{self, Events, Installation, Mode, Run};
use crate::read;
use crate::report::event::Happening;
use crate::sandbox::{self, Sandbox, operator, standin};
use std::sync::Arc;

/// Gives whether everything became ready.
pub(super) async fn rehearse(args: &RehearseArgs, events: &Events) -> Result<bool, Failure> {
    let stop = stop_signal();
    // The control plane needs seconds to start; the repository is read meanwhile. A repository with problems ends both.
    let up = async {
        phase(events, "sandbox", "control plane on this machine");
        Sandbox::up(sandbox::Options { audit: true, ..sandbox::Options::default() }).await.map_err(Failure::from)
    };
    let input = rehearsal_input(args, events);
    let mut interrupted = stop.clone();
    let (sandbox, (environment, reading, plan, secrets)) = tokio::select! {
        both = async { tokio::try_join!(up, input) } => both?,
        _ = interrupted.changed() => return Err(Failure::new("interrupted before the first write").code(130)),
    };
    let sandbox = Arc::new(tokio::sync::Mutex::new(sandbox));
    let result = run(args, events, &sandbox, stop, environment, reading, plan, secrets).await;
    let sandbox = Arc::try_unwrap(sandbox).ok().map(tokio::sync::Mutex::into_inner);
    if let Some(sandbox) = sandbox {
        if args.keep {
            phase(events, "keep", &format!("sandbox {} stays; remove it with `blackstart sandbox down {}`", sandbox.id(), sandbox.id()));
            sandbox.keep();
        } else {
            sandbox.down().await?;
        }
    }
    result
}
