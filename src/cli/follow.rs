//! `--follow`: a commit that comes while a run waits is taken in, where it changes what the run waits for.
//!
//! The run ends as after a Ctrl-C, and another one goes on from what exists, with the new commit. After a failure a commit that mends it is
//! waited for. Where the commit comes from is not asked: it is made or pulled in PATH.

use super::start::{finish, read_all, reporter_again, start_reported, stop_signal};
use super::{Failure, InputArgs, Show, StartArgs};
use crate::execute::{Events, Finished, Mode};
use crate::forms;
use crate::plan::{Edge, Plan};
use crate::problem::count;
use crate::read::{Reading, Revision};
use crate::repo::Repository;
use crate::report::event::Happening;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the revision is looked up: Git tells nobody that it has moved.
const LOOK: Duration = Duration::from_millis(500);

/// What a run works from, as soon as it has read it.
pub(super) type Working = Option<(Arc<Reading>, Plan)>;

/// A commit that changes what is waited for.
struct Newer {
    commit: String,
    /// What is other by it, in a few words.
    what: String,
}

impl std::fmt::Display for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "commit {} changes {}", forms::commit(&self.commit).0, self.what)
    }
}

/// Runs until all is ready, or until Ctrl-C.
pub(super) async fn start(args: &StartArgs, mode: Mode, show: Show) -> Result<ExitCode, Failure> {
    let input = &args.run.input;
    let mut signal = stop_signal();
    let mut seen = resolve(input).unwrap_or_default();
    let mut again = false;
    loop {
        let (events, reporter) = reporter_again(&args.run, show, again)?;
        again = true;
        let (working, read) = watch::channel(None);
        let (halt, stop) = halting(signal.clone());
        let (mut result, newer) = {
            let mut run = pin!(start_reported(args, mode, &events, stop, &working));
            let looked = newer(input, read.clone(), &events, &mut seen);
            tokio::select! {
                result = &mut run => (result, None),
                newer = looked => {
                    halt.send_modify(|count| *count = count.saturating_add(1));
                    (run.await, Some(newer))
                }
            }
        };
        let is_stopped = *signal.borrow_and_update() > 0;
        if let (Some(newer), false) = (&newer, is_stopped || succeeded(&result)) {
            result = told(result, newer);
        }
        let is_over = is_stopped || succeeded(&result);
        let remembered = events.remembered();
        let code = finish(result, events, reporter, &args.run, Some(&args.cluster)).await;
        if is_over {
            return code;
        }
        if newer.is_none() {
            if let Err(failure) = &code {
                failure.show();
            }
            anstream::eprintln!("\nWaits for a commit that changes what is not ready; Ctrl-C ends.");
            tokio::select! {
                newer = newer_after(input, read, &remembered, &mut seen, |words| anstream::eprintln!("{words}")) => anstream::eprintln!("\n{newer}: on it goes.\n"),
                _ = signal.changed() => return code.or(Ok(ExitCode::FAILURE)),
            }
        }
    }
}

fn succeeded(result: &Result<Finished, Failure>) -> bool {
    result.as_ref().is_ok_and(|finished| finished.success)
}

/// The end of a run that was stopped for a commit.
fn told(result: Result<Finished, Failure>, newer: &Newer) -> Result<Finished, Failure> {
    match result {
        Ok(finished) => Ok(Finished { summary: format!("{newer}, which this run waits for: on it goes with that"), ..finished }),
        Err(failure) => Err(failure),
    }
}

/// A stop of its own, which the user's is handed on to.
fn halting(mut signal: watch::Receiver<u8>) -> (watch::Sender<u8>, watch::Receiver<u8>) {
    let (halt, stop) = watch::channel(0_u8);
    let user = halt.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = signal.changed() => if changed.is_err() { return },
                () = user.closed() => return,
            }
            user.send_modify(|count| *count = count.saturating_add(1));
        }
    });
    (halt, stop)
}

fn resolve(input: &InputArgs) -> Option<String> {
    let revision = input.revision.as_deref().unwrap_or("HEAD");
    Some(Repository::open(&input.path).ok()?.resolve(revision).ok()?.id)
}

/// While a run is under way: it has to have read something before anything can change.
async fn newer(input: &InputArgs, mut working: watch::Receiver<Working>, events: &Events, seen: &mut String) -> Newer {
    // A sender that is gone is a run that is over.
    let _ = working.wait_for(Option::is_some).await;
    let tell = |message| events.send(Happening::Warning { node: None, message });
    newer_after(input, working, events, seen, tell).await
}

/// The next commit that changes what is not ready; others are told.
async fn newer_after(
    input: &InputArgs,
    working: watch::Receiver<Working>,
    events: &Events,
    seen: &mut String,
    tell: impl Fn(String),
) -> Newer {
    let mut clock = tokio::time::interval(LOOK);
    loop {
        clock.tick().await;
        let Some(commit) = resolve(input).filter(|commit| commit != seen) else { continue };
        seen.clone_from(&commit);
        let before = working.borrow().clone();
        let Some((reading, plan)) = before else { return Newer { commit, what: "what could not be read".to_owned() } };
        if plan.revision == commit {
            continue;
        }
        match changed(input, &reading, &plan, events).await {
            Ok(what) if what.is_empty() => tell(format!("commit {} changes nothing that is waited for", forms::commit(&commit).0)),
            Ok(what) => return Newer { commit, what: words(&what) },
            Err(failure) => tell(format!("commit {} is not taken in: {}", forms::commit(&commit).0, refusal(&failure))),
        }
    }
}

/// Why a commit cannot be worked from: its first problem, where it has some.
fn refusal(failure: &Failure) -> String {
    match failure.first_problem() {
        Some(problem) => {
            let place = problem.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
            format!("{place}{}", problem.message)
        }
        None => failure.reason(),
    }
}

/// Nodes that are not ready and other in the new commit.
async fn changed(input: &InputArgs, reading: &Reading, plan: &Plan, events: &Events) -> Result<Vec<String>, Failure> {
    let (environment, new) = read_all(input, Revision::Named("HEAD".into())).await?;
    let after = crate::plan::plan(&new, &environment, &crate::aws::catalogue());
    if super::plan::is_blocked(&after) {
        return Err(Failure::problems(after.problems));
    }
    let change = forms::compare((plan, reading), (&after, &new));
    let nodes = plan.nodes.iter().chain(&after.nodes).map(|node| node.id.as_str());
    let open: BTreeSet<&str> = nodes.filter(|node| !events.is_ready(node)).collect();
    let awaited = with_all_before(&open, plan.edges.iter().chain(&after.edges));
    let mut touched: Vec<String> = change.touched().into_iter().filter(|node| awaited.contains(node.as_str())).collect();
    touched.sort_by_key(|node| !open.contains(node.as_str()));
    Ok(touched)
}

/// Nodes, and all that they wait for.
fn with_all_before<'a>(nodes: &BTreeSet<&'a str>, edges: impl Iterator<Item = &'a Edge>) -> BTreeSet<&'a str> {
    let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        before.entry(&edge.to).or_default().push(&edge.from);
    }
    let (mut found, mut open) = (BTreeSet::new(), nodes.iter().copied().collect::<Vec<_>>());
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(before.get(node).into_iter().flatten());
        }
    }
    found
}

fn words(nodes: &[String]) -> String {
    match nodes {
        [first, rest @ ..] if !rest.is_empty() => format!("{} and {}", forms::short(first), count(rest.len(), "other")),
        nodes => nodes.first().map(|node| forms::short(node).to_owned()).unwrap_or_default(),
    }
}
