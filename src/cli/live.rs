//! `plan --live`: the plan compared with the account and the cluster as they are.

use super::account::{self, Account};
use super::start::connect;
use super::{ClusterArgs, Failure};
use crate::agent;
use crate::cluster::{Cluster, ClusterError};
use crate::environment::Environment;
use crate::execute::cloud::{action, refuse};
use crate::execute::survey;
use crate::layers::LayerId;
use crate::plan::live::{Changes, Differing, LayerChanges, Live, Living, Reached, Seen};
use crate::plan::{Action, Plan};
use crate::problem::Problem;
use crate::read::Reading;
use std::collections::BTreeMap;

/// The upper storey as a run would find it.
struct Upper {
    server: String,
    agent: bool,
    changes: BTreeMap<LayerId, Changes>,
    problems: Vec<Problem>,
}

/// Puts into a plan what lives. A cluster that does not answer is no error: all of its objects are to be made.
pub(super) async fn compare(plan: &mut Plan, reading: &Reading, environment: &Environment, place: &ClusterArgs) -> Result<(), Failure> {
    let upper = async {
        let cluster = connect(place, environment).await?;
        Ok::<_, Failure>(look(&cluster, reading).await?)
    };
    let (account, upper) = tokio::join!(Box::pin(account::look(plan, environment)), Box::pin(upper));
    let mut live = Live { live: Seen::default(), differences: Vec::new() };
    if let Some(account) = account? {
        lower(plan, account, &mut live);
    }
    let changes = match upper {
        Ok(upper) => {
            live.live.cluster.server = Some(upper.server);
            live.live.agent = upper.agent;
            plan.problems.extend(upper.problems);
            let cluster = plan.nodes.iter().find(|node| node.id.starts_with("cluster/")).map(|node| node.id.clone());
            plan.act(&cluster.unwrap_or_default(), Action::Keep);
            upper.changes
        }
        Err(failure) => {
            live.live.cluster = Reached { server: None, unreachable: Some(failure.message().to_owned()) };
            let rendered = reading.layers.iter().filter(|read| read.rendered);
            rendered.map(|read| (read.layer.id.clone(), Changes { create: read.objects.len(), ..Changes::default() })).collect()
        }
    };
    plan.act("agent/flux", if live.live.agent { Action::Keep } else { Action::Create });
    for layer in plan.layers.clone() {
        if let Some(&changes) = changes.get(&layer.id).filter(|_| !layer.suspended && !layer.remote) {
            plan.act(&layer.id.node(), changes.action());
            live.live.layers.push(LayerChanges { id: layer.id, changes });
        }
    }
    plan.live = Some(live);
    Ok(())
}

async fn look(cluster: &Cluster, reading: &Reading) -> Result<Upper, ClusterError> {
    let ((changes, problems), agent) = tokio::try_join!(survey::changes(cluster, reading, None, |_| false), agent::is_installed(cluster))?;
    Ok(Upper { server: cluster.server().to_owned(), agent, changes, problems })
}

fn lower(plan: &mut Plan, account: Account, live: &mut Live) {
    let place = account.cloud.place();
    live.live.account = Some(place.account.clone());
    live.live.region = Some(place.region.clone());
    for (position, declared) in plan.declared.clone().iter().enumerate() {
        let found = account.observation.found.get(&position);
        plan.act(&declared.node(), action(found));
        if let Some(found) = found {
            live.live.resources.push(Living { node: declared.node(), id: found.living.id.clone(), evidence: found.evidence.clone() });
            live.differences.extend(found.differences.iter().map(|difference| Differing::new(declared, difference)));
        }
    }
    plan.problems.extend(account.problems);
    plan.problems.extend(refuse(&plan.declared, &account.observation, false));
}
