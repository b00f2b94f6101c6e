//! What may happen to a cluster: its API server is away for a moment, or its etcd for good.

use super::control_plane::{self, Places};
use super::{Programs, REGION, Sandbox, SandboxError, nodes, volumes};
use std::sync::Arc;

/// All that goes with etcd.
const CLUSTER: [&str; 8] = [
    "kustomize-controller",
    "helm-controller",
    super::agent::SOURCE_CONTROLLER,
    "kwok",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
];

impl Sandbox {
    /// The cluster loses all that it held, and an empty one stands in its place, at the same address and with the same certificates.
    pub async fn lose_cluster(&mut self) -> Result<(), SandboxError> {
        let programs = Programs::find()?;
        let port = self.api_port();
        self.end(&CLUSTER).await?;
        let private = self.held.state.private.clone();
        for left in ["etcd", "etcd.sock", "peer:1"] {
            let path = private.join(left);
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match removed {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SandboxError::Io { what: path.display().to_string(), source });
                }
                _ => {}
            }
        }
        let (logs, stages, options) = (self.logs(), self.held.stages.clone(), self.held.options.clone());
        let places = Places { private: &private, logs: &logs, stages: &stages };
        self.held.launch(control_plane::etcd(&places, programs.etcd), None).await?;
        self.start_api_server(port).await?;
        self.held.launch(control_plane::controller_manager(&places, programs.controller_manager), None).await?;
        self.held.launch(control_plane::kwok(&places, programs.kwok), None).await?;
        self.held.launch(control_plane::scheduler(&places, programs.scheduler), None).await?;
        let names = nodes::create(&self.client, &options).await?;
        self.held.await_nodes(&self.client, names).await?;
        volumes::create_class(&self.client).await
    }

    /// Its region does not answer any more, and the cluster there is lost; an empty one stands in another region.
    pub async fn lose_region(&mut self, to: &str) -> Result<(), SandboxError> {
        let home = self.held.options.region.replace(to.to_owned()).unwrap_or_else(|| REGION.to_owned());
        if let Some(edge) = &self.edge {
            edge.lose_region(home);
            self.account.send_replace(Some(Arc::new(volumes::Account::of(edge, to).await?)));
        }
        if let Some(cloud) = &mut self.held.state.cloud {
            to.clone_into(&mut cloud.region);
        }
        self.lose_cluster().await
    }

    /// The API server ends and starts again, with all that it held.
    pub async fn restart_api_server(&mut self) -> Result<(), SandboxError> {
        let port = self.api_port();
        self.end(&["kube-apiserver"]).await?;
        self.start_api_server(port).await
    }

    /// The cluster's programs of these names are killed, as the loss of their machine would.
    async fn end(&mut self, names: &[&str]) -> Result<(), SandboxError> {
        let (ending, staying) = std::mem::take(&mut self.held.running).into_iter().partition(|running| names.contains(&running.name));
        self.held.running = staying;
        self.held.state.components.retain(|component| !names.contains(&component.name.as_str()));
        for running in &ending {
            running.kill();
        }
        for running in &ending {
            if !running.gone().await {
                return Err(SandboxError::Survives { component: running.name.to_owned(), pid: running.process.pid });
            }
        }
        Ok(())
    }

    fn api_port(&self) -> u16 {
        let components = &self.held.state.components;
        components.iter().find(|component| component.name == "kube-apiserver").and_then(|component| component.port).unwrap_or_default()
    }

    async fn start_api_server(&mut self, port: u16) -> Result<(), SandboxError> {
        let program = Programs::find()?.api_server;
        let (private, logs, stages) = (self.held.state.private.clone(), self.logs(), self.held.stages.clone());
        let places = Places { private: &private, logs: &logs, stages: &stages };
        let launch = control_plane::api_server(&places, program, port, self.held.options.audit, self.held.state.cloud.is_some());
        self.held.launch(launch, Some(port)).await?;
        self.held.await_api(&self.client).await
    }
}
