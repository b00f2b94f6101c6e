//! EKS of the sandbox's own, in place of moto's, which has clusters and node groups only, and makes them at once.
//!
//! It keeps what the SDK sends, adds what EKS adds, and answers in EKS' shapes. Each resource is in its passing state (`CREATING`,
//! `UPDATING`, `DELETING`) until its time is over; what a resource needs of other services is asked of moto.

mod access;
mod cluster;
mod members;

pub(super) use access::review;

use super::call::{Answer, Asked, decoded, pairs};
use super::clock::Clock;
use super::fresh::Fresh;
use super::moto::{Moto, texts};
use crate::manifest::merge;
use http::{Method, StatusCode};
use members::KINDS;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Where the clusters lead to.
#[derive(Clone, Debug)]
pub struct ApiServer {
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// Its authority, PEM in base64.
    pub authority: String,
}

/// All clusters, by region and name.
#[derive(Debug, Default)]
pub(super) struct Eks {
    clusters: Mutex<BTreeMap<(String, String), Cluster>>,
}

#[derive(Debug)]
struct Cluster {
    own: Resource,
    /// By kind (its part of the path) and ID.
    members: BTreeMap<(&'static str, String), Resource>,
}

/// One resource as EKS describes it, its status left out.
#[derive(Debug)]
struct Resource {
    value: Value,
    /// Of the create call.
    token: String,
    /// Its status until then; `ACTIVE` afterwards, or gone.
    passing: &'static str,
    until: Instant,
    makes: Duration,
}

/// What the stand-in needs of its surroundings.
pub(super) struct Around<'a> {
    pub(super) moto: &'a Moto,
    pub(super) fresh: &'a Fresh,
    pub(super) clock: Clock,
    pub(super) api_server: Option<ApiServer>,
}

/// A refusal in EKS' words.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

fn absent(what: &str) -> Refusal {
    Refusal { status: 404, code: "ResourceNotFoundException", message: format!("No {what} found.") }
}

fn in_use(message: impl Into<String>) -> Refusal {
    Refusal { status: 409, code: "ResourceInUseException", message: message.into() }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { status: 400, code: "InvalidParameterException", message: message.into() }
}

fn not_now(message: impl Into<String>) -> Refusal {
    Refusal { status: 400, code: "InvalidRequestException", message: message.into() }
}

impl Resource {
    fn new(value: Value, token: &str, makes: Duration) -> Self {
        Self { value, token: token.to_owned(), passing: "CREATING", until: Instant::now() + makes, makes }
    }

    fn status(&self) -> &'static str {
        if Instant::now() < self.until { self.passing } else { "ACTIVE" }
    }

    fn is_gone(&self) -> bool {
        self.passing == "DELETING" && Instant::now() >= self.until
    }

    /// A change takes a tenth of the time that it took to make it, a deletion half.
    fn pass(&mut self, state: &'static str, part: u32) {
        (self.passing, self.until) = (state, Instant::now() + self.makes / part);
    }

    /// As described, where the kind has a status.
    fn told(&self) -> Value {
        let mut value = self.value.clone();
        value["status"] = self.status().into();
        value
    }
}

/// Segments of a path, decoded: ARNs come with their slashes escaped.
fn segments(asked: &Asked) -> Vec<String> {
    asked.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect()
}

/// Name of an operation, which REST has not.
pub(super) fn operation(asked: &Asked) -> Option<String> {
    let segments = segments(asked);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let kind = |segment: &str| KINDS.iter().find(|kind| kind.segment == segment);
    let (post, get) = (asked.method == Method::POST, asked.method == Method::GET);
    Some(match segments[..] {
        ["clusters"] if post => "CreateCluster".to_owned(),
        ["clusters"] => "ListClusters".to_owned(),
        ["clusters", _] if get => "DescribeCluster".to_owned(),
        ["clusters", _] => "DeleteCluster".to_owned(),
        ["clusters", _, "update-config"] => "UpdateClusterConfig".to_owned(),
        ["clusters", _, "updates"] => "UpdateClusterVersion".to_owned(),
        ["clusters", _, segment] if post => format!("Create{}", kind(segment)?.name),
        ["clusters", _, segment] => format!("List{}", kind(segment)?.names),
        ["clusters", _, segment, _] if post => format!("Update{}", kind(segment)?.name),
        ["clusters", _, segment, _] if get => format!("Describe{}", kind(segment)?.name),
        ["clusters", _, segment, _] => format!("Delete{}", kind(segment)?.name),
        ["clusters", _, _, _, "access-policies"] if post => "AssociateAccessPolicy".to_owned(),
        ["clusters", _, _, _, "access-policies"] => "ListAssociatedAccessPolicies".to_owned(),
        ["clusters", _, _, _, "access-policies", _] => "DisassociateAccessPolicy".to_owned(),
        ["clusters", _, segment, _, "update"] => format!("Update{}", kind(segment)?.name),
        ["clusters", _, segment, _, "update-config"] => format!("Update{}Config", kind(segment)?.name),
        ["clusters", _, segment, _, "update-version"] => format!("Update{}Version", kind(segment)?.name),
        ["tags", _] if post => "TagResource".to_owned(),
        ["tags", _] if get => "ListTagsForResource".to_owned(),
        ["tags", _] => "UntagResource".to_owned(),
        _ => return None,
    })
}

impl Eks {
    /// Answers a call.
    pub(super) async fn answer(&self, asked: &Asked, around: &Around<'_>) -> Answer {
        // One after the other: a call asks moto for milliseconds at most.
        let mut clusters = self.clusters.lock().await;
        sweep(&mut clusters);
        match route(&mut clusters, asked, around).await {
            Ok(value) => Answer::json(StatusCode::OK, &value),
            Err(refusal) => Answer::refused("eks", refusal.status, refusal.code, &refusal.message),
        }
    }

    /// The cluster that stands in a subnet: it has network interfaces there.
    pub(super) async fn in_subnet(&self, subnet: &str) -> Option<String> {
        let mut clusters = self.clusters.lock().await;
        sweep(&mut clusters);
        let stands = |cluster: &Cluster| {
            cluster.own.value["resourcesVpcConfig"]["subnetIds"].as_array().is_some_and(|ids| ids.iter().any(|id| id == subnet))
        };
        clusters.iter().find(|(_, cluster)| stands(cluster)).map(|((_, name), _)| name.clone())
    }
}

type Clusters = BTreeMap<(String, String), Cluster>;

fn sweep(clusters: &mut Clusters) {
    clusters.retain(|_, cluster| !cluster.own.is_gone());
    for cluster in clusters.values_mut() {
        cluster.members.retain(|_, member| !member.is_gone());
    }
}

async fn route(clusters: &mut Clusters, asked: &Asked, around: &Around<'_>) -> Result<Value, Refusal> {
    let segments = segments(asked);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let ["tags", arn] = segments[..] {
        return tags(clusters, asked, arn);
    }
    let (post, get) = (asked.method == Method::POST, asked.method == Method::GET);
    let place = |name: &str| (asked.region.clone(), name.to_owned());
    match segments[..] {
        ["clusters"] if post => return cluster::create(clusters, asked, around).await,
        ["clusters"] => {
            let names = clusters.keys().filter(|(region, _)| *region == asked.region).map(|(_, name)| name.as_str().into());
            return Ok(page(asked, "clusters", &names.collect::<Vec<_>>()));
        }
        _ => {}
    }
    let name = segments.get(1).copied().unwrap_or_default();
    let no_cluster = || absent(&format!("cluster found for name: {name}"));
    let cluster = clusters.get_mut(&place(name)).ok_or_else(no_cluster)?;
    match segments[..] {
        [_, _] if get => Ok(json!({"cluster": cluster::told(cluster, around)})),
        [_, _] => cluster::delete(cluster, asked, around).await,
        [_, _, "update-config"] => cluster::configure(cluster, &asked.json()),
        [_, _, "updates"] => cluster::upgrade(cluster, &asked.json()),
        [_, _, segment, ..] => {
            let kind = KINDS.iter().find(|kind| kind.segment == segment).ok_or_else(|| absent("such operation"))?;
            if kind.segment == members::ENTRIES {
                access::are_known(cluster)?;
            }
            match segments[3..] {
                [] if post => members::create(cluster, kind, asked, around).await,
                [] => Ok(page(asked, kind.all, &members::list(cluster, kind, asked))),
                [id] if get => Ok(json!({kind.one: members::find(cluster, kind, id)?.told()})),
                [id] if asked.method == Method::DELETE => members::delete(cluster, kind, id),
                [principal, "access-policies"] if post => access::associate(cluster, principal, &asked.json()),
                [principal, "access-policies"] => access::policies(cluster, principal, asked),
                [principal, "access-policies", policy] => access::disassociate(cluster, principal, policy),
                [id, ..] => members::update(cluster, kind, id, asked, around).await,
            }
        }
        _ => Err(absent("such operation")),
    }
}

/// One page of a list; the token is the position of the next.
fn page(asked: &Asked, key: &str, all: &[Value]) -> Value {
    let query: BTreeMap<String, String> = pairs(asked.uri.query().unwrap_or_default()).collect();
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (start, most) = (number("nextToken").unwrap_or(0), number("maxResults").unwrap_or(100).clamp(1, 100));
    let end = (start + most).min(all.len());
    let mut answer = json!({key: all.get(start..end).unwrap_or_default()});
    if end < all.len() {
        answer["nextToken"] = end.to_string().into();
    }
    answer
}

fn tags(clusters: &mut Clusters, asked: &Asked, arn: &str) -> Result<Value, Refusal> {
    let all = clusters.values_mut().flat_map(|cluster| std::iter::once(&mut cluster.own).chain(cluster.members.values_mut()));
    let is_it = |resource: &Resource| resource.value["arn"] == arn || KINDS.iter().any(|kind| resource.value[kind.arn] == arn);
    let missing = || Refusal { status: 404, code: "NotFoundException", message: format!("No resource found for ARN {arn}") };
    let resource = all.into_iter().find(|resource| is_it(resource)).ok_or_else(missing)?;
    let tags = &mut resource.value["tags"];
    if !tags.is_object() {
        *tags = json!({});
    }
    match asked.method {
        Method::GET => return Ok(json!({"tags": tags})),
        Method::POST => merge(tags, asked.json()["tags"].take()),
        _ => {
            let gone = pairs(asked.uri.query().unwrap_or_default()).filter(|(key, _)| key == "tagKeys");
            for (_, key) in gone {
                tags.as_object_mut().and_then(|tags| tags.remove(&key));
            }
        }
    }
    Ok(json!({}))
}

/// What is given over defaults; the call's own fields left out.
fn filled(mut defaults: Value, given: &Value) -> Value {
    let given: Map<String, Value> = given
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    merge(&mut defaults, given.into());
    for own in ["clientRequestToken", "bootstrapSelfManagedAddons", "resolveConflicts"] {
        defaults.as_object_mut().and_then(|fields| fields.remove(own));
    }
    defaults
}

/// EKS' answer to a change.
fn update(kind: &str) -> Value {
    json!({"id": uuid(), "status": "InProgress", "type": kind, "createdAt": now(), "errors": []})
}

/// Seconds since 1970, as EKS tells times.
fn now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

fn uuid() -> String {
    let hex = format!("{:032x}", fastrand::u128(..));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn strings<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    value[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Refuses a role that is not there, or too new to be used. Roles of other accounts are believed.
async fn has_role(asked: &Asked, around: &Around<'_>, account: &str, role: &str) -> Result<(), Refusal> {
    let Some((owner, name)) = role.split_once(":role/") else { return Err(invalid(format!("Role ARN {role} is not valid"))) };
    if !owner.ends_with(account) {
        return Ok(());
    }
    let name = name.rsplit('/').next().unwrap_or(name);
    let is_known = around.moto.ask(asked.scope(), "iam", "GetRole", &[("RoleName", name)]).await.is_ok();
    if is_known && !around.fresh.is_fresh("iam", name) {
        return Ok(());
    }
    Err(invalid(format!("Role with arn: {role}, could not be assumed because it does not exist or the trusted entity is not correct")))
}

/// Refuses subnets that are not there; gives their VPC and how many zones they are in.
async fn has_subnets(asked: &Asked, around: &Around<'_>, subnets: &[&str]) -> Result<(String, usize), Refusal> {
    if subnets.is_empty() {
        return Err(invalid("Subnets must be specified"));
    }
    let names: Vec<String> = (1..=subnets.len()).map(|number| format!("SubnetId.{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(subnets.iter().copied()).collect();
    let found = around.moto.ask(asked.scope(), "ec2", "DescribeSubnets", &fields).await;
    let fresh = subnets.iter().find(|subnet| around.fresh.is_fresh("ec2", subnet));
    match (found, fresh) {
        (Ok(found), None) => {
            let zones: std::collections::BTreeSet<&str> = texts(&found, "availabilityZone").into_iter().collect();
            Ok((texts(&found, "vpcId").first().copied().unwrap_or_default().to_owned(), zones.len()))
        }
        (found, _) => {
            let words = found.err().and_then(|error| texts(&error, "Message").first().map(|&text| text.to_owned()));
            Err(invalid(words.unwrap_or_else(|| format!("The subnets {} do not exist", subnets.join(", ")))))
        }
    }
}

/// ARN and account of the caller.
async fn caller(asked: &Asked, around: &Around<'_>) -> Result<(String, String), Refusal> {
    let failed = |message: String| Refusal { status: 500, code: "ServerException", message };
    let answer = around.moto.ask(asked.scope(), "sts", "GetCallerIdentity", &[]).await.map_err(failed)?;
    let text = |name: &str| texts(&answer, name).first().copied().unwrap_or_default().to_owned();
    Ok((text("Arn"), text("Account")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    #[test]
    fn lists_come_in_pages() {
        let asked = |uri: &'static str| Asked::new(Method::GET, http::Uri::from_static(uri), HeaderMap::new(), Bytes::new());
        let all: Vec<Value> = (0..5).map(Value::from).collect();
        assert_eq!(page(&asked("/clusters"), "clusters", &all), json!({"clusters": [0, 1, 2, 3, 4]}));
        assert_eq!(page(&asked("/clusters?maxResults=2&nextToken=2"), "clusters", &all), json!({"clusters": [2, 3], "nextToken": "4"}));
        assert_eq!(page(&asked("/clusters?nextToken=9"), "clusters", &all), json!({"clusters": []}));
    }
}
