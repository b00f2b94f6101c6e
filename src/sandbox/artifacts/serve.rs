//! A small HTTP/1.1 server for artifacts: GET and HEAD on 127.0.0.1, below a path that only this sandbox knows.

use super::super::SandboxError;
use super::super::state::random;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Files = Arc<RwLock<HashMap<String, Arc<[u8]>>>>;

/// What is served.
#[derive(Clone)]
pub(super) struct Server {
    base: String,
    port: u16,
    secret: String,
    files: Files,
    outage: Outage,
}

/// Whether it is away, and how many have asked in vain.
#[derive(Clone, Default)]
struct Outage(Arc<(AtomicBool, AtomicUsize)>);

impl Outage {
    /// Counts one who asks in vain; false where it is not away.
    fn refuses(&self) -> bool {
        let is_away = self.0.0.load(Ordering::SeqCst);
        if is_away {
            self.0.1.fetch_add(1, Ordering::SeqCst);
        }
        is_away
    }
}

impl Server {
    /// Listens on a free port.
    pub(super) async fn start(tasks: &mut JoinSet<()>) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io { what: "artifact server: listen on 127.0.0.1".to_owned(), source };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let secret = random()?;
        let files = Files::default();
        let outage = Outage::default();
        tasks.spawn(accept(listener, files.clone(), outage.clone()));
        Ok(Self { base: format!("http://127.0.0.1:{port}"), port, secret, files, outage })
    }

    /// Whether it hangs up on everybody; tells how many that has met so far.
    pub(super) fn set_away(&self, is_away: bool) -> usize {
        self.outage.0.0.store(is_away, Ordering::SeqCst);
        self.outage.0.1.load(Ordering::SeqCst)
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves bytes under a path; gives the URL.
    pub(super) fn publish(&self, path: &str, bytes: Arc<[u8]>) -> String {
        let path = format!("/{}/{path}", self.secret);
        let url = format!("{}{path}", self.base);
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(path, bytes);
        url
    }
}

async fn accept(listener: TcpListener, files: Files, outage: Outage) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(answer(stream, files.clone(), outage.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers requests until the client closes; a request without end or with too long lines is dropped.
async fn answer(stream: TcpStream, files: Files, outage: Outage) {
    use tokio::io::AsyncReadExt as _;
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            match (&mut stream).take(8192).read_line(&mut line).await {
                Ok(1..) if line.ends_with('\n') => {}
                _ => return,
            }
            if line.trim_end().is_empty() {
                break;
            }
            if request.is_empty() {
                request = line.clone();
            }
        }
        if outage.refuses() {
            return;
        }
        let mut words = request.split_ascii_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let found = files.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let (status, body) = match (method, found) {
            ("GET" | "HEAD", Some(body)) => ("200 OK", body),
            ("GET" | "HEAD", None) => ("404 Not Found", Arc::from(*b"")),
            _ => ("405 Method Not Allowed", Arc::from(*b"")),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).await.is_err()
            || (method == "GET" && stream.write_all(&body).await.is_err())
            || stream.flush().await.is_err()
        {
            return;
        }
    }
}
