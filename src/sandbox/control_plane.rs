//! Command lines of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok.
//!
//! Only kube-apiserver listens on a TCP port, on 127.0.0.1 and for client certificates of this sandbox alone; etcd has sockets in the private
//! folder; the others listen nowhere.

use super::process::Launch;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// First address of the service range: the `kubernetes` Service.
pub(super) const FIRST_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Wide enough for thousands of Services (a /24 is full after 254).
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Where the parts of a sandbox stand.
pub(super) struct Places<'a> {
    /// On tmpfs.
    pub(super) private: &'a Path,
    /// `logs/` in the state folder.
    pub(super) logs: &'a Path,
    /// Files that were copied at install time: kwok's stages.
    pub(super) stages: &'a Path,
}

impl Places<'_> {
    fn private(&self, file: &str) -> String {
        self.private.join(file).display().to_string()
    }

    pub(super) fn launch(&self, name: &'static str, program: PathBuf, args: Vec<String>) -> Launch {
        // Everything that a component writes for itself stays in the private folder.
        let env = vec![("HOME", self.private("home")), ("TMPDIR", self.private("tmp"))];
        Launch { name, program, args, env, folder: self.private.to_owned(), log: self.logs.join(format!("{name}.log")) }
    }
}

fn args(list: &[(&str, &str)]) -> Vec<String> {
    list.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

/// etcd without fsync: its data is worth nothing after the sandbox.
pub(super) fn etcd(places: &Places<'_>, program: PathBuf) -> Launch {
    let client = format!("unix://{}", places.private("etcd.sock"));
    // Advertised addresses must look like host:port; as sockets they are files in the working folder, the private one.
    let peer = "unix://peer:1";
    let list = args(&[
        ("data-dir", &places.private("etcd")),
        ("listen-client-urls", &client),
        ("advertise-client-urls", "unix://client:1"),
        ("listen-peer-urls", peer),
        ("initial-advertise-peer-urls", peer),
        ("initial-cluster", &format!("default={peer}")),
        ("unsafe-no-fsync", "true"),
        ("quota-backend-bytes", "4294967296"),
        ("log-level", "warn"),
    ]);
    places.launch("etcd", program, list)
}

/// kube-apiserver with the limits that large environments need. With `tokens` it asks the sandbox's AWS who an EKS token belongs to.
pub(super) fn api_server(places: &Places<'_>, program: PathBuf, port: u16, audit: bool, tokens: bool) -> Launch {
    let mut list = args(&[
        ("etcd-servers", &format!("unix://{}", places.private("etcd.sock"))),
        ("bind-address", "127.0.0.1"),
        ("advertise-address", "127.0.0.1"),
        ("secure-port", &port.to_string()),
        // The endpoint of the `kubernetes` Service must not be a loopback address, and no pod here could use it.
        ("endpoint-reconciler-type", "none"),
        ("tls-cert-file", &places.private("server.crt")),
        ("tls-private-key-file", &places.private("server.key")),
        ("client-ca-file", &places.private("ca.crt")),
        ("anonymous-auth", "false"),
        ("authorization-mode", "RBAC"),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-account-key-file", &places.private("accounts.pub")),
        ("service-account-signing-key-file", &places.private("accounts.key")),
        ("service-cluster-ip-range", SERVICE_RANGE),
        ("allow-privileged", "true"),
        // Real repositories use it; a rehearsal lists it as a stand-in where one does.
        ("feature-gates", "HPAScaleToZero=true"),
        ("max-requests-inflight", "2000"),
        ("max-mutating-requests-inflight", "1000"),
        ("profiling", "false"),
    ]);
    if audit {
        list.extend(args(&[
            ("audit-policy-file", &places.private("audit-policy.json")),
            ("audit-log-path", &places.logs.join("audit.jsonl").display().to_string()),
            ("audit-log-format", "json"),
        ]));
    }
    if tokens {
        list.extend(args(&[
            ("authentication-token-webhook-config-file", &places.private(super::cloud::WEBHOOK)),
            ("authentication-token-webhook-version", "v1"),
            // Refusals are kept as long as answers: a role may be let in a moment later.
            ("authentication-token-webhook-cache-ttl", "5s"),
        ]));
    }
    places.launch("kube-apiserver", program, list)
}

/// Policy of the audit log: who did what to which object, without bodies (which may hold secrets).
pub(super) const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],
"rules":[{"level":"None","verbs":["get","list","watch"]},{"level":"Metadata"}]}
"#;

/// kube-controller-manager.
pub(super) fn controller_manager(places: &Places<'_>, program: PathBuf) -> Launch {
    let list = args(&[
        ("kubeconfig", &places.private("kube-controller-manager.kubeconfig")),
        ("service-account-private-key-file", &places.private("accounts.key")),
        ("root-ca-file", &places.private("ca.crt")),
        ("leader-elect", "false"),
        ("secure-port", "0"),
        ("kube-api-qps", "500"),
        ("kube-api-burst", "1000"),
        ("profiling", "false"),
    ]);
    places.launch("kube-controller-manager", program, list)
}

/// kube-scheduler.
pub(super) fn scheduler(places: &Places<'_>, program: PathBuf) -> Launch {
    let list = args(&[
        ("kubeconfig", &places.private("kube-scheduler.kubeconfig")),
        ("leader-elect", "false"),
        ("secure-port", "0"),
        ("kube-api-qps", "500"),
        ("kube-api-burst", "1000"),
        ("profiling", "false"),
    ]);
    places.launch("kube-scheduler", program, list)
}

/// kwok: plays the kubelet of every node. It must hold the nodes' leases, else they turn NotReady after 40 s.
pub(super) fn kwok(places: &Places<'_>, program: PathBuf) -> Launch {
    let list = args(&[
        ("kubeconfig", &places.private("kwok.kubeconfig")),
        ("config", &places.stages.display().to_string()),
        ("manage-all-nodes", "true"),
        ("node-lease-duration-seconds", "40"),
    ]);
    places.launch("kwok", program, list)
}

/// A controller of Flux. `flags` come last and win.
pub(super) fn agent(places: &Places<'_>, name: &'static str, program: PathBuf, flags: &[String]) -> Launch {
    let mut list = args(&[("health-addr", "127.0.0.1:0"), ("metrics-addr", "127.0.0.1:0")]);
    list.extend_from_slice(flags);
    let mut launch = places.launch(name, program, list);
    launch.env.push(("RUNTIME_NAMESPACE", "flux-system".to_owned()));
    launch.env.push(("KUBECONFIG", places.private(&format!("{name}.kubeconfig"))));
    launch
}
