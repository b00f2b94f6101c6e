//! The sandbox's AWS: what the edge adds to moto, call by call, and a sandbox that has one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;
mod at_hand;

use account::{ACCOUNT, Account};
use aws_sdk_ec2::types::{Filter, IpPermission, UserIdGroupPair};
use aws_sdk_eks::types::{CreateAccessConfigRequest, VpcConfigRequest};
use aws_sdk_elasticloadbalancingv2::types::Action;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use blackstart::aws::Cloud;
use blackstart::cluster::Cluster;
use blackstart::sandbox::edge::{Control, Faults};
use blackstart::sandbox::state;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_blackstart");
const TRUST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// The service's own word for a refusal.
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    match result {
        Err(SdkError::ServiceError(answer)) => answer.into_err().code().unwrap_or_default().to_owned(),
        Err(_) => "no answer".to_owned(),
        Ok(answer) => panic!("not refused: {answer:?}"),
    }
}

/// Looks ten times a second until it holds, ten seconds at most; gives how long that took.
async fn until(holds: impl AsyncFn() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < Duration::from_secs(10), "does not come true");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begin.elapsed()
}

struct Network {
    vpc: String,
    subnets: Vec<String>,
}

async fn network(cloud: &Cloud) -> Network {
    let vpc = cloud.ec2().create_vpc().cidr_block("10.5.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let mut subnets = Vec::new();
    for (zone, block) in [("eu-west-1a", "10.5.0.0/24"), ("eu-west-1b", "10.5.1.0/24")] {
        let made = cloud.ec2().create_subnet().vpc_id(&vpc).cidr_block(block).availability_zone(zone).send().await.unwrap();
        subnets.push(made.subnet.unwrap().subnet_id.unwrap());
    }
    Network { vpc, subnets }
}

async fn address(cloud: &Cloud) -> String {
    cloud.ec2().allocate_address().send().await.unwrap().allocation_id.unwrap()
}

async fn gateway(cloud: &Cloud, subnet: &str, address: &str, token: &str) -> String {
    let call = cloud.ec2().create_nat_gateway().subnet_id(subnet).allocation_id(address).client_token(token);
    call.send().await.unwrap().nat_gateway.unwrap().nat_gateway_id.unwrap()
}

async fn gateway_state(cloud: &Cloud, id: &str) -> String {
    let found = cloud.ec2().describe_nat_gateways().nat_gateway_ids(id).send().await.unwrap();
    found.nat_gateways()[0].state().unwrap().as_str().to_owned()
}

async fn role(cloud: &Cloud, name: &str) -> String {
    let made = cloud.iam().create_role().role_name(name).assume_role_policy_document(TRUST).send().await.unwrap();
    made.role.unwrap().arn
}

fn cluster(cloud: &Cloud, role: &str, subnets: &[String]) -> aws_sdk_eks::operation::create_cluster::builders::CreateClusterFluentBuilder {
    let access = CreateAccessConfigRequest::builder().authentication_mode("API".into()).build();
    let networks = VpcConfigRequest::builder().set_subnet_ids(Some(subnets.to_vec())).build();
    cloud.eks().create_cluster().name("shop").role_arn(role).access_config(access).resources_vpc_config(networks)
}

async fn cluster_status(cloud: &Cloud) -> Option<String> {
    let found = cloud.eks().describe_cluster().name("shop").send().await;
    Some(found.ok()?.cluster?.status?.as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_takes_its_time() {
    let Some(account) = Account::open(1).await else { return };
    let cloud = &account.cloud;
    let network = network(cloud).await;
    account.edge.set_durations(BTreeMap::from([("nat-*".to_owned(), Duration::from_millis(700))]));
    let begin = Instant::now();
    let nat = gateway(cloud, &network.subnets[0], &address(cloud).await, "a").await;
    assert_eq!(gateway_state(cloud, &nat).await, "pending");
    until(async || gateway_state(cloud, &nat).await == "available").await;
    assert!(begin.elapsed() >= Duration::from_millis(700));

    // 840 s in AWS.
    account.edge.set_time_scale(1.0 / 840.0);
    let role = role(cloud, "cluster").await;
    let begin = Instant::now();
    let made = cluster(cloud, &role, &network.subnets).send().await.unwrap().cluster.unwrap();
    assert_eq!((made.status().unwrap().as_str(), made.endpoint()), ("CREATING", None));
    let early = cloud.eks().create_addon().cluster_name("shop").addon_name("coredns").send().await;
    assert_eq!(code(early), "InvalidRequestException");
    until(async || cluster_status(cloud).await.as_deref() == Some("ACTIVE")).await;
    assert!(begin.elapsed() >= Duration::from_millis(990));
    cloud.eks().delete_cluster().name("shop").send().await.unwrap();
    assert_eq!(cluster_status(cloud).await.as_deref(), Some("DELETING"));
    until(async || cluster_status(cloud).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_token_makes_one_resource() {
    let Some(account) = Account::open(1).await else { return };
    let cloud = &account.cloud;
    let network = network(cloud).await;
    let address = address(cloud).await;
    let first = gateway(cloud, &network.subnets[0], &address, "a").await;
    assert_eq!(gateway(cloud, &network.subnets[0], &address, "a").await, first);
    // Carried out, and no answer: the client sends it again with its token.
    account.edge.set_faults(Faults { dropped: 1.0, ..Faults::default() });
    let healed = async {
        until(async || account.edge.take_calls().iter().any(|call| call.service == "route53" && call.status == 0)).await;
        account.edge.set_faults(Faults::default());
    };
    let zone = async { cloud.route53().create_hosted_zone().name("example.com").caller_reference("a").send().await.unwrap() };
    let (zone, ()) = tokio::join!(zone, healed);
    let zones = cloud.route53().list_hosted_zones().send().await.unwrap();
    assert_eq!(
        zones.hosted_zones().iter().map(aws_sdk_route53::types::HostedZone::id).collect::<Vec<_>>(),
        [zone.hosted_zone().unwrap().id()]
    );
    let role = role(cloud, "cluster").await;
    for _ in 0..2 {
        cluster(cloud, &role, &network.subnets).client_request_token("a").send().await.unwrap();
    }
    let other = cluster(cloud, &role, &network.subnets).client_request_token("b").send().await;
    assert_eq!(code(other), "ResourceInUseException");

    let elbv2 = cloud.elbv2();
    let subnets = Some(network.subnets.clone());
    let balancer = elbv2.create_load_balancer().name("shop").r#type("network".into()).set_subnets(subnets).send().await.unwrap();
    let balancer = balancer.load_balancers()[0].load_balancer_arn().unwrap();
    let group = elbv2.create_target_group().name("shop").protocol("TCP".into()).port(443).vpc_id(&network.vpc).send().await.unwrap();
    let forward = Action::builder().r#type("forward".into()).target_group_arn(group.target_groups()[0].target_group_arn().unwrap()).build();
    let listener = |port| {
        let call = elbv2.create_listener().load_balancer_arn(balancer).protocol("TCP".into()).port(port);
        call.default_actions(forward.clone()).send()
    };
    // Two at once: one is made.
    let (one, two) = tokio::join!(listener(443), listener(443));
    let (made, refused) = match one {
        Ok(made) => (made, two),
        Err(_) => (two.unwrap(), one),
    };
    assert_eq!(code(refused), "DuplicateListener");
    listener(8443).await.unwrap();
    elbv2.delete_listener().listener_arn(made.listeners()[0].listener_arn().unwrap()).send().await.unwrap();
    listener(443).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_not_seen_at_once() {
    let Some(account) = Account::open(1).await else { return };
    let cloud = &account.cloud;
    let old = network(cloud).await;
    account.edge.set_faults(Faults { consistency: Duration::from_millis(1500), ..Faults::default() });
    let vpc = cloud.ec2().create_vpc().cidr_block("10.6.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let listed = async || {
        let filter = Filter::builder().name("cidr").values("10.5.0.0/16").values("10.6.0.0/16").build();
        let found = cloud.ec2().describe_vpcs().filters(filter).send().await.unwrap();
        found.vpcs.unwrap_or_default().into_iter().filter_map(|vpc| vpc.vpc_id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, std::slice::from_ref(&old.vpc));
    assert_eq!(code(cloud.ec2().create_subnet().vpc_id(&vpc).cidr_block("10.6.0.0/24").send().await), "InvalidVpcID.NotFound");
    until(async || listed().await.contains(&vpc)).await;
    cloud.ec2().create_subnet().vpc_id(&vpc).cidr_block("10.6.0.0/24").send().await.unwrap();

    let role = role(cloud, "cluster").await;
    assert_eq!(code(cloud.iam().get_role().role_name("cluster").send().await), "NoSuchEntity");
    assert_eq!(code(cluster(cloud, &role, &old.subnets).send().await), "InvalidParameterException");
    until(async || cloud.iam().get_role().role_name("cluster").send().await.is_ok()).await;
    cluster(cloud, &role, &old.subnets).send().await.unwrap();

    let queue = cloud.sqs().create_queue().queue_name("orders").send().await.unwrap().queue_url.unwrap();
    let attributes = async || cloud.sqs().get_queue_attributes().queue_url(&queue).send().await;
    assert!(
        code(attributes().await).contains("QueueDoesNotExist") && cloud.sqs().list_queues().send().await.unwrap().queue_urls().is_empty()
    );
    until(async || attributes().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_that_something_needs() {
    let Some(account) = Account::open(1).await else { return };
    let cloud = &account.cloud;
    let ec2 = cloud.ec2();
    let Network { vpc, subnets } = network(cloud).await;
    let overlapping = ec2.create_subnet().vpc_id(&vpc).cidr_block("10.5.0.128/25").send().await;
    assert_eq!(code(overlapping), "InvalidSubnet.Conflict");
    let out = ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap().internet_gateway_id.unwrap();
    ec2.attach_internet_gateway().internet_gateway_id(&out).vpc_id(&vpc).send().await.unwrap();
    let address = address(cloud).await;
    let nat = gateway(cloud, &subnets[0], &address, "a").await;
    let group = async |name: &str| {
        let made = ec2.create_security_group().group_name(name).description(name).vpc_id(&vpc).send().await.unwrap();
        made.group_id.unwrap()
    };
    let (api, database) = (group("api").await, group("database").await);
    let from_api = IpPermission::builder().ip_protocol("tcp").from_port(5432).to_port(5432);
    let from_api = from_api.user_id_group_pairs(UserIdGroupPair::builder().group_id(&api).build()).build();
    ec2.authorize_security_group_ingress().group_id(&database).ip_permissions(from_api).send().await.unwrap();
    let role = role(cloud, "cluster").await;
    cluster(cloud, &role, &subnets).send().await.unwrap();

    assert_eq!(code(ec2.delete_security_group().group_id(&api).send().await), "DependencyViolation");
    assert_eq!(code(ec2.delete_subnet().subnet_id(&subnets[0]).send().await), "DependencyViolation");
    assert_eq!(code(ec2.delete_subnet().subnet_id(&subnets[1]).send().await), "DependencyViolation", "the cluster is there");
    assert_eq!(code(ec2.detach_internet_gateway().internet_gateway_id(&out).vpc_id(&vpc).send().await), "DependencyViolation");
    assert_eq!(code(ec2.release_address().allocation_id(&address).send().await), "InvalidIPAddress.InUse");

    cloud.eks().delete_cluster().name("shop").send().await.unwrap();
    ec2.delete_nat_gateway().nat_gateway_id(&nat).send().await.unwrap();
    ec2.release_address().allocation_id(&address).send().await.unwrap();
    for subnet in &subnets {
        ec2.delete_subnet().subnet_id(subnet).send().await.unwrap();
    }
    assert_eq!(code(ec2.delete_vpc().vpc_id(&vpc).send().await), "DependencyViolation", "its gateway");
    ec2.detach_internet_gateway().internet_gateway_id(&out).vpc_id(&vpc).send().await.unwrap();
    assert_eq!(code(ec2.delete_vpc().vpc_id(&vpc).send().await), "DependencyViolation", "its groups");
    for group in [&database, &api] {
        ec2.delete_security_group().group_id(group).send().await.unwrap();
    }
    ec2.delete_vpc().vpc_id(&vpc).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eks_refuses_what_aws_refuses() {
    let Some(account) = Account::open(1).await else { return };
    let cloud = &account.cloud;
    let network = network(cloud).await;
    let missing = format!("arn:aws:iam::{ACCOUNT}:role/missing");
    assert_eq!(code(cluster(cloud, &missing, &network.subnets).send().await), "InvalidParameterException");
    let role = role(cloud, "cluster").await;
    assert_eq!(code(cluster(cloud, &role, &network.subnets[..1]).send().await), "InvalidParameterException", "one zone only");
    assert_eq!(code(cluster(cloud, &role, &["subnet-0a".to_owned()]).send().await), "InvalidParameterException");
    cluster(cloud, &role, &network.subnets).send().await.unwrap();
    let creator = cloud.eks().list_access_entries().cluster_name("shop").send().await.unwrap();
    assert_eq!(creator.access_entries(), [format!("arn:aws:iam::{ACCOUNT}:user/moto")]);
    let group = cloud.eks().create_nodegroup().cluster_name("shop").nodegroup_name("system").node_role(&role);
    group.set_subnets(Some(network.subnets.clone())).send().await.unwrap();
    let entries = cloud.eks().list_access_entries().cluster_name("shop").send().await.unwrap();
    assert!(entries.access_entries().contains(&role), "the nodes' role may enter");
    assert_eq!(code(cloud.eks().delete_cluster().name("shop").send().await), "ResourceInUseException");
    let same = cloud.eks().update_cluster_config().name("shop").deletion_protection(false).send().await;
    assert_eq!(code(same), "InvalidParameterException", "nothing would change");
    assert_eq!(code(cloud.eks().update_cluster_version().name("shop").version("1.37").send().await), "InvalidParameterException");
}

fn blackstart(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends the sandbox, whatever happens.
struct Ends(String);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = blackstart(&["sandbox", "down", &self.0]);
    }
}

/// A kubeconfig as `blackstart kubeconfig` makes it, with keys.
fn kubeconfig(cluster: &aws_sdk_eks::types::Cluster, endpoint: &str, key: &str, secret: &str) -> Value {
    let env = [("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_SESSION_TOKEN", "")];
    let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let authority = cluster.certificate_authority().unwrap().data().unwrap();
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "shop",
        "clusters": [{"name": "shop", "cluster": {"server": cluster.endpoint(), "certificate-authority-data": authority}}],
        "contexts": [{"name": "shop", "context": {"cluster": "shop", "user": "shop"}}],
        "users": [{"name": "shop", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": BINARY, "args": ["token", "--cluster", "shop", "--region", "eu-west-1"],
            "env": env, "interactiveMode": "Never",
        }}}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_has_an_aws_whose_cluster_takes_tokens() {
    if at_hand::absent() {
        return;
    }
    let id = format!("test-cloud-{}", std::process::id());
    let _ends = Ends(id.clone());
    text(&blackstart(&["sandbox", "up", "--cloud", "--time-scale", "0", "--detach", "--name", &id]));
    let state = state::list().unwrap().into_iter().find(|state| state.id == id).unwrap();
    assert!(state.components.iter().any(|component| component.name == "moto"));
    let aws = state.cloud.unwrap();

    assert!(text(&blackstart(&["sandbox", "fault", &id, "--errors", "50%", "--latency", "1ms"])).contains("errors 50%"));
    assert!(!blackstart(&["sandbox", "fault", &id, "--errors", "500%"]).status.success());
    let set = Control::new(aws.control.clone()).faults().await.unwrap();
    assert_eq!(set, Faults { errors: 0.5, latency: Duration::from_millis(1), ..Faults::default() });
    let stranger = format!("{}0", aws.control);
    assert!(Control::new(stranger).faults().await.is_err());
    text(&blackstart(&["sandbox", "fault", &id, "--clear"]));

    let cloud = account::connect(&aws.endpoint).await;
    let network = network(&cloud).await;
    let role = role(&cloud, "cluster").await;
    cluster(&cloud, &role, &network.subnets).send().await.unwrap();
    let calls: Value = serde_json::from_str(&text(&blackstart(&["sandbox", "calls", &id, "--writes", "-o", "json"]))).unwrap();
    let names: Vec<&str> = calls["calls"].as_array().unwrap().iter().map(|call| call["operation"].as_str().unwrap()).collect();
    assert_eq!(names, ["CreateVpc", "CreateSubnet", "CreateSubnet", "CreateRole", "CreateCluster"]);
    assert!(text(&blackstart(&["sandbox", "calls", &id])).contains("GetCallerIdentity"));

    let living = cloud.eks().describe_cluster().name("shop").send().await.unwrap().cluster.unwrap();
    let file = std::fs::read_to_string(&aws.credentials).unwrap();
    let value = |name: &str| file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap().to_owned();
    let (key, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
    let connected = Cluster::connect_with(&kubeconfig(&living, &aws.endpoint, &key, &secret), "shop").await.unwrap();
    assert_eq!(connected.list("v1", "Node", None, None).await.unwrap().len(), 1, "an administrator sees the nodes");
    assert!(Cluster::connect_with(&kubeconfig(&living, &aws.endpoint, &key, "wrong"), "shop").await.is_err());

    // A principal without an entry is not let in.
    let creator = format!("arn:aws:iam::{ACCOUNT}:user/moto");
    cloud.eks().delete_access_entry().cluster_name("shop").principal_arn(creator).send().await.unwrap();
    let refused = async || Cluster::connect_with(&kubeconfig(&living, &aws.endpoint, &key, &secret), "shop").await.is_err();
    until(refused).await;
}
