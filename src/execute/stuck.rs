//! What stands in a living cluster and does not go on by itself: seen before the first write of a recovery, mended where nobody can lose anything by it,
//! else told with the command that does. Nothing is deleted here.

use super::Events;
use crate::cluster::{Cluster, ClusterError};
use crate::health::stuck::{self, Held, Pending};
use crate::manifest::ObjectId;
use crate::problem::count;
use crate::read::Reading;
use crate::report::event::Happening;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Field manager of what a recovery, and `destroy`, suspend.
const OURS: &str = "blackstart";
/// Without `spec.timeout`, helm-controller gives a release five minutes.
const RELEASE: Duration = Duration::from_secs(5 * 60);
/// Objects that are told by name.
const TOLD: usize = 3;
const HELM_RELEASE: (&str, &str) = ("helm.toolkit.fluxcd.io/v2", "HelmRelease");
/// Releases that somebody has begun.
const PENDING: &str = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback)";

/// Kinds of Flux that can be suspended, with the words of its command line.
const SUSPENDABLE: [(&str, &str); 9] = [
    ("Kustomization", "kustomization"),
    ("HelmRelease", "helmrelease"),
    ("GitRepository", "source git"),
    ("OCIRepository", "source oci"),
    ("HelmRepository", "source helm"),
    ("HelmChart", "source chart"),
    ("Bucket", "source bucket"),
    ("ImageRepository", "image repository"),
    ("ImageUpdateAutomation", "image update"),
];

/// Kinds of Kubernetes' own that hold namespaces.
const OWN: [(&str, &str, &str); 9] = [
    ("pods", "v1", "Pod"),
    ("persistentvolumeclaims", "v1", "PersistentVolumeClaim"),
    ("services", "v1", "Service"),
    ("configmaps", "v1", "ConfigMap"),
    ("secrets", "v1", "Secret"),
    ("jobs.batch", "batch/v1", "Job"),
    ("deployments.apps", "apps/v1", "Deployment"),
    ("statefulsets.apps", "apps/v1", "StatefulSet"),
    ("ingresses.networking.k8s.io", "networking.k8s.io/v1", "Ingress"),
];

/// Something that does not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which object, or `Helm release shop/api`.
    pub object: String,
    /// What is wrong.
    pub found: String,
    /// What to type, where a person has to decide.
    pub fix: Option<String>,
    /// What mends it.
    pub heal: Option<Heal>,
}

/// What mends something, and takes nothing from anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heal {
    /// Takes our own `spec.suspend` back.
    Resume(ObjectId),
    /// Asks helm-controller to look at it now, and to forget how often it has failed.
    Reset(ObjectId),
}

impl Stuck {
    fn new(object: &impl ToString, found: impl Into<String>) -> Self {
        Self { object: object.to_string(), found: found.into(), fix: None, heal: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    fn heal(mut self, heal: Heal) -> Self {
        self.heal = Some(heal);
        self
    }
}

/// Looks for all that concerns what Git declares. Writes nothing.
pub async fn look(cluster: &Cluster, reading: &Reading) -> Result<Vec<Stuck>, ClusterError> {
    let declared = Declared::of(reading);
    let (of_agent, definitions, namespaces, pending) = tokio::try_join!(
        of_agent(cluster, &declared),
        list(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None),
        list(cluster, "v1", "Namespace", None),
        list(cluster, "v1", "Secret", Some(PENDING)),
    )?;
    let mut found = suspensions(&declared, &of_agent);
    let releases: Vec<&Value> = of_agent.iter().filter(|object| object["kind"] == HELM_RELEASE.1).collect();
    found.extend(self::releases(&releases, &pending, jiff::Timestamp::now().as_second()));
    for namespace in namespaces.iter().filter(|namespace| declared.namespaces.contains(name(namespace))) {
        found.extend(held(cluster, namespace, &definitions).await?);
    }
    for definition in definitions.iter().filter(|definition| declared.uses(definition)) {
        found.extend(self::definition(cluster, definition).await?);
    }
    Ok(found)
}

/// Mends what can be mended, and tells all of it.
pub async fn heal(cluster: &Cluster, found: &[Stuck], events: &Events) {
    let heals = found.iter().map(|stuck| async move {
        let result = match &stuck.heal {
            None => None,
            Some(Heal::Resume(id)) => {
                Some(cluster.merge_patch(id, None, &json!({"spec": {"suspend": null}}), OURS).await.map(|_| "resumed".to_owned()))
            }
            Some(Heal::Reset(id)) => {
                // `flux reconcile helmrelease --reset`: both carry the same time.
                let now = jiff::Timestamp::now().to_string();
                let change = json!({"metadata": {"annotations": {
                    "reconcile.fluxcd.io/requestedAt": now, "reconcile.fluxcd.io/resetAt": now,
                }}});
                let asked = cluster.merge_patch(id, None, &change, OURS).await;
                Some(asked.map(|_| "helm-controller is asked to try again".to_owned()))
            }
        };
        (stuck, result)
    });
    for (stuck, result) in join_all(heals).await {
        let mut message = format!("{}: {}", stuck.object, stuck.found);
        match result {
            Some(Ok(done)) => message = format!("{message}; {done}"),
            Some(Err(error)) => message = format!("{message}; that could not be mended: {error}"),
            None => {}
        }
        if let Some(fix) = &stuck.fix {
            message = format!("{message} ({fix})");
        }
        events.send(Happening::Warning { node: None, message });
    }
}

/// What holds a namespace that does not go, and the command that frees it: for the error of whoever has waited for that.
pub async fn holder(cluster: &Cluster, namespace: &str) -> Option<String> {
    let id = ObjectId::new("v1", "Namespace", None, namespace);
    let namespace = cluster.get(&id).await.ok()??;
    let definitions = list(cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None).await.unwrap_or_default();
    let stuck = held(cluster, &namespace, &definitions).await.ok()??;
    Some(match stuck.fix {
        Some(fix) => format!("{}: {}; {fix}", stuck.object, stuck.found),
        None => format!("{}: {}", stuck.object, stuck.found),
    })
}

/// What Git says, as far as it matters here.
struct Declared {
    /// Objects of the agent that can be suspended; whether Git does.
    of_agent: BTreeMap<ObjectId, bool>,
    namespaces: BTreeSet<String>,
    /// Groups and kinds of all objects.
    kinds: BTreeSet<(String, String)>,
    definitions: BTreeSet<String>,
}

impl Declared {
    fn of(reading: &Reading) -> Self {
        let mut declared =
            Self { of_agent: BTreeMap::new(), namespaces: BTreeSet::new(), kinds: BTreeSet::new(), definitions: BTreeSet::new() };
        let layers = reading.layers.iter().filter(|read| read.layer.spec.kube_config.is_none());
        for object in layers.flat_map(|read| read.objects.iter().chain([&read.layer.declaration])) {
            let id = object.id();
            let (group, kind) = (id.group().to_owned(), id.kind.clone());
            match kind.as_str() {
                "Namespace" => drop(declared.namespaces.insert(id.name.clone())),
                "CustomResourceDefinition" => drop(declared.definitions.insert(id.name.clone())),
                _ => {}
            }
            declared.namespaces.extend(id.namespace.clone());
            if group.ends_with(".toolkit.fluxcd.io") && SUSPENDABLE.iter().any(|(name, _)| *name == kind) {
                declared.of_agent.insert(id, object.value.pointer("/spec/suspend") == Some(&Value::Bool(true)));
            }
            declared.kinds.insert((group, kind));
        }
        declared
    }

    fn uses(&self, definition: &Value) -> bool {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.definitions.contains(name(definition)) || self.kinds.contains(&(text("/spec/group"), text("/spec/names/kind")))
    }
}

async fn list(cluster: &Cluster, api_version: &str, kind: &str, selector: Option<&str>) -> Result<Vec<Value>, ClusterError> {
    match cluster.list(api_version, kind, None, selector).await {
        Err(ClusterError::KindUnknown { .. }) => Ok(Vec::new()),
        result => result,
    }
}

/// What lives of the agent's kinds that Git declares; one list a kind.
async fn of_agent(cluster: &Cluster, declared: &Declared) -> Result<Vec<Value>, ClusterError> {
    let kinds: BTreeSet<(&str, &str)> = declared.of_agent.keys().map(|id| (id.api_version.as_str(), id.kind.as_str())).collect();
    let lists = kinds.into_iter().map(|(api_version, kind)| list(cluster, api_version, kind, None));
    Ok(futures::future::try_join_all(lists).await?.into_iter().flatten().collect())
}

/// What is suspended in the cluster and not in Git. What a dead run of ours has suspended is resumed; a layer's own Kustomization when it
/// is handed over, so that is no matter of this place.
fn suspensions(declared: &Declared, living: &[Value]) -> Vec<Stuck> {
    let mut found = Vec::new();
    for object in living {
        let id = ObjectId::of(object);
        let (Some((manager, since)), Some(false)) = (stuck::suspended(object), declared.of_agent.get(&id)) else { continue };
        let by = if manager.is_empty() { String::new() } else { format!(" by {manager} since {since}") };
        let stuck = Stuck::new(&id, format!("is suspended{by}, and not in Git"));
        if manager == OURS {
            if id.kind != "Kustomization" {
                found.push(stuck.heal(Heal::Resume(id)));
            }
            continue;
        }
        let words = SUSPENDABLE.iter().find(|(kind, _)| *kind == id.kind).map_or("", |(_, words)| words);
        let namespace = id.namespace.as_deref().unwrap_or_default();
        found.push(stuck.fix(format!("nothing of it changes until somebody resumes it: flux resume {words} {} -n {namespace}", id.name)));
    }
    found
}

/// Releases that nobody finishes, and those that helm-controller does not try any more.
fn releases(living: &[&Value], pending: &[Value], now: i64) -> Vec<Stuck> {
    let mut found = Vec::new();
    for release in living {
        if let (Some(why), None) = (stuck::given_up(release), stuck::suspended(release)) {
            let id = ObjectId::of(release);
            found.push(Stuck::new(&id, format!("helm-controller has given up ({why})")).heal(Heal::Reset(id)));
        }
    }
    for pending in pending.iter().filter_map(stuck::release) {
        let owner = living.iter().find(|release| stuck::storage(release) == (pending.namespace.clone(), pending.name.clone()));
        let timeout = owner.and_then(|release| crate::layers::flux::duration(release.pointer("/spec/timeout")?.as_str()?));
        let is_at_work = now - pending.since <= i64::try_from(timeout.unwrap_or(RELEASE).as_secs()).unwrap_or(i64::MAX);
        if !is_at_work {
            found.push(unfinished(&pending, owner.copied()));
        }
    }
    found
}

fn unfinished(pending: &Pending, owner: Option<&Value>) -> Stuck {
    let Pending { namespace, name, status, since } = pending;
    let since = jiff::Timestamp::from_second(*since).map(|time| time.to_string()).unwrap_or_default();
    let stuck = Stuck::new(&format!("Helm release {namespace}/{name}"), format!("is {status} since {since}: whoever began it is gone"));
    match owner {
        // It unlocks what is pending as soon as it looks (helm-controller `internal/reconcile/unlock.go`).
        Some(owner) if stuck::suspended(owner).is_none() => stuck.heal(Heal::Reset(ObjectId::of(owner))),
        Some(owner) => {
            let id = ObjectId::of(owner);
            let namespace = id.namespace.as_deref().unwrap_or_default();
            stuck.fix(format!("helm-controller frees it when it is resumed: flux resume helmrelease {} -n {namespace}", id.name))
        }
        None if status == "pending-install" => stuck.fix(format!(
            "no HelmRelease of Git has it; to begin anew, first remove what there is of it: helm uninstall {name} -n {namespace}"
        )),
        None => stuck.fix(format!("no HelmRelease of Git has it; to go back to the one before: helm rollback {name} -n {namespace}")),
    }
}

/// A namespace that is being deleted: what is declared in it is written when it is gone.
async fn held(cluster: &Cluster, namespace: &Value, definitions: &[Value]) -> Result<Option<Stuck>, ClusterError> {
    let Some(Held { words, left, is_blind }) = stuck::namespace(namespace) else { return Ok(None) };
    let name = name(namespace);
    let since = namespace.pointer("/metadata/deletionTimestamp").and_then(Value::as_str).unwrap_or_default();
    let stuck =
        Stuck::new(&format!("Namespace {name}"), format!("is being deleted since {since}, and is waited for: {}", words.join("; ")));
    if is_blind {
        let services = list(cluster, "apiregistration.k8s.io/v1", "APIService", None).await?;
        let silent: Vec<&str> = services.iter().filter(|service| !is_available(service)).map(self::name).collect();
        if let Some(first) = silent.first() {
            let fix = format!(
                "APIService {} does not answer, and until it does nobody knows what is left in there; bring up what stands behind it, or: kubectl delete apiservice {first}",
                silent.join(", ")
            );
            return Ok(Some(stuck.fix(fix)));
        }
    }
    let mut objects = Vec::new();
    for plural in &left {
        let Some((api_version, kind)) = served(plural, definitions) else { continue };
        match cluster.list(&api_version, &kind, Some(name), None).await {
            Ok(list) => objects.extend(list.into_iter().map(|object| (plural.clone(), object))),
            // A conversion that nobody does is what holds it, perhaps; the definition is told by itself.
            Err(error @ ClusterError::Unreachable { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    let holding: Vec<String> = objects
        .iter()
        .filter(|(_, object)| !stuck::finalizers(object).is_empty())
        .map(|(plural, object)| {
            let object_name = self::name(object);
            let finalizers = stuck::finalizers(object).join(", ");
            format!(
                "{plural} {object_name} is held by {finalizers}: kubectl patch {plural} {object_name} -n {name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
            )
        })
        .collect();
    if holding.is_empty() {
        return Ok(Some(stuck));
    }
    let more = holding.len().saturating_sub(TOLD);
    let mut text = holding.into_iter().take(TOLD).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text = format!("{text}; and {}", count(more, "more object"));
    }
    Ok(Some(stuck.fix(format!("start the controllers that these wait for, or give up what they would clear away: {text}"))))
}

fn is_available(service: &Value) -> bool {
    let conditions = service.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.filter(|condition| condition["type"] == "Available").all(|condition| condition["status"] == "True")
}

/// API version and kind of `plural.group`.
fn served(plural: &str, definitions: &[Value]) -> Option<(String, String)> {
    if let Some((_, api_version, kind)) = OWN.iter().find(|(own, ..)| *own == plural) {
        return Some(((*api_version).to_owned(), (*kind).to_owned()));
    }
    let definition = definitions.iter().find(|definition| name(definition) == plural)?;
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    // The version in which they are kept needs no conversion.
    let version = versions.filter(|version| version["served"] == true).max_by_key(|version| version["storage"] == true)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some((
        format!("{}/{}", text(&definition["spec"]["group"]), text(&version["name"])),
        text(definition.pointer("/spec/names/kind").unwrap_or(&Value::Null)),
    ))
}

/// A definition that is not whole, or whose objects nobody can convert.
async fn definition(cluster: &Cluster, definition: &Value) -> Result<Option<Stuck>, ClusterError> {
    let name = name(definition);
    let id = ObjectId::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, name);
    if let Some(why) = stuck::definition(definition) {
        let fix = if stuck::is_leaving(definition) {
            format!(
                "its objects go first; those that stay are held by finalizers: kubectl get {name} -A -o custom-columns=N:.metadata.namespace,NAME:.metadata.name,HELD:.metadata.finalizers"
            )
        } else {
            format!("another definition may have its names: kubectl get crd; look at: kubectl describe crd {name}")
        };
        return Ok(Some(Stuck::new(&id, why).fix(fix)));
    }
    let Some((namespace, service)) = stuck::converter(definition) else { return Ok(None) };
    let there = cluster.get(&ObjectId::new("v1", "Service", Some(&namespace), &service)).await?.is_some();
    let selector = format!("kubernetes.io/service-name={service}");
    let slices =
        if there { cluster.list("discovery.k8s.io/v1", "EndpointSlice", Some(&namespace), Some(&selector)).await? } else { Vec::new() };
    let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    // Absent means ready (API reference of EndpointConditions).
    if endpoints.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false))).count() > 0 {
        return Ok(None);
    }
    let why = if there { "has no endpoint that is ready" } else { "is not there" };
    let found = format!(
        "its objects cannot be converted: Service {namespace}/{service}, which does that, {why}; it is waited for where a layer brings it"
    );
    let fix = format!(
        "if nothing brings it: kubectl patch crd {name} --type=merge -p '{{\"spec\":{{\"conversion\":{{\"strategy\":\"None\",\"webhook\":null}}}}}}'"
    );
    Ok(Some(Stuck::new(&id, found).fix(fix)))
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}
