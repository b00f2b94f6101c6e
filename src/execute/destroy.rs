//! Deletes cloud resources in the reverse order of the plan, in parallel, after their cluster is cleared of what it made in the account.
//! Whatever fails holds back what it needs, and nothing else; the next `destroy` goes on.

use super::clearing::{self, Inside};
use super::queue::{Index, Queue};
use super::{Events, Finished};
use crate::aws::leftovers::{self, Whose};
use crate::aws::observe::Observation;
use crate::aws::{self, Cloud, CloudError, Kind, Living, Meaning, State};
use crate::cluster::Cluster;
use crate::layers::infrastructure::{Declared, at};
use crate::plan::{Action, Constraint, Edge};
use crate::problem::Problem;
use crate::report::event::{Happening, Outcome};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Calls under way at once.
const CALLS: usize = 32;
/// Looks at what still holds a resource, and at one that is on its way out, five seconds apart: load balancers and managed services let
/// go of their network interfaces up to 20 minutes after they are gone, an EKS cluster takes 10.
const LOOKS: u64 = 300;
const PACE: u32 = 5;

/// What becomes of a declared resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does not live.
    Gone,
    /// It is deleted.
    Delete,
    /// It stays, and why.
    Keep(String),
}

/// What becomes of each resource, and what is protected against it, before anything is deleted. Pure.
pub fn fates(declared: &[Declared], observation: &Observation, edges: &[Edge]) -> (Vec<Fate>, Vec<Problem>) {
    let mut fates: Vec<Fate> = declared
        .iter()
        .enumerate()
        .map(|(position, declared)| match observation.found.get(&position) {
            None => Fate::Gone,
            Some(_) if declared.annotation("deletion-policy") == Some("retain") => Fate::Keep("deletion-policy: retain".to_owned()),
            Some(_) if declared.annotation("read-only") == Some("true") => Fate::Keep("read-only".to_owned()),
            Some(found) if !found.ours && !is_tended_for(&found.living, declared) => {
                Fate::Keep("blackstart neither made nor adopted it".to_owned())
            }
            Some(_) => Fate::Delete,
        })
        .collect();
    // What something needs that stays has to stay too.
    let nodes: BTreeMap<String, usize> = declared.iter().enumerate().map(|(position, one)| (one.node(), position)).collect();
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for edge in edges {
            let (Some(&from), Some(&to)) = (nodes.get(&edge.from), nodes.get(&edge.to)) else { continue };
            if fates[from] == Fate::Delete && matches!(fates[to], Fate::Keep(_)) {
                fates[from] = Fate::Keep(format!("{} needs it, and stays", declared[to].resource.id()));
                changed = true;
            }
        }
    }
    let doomed = (0..declared.len()).filter(|&position| fates[position] == Fate::Delete);
    let problems = doomed.filter_map(|position| protection(&declared[position], &observation.found[&position].living)).collect();
    (fates, problems)
}

/// Whether ACK's controller made or tends it for an object of the same namespace: it has taken our tags away.
fn is_tended_for(living: &Living, declared: &Declared) -> bool {
    living.is_tended() && living.tags.get("services.k8s.aws/namespace").map(String::as_str) == declared.resource.namespace()
}

fn protection(declared: &Declared, living: &Living) -> Option<Problem> {
    let fields = ["deletionProtection", "deletionProtectionEnabled", "disableAPITermination"];
    let field = fields.into_iter().find(|field| at(&living.spec, field) == Some(&Value::Bool(true))).map(str::to_owned);
    let is_on = |attribute: &&Value| attribute["key"] == "deletion_protection.enabled" && attribute["value"] == "true";
    let attributes = || at(&living.spec, "attributes")?.as_array()?.iter().find(is_on);
    let field = field.or_else(|| attributes().map(|_| "attributes (deletion_protection.enabled)".to_owned()))?;
    let message = format!("{}: {} is protected against deletion by spec.{field}; nothing was deleted", declared.resource.id(), living.id);
    let hint = format!("switch spec.{field} off in Git, run `blackstart recover`, then destroy again");
    Some(Problem::blocks("cloud-protected", message).at(declared.origin()).hint(hint))
}

/// All that a demolition needs.
#[derive(Debug)]
pub struct Demolition {
    /// The account.
    pub cloud: Arc<Cloud>,
    /// Name of the environment.
    pub environment: String,
    /// Commit of the manifests.
    pub revision: String,
    /// What is deleted.
    pub doomed: Vec<(Declared, Living)>,
    /// What needed what when it was made.
    pub edges: Vec<Edge>,
    /// A cluster that is cleared first: its node, and what is in it.
    pub cluster: Option<(String, Cluster, Inside)>,
    /// Whose leftovers are swept by their tags.
    pub whose: Whose,
    /// `--timeout`: the longest wait for one resource.
    pub timeout: Option<Duration>,
    /// Where events go.
    pub events: Events,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

impl Demolition {
    fn looks(&self) -> u64 {
        self.timeout.map_or(LOOKS, |timeout| (timeout.as_secs() / u64::from(PACE)).max(1))
    }
}

struct Engine {
    work: Arc<Demolition>,
    queue: Queue,
    calls: Arc<Semaphore>,
    finished: Finished,
}

/// Deletes everything that can go.
pub async fn destroy(work: Demolition) -> Finished {
    let nodes: Vec<String> = work.doomed.iter().map(|(declared, _)| declared.node()).collect();
    let edges = reversed(&work.edges);
    announce(&work, &nodes, &edges);
    let mut engine = Engine {
        queue: Queue::new(nodes.iter().map(String::as_str), &edges),
        work: Arc::new(work),
        calls: Arc::new(Semaphore::new(CALLS)),
        finished: Finished::default(),
    };
    engine.clear().await;
    engine.sweep().await;
    engine.run().await;
    // What failed may hold the rest: that is no reason to wait.
    if !engine.finished.interrupted && engine.finished.failures.is_empty() {
        engine.sweep_out().await;
    }
    let Engine { mut finished, queue, .. } = engine;
    finished.success = !finished.interrupted && finished.failures.is_empty() && queue.is_over();
    let summary = if finished.success { "All of it is gone." } else { "The same command goes on with what is left." };
    summary.clone_into(&mut finished.summary);
    finished
}

/// What was made later goes first. Resources that name each other hold nothing back: each lets go of the others itself.
fn reversed(edges: &[Edge]) -> Vec<Edge> {
    let firm = edges.iter().filter(|edge| edge.constraint != Constraint::AppliedBeforeReady);
    firm.map(|edge| Edge { from: edge.to.clone(), to: edge.from.clone(), constraint: Constraint::ReadyBeforeStart, ..edge.clone() })
        .collect()
}

fn announce(work: &Demolition, nodes: &[String], edges: &[Edge]) {
    let cluster = work.cluster.iter().map(|(node, ..)| node);
    let is_known = |edge: &&Edge| nodes.contains(&edge.from) && nodes.contains(&edge.to);
    work.events.send(Happening::Planned {
        environment: work.environment.clone(),
        revision: work.revision.clone(),
        nodes: cluster.chain(nodes).map(|node| (node.clone(), Action::Delete)).collect(),
        edges: edges.iter().filter(is_known).map(|edge| (edge.from.clone(), edge.to.clone(), edge.reason.clone())).collect(),
    });
}

impl Engine {
    fn send(&self, happening: Happening) {
        self.work.events.send(happening);
    }

    fn warn(&self, node: Option<String>, message: String) {
        self.send(Happening::Warning { node, message });
    }

    fn is_stopping(&self) -> bool {
        *self.work.stop.borrow() > 0
    }

    /// The controllers in the cluster undo what they made, while they can.
    async fn clear(&self) {
        let Some((node, cluster, inside)) = &self.work.cluster else { return };
        self.send(Happening::Started { node: node.clone(), action: Action::Delete, objects: inside.ways_in.len() + inside.claims.len() });
        for left in clearing::clear(cluster, inside, node, &self.work.events, &self.work.stop).await {
            self.warn(Some(node.clone()), format!("{left}; what it has in the account is deleted by its tags"));
        }
        self.send(Happening::Finished { node: node.clone(), action: Action::Delete, result: Outcome::Ready, error: None });
    }

    /// Deletes by tags what controllers left, as far as it can go now; none where nothing is left.
    async fn sweep(&self) -> Option<Vec<CloudError>> {
        match leftovers::find(&self.work.cloud, &self.work.whose).await {
            Ok(found) if found.is_empty() => None,
            Ok(found) => Some(leftovers::delete(&self.work.cloud, &found).await),
            Err(error) => Some(vec![error]),
        }
    }

    /// The same until nothing is left, or what is left cannot go.
    async fn sweep_out(&mut self) {
        for look in 1..=self.work.looks() {
            let Some(errors) = self.sweep().await else { return };
            let may_pass = |error: &CloudError| {
                matches!(error.meaning, Meaning::Dependency | Meaning::Exists | Meaning::Throttled | Meaning::Unreachable)
            };
            if !errors.iter().all(may_pass) || look == self.work.looks() {
                let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let message = format!("what the cluster left in the account cannot all be deleted: {}", words.join("; "));
                self.warn(None, message.clone());
                self.finished.failures.push(("leftovers".to_owned(), message));
                return;
            }
            if self.is_stopping() {
                return;
            }
            tokio::time::sleep(self.work.cloud.pace(PACE)).await;
        }
    }

    async fn run(&mut self) {
        let (sender, mut messages) = mpsc::unbounded_channel::<(Index, Result<(), String>)>();
        let mut stop = self.work.stop.clone();
        self.finished.interrupted = *stop.borrow_and_update() > 0;
        let mut running = 0_usize;
        loop {
            let startable = if self.finished.interrupted { Vec::new() } else { self.queue.startable() };
            for index in startable {
                running += 1;
                let task = self.task(index);
                self.send(Happening::Started { node: task.node.clone(), action: Action::Delete, objects: 1 });
                let sender = sender.clone();
                tokio::spawn(async move {
                    let result = task.delete().await;
                    let _ = sender.send((index, result));
                });
            }
            if running == 0 {
                return;
            }
            tokio::select! {
                Some((index, result)) = messages.recv() => {
                    running -= 1;
                    self.ended(index, result);
                }
                Ok(()) = stop.changed() => {
                    self.finished.interrupted = true;
                    if *stop.borrow_and_update() > 1 {
                        return;
                    }
                    self.send(Happening::Phase { name: "stop".into(), detail: "finishing what runs; Ctrl-C again stops at once".into() });
                }
            }
        }
    }

    fn task(&self, index: Index) -> Task {
        let (declared, living) = &self.work.doomed[index];
        Task {
            node: declared.node(),
            declared: declared.clone(),
            living: living.clone(),
            work: self.work.clone(),
            calls: self.calls.clone(),
        }
    }

    fn ended(&mut self, index: Index, result: Result<(), String>) {
        let declared = &self.work.doomed[index].0;
        let node = declared.node();
        let error = match result {
            Ok(()) => {
                self.send(Happening::Finished { node, action: Action::Delete, result: Outcome::Ready, error: None });
                self.queue.applied(index);
                self.queue.healthy(index);
                return;
            }
            Err(error) => error,
        };
        let error = declared.error(error);
        self.finished.failures.push((node.clone(), error.clone()));
        self.send(Happening::Finished { node, action: Action::Delete, result: Outcome::Failed, error: Some(error) });
        for blocked in self.queue.failed(index) {
            let node = self.work.doomed[blocked].0.node();
            let on: Vec<String> = self.queue.waits_for(blocked).into_iter().map(|(other, _)| self.work.doomed[other].0.node()).collect();
            self.finished.blocked.push(node.clone());
            let error = Some(format!("still needed by {}", on.join(", ")));
            self.send(Happening::Finished { node, action: Action::Delete, result: Outcome::Blocked, error });
        }
    }
}

/// One resource's end.
struct Task {
    node: String,
    declared: Declared,
    living: Living,
    work: Arc<Demolition>,
    calls: Arc<Semaphore>,
}

impl Task {
    async fn delete(&self) -> Result<(), String> {
        let kind = aws::kind(self.declared.schema).ok_or("its kind is not known")?;
        let cloud = &self.work.cloud;
        self.patiently("empty", || kind.empty(cloud, &self.living)).await?;
        self.patiently("delete", || kind.delete(cloud, &self.living)).await?;
        self.gone(kind).await
    }

    /// Waits until it is gone, since what it needs cannot go before.
    async fn gone(&self, kind: &'static dyn Kind) -> Result<(), String> {
        let mut told = String::new();
        for _ in 0..self.work.looks() {
            let seen = self.patiently("look at", || kind.look(&self.work.cloud, &self.living)).await?;
            let word = match seen.map(|living| living.state) {
                None => return Ok(()),
                Some(State::Leaving(word)) if is_final(&word) => return Ok(()),
                Some(State::Failed(word)) if word.to_lowercase().contains("delete") => {
                    return Err(format!("cannot be deleted: {} is {word}", self.living.id));
                }
                // One that had failed before its end is shown so for a moment more.
                Some(State::Leaving(word) | State::Pending(word) | State::Failed(word)) => word,
                Some(State::Ready) => "not gone yet".to_owned(),
            };
            if word != told {
                self.progress(format!("{}: {word}", self.living.id));
                told = word;
            }
            self.pause().await?;
        }
        Err(format!("{} is still {told}; the same command again goes on", self.living.id))
    }

    fn progress(&self, message: String) {
        self.work.events.send(Happening::Progress { node: self.node.clone(), ready: 0, of: 1, message });
    }

    /// Tries again while something else still holds it.
    async fn patiently<T, F: Future<Output = Result<T, CloudError>>>(&self, verb: &str, call: impl Fn() -> F) -> Result<T, String> {
        let mut holders = Vec::new();
        let mut look = 0;
        loop {
            look += 1;
            let result = {
                let _permit = self.calls.acquire().await;
                call().await
            };
            let error = match result {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let may_pass = matches!(error.meaning, Meaning::Dependency | Meaning::Throttled | Meaning::Unreachable);
            if !may_pass || look >= self.work.looks() {
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                let holders = if holders.is_empty() { String::new() } else { format!("; still there: {}", list(&holders)) };
                return Err(format!("cannot {verb} it: {error}{holders}{hint}"));
            }
            if look == 1 {
                self.work.events.send(Happening::Retried { node: self.node.clone(), error: error.to_string() });
            }
            // What a cluster left may be all that holds it.
            if error.meaning == Meaning::Dependency && look % 4 == 1 {
                holders = self.sweep().await;
                if !holders.is_empty() {
                    self.progress(format!("{} is held by {}", self.living.id, list(&holders)));
                }
            }
            self.pause().await?;
        }
    }

    /// Removes what controllers left in a network, and gives what else is in it. Errors show up in the next attempt's answer.
    async fn sweep(&self) -> Vec<String> {
        let filter = match (self.declared.schema.service, self.declared.schema.kind) {
            ("ec2", "VPC") => "vpc-id",
            ("ec2", "Subnet") => "subnet-id",
            ("ec2", "SecurityGroup") => "group-id",
            _ => return Vec::new(),
        };
        let cloud = &self.work.cloud;
        if let Ok(found) = leftovers::find(cloud, &self.work.whose).await {
            leftovers::delete(cloud, &found).await;
        }
        leftovers::interfaces(cloud, filter, &self.living.id).await.unwrap_or_default()
    }

    async fn pause(&self) -> Result<(), String> {
        let mut stop = self.work.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(self.work.cloud.pace(PACE)) => Ok(()),
            _ = stop.wait_for(|count| *count > 0) => Err("stopped waiting for it; the same command goes on from here".to_owned()),
        }
    }
}

/// AWS shows some things for a while after their end, and keeps keys and secrets for those who change their mind.
fn is_final(word: &str) -> bool {
    let word = word.to_lowercase();
    word == "deleted" || word == "terminated" || word.contains("pending") || word.contains("scheduled")
}

/// The first few.
fn list(words: &[String]) -> String {
    let more = words.len().saturating_sub(5);
    let first = words.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// What is deleted, in the order of the manifests.
pub fn doomed(declared: &[Declared], observation: &Observation, fates: &[Fate]) -> Vec<(Declared, Living)> {
    let doomed = (0..declared.len()).filter(|&position| fates[position] == Fate::Delete);
    doomed.map(|position| (declared[position].clone(), observation.found[&position].living.clone())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::aws::observe::Found;
    use crate::manifest::Resource;
    use serde_json::json;

    fn declared(kind: &str, name: &str, policy: Option<&str>) -> Declared {
        let service = if kind == "Table" { "dynamodb" } else { "ec2" };
        let mut value = json!({
            "apiVersion": format!("{service}.services.k8s.aws/v1alpha1"), "kind": kind, "metadata": {"name": name, "namespace": "infra"}, "spec": {},
        });
        if let Some(policy) = policy {
            value["metadata"]["annotations"] = json!({"services.k8s.aws/deletion-policy": policy});
        }
        Declared::read(&Resource { value, origin: None }, &aws::catalogue()).unwrap().unwrap()
    }

    fn found(ours: bool, spec: Value, tags: &[(&str, &str)]) -> Found {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let living = Living { id: "id".into(), spec, status: json!({}), tags, state: State::Ready, created: None };
        Found { living, evidence: String::new(), ours, differences: Vec::new() }
    }

    fn edge(from: &Declared, to: &Declared) -> Edge {
        Edge { from: from.node(), to: to.node(), constraint: Constraint::ReadyBeforeStart, reason: "vpcRef".into(), origin: None }
    }

    #[test]
    fn what_is_kept_keeps_what_it_needs() {
        let all = [
            declared("VPC", "main", None),
            declared("Subnet", "a", None),
            declared("Subnet", "b", Some("retain")),
            declared("Table", "t", None),
        ];
        let observation = Observation { found: (0..4).map(|position| (position, found(true, json!({}), &[]))).collect() };
        let (fates, problems) = fates(&all, &observation, &[edge(&all[0], &all[1]), edge(&all[0], &all[2])]);
        assert_eq!(problems, []);
        assert!(matches!(&fates[0], Fate::Keep(why) if why.contains("Subnet infra/b needs it")), "{fates:?}");
        assert_eq!((&fates[1], &fates[3]), (&Fate::Delete, &Fate::Delete));
        assert_eq!(doomed(&all, &observation, &fates).len(), 2);
    }

    #[test]
    fn what_is_not_ours_stays_unless_acks_controller_tends_it_for_this_manifest() {
        let all = [declared("VPC", "a", None), declared("VPC", "b", None), declared("VPC", "c", None), declared("VPC", "d", None)];
        let tended = |namespace| {
            found(false, json!({}), &[("services.k8s.aws/controller-version", "ec2-v1"), ("services.k8s.aws/namespace", namespace)])
        };
        let observation = Observation { found: [(0, found(false, json!({}), &[])), (1, tended("infra")), (2, tended("other"))].into() };
        let (fates, _) = fates(&all, &observation, &[]);
        assert!(matches!(fates[0], Fate::Keep(_)) && matches!(fates[2], Fate::Keep(_)), "{fates:?}");
        assert_eq!((&fates[1], &fates[3]), (&Fate::Delete, &Fate::Gone));
    }

    #[test]
    fn what_is_protected_is_told_before_anything_is_deleted() {
        let all = [declared("Table", "t", None)];
        let observation = Observation { found: [(0, found(true, json!({"deletionProtectionEnabled": true}), &[]))].into() };
        let (_, problems) = fates(&all, &observation, &[]);
        assert!(problems[0].message.contains("spec.deletionProtectionEnabled") && problems[0].hint.as_ref().unwrap().contains("in Git"));
    }

    #[test]
    fn what_stays_visible_after_its_end_is_gone_and_what_is_leaving_is_not() {
        for word in ["deleted", "terminated", "PendingDeletion", "scheduled for deletion on 2026-01-01"] {
            assert!(is_final(word), "{word}");
        }
        for word in ["deleting", "DELETING", "shutting-down", "delete_in_progress"] {
            assert!(!is_final(word), "{word}");
        }
    }
}
