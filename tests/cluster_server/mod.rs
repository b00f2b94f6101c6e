//! A real API server for tests: etcd and kube-apiserver on free loopback ports, in a folder of their own, gone with the last user.

#![allow(dead_code, reason = "each test file uses its own part")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());

pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    apiserver: Child,
    etcd: Child,
}

/// The server, started by the first test that asks; none (with a printed line) where the components are not built.
pub(crate) fn server() -> Option<Arc<Server>> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Some(server);
    }
    let (Some(etcd), Some(apiserver)) = (component("etcd"), component("kube-apiserver")) else {
        println!("skipped: etcd and kube-apiserver are not in KUBEBUILDER_ASSETS, the cache folder or on PATH");
        return None;
    };
    let server = Arc::new(Server::start(&etcd, &apiserver));
    *running = Arc::downgrade(&server);
    Some(server)
}

/// One more, of the caller's own.
pub(crate) fn another() -> Option<Server> {
    Some(Server::start(&component("etcd")?, &component("kube-apiserver")?))
}

fn component(name: &str) -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).into_iter().collect();
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    if let Ok(folders) = std::fs::read_dir(cache.join("blackstart/components")) {
        let versions = folders.flatten().map(|folder| folder.path());
        places.extend(versions.filter(|folder| {
            let folder = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folder.strip_prefix(name).is_some_and(|rest| rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        }));
    }
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    places.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Server {
    fn start(etcd: &Path, apiserver: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(at("ca.crt"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        std::fs::write(at("server.crt"), leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem()).unwrap();
        std::fs::write(at("server.key"), key.serialize_pem()).unwrap();
        std::fs::write(at("accounts.pub"), key.public_key_pem()).unwrap();
        std::fs::write(at("tokens.csv"), "admin-token,admin,1,system:masters\nbob-token,bob,2\n").unwrap();

        let [client, peer, port] = free_ports();
        let log = |name: &str| Stdio::from(std::fs::File::create(at(name)).unwrap());
        let etcd_url = format!("http://127.0.0.1:{client}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let etcd = Command::new(etcd)
            .args(["--name=t", "--unsafe-no-fsync", "--data-dir"])
            .arg(at("etcd"))
            .args([format!("--listen-client-urls={etcd_url}"), format!("--advertise-client-urls={etcd_url}")])
            .args([
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=t={peer_url}"),
            ])
            .stdout(log("etcd.log"))
            .stderr(log("etcd.err"))
            .spawn()
            .unwrap();
        let file = |flag: &str, name: &str| format!("--{flag}={}", at(name).display());
        let apiserver = Command::new(apiserver)
            .args([
                format!("--etcd-servers={etcd_url}"),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--service-account-issuer=https://localhost".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                file("tls-cert-file", "server.crt"),
                file("tls-private-key-file", "server.key"),
                file("service-account-key-file", "accounts.pub"),
                file("service-account-signing-key-file", "server.key"),
                file("token-auth-file", "tokens.csv"),
            ])
            .stdout(log("apiserver.log"))
            .stderr(log("apiserver.err"))
            .spawn()
            .unwrap();
        let mut server = Self { folder, port, apiserver, etcd };
        server.await_ready();
        server
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig = self.kubeconfig("ready", "admin-token", self.port);
        runtime.block_on(async {
            loop {
                if TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                    && let Ok(cluster) = blackstart::cluster::Cluster::connect(Some(&kubeconfig), None).await
                    && let Ok(roles) = cluster.list("rbac.authorization.k8s.io/v1", "ClusterRole", None, None).await
                    && roles.iter().any(|role| role["metadata"]["name"] == "system:basic-user")
                    && cluster
                        .list("v1", "Namespace", None, None)
                        .await
                        .is_ok_and(|all| all.iter().any(|namespace| namespace["metadata"]["name"] == "default"))
                {
                    return;
                }
                let log = || std::fs::read_to_string(self.folder.path().join("apiserver.err")).unwrap_or_default();
                let alive = self.apiserver.try_wait().unwrap().is_none();
                assert!(alive && Instant::now() < deadline, "kube-apiserver is not ready:\n{}", log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }

    /// A kubeconfig for a token, through a port.
    pub(crate) fn kubeconfig(&self, name: &str, token: &str, port: u16) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.kubeconfig"));
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, user: {{token: {token}}}}}], \
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]}}",
            self.folder.path().join("ca.crt").display()
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A kubeconfig that trusts nobody in particular.
    pub(crate) fn kubeconfig_without_ca(&self) -> PathBuf {
        let file = self.kubeconfig("no-ca", "admin-token", self.port);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("certificate-authority", "x")).unwrap();
        file
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in [&mut self.apiserver, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ports that are free now; all are held until the last is known.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
