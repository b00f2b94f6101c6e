//! Which cloud resources blackstart makes below the cluster, and which it leaves to the controllers in it. Pure.
//!
//! Below: all of the infrastructure folders; where only a layer holds the environment's EKS cluster, that cluster with its members; and
//! whatever these refer to. With `above: direct`, all else that layers hold, as far as blackstart knows it.

use crate::environment::{Above, Environment};
use crate::layers::LayerId;
use crate::layers::infrastructure::{Catalogue, Declared, Needs, Place, at, needs, node, schema, service, unresolved};
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity};
use crate::read::Reading;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Kinds that a cluster consists of: until they are there it takes no work.
const MEMBERS: &[&str] = &["Cluster", "Nodegroup", "Addon", "AccessEntry", "PodIdentityAssociation", "Capability", "FargateProfile"];
/// Why a resource is left where nothing else is said.
const DEFAULT: &str = "spec.aws.above is controllers";

/// An AWS resource that its controller in the cluster makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// As its node would be called: `aws/<service>/<Kind>/<namespace>/<name>`.
    pub id: String,
    /// The layer that holds it.
    pub layer: LayerId,
    /// Why it is left.
    pub reason: String,
    /// Where it stands.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

/// An object of a layer that stands for a resource made below.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) node: String,
    pub(super) layer: LayerId,
    pub(super) origin: Option<Origin>,
}

/// Who makes what.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Made below: folders first, then layers, in the order of their manifests.
    pub(super) declared: Vec<Declared>,
    /// Of these, what layers hold.
    pub(super) held: Vec<Held>,
    pub(super) left: Vec<Left>,
    pub(super) problems: Vec<Problem>,
}

/// Chooses among all manifests of a repository.
pub(super) fn choose(reading: &Reading, environment: &Environment, catalogue: &Catalogue, place: &Place) -> Choice {
    let aws = environment.spec.aws.as_ref();
    let mut manifests = Manifests { catalogue, abroad: Abroad::new(reading, aws.map(|_| place)), ..Manifests::default() };
    let applied: Vec<_> = reading.layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none()).collect();
    let home = Home::new(applied.iter().flat_map(|read| &read.objects));
    for resource in &reading.infrastructure {
        manifests.folder(&home.bring(resource));
    }
    for read in &applied {
        for resource in &read.objects {
            manifests.object(resource, &read.layer.id);
        }
    }
    let cluster = environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.as_deref());
    manifests.choose(cluster, aws.map(|aws| aws.above).unwrap_or_default(), place)
}

/// Whether a manifest is an EKS cluster of this name, or belongs to it.
pub(super) fn is_part_of(cluster: &str, resource: &Resource, all: &[Declared]) -> bool {
    service(resource) == Some("eks") && MEMBERS.contains(&resource.kind()) && cluster_of(resource, all).as_deref() == Some(cluster)
}

/// Name of the EKS cluster that a manifest is, or belongs to.
pub(super) fn cluster_of(resource: &Resource, all: &[Declared]) -> Option<String> {
    let text = |resource: &Resource, path: &str| at(resource.value.get("spec")?, path).and_then(Value::as_str).map(str::to_owned);
    if resource.kind() == "Cluster" {
        return text(resource, "name");
    }
    text(resource, "clusterName").or_else(|| {
        let name = text(resource, "clusterRef.from.name")?;
        let namespace = text(resource, "clusterRef.from.namespace").or_else(|| resource.namespace().map(str::to_owned));
        let is_meant = |other: &&Declared| other.resource.name() == name && other.resource.namespace() == namespace.as_deref();
        let mut clusters = all.iter().filter(|other| other.schema.service == "eks" && other.schema.kind == "Cluster");
        text(&clusters.find(is_meant)?.resource, "name")
    })
}

/// All manifests, each once: those of known kinds in `all`.
#[derive(Default)]
struct Manifests<'a> {
    catalogue: &'a Catalogue,
    abroad: Abroad<'a>,
    all: Vec<Declared>,
    /// For each: what stands against making it, and the layer that holds it (none for a folder's).
    more: Vec<(Vec<Problem>, Option<LayerId>)>,
    positions: HashMap<String, usize>,
    held: Vec<Held>,
    /// Of kinds that are not known, in layers.
    strange: Vec<(Resource, Vec<Problem>, LayerId)>,
    problems: Vec<Problem>,
}

impl Manifests<'_> {
    fn folder(&mut self, resource: &Resource) {
        let Some(read) = Declared::read(resource, self.catalogue) else { return };
        let problems = read.err().unwrap_or_default();
        match node(resource).and_then(|id| self.positions.get(&id)) {
            // One folder may include another.
            Some(&first) if self.all[first].resource == *resource => {}
            Some(&first) => {
                let place = self.all[first].origin().map(|origin| format!(" in {origin}")).unwrap_or_default();
                let message = format!("{}: declared twice, first{place}", resource.id());
                self.problems.push(Problem::blocks("cloud-twice", message).at(resource.origin.clone()).hint("keep one of them"));
            }
            None => {
                let strange = self.add(resource, problems, None);
                self.problems.extend(strange);
            }
        }
    }

    fn object(&mut self, resource: &Resource, layer: &LayerId) {
        let (Some(read), Some(id)) = (Declared::read(resource, self.catalogue), node(resource)) else { return };
        if let Some(&first) = self.positions.get(&id) {
            self.compare(first, resource, layer);
        } else {
            let strange = self.add(resource, read.err().unwrap_or_default(), Some(layer.clone()));
            if !strange.is_empty() {
                self.strange.push((resource.clone(), strange, layer.clone()));
            }
        }
        self.held.push(Held { node: id, layer: layer.clone(), origin: resource.origin.clone() });
    }

    /// Takes a manifest in; of a kind that is not known, its problems are given back.
    fn add(&mut self, resource: &Resource, mut problems: Vec<Problem>, layer: Option<LayerId>) -> Vec<Problem> {
        let Some(schema) = schema(resource, self.catalogue) else { return problems };
        let declared = Declared { schema, resource: resource.clone() };
        problems.extend(self.abroad.problem(&declared));
        self.positions.insert(declared.node(), self.all.len());
        self.all.push(declared);
        self.more.push((problems, layer));
        Vec::new()
    }

    /// A folder and a layer may hold the same manifest, and have to mean the same by it.
    fn compare(&mut self, first: usize, resource: &Resource, layer: &LayerId) {
        let other = &self.all[first];
        if self.more[first].1.is_some() || resource.value.get("spec") == Some(other.spec()) {
            return;
        }
        let place = other.origin().map(|origin| format!(" in {origin}")).unwrap_or_default();
        let message = format!("{}: layer {layer} declares another spec than the infrastructure{place}", resource.id());
        let mut problem = Problem::blocks("cloud-differs", message).at(resource.origin.clone());
        problem.severity = Severity::Differs;
        self.problems
            .push(problem.hint("make them the same: after the handover, the controller changes the resource to what the layer says"));
    }

    fn choose(mut self, cluster: Option<&str>, above: Above, place: &Place) -> Choice {
        let (needs, _) = needs(&self.all, place);
        let own = cluster.filter(|cluster| self.is_of_a_layer(cluster));
        let is_part = |resource: &Resource, all: &[Declared]| own.is_some_and(|cluster| is_part_of(cluster, resource, all));
        let seeds = (0..self.all.len()).filter(|&at| self.more[at].1.is_none() || is_part(&self.all[at].resource, &self.all));
        let needed = closure(seeds.collect(), &needs);
        let reasons = self.reasons(&needed, &needs, above);
        let mut choice = Choice::default();
        for (resource, problems, layer) in std::mem::take(&mut self.strange) {
            if is_part(&resource, &self.all) {
                self.problems.extend(problems.into_iter().map(|problem| of_the_cluster(problem, cluster)));
                continue;
            }
            let reason = match above {
                Above::Direct => problems.first().map_or(DEFAULT.to_owned(), |problem| reason(problem, &resource)),
                Above::Controllers => DEFAULT.to_owned(),
            };
            choice.left.extend(node(&resource).map(|id| Left { id, layer, reason, origin: resource.origin }));
        }
        let held = |held: &Held| self.positions.get(&held.node).is_some_and(|at| !reasons.contains_key(at));
        choice.held = self.held.into_iter().filter(held).collect();
        for (at, (declared, (problems, layer))) in self.all.into_iter().zip(self.more).enumerate() {
            match (reasons.get(&at), layer) {
                (Some(reason), Some(layer)) => {
                    choice.left.push(Left { id: declared.node(), layer, reason: reason.clone(), origin: declared.origin() });
                }
                (_, layer) => {
                    let tell = |problem| if layer.is_some() { of_the_cluster(problem, cluster) } else { problem };
                    self.problems.extend(problems.into_iter().map(tell));
                    choice.declared.push(declared);
                }
            }
        }
        choice.left.sort_by(|one, other| one.id.cmp(&other.id));
        choice.problems = self.problems;
        choice
    }

    /// Whether a layer declares this cluster, and no folder: one that nobody declares is somebody else's, with all that belongs to it.
    fn is_of_a_layer(&self, cluster: &str) -> bool {
        let is_it = |declared: &Declared| declared.schema.kind == "Cluster" && is_part_of(cluster, &declared.resource, &self.all);
        self.all.iter().position(is_it).is_some_and(|at| self.more[at].1.is_some())
    }

    /// What is left to controllers, and why.
    fn reasons(&self, needed: &BTreeSet<usize>, needs: &[Needs], above: Above) -> BTreeMap<usize, String> {
        let others = (0..self.all.len()).filter(|at| !needed.contains(at));
        if above == Above::Controllers {
            return others.map(|at| (at, DEFAULT.to_owned())).collect();
        }
        let against = |at: usize| {
            let unresolved = || unresolved(&self.all[at], &self.all).into_iter().next();
            let problem = self.more[at].0.first().cloned().or_else(unresolved)?;
            Some((at, reason(&problem, &self.all[at].resource)))
        };
        let mut reasons: BTreeMap<usize, String> = others.filter_map(against).collect();
        let waits = |need: &&Needs, reasons: &BTreeMap<usize, String>| {
            reasons.contains_key(&need.from) && !reasons.contains_key(&need.to) && !needed.contains(&need.to)
        };
        while let Some(need) = needs.iter().find(|need| waits(need, &reasons)) {
            reasons.insert(need.to, format!("it needs {} ({})", self.all[need.from].resource.id(), need.reason));
        }
        reasons
    }
}

/// These, and all that they need.
fn closure(mut found: BTreeSet<usize>, needs: &[Needs]) -> BTreeSet<usize> {
    let mut open: Vec<usize> = found.iter().copied().collect();
    while let Some(to) = open.pop() {
        open.extend(needs.iter().filter(|need| need.to == to && found.insert(need.from)).map(|need| need.from));
    }
    found
}

/// A problem without the name of its object.
fn reason(problem: &Problem, resource: &Resource) -> String {
    let name = format!("{}: ", resource.id());
    problem.message.strip_prefix(&name).unwrap_or(&problem.message).to_owned()
}

/// A problem of what stands in a layer and cannot be left to a controller there.
fn of_the_cluster(problem: Problem, cluster: Option<&str>) -> Problem {
    let cluster = cluster.map_or("what is made before the cluster".to_owned(), |name| format!("cluster {name}"));
    let message = format!("{}; {cluster} needs it before any controller runs", problem.message);
    let hint = problem.hint.clone().filter(|hint| hint.starts_with("did you mean"));
    Problem { message, hint: hint.or_else(|| Some("leave it out, or make it yourself and name it by its ID".to_owned())), ..problem }
}

/// Where the manifests of folders stand in layers: a layer may give its objects a namespace that the folder alone does not.
struct Home<'a> {
    namespaces: HashMap<(&'a Origin, &'a str, &'a str), &'a str>,
}

impl<'a> Home<'a> {
    fn new(objects: impl Iterator<Item = &'a Resource>) -> Self {
        let of_ack = objects.filter(|object| service(object).is_some());
        let namespaces = of_ack.filter_map(|object| Some(((object.origin.as_ref()?, object.kind(), object.name()), object.namespace()?)));
        Self { namespaces: namespaces.collect() }
    }

    /// The same manifest in the namespace that its layer gives it.
    fn bring(&self, resource: &Resource) -> Resource {
        let mut resource = resource.clone();
        let key = |origin| (origin, resource.kind(), resource.name());
        let namespace = resource.origin.as_ref().and_then(|origin| self.namespaces.get(&key(origin)).copied());
        if let (None, Some(namespace)) = (resource.namespace(), namespace) {
            resource.value["metadata"]["namespace"] = namespace.into();
        }
        resource
    }
}

/// Manifests for another account or region, as ACK's annotations on objects and namespaces say it.
#[derive(Default)]
struct Abroad<'a> {
    place: Option<&'a Place>,
    namespaces: HashMap<&'a str, &'a Resource>,
}

impl<'a> Abroad<'a> {
    fn new(reading: &'a Reading, place: Option<&'a Place>) -> Self {
        let objects = reading.layers.iter().flat_map(|read| &read.objects).filter(|object| object.kind() == "Namespace");
        Self { place, namespaces: objects.map(|object| (object.name(), object)).collect() }
    }

    fn problem(&self, declared: &Declared) -> Option<Problem> {
        let place = self.place?;
        let namespace = declared.resource.namespace().and_then(|name| self.namespaces.get(name));
        let of_namespace = |name: &str| namespace?.annotation(&format!("services.k8s.aws/{name}"));
        let region = declared.annotation("region").or_else(|| of_namespace("default-region")).filter(|region| *region != place.region);
        let account = of_namespace("owner-account-id").filter(|account| *account != place.account);
        let elsewhere = match (region, account) {
            (Some(region), _) => format!("region {region}"),
            (None, Some(account)) => format!("account {account}"),
            (None, None) => return None,
        };
        let message = format!("{}: is for {elsewhere}, and blackstart works in {} {}", declared.resource.id(), place.account, place.region);
        let hint = "leave it to its controller in a layer above the cluster";
        Some(Problem::blocks("cloud-abroad", message).at(declared.origin()).hint(hint))
    }
}
