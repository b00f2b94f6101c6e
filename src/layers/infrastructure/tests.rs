#![allow(clippy::unwrap_used)]

use super::*;
use crate::manifest::yaml::documents;
use serde_json::json;

static VPC: Schema = Schema {
    service: "ec2",
    kind: "VPC",
    identity: Identity::Tags,
    fields: &[field("cidrBlocks").fixed(), field("enableDNSSupport")],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

static SUBNET: Schema = Schema {
    service: "ec2",
    kind: "Subnet",
    identity: Identity::Key(&["vpcID", "cidrBlock"]),
    fields: &[field("cidrBlock").fixed(), field("vpcID").fixed()],
    references: &[refers("vpcID", "vpcRef", "ec2", "VPC", "vpcID")],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

static GROUP: Schema = Schema {
    service: "ec2",
    kind: "SecurityGroup",
    identity: Identity::Key(&["name"]),
    fields: &[field("name").fixed(), field("ingressRules").set()],
    references: &[refers("ingressRules[].groups[].groupID", "ingressRules[].groups[].groupRef", "ec2", "SecurityGroup", "id").late()],
    tags: Tags::None,
    arn: None,
    seconds: 2,
};

static ROLE: Schema = Schema {
    service: "iam",
    kind: "Role",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("path").fixed(), field("assumeRolePolicyDocument").policy()],
    references: &[],
    tags: Tags::Map("tags"),
    arn: Some("arn:{partition}:iam::{account}:role{path|/}{name}"),
    seconds: 10,
};

static CLUSTER: Schema = Schema {
    service: "eks",
    kind: "Cluster",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("config.private"), field("config.subnetIDs").set()],
    references: &[
        refers("roleARN", "roleRef", "iam", "Role", "arn"),
        refers("config.subnetIDs[]", "config.subnetRefs[]", "ec2", "Subnet", "subnetID"),
    ],
    tags: Tags::Map("tags"),
    arn: Some("arn:{partition}:eks:{region}:{account}:cluster/{name}"),
    seconds: 780,
};

const CATALOGUE: &Catalogue = &[&VPC, &SUBNET, &GROUP, &ROLE, &CLUSTER];

fn place() -> Place {
    Place::new("111122223333", "eu-west-1")
}

fn resources(text: &str) -> Vec<Resource> {
    let documents = documents(text).unwrap();
    documents.into_iter().map(|one| Resource { value: one.value, origin: Some(Origin { file: "a.yaml".into(), line: one.line }) }).collect()
}

fn declared(text: &str) -> Vec<Declared> {
    resources(text).iter().map(|resource| Declared::read(resource, CATALOGUE).unwrap().unwrap()).collect()
}

fn manifest(group: &str, kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: {group}.services.k8s.aws/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: ack}}\nspec: {spec}\n")
}

#[test]
fn fields_that_are_not_honoured_are_told_with_a_near_name() {
    let text = manifest("ec2", "VPC", "main", "{cidrBlocks: [10.0.0.0/16], enableDnsSupport: true}")
        + &manifest("eks", "Cluster", "c", "{name: c, config: {privat: 1}}");
    let problems: Vec<Problem> =
        resources(&text).iter().flat_map(|resource| Declared::read(resource, CATALOGUE).unwrap().unwrap_err()).collect();
    assert_eq!(problems[0].message, "VPC ack/main: spec.enableDnsSupport is not honoured by blackstart");
    assert!(problems[0].hint.as_ref().unwrap().contains("spec.enableDNSSupport"), "{:?}", problems[0].hint);
    assert_eq!(problems[1].message, "Cluster ack/c: spec.config.privat is not honoured by blackstart");
    assert_eq!(problems[1].origin.as_ref().unwrap().to_string(), "a.yaml:7");
}

#[test]
fn an_unknown_kind_is_told_and_what_is_no_manifest_of_ack_is_none() {
    let queue = &resources(&manifest("ec2", "Instance", "a", "{}"))[0];
    let problems = Declared::read(queue, CATALOGUE).unwrap().unwrap_err();
    assert!(problems[0].hint.as_ref().unwrap().contains("VPC, Subnet"), "{problems:?}");
    let other = Resource { value: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), origin: None };
    assert!(Declared::read(&other, CATALOGUE).is_none());
    let runtime = Resource { value: json!({"apiVersion": "services.k8s.aws/v1alpha1", "kind": "FieldExport"}), origin: None };
    assert!(Declared::read(&runtime, CATALOGUE).is_none());
}

#[test]
fn references_become_needs_by_twin_and_by_value() {
    let all = declared(
        &[
            manifest(
                "eks",
                "Cluster",
                "c",
                "{name: prod, roleARN: 'arn:aws:iam::111122223333:role/x/eks', config: {subnetRefs: [{from: {name: a}}]}}",
            ),
            manifest("iam", "Role", "eks", "{name: eks, path: /x/}"),
            manifest("ec2", "Subnet", "a", "{cidrBlock: 10.0.1.0/24, vpcRef: {from: {name: main}}}"),
            manifest("ec2", "VPC", "main", "{cidrBlocks: [10.0.0.0/16]}"),
        ]
        .concat(),
    );
    let (needs, problems) = needs(&all, &place());
    assert_eq!(problems, []);
    let needs: Vec<(usize, usize, &str)> = needs.iter().map(|need| (need.from, need.to, need.reason.as_str())).collect();
    assert_eq!(needs, [(1, 0, "its arn in roleARN"), (2, 0, "config.subnetRefs"), (3, 2, "vpcRef")]);
}

#[test]
fn a_reference_to_nothing_has_a_near_name() {
    let all = declared(
        &(manifest("ec2", "Subnet", "a", "{cidrBlock: 10.0.1.0/24, vpcRef: {from: {name: mian}}}") + &manifest("ec2", "VPC", "main", "{}")),
    );
    let (_, problems) = needs(&all, &place());
    assert_eq!(problems[0].message, "Subnet ack/a: vpcRef names VPC ack/mian, which is not declared");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean main?"));
}

#[test]
fn resources_that_name_each_other_wait_only_to_be_complete() {
    let rules = |other: &str| format!("{{name: {other}x, ingressRules: [{{groups: [{{groupRef: {{from: {{name: {other}}}}}}}]}}]}}");
    let all = declared(&(manifest("ec2", "SecurityGroup", "a", &rules("b")) + &manifest("ec2", "SecurityGroup", "b", &rules("a"))));
    let (needs, problems) = needs(&all, &place());
    assert_eq!(problems, []);
    assert!(needs.len() == 2 && needs.iter().all(|need| need.late), "{needs:?}");

    let ids = |_: &str, _: &str, _: &str, name: &str| (name == "b").then(|| json!({"id": "sg-b"}));
    let (spec, unknown) = resolve(&all[0], ids);
    assert_eq!(spec["ingressRules"], json!([{"groups": [{"groupID": "sg-b"}]}]));
    assert_eq!(unknown, [""; 0]);
    let (_, unknown) = resolve(&all[1], ids);
    assert_eq!(unknown, ["ingressRules[].groups[].groupID"]);
}

#[test]
fn lists_of_references_become_lists_of_values_or_stay_unknown_as_a_whole() {
    let all = declared(&manifest(
        "eks",
        "Cluster",
        "c",
        "{name: prod, config: {private: true, subnetRefs: [{from: {name: a}}, {from: {name: b}}]}}",
    ));
    let (spec, unknown) = resolve(&all[0], |_, _, _, name| Some(json!({"subnetID": format!("subnet-{name}")})));
    assert_eq!(spec["config"], json!({"private": true, "subnetIDs": ["subnet-a", "subnet-b"]}));
    assert_eq!(unknown, [""; 0]);
    let (spec, unknown) = resolve(&all[0], |_, _, _, name| (name == "a").then(|| json!({"subnetID": "subnet-a"})));
    assert_eq!(spec["config"], json!({"private": true}));
    assert_eq!(unknown, ["config.subnetIDs"]);
}

#[test]
fn only_declared_fields_are_compared() {
    let spec = json!({"name": "c", "config": {"subnetIDs": ["b", "a"]}});
    let living = json!({"name": "c", "config": {"subnetIDs": ["a", "b"], "private": true}, "version": "1.36"});
    let tags = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    assert_eq!(differences(&CLUSTER, &spec, &living, &tags), []);
    let spec = json!({"name": "d", "config": {"private": false}, "tags": {"team": "b"}});
    let found: Vec<(&str, Change)> = differences(&CLUSTER, &spec, &living, &tags).iter().map(|one| (one.path, one.change)).collect();
    assert_eq!(found, [("name", Change::Never), ("config.private", Change::InPlace), ("tags", Change::InPlace)]);
}

#[test]
fn policies_are_compared_by_meaning() {
    let one = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "eks.amazonaws.com"}}}"#;
    let other = r#"{"Statement":[{"Action":["sts:AssumeRole"],"Effect":"Allow","Principal":{"Service":["eks.amazonaws.com"]}}],"Version":"2012-10-17"}"#;
    let none = BTreeMap::new();
    let with = |document: &str| json!({"assumeRolePolicyDocument": document});
    assert_eq!(differences(&ROLE, &with(one), &with(other), &none), []);
    assert_eq!(differences(&ROLE, &with(one), &with(&other.replace("Allow", "Deny")), &none).len(), 1);
}

fn living(id: &str, spec: &Value, tags: &[(&str, &str)]) -> (String, Value, Value, BTreeMap<String, String>) {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    (id.to_owned(), spec.clone(), json!({"vpcID": id}), tags)
}

fn found(declared: &Declared, spec: &Value, all: &[(String, Value, Value, BTreeMap<String, String>)]) -> Match {
    let candidates: Vec<Candidate<'_>> =
        all.iter().map(|(id, spec, status, tags)| Candidate { id, spec, status, tags, leaving: id.starts_with("leaving") }).collect();
    identify(declared, spec, "prod", &candidates)
}

#[test]
fn the_strongest_evidence_decides() {
    let vpc = &declared(&manifest("ec2", "VPC", "main", "{tags: [{key: Name, value: main}]}"))[0];
    let named = living("vpc-1", &json!({}), &[("Name", "main")]);
    let ours = living("vpc-2", &json!({}), &[("Name", "main"), (TAG_RESOURCE, "ack/main"), (TAG_ENVIRONMENT, "prod")]);
    let others = living("vpc-3", &json!({}), &[("Name", "main"), (TAG_RESOURCE, "ack/main"), (TAG_ENVIRONMENT, "staging")]);
    let leaving = living("leaving-4", &json!({}), &[("Name", "main")]);
    let one = |position, evidence: &str, ours| Match::One { position, evidence: evidence.into(), ours };
    let spec = vpc.spec().clone();
    assert_eq!(found(vpc, &spec, &[named.clone(), ours.clone()]), one(1, "our tags", true));
    assert_eq!(found(vpc, &spec, &[others.clone(), named.clone(), leaving]), one(1, "all tags that Git declares", false));
    assert_eq!(found(vpc, &spec, &[others]), Match::None);
    let evidence = "all tags that Git declares".to_owned();
    assert_eq!(found(vpc, &spec, &[named.clone(), named]), Match::Several { positions: vec![0, 1], evidence });
}

#[test]
fn a_key_with_an_unknown_parent_means_nothing_that_lives() {
    let subnet = &declared(&manifest("ec2", "Subnet", "a", "{cidrBlock: 10.0.1.0/24, vpcRef: {from: {name: main}}}"))[0];
    let there = living("subnet-1", &json!({"cidrBlock": "10.0.1.0/24", "vpcID": "vpc-1"}), &[]);
    let spec = json!({"cidrBlock": "10.0.1.0/24"});
    assert_eq!(found(subnet, &spec, std::slice::from_ref(&there)), Match::None);
    let spec = json!({"cidrBlock": "10.0.1.0/24", "vpcID": "vpc-1"});
    assert!(matches!(found(subnet, &spec, &[there]), Match::One { ours: false, .. }));
}

#[test]
fn adoption_fields_name_one_and_nothing_else() {
    let text = manifest("ec2", "VPC", "main", "{tags: [{key: Name, value: main}]}").replace(
        "namespace: ack}",
        "namespace: ack, annotations: {services.k8s.aws/adoption-policy: adopt-or-create, services.k8s.aws/adoption-fields: '{\"vpcID\": \"vpc-9\"}'}}",
    );
    let vpc = &declared(&text)[0];
    let named = living("vpc-1", &json!({}), &[("Name", "main")]);
    assert_eq!(found(vpc, &json!({}), std::slice::from_ref(&named)), Match::None);
    let meant = living("vpc-9", &json!({}), &[]);
    assert!(matches!(found(vpc, &json!({}), &[named, meant]), Match::One { position: 1, ours: true, .. }));
}
