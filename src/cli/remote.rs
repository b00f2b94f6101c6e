//! Whether the agent will see the commit that we apply: otherwise it would roll back, or forward, what we bring up.

use super::{Failure, InputArgs};
use crate::layers::SourceId;
use crate::read::Reading;
use crate::repo::{Repository, remote, short};
use serde_json::Value;

/// Refuses where the entry source's remote has another commit at its reference, or cannot be asked. With `pin` the commit may be an earlier one of
/// the same history: the agent fetches the reference, and takes it from there.
pub(super) async fn check(reading: &Reading, args: &InputArgs, pin: bool) -> Result<(), Failure> {
    let Some(entry) = reading.layers.first().map(|read| &read.layer.source) else { return Ok(()) };
    let Some(source) = reading.sources.get(entry) else { return Ok(()) };
    let Some(declaration) = source.declaration.as_ref().filter(|_| entry.kind == "GitRepository") else { return Ok(()) };
    let url = declaration.text("/spec/url");
    let reference = |name: &str| declaration.value.pointer(&format!("/spec/ref/{name}")).and_then(Value::as_str);
    let wanted = match (reference("commit"), reference("name"), reference("tag"), reference("branch")) {
        (Some(commit), ..) if commit == reading.revision => return Ok(()),
        (Some(commit), ..) => return Err(differs(entry, url, &format!("commit {commit}"), commit, &reading.revision)),
        (_, Some(name), ..) => name.to_owned(),
        (_, _, Some(tag), _) => format!("refs/tags/{tag}"),
        (_, _, _, Some(branch)) => format!("refs/heads/{branch}"),
        _ => "refs/heads/master".to_owned(),
    };
    let tip = remote::tip(&args.path, url, &wanted).await.map_err(|error| {
        Failure::new(format!(
            "{entry}: it cannot be told whether the agent's remote has commit {}; nothing was written",
            short(&reading.revision)
        ))
        .because(&error)
        .hint("the agent takes its files from there: make it reachable, or point the source at a remote that is")
    })?;
    match tip {
        Some(tip) if tip == reading.revision => Ok(()),
        Some(tip) if pin => follows(entry, url, &wanted, &tip, reading, args),
        Some(tip) => Err(differs(entry, url, &wanted, &tip, &reading.revision)),
        None => {
            Err(Failure::new(format!("{entry}: {url} has no {wanted}; nothing was written")).hint("push the branch, or correct spec.ref"))
        }
    }
}

/// Whether a commit that is to be pinned is in the history that the agent fetches.
fn follows(entry: &SourceId, url: &str, wanted: &str, tip: &str, reading: &Reading, args: &InputArgs) -> Result<(), Failure> {
    let ours = &reading.revision;
    let known = Repository::open(&args.path).ok().and_then(|repository| repository.is_in_history(ours, tip));
    let (message, hint) = match known {
        Some(true) => return Ok(()),
        Some(false) => (format!("has no commit {} in its history", short(ours)), "push it there, or pin a commit that is there".to_owned()),
        None => (
            format!("is at {}, which is not in this clone: whether {} is in its history cannot be told", short(tip), short(ours)),
            "git fetch, then the same command again".to_owned(),
        ),
    };
    Err(Failure::new(format!("{entry}: {wanted} of {url} {message}; nothing was written")).hint(hint))
}

fn differs(entry: &SourceId, url: &str, wanted: &str, tip: &str, revision: &str) -> Failure {
    let message = format!("{entry}: {wanted} of {url} is at {}, not at {}; nothing was written", short(tip), short(revision));
    Failure::new(message).hint(format!(
        "the agent would roll to its own commit: push {} first, keep the agent at an earlier one with --pin, or take theirs: git fetch && blackstart … --revision {}",
        short(revision),
        short(tip)
    ))
}
