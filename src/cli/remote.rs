//! Whether the agent will see the commit that we apply: otherwise it would roll back, or forward, what we bring up.

use super::{Failure, InputArgs};
use crate::read::Reading;
use crate::repo::remote;
use serde_json::Value;

/// Refuses where the entry source's remote has another commit at its reference, or cannot be asked.
pub(super) async fn check(reading: &Reading, args: &InputArgs) -> Result<(), Failure> {
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
        Some(tip) => Err(differs(entry, url, &wanted, &tip, &reading.revision)),
        None => {
            Err(Failure::new(format!("{entry}: {url} has no {wanted}; nothing was written")).hint("push the branch, or correct spec.ref"))
        }
    }
}

fn differs(entry: &crate::layers::SourceId, url: &str, wanted: &str, tip: &str, revision: &str) -> Failure {
    let message = format!("{entry}: {wanted} of {url} is at {}, not at {}; nothing was written", short(tip), short(revision));
    Failure::new(message).hint(format!(
        "the agent would roll to its own commit: push {} first, or take theirs: git fetch && blackstart … --revision {}",
        short(revision),
        short(tip)
    ))
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
