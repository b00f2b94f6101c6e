//! Flux's controllers as processes of the sandbox: started when the run installs the agent, stopped and started again at will.

use super::artifacts::FETCHED;
use super::control_plane::{self, Places};
use super::{Sandbox, SandboxError, components, core, watch};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

/// Flags of the two controllers, added to what makes them run outside of a cluster.
#[derive(Clone, Debug)]
pub struct AgentFlags {
    /// For kustomize-controller.
    pub kustomize: Vec<String>,
    /// For helm-controller.
    pub helm: Vec<String>,
}

impl Default for AgentFlags {
    /// The controllers' own defaults, with ExternalArtifact as a source (off by default).
    fn default() -> Self {
        let gate = "--feature-gates=ExternalArtifact=true".to_owned();
        Self { kustomize: vec![gate.clone()], helm: vec![gate] }
    }
}

const CONTROLLERS: [&str; 3] = ["kustomize-controller", "helm-controller", SOURCE_CONTROLLER];

/// Cannot be built from public modules; used beside the artifact server where it is on PATH.
pub(super) const SOURCE_CONTROLLER: &str = "source-controller";

impl Sandbox {
    /// Flux's CustomResourceDefinitions (of the versions of the controllers that run here) and its namespace; for whoever does not install
    /// them from a repository.
    pub async fn install_agent(&self) -> Result<(), SandboxError> {
        let path = components::need("flux-crds")?;
        let text = std::fs::read_to_string(&path).map_err(|source| SandboxError::Io { what: path.display().to_string(), source })?;
        let namespaces: Api<DynamicObject> = Api::all_with(self.client(), &core("Namespace"));
        // With a field that it owns: see `crate::agent::with_namespace`.
        let labels = json!({"kubernetes.io/metadata.name": "flux-system"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system", "labels": labels}});
        namespaces
            .patch("flux-system", &PatchParams::apply("blackstart"), &Patch::Apply(namespace))
            .await
            .map_err(|source| failed("Namespace flux-system", source))?;
        let writes = text.split("\n---\n").map(|document| self.apply_definition(document));
        let names = futures::future::try_join_all(writes).await?;
        self.await_definitions(&names).await
    }

    /// The server reads the YAML itself: nothing here has to.
    async fn apply_definition(&self, document: &str) -> Result<String, SandboxError> {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap_or_default().trim().to_owned();
        let object = format!("CustomResourceDefinition {name}");
        let request = http::Request::patch(format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=blackstart&force=true"
        ))
        .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
        .body(document.as_bytes().to_vec())
        .map_err(|error| failed(&object, kube::Error::HttpError(error)))?;
        self.client().request_text(request).await.map_err(|source| failed(&object, source))?;
        Ok(name)
    }

    async fn await_definitions(&self, names: &[String]) -> Result<(), SandboxError> {
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        let follower = tokio::spawn(watch::follow(self.client(), watch::definitions_resource(), sender));
        let mut open: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let all = async {
            while !open.is_empty() {
                if let Some(watch::Change::Applied(_, definition)) = changes.recv().await
                    && watch::established(&definition).is_some()
                {
                    open.remove(definition.metadata.name.as_deref().unwrap_or_default());
                }
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(30), all).await;
        follower.abort();
        done.map_err(|_| self.held.late("Flux's CustomResourceDefinitions", "kube-apiserver"))
    }

    /// Starts kustomize-controller and helm-controller; those that run already are left.
    pub async fn start_agent(&mut self, flags: &AgentFlags) -> Result<(), SandboxError> {
        let (private, logs, stages) = (self.held.state.private.clone(), self.logs(), self.held.stages.clone());
        let places = Places { private: &private, logs: &logs, stages: &stages };
        let mut wanted = vec![
            ("kustomize-controller", components::need("kustomize-controller")?, flags.kustomize.clone()),
            ("helm-controller", components::need("helm-controller")?, flags.helm.clone()),
        ];
        if let Some(program) = components::provided(SOURCE_CONTROLLER) {
            let storage = format!("127.0.0.1:{}", super::free_port()?);
            let flags = vec![
                format!("--watch-label-selector={FETCHED}=true"),
                format!("--storage-path={}", private.join("storage").display()),
                format!("--storage-addr={storage}"),
                format!("--storage-adv-addr={storage}"),
            ];
            super::state::make_private(&private.join("storage"))?;
            wanted.push((SOURCE_CONTROLLER, program, flags));
        }
        for (name, program, flags) in wanted {
            if self.held.running.iter().any(|running| running.name == name) {
                continue;
            }
            self.held.launch(control_plane::agent(&places, name, program, &flags), None).await?;
        }
        Ok(())
    }

    /// Ends both controllers at once, as the loss of their pods would.
    pub async fn stop_agent(&mut self) -> Result<(), SandboxError> {
        let (agent, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held.running).into_iter().partition(|running| CONTROLLERS.contains(&running.name));
        self.held.running = rest;
        for running in &agent {
            running.kill();
        }
        for running in &agent {
            if !running.gone().await {
                return Err(SandboxError::Survives { component: running.name.to_owned(), pid: running.process.pid });
            }
        }
        self.held.state.components.retain(|component| !CONTROLLERS.contains(&component.name.as_str()));
        self.held.state.save(&self.held.folder)
    }
}

fn failed(object: &str, source: kube::Error) -> SandboxError {
    SandboxError::Api { object: object.to_owned(), verb: "apply", source: Box::new(source) }
}
