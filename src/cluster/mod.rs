//! The Kubernetes API, as a run needs it: connect, apply as the agent would, read, watch, wait.
//!
//! ```text
//! resource ── ssa::prepare ── Cluster::apply ──→ API server ──→ watch::Watches ── get, subscribe, until
//!             (pure)          (one PATCH)                        (one watch a kind)
//! ```
//!
//! - `ssa` (pure) says what the agent would send, and in which stages.
//! - `http` sends a call and tries again where that can help; kube's own retry is off, since it waits up to 1000 s.
//! - `kinds` knows plural and scope of a kind: by heart, from CRDs that we applied, else asked once per group and version.
//! - `watch` keeps the newest state of the objects that somebody is interested in.
//!
//! It never decides what to apply, never prints, and never deletes on its own.

mod apply;
mod error;
mod http;
mod kinds;
mod objects;
pub mod ssa;
pub mod wait;
pub mod watch;

pub use apply::{Applied, Apply, ApplyResult, Mode};
pub use error::ClusterError;
pub use kinds::ApiKind;
pub use objects::Preconditions;

use self::http::{Call, Subject, chain};
use crate::host::is_loopback;
use ::http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// What the API server's audit log shows of us.
const USER_AGENT: &str = concat!("blackstart/", env!("CARGO_PKG_VERSION"));
/// Requests under way at once over all users of a cluster (watches not counted): an API server on two cores takes about
/// 1,000 applies a second from 4 connections, and no more from any number.
const TURNS: usize = 32;
/// How long a call is tried in a run, unless the caller says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the first call is tried: a wrong kubeconfig must be told soon.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// A handle on one API server. Clones share connections, knowledge of kinds and the bound on requests.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
    user: Option<Arc<str>>,
    patience: Duration,
    listener: Option<Listener>,
}

type Listener = Arc<dyn Fn(&Retry) + Send + Sync>;

struct Inner {
    client: Client,
    server: String,
    version: std::sync::OnceLock<String>,
    kinds: kinds::Kinds,
    horizon: apply::Horizon,
    turns: Semaphore,
}

/// A call that failed and is tried again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The object, or the kind for lists.
    pub object: String,
    /// Verb, as in RBAC.
    pub verb: &'static str,
    /// What failed.
    pub error: String,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When the next one starts.
    pub after: Duration,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("server", &self.inner.server).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects and asks the server for its version, so that an unreachable server or wrong credentials are told here.
    ///
    /// Without a file: `$KUBECONFIG`, `~/.kube/config`, then the credentials of the pod we run in. Without a context: the current one.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ClusterError> {
        let place = match (kubeconfig, context) {
            (Some(file), Some(context)) => format!("{} (context {context})", file.display()),
            (Some(file), None) => file.display().to_string(),
            (None, Some(context)) => format!("(context {context})"),
            (None, None) => "(default)".to_owned(),
        };
        let unusable = |reason: String| ClusterError::Kubeconfig { place: place.clone(), reason };
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file).map_err(|error| unusable(chain(&error)))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await
            }
            None => match Config::from_kubeconfig(&options).await {
                Err(error) if context.is_none() => Config::incluster().map_err(|_| error),
                other => other,
            },
        }
        .map_err(|error| unusable(chain(&error)))?;
        Self::from_config(config, &place).await
    }

    /// The same with a kubeconfig at hand, as JSON.
    pub async fn connect_with(kubeconfig: &serde_json::Value, place: &str) -> Result<Self, ClusterError> {
        let unusable = |reason: String| ClusterError::Kubeconfig { place: place.to_owned(), reason };
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone()).map_err(|error| unusable(error.to_string()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Self::from_config(config.map_err(|error| unusable(chain(&error)))?, place).await
    }

    async fn from_config(config: Config, place: &str) -> Result<Self, ClusterError> {
        let unusable = |reason: String| ClusterError::Kubeconfig { place: place.to_owned(), reason };
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        // An exec plugin runs while the client is built, and may take seconds.
        let client = tokio::task::spawn_blocking(move || client(&config))
            .await
            .map_err(|error| unusable(error.to_string()))?
            .map_err(|error| unusable(chain(&error)))?;
        let inner = Inner {
            client,
            server,
            version: std::sync::OnceLock::new(),
            kinds: kinds::Kinds::default(),
            horizon: apply::Horizon::default(),
            turns: Semaphore::new(TURNS),
        };
        let cluster = Self { inner: Arc::new(inner), user: None, patience: PATIENCE, listener: None };
        match cluster.with_patience(FIRST_PATIENCE).ask_version().await {
            Ok(version) => {
                let _ = cluster.inner.version.set(version);
            }
            // Somebody answers and knows us; what we may do is told by what we do.
            Err(ClusterError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(cluster)
    }

    /// The same server, as another user, such as `system:serviceaccount:flux-system:reconciler`; the server adds the groups of a service account itself.
    #[must_use]
    pub fn impersonating(&self, user: &str) -> Self {
        Self { user: Some(user.into()), ..self.clone() }
    }

    /// The same server, with another bound on how long one call is tried in all.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same server; each attempt that failed and is made again is told.
    #[must_use]
    pub fn reporting(&self, listener: impl Fn(&Retry) + Send + Sync + 'static) -> Self {
        Self { listener: Some(Arc::new(listener)), ..self.clone() }
    }

    /// URL of the server.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// Its version when we connected, such as `v1.36.3`.
    pub fn version(&self) -> &str {
        self.inner.version.get().map_or("", String::as_str)
    }

    async fn ask_version(&self) -> Result<String, ClusterError> {
        let call = Call::new("get", Method::GET, "/version".to_owned(), Subject { object: &"version", kind: ("", "") });
        let answer = self.send(&call).await?;
        let value: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| http::malformed(&call, error.to_string()))?;
        Ok(value["gitVersion"].as_str().unwrap_or_default().to_owned())
    }
}

/// kube's stack with our own connector: no Nagle (a request of two segments would wait for an acknowledgement), no retry, no tracing.
fn client(config: &Config) -> Result<Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url
        && !is_direct(config.cluster_url.host().unwrap_or_default())
    {
        return Err(kube::Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy.clone()) });
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(10)));
    connector.set_keepalive(Some(Duration::from_secs(30)));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = service.map_err(tower::BoxError::from);
    let builder = ClientBuilder::new(service, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => builder.with_layer(&auth).with_layer(&config.base_uri_layer()).build(),
        None => builder.with_layer(&config.base_uri_layer()).build(),
    })
}

/// Whether a host is reached without the proxy of the environment: the loopback always, and what `NO_PROXY` names.
fn is_direct(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let named = ["NO_PROXY", "no_proxy"].iter().filter_map(|name| std::env::var(name).ok()).any(|list| {
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let domain = entry.trim_start_matches('.');
            entry == "*" || host == domain || host.ends_with(&format!(".{domain}"))
        })
    });
    is_loopback(host) || named
}
