//! Commands of other provisioners and the values they give, in the order of a run: programs in files, Terraform where it is there, moto.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

mod account;
mod at_hand;
mod cluster_server;

use account::{ACCOUNT, Account, ENVIRONMENT};
use blackstart::aws;
use blackstart::aws::observe::{Observation, observe};
use blackstart::cluster::Cluster;
use blackstart::environment::{Codes, Command, Environment, Given, SecretSource, parse};
use blackstart::execute::Events;
use blackstart::execute::cloud::{Build, build};
use blackstart::execute::command::{Found, Job, Surroundings};
use blackstart::execute::kubeconfig::{self, Appears, NoCluster};
use blackstart::execute::progress::{Made, Progress, Told};
use blackstart::execute::secret;
use blackstart::layers::infrastructure::needs;
use blackstart::layers::outputs::Output;
use blackstart::manifest::ObjectId;
use blackstart::plan::{Action, Constraint, Edge, Plan};
use blackstart::read::{ReadOptions, Revision, read};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

fn script(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("./{name}")
}

fn command(name: &str, folder: &Path, check: &[&str], run: &[&str]) -> Command {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Command {
        name: name.into(),
        run: words(run),
        check: words(check),
        codes: Codes::default(),
        outputs: None,
        timeout: Duration::from_secs(60),
        env: BTreeMap::new(),
        after: Vec::new(),
        folder: folder.to_owned(),
        origin: None,
    }
}

/// A run of commands alone, as `start` does it: looked at first, then carried out in order.
struct Ran {
    success: bool,
    told: Told,
    actions: Vec<Action>,
    events: String,
}

async fn run(commands: Vec<Command>, edges: &[(&str, &str)], stop: watch::Receiver<u8>) -> Ran {
    let (sink, mut events) = mpsc::unbounded_channel();
    let surroundings = Surroundings { base: PathBuf::new(), cloud: None, events: Events::new(sink.clone()), stop: stop.clone() };
    let mut jobs = Vec::new();
    for command in commands {
        jobs.push(Job::look(command, &surroundings).await.unwrap());
    }
    let actions = jobs.iter().map(Job::action).collect();
    let edges = edges.iter().map(|(from, to)| Edge {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
        constraint: Constraint::ReadyBeforeStart,
        reason: "test".into(),
        origin: None,
    });
    let progress = Progress::default();
    let work = Build {
        cloud: None,
        environment: ENVIRONMENT.into(),
        base: PathBuf::new(),
        declared: Vec::new(),
        commands: jobs,
        edges: edges.collect(),
        observation: Observation::default(),
        backups: std::collections::HashMap::new(),
        events: Events::new(sink),
        journal: None,
        progress: progress.clone(),
        stop,
    };
    let built = tokio::time::timeout(Duration::from_secs(120), build(work)).await.expect("ends within 120 s");
    let mut text = String::new();
    while let Ok(event) = events.try_recv() {
        text.push_str(&serde_json::to_string(&event.happening).unwrap());
        text.push('\n');
    }
    Ran { success: built.success, told: progress.subscribe().borrow().clone(), actions, events: text }
}

fn nobody() -> (watch::Sender<u8>, watch::Receiver<u8>) {
    watch::channel(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_once_and_its_outputs_reach_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let check = script(at, "check", "test -e made && echo '{\"id\": \"z-1\"}'");
    let make = script(at, "make", "echo working >&2; touch made; echo '{\"id\": \"z-1\"}'");
    let note = script(at, "note", "echo \"$1 $ZONE\" >> noted");
    let zone = Output { variable: "ZONE".into(), node: "command/zone".into(), field: "id".into() };
    let commands = || {
        let mut user = command("user", at, &["false"], &[&note, &format!("zone={}", zone.mark())]);
        user.env.insert("ZONE".into(), Given::Text(zone.mark()));
        vec![command("zone", at, &[&check], &[&make]), user]
    };
    let (_stop, stop) = nobody();
    let first = run(commands(), &[("command/zone", "command/user")], stop.clone()).await;
    assert!(first.success, "{}", first.events);
    assert_eq!(first.actions, [Action::Create, Action::Unknown]);
    assert_eq!(first.told.ready["command/zone"].outputs, json!({"id": "z-1"}));
    assert_eq!(std::fs::read_to_string(at.join("noted")).unwrap(), "zone=z-1 z-1\n");
    assert!(first.events.contains("working"), "what it says is told: {}", first.events);

    std::fs::remove_file(at.join("noted")).unwrap();
    let second = run(commands(), &[("command/zone", "command/user")], stop).await;
    assert_eq!(second.actions, [Action::Keep, Action::Unknown]);
    assert_eq!(second.told.ready["command/zone"].outputs, json!({"id": "z-1"}), "from the check");
    assert!(!second.events.contains("working"), "not run again: {}", second.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_tells_the_last_lines_without_secrets_and_blocks_what_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("token"), "s3cr3t-value\n").unwrap();
    let make = script(at, "make", "echo \"token is $TOKEN\" >&2; echo \"bad $TOKEN\"; exit 7");
    let mut failing = command("failing", at, &["false"], &[&make]);
    failing.env.insert("TOKEN".into(), Given::Secret(SecretSource::File(at.join("token").display().to_string())));
    let (_stop, stop) = nobody();
    let ran = run(vec![failing, command("next", at, &["false"], &["true"])], &[("command/failing", "command/next")], stop).await;
    assert!(!ran.success);
    let why = &ran.told.failed["command/failing"];
    assert!(why.contains("exit code 7") && why.contains("token is ***"), "{why}");
    assert!(ran.told.failed["command/next"].contains("command/failing"), "{:?}", ran.told.failed);
    assert!(!ran.events.contains("s3cr3t") && !why.contains("s3cr3t"), "{}", ran.events);
    assert!(!ran.events.contains("bad"), "standard output may be outputs: {}", ran.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_other_exit_code_of_a_check_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let check = script(folder.path(), "check", "echo no login >&2; exit 3");
    let (sink, _events) = mpsc::unbounded_channel();
    let (_stop, stop) = nobody();
    let surroundings = Surroundings { base: PathBuf::new(), cloud: None, events: Events::new(sink), stop };
    let why = Job::look(command("dns", folder.path(), &[&check], &["true"]), &surroundings).await.unwrap_err();
    assert_eq!(why, "command dns: check: ./check ended with exit code 3\nno login");
    let mut mapped = command("dns", folder.path(), &[&check], &["true"]);
    mapped.codes = Codes { present: Some(0), absent: None, differs: Some(3) };
    assert_eq!(Job::look(mapped, &surroundings).await.unwrap().found, Some(Found::Differs));
}

/// Whether a process of this id lives.
fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_takes_too_long_ends_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let make = script(at, "make", "sleep 300 & echo $! > child; wait");
    let mut slow = command("slow", at, &["false"], &[&make]);
    slow.timeout = Duration::from_secs(2);
    let (_stop, stop) = nobody();
    let ran = run(vec![slow], &[], stop).await;
    assert!(ran.told.failed["command/slow"].contains("did not end within 2 s"), "{:?}", ran.told.failed);
    let child = std::fs::read_to_string(at.join("child")).unwrap();
    until("its child is gone", || !lives(child.trim())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_interrupt_lets_a_program_end_and_the_second_kills_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let make = script(&at, "make", "echo $$ > pid; until test -e go; do sleep 0.05; done; touch done");
    let (sender, stop) = nobody();
    let task = tokio::spawn(run(vec![command("one", &at, &["false"], &[&make])], &[], stop));
    until("it runs", || at.join("pid").exists()).await;
    sender.send(1).unwrap();
    std::fs::write(at.join("go"), "").unwrap();
    let ran = task.await.unwrap();
    assert!(!ran.success && ran.told.ready.contains_key("command/one") && at.join("done").exists(), "it came to its end: {}", ran.events);

    for file in ["pid", "go", "done"] {
        std::fs::remove_file(at.join(file)).unwrap();
    }
    let (sender, stop) = nobody();
    let task = tokio::spawn(run(vec![command("one", &at, &["false"], &[&make])], &[], stop));
    until("it runs", || std::fs::read_to_string(at.join("pid")).is_ok_and(|pid| pid.ends_with('\n'))).await;
    let pid = std::fs::read_to_string(at.join("pid")).unwrap();
    sender.send(2).unwrap();
    task.await.unwrap();
    until("it is gone", || !lives(pid.trim())).await;
    assert!(!at.join("done").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terraform_has_its_place() {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join("terraform").is_file());
    if !found {
        println!("skipped: terraform is not on PATH");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let main = "variable \"vpc\" {}\nresource \"terraform_data\" \"zone\" {\n  input = var.vpc\n}\noutput \"zone_id\" {\n  value = \"zone-of-${terraform_data.zone.output}\"\n}\n";
    std::fs::write(at.join("main.tf"), main).unwrap();
    let init = tokio::process::Command::new("terraform").args(["init", "-input=false", "-no-color"]).current_dir(at).output();
    let init = tokio::time::timeout(Duration::from_secs(60), init).await.expect("init ends").unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let terraform = |vpc: &str| {
        let mut one = command(
            "dns",
            at,
            &["terraform", "plan", "-detailed-exitcode", "-input=false", "-no-color"],
            &["terraform", "apply", "-auto-approve", "-input=false", "-no-color"],
        );
        one.codes = Codes { present: Some(0), absent: None, differs: Some(2) };
        one.outputs = Some(["terraform", "output", "-json"].map(str::to_owned).to_vec());
        one.env.insert("TF_VAR_vpc".into(), Given::Text(vpc.into()));
        vec![one]
    };
    let (_stop, stop) = nobody();
    for (vpc, action) in [("vpc-1", Action::Update), ("vpc-1", Action::Keep), ("vpc-2", Action::Update)] {
        let ran = run(terraform(vpc), &[], stop.clone()).await;
        assert!(ran.success, "{}", ran.events);
        assert_eq!(ran.actions, [action], "{vpc}");
        assert_eq!(ran.told.ready["command/dns"].outputs, json!({"zone_id": format!("zone-of-{vpc}")}));
    }
}

/// An environment in a repository with these files.
fn environment(spec: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: {ENVIRONMENT}}}\nspec:\n  aws: {{accountID: \"{ACCOUNT}\", region: eu-west-1}}\n{spec}"
    );
    let layer = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}\n---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec: {url: 'https://example.com/fleet', interval: 1m}\n";
    for (path, text) in [("clusters/a/sync.yaml", layer), ("blackstart.yaml", &text)].iter().chain(files) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let git = git2::Repository::init(folder.path()).unwrap();
    let mut index = git.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = git2::Signature::now("t", "t@example.com").unwrap();
    git.commit(Some("HEAD"), &who, &who, "start", &tree, &[]).unwrap();
    drop(tree);
    let environment = parse(&text, "blackstart.yaml").unwrap();
    (folder, environment)
}

async fn planned(folder: &Path, environment: &Environment) -> Plan {
    let options = ReadOptions {
        path: folder.to_owned(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: false,
        allowed_signers: Vec::new(),
    };
    let reading = read(&options, environment).await.unwrap();
    blackstart::plan::plan(&reading, environment, &aws::catalogue())
}

const VPC: &str = "apiVersion: ec2.services.k8s.aws/v1alpha1\nkind: VPC\nmetadata: {name: shop, namespace: ack-system}\nspec: {cidrBlocks: [10.0.0.0/16]}\n";
const QUEUE: &str = "apiVersion: sqs.services.k8s.aws/v1alpha1\nkind: Queue\nmetadata: {name: orders, namespace: ack-system}\nspec: {queueName: 'orders', tags: {vpc: '${VPC_ID}', zone: 'z-${ZONE}'}}\n";
const APP: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app, namespace: flux-system}\nspec:\n  path: ./app\n  prune: true\n  interval: 1m\n  sourceRef: {kind: GitRepository, name: flux-system}\n  postBuild: {substituteFrom: [{kind: ConfigMap, name: outputs}]}\n";
const APP_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\ndata: {vpc: '${VPC_ID}'}\n";
const SPEC: &str = "  infrastructure:\n    - path: aws\n    - command: {name: dns, run: [./make, '${VPC_ID}'], check: [./check], folder: dns, env: {VPC: '${VPC_ID}'}}\n  outputs:\n    - kind: ConfigMap\n      namespace: flux-system\n      name: outputs\n      data:\n        VPC_ID: {from: ec2/VPC/ack-system/shop, field: vpcID}\n        ZONE: {from: command/dns, field: zone}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_uses_a_value_waits_for_whoever_gives_it() {
    let files = [("aws/a.yaml", VPC), ("aws/b.yaml", QUEUE), ("dns/make", ""), ("clusters/a/app.yaml", APP), ("app/a.yaml", APP_MAP)];
    let (folder, environment) = environment(SPEC, &files);
    let plan = planned(folder.path(), &environment).await;
    assert_eq!(plan.problems, []);
    let has = |from: &str, to: &str| plan.edges.iter().any(|edge| edge.from == from && edge.to == to);
    for (from, to) in [
        ("aws/ec2/VPC/ack-system/shop", "command/dns"),
        ("aws/ec2/VPC/ack-system/shop", "aws/sqs/Queue/ack-system/orders"),
        ("command/dns", "aws/sqs/Queue/ack-system/orders"),
        ("aws/ec2/VPC/ack-system/shop", "variables/flux-system/outputs"),
        ("command/dns", "variables/flux-system/outputs"),
        ("variables/flux-system/outputs", "layer/flux-system/app"),
    ] {
        assert!(has(from, to), "{from} → {to} is not in {:#?}", plan.edges);
    }
    assert!(!has("variables/flux-system/outputs", "agent/flux"), "the agent starts without it");
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains("${VPC_ID}") && !json.contains('\u{10FFF0}'), "{json}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_blackstart")).arg("plan").arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 command") && text.contains("${VPC_ID}") && !text.contains('\u{10FFF0}'), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_that_cannot_be_had_are_problems_of_the_plan() {
    let spec = SPEC
        .replace("field: vpcID", "field: vpcId")
        .replace("command/dns, field", "command/dsn, field")
        .replace("folder: dns", "folder: dsn, after: [ec2/VPC/ack-system/shp]");
    let named = QUEUE.replace("name: orders", "name: 'orders-${VPC_ID}'");
    let (folder, environment) = environment(&spec, &[("aws/a.yaml", VPC), ("aws/b.yaml", &named), ("dns/make", "")]);
    let plan = planned(folder.path(), &environment).await;
    let told: Vec<String> = plan
        .problems
        .iter()
        .map(|problem| {
            let place = problem.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{place}: {} ({})", problem.message, problem.hint.as_deref().unwrap_or_default())
        })
        .collect();
    for wanted in [
        "blackstart.yaml:8: command dns: folder dsn is no folder of the repository (did you mean dns?)",
        "blackstart.yaml:8: command dns: after names ec2/VPC/ack-system/shp, which is not declared (did you mean ec2/VPC/ack-system/shop?)",
        "blackstart.yaml:14: spec.outputs: VPC_ID: ec2/VPC/ack-system/shop gives no vpcId (did you mean vpcID?)",
        "blackstart.yaml:15: spec.outputs: ZONE comes from command/dsn, which is not declared (did you mean command/dns?)",
        "aws/b.yaml:1: Queue ack-system/orders-${VPC_ID}: metadata.name holds ${VPC_ID}, which is known only when it is made: nothing could be ordered or found by it ()",
    ] {
        assert!(told.iter().any(|told| told == wanted), "`{wanted}` is not in {told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_resources_and_commands_reach_specs_and_arguments() {
    let Some(account) = Account::open(3).await else { return };
    let files = [("aws/a.yaml", VPC), ("aws/b.yaml", QUEUE), ("dns/keep", ""), ("clusters/a/app.yaml", APP), ("app/a.yaml", APP_MAP)];
    let (folder, environment) = environment(SPEC, &files);
    let dns = folder.path().join("dns");
    script(&dns, "check", "test -e made && cat made");
    script(&dns, "make", "echo \"{\\\"zone\\\": \\\"$1\\\", \\\"env\\\": \\\"$VPC\\\"}\" > made; cat made");
    let plan = planned(folder.path(), &environment).await;
    assert_eq!(plan.problems, []);
    let mut ids = Vec::new();
    for round in 0..2 {
        let (needs, _) = needs(&plan.declared, account.cloud.place());
        let (observation, problems) = observe(&account.cloud, ENVIRONMENT, &plan.declared, &needs).await.unwrap();
        assert_eq!(problems, []);
        let (sink, _events) = mpsc::unbounded_channel();
        let (_stop, stop) = nobody();
        let surroundings = Surroundings { base: PathBuf::new(), cloud: None, events: Events::new(sink.clone()), stop: stop.clone() };
        let job = Job::look(plan.commands[0].clone(), &surroundings).await.unwrap();
        let progress = Progress::default();
        account.edge.take_calls();
        let work = Build {
            cloud: Some(account.cloud.clone()),
            environment: ENVIRONMENT.into(),
            base: PathBuf::new(),
            declared: plan.declared.clone(),
            commands: vec![job],
            edges: plan.edges.clone(),
            observation,
            backups: std::collections::HashMap::new(),
            events: Events::new(sink),
            journal: None,
            progress: progress.clone(),
            stop,
        };
        let built = tokio::time::timeout(Duration::from_secs(60), build(work)).await.expect("ends");
        assert!(built.success, "{:?}", progress.subscribe().borrow().failed);
        let vpc = progress.made("aws/ec2/VPC/ack-system/shop").unwrap().outputs["vpcID"].clone();
        assert_eq!(progress.made("command/dns").unwrap().outputs, json!({"zone": vpc, "env": vpc}));
        let Some(Made { living: Some(queue), .. }) = progress.made("aws/sqs/Queue/ack-system/orders") else { panic!("a queue") };
        let id = vpc.as_str().unwrap().to_owned();
        assert_eq!((queue.tags["vpc"].as_str(), queue.tags["zone"].clone()), (id.as_str(), format!("z-{id}")));
        ids.push(vpc);
        let writes = account.writes();
        assert_eq!(writes.is_empty(), round == 1, "only the first run writes: {writes:?}");
    }
    assert_eq!(ids[0], ids[1], "the same VPC");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_that_never_comes_is_waited_for_no_longer_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, mut events) = mpsc::unbounded_channel();
    let events_out = Events::new(sink);
    let (sender, stop) = nobody();
    let source = SecretSource::File("k3s.yaml".into());
    let appears = |timeout| Appears {
        source: &source,
        base: folder.path(),
        cloud: None,
        context: None,
        timeout,
        name: "k3s",
        events: &events_out,
        stop: stop.clone(),
    };
    let late = kubeconfig::connect(appears(Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(late, NoCluster::Late { .. }) && late.to_string().contains("k3s.yaml within 1 s"), "{late}");
    std::fs::write(folder.path().join("k3s.yaml"), "users: [{name: a, user: {token: s3cr3t\n").unwrap();
    let broken = kubeconfig::connect(appears(Duration::from_secs(1))).await.unwrap_err().to_string();
    assert!(broken.contains("is no YAML") && !broken.contains("s3cr3t"), "{broken}");
    sender.send(1).unwrap();
    assert!(matches!(kubeconfig::connect(appears(Duration::from_secs(60))).await.unwrap_err(), NoCluster::Stopped { .. }));
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        let text: Value = serde_json::to_value(&event.happening).unwrap();
        assert!(!text.to_string().contains("s3cr3t"), "{text}");
        told += 1;
    }
    assert!(told >= 2, "what it waits for is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_aws_holds_are_asked_for_when_they_are_needed() {
    let Some(account) = Account::open(5).await else { return };
    let fetch = async |source: SecretSource| secret::fetch(&source, Path::new(""), Some(&account.cloud)).await;
    assert!(fetch(SecretSource::Ssm("/a/key".into())).await.unwrap_err().is_absent());
    assert!(fetch(SecretSource::SecretsManager("a-key".into())).await.unwrap_err().is_absent());
    let put = account.cloud.ssm().put_parameter().name("/a/key").value("one").r#type("SecureString".into());
    put.send().await.unwrap();
    account.cloud.secretsmanager().create_secret().name("a-key").secret_string("two").send().await.unwrap();
    assert_eq!(fetch(SecretSource::Ssm("/a/key".into())).await.unwrap().as_str(), "one");
    assert_eq!(fetch(SecretSource::SecretsManager("a-key".into())).await.unwrap().as_str(), "two");
    let none = secret::fetch(&SecretSource::Ssm("/a/key".into()), Path::new(""), None).await.unwrap_err();
    assert!(none.to_string().contains("spec.aws") && !none.is_absent(), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_is_taken_as_soon_as_it_appears() {
    let Some(server) = tokio::task::spawn_blocking(cluster_server::server).await.unwrap() else { return };
    let Some(account) = Account::open(6).await else { return };
    let text = std::fs::read_to_string(server.kubeconfig("appears", "admin-token", server.port)).unwrap();
    let (sink, mut events) = mpsc::unbounded_channel();
    let events_out = Events::new(sink);
    let (_stop, stop) = nobody();
    let source = SecretSource::Ssm("/k3s/kubeconfig".into());
    let appears = Appears {
        source: &source,
        base: Path::new(""),
        cloud: Some(&account.cloud),
        context: Some("c"),
        timeout: Duration::from_secs(60),
        name: "k3s",
        events: &events_out,
        stop,
    };
    let cloud = account.cloud.clone();
    let later = async move {
        // Not before it was looked for in vain.
        let told = tokio::time::timeout(Duration::from_secs(30), events.recv()).await.expect("told").unwrap();
        let put = cloud.ssm().put_parameter().name("/k3s/kubeconfig").value(text).r#type("SecureString".into());
        put.send().await.unwrap();
        serde_json::to_string(&told.happening).unwrap()
    };
    let (cluster, told) = tokio::join!(kubeconfig::connect(appears), later);
    assert!(cluster.unwrap().server().ends_with(&server.port.to_string()));
    assert!(told.contains("cluster/k3s") && told.contains("ParameterNotFound"), "{told}");
}

/// The whole of it, in the real binary: infrastructure in moto, an API server, Flux' controllers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_reaches_the_cluster_as_the_agent_would_write_it() {
    if at_hand::absent() {
        return;
    }
    let Some(account) = Account::open(4).await else { return };
    drop(account);
    let app = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: default}\ndata: {vpc: '${VPC_ID}', text: 'in ${VPC_ID}, ${ZONE}'}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: default}\nspec: {clusterIP: None, ports: [{port: 80, name: '${ZONE}'}]}\n";
    let files = [("aws/a.yaml", VPC), ("aws/b.yaml", QUEUE), ("dns/keep", ""), ("clusters/a/app.yaml", APP), ("app/a.yaml", app)];
    let (folder, _) = environment(SPEC, &files);
    let events = folder.path().join("events.jsonl");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_blackstart"))
        .args(["rehearse", "--keep", "--events"])
        .arg(&events)
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("said")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(240);
    while !read("events.jsonl").contains("\"ended\"") {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{}", read("said"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let sandboxes = blackstart::sandbox::state::list().unwrap();
    let sandbox = sandboxes.iter().find(|sandbox| Some(sandbox.owner.pid) == child.id()).expect("kept");
    let cluster = Cluster::connect(Some(&sandbox.kubeconfig), None).await.unwrap();
    let id = |name: &str, namespace: &str| ObjectId {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some(namespace.into()),
        name: name.into(),
    };
    let app = cluster.get(&id("app", "default")).await.unwrap().unwrap_or_else(|| panic!("{}", read("said")));
    let given = cluster.get(&id("outputs", "flux-system")).await.unwrap().unwrap();
    kill(child.id().unwrap());
    tokio::time::timeout(Duration::from_secs(60), child.wait()).await.expect("ends").unwrap();
    let vpc = given["data"]["VPC_ID"].as_str().unwrap();
    assert!(vpc.starts_with("vpc-"), "{given}");
    assert_eq!(app["data"], json!({"vpc": vpc, "text": format!("in {vpc}, stand-in-zone")}));
    for told in [read("events.jsonl"), read("said")] {
        assert!(!told.contains('\u{10FFF0}'), "a mark is shown: {told}");
    }
    assert!(read("events.jsonl").contains("\"handed-over\""), "the agent found it as declared: {}", read("said"));
    assert!(read("events.jsonl").contains("command dns"), "the stand-in is listed");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}
