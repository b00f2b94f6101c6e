//! The cluster: what EKS adds to it, and which changes it takes.

use super::super::call::Asked;
use super::super::moto::texts;
use super::{
    Around, Cluster, Clusters, Refusal, Resource, caller, filled, has_role, has_subnets, in_use, invalid, merge, not_now, now, strings,
    text, update,
};
use super::{access, members};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Of a cluster that names none.
const VERSION: &str = "1.35";
const LOGS: [&str; 5] = ["api", "audit", "authenticator", "controllerManager", "scheduler"];
/// Auto Mode: three fields that change together.
const AUTO_MODE: [&str; 3] = ["computeConfig", "kubernetesNetworkConfig", "storageConfig"];
/// A cluster may go to the right, and not back.
const MODES: [&str; 3] = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"];

pub(super) async fn create(clusters: &mut Clusters, asked: &Asked, around: &Around<'_>) -> Result<Value, Refusal> {
    let given = asked.json();
    let (name, token) = (text(&given, "name"), text(&given, "clientRequestToken"));
    let place = (asked.region.clone(), name.to_owned());
    if let Some(cluster) = clusters.get(&place) {
        let is_same = !token.is_empty() && cluster.own.token == token;
        return if is_same {
            Ok(json!({"cluster": told(cluster, around)}))
        } else {
            Err(in_use(format!("Cluster already exists with name: {name}")))
        };
    }
    let (caller, account) = caller(asked, around).await?;
    has_role(asked, around, &account, text(&given, "roleArn")).await?;
    let (vpc, zones) = has_subnets(asked, around, &strings(&given["resourcesVpcConfig"], "subnetIds")).await?;
    if zones < 2 {
        return Err(invalid("Subnets specified must be in at least two different AZs"));
    }
    let mut value = filled(defaults(), &given);
    let (region, id) = (&asked.region, format!("{:032X}", fastrand::u128(..)));
    merge(
        &mut value,
        json!({
            "arn": format!("arn:aws:eks:{region}:{account}:cluster/{name}"),
            "createdAt": now(),
            "identity": {"oidc": {"issuer": format!("https://oidc.eks.{region}.amazonaws.com/id/{id}")}},
            "resourcesVpcConfig": {"vpcId": vpc, "clusterSecurityGroupId": security_group(asked, around, name, &vpc).await?},
        }),
    );
    value["logging"] = logging(&LOGS.into_iter().filter(|one| is_logged(&given, one)).collect());
    let makes = around.clock.makes("eks", "Cluster", &[name]);
    let mut cluster = Cluster { own: Resource::new(value, token, makes), members: BTreeMap::new() };
    if access::are_known(&cluster).is_ok() && given["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] != false {
        access::add_creator(&mut cluster, &account, &caller);
    }
    let answer = told(&cluster, around);
    clusters.insert(place, cluster);
    Ok(json!({"cluster": answer}))
}

fn defaults() -> Value {
    json!({
        "accessConfig": {"authenticationMode": "CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": true},
        "deletionProtection": false,
        "health": {"issues": []},
        "kubernetesNetworkConfig": {"elasticLoadBalancing": {"enabled": false}, "ipFamily": "ipv4", "serviceIpv4Cidr": "172.20.0.0/16"},
        "platformVersion": "eks.1",
        "resourcesVpcConfig": {"endpointPrivateAccess": false, "endpointPublicAccess": true, "publicAccessCidrs": ["0.0.0.0/0"], "securityGroupIds": []},
        "tags": {},
        "upgradePolicy": {"supportType": "EXTENDED"},
        "version": VERSION,
    })
}

/// EKS makes one for each cluster, which its nodes use.
async fn security_group(asked: &Asked, around: &Around<'_>, name: &str, vpc: &str) -> Result<String, Refusal> {
    let group = format!("eks-cluster-sg-{name}-{:08x}", fastrand::u32(..));
    let fields = [("GroupName", group.as_str()), ("GroupDescription", "EKS created security group"), ("VpcId", vpc)];
    let made = around.moto.ask(asked.scope(), "ec2", "CreateSecurityGroup", &fields).await.map_err(invalid)?;
    Ok(texts(&made, "groupId").first().copied().unwrap_or_default().to_owned())
}

fn is_logged(given: &Value, log: &str) -> bool {
    let groups = given["logging"]["clusterLogging"].as_array().into_iter().flatten();
    groups.filter(|group| group["enabled"] == true).any(|group| strings(group, "types").contains(&log))
}

/// EKS tells all logs, in two groups.
fn logging(written: &BTreeSet<&str>) -> Value {
    let others: Vec<&str> = LOGS.into_iter().filter(|one| !written.contains(one)).collect();
    let groups = [json!({"types": written, "enabled": true}), json!({"types": others, "enabled": false})];
    json!({"clusterLogging": groups.into_iter().filter(|group| group["types"] != json!([])).collect::<Vec<_>>()})
}

/// As described: it has an address only when somebody answers there.
pub(super) fn told(cluster: &Cluster, around: &Around<'_>) -> Value {
    let mut value = cluster.own.told();
    if value["status"] != "CREATING" {
        let made_up = || {
            let id = text(&value["identity"]["oidc"], "issuer").rsplit('/').next().unwrap_or_default().to_owned();
            (format!("https://{id}.gr7.eks.amazonaws.com"), "bWFkZSB1cA==".to_owned())
        };
        let (endpoint, authority) = around.api_server.clone().map_or_else(made_up, |server| (server.endpoint, server.authority));
        value["endpoint"] = endpoint.into();
        value["certificateAuthority"] = json!({"data": authority});
    }
    value
}

/// Whether it can be changed now.
fn is_active(cluster: &Cluster) -> Result<(), Refusal> {
    match cluster.own.status() {
        "ACTIVE" => Ok(()),
        status => Err(in_use(format!("Cannot update cluster because it is currently {status}"))),
    }
}

pub(super) async fn delete(cluster: &mut Cluster, asked: &Asked, around: &Around<'_>) -> Result<Value, Refusal> {
    is_active(cluster)?;
    if cluster.own.value["deletionProtection"] == true {
        return Err(not_now("Cluster has deletion protection enabled"));
    }
    for (segment, words) in [("node-groups", "nodegroups"), ("capabilities", "capabilities")] {
        if cluster.members.keys().any(|(one, _)| *one == segment) {
            return Err(in_use(format!("Cluster has {words} attached")));
        }
    }
    let group = text(&cluster.own.value["resourcesVpcConfig"], "clusterSecurityGroupId").to_owned();
    // Whoever removed it before has done no harm.
    let _ = around.moto.ask(asked.scope(), "ec2", "DeleteSecurityGroup", &[("GroupId", &group)]).await;
    cluster.own.pass("DELETING", 2);
    Ok(json!({"cluster": told(cluster, around)}))
}

/// One kind of change at a time, and never one that changes nothing.
pub(super) fn configure(cluster: &mut Cluster, given: &Value) -> Result<Value, Refusal> {
    is_active(cluster)?;
    let mut given = given.clone();
    given.as_object_mut().and_then(|fields| fields.remove("clientRequestToken"));
    let kinds: BTreeSet<&str> = given
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| if AUTO_MODE.contains(&key.as_str()) { "computeConfig" } else { key.as_str() })
        .collect();
    if kinds.len() != 1 {
        return Err(invalid("Only one type of update can be allowed."));
    }
    let mode = |value: &Value| MODES.iter().position(|mode| value["accessConfig"]["authenticationMode"] == *mode);
    if mode(&given).is_some_and(|to| mode(&cluster.own.value) > Some(to)) {
        return Err(invalid("Unsupported authentication mode update"));
    }
    let mut changed = cluster.own.value.clone();
    merge(&mut changed, given.clone());
    if let Some(groups) = given["logging"]["clusterLogging"].as_array() {
        let named =
            |one: &str, enabled: bool| groups.iter().any(|group| group["enabled"] == enabled && strings(group, "types").contains(&one));
        let is_written = |one: &str| named(one, true) || is_logged(&cluster.own.value, one) && !named(one, false);
        changed["logging"] = logging(&LOGS.into_iter().filter(|one| is_written(one)).collect());
    }
    if changed == cluster.own.value {
        return Err(invalid("The cluster is already at the desired configuration."));
    }
    cluster.own.value = changed;
    cluster.own.pass("UPDATING", 10);
    Ok(json!({"update": update(kinds.first().copied().unwrap_or_default())}))
}

/// One minor version up.
pub(super) fn upgrade(cluster: &mut Cluster, given: &Value) -> Result<Value, Refusal> {
    is_active(cluster)?;
    let minor = |value: &Value| text(value, "version").strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    if minor(given) != minor(&cluster.own.value).map(|minor| minor + 1) {
        return Err(invalid("Unsupported Kubernetes minor version update"));
    }
    cluster.own.value["version"] = given["version"].clone();
    cluster.own.pass("UPDATING", 2);
    Ok(json!({"update": update("VersionUpdate")}))
}

/// Whether it takes members now.
pub(super) fn takes_members(cluster: &Cluster, kind: &members::Kind) -> Result<(), Refusal> {
    match cluster.own.status() {
        "CREATING" | "DELETING" => {
            Err(not_now(format!("{} cannot be made: Cluster '{}' is not in ACTIVE status", kind.name, text(&cluster.own.value, "name"))))
        }
        _ => Ok(()),
    }
}
