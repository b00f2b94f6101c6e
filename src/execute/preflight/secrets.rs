//! Values of the environment's secrets: whether each can be had, and is what its key promises. No value is shown, whatever is wrong with it.

use super::super::secret::fetch;
use super::Given;
use crate::environment::{Given as Variable, SecretSource};
use crate::preflight::secrets::wrong;
use crate::preflight::{Check, Group};
use crate::problem::Origin;
use futures::future::join_all;

/// One value that something needs.
struct Wanted<'a> {
    name: String,
    key: &'a str,
    source: &'a SecretSource,
    origin: Option<Origin>,
    /// It may appear later.
    late: bool,
}

pub(super) async fn look(given: Given<'_>) -> Vec<Check> {
    let spec = &given.environment.spec;
    let secrets = spec.secrets.iter().map(|secret| Wanted {
        name: format!("Secret {}/{}, key {}", secret.namespace, secret.name, secret.key),
        key: &secret.key,
        source: &secret.from,
        origin: secret.origin.clone(),
        late: false,
    });
    let commands = spec.commands.iter().flat_map(|command| {
        let secrets = command.env.iter().filter_map(|(name, value)| match value {
            Variable::Secret(source) => Some((name, source)),
            Variable::Text(_) => None,
        });
        secrets.map(|(name, source)| Wanted {
            name: format!("command {}, variable {name}", command.name),
            key: "",
            source,
            origin: command.origin.clone(),
            late: false,
        })
    });
    // The kubeconfig of a cluster that is not there yet cannot be either.
    let kubeconfig = spec.cluster.iter().filter_map(|cluster| cluster.from.as_ref());
    let kubeconfig = kubeconfig.map(|source| Wanted { name: "kubeconfig".to_owned(), key: "", source, origin: None, late: true });
    let wanted = secrets.chain(commands).chain(kubeconfig);
    let mut checks = join_all(wanted.map(|wanted| one(given, wanted))).await;
    checks.extend(locked(given));
    checks
}

/// Layers whose objects the agent decrypts and nobody here can: a run would write them as they stand.
fn locked(given: Given<'_>) -> impl Iterator<Item = Check> {
    let decrypting = given.reading.layers.iter().filter(|read| read.rendered && read.layer.spec.decryption.is_some());
    decrypting.map(|read| {
        let name = format!("layer {}", read.layer.id);
        let check = if read.is_locked() {
            let secret = read.layer.spec.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref());
            let fix = match secret {
                Some(secret) => format!("give the key of Secret {}/{} in spec.secrets", read.layer.id.namespace, secret.name),
                None => "use credentials that may decrypt with its KMS key, and name the account in spec.aws".to_owned(),
            };
            Check::blocker(Group::Secrets, name, "its objects are encrypted, and no key at hand opens them").fix(fix)
        } else {
            Check::ok(Group::Secrets, name, "its encrypted objects can be read")
        };
        check.at(read.layer.declaration.origin.clone())
    })
}

async fn one(given: Given<'_>, wanted: Wanted<'_>) -> Check {
    let cloud = given.lower.map(|lower| lower.cloud);
    let place = wanted.source.words();
    let check = if wanted.source.is_in_aws() && cloud.is_none() && given.environment.spec.aws.is_some() {
        Check::not_checked(Group::Secrets, wanted.name, format!("{place}: the account cannot be asked"))
    } else {
        match fetch(wanted.source, &given.environment.base, cloud).await {
            Ok(value) => match wrong(wanted.key, &value) {
                Some(why) => Check::blocker(Group::Secrets, wanted.name, format!("{place}: {why}")).fix("put the right value there"),
                None => Check::ok(Group::Secrets, wanted.name, format!("read from {place}")),
            },
            Err(error) if wanted.late && error.is_absent() => {
                Check::ok(Group::Secrets, wanted.name, format!("{place}: is awaited; it is not there yet"))
            }
            Err(error) => Check::blocker(Group::Secrets, wanted.name, format!("cannot be had: {error}")).fix(fix(wanted.source)),
        }
    };
    check.at(wanted.origin)
}

fn fix(source: &SecretSource) -> &'static str {
    match source {
        SecretSource::File(_) => "put the file there, or correct its path (a relative one starts at the environment's file)",
        SecretSource::Env(_) => "set the variable for this command",
        SecretSource::Command(_) => "run the command by hand to see what it says",
        SecretSource::SecretsManager(_) | SecretSource::Ssm(_) => "look whether it is there, with the same credentials",
    }
}
