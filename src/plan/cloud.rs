//! Cloud resources in the plan: which are made, in what order, and what is wrong with their manifests.

use super::{Action, Constraint, Edge, Node};
use crate::environment::Environment;
use crate::layers::infrastructure::{Catalogue, Declared, Place, at, needs};
use crate::manifest::Resource;
use crate::problem::Problem;
use serde_json::Value;

/// Kinds that a cluster consists of: until they are there it takes no work.
const CLUSTER: &[&str] = &["Cluster", "Nodegroup", "Addon", "AccessEntry", "PodIdentityAssociation", "Capability", "FargateProfile"];

/// What the cloud adds to a plan.
#[derive(Debug, Default)]
pub struct Cloud {
    /// The resources, in the order of their manifests.
    pub declared: Vec<Declared>,
    /// Their nodes.
    pub nodes: Vec<Node>,
    /// What waits for what.
    pub edges: Vec<Edge>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Reads the manifests of an environment's infrastructure; `cluster` is the id of the cluster's node.
pub fn cloud(resources: &[Resource], environment: &Environment, catalogue: &Catalogue, cluster: &str) -> Cloud {
    let mut cloud = Cloud::default();
    for resource in resources {
        match Declared::read(resource, catalogue) {
            Some(Ok(declared)) => match cloud.declared.iter().find(|other| other.node() == declared.node()) {
                None => cloud.declared.push(declared),
                Some(other) => {
                    let place = other.origin().map(|origin| format!(" in {origin}")).unwrap_or_default();
                    let message = format!("{}: declared twice, first{place}", declared.resource.id());
                    cloud.problems.push(Problem::blocks("cloud-twice", message).at(declared.origin()).hint("keep one of them"));
                }
            },
            Some(Err(problems)) => cloud.problems.extend(problems),
            None => {}
        }
    }
    let aws = environment.spec.aws.as_ref();
    if let (None, Some(first)) = (aws, cloud.declared.first()) {
        let message = "spec.aws is missing: without account and region nothing guards against the wrong ones".to_owned();
        let hint = "add spec.aws: {accountID: \"111122223333\", region: eu-west-1} to blackstart.yaml";
        cloud.problems.push(Problem::blocks("cloud-account", message).at(first.origin()).hint(hint));
    }
    if let Some(aws) = aws {
        cloud.problems.extend(cloud.declared.iter().flat_map(|declared| elsewhere(declared, &aws.region)));
    }
    let place = aws.map_or_else(|| Place::new("000000000000", "none"), |aws| Place::new(&aws.account_id, &aws.region));
    let (needs, problems) = needs(&cloud.declared, &place);
    cloud.problems.extend(problems);
    cloud.nodes = cloud.declared.iter().map(|one| Node { id: one.node(), action: Action::Create, owner: "blackstart" }).collect();
    cloud.edges = needs
        .into_iter()
        .map(|need| {
            let (from, to) = (&cloud.declared[need.from], &cloud.declared[need.to]);
            let constraint = if need.late { Constraint::AppliedBeforeReady } else { Constraint::ReadyBeforeStart };
            Edge { from: from.node(), to: to.node(), constraint, reason: need.reason, origin: to.origin() }
        })
        .collect();
    let eks = environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.as_deref());
    for declared in cloud.declared.iter().filter(|one| one.schema.service == "eks" && CLUSTER.contains(&one.schema.kind)) {
        if eks.is_some() && cluster_of(declared, &cloud.declared).as_deref() == eks {
            cloud.edges.push(Edge {
                from: declared.node(),
                to: cluster.to_owned(),
                constraint: Constraint::ReadyBeforeStart,
                reason: "the cluster consists of it".to_owned(),
                origin: declared.origin(),
            });
        }
    }
    cloud
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

/// Name of the EKS cluster that a resource is, or belongs to.
fn cluster_of(declared: &Declared, all: &[Declared]) -> Option<String> {
    let text = |spec: &Value, path: &str| at(spec, path).and_then(Value::as_str).map(str::to_owned);
    if declared.schema.kind == "Cluster" {
        return text(declared.spec(), "name");
    }
    text(declared.spec(), "clusterName").or_else(|| {
        let name = text(declared.spec(), "clusterRef.from.name")?;
        let cluster = all.iter().find(|other| other.schema.kind == "Cluster" && other.schema.service == "eks" && other.resource.name() == name)?;
        text(cluster.spec(), "name")
    })
}
