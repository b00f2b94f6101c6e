//! `kubeconfig` and `token`: how kubectl, and blackstart itself, reach an EKS cluster without the aws program.

use super::cloud::connect;
use super::{Failure, KubeconfigArgs, TokenArgs};
use crate::aws::token::LIFETIME;
use crate::aws::{Access, Cloud};
use crate::sandbox::Credentials;
use crate::{aws, read};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// `blackstart kubeconfig`.
pub(super) async fn kubeconfig(args: KubeconfigArgs) -> Result<ExitCode, Failure> {
    let environment = read::environment(&args.path, args.environment.as_deref(), args.region.as_deref())?;
    let name = environment.spec.cluster.as_ref().and_then(|cluster| cluster.eks.clone()).ok_or_else(|| {
        Failure::new("spec.cluster names no EKS cluster").hint("add spec.cluster: {eks: {name: NAME}} to blackstart.yaml")
    })?;
    let access = super::cloud::access(&environment);
    let cloud = connect(&access).await?;
    let config = of_eks(&cloud, &access, &name).await?;
    write(&serde_json::to_string_pretty(&config).unwrap_or_default(), args.output.as_deref())
}

/// `blackstart token`: an ExecCredential, as kubectl asks for it.
pub(super) async fn token(args: TokenArgs) -> Result<ExitCode, Failure> {
    let access = Access { account: None, region: args.region, ..Access::default() };
    let cloud = connect(&access).await?;
    let token = cloud.token(&args.cluster).await.map_err(|error| Failure::new(format!("cluster {}: no token: {error}", args.cluster)))?;
    let ends = jiff::Timestamp::now() + LIFETIME;
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": token, "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()},
    });
    write(&credential.to_string(), None)
}

/// A kubeconfig for an EKS cluster; whoever uses it asks this program for a token each time.
pub(super) async fn of_eks(cloud: &Cloud, access: &Access, name: &str) -> Result<Value, Failure> {
    let failed = |why: String| Failure::new(format!("cluster {name}: cannot be reached: {why}"));
    let found = cloud.eks().describe_cluster().name(name).send().await;
    let found = found.map_err(|error| failed(aws::CloudError::new("eks DescribeCluster", &error).to_string()))?;
    let cluster = found.cluster().ok_or_else(|| failed("EKS does not describe it".to_owned()))?;
    let (Some(endpoint), Some(authority)) = (cluster.endpoint(), cluster.certificate_authority().and_then(|ca| ca.data())) else {
        let state = cluster.status().map_or("unknown", |status| status.as_str());
        return Err(failed(format!("it has no endpoint yet; its state is {state}")));
    };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut words = vec!["token".to_owned(), "--cluster".to_owned(), name.to_owned()];
    words.extend(access.region.iter().flat_map(|region| ["--region".to_owned(), region.clone()]));
    Ok(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": program, "args": words, "interactiveMode": "Never",
        }}}],
    }))
}

/// The same for the EKS of a sandbox: the token is asked for and signed there. Nothing of it stands on a disk.
pub(super) fn in_sandbox(config: &mut Value, endpoint: &str, keys: &Credentials) {
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", &keys.id),
        ("AWS_SECRET_ACCESS_KEY", &keys.secret),
        // The user's own would belong to other keys.
        ("AWS_SESSION_TOKEN", ""),
    ];
    if let Some(exec) = config.pointer_mut("/users/0/user/exec") {
        exec["env"] = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    }
}

fn write(text: &str, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::new("the kubeconfig cannot be written").because(&error).code(3);
    match file {
        Some(file) => std::fs::write(file, format!("{text}\n")).map_err(failed)?,
        None => writeln!(anstream::stdout().lock(), "{text}").map_err(failed)?,
    }
    Ok(ExitCode::SUCCESS)
}
