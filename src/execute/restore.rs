//! State comes back: looked for in the account before the first write, bound to its claims when the cluster is there.
//!
//! What is made from a backup goes the way of all cloud resources (`cloud`); here is decided which backup, and claims get their volumes.

use super::OURS;
use super::layer::{ApplyFailed, Written};
use crate::aws::observe::{Observation, wanted};
use crate::aws::{self, Cloud, CloudError, VOLUME, Wanted};
use crate::cluster::{ApplyResult, Cluster, ClusterError, ssa};
use crate::environment::{Environment, RestoreRule};
use crate::layers::infrastructure::{Declared, TAG_ENVIRONMENT, TAG_RESOURCE, at};
use crate::manifest::ObjectId;
use crate::plan::{Constraint, Edge};
use crate::preflight as state;
use crate::problem::Problem;
use crate::report::event::{Fate, State};
use crate::restore::claims::Claim;
use crate::restore::volumes::{Ground, Source, Stock, Volume, known, persistent_volume, source, volume};
use crate::restore::{Backup, Keeper, choose, keeper, locked, lost, rule};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a run does about state.
#[derive(Debug, Default)]
pub struct Restoration {
    /// Claims that get a volume, in the order of their nodes.
    pub claims: Vec<Restored>,
    /// Volumes that are made for them.
    pub volumes: Vec<Declared>,
    /// Backups that lost resources are made from, by position of the manifest.
    pub backups: HashMap<usize, Backup>,
    /// What waits for what among these.
    pub edges: Vec<Edge>,
    /// What becomes of each, to be told.
    pub fates: Vec<State>,
}

/// A claim and its volume.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The claim.
    pub claim: Claim,
    /// Its volume.
    pub from: From,
}

/// Where a claim's volume is.
#[derive(Clone, Debug)]
pub enum From {
    /// It lives.
    Living(Volume),
    /// It is made, by this node.
    Node(String),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The account.
    pub cloud: &'a Cloud,
    /// The environment.
    pub environment: &'a Environment,
    /// Its name.
    pub name: &'a str,
    /// Its cloud resources.
    pub declared: &'a [Declared],
    /// What lives of them.
    pub observation: &'a Observation,
    /// The claims of its layers.
    pub claims: &'a [Claim],
    /// A rehearsal in an account that never held anything: nothing is lost there, and all starts empty.
    pub is_new: bool,
}

impl Question<'_> {
    fn rule(&self, keeper: Keeper<'_>) -> RestoreRule {
        match rule(self.environment, keeper) {
            RestoreRule::Required | RestoreRule::At(_) if self.is_new => RestoreRule::Newest,
            rule => rule,
        }
    }

    /// Manifests of which nothing lives.
    fn gone(&self) -> Vec<usize> {
        (0..self.declared.len()).filter(|position| !self.observation.found.contains_key(position)).collect()
    }

    /// Each state with where it lives and its newest backup.
    fn states(&self, found: &Fetched) -> Vec<state::Backup> {
        let ground = self.ground();
        let of = |keeper: Keeper<'_>, living: Option<String>, backups: &[&Backup]| {
            let rule = self.rule(keeper);
            let newest = backups.iter().filter(|backup| backup.unusable.is_none()).max_by_key(|backup| backup.taken);
            state::Backup {
                state: keeper.to_string(),
                living,
                newest: newest.map(|backup| format!("{} {} of {}", backup.what, short(&backup.id), backup.taken)),
                required: matches!(rule, RestoreRule::Required | RestoreRule::At(_)),
                empty: rule == RestoreRule::Empty,
                origin: keeper.origin.cloned(),
                ..state::Backup::default()
            }
        };
        let claims = self.claims.iter().map(|claim| {
            let (living, snapshots) = known(claim, &found.stock, &ground);
            let living = living.first().map(|volume| format!("volume {} lives in {}", volume.id, volume.zone));
            of(claim.keeper(), living, &snapshots.iter().map(|snapshot| &snapshot.backup).collect::<Vec<_>>())
        });
        let declared = self.declared.iter().enumerate().filter_map(|(position, declared)| {
            let living = self.observation.found.get(&position).map(|_| "lives".to_owned());
            let backups = found.backups.get(&position).into_iter().flatten().collect::<Vec<_>>();
            Some(of(keeper(declared)?, living, &backups))
        });
        claims.chain(declared).collect()
    }

    /// Where pods may run: the zones of the node groups' subnets, else of all declared ones.
    fn ground(&self) -> Ground {
        let zone = |subnet: &Declared| at(subnet.spec(), "availabilityZone").and_then(Value::as_str).map(str::to_owned);
        let subnets = || self.declared.iter().filter(|one| one.schema.service == "ec2" && one.schema.kind == "Subnet");
        let mut named = BTreeSet::new();
        for group in self.declared.iter().filter(|one| one.schema.service == "eks" && one.schema.kind == "Nodegroup") {
            for reference in at(group.spec(), "subnetRefs").and_then(Value::as_array).into_iter().flatten() {
                let namespace = reference.pointer("/from/namespace").and_then(Value::as_str).or(group.resource.namespace());
                let name = reference.pointer("/from/name").and_then(Value::as_str).unwrap_or_default();
                named.insert(format!("{}/{name}", namespace.unwrap_or("default")));
            }
        }
        let of_groups: BTreeSet<String> = subnets().filter(|subnet| named.contains(&subnet.key())).filter_map(zone).collect();
        let place = self.cloud.place();
        Ground {
            cluster: self.environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.clone()).unwrap_or_else(|| self.name.to_owned()),
            zones: if of_groups.is_empty() { subnets().filter_map(zone).collect() } else { of_groups },
            place: format!("account {} ({})", place.account, place.region),
        }
    }
}

/// Looks for the data of all that lost it. Writes nothing; what is lost against a rule is a problem.
pub async fn look(question: Question<'_>) -> Result<(Restoration, Vec<Problem>), Vec<CloudError>> {
    let gone = question.gone();
    let found = fetch(question, &gone).await?;
    decide(question, &gone, &found).await
}

/// The same, and what there is of each state, also of what lives: from what it would come back if it were lost. Writes nothing.
pub async fn survey(question: Question<'_>) -> Result<(Restoration, Vec<state::Backup>), Vec<CloudError>> {
    let all: Vec<usize> = (0..question.declared.len()).collect();
    let found = fetch(question, &all).await?;
    let (restoration, problems) = decide(question, &question.gone(), &found).await?;
    let listed = question.states(&found).into_iter().map(|backup| with_problem(backup, &problems)).collect();
    Ok((restoration, listed))
}

/// What stands against the use of a state, in the words of the problem that a run would end with.
fn with_problem(backup: state::Backup, problems: &[Problem]) -> state::Backup {
    let head = format!("{}: ", backup.state);
    let told = problems.iter().find_map(|problem| Some((problem.message.strip_prefix(&head)?, &problem.hint)));
    let Some((why, hint)) = told else { return backup };
    let why = why.trim_end_matches("; nothing was written").to_owned();
    state::Backup { unusable: Some(why), fix: hint.clone(), ..backup }
}

/// What the account holds of the data of an environment.
struct Fetched {
    stock: Stock,
    /// By position of the manifest.
    backups: HashMap<usize, Vec<Backup>>,
}

async fn fetch(question: Question<'_>, positions: &[usize]) -> Result<Fetched, Vec<CloudError>> {
    match futures::future::join(stock(question), backups(question, positions)).await {
        (Ok(stock), Ok(backups)) => Ok(Fetched { stock, backups }),
        (stock, backups) => Err(stock.err().into_iter().chain(backups.err()).collect()),
    }
}

async fn decide(question: Question<'_>, gone: &[usize], found: &Fetched) -> Result<(Restoration, Vec<Problem>), Vec<CloudError>> {
    let mut restoration = Restoration::default();
    let mut problems = Vec::new();
    let ground = question.ground();
    let mut chosen: Vec<(Keeper<'_>, Backup, String)> = Vec::new();
    let none = Vec::new();

    for claim in question.claims {
        let rule = question.rule(claim.keeper());
        match source(claim, &rule, &found.stock, &ground) {
            Ok(Some(Source::Living(volume))) => {
                let source = format!("volume {} in {}", volume.id, volume.zone);
                restoration.tell(claim.keeper().to_string(), Fate::Kept, Some(source), None, None);
                restoration.claims.push(Restored { claim: claim.clone(), from: From::Living(volume) });
            }
            Ok(Some(Source::Snapshot(backup, gib))) => match volume(claim, &backup, gib, &ground, &VOLUME) {
                Ok(declared) => {
                    restoration.restored(claim.keeper().to_string(), &backup);
                    restoration.claims.push(Restored { claim: claim.clone(), from: From::Node(declared.node()) });
                    restoration.edges.push(waits(declared.node(), claim.node(), "its volume", claim.origin.clone()));
                    chosen.push((claim.keeper(), backup, declared.node()));
                    restoration.volumes.push(declared);
                }
                Err(problem) => problems.push(*problem),
            },
            Ok(None) => restoration.starts_empty(claim.keeper().to_string(), &rule, question.is_new),
            Err(problem) => problems.push(*problem),
        }
    }
    for &position in gone {
        let declared = &question.declared[position];
        if let Some(keeper) = keeper(declared) {
            let rule = question.rule(keeper);
            match choose(keeper, &rule, found.backups.get(&position).unwrap_or(&none), &ground.place) {
                Ok(Some(backup)) => {
                    restoration.restored(keeper.to_string(), backup);
                    chosen.push((keeper, backup.clone(), declared.node()));
                    restoration.backups.insert(position, backup.clone());
                }
                Ok(None) => restoration.starts_empty(keeper.to_string(), &rule, question.is_new),
                Err(problem) => problems.push(*problem),
            }
        } else if let Some(what) = lost(declared).filter(|_| !question.is_new) {
            restoration.tell(declared.resource.id().to_string(), Fate::Lost, None, None, Some(&format!("{what}, if it had any")));
        }
    }
    problems.extend(keys(question, &chosen, &mut restoration).await.map_err(|error| vec![error])?);
    Ok((restoration, problems))
}

impl Restoration {
    fn tell(&mut self, state: String, fate: Fate, source: Option<String>, as_of: Option<Timestamp>, detail: Option<&str>) {
        self.fates.push(State { state, fate, source, as_of, detail: detail.map(str::to_owned) });
    }

    fn restored(&mut self, state: String, backup: &Backup) {
        self.tell(state, Fate::Restored, Some(format!("{} {}", backup.what, short(&backup.id))), Some(backup.taken), None);
    }

    fn starts_empty(&mut self, state: String, rule: &RestoreRule, is_new: bool) {
        let (fate, detail) = match rule {
            RestoreRule::Empty => (Fate::Empty, "as its rule says"),
            _ if is_new => (Fate::Empty, "a rehearsal's account holds no backups"),
            _ => (Fate::Lost, "no backup of it is there"),
        };
        self.tell(state, fate, None, None, Some(detail));
    }
}

fn waits(from: String, to: String, reason: &str, origin: Option<crate::problem::Origin>) -> Edge {
    Edge { from, to, constraint: Constraint::ReadyBeforeStart, reason: reason.to_owned(), origin }
}

/// The end of an ARN, which tells one backup from another.
fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

async fn stock(question: Question<'_>) -> Result<Stock, CloudError> {
    let named: Vec<&str> = question.claims.iter().flat_map(|claim| &claim.snapshots).map(String::as_str).collect();
    if question.claims.is_empty() { Ok(Stock::default()) } else { aws::stock(question.cloud, &named).await }
}

/// Backups of these manifests, a list for each kind, all at once.
async fn backups(question: Question<'_>, positions: &[usize]) -> Result<HashMap<usize, Vec<Backup>>, CloudError> {
    let mut kinds: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for &position in positions {
        let declared = &question.declared[position];
        if keeper(declared).is_some() {
            kinds.entry((declared.schema.service, declared.schema.kind)).or_default().push(position);
        }
    }
    let lists = kinds.into_values().map(|positions| async move {
        let asked = |position: &usize| wanted(&question.declared[*position], question.name, "", |_, _, _, _| None);
        let asked: Vec<Wanted> = positions.iter().map(asked).collect();
        let Some(kind) = aws::kind(question.declared[positions[0]].schema) else { return Ok(Vec::new()) };
        let found = kind.backups(question.cloud, &asked).await?;
        Ok::<_, CloudError>(found.into_iter().map(|(place, backup)| (positions[place], backup)).collect::<Vec<_>>())
    });
    let mut all: HashMap<usize, Vec<Backup>> = HashMap::new();
    for (position, backup) in try_join_all(lists).await?.into_iter().flatten() {
        all.entry(position).or_default().push(backup);
    }
    Ok(all)
}

/// Keys of the chosen backups. One that a manifest declares is saved by the run itself, before what needs it; any other is a problem.
async fn keys(
    question: Question<'_>,
    chosen: &[(Keeper<'_>, Backup, String)],
    restoration: &mut Restoration,
) -> Result<Vec<Problem>, CloudError> {
    let names: BTreeSet<&str> = chosen.iter().filter_map(|(_, backup, _)| backup.key.as_deref()).collect();
    let looks = names.iter().map(|key| aws::key(question.cloud, key));
    let mut seen = HashMap::new();
    for (name, key) in names.iter().zip(join_all(looks).await) {
        seen.insert(*name, key?);
    }
    let mut problems = Vec::new();
    for (keeper, backup, node) in chosen {
        let Some(name) = backup.key.as_deref() else { continue };
        let Some(key) = seen.get(name).and_then(Option::as_ref) else {
            problems.push(locked(*keeper, backup, name, "gone"));
            continue;
        };
        if key.state == "Enabled" {
            continue;
        }
        let is_meant = |declared: &&Declared| {
            declared.schema.service == "kms"
                && key.tags.get(TAG_RESOURCE) == Some(&declared.key())
                && key.tags.get(TAG_ENVIRONMENT).map(String::as_str) == Some(question.name)
        };
        match question.declared.iter().find(is_meant).filter(|_| key.state == "PendingDeletion") {
            Some(declared) => restoration.edges.push(waits(declared.node(), node.clone(), "its backup's key", declared.origin())),
            None => problems.push(locked(*keeper, backup, &key.id, &key.state)),
        }
    }
    Ok(problems)
}

/// Makes sure that a claim binds to its volume and to nothing else: a PersistentVolume that is kept for it. One that is bound is left alone.
pub async fn bind(cluster: &Cluster, claim: &Claim, volume: &Volume) -> Result<Vec<Written>, ApplyFailed> {
    let failed = |object: &ObjectId, cause: String, hint: Option<String>| ApplyFailed {
        object: object.clone(),
        place: claim.origin.clone(),
        cause,
        hint,
    };
    let claim_id = claim.id();
    let refused = |error: ClusterError| failed(&claim_id, error.to_string(), error.hint());
    let living = cluster.get(&claim_id).await.map_err(refused)?;
    let is_bound = |claim: &Value| claim.pointer("/spec/volumeName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if living.as_ref().is_some_and(is_bound) {
        return Ok(Vec::new());
    }
    let all = cluster.list("v1", "PersistentVolume", None, None).await.map_err(refused)?;
    let handle = |object: &&Value| object.pointer("/spec/csi/volumeHandle").and_then(Value::as_str) == Some(&volume.id);
    if let Some(object) = all.iter().find(handle) {
        let id =
            ObjectId::new("v1", "PersistentVolume", None, object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default());
        let reference = |field: &str| object.pointer("/spec/claimRef").and_then(|claim| claim.get(field)).and_then(Value::as_str);
        let is_its = reference("namespace") == Some(&claim.namespace) && reference("name") == Some(&claim.name);
        if !is_its && reference("name").is_some() {
            let other = format!("{}/{}", reference("namespace").unwrap_or_default(), reference("name").unwrap_or_default());
            let cause = format!("holds volume {} for claim {other}, and its tags name {claim_id}", volume.id);
            return Err(failed(&id, cause, Some(format!("correct the tags of {}, or delete the wrong claim", volume.id))));
        }
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(failed(&id, "is being deleted, and its volume with it".to_owned(), None));
        }
        if is_its && reference("uid").is_none() {
            return Ok(Vec::new());
        }
        // Released by a claim that is gone: without the uid, its successor of the same name may have it.
        let change = json!({"spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace, "name": claim.name, "uid": null, "resourceVersion": null,
        }}});
        let changed = cluster.merge_patch(&id, None, &change, OURS.manager).await;
        let object = changed.map_err(|error| failed(&id, error.to_string(), error.hint()))?;
        let fingerprint = ssa::fingerprint(&object, OURS.manager);
        return Ok(vec![Written { id, result: ApplyResult::Changed, object, fingerprint }]);
    }
    let class = match claim.spec.get("storageClassName").and_then(Value::as_str).or(claim.class.as_ref().map(|class| class.name.as_str())) {
        Some(class) => class.to_owned(),
        None => default_class(cluster).await.map_err(refused)?.ok_or_else(|| {
            let hint = "name one in spec.storageClassName, or declare one with storageclass.kubernetes.io/is-default-class: \"true\"";
            failed(&claim_id, "names no StorageClass, and the cluster has no default one".to_owned(), Some(hint.to_owned()))
        })?,
    };
    let object = persistent_volume(claim, &class, &volume.id, &volume.zone, volume.gib);
    let id = ObjectId::new("v1", "PersistentVolume", None, &crate::restore::volumes::name(claim));
    let applied = cluster.apply(&object, &OURS).await.map_err(|error| failed(&id, error.to_string(), error.hint()))?;
    Ok(vec![Written { id, result: applied.result, object: applied.object, fingerprint: applied.fingerprint }])
}

/// Why a claim cannot be bound whose volume nobody tells of.
pub fn unmade(claim: &Claim) -> ApplyFailed {
    let object = claim.id();
    ApplyFailed { object, place: claim.origin.clone(), cause: "its volume was not made".to_owned(), hint: None }
}

async fn default_class(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let classes = cluster.list("storage.k8s.io/v1", "StorageClass", None, None).await?;
    let is_default = |class: &&Value| {
        class.pointer("/metadata/annotations").and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"))
            == Some(&json!("true"))
    };
    // The newest counts, as the admission plugin has it.
    let newest = classes.iter().filter(is_default).max_by_key(|class| class.pointer("/metadata/creationTimestamp").and_then(Value::as_str));
    Ok(newest.and_then(|class| class.pointer("/metadata/name")).and_then(Value::as_str).map(str::to_owned))
}

/// A volume that this run has made, as its node tells it.
pub fn made(outputs: &Value, id: &str) -> Option<Volume> {
    Some(Volume {
        id: id.to_owned(),
        zone: outputs.get("availabilityZone")?.as_str()?.to_owned(),
        gib: outputs.get("size")?.as_u64()?,
        tags: BTreeMap::new(),
        created: None,
        attached: None,
    })
}
