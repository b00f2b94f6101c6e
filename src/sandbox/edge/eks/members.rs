//! What lives in a cluster: node groups, add-ons, access entries, pod identity associations, capabilities.

use super::super::call::{Asked, pairs};
use super::super::moto::texts;
use super::{
    Around, Cluster, Refusal, Resource, absent, access, caller, cluster, filled, has_role, has_subnets, in_use, invalid, merge, now,
    strings, text, update as change, uuid,
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const GROUPS: &str = "node-groups";
pub(super) const ADDONS: &str = "addons";
pub(super) const ENTRIES: &str = "access-entries";
pub(super) const ASSOCIATIONS: &str = "pod-identity-associations";
pub(super) const CAPABILITIES: &str = "capabilities";

/// Facts of a kind.
pub(super) struct Kind {
    /// Its part of the path.
    pub(super) segment: &'static str,
    /// In the names of operations, and in the catalogue.
    pub(super) name: &'static str,
    pub(super) names: &'static str,
    /// Key of an answer with one, and with all.
    pub(super) one: &'static str,
    pub(super) all: &'static str,
    /// Field with what it is known by in its cluster.
    id: &'static str,
    /// Field with its ARN, and what stands there after the account.
    pub(super) arn: &'static str,
    path: &'static str,
    /// Fields that a list tells; none where it tells the IDs alone.
    listed: &'static [&'static str],
    /// Field with a role that must be there.
    role: Option<&'static str>,
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        segment: GROUPS,
        name: "Nodegroup",
        names: "Nodegroups",
        one: "nodegroup",
        all: "nodegroups",
        id: "nodegroupName",
        arn: "nodegroupArn",
        path: "nodegroup",
        listed: &[],
        role: Some("nodeRole"),
    },
    Kind {
        segment: ADDONS,
        name: "Addon",
        names: "Addons",
        one: "addon",
        all: "addons",
        id: "addonName",
        arn: "addonArn",
        path: "addon",
        listed: &[],
        role: Some("serviceAccountRoleArn"),
    },
    // Roles of people often come from elsewhere (SSO): a principal is believed.
    Kind {
        segment: ENTRIES,
        name: "AccessEntry",
        names: "AccessEntries",
        one: "accessEntry",
        all: "accessEntries",
        id: "principalArn",
        arn: "accessEntryArn",
        path: "access-entry",
        listed: &[],
        role: None,
    },
    Kind {
        segment: ASSOCIATIONS,
        name: "PodIdentityAssociation",
        names: "PodIdentityAssociations",
        one: "association",
        all: "associations",
        id: "associationId",
        arn: "associationArn",
        path: "podidentityassociation",
        listed: &["clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn"],
        role: Some("roleArn"),
    },
    Kind {
        segment: CAPABILITIES,
        name: "Capability",
        names: "Capabilities",
        one: "capability",
        all: "capabilities",
        id: "capabilityName",
        arn: "arn",
        path: "capability",
        listed: &["capabilityName", "arn", "type", "status", "version", "createdAt", "modifiedAt"],
        role: Some("roleArn"),
    },
];

pub(super) const ENTRY: &Kind = &KINDS[2];
const ASSOCIATION: &Kind = &KINDS[3];

impl Kind {
    /// These are there as soon as they are made.
    fn is_instant(&self) -> bool {
        [ENTRIES, ASSOCIATIONS].contains(&self.segment)
    }

    fn is_same(&self, one: &Value, other: &Value) -> bool {
        match self.segment {
            ASSOCIATIONS => ["namespace", "serviceAccount"].iter().all(|key| one[*key] == other[*key]),
            _ => one[self.id] == other[self.id],
        }
    }
}

pub(super) async fn create(cluster: &mut Cluster, kind: &Kind, asked: &Asked, around: &Around<'_>) -> Result<Value, Refusal> {
    let given = asked.json();
    let token = text(&given, "clientRequestToken");
    let same =
        |((segment, _), member): &(&(&'static str, String), &Resource)| *segment == kind.segment && kind.is_same(&member.value, &given);
    if let Some((_, member)) = cluster.members.iter().find(same) {
        let is_same = !token.is_empty() && member.token == token;
        return if is_same { Ok(json!({kind.one: member.told()})) } else { Err(in_use(format!("{} already exists", kind.name))) };
    }
    cluster::takes_members(cluster, kind)?;
    let (_, account) = caller(asked, around).await?;
    if let Some(role) = kind.role.map(|field| text(&given, field)).filter(|role| !role.is_empty()) {
        has_role(asked, around, &account, role).await?;
    }
    let mut given = given.clone();
    if kind.segment == GROUPS {
        has_subnets(asked, around, &strings(&given, "subnets")).await?;
        resolve_template(&mut given["launchTemplate"], asked, around).await?;
        if text(&given, "version").is_empty() {
            given["version"] = cluster.own.value["version"].clone();
        }
    }
    if kind.segment == ADDONS {
        identities(cluster, &mut given, asked, around, &account).await?;
    }
    let names = [text(&given, kind.id).to_owned(), text(&cluster.own.value, "name").to_owned()];
    let makes = if kind.is_instant() { Duration::ZERO } else { around.clock.makes("eks", kind.name, &[&names[0]]) };
    let mut value = filled(defaults(kind, &given), &given);
    adopted(&mut value, kind, &asked.region, &account, &names[1]);
    let id = text(&value, kind.id).to_owned();
    let told = insert(cluster, kind, &id, Resource::new(value, token, makes));
    if kind.segment == GROUPS && access::are_known(cluster).is_ok() {
        access::add_nodes(cluster, &account, text(&given, "nodeRole"));
    }
    Ok(json!({kind.one: told}))
}

/// What EKS adds to each: cluster, ARN, times.
pub(super) fn adopted(value: &mut Value, kind: &Kind, region: &str, account: &str, cluster: &str) {
    if kind.segment == ASSOCIATIONS {
        value[kind.id] = format!("a-{:016x}", fastrand::u64(..)).into();
    }
    let name = match kind.segment {
        // arn:aws:iam::111122223333:role/NAME: role/111122223333/NAME
        ENTRIES => {
            let principal = text(value, kind.id).rsplit(':').next().unwrap_or_default();
            principal.replacen('/', &format!("/{account}/"), 1)
        }
        _ => text(value, kind.id).to_owned(),
    };
    let end = if kind.segment == ASSOCIATIONS { String::new() } else { format!("/{}", uuid()) };
    value[kind.arn] = format!("arn:aws:eks:{region}:{account}:{}/{cluster}/{name}{end}", kind.path).into();
    merge(value, json!({"clusterName": cluster, "createdAt": now(), "modifiedAt": now()}));
}

pub(super) fn insert(cluster: &mut Cluster, kind: &Kind, id: &str, resource: Resource) -> Value {
    let told = resource.told();
    cluster.members.insert((kind.segment, id.to_owned()), resource);
    told
}

fn defaults(kind: &Kind, given: &Value) -> Value {
    let health = json!({"issues": []});
    match kind.segment {
        GROUPS => {
            let mut value = json!({
                "amiType": "AL2023_x86_64_STANDARD", "capacityType": "ON_DEMAND", "health": health, "labels": {}, "tags": {}, "taints": [],
                "releaseVersion": format!("{}.0-20260101", text(given, "version")),
                "resources": {"autoScalingGroups": [{"name": format!("eks-{}-{}", text(given, "nodegroupName"), uuid())}]},
                "scalingConfig": {"desiredSize": 2, "maxSize": 2, "minSize": 1},
                "updateConfig": {"maxUnavailable": 1},
            });
            if given["launchTemplate"].is_null() {
                merge(&mut value, json!({"diskSize": 20, "instanceTypes": ["t3.medium"]}));
            }
            if !given["updateConfig"].is_null() {
                value["updateConfig"] = json!({});
            }
            value
        }
        ADDONS => json!({"addonVersion": "v1.0.0-eksbuild.1", "health": health, "owner": "aws", "publisher": "eks", "tags": {}}),
        ENTRIES => access::entry(given),
        CAPABILITIES => json!({"deletePropagationPolicy": "RETAIN", "health": health, "tags": {}, "version": "1.0"}),
        _ => json!({"disableSessionTags": false, "tags": {}}),
    }
}

/// A launch template by ID, name and number, as EKS tells it.
async fn resolve_template(template: &mut Value, asked: &Asked, around: &Around<'_>) -> Result<(), Refusal> {
    if template.is_null() {
        return Ok(());
    }
    let (id, name) = (text(template, "id"), text(template, "name"));
    let field = if id.is_empty() { ("LaunchTemplateName.1", name) } else { ("LaunchTemplateId.1", id) };
    let found = around.moto.ask(asked.scope(), "ec2", "DescribeLaunchTemplates", &[field]).await;
    let found = found.map_err(|_| invalid(format!("The launch template {id}{name} does not exist")))?;
    let text_of = |field: &str| texts(&found, field).first().copied().unwrap_or_default().to_owned();
    let version = match text(template, "version") {
        "$Latest" => text_of("latestVersionNumber"),
        "" | "$Default" => text_of("defaultVersionNumber"),
        number => number.to_owned(),
    };
    *template = json!({"id": text_of("launchTemplateId"), "name": text_of("launchTemplateName"), "version": version});
    Ok(())
}

/// An add-on's associations are resources of their own; the add-on tells their ARNs.
async fn identities(cluster: &mut Cluster, given: &mut Value, asked: &Asked, around: &Around<'_>, account: &str) -> Result<(), Refusal> {
    let Some(wanted) = given["podIdentityAssociations"].as_array().cloned() else { return Ok(()) };
    for one in &wanted {
        has_role(asked, around, account, text(one, "roleArn")).await?;
    }
    let name = text(&cluster.own.value, "name").to_owned();
    let owner = format!("arn:aws:eks:{}:{account}:addon/{name}/{}", asked.region, text(given, "addonName"));
    cluster.members.retain(|_, member| member.value["ownerArn"] != owner);
    let mut arns = Vec::new();
    for one in wanted {
        let mut value = filled(json!({"namespace": "kube-system", "ownerArn": owner, "tags": {}}), &one);
        adopted(&mut value, ASSOCIATION, &asked.region, account, &name);
        arns.push(value[ASSOCIATION.arn].clone());
        let id = text(&value, ASSOCIATION.id).to_owned();
        insert(cluster, ASSOCIATION, &id, Resource::new(value, "", Duration::ZERO));
    }
    given["podIdentityAssociations"] = arns.into();
    Ok(())
}

pub(super) fn find<'c>(cluster: &'c mut Cluster, kind: &Kind, id: &str) -> Result<&'c mut Resource, Refusal> {
    cluster.members.get_mut(&(kind.segment, id.to_owned())).ok_or_else(|| absent(&format!("{} found for name: {id}", kind.one)))
}

pub(super) fn list(cluster: &Cluster, kind: &Kind, asked: &Asked) -> Vec<Value> {
    let filters: Vec<(String, String)> =
        pairs(asked.uri.query().unwrap_or_default()).filter(|(key, _)| ["namespace", "serviceAccount"].contains(&key.as_str())).collect();
    let members = cluster.members.iter().filter(|((segment, _), _)| *segment == kind.segment).map(|(_, member)| member.told());
    let members = members.filter(|member| filters.iter().all(|(key, value)| member[key] == value.as_str()));
    members
        .map(|member| match kind.listed {
            [] => member[kind.id].clone(),
            fields => {
                fields.iter().map(|field| ((*field).to_owned(), member[*field].clone())).filter(|(_, value)| !value.is_null()).collect()
            }
        })
        .collect()
}

pub(super) fn delete(cluster: &mut Cluster, kind: &Kind, id: &str) -> Result<Value, Refusal> {
    let member = find(cluster, kind, id)?;
    if member.status() != "ACTIVE" {
        return Err(in_use(format!("{} {id} is currently {}", kind.name, member.status())));
    }
    member.pass("DELETING", 2);
    let told = member.told();
    let arn = text(&told, kind.arn).to_owned();
    // An add-on's associations go with it; its ARN has one more part than their owner's.
    cluster.members.retain(|_, member| member.value["ownerArn"].as_str().is_none_or(|owner| !arn.starts_with(&format!("{owner}/"))));
    Ok(json!({kind.one: told}))
}

/// Changes what is given: most fields as they are, payloads of changes by their own rules.
pub(super) async fn update(cluster: &mut Cluster, kind: &Kind, id: &str, asked: &Asked, around: &Around<'_>) -> Result<Value, Refusal> {
    let mut given = asked.json();
    let member = find(cluster, kind, id)?;
    if member.status() != "ACTIVE" {
        return Err(in_use(format!("{} {id} is currently {}", kind.name, member.status())));
    }
    let (_, account) = caller(asked, around).await?;
    if let Some(role) = kind.role.map(|field| text(&given, field)).filter(|role| !role.is_empty()) {
        has_role(asked, around, &account, role).await?;
    }
    if kind.segment == ADDONS {
        given["addonName"] = id.into();
        identities(cluster, &mut given, asked, around, &account).await?;
    }
    resolve_template(&mut given["launchTemplate"], asked, around).await?;
    let member = find(cluster, kind, id)?;
    let mut value = member.value.clone();
    if kind.segment == ADDONS && given["serviceAccountRoleArn"].is_null() {
        // A role that is not named again is taken away.
        value.as_object_mut().and_then(|fields| fields.remove("serviceAccountRoleArn"));
    }
    for (key, given) in filled(json!({}), &given).as_object().into_iter().flatten().filter(|(key, _)| *key != "force") {
        match key.as_str() {
            "labels" => {
                for label in strings(given, "removeLabels") {
                    value["labels"].as_object_mut().and_then(|labels| labels.remove(label));
                }
                merge(&mut value["labels"], given["addOrUpdateLabels"].as_object().cloned().unwrap_or_default().into());
            }
            "taints" => listed(&mut value["taints"], &given["removeTaints"], &given["addOrUpdateTaints"], &["key", "effect"]),
            "configuration" => {
                let (there, given) = (&mut value["configuration"]["argoCd"], &given["argoCd"]);
                let mappings = &given["rbacRoleMappings"];
                listed(&mut there["rbacRoleMappings"], &mappings["removeRoleMappings"], &mappings["addOrUpdateRoleMappings"], &["role"]);
                if !given["networkAccess"].is_null() {
                    there["networkAccess"] = given["networkAccess"].clone();
                }
            }
            "scalingConfig" => merge(&mut value["scalingConfig"], given.clone()),
            _ => value[key] = given.clone(),
        }
    }
    let size = |key: &str| value["scalingConfig"][key].as_i64().unwrap_or(0);
    if size("minSize") > size("desiredSize") || size("desiredSize") > size("maxSize") {
        return Err(invalid("desired capacity must be between the minimum and the maximum size"));
    }
    value["modifiedAt"] = now().into();
    member.value = value;
    if !kind.is_instant() {
        member.pass("UPDATING", 10);
    }
    Ok(json!({kind.one: member.told(), "update": change("ConfigUpdate")}))
}

/// Takes entries out of a list and puts others in, known by some of their fields.
fn listed(list: &mut Value, going: &Value, coming: &Value, keys: &[&str]) {
    let is_same = |one: &Value, other: &Value| keys.iter().all(|key| one[*key] == other[*key]);
    let (going, coming) = (going.as_array().cloned().unwrap_or_default(), coming.as_array().cloned().unwrap_or_default());
    let mut left = list.as_array().cloned().unwrap_or_default();
    left.retain(|one| !going.iter().chain(&coming).any(|other| is_same(one, other)));
    left.extend(coming);
    *list = left.into();
}
