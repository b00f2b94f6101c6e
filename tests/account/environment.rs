//! A repository with an environment in it, and the real program with credentials for the test's account.

use super::{ACCOUNT, ENVIRONMENT};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://example.com/fleet', interval: 1m}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";
const LAYER: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: one, namespace: flux-system}
spec: {path: ./apps/one, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";
const APP: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: default}
data: {key: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: default}
data: {key: x}
";

pub(crate) struct Environment {
    folder: tempfile::TempDir,
}

/// What the program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Said {
    #[track_caller]
    pub(crate) fn has(&self, parts: &[&str], code: i32) -> &Self {
        for part in parts {
            assert!(self.out.contains(part) || self.err.contains(part), "`{part}` is not in:\n{}{}", self.out, self.err);
        }
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

impl Environment {
    /// An environment of the test's account and of one layer; `more` are further lines of `spec`.
    pub(crate) fn new(manifests: &str, more: &str) -> Self {
        let aws = format!("{{accountID: \"{ACCOUNT}\", region: eu-west-1}}");
        let environment = Self { folder: tempfile::tempdir().unwrap() };
        environment.write("clusters/a/flux-system/gotk-sync.yaml", SYNC);
        environment.write("clusters/a/one.yaml", LAYER);
        environment.write("apps/one/all.yaml", APP);
        environment.settings(&aws, more);
        environment.manifests(manifests);
        environment
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Another blackstart.yaml.
    pub(crate) fn settings(&self, aws: &str, more: &str) {
        let head = format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: {ENVIRONMENT}}}\nspec:\n  aws: {aws}\n");
        self.write("blackstart.yaml", &format!("{head}  infrastructure: [{{path: infra}}]\n{more}"));
        self.commit();
    }

    /// Other manifests, in infra/all.yaml.
    pub(crate) fn manifests(&self, manifests: &str) {
        self.write("infra/all.yaml", manifests);
        self.commit();
    }

    fn commit(&self) {
        let git = git2::Repository::init(self.folder.path()).unwrap();
        let mut index = git.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.write().unwrap();
        let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::now("t", "t@example.com").unwrap();
        let parent = git.head().ok().and_then(|head| head.peel_to_commit().ok());
        git.commit(Some("HEAD"), &who, &who, "change", &tree, &parent.iter().collect::<Vec<_>>()).unwrap();
    }

    /// Runs the program; where there is no kubeconfig, no cluster is reachable.
    pub(crate) async fn run(&self, endpoint: &str, kubeconfig: Option<&Path>, arguments: &[&str]) -> Said {
        let mut command = self.command(endpoint, kubeconfig, arguments);
        // The edge answers from this process: it must go on while the program runs.
        let output: Output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        Said { out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap(), code: output.status.code() }
    }

    /// The same, not yet started.
    pub(crate) fn command(&self, endpoint: &str, kubeconfig: Option<&Path>, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().unwrap();
        let kubeconfig = kubeconfig.map_or_else(|| PathBuf::from("/nonexistent/kubeconfig"), Path::to_path_buf);
        let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
        command.arg(verb).arg(self.path()).args(rest).env_clear();
        for name in ["PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            // The agent's remote is this very repository, and runs note their create calls beside it.
            .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_VALUE_0", "https://example.com/fleet")])
            .env("GIT_CONFIG_KEY_0", format!("url.{}.insteadOf", self.path().display()))
            .env("XDG_STATE_HOME", self.path().join(".git/state"))
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            // blackstart.yaml says which region, not the user's shell.
            .env("AWS_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null());
        command
    }
}
