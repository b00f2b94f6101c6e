//! AWS in the sandbox: moto, a process on the loopback. A stand-in: it keeps what is made in memory and knows no delays.

use super::SandboxError;
use super::components;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// How long it may take to answer for the first time; Python reads its packages from a cold disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running moto; ends with its owner.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// Starts one on a free port and waits until it answers. Its output goes to a file in `logs`.
    pub async fn start(logs: &Path, account: &str) -> Result<Self, SandboxError> {
        let packages = components::need("moto")?;
        let failed = |source| SandboxError::Io { what: "moto".to_owned(), source };
        let python = components::provided("python3").ok_or(SandboxError::NoPython)?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map_err(failed)?.port();
        let log = std::fs::File::create(logs.join("moto.log")).map_err(failed)?;
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env("PYTHONPATH", &packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("MOTO_ACCOUNT_ID", account)
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut moto = Self { child, port };
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        while !moto.answers().await {
            let over = moto.child.try_wait().map_err(failed)?.map(|status| format!("it ended: {status}; see {}", logs.join("moto.log").display()));
            let late = (Instant::now() > deadline).then(|| format!("no answer within {} s", PATIENCE.as_secs()));
            if let Some(reason) = over.or(late) {
                return Err(failed(std::io::Error::other(reason)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
        Ok(moto)
    }

    /// Where all services answer.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.write_all(b"GET /moto-api/ HTTP/1.0\r\n\r\n").await.ok()?;
            let mut first = [0; 5];
            stream.read_exact(&mut first).await.ok()?;
            Some(&first == b"HTTP/")
        };
        tokio::time::timeout(Duration::from_secs(5), ask).await.ok().flatten().unwrap_or_default()
    }
}
