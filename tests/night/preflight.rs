//! `preflight`: the real program against moto, a registry, a chart repository, a Git server and a resolver on the loopback.

use crate::account::environment::{Environment, Said};
use crate::account::wall::{Asked, says, serve};
use crate::account::{Account, declared, manifests};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blackstart::aws::permissions::TABLE;
use blackstart::plan::Action;
use blackstart::preflight::permissions::{Planned, needed};
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const ROOT: &str = "arn:aws:iam::123456789012:user/ops";

/// The checks of a run with `-o json`, by group and name: verdict and what was found.
fn found(said: &Said, group: &str, name: &str) -> (String, String) {
    let all = said.json();
    let checks = all["checks"].as_array().unwrap();
    let is_it = |check: &&Value| check["group"] == group && check["name"].as_str().unwrap().contains(name);
    let check = checks.iter().find(is_it).unwrap_or_else(|| panic!("{group} {name} is not in {all:#}"));
    (
        check["verdict"].as_str().unwrap().to_owned(),
        format!("{} {}", check["found"].as_str().unwrap(), check["fix"].as_str().unwrap_or_default()),
    )
}

#[track_caller]
fn is(said: &Said, group: &str, name: &str, verdict: &str, part: &str) {
    let (told, text) = found(said, group, name);
    assert!(told == verdict && text.contains(part), "{group} {name}: {told}: {text}");
}

/// IAM as it would answer for a user that may all but `denied`; a bucket of somebody else.
fn iam(denied: &'static str) -> impl Fn(&Asked) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static {
    move |asked| {
        let body = asked.text();
        if asked.method == Method::HEAD && asked.path.starts_with("/taken") {
            return Some(says(403, &[], ""));
        }
        if body.contains("Action=GetCallerIdentity") {
            let xml = format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{ROOT}</Arn><UserId>x</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            );
            return Some(says(200, &[("date", &jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())], xml));
        }
        if !body.contains("Action=SimulatePrincipalPolicy") {
            return None;
        }
        let decoded = |text: &str| text.replace("%3A", ":").replace("%2A", "*").replace("%2F", "/");
        let values = |key: &str| -> Vec<String> {
            body.split('&').filter(|pair| pair.starts_with(key)).filter_map(|pair| Some(decoded(pair.split_once('=')?.1))).collect()
        };
        let (actions, resources) = (values("ActionNames"), values("ResourceArns"));
        let results: String = actions
            .iter()
            .map(|action| {
                let decision = if action == denied { "implicitDeny" } else { "allowed" };
                let specific: String = resources
                    .iter()
                    .map(|resource| format!("<member><EvalResourceName>{resource}</EvalResourceName><EvalResourceDecision>{decision}</EvalResourceDecision></member>"))
                    .collect();
                format!(
                    "<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}</EvalDecision><ResourceSpecificResults>{specific}</ResourceSpecificResults></member>"
                )
            })
            .collect();
        let xml = format!(
            "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
        );
        Some(says(200, &[], xml))
    }
}

/// A registry, a chart repository and a Git server in one. `repository` is what the Git server has, for this password alone.
pub(crate) async fn registry(repository: &Path, password: &'static str) -> String {
    let refs = Command::new("git").args(["upload-pack", "--stateless-rpc", "--advertise-refs"]).arg(repository).output().unwrap().stdout;
    let refs = [b"001e# service=git-upload-pack\n0000".as_slice(), &refs].concat();
    let basic = format!("Basic {}", STANDARD.encode(format!("flux:{password}")));
    serve(None, move |asked| {
        let host = asked.header("host");
        Some(match asked.path.as_str() {
            "/v2/shop/api/manifests/1.0.0" | "/v2/charts/podinfo/manifests/6.5.0" => says(200, &[], ""),
            "/v2/shop/anonymous/manifests/1.0.0" if asked.header("authorization") == "Bearer anyone" => says(200, &[], ""),
            "/v2/shop/anonymous/manifests/1.0.0" => {
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"repository:shop/anonymous:pull\"");
                says(401, &[("www-authenticate", &challenge)], "")
            }
            "/token?service=test&scope=repository:shop/anonymous:pull" => says(200, &[], r#"{"token": "anyone"}"#),
            "/v2/shop/closed/manifests/1.0.0" => says(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
            "/echo" => {
                let said = format!("{} {}", asked.header("x-token"), asked.header("x-file"));
                assert_eq!(said, "PLANTED7f3a-ssm PLANTED7f3a-file");
                says(200, &[("x-said", &said)], said.clone())
            }
            "/charts/index.yaml" => says(200, &[], "apiVersion: v1\nentries:\n  redis:\n    - {name: redis, version: 1.2.3}\n"),
            path if path.starts_with("/private.git/info/refs") && asked.header("authorization") == basic => {
                says(200, &[("content-type", "application/x-git-upload-pack-advertisement")], refs.clone())
            }
            path if path.starts_with("/private.git/") => says(401, &[("www-authenticate", "Basic realm=\"git\"")], ""),
            _ => return None,
        })
    })
    .await
}

/// A resolver that knows the name servers of one zone.
async fn resolver(servers: &'static [&'static str]) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let mut answer = question[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = u8::try_from(servers.len()).unwrap();
            for server in servers {
                let mut name: Vec<u8> = Vec::new();
                for label in server.split('.') {
                    name.push(u8::try_from(label.len()).unwrap());
                    name.extend(label.bytes());
                }
                name.push(0);
                answer.extend([0xC0, 12, 0, 2, 0, 1, 0, 0, 0, 60, 0, u8::try_from(name.len()).unwrap()]);
                answer.extend(name);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

fn deployment(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec: {{containers: [{{name: a, image: '{image}'}}]}}\n"
    )
}

const CLOUD: &str = "apiVersion: s3.services.k8s.aws/v1alpha1
kind: Bucket
metadata: {name: taken, namespace: infra}
spec: {name: taken-by-others}
---
apiVersion: s3.services.k8s.aws/v1alpha1
kind: Bucket
metadata: {name: free, namespace: infra}
spec: {name: tests-free}
---
apiVersion: secretsmanager.services.k8s.aws/v1alpha1
kind: Secret
metadata: {name: going, namespace: infra}
spec: {name: going}
---
apiVersion: ec2.services.k8s.aws/v1alpha1
kind: VPC
metadata: {name: main, namespace: infra}
spec: {cidrBlocks: [10.0.0.0/16]}
---
apiVersion: route53.services.k8s.aws/v1alpha1
kind: HostedZone
metadata: {name: shop, namespace: infra}
spec: {name: shop.example.}
---
apiVersion: sqs.services.k8s.aws/v1alpha1
kind: Queue
metadata: {name: orders, namespace: infra}
spec: {queueName: orders}
";

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_checked_and_told_with_a_fix() {
    let Some(account) = Account::open(1).await else { return };
    account.cloud.secretsmanager().create_secret().name("going").secret_string("x").send().await.unwrap();
    account.cloud.secretsmanager().delete_secret().secret_id("going").send().await.unwrap();
    account
        .cloud
        .ssm()
        .put_parameter()
        .name("/git/token")
        .value("right-token")
        .r#type(aws_sdk_ssm::types::ParameterType::SecureString)
        .send()
        .await
        .unwrap();
    account.edge.take_calls();
    let front = serve(Some(&account.edge.endpoint()), iam("ec2:CreateVpc")).await;
    let git = tempfile::tempdir().unwrap();
    assert!(Command::new("git").args(["init", "--quiet", "--bare"]).arg(git.path()).status().unwrap().success());
    let registry = registry(git.path(), "right-token").await;
    let host = registry.trim_start_matches("http://").to_owned();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let secrets = "  secrets:
    - {namespace: flux-system, name: git, key: username, from: {env: GIT_USER}}
    - {namespace: flux-system, name: git, key: password, from: {ssm: /git/token}}
    - {namespace: flux-system, name: pull, key: .dockerconfigjson, from: {file: .git/pull.json}}
    - {namespace: flux-system, name: gone, key: token, from: {env: BLACKSTART_TEST_NOT_SET}}
    - {namespace: flux-system, name: gone, key: other, from: {secretsManager: never-made}}
";
    let environment = Environment::new(CLOUD, &secrets.replace("{env: GIT_USER}", "{file: .git/user}"));
    std::fs::write(environment.path().join(".git/user"), "flux").unwrap();
    std::fs::write(environment.path().join(".git/pull.json"), "right-token, which is no JSON").unwrap();
    let images = [("ok", "shop/api"), ("anonymous", "shop/anonymous"), ("missing", "shop/missing"), ("closed", "shop/closed")];
    let mut apps: String = images.iter().map(|(name, image)| deployment(name, &format!("{host}/{image}:1.0.0"))).collect();
    apps += &deployment("dead", &format!("{dead}/a:1"));
    for (name, chart, version, url) in [
        ("redis", "redis", "1.2.3", format!("{registry}/charts")),
        ("newer", "redis", "2.0.0", format!("{registry}/charts")),
        ("podinfo", "podinfo", "6.5.0", format!("oci://{host}/charts")),
    ] {
        apps += &format!(
            "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {{name: {name}, namespace: default}}\nspec: {{url: '{url}', interval: 1h}}\n---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  interval: 1h\n  chart: {{spec: {{chart: {chart}, version: {version}, sourceRef: {{kind: HelmRepository, name: {name}}}}}}}\n"
        );
    }
    apps += &format!(
        "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: private, namespace: flux-system}}\nspec: {{url: '{registry}/private.git', interval: 1m, secretRef: {{name: git}}}}\n"
    );
    std::fs::write(environment.path().join("apps/one/more.yaml"), &apps).unwrap();
    environment.manifests(CLOUD);
    let resolver = resolver(&["ns9.old.example"]).await.to_string();
    let said = environment.run(&front, None, &["preflight", "--resolver", &resolver, "-o", "json"]).await;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    is(&said, "account", "123456789012 eu-west-1", "ok", "belong to it");
    is(&said, "account", "clock", "ok", "");
    is(&said, "permissions", "ec2:CreateVpc", "blocker", "VPC infra/main needs it allow user ops ec2:CreateVpc");
    is(&said, "permissions", "user ops", "ok", "permissions that the plan needs are granted");
    is(&said, "quotas", "VPCs", "ok", "1 to be made, 5 allowed by default");
    is(&said, "names", "taken-by-others", "blocker", "belongs to another account");
    is(&said, "names", "tests-free", "ok", "free");
    is(&said, "names", "Secret going", "ok", "takes it back");
    is(&said, "names", "1 queue", "not-checked", "60 s");
    is(&said, "dns", "shop.example", "warning", "ns9.old.example");
    is(&said, "images", "shop/api", "ok", "");
    is(&said, "images", "shop/anonymous", "ok", "");
    is(&said, "images", "shop/missing", "blocker", "does not have it");
    is(&said, "images", "shop/closed", "warning", "brings no credentials");
    is(&said, "images", &format!("{dead}/a"), "not-checked", "cannot be reached");
    is(&said, "charts", "redis 1.2.3", "ok", "");
    is(&said, "charts", "redis 2.0.0", "blocker", "not this one");
    is(&said, "charts", "podinfo:6.5.0", "ok", "");
    is(&said, "secrets", "Secret flux-system/git, key password", "ok", "Systems Manager");
    is(&said, "secrets", ".dockerconfigjson", "blocker", "is no JSON with `auths`");
    is(&said, "secrets", "Secret flux-system/gone, key token", "blocker", "is not set");
    is(&said, "secrets", "Secret flux-system/gone, key other", "blocker", "cannot be had");
    is(&said, "source", "GitRepository/flux-system/private", "ok", "reads");
    is(&said, "tools", "git", "ok", ".");
    assert!(!said.out.contains("right-token") && !said.err.contains("right-token"), "no value is shown");
    assert_eq!(account.writes(), [""; 0], "nothing is written");

    // Another password in the same place: the agent would be refused, whatever the user's own git could do.
    account.cloud.ssm().put_parameter().name("/git/token").value("old-token").overwrite(true).send().await.unwrap();
    account.edge.take_calls();
    let human = environment.run(&front, None, &["preflight", "--resolver", &resolver]).await;
    human.has(&["password or token of Secret flux-system/git does not read it", "fix: renew it", "blockers", "not checked"], 1);

    // A run stops for what stands against it, and leaves images to itself.
    let run = environment.run(&front, None, &["recover"]).await;
    run.has(&["nothing was written"], 1);
    assert_eq!(account.writes(), [""; 0], "{}", run.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_used_hides_nothing_else() {
    let environment = Environment::new(CLOUD, "");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = environment.run(&format!("http://{dead}"), None, &["preflight", "-o", "json"]).await;
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    is(&said, "account", "123456789012", "blocker", "sts GetCallerIdentity");
    is(&said, "tools", "git", "ok", "");
    is(&said, "repository", "plan", "ok", "6 cloud resources");
}

/// What a kind calls to be made is what `preflight` asks permission for.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_of_a_kind_are_those_of_its_calls() {
    let mut missing = BTreeSet::new();
    // REST services are recorded by path; their operations have no names to compare.
    for file in ["ec2", "ecr", "eks", "elbv2", "iam", "kms", "dynamodb", "logs", "rds", "secretsmanager", "sns", "sqs"] {
        let resources = manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/aws/{file}.yaml")));
        let Some(account) = Account::open(1).await else { return };
        let all = declared(&resources);
        account.edge.take_calls();
        assert!(account.run(&all).await.success, "{file}");
        let needs = needed(all.iter().map(|one| Planned::new(one, Action::Create)), &TABLE, account.cloud.place());
        let told: BTreeSet<String> = needs.into_keys().map(|need| need.action).collect();
        let called: BTreeSet<String> = account
            .edge
            .take_calls()
            .into_iter()
            .filter(|call| call.operation != "GetCallerIdentity" && !call.operation.contains(' '))
            .map(|call| format!("{}:{}", call.service, call.operation))
            .collect();
        missing.extend(called.into_iter().filter(|call| !told.contains(call)));
    }
    assert!(missing.is_empty(), "src/aws/permissions.rs does not name {missing:?}");
}
