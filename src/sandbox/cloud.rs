//! AWS in the sandbox: moto, a process on the loopback, behind an edge of our own. A stand-in: it keeps what is made in memory.

use super::components;
use super::control_plane::Places;
use super::edge::{ApiServer, Edge};
use super::process::Launch;
use super::state::{CloudState, write_private};
use super::{Held, Options, SandboxError};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long it may take to answer for the first time; Python reads its packages from a cold disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// AWS of a sandbox.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// Its account, twelve digits.
    pub account: String,
    /// Seconds here for one in AWS; 0: at once.
    pub time_scale: f64,
    /// Of the faults' dice.
    pub seed: u64,
}

impl Default for CloudOptions {
    /// A minute is a second.
    fn default() -> Self {
        Self { account: "123456789012".to_owned(), time_scale: 1.0 / 60.0, seed: 1 }
    }
}

/// Keys for what speaks to the sandbox's AWS; known to its owner alone, for its clusters believe them.
#[derive(Clone)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What moto is started with.
struct Program {
    python: PathBuf,
    args: [String; 6],
    env: Vec<(&'static str, String)>,
    port: u16,
}

impl Program {
    fn find(account: &str) -> Result<Self, SandboxError> {
        let packages = components::need("moto")?;
        let python = components::provided("python3").ok_or(SandboxError::NoPython)?;
        let port = super::free_port()?;
        let args = ["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let env = vec![
            ("PYTHONPATH", packages.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("MOTO_ACCOUNT_ID", account.to_owned()),
            ("MOTO_IAM_LOAD_MANAGED_POLICIES", "true".to_owned()),
            ("MOTO_EC2_LOAD_DEFAULT_AMIS", "false".to_owned()),
        ];
        Ok(Self { python, args, env, port })
    }
}

/// moto as a component of a sandbox, and its port.
fn moto(places: &Places<'_>, account: &str) -> Result<(Launch, u16), SandboxError> {
    let program = Program::find(account)?;
    let mut launch = places.launch("moto", program.python, program.args.to_vec());
    launch.env.extend(program.env);
    Ok((launch, program.port))
}

/// The edge of a sandbox in front of moto, and what others need to reach it: keys for people, a webhook's address for kube-apiserver.
async fn edge(options: &CloudOptions, region: &str, port: u16, private: &Path) -> Result<(Edge, CloudState), SandboxError> {
    let edge = Edge::start(&format!("http://127.0.0.1:{port}"), options.seed).await?;
    edge.set_time_scale(options.time_scale);
    let state = CloudState {
        endpoint: edge.endpoint(),
        account: options.account.clone(),
        region: region.to_owned(),
        credentials: private.join("aws-credentials"),
        control: edge.control().address().to_owned(),
    };
    let keys = edge.keys();
    let webhook = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "edge",
        "clusters": [{"name": "edge", "cluster": {"server": edge.control().token_review()}}],
        "contexts": [{"name": "edge", "context": {"cluster": "edge", "user": "kube-apiserver"}}],
        "users": [{"name": "kube-apiserver"}],
    });
    for (file, text) in [
        (state.credentials.clone(), format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", keys.id, keys.secret)),
        (private.join(WEBHOOK), webhook.to_string()),
    ] {
        write_private(&file, text.as_bytes()).map_err(|source| SandboxError::Io { what: file.display().to_string(), source })?;
    }
    Ok((edge, state))
}

/// In the private folder: where kube-apiserver asks about tokens.
pub(super) const WEBHOOK: &str = "token-webhook.json";

/// The sandbox's own API server, as its EKS clusters tell it.
fn api_server(port: u16, private: &Path) -> Result<ApiServer, SandboxError> {
    use base64::Engine as _;
    let file = private.join("ca.crt");
    let authority = std::fs::read(&file).map_err(|source| SandboxError::Io { what: file.display().to_string(), source })?;
    let authority = base64::engine::general_purpose::STANDARD.encode(authority);
    Ok(ApiServer { endpoint: format!("https://127.0.0.1:{port}"), authority })
}

impl Held {
    /// moto, which starts beside the control plane, and the edge before it.
    pub(super) async fn start_cloud(&mut self, options: &Options) -> Result<Option<Edge>, SandboxError> {
        let Some(cloud) = &options.cloud else { return Ok(None) };
        let (private, logs, stages) = (self.state.private.clone(), self.folder.join("logs"), self.stages.clone());
        let (launch, port) = moto(&Places { private: &private, logs: &logs, stages: &stages }, &cloud.account)?;
        let (edge, state) = edge(cloud, options.region.as_deref().unwrap_or(super::REGION), port, &private).await?;
        self.state.cloud = Some(state);
        self.launch(launch, Some(port)).await?;
        Ok(Some(edge))
    }

    /// Waits for moto, and tells EKS where its clusters lead to.
    pub(super) async fn await_cloud(&self, edge: &Edge) -> Result<(), SandboxError> {
        let port = |name: &str| self.state.components.iter().find(|component| component.name == name).and_then(|component| component.port);
        if let Some(port) = port("kube-apiserver") {
            edge.set_api_server(api_server(port, &self.state.private)?);
        }
        tokio::select! {
            () = answering(port("moto").unwrap_or_default()) => Ok(()),
            error = self.any_failed() => Err(error),
            () = tokio::time::sleep(PATIENCE) => Err(self.late("moto", "moto")),
        }
    }
}

/// Waits until moto answers; bounded by who calls.
async fn answering(port: u16) {
    let mut pause = Duration::from_millis(20);
    while !answers(port).await {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET /moto-api/ HTTP/1.0\r\n\r\n").await.ok()?;
        let mut first = [0; 5];
        stream.read_exact(&mut first).await.ok()?;
        Some(&first == b"HTTP/")
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.ok().flatten().unwrap_or_default()
}

/// A running moto without a sandbox; ends with its owner.
#[derive(Debug)]
pub struct Moto {
    _child: Child,
    port: u16,
}

impl Moto {
    /// Starts one on a free port and waits until it answers. Its output goes to a file in `logs`.
    pub async fn start(logs: &Path, account: &str) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io { what: "moto".to_owned(), source };
        let program = Program::find(account)?;
        let log = std::fs::File::create(logs.join("moto.log")).map_err(failed)?;
        let mut child = Command::new(program.python)
            .args(program.args)
            .envs(program.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let late = Instant::now() + PATIENCE;
        let error = tokio::select! {
            () = answering(program.port) => return Ok(Self { _child: child, port: program.port }),
            status = child.wait() => format!("it ended: {}; see {}", status.map_err(failed)?, logs.join("moto.log").display()),
            () = tokio::time::sleep_until(late) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Err(failed(std::io::Error::other(error)))
    }

    /// Where all services answer.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
