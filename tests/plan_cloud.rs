//! Who makes which AWS resource, in what order, and who owns it afterwards: YAML in, plan out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use blackstart::aws;
use blackstart::environment;
use blackstart::layers::flux::{Layer, Spec};
use blackstart::layers::{LayerId, SourceId};
use blackstart::manifest::{Resource, yaml};
use blackstart::plan::{Constraint, Plan, plan};
use blackstart::problem::{Origin, Severity};
use blackstart::read::{ReadLayer, Reading};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

fn resources(text: &str, file: &str) -> Vec<Resource> {
    let documents = yaml::documents(text).unwrap();
    documents.into_iter().map(|one| Resource { value: one.value, origin: Some(Origin { file: file.to_owned(), line: one.line }) }).collect()
}

fn layer(name: &str, parent: Option<&str>, text: &str) -> ReadLayer {
    let id = LayerId::new("flux-system", name);
    let source = SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() };
    let declaration = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": name, "namespace": "flux-system"}});
    let declaration = Resource { value: declaration, origin: None };
    let parent = parent.map(|parent| LayerId::new("flux-system", parent));
    ReadLayer {
        layer: Layer { id, parent, source, spec: Spec::default(), declaration },
        rendered: true,
        objects: resources(text, &format!("layers/{name}.yaml")),
    }
}

/// The plan of an environment with this `spec`, an infrastructure folder and a layer `cloud`.
fn planned(spec: &str, folder: &str, cloud: &str) -> Plan {
    let text = format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: prod}}\nspec:\n{spec}");
    let environment = environment::parse(&text, "blackstart.yaml").unwrap();
    let reading = Reading {
        revision: "0".repeat(40),
        entry: LayerId::new("flux-system", "flux-system"),
        entrypoint: "clusters/prod".into(),
        layers: vec![layer("flux-system", None, ""), layer("cloud", Some("flux-system"), cloud)],
        charts: BTreeMap::new(),
        sets: BTreeMap::new(),
        infrastructure: resources(folder, "infrastructure/all.yaml"),
        commands: Vec::new(),
        checks: Vec::new(),
        sources: BTreeMap::new(),
        problems: Vec::new(),
        unknowns: Vec::new(),
        assumed: Vec::new(),
        signed: None,
        folder: None,
    };
    plan(&reading, &environment, &aws::catalogue())
}

const AWS: &str = "  aws: {accountID: \"111122223333\", region: eu-west-1}\n";
const DIRECT: &str = "  aws: {accountID: \"111122223333\", region: eu-west-1, above: direct}\n";
const EKS: &str = "  cluster: {eks: {name: prod}}\n";

fn manifest(group: &str, kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: {group}.services.k8s.aws/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: ack}}\nspec: {spec}\n")
}

/// A cluster with a node group in a network of its own, a queue that nobody needs, and another cluster.
fn everything() -> String {
    [
        manifest(
            "eks",
            "Cluster",
            "main",
            "{name: prod, roleRef: {from: {name: eks}}, resourcesVPCConfig: {subnetRefs: [{from: {name: a}}]}}",
        ),
        manifest(
            "eks",
            "Nodegroup",
            "nodes",
            "{name: nodes, clusterRef: {from: {name: main}}, nodeRole: 'arn:aws:iam::111122223333:role/node'}",
        ),
        manifest("eks", "Addon", "dns", "{name: coredns, clusterName: prod}"),
        manifest("iam", "Role", "eks", "{name: eks, assumeRolePolicyDocument: '{}'}"),
        manifest("iam", "Role", "node", "{name: node, assumeRolePolicyDocument: '{}'}"),
        manifest("ec2", "Subnet", "a", "{cidrBlock: 10.0.1.0/24, vpcRef: {from: {name: net}}, routeTableRefs: [{from: {name: out}}]}"),
        manifest("ec2", "RouteTable", "out", "{vpcRef: {from: {name: net}}}"),
        manifest("ec2", "VPC", "net", "{cidrBlocks: [10.0.0.0/16], tags: [{key: Name, value: net}]}"),
        manifest("sqs", "Queue", "orders", "{queueName: orders}"),
        manifest("eks", "Cluster", "other", "{name: other, roleRef: {from: {name: eks}}}"),
    ]
    .concat()
}

/// `service/Kind/name owner` of what is made below.
fn made(plan: &Plan) -> Vec<String> {
    let short = |id: &str| id.trim_start_matches("aws/").replace("/ack/", "/");
    plan.nodes.iter().filter(|node| node.id.starts_with("aws/")).map(|node| format!("{} {}", short(&node.id), node.owner)).collect()
}

/// `Kind/name: why` of what is left.
fn left(plan: &Plan) -> Vec<String> {
    plan.left.iter().map(|left| format!("{}: {}", left.id.splitn(3, '/').nth(2).unwrap().replace("/ack/", "/"), left.reason)).collect()
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.problems.iter().map(|problem| format!("{} {}", problem.rule, problem.message)).collect()
}

#[test]
fn what_the_cluster_needs_is_made_below_it_and_the_rest_is_left() {
    let plan = planned(&format!("{AWS}{EKS}"), "", &everything());
    assert_eq!(problems(&plan), [""; 0]);
    assert_eq!(
        made(&plan),
        [
            "eks/Cluster/main ack",
            "eks/Nodegroup/nodes ack",
            "eks/Addon/dns ack",
            "iam/Role/eks ack",
            "iam/Role/node ack",
            "ec2/Subnet/a ack",
            "ec2/RouteTable/out ack",
            "ec2/VPC/net ack",
        ]
    );
    assert_eq!(left(&plan), ["Cluster/other: spec.aws.above is controllers", "Queue/orders: spec.aws.above is controllers"]);
    let to_layer: Vec<_> = plan.edges.iter().filter(|edge| edge.from.starts_with("aws/") && edge.to == "layer/flux-system/cloud").collect();
    assert_eq!(to_layer.len(), 8);
    assert!(to_layer.iter().all(|edge| edge.constraint == Constraint::ReadyBeforeStart && edge.reason == "handed over there"));
    assert_eq!(to_layer[7].origin.as_ref().unwrap().to_string(), "layers/cloud.yaml:37");
    let before_cluster: Vec<&str> = plan.edges.iter().filter(|edge| edge.to == "cluster/prod").map(|edge| edge.from.as_str()).collect();
    assert_eq!(before_cluster, ["aws/eks/Cluster/ack/main", "aws/eks/Nodegroup/ack/nodes", "aws/eks/Addon/ack/dns"]);
}

#[test]
fn nothing_of_a_layer_is_made_where_the_cluster_is_somebody_elses() {
    let plan = planned(AWS, "", &everything());
    assert_eq!((made(&plan).len(), plan.left.len()), (0, 10));
    let members = manifest("eks", "Addon", "dns", "{name: coredns, clusterName: prod}");
    let plan = planned(&format!("{AWS}{EKS}"), "", &members);
    assert_eq!((made(&plan).len(), plan.left.len()), (0, 1), "nobody declares the cluster itself");
    // Nor is anything asked of an environment for it.
    let plan = planned("  agent: {flux: {entrypoint: clusters/prod}}\n", "", &everything());
    assert_eq!((problems(&plan).len(), plan.left.len()), (0, 10));
}

#[test]
fn a_folder_that_declares_the_cluster_leaves_its_members_in_layers_to_the_controllers() {
    let cluster = manifest("eks", "Cluster", "main", "{name: prod, roleRef: {from: {name: eks}}}");
    let layers = manifest("iam", "Role", "eks", "{name: eks, assumeRolePolicyDocument: '{}'}")
        + &manifest("eks", "AccessEntry", "me", "{clusterName: prod, principalARN: 'arn:aws:iam::111122223333:role/me'}");
    let plan = planned(&format!("{AWS}{EKS}"), &cluster, &layers);
    assert_eq!(problems(&plan), [""; 0]);
    // What the folder refers to is made below, too.
    assert_eq!(made(&plan), ["eks/Cluster/main blackstart", "iam/Role/eks ack"]);
    assert_eq!(left(&plan), ["AccessEntry/me: spec.aws.above is controllers"]);
}

#[test]
fn one_manifest_in_a_folder_and_a_layer_is_one_resource() {
    let vpc = |cidr: &str| manifest("ec2", "VPC", "net", &format!("{{cidrBlocks: [{cidr}]}}"));
    let plan = planned(AWS, &vpc("10.0.0.0/16"), &vpc("10.0.0.0/16"));
    assert_eq!((problems(&plan), made(&plan)), (Vec::new(), vec!["ec2/VPC/net ack".to_owned()]));
    let plan = planned(AWS, &vpc("10.0.0.0/16"), &vpc("10.1.0.0/16"));
    assert_eq!(
        problems(&plan),
        ["cloud-differs VPC ack/net: layer flux-system/cloud declares another spec than the infrastructure in infrastructure/all.yaml:2"]
    );
    assert_eq!(plan.problems[0].severity, Severity::Differs);
    let plan = planned(AWS, &(vpc("10.0.0.0/16") + &vpc("10.0.0.0/16")), "");
    assert_eq!(problems(&plan), ["cloud-twice VPC ack/net: declared twice, first in infrastructure/all.yaml:2"]);
}

#[test]
fn direct_makes_all_that_is_known_and_says_why_it_leaves_the_rest() {
    let more = [
        manifest("ec2", "DHCPOptions", "names", "{}"),
        manifest("sqs", "Queue", "odd", "{queueName: odd, colour: red}"),
        manifest("ec2", "Subnet", "lost", "{cidrBlock: 10.9.0.0/24, vpcRef: {from: {name: nowhere}}}"),
        manifest("ec2", "VPCEndpoint", "lost", "{serviceName: s3, vpcRef: {from: {name: net}}, subnetRefs: [{from: {name: lost}}]}"),
        manifest("sqs", "Queue", "far", "{queueName: far}")
            .replace("namespace: ack", "namespace: ack, annotations: {services.k8s.aws/region: us-east-1}"),
    ];
    let plan = planned(&format!("{DIRECT}{EKS}"), "", &(everything() + &more.concat()));
    assert_eq!(problems(&plan), [""; 0]);
    assert_eq!(made(&plan).len(), 10, "{:?}", made(&plan));
    assert!(made(&plan).contains(&"sqs/Queue/orders ack".to_owned()));
    assert_eq!(
        left(&plan),
        [
            "DHCPOptions/names: blackstart does not make ec2 resources of this kind",
            "Subnet/lost: vpcRef names VPC ack/nowhere, which is not declared",
            "VPCEndpoint/lost: it needs Subnet ack/lost (subnetRefs)",
            "Queue/far: is for region us-east-1, and blackstart works in 111122223333 eu-west-1",
            "Queue/odd: spec.colour is not honoured by blackstart",
        ]
    );
}

#[test]
fn what_is_not_known_blocks_where_the_cluster_needs_it() {
    let layers = everything().replace("{name: node, assume", "{name: node, colour: red, assume")
        + &manifest("eks", "FargateProfile", "jobs", "{name: jobs, clusterRef: {from: {name: main}}}");
    let plan = planned(&format!("{AWS}{EKS}"), "", &layers);
    assert_eq!(
        problems(&plan),
        [
            "cloud-kind-unknown FargateProfile ack/jobs: blackstart does not make eks resources of this kind; cluster prod needs it before any controller runs",
            "cloud-field-unknown Role ack/node: spec.colour is not honoured by blackstart; cluster prod needs it before any controller runs",
        ]
    );
    assert_eq!(plan.problems[1].origin.as_ref().unwrap().to_string(), "layers/cloud.yaml:22");
    assert_eq!(plan.problems[1].hint.as_deref(), Some("leave it out, or make it yourself and name it by its ID"));
}

#[test]
fn the_plan_as_json_says_who_makes_and_who_owns() {
    let plan: Value = serde_json::to_value(planned(&format!("{AWS}{EKS}"), "", &everything())).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["id"] == "aws/ec2/VPC/ack/net" && node["owner"] == "ack"));
    assert_eq!(
        plan["leftToControllers"][1],
        json!({"id": "aws/sqs/Queue/ack/orders", "layer": "flux-system/cloud", "reason": "spec.aws.above is controllers", "file": "layers/cloud.yaml", "line": 42})
    );
}

/// What `blackstart plan` prints of a repository with a layer of the folder `cloud`.
fn printed(environment: &str, layer: &str, manifests: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let flux = |group: &str, kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: {group}.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: flux-system}}\nspec: {{{spec}}}\n---\n"
        )
    };
    let source = "interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: flux-system}";
    let sync = flux("source", "GitRepository", "flux-system", "url: 'https://example.com/fleet', interval: 1m")
        + &flux("kustomize", "Kustomization", "flux-system", &format!("path: ./clusters/prod, {source}"));
    for (path, text) in [
        ("blackstart.yaml", format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: prod}}\nspec:\n{environment}")),
        ("clusters/prod/flux-system/gotk-sync.yaml", sync),
        ("clusters/prod/cloud.yaml", flux("kustomize", "Kustomization", "cloud", &format!("path: ./cloud, {layer}{source}"))),
        ("cloud/all.yaml", manifests.to_owned()),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git2::Repository::init(folder.path()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_blackstart")).arg("plan").arg(folder.path()).env("NO_COLOR", "1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_plan_for_people_names_owners_and_what_is_left() {
    let text = printed(&format!("{AWS}{EKS}"), "", &everything());
    for part in [
        "infrastructure  8 cloud resources, 8 handed over to ACK in the cluster\n",
        "  ec2 VPC ack/net          ack        ~3s\n",
        "  ec2 RouteTable ack/out   ack        ~3s       after net (vpcRef)\n",
        "left to ACK's controllers (spec.aws.above is controllers): 2 cloud resources: eks/Cluster/ack/other, sqs/Queue/ack/orders\n",
        "after 8 cloud resources (handed over there)\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_folder_has_the_namespace_that_its_layer_gives_it() {
    let manifests = everything().replace(", namespace: ack", "");
    let text = printed(&format!("{AWS}  infrastructure: [{{path: cloud}}]\n"), "targetNamespace: aws, ", &manifests);
    assert!(text.contains("infrastructure  10 cloud resources, 10 handed over to ACK in the cluster\n"), "{text}");
    assert!(text.contains("  ec2 VPC aws/net          ack        ~3s\n"), "{text}");
}

#[test]
fn an_output_may_come_from_what_a_layer_holds_and_the_cluster_needs() {
    let outputs = |kind: &str| {
        format!(
            "{AWS}{EKS}  outputs:\n    - {{kind: ConfigMap, namespace: flux-system, name: net, data: {{VPC: {{from: ec2/{kind}, field: vpcID}}}}}}\n"
        )
    };
    let plan = planned(&outputs("VPC/ack/net"), "", &everything());
    assert_eq!(problems(&plan), [""; 0]);
    let edges: Vec<&str> = plan.edges.iter().filter(|edge| edge.to == "variables/flux-system/net").map(|edge| edge.from.as_str()).collect();
    assert!(edges.contains(&"aws/ec2/VPC/ack/net"), "{edges:?}");
    // One that its controller makes is not there in time.
    let plan = planned(&outputs("VPC/ack/other"), "", &everything());
    assert_eq!(plan.problems[0].rule, "node-missing");
}
