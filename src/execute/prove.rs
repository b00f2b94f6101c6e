//! Whether an environment is what Git says: looked at anew, with nothing of the run that made it. Writes nothing.

use super::proof::Baseline;
use super::{Below, secret, survey};
use crate::agent;
use crate::aws::observe::Observation;
use crate::aws::{Cloud, State};
use crate::cluster::watch::Watches;
use crate::cluster::{Cluster, ClusterError};
use crate::health::{Expressions, Health};
use crate::layers::infrastructure::Declared;
use crate::manifest::{ObjectId, Resource};
use crate::problem::{Problem, count};
use crate::read::Reading;
use crate::report::event::{Check, Verdict};
use crate::restore::claims::Claim;
use crate::restore::volumes::{TAG_NAME, TAG_NAMESPACE};
use futures::stream::{StreamExt as _, iter};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Requests under way at once.
const REQUESTS: usize = 16;
/// How long a layer that the agent works on may take to be confirmed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Objects of a check that are told by name.
const TOLD: usize = 3;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The repository.
    pub reading: &'a Reading,
    /// Values that are known only when something is made.
    pub below: Option<&'a Below>,
    /// The claims of the layers; empty where no account holds their volumes.
    pub claims: &'a [Claim],
}

/// Of the cloud resources: each is there once, can be used, and equals Git.
/// `problems` tell of manifests that more than one living resource fits.
pub fn resources(declared: &[Declared], observation: &Observation, problems: &[Problem]) -> Check {
    let mut wrong: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    for (position, declared) in declared.iter().enumerate() {
        let id = declared.resource.id();
        match observation.found.get(&position) {
            None => wrong.push(format!("{id} is not there")),
            Some(found) => {
                let paths: Vec<&str> = found.differences.iter().map(|difference| difference.path).collect();
                if !paths.is_empty() {
                    wrong.push(format!("{id} differs in {}", paths.join(", ")));
                }
                match &found.living.state {
                    State::Ready => {}
                    State::Pending(word) | State::Failed(word) | State::Leaving(word) => wrong.push(format!("{id} is {word}")),
                }
            }
        }
    }
    let all = count(declared.len(), "cloud resource");
    check("resources", wrong, format!("{all}: each there once, as Git declares it"), "run `blackstart recover`")
}

/// Of the cluster: every object equals Git, every layer is healthy, the agent is at our revision.
pub async fn cluster(question: Question<'_>) -> Vec<Check> {
    let (objects, health, agent, claims) =
        futures::future::join4(Box::pin(objects(question)), Box::pin(health(question)), handed(question), bound(question)).await;
    let told = |name: &str, result: Result<Check, ClusterError>| {
        result.unwrap_or_else(|error| Check {
            name: name.to_owned(),
            verdict: Verdict::Failed,
            detail: error.to_string(),
            fix: error.hint(),
        })
    };
    let mut checks = vec![told("objects", objects), told("health", health), told("agent", agent)];
    if !question.claims.is_empty() {
        checks.push(told("claims", claims));
    }
    checks
}

fn check(name: &str, wrong: Vec<String>, held: String, fix: &str) -> Check {
    if wrong.is_empty() {
        return Check { name: name.to_owned(), verdict: Verdict::Held, detail: held, fix: None };
    }
    let more = wrong.len().saturating_sub(TOLD);
    let mut detail = wrong.into_iter().take(TOLD).collect::<Vec<_>>().join("; ");
    if more > 0 {
        let _ = write!(detail, "; and {more} more");
    }
    Check { name: name.to_owned(), verdict: Verdict::Failed, detail, fix: Some(fix.to_owned()) }
}

async fn objects(question: Question<'_>) -> Result<Check, ClusterError> {
    let baseline = Baseline::new(question.reading);
    let (changes, problems) = survey::changes(question.cluster, question.reading, question.below, |id| baseline.is_excused(id)).await?;
    let mut wrong: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
    let mut total = 0;
    for (layer, changes) in changes {
        total += changes.keep;
        for (number, word) in [(changes.create, "is not there"), (changes.change, "differs")] {
            if number > 0 {
                let verb = if number == 1 { word.to_owned() } else { word.replace("is ", "are ").replace("differs", "differ") };
                wrong.push(format!("{layer}: {} {verb}", count(number, "object")));
            }
        }
    }
    Ok(check("objects", wrong, format!("{} as Git declares them", count(total, "object")), "run `blackstart recover`"))
}

async fn health(question: Question<'_>) -> Result<Check, ClusterError> {
    let layers = question.reading.layers.iter().filter(|read| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none());
    let awaited = layers.clone().filter(|read| read.layer.spec.wait);
    let objects = awaited.flat_map(|read| {
        let expressions = Arc::new(Expressions::compile(&read.layer.spec.health_check_exprs).unwrap_or_default());
        read.objects.iter().map(move |object| (read.layer.id.clone(), expressions.clone(), object))
    });
    let looks = iter(objects).map(|(layer, expressions, object)| async move {
        let id = named(object, question.below);
        let found = question.cluster.get(&id).await?;
        // What is not there is told as an object.
        let message = found.and_then(|object| match expressions.of(&object) {
            Health::Ready | Health::Assumed => None,
            Health::InProgress(message) | Health::Failed(message) | Health::Terminating(message) => Some(message),
        });
        Ok::<_, ClusterError>(message.map(|message| format!("{id} of {layer}: {message}")))
    });
    let told: Vec<Result<Option<String>, ClusterError>> = looks.buffer_unordered(REQUESTS).collect().await;
    let mut wrong = told.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    wrong.sort();
    Ok(check(
        "health",
        wrong,
        format!("{} healthy", count(layers.count(), "layer")),
        "look at what it says, and at its events: kubectl describe",
    ))
}

/// The id of an object with the values of the storey below in it.
fn named(object: &Resource, below: Option<&Below>) -> ObjectId {
    match secret::filled(&object.value, below) {
        Ok(value) => ObjectId::of(&value),
        Err(_) => object.id(),
    }
}

/// The agent's layers; one that it works on at this moment is waited for.
async fn confirmed(question: Question<'_>) -> Result<Vec<survey::Standing>, ClusterError> {
    let watches = Watches::new(question.cluster.clone());
    let mut changes = watches.subscribe();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let layers = survey::layers(question.cluster, question.reading).await?;
        let is_busy = layers
            .iter()
            .any(|layer| layer.missing.as_deref().is_some_and(|missing| missing != survey::SUSPENDED) && !layer.revision.is_empty());
        if !is_busy || Instant::now() > deadline {
            return Ok(layers);
        }
        watches.follow(agent::API_VERSION, "Kustomization");
        let _ = tokio::time::timeout_at(deadline.min(Instant::now() + Duration::from_secs(1)), changes.recv()).await;
        // What changes at once is looked at once.
        while changes.try_recv().is_ok() {}
    }
}

async fn handed(question: Question<'_>) -> Result<Check, ClusterError> {
    let (agent, layers) = futures::future::try_join(survey::agent(question.cluster), confirmed(question)).await?;
    let Some(agent) = agent else {
        return Ok(check("agent", vec!["Flux is not installed".to_owned()], String::new(), "run `blackstart recover`"));
    };
    let mut wrong: Vec<String> = agent.unavailable.iter().map(|controller| format!("Deployment {controller}")).collect();
    // Whoever suspended a layer has taken it from the agent.
    let missing = |layer: &survey::Standing| layer.missing.clone().filter(|missing| missing != survey::SUSPENDED);
    wrong.extend(layers.iter().filter_map(|layer| Some(format!("{}: {}", layer.id, missing(layer)?))));
    let revision = crate::repo::short(&question.reading.revision);
    let pinned: Vec<String> = agent.pinned.iter().map(ToString::to_string).collect();
    let mut held = format!("has {} at {revision}", count(layers.len(), "layer"));
    if !pinned.is_empty() {
        let _ = write!(held, "; {}", pinned.join(", "));
        // Who wonders why it does not follow its branch finds it here.
        if !wrong.is_empty() {
            wrong.insert(0, pinned.join(", "));
        }
    }
    Ok(check("agent", wrong, held, "flux get kustomizations --all-namespaces"))
}

/// Every claim is bound to a volume that is tagged as its own.
async fn bound(question: Question<'_>) -> Result<Check, ClusterError> {
    let mut wrong = Vec::new();
    let (claims, volumes) = futures::future::try_join(
        question.cluster.list("v1", "PersistentVolumeClaim", None, None),
        question.cluster.list("v1", "PersistentVolume", None, None),
    )
    .await?;
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found: BTreeMap<(String, String), &Value> =
        claims.iter().map(|claim| ((text(claim, "/metadata/namespace"), text(claim, "/metadata/name")), claim)).collect();
    for claim in question.claims {
        let keeper = claim.keeper();
        let Some(living) = found.get(&(claim.namespace.clone(), claim.name.clone())) else {
            wrong.push(format!("{keeper} is not there"));
            continue;
        };
        let volume = text(living, "/spec/volumeName");
        if text(living, "/status/phase") != "Bound" || !volumes.iter().any(|other| text(other, "/metadata/name") == volume) {
            wrong.push(format!("{keeper} is not bound"));
        }
    }
    Ok(check("claims", wrong, format!("{} bound", count(question.claims.len(), "claim")), "kubectl describe persistentvolumeclaim"))
}

/// Of volumes: no claim has two.
pub async fn volumes(cloud: &Cloud, claims: &[Claim]) -> Result<Check, crate::aws::CloudError> {
    let stock = crate::aws::stock(cloud, &[]).await?;
    let of = |claim: &Claim| {
        let is_its =
            |tags: &BTreeMap<String, String>| tags.get(TAG_NAMESPACE) == Some(&claim.namespace) && tags.get(TAG_NAME) == Some(&claim.name);
        stock.volumes.iter().filter(|volume| is_its(&volume.tags)).map(|volume| volume.id.as_str()).collect::<Vec<_>>()
    };
    let wrong = claims.iter().filter_map(|claim| match of(claim).as_slice() {
        [_] => None,
        [] => Some(format!("{} has no volume", claim.keeper())),
        several => Some(format!("{} has {}", claim.keeper(), several.join(", "))),
    });
    Ok(check(
        "volumes",
        wrong.collect(),
        format!("{}, one for each claim", count(claims.len(), "volume")),
        "take the tags from those that are not meant",
    ))
}
