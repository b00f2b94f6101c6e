//! Who runs what, and where, for the report.

use crate::environment::Environment;
use crate::execute::Events;
use crate::repo::Repository;
use crate::report::event::{Commit, Context, Happening};
use std::path::Path;

/// Tells it, beside the run: asking Git about a signature may take a moment.
pub(super) fn tell(events: &Events, verb: &str, environment: &Environment, revision: &str, path: &Path) {
    let aws = environment.spec.aws.as_ref();
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let context = Context {
        verb: verb.to_owned(),
        user: name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string()),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        account: aws.map(|aws| aws.account_id.clone()),
        region: aws.map(|aws| aws.region.clone()),
        commit: None,
    };
    let (events, path, revision) = (events.clone(), path.to_owned(), revision.trim_end_matches("-dirty").to_owned());
    tokio::task::spawn_blocking(move || {
        let about = Repository::open(&path).ok().and_then(|repository| repository.about(&revision));
        let commit =
            about.map(|about| Commit { author: about.author, time: about.time, subject: about.subject, signature: about.signature });
        events.send(Happening::Context(Context { commit, ..context }));
    });
}
