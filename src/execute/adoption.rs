//! Taking over what lives before there is a need to: which living resource each manifest means, and the tags that Git should declare.

use crate::aws::observe::{Found, Observation};
use crate::cluster::{Cluster, ClusterError};
use crate::layers::infrastructure::{Declared, Identity, Tags};
use crate::manifest::patch::{Insertion, into_spec};
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// IDs in the status of ACK's objects, for those whose status has no ARN.
const IDS: [&str; 11] = [
    "vpcID",
    "subnetID",
    "internetGatewayID",
    "natGatewayID",
    "allocationID",
    "routeTableID",
    "vpcEndpointID",
    "launchTemplateID",
    "instanceID",
    "keyID",
    "id",
];

/// What a manifest's object in a living cluster says of itself, in the form of ACK's annotation `adoption-fields`.
pub type Named = HashMap<usize, String>;

/// Asks a cluster for the objects of these manifests; those that it does not know are left out.
pub async fn named(cluster: &Cluster, declared: &[Declared], positions: &[usize]) -> Result<Named, ClusterError> {
    let asked = positions.iter().map(|&position| async move {
        let object = cluster.get(&declared[position].resource.id()).await?;
        Ok::<_, ClusterError>(object.and_then(|object| Some((position, fields(object.get("status")?)?))))
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

fn fields(status: &Value) -> Option<String> {
    if let Some(arn) = status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str) {
        return Some(json!({"arn": arn}).to_string());
    }
    let ids: Map<String, Value> = IDS.iter().filter_map(|id| Some(((*id).to_owned(), status.get(*id)?.clone()))).collect();
    (!ids.is_empty()).then(|| Value::Object(ids).to_string())
}

/// The manifests as if they named what the cluster says that they are.
pub fn naming(declared: &[Declared], named: &Named) -> Vec<Declared> {
    let mut all = declared.to_vec();
    for (&position, fields) in named {
        let annotations = &mut all[position].resource.value["metadata"]["annotations"];
        annotations["services.k8s.aws/adoption-policy"] = json!("adopt-or-create");
        annotations["services.k8s.aws/adoption-fields"] = json!(fields);
    }
    all
}

/// Says so where the cluster's word decided.
pub fn credit(observation: &mut Observation, named: &Named) {
    for position in named.keys() {
        if let Some(found) = observation.found.get_mut(position) {
            "the status of its object in the cluster".clone_into(&mut found.evidence);
        }
    }
}

/// Tags that Git should declare of a resource that nothing else identifies; none where there is a name, a natural key or a tag.
pub fn proposal(declared: &Declared, found: &Found, environment: &str) -> Option<BTreeMap<String, String>> {
    if declared.schema.identity != Identity::Tags || !declared.tags().is_empty() {
        return None;
    }
    let name = declared.resource.name();
    // What lives has a name already, or gets one that no other environment's has.
    let value = found.living.tags.get("Name").filter(|value| !value.is_empty()).cloned();
    let value = value.unwrap_or_else(|| if name.contains(environment) { name.to_owned() } else { format!("{environment}-{name}") });
    Some(BTreeMap::from([("Name".to_owned(), value)]))
}

/// The lines that declare tags in a manifest's file; none where they cannot be put in by lines.
pub fn insertion(declared: &Declared, tags: &BTreeMap<String, String>, text: &str) -> Option<Insertion> {
    let line = declared.origin()?.line;
    let quoted = |value: &str| serde_json::to_string(value).unwrap_or_default();
    match declared.schema.tags {
        Tags::None => None,
        Tags::List(path) => {
            let (name, content) = declared.schema.tag_words();
            let lines = tags.iter().flat_map(|(key, value)| [format!("- {name}: {key}"), format!("  {content}: {}", quoted(value))]);
            let lines: Vec<String> = lines.collect();
            into_spec(text, line, path, &lines)
        }
        Tags::Map(path) => {
            let lines: Vec<String> = tags.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
            into_spec(text, line, path, &lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(kind: &str, name: &str, spec: &Value) -> Declared {
        let value = json!({
            "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "infra"}, "spec": spec,
        });
        let resource = crate::manifest::Resource { value, origin: None };
        Declared::read(&resource, &crate::aws::catalogue()).expect("ACK's").expect("known")
    }

    #[test]
    fn a_tag_is_proposed_only_where_nothing_else_tells_a_resource_from_others() {
        let found = |tags: &[(&str, &str)]| Found {
            living: crate::aws::Living {
                id: "vpc-1".into(),
                spec: json!({}),
                status: json!({}),
                tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                state: crate::aws::State::Ready,
                created: None,
            },
            evidence: String::new(),
            ours: true,
            differences: Vec::new(),
        };
        let name = |declared: &Declared, found: &Found| proposal(declared, found, "prod").map(|tags| tags["Name"].clone());
        let vpc = declared("VPC", "main", &json!({"cidrBlocks": ["10.0.0.0/16"]}));
        assert_eq!(name(&vpc, &found(&[])), Some("prod-main".to_owned()));
        assert_eq!(name(&vpc, &found(&[("Name", "shop")])), Some("shop".to_owned()), "it has a name");
        assert_eq!(name(&declared("VPC", "prod-vpc", &json!({})), &found(&[])), Some("prod-vpc".to_owned()));
        assert_eq!(name(&declared("VPC", "main", &json!({"tags": [{"key": "a", "value": "b"}]})), &found(&[])), None, "Git declares a tag");
        assert_eq!(name(&declared("Subnet", "a", &json!({"cidrBlock": "10.0.0.0/24"})), &found(&[])), None, "it has a natural key");
    }

    #[test]
    fn an_object_is_named_by_its_arn_and_else_by_its_ids() {
        let arn = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1";
        let status = json!({"ackResourceMetadata": {"arn": arn}, "vpcID": "vpc-1", "state": "available"});
        assert_eq!(fields(&status), Some(json!({"arn": arn}).to_string()));
        assert_eq!(fields(&json!({"vpcID": "vpc-1", "state": "available"})), Some(json!({"vpcID": "vpc-1"}).to_string()));
        assert_eq!(fields(&json!({"conditions": []})), None, "the controller has not made it yet");
    }
}
