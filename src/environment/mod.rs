//! blackstart.yaml: what Git does not already say about an environment. Text in, types out, or all that is wrong with it at once.
//! Pure: reads no file, resolves no secret.

pub mod check;
mod parse;
pub mod region;

pub use parse::parse;

use crate::layers::outputs::Output;
use crate::problem::Origin;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// `metadata.name`; empty where no file says it.
    pub name: String,
    /// What it says.
    pub spec: Spec,
    /// The file that it was read from, as people write it; none for a default.
    pub file: Option<String>,
    /// Folder of that file, which relative paths in `secrets` start at.
    pub base: PathBuf,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The account and region that may be touched.
    pub aws: Option<Aws>,
    /// Folders that are built before the cluster exists.
    pub infrastructure: Vec<Infrastructure>,
    /// Programs of other provisioners, from the same list.
    pub commands: Vec<Command>,
    /// How the cluster is reached; the user's own kubeconfig where absent.
    pub cluster: Option<Cluster>,
    /// The agent.
    pub agent: Agent,
    /// ConfigMaps and Secrets that something outside Git makes, for `postBuild.substituteFrom`.
    pub variables: Vec<Variables>,
    /// The same with values that are known only when something is made.
    pub outputs: Vec<Outputs>,
    /// What Git must not hold.
    pub secrets: Vec<Secret>,
    /// A rule for each claim, table or database.
    pub restore: Vec<Restore>,
    /// What must answer when all is up.
    pub checks: Vec<check::Check>,
    /// Findings of `verify` that are known and accepted.
    pub accept: Vec<Accept>,
    /// `git.verify`: whose signatures commits must carry; anybody's where absent.
    pub verify: Option<Verify>,
}

/// `spec.git.verify`. Files: `~/` is the home folder, a relative path starts at the environment's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verify {
    /// Allowed signers of SSH, in the format of ssh-keygen(1).
    pub allowed_signers: Option<String>,
    /// Armoured OpenPGP public keys.
    pub openpgp_keys: Vec<String>,
    /// A trusted commit: all that follow it must be signed; without one, the commit that is read.
    pub since: Option<String>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// `spec.aws`.
#[derive(Clone, Debug, PartialEq)]
pub struct Aws {
    /// Twelve digits.
    pub account_id: String,
    /// Such as `eu-west-1`.
    pub region: String,
    /// Who makes what stands in layers.
    pub above: Above,
    /// ARN of a role that is assumed with the credentials at hand.
    pub assume_role: Option<String>,
    /// Other regions that it may come back in, and what is other there.
    pub regions: BTreeMap<String, region::Elsewhere>,
}

/// `spec.aws.above`: who makes the AWS resources that layers hold and that the cluster does not need below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Above {
    /// ACK's controllers in the cluster.
    #[default]
    Controllers,
    /// blackstart, at the same time as the cluster; the controllers get them with their IDs.
    Direct,
}

/// One entry of `spec.infrastructure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infrastructure {
    /// Folder, from the root of the repository.
    pub path: String,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// One `command` of `spec.infrastructure`: Terraform, eksctl, a script. Programs with their arguments, never a shell's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: String,
    /// Makes or changes it.
    pub run: Vec<String>,
    /// Says by its exit code whether it is there.
    pub check: Vec<String>,
    /// What the exit codes of `check` mean; any other is an error.
    pub codes: Codes,
    /// Prints what others may use of it, as a JSON object.
    pub outputs: Option<Vec<String>>,
    /// Longest that each program may take.
    pub timeout: Duration,
    /// Environment variables beside our own.
    pub env: BTreeMap<String, Given>,
    /// What comes before it.
    pub after: Vec<After>,
    /// Where it runs: from the root of the repository as it is written, a folder of the working tree once it is read.
    pub folder: PathBuf,
    /// Where it stands.
    pub origin: Option<Origin>,
}

impl Command {
    /// Id of its node.
    pub fn node(&self) -> String {
        format!("command/{}", self.name)
    }
}

/// Meaning of the exit codes of a `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// It is there, as declared.
    pub present: Option<i32>,
    /// It is not there.
    pub absent: Option<i32>,
    /// It is there, other than declared.
    pub differs: Option<i32>,
}

impl Default for Codes {
    fn default() -> Self {
        Self { present: Some(0), absent: Some(1), differs: Some(2) }
    }
}

/// The value of an environment variable of a command, or of a header of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// In clear.
    Text(String),
    /// From elsewhere; never shown.
    Secret(SecretSource),
}

/// A node that something waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Its id: `aws/ec2/VPC/ack-system/shop`, `command/dns`.
    pub node: String,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// One ConfigMap or Secret of `spec.outputs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Variables: whose value each is, and where that stands.
    pub data: BTreeMap<String, (Output, Option<Origin>)>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// `spec.cluster`: an EKS cluster by name, or a kubeconfig and context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Name of an EKS cluster.
    pub eks: Option<String>,
    /// Kubeconfig; the user's own where absent.
    pub kubeconfig: Option<PathBuf>,
    /// Where a kubeconfig appears when the cluster is up.
    pub from: Option<SecretSource>,
    /// How long that is waited for.
    pub timeout: Option<Duration>,
    /// What the cluster consists of, where no manifest says so.
    pub after: Vec<After>,
    /// Context; the current one where absent.
    pub context: Option<String>,
}

/// `spec.agent`: `flux` or `argocd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Folder or file with the agent's own manifests, from the root of the repository.
    pub components: Option<String>,
    /// Folder that the agent starts from; for Argo CD a folder or file with its root Applications.
    pub entrypoint: Option<String>,
    /// Argo CD instead of Flux.
    pub argocd: Option<ArgoCd>,
}

/// `spec.agent.argocd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgoCd {
    /// Its namespace; `argocd` where absent.
    pub namespace: Option<String>,
    /// How Applications name its cluster as their destination, where that is not the usual way.
    pub server: Option<String>,
    /// The root Application, where something outside Git makes it.
    pub root: Option<Root>,
}

/// `spec.agent.argocd.root`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Name.
    pub name: String,
    /// URL of the repository, as the Applications name it.
    pub repo_url: Option<String>,
    /// Branch, tag or commit, as the Applications name it.
    pub target_revision: Option<String>,
    /// Folder: a chart, a kustomization or plain files.
    pub path: String,
    /// Values of a chart.
    pub values: Value,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// One ConfigMap or Secret with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Variables.
    pub data: BTreeMap<String, String>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// One Secret that is written before the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Key in `data`.
    pub key: String,
    /// Where its value comes from.
    pub from: SecretSource,
    /// Type of the whole Secret; `Opaque` where absent.
    pub r#type: Option<String>,
    /// Labels of the whole Secret.
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// Where a secret value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// A file; `~/` is the home folder, a relative path starts at the environment's file.
    File(String),
    /// An environment variable.
    Env(String),
    /// Standard output of a program: program and arguments, no shell.
    Command(Vec<String>),
    /// AWS Secrets Manager: name or ARN.
    SecretsManager(String),
    /// AWS Systems Manager parameter.
    Ssm(String),
}

/// One entry of `spec.restore`.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// kind, namespace, name.
    pub matching: Value,
    /// What to do.
    pub rule: RestoreRule,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// One entry of `spec.accept`: what is not given matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Id of the rule.
    pub rule: String,
    /// `namespace/name` of the layer.
    pub layer: Option<String>,
    /// The file that the finding is in.
    pub file: Option<String>,
    /// Kind of the object.
    pub kind: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub origin: Option<Origin>,
}

/// What becomes of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreRule {
    /// Without a backup the run stops.
    Required,
    /// The newest backup, or empty.
    Newest,
    /// The backup of a time.
    At(String),
    /// Starts empty.
    Empty,
}

impl SecretSource {
    /// As people call the place.
    pub fn words(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Env(name) => format!("environment variable {name}"),
            Self::Command(words) => format!("program {}", words.first().map_or("", String::as_str)),
            Self::SecretsManager(name) => format!("Secrets Manager ({name})"),
            Self::Ssm(name) => format!("Systems Manager ({name})"),
        }
    }

    /// Whether AWS is asked for it.
    pub fn is_in_aws(&self) -> bool {
        matches!(self, Self::SecretsManager(_) | Self::Ssm(_))
    }
}

impl Environment {
    /// An environment of which nothing is known but its name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}
