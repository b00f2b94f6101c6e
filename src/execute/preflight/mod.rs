//! Looks at all that a recovery needs, before it: each group of checks in a file of its own, all at once, each bounded. Writes nothing.

mod account;
mod names;
mod permissions;
mod quotas;
mod registry;
mod secrets;
mod source;
mod tools;

use super::{dns, web};
use crate::aws::observe::Observation;
use crate::aws::{Access, Cloud};
use crate::environment::Environment;
use crate::layers::infrastructure::Declared;
use crate::manifest::Resource;
use crate::plan::{Action, Plan};
use crate::preflight::delegation::{Zone, compare};
use crate::preflight::images;
use crate::preflight::{Backup, Check, Group, backups};
use crate::read::Reading;
use crate::restore;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use account::connect;

/// Longest that one group of checks may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The account as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Lower<'a> {
    /// It.
    pub cloud: &'a Cloud,
    /// What is declared there.
    pub declared: &'a [Declared],
    /// What lives; none where it could not be seen.
    pub observation: Option<&'a Observation>,
    /// What lost resources are restored from, by position; none where nobody looked.
    pub backups: Option<&'a HashMap<usize, restore::Backup>>,
    /// Whether claims of the layers get their data from there.
    pub has_claims: bool,
}

impl Lower<'_> {
    /// What a run does with each manifest; nothing is known where nothing was seen.
    fn action(&self, position: usize) -> Action {
        if self.backups.is_some_and(|backups| backups.contains_key(&position)) {
            return Action::Restore;
        }
        self.observation.map_or(Action::Unknown, |seen| super::cloud::action(seen.found.get(&position)))
    }

    /// Manifests of what is to be made.
    fn missing(&self) -> impl Iterator<Item = &Declared> {
        self.declared
            .iter()
            .enumerate()
            .filter(|(position, _)| matches!(self.action(*position), Action::Create | Action::Restore))
            .map(|(_, declared)| declared)
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What Git does not say.
    pub environment: &'a Environment,
    /// What is planned.
    pub plan: &'a Plan,
    /// What was read.
    pub reading: &'a Reading,
    /// The account, where there is one and it can be used.
    pub lower: Option<Lower<'a>>,
    /// How that account is reached.
    pub access: &'a Access,
    /// What each state would be restored from.
    pub backups: &'a [Backup],
    /// Who is asked for name servers; the machine's own resolver where absent.
    pub resolver: Option<SocketAddr>,
    /// Only what stands against the run as a whole.
    pub short: bool,
}

/// All groups, at once.
pub async fn look(given: Given<'_>) -> Vec<Check> {
    let mut groups: Vec<(Group, BoxFuture<'_, Vec<Check>>)> = vec![
        (Group::Secrets, Box::pin(secrets::look(given))),
        (Group::Source, Box::pin(source::look(given))),
        (Group::Tools, Box::pin(tools::look(given))),
        (Group::Backups, Box::pin(async move { backups(given.backups) })),
    ];
    if let Some(lower) = given.lower {
        groups.push((Group::Account, Box::pin(account::clock(lower.cloud))));
        groups.push((Group::Permissions, Box::pin(permissions::look(lower))));
        groups.push((Group::Quotas, Box::pin(quotas::look(lower))));
        groups.push((Group::Names, Box::pin(names::look(lower, &given.plan.environment))));
        groups.push((Group::Dns, Box::pin(zones(lower, given.resolver))));
    }
    groups.push((Group::Charts, Box::pin(charts(given.reading))));
    groups.push((Group::Images, Box::pin(pulled(given.reading))));
    groups.retain(|(group, _)| !given.short || group.is_for_the_start());
    let bounded = groups.into_iter().map(|(group, look)| async move {
        let late = |_| vec![Check::not_checked(group, group.heading(), format!("no end within {} s", PATIENCE.as_secs()))];
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(late)
    });
    join_all(bounded).await.into_iter().flatten().collect()
}

/// Objects of all layers that a run applies, and of their charts in Git.
fn objects(reading: &Reading) -> impl Iterator<Item = &Resource> {
    let applied = reading.layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    applied.flat_map(|read| reading.with_charts(read))
}

async fn pulled(reading: &Reading) -> Vec<Check> {
    let images = images::images(objects(reading));
    if images.is_empty() {
        return Vec::new();
    }
    match web::Web::new() {
        Ok(web) => registry::images(&web, images).await,
        Err(why) => vec![Check::not_checked(Group::Images, format!("{} images", images.len()), why)],
    }
}

async fn charts(reading: &Reading) -> Vec<Check> {
    let objects: Vec<&Resource> = objects(reading).collect();
    let charts = images::charts(&objects);
    if charts.is_empty() {
        return Vec::new();
    }
    match web::Web::new() {
        Ok(web) => registry::charts(&web, charts).await,
        Err(why) => vec![Check::not_checked(Group::Charts, format!("{} charts", charts.len()), why)],
    }
}

async fn zones(lower: Lower<'_>, resolver: Option<SocketAddr>) -> Vec<Check> {
    let zones: Vec<Zone> = lower
        .declared
        .iter()
        .enumerate()
        .filter(|(_, declared)| declared.schema.service == "route53" && declared.schema.kind == "HostedZone")
        .filter(|(_, declared)| {
            declared.spec().get("vpc").is_none() && declared.spec().pointer("/hostedZoneConfig/privateZone") != Some(&Value::Bool(true))
        })
        .map(|(position, declared)| {
            let living = lower.observation.and_then(|seen| seen.found.get(&position)).map(|found| &found.living.status);
            let servers = living.and_then(|status| status.pointer("/delegationSet/nameServers")?.as_array());
            Zone {
                name: declared.spec().get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                servers: servers.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
                origin: declared.origin(),
            }
        })
        .collect();
    let resolver = resolver.or_else(dns::system);
    let asked = zones.iter().map(|zone| async move {
        let told = match resolver {
            Some(resolver) => dns::ask(resolver, &zone.name, dns::NS).await,
            None => Err("this machine has no resolver (/etc/resolv.conf); give one: --resolver ADDRESS:53".to_owned()),
        };
        compare(zone, told)
    });
    join_all(asked).await
}
