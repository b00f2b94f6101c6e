//! Who may enter a cluster: access entries, their policies, and the token that EKS' clusters take.

use super::super::call::{Asked, pairs};
use super::super::moto::{Moto, Scope, texts};
use super::members::{self, ENTRIES, ENTRY};
use super::{Cluster, Eks, Refusal, Resource, not_now, now, page, strings, sweep, text};
use crate::sandbox::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const ADMIN: &str = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
/// As long as the authenticator takes a token, and how far clocks may differ.
const LIFETIME: i64 = 15 * 60;
const SKEW: i64 = 5 * 60;

/// Access entries are there in two of the three modes of authentication.
pub(super) fn are_known(cluster: &Cluster) -> Result<(), Refusal> {
    match text(&cluster.own.value["accessConfig"], "authenticationMode") {
        "CONFIG_MAP" => {
            Err(not_now("The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."))
        }
        _ => Ok(()),
    }
}

/// An entry as EKS fills it.
pub(super) fn entry(given: &Value) -> Value {
    let (principal, kind) = (text(given, "principalArn"), given["type"].as_str().unwrap_or("STANDARD"));
    let nodes = kind.starts_with("EC2") || kind.starts_with("HYBRID");
    let username = match principal.split_once(":role/") {
        _ if nodes => "system:node:{{EC2PrivateDNSName}}".to_owned(),
        Some((account, role)) => {
            format!("{}:assumed-role/{}/{{{{SessionName}}}}", account.replace(":iam:", ":sts:"), role.rsplit('/').next().unwrap_or(role))
        }
        None => principal.to_owned(),
    };
    let groups: &[&str] = if nodes { &["system:nodes"] } else { &[] };
    json!({"kubernetesGroups": groups, "policies": [], "tags": {}, "type": kind, "username": username})
}

/// EKS makes one for who made the cluster.
pub(super) fn add_creator(cluster: &mut Cluster, account: &str, caller: &str) {
    add(cluster, account, &principal(caller), "STANDARD", &[ADMIN]);
}

/// EKS makes one for the role of a node group.
pub(super) fn add_nodes(cluster: &mut Cluster, account: &str, role: &str) {
    add(cluster, account, role, "EC2_LINUX", &[]);
}

fn add(cluster: &mut Cluster, account: &str, principal: &str, kind: &str, policies: &[&str]) {
    if cluster.members.contains_key(&(ENTRIES, principal.to_owned())) {
        return;
    }
    let given = json!({"principalArn": principal, "type": kind});
    let mut value = entry(&given);
    value["principalArn"] = principal.into();
    value["policies"] = policies.iter().map(|policy| associated(policy, &json!({"type": "cluster"}))).collect();
    let arn = text(&cluster.own.value, "arn").to_owned();
    let (region, name) = (arn.split(':').nth(3).unwrap_or_default(), text(&cluster.own.value, "name").to_owned());
    members::adopted(&mut value, ENTRY, region, account, &name);
    members::insert(cluster, ENTRY, principal, Resource::new(value, "", Duration::ZERO));
}

fn associated(policy: &str, scope: &Value) -> Value {
    json!({"policyArn": policy, "accessScope": scope, "associatedAt": now(), "modifiedAt": now()})
}

fn found<'c>(cluster: &'c mut Cluster, principal: &str) -> Result<&'c mut Vec<Value>, Refusal> {
    let entry = members::find(cluster, ENTRY, principal)?;
    let missing = || not_now("the entry takes no policies");
    entry.value["policies"].as_array_mut().ok_or_else(missing)
}

pub(super) fn associate(cluster: &mut Cluster, principal: &str, given: &Value) -> Result<Value, Refusal> {
    let policies = found(cluster, principal)?;
    let policy = associated(text(given, "policyArn"), &given["accessScope"]);
    policies.retain(|one| one["policyArn"] != policy["policyArn"]);
    policies.push(policy.clone());
    Ok(json!({"clusterName": text(&cluster.own.value, "name"), "principalArn": principal, "associatedAccessPolicy": policy}))
}

pub(super) fn disassociate(cluster: &mut Cluster, principal: &str, policy: &str) -> Result<Value, Refusal> {
    found(cluster, principal)?.retain(|one| one["policyArn"] != policy);
    Ok(json!({}))
}

pub(super) fn policies(cluster: &mut Cluster, principal: &str, asked: &Asked) -> Result<Value, Refusal> {
    let policies = found(cluster, principal)?.clone();
    let mut answer = page(asked, "associatedAccessPolicies", &policies);
    answer["clusterName"] = cluster.own.value["name"].clone();
    answer["principalArn"] = principal.into();
    Ok(answer)
}

/// The principal of an entry for a caller: the role of a session, the user.
fn principal(caller: &str) -> String {
    match caller.split_once(":assumed-role/") {
        Some((account, session)) => {
            let role = session.split('/').next().unwrap_or(session);
            format!("{}:role/{role}", account.replace(":sts:", ":iam:"))
        }
        None => caller.replace(":sts:", ":iam:"),
    }
}

/// What kube-apiserver asks of a webhook (authentication.k8s.io/v1 TokenReview), answered. Only tokens signed with `keys` are believed:
/// the secrets of others are not known here.
pub(in crate::sandbox::edge) async fn review(eks: &Eks, moto: &Moto, keys: &Credentials, asked: &Value) -> Value {
    let token = asked["spec"]["token"].as_str().unwrap_or_default();
    let status = match user(eks, moto, keys, token).await {
        Ok(user) => json!({"authenticated": true, "user": user}),
        Err(error) => json!({"authenticated": false, "error": error}),
    };
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

async fn user(eks: &Eks, moto: &Moto, keys: &Credentials, token: &str) -> Result<Value, String> {
    let question = Question::read(token).ok_or("not a token for an EKS cluster")?;
    if question.key != keys.id {
        return Err("signed with keys that are not this sandbox's".to_owned());
    }
    if !question.is_current(jiff::Timestamp::now()) {
        return Err("the token has expired".to_owned());
    }
    let scope = Scope { key: &keys.id, region: &question.region };
    let answer = moto.ask(scope, "sts", "GetCallerIdentity", &[]).await?;
    let caller = texts(&answer, "Arn").first().copied().unwrap_or_default().to_owned();
    let principal = principal(&caller);
    let mut clusters = eks.clusters.lock().await;
    sweep(&mut clusters);
    let cluster = clusters.iter().find(|((region, name), _)| *region == question.region && question.is_signed(name, &keys.secret));
    let cluster = cluster.map(|(_, cluster)| cluster).ok_or("signed for no cluster that is known")?;
    let entry = cluster.members.get(&(ENTRIES, principal.clone())).ok_or_else(|| format!("{principal} has no access entry"))?;
    let mut groups = strings(&entry.value, "kubernetesGroups");
    // EKS has an authorizer for its policies; this one is what the group of administrators may do.
    let policies = entry.value["policies"].as_array().into_iter().flatten();
    if policies.clone().any(|one| one["policyArn"] == ADMIN && one["accessScope"]["type"] == "cluster") {
        groups.push("system:masters");
    }
    let session = caller.rsplit('/').next().unwrap_or_default();
    let name = text(&entry.value, "username").replace("{{SessionName}}", session);
    Ok(json!({"username": name, "uid": principal, "groups": groups}))
}

/// The presigned question that a token is.
struct Question {
    host: String,
    query: BTreeMap<String, String>,
    raw: Vec<String>,
    key: String,
    day: String,
    region: String,
    signed: jiff::Timestamp,
}

impl Question {
    fn read(token: &str) -> Option<Self> {
        let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.")?).ok()?;
        let url: http::Uri = String::from_utf8(url).ok()?.parse().ok()?;
        let (host, text) = (url.host()?.to_owned(), url.query()?);
        let query: BTreeMap<String, String> = pairs(text).collect();
        let mut raw: Vec<String> = text.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).map(str::to_owned).collect();
        raw.sort_unstable();
        let scope: Vec<&str> = query.get("X-Amz-Credential")?.split('/').collect();
        let [key, day, region, "sts", "aws4_request"] = scope[..] else { return None };
        let (key, day, region) = (key.to_owned(), day.to_owned(), region.to_owned());
        let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", query.get("X-Amz-Date")?)
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp();
        let is_sts = host.starts_with("sts.") && url.path() == "/" && query.get("Action")? == "GetCallerIdentity";
        let names_cluster = query.get("X-Amz-SignedHeaders")? == "host;x-k8s-aws-id";
        (is_sts && names_cluster).then_some(Self { host, query, raw, key, day, region, signed })
    }

    fn is_current(&self, now: jiff::Timestamp) -> bool {
        (-SKEW..LIFETIME).contains(&(now.as_second() - self.signed.as_second()))
    }

    /// Whether it was signed with this secret, for this cluster (AWS Signature Version 4).
    fn is_signed(&self, cluster: &str, secret: &str) -> bool {
        let canonical = format!(
            "GET\n/\n{}\nhost:{}\nx-k8s-aws-id:{cluster}\n\nhost;x-k8s-aws-id\n{}",
            self.raw.join("&"),
            self.host,
            hex(&Sha256::digest(b"")),
        );
        let date = self.query.get("X-Amz-Date").map_or("", String::as_str);
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{}/{}/sts/aws4_request\n{}",
            self.day,
            self.region,
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.signed.as_second().try_into().unwrap_or(0));
        let key = generate_signing_key(secret, time, &self.region, "sts");
        self.query.get("X-Amz-Signature") == Some(&calculate_signature(key, text.as_bytes()))
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::sandbox::state::hex(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_count_as_their_role() {
        assert_eq!(principal("arn:aws:sts::111122223333:assumed-role/admin/me"), "arn:aws:iam::111122223333:role/admin");
        assert_eq!(principal("arn:aws:sts::111122223333:user/moto"), "arn:aws:iam::111122223333:user/moto");
        let entry = entry(&json!({"principalArn": "arn:aws:iam::111122223333:role/team/admin"}));
        assert_eq!(entry["username"], "arn:aws:sts::111122223333:assumed-role/admin/{{SessionName}}");
    }
}
