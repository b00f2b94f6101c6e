//! A cluster whose kubeconfig appears somewhere when it is up: waited for, never written to a disk, never shown.

use super::command::run_for_text;
use super::{Events, secret};
use crate::aws::Cloud;
use crate::cluster::{Cluster, ClusterError};
use crate::environment::SecretSource;
use crate::manifest::yaml;
use crate::report::event::Happening;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long it is waited for, unless the environment says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Seconds between two looks.
const POLL: u32 = 5;

/// Where a kubeconfig appears.
#[derive(Debug)]
pub struct Appears<'a> {
    /// There.
    pub source: &'a SecretSource,
    /// Folder of the environment's file.
    pub base: &'a Path,
    /// The account, where it holds the kubeconfig.
    pub cloud: Option<&'a Cloud>,
    /// Context; its current one where absent.
    pub context: Option<&'a str>,
    /// Longest wait.
    pub timeout: Duration,
    /// Name of the cluster, for events and errors.
    pub name: &'a str,
    /// Where events go.
    pub events: &'a Events,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum NoCluster {
    /// It did not come.
    #[error("cluster {name}: no usable kubeconfig from {what} within {seconds} s: {why}")]
    Late {
        /// The cluster.
        name: String,
        /// Where it should come from.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen last.
        why: String,
    },
    /// It can never come.
    #[error("cluster {name}: no kubeconfig from {what}: {why}")]
    Never {
        /// The cluster.
        name: String,
        /// Where it should come from.
        what: String,
        /// Why.
        why: String,
    },
    /// The user asked to stop.
    #[error("cluster {name}: stopped waiting for its kubeconfig")]
    Stopped {
        /// The cluster.
        name: String,
    },
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Why it has to be looked again, or must not.
enum Not {
    Yet(String),
    Ever(String),
}

/// Waits for the kubeconfig and for an API server that answers.
pub async fn connect(appears: Appears<'_>) -> Result<Cluster, NoCluster> {
    let deadline = Instant::now() + appears.timeout;
    let (name, what) = (appears.name.to_owned(), appears.source.words());
    let pause = appears.cloud.map_or(Duration::from_secs(POLL.into()), |cloud| cloud.pace(POLL));
    let mut stop = appears.stop.clone();
    let mut told = String::new();
    loop {
        let looked = tokio::select! {
            looked = look(&appears, deadline) => looked,
            _ = stop.wait_for(|count| *count > 0) => return Err(NoCluster::Stopped { name }),
        };
        let why = match looked {
            Ok(config) => match Cluster::connect_with(&config, &what).await {
                Err(error @ ClusterError::Unreachable { .. }) => error.to_string(),
                result => return Ok(result?),
            },
            Err(Not::Yet(why)) => why,
            Err(Not::Ever(why)) => return Err(NoCluster::Never { name, what, why }),
        };
        if why != told {
            let message = format!("kubeconfig from {what}: {why}");
            appears.events.send(Happening::Progress { node: format!("cluster/{name}"), ready: 0, of: 1, message });
            told = why;
        }
        if Instant::now() + pause > deadline {
            return Err(NoCluster::Late { name, what, seconds: appears.timeout.as_secs(), why: told });
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|count| *count > 0) => return Err(NoCluster::Stopped { name }),
        }
    }
}

async fn look(appears: &Appears<'_>, deadline: Instant) -> Result<Value, Not> {
    let text = match appears.source {
        SecretSource::Command(words) => {
            let patience = deadline.saturating_duration_since(Instant::now());
            run_for_text(words, appears.base, patience, appears.stop.clone()).await.map_err(Not::Yet)?
        }
        source => secret::fetch(source, appears.base, appears.cloud).await.map_err(|error| {
            let why = error.to_string();
            if error.is_absent() { Not::Yet(why) } else { Not::Ever(why) }
        })?,
    };
    // Neither the parser's words nor ours may quote it. A file may be half written.
    let documents = yaml::documents(&text).map_err(|error| Not::Yet(format!("is no YAML (line {})", error.line)))?;
    let config = documents.into_iter().next().map(|document| document.value);
    let mut config = config.filter(|config| config.get("clusters").is_some()).ok_or_else(|| Not::Yet("is no kubeconfig".to_owned()))?;
    if let Some(context) = appears.context {
        config["current-context"] = context.into();
    }
    Ok(config)
}
