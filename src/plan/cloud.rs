//! Cloud resources in the plan: which are made, in what order, and what is wrong with their manifests.

use super::below::{self, Left};
use super::{Action, Constraint, Edge, Node};
use crate::environment::Environment;
use crate::layers::infrastructure::{Catalogue, Declared, Needs, Place, at, needs};
use crate::problem::Problem;
use crate::read::Reading;
use std::collections::BTreeSet;

/// What the cloud adds to a plan.
#[derive(Debug, Default)]
pub struct Cloud {
    /// The resources, in the order of their manifests.
    pub declared: Vec<Declared>,
    /// What the controllers in the cluster make.
    pub left: Vec<Left>,
    /// Their nodes.
    pub nodes: Vec<Node>,
    /// What waits for what.
    pub edges: Vec<Edge>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Reads the ACK manifests of a repository; `cluster` is the id of the cluster's node.
pub fn cloud(reading: &Reading, environment: &Environment, catalogue: &Catalogue, cluster: &str) -> Cloud {
    let aws = environment.spec.aws.as_ref();
    let place = aws.map_or_else(|| Place::new("000000000000", "none"), |aws| Place::new(&aws.account_id, &aws.region));
    let below::Choice { declared, held, left, mut problems } = below::choose(reading, environment, catalogue, &place);
    if let (None, Some(first)) = (aws, declared.first()) {
        let message = "spec.aws is missing: without account and region nothing guards against the wrong ones".to_owned();
        let hint = "add spec.aws: {accountID: \"111122223333\", region: eu-west-1} to blackstart.yaml";
        problems.push(Problem::blocks("cloud-account", message).at(first.origin()).hint(hint));
    }
    if let Some(aws) = aws {
        problems.extend(declared.iter().flat_map(|declared| elsewhere(declared, &aws.region)));
    }
    let (needs, unresolved) = needs(&declared, &place);
    problems.extend(unresolved);
    let handed: BTreeSet<&str> = held.iter().map(|held| held.node.as_str()).collect();
    let owner = |node: &str| if handed.contains(node) { "ack" } else { "blackstart" };
    let node =
        |one: &Declared| Node { owner: owner(&one.node()), id: one.node(), action: Action::Create, seconds: one.schema.seconds.into() };
    let nodes = declared.iter().map(node).collect();
    let mut edges = edges(&declared, &needs);
    edges.extend(super::eks::order(&declared, |one| below::cluster_of(&one.resource, &declared)));
    edges.extend(super::eks::ways_out(&declared, &needs));
    let ready = |from: String, to: String, reason: &str, origin| Edge {
        from,
        to,
        constraint: Constraint::ReadyBeforeStart,
        reason: reason.to_owned(),
        origin,
    };
    let eks = environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.as_deref());
    let parts = declared.iter().filter(|one| eks.is_some_and(|eks| below::is_part_of(eks, &one.resource, &declared)));
    edges.extend(parts.map(|part| ready(part.node(), cluster.to_owned(), "the cluster consists of it", part.origin())));
    // The object arrives in the cluster with the ID of what lives.
    edges.extend(held.into_iter().map(|held| ready(held.node, held.layer.node(), "handed over there", held.origin)));
    Cloud { declared, left, nodes, edges, problems }
}

/// What resources need of each other, as edges between their nodes.
pub fn edges(declared: &[Declared], needs: &[Needs]) -> Vec<Edge> {
    let edge = |need: &Needs| {
        let (from, to) = (&declared[need.from], &declared[need.to]);
        let constraint = if need.late { Constraint::AppliedBeforeReady } else { Constraint::ReadyBeforeStart };
        Edge { from: from.node(), to: to.node(), constraint, reason: need.reason.clone(), origin: to.origin() }
    };
    needs.iter().map(edge).collect()
}

/// What a manifest wants in another region than the environment's; nothing is made there.
fn elsewhere(declared: &Declared, region: &str) -> Vec<Problem> {
    let id = declared.resource.id();
    let asked = declared.annotation("region").filter(|asked| *asked != region);
    let asked = asked.map(|asked| format!("{id}: services.k8s.aws/region is {asked}, blackstart.yaml allows {region} only"));
    let zones = ["availabilityZone", "placement.availabilityZone"].into_iter().filter_map(|path| {
        let zone = at(declared.spec(), path)?.as_str().filter(|zone| !zone.starts_with(region))?;
        Some(format!("{id}: spec.{path} {zone} is not in {region}"))
    });
    let hint = "leave it to an environment of that region, or correct the manifest or spec.aws.region";
    asked.into_iter().chain(zones).map(|message| Problem::blocks("cloud-region", message).at(declared.origin()).hint(hint)).collect()
}
