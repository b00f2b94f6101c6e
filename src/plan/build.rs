//! From what was read to the plan: nodes, edges with reasons, order, and what is wrong with it.

use super::below::Left;
use super::cloud::{self, Cloud};
use super::outputs::{self, Outputs};
use super::sets::{self, Sets};
use super::waves::{checked, positions};
use super::{Action, Constraint, Edge, Node, Plan, PlannedChart, PlannedLayer, State, estimate, implied};
use crate::environment::Environment;
use crate::graph::Graph;
use crate::health;
use crate::layers::LayerId;
use crate::layers::argo::Application;
use crate::layers::flux::{Dependency, Layer};
use crate::layers::infrastructure::{Catalogue, Declared};
use crate::layers::outputs::shown;
use crate::manifest::Resource;
use crate::problem::{Origin, Problem, Severity, nearest};
use crate::read::{ReadLayer, Reading};
use crate::restore::claims::{Claim, claims};
use crate::restore::{self, Keeper};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The plan for one environment.
pub fn plan(reading: &Reading, environment: &Environment, catalogue: &Catalogue) -> Plan {
    let name = environment_name(reading, environment);
    let layers: Vec<&Layer> = reading.layers.iter().map(|read| &read.layer).collect();
    let sets = sets::sets(reading, environment);
    let positions = positions(&layers, &sets);
    let waves: Vec<u32> = positions.iter().map(|position| position.wave).collect();

    let mut builder = Builder { problems: reading.problems.clone(), ..Builder::default() };
    let cluster = builder.base(environment, &name, &layers);
    builder.cloud(cloud::cloud(reading, environment, catalogue, &cluster));
    builder.outputs(outputs::outputs(reading, environment, &builder.cloud, catalogue, &cluster));
    builder.declared(&layers, &sets);
    builder.sets(sets);
    builder.cycles();
    builder.expressions(&layers);
    let claims = claims(reading, environment);
    builder.claims(&claims, &cluster);
    for edge in implied::edges(reading, &waves) {
        builder.implied(edge);
    }

    let mut planned: Vec<PlannedLayer> = reading
        .layers
        .iter()
        .zip(&positions)
        .filter(|(read, _)| !is_given(&read.layer))
        .map(|(read, position)| PlannedLayer {
            id: read.layer.id.clone(),
            kind: read.layer.kind(),
            source: read.layer.source.clone(),
            path: read.layer.spec.path.clone(),
            parent: read.layer.parent.clone(),
            depends_on: read.layer.depends_on(),
            level: position.level,
            wave: position.wave,
            named_wave: read.layer.spec.application.as_ref().map_or(position.wave.into(), |application| application.wave.into()),
            rendered: read.rendered,
            suspended: read.layer.spec.suspend,
            remote: read.layer.spec.kube_config.is_some(),
            objects: read.objects.iter().map(Resource::id).collect(),
            charts: charts(reading, read),
            declared: read.layer.declaration.origin.clone(),
        })
        .collect();
    let usual: BTreeMap<&LayerId, f64> =
        reading.layers.iter().map(|read| (&read.layer.id, estimate::layer(&read.layer, &read.objects))).collect();
    planned.sort_by(|a, b| (a.wave, &a.id).cmp(&(b.wave, &b.id)));
    for read in reading.layers.iter().filter(|read| is_given(&read.layer)) {
        let seconds = usual.get(&read.layer.id).copied().unwrap_or_default();
        builder.nodes.push(Node { id: read.layer.id.node(), action: Action::Apply, owner: "argocd", seconds });
    }
    for layer in &planned {
        let action = match layer {
            layer if layer.suspended || layer.remote => Action::Skip,
            layer if !layer.rendered => Action::Unknown,
            _ => Action::Apply,
        };
        let seconds = match action {
            Action::Skip => 0.0,
            _ => usual.get(&layer.id).copied().unwrap_or_default(),
        };
        let owner = if layer.kind == "Application" { "argocd" } else { "flux" };
        builder.nodes.push(Node { id: layer.id.node(), action, owner, seconds });
    }
    let kept = |node: String, keeper: Keeper<'_>| State::new(node, keeper, restore::rule(environment, keeper));
    let of_cloud = builder.cloud.iter().filter_map(|declared| Some(kept(declared.node(), restore::keeper(declared)?)));
    let state = claims.iter().map(|claim| kept(claim.node(), claim.keeper())).chain(of_cloud).collect();
    Plan {
        api_version: "blackstart/v1alpha1",
        kind: "Plan",
        environment: name,
        revision: reading.revision.clone(),
        layers: planned,
        declared: builder.cloud,
        left: builder.left,
        state,
        commands: reading.commands.clone(),
        expected: None,
        nodes: builder.nodes,
        edges: builder.edges,
        problems: builder.problems.into_iter().map(legible).collect(),
        unknowns: reading.unknowns.clone(),
        live: None,
    }
}

/// What the charts of a layer's releases make.
fn charts(reading: &Reading, read: &ReadLayer) -> Vec<PlannedChart> {
    let made = |object: &Resource| {
        let (release, made) = reading.charts.get_key_value(&object.id())?;
        Some(PlannedChart { release: release.clone(), objects: made.iter().map(Resource::id).collect() })
    };
    reading.with_sets(read).filter_map(made).collect()
}

/// The environment's own name, else the last folder of the entry point, as `staging` of `clusters/staging`.
fn environment_name(reading: &Reading, environment: &Environment) -> String {
    if !environment.name.is_empty() {
        return environment.name.clone();
    }
    reading.entrypoint.rsplit('/').find(|part| !part.is_empty()).unwrap_or("default").to_owned()
}

/// Whether something outside Git makes the layer, so that it is a node and no layer of the repository.
fn is_given(layer: &Layer) -> bool {
    layer.spec.application.as_ref().is_some_and(|application| application.given)
}

#[derive(Default)]
struct Builder {
    graph: Graph,
    cloud: Vec<Declared>,
    left: Vec<Left>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    problems: Vec<Problem>,
}

impl Builder {
    /// Expressions that nobody could ever evaluate: the run relies on their being refused here.
    fn expressions(&mut self, layers: &[&Layer]) {
        for layer in layers {
            let mut errors = health::Expressions::compile(&layer.spec.health_check_exprs).err().unwrap_or_default();
            for (dependency, id) in layer.spec.depends_on.iter().zip(layer.depends_on()) {
                let Some(expression) = dependency.ready_expr.as_deref() else { continue };
                match health::check_ready_expression(expression) {
                    Err(error) => errors.push(error),
                    Ok(()) => self.ready_expression(layer, layers.iter().find(|other| other.id == id), dependency, expression),
                }
            }
            for error in errors {
                let problem = Problem::blocks("expression-invalid", format!("Kustomization {}: {error}", layer.id));
                self.problems
                    .push(problem.at(layer.declaration.origin.clone()).hint("correct the expression: the layer could never become ready"));
            }
        }
    }

    /// The run starts a layer when what it depends on is ready. An expression that is false even then holds it back for ever.
    fn ready_expression(&mut self, layer: &Layer, on: Option<&&Layer>, dependency: &Dependency, expression: &str) {
        let Some(on) = on else { return };
        let mut ready = on.declaration.value.clone();
        // As kustomize-controller reports it.
        ready["metadata"]["generation"] = 1.into();
        ready["status"] = json!({
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "observedGeneration": 1}],
        });
        if health::ready_expr(expression, &layer.declaration.value, &ready) == Ok(false) {
            let message = format!(
                "Kustomization {}: readyExpr of its dependency on {} is false even when {} is ready: `{expression}`",
                layer.id, on.id, on.id
            );
            let origin = dependency.origin.clone().or_else(|| layer.declaration.origin.clone());
            let problem = Problem::blocks("expression-false", message).at(origin);
            self.problems.push(problem.hint("the layer could never start: correct the expression, or what it compares"));
        }
    }

    fn edge(&mut self, from: String, to: String, constraint: Constraint, reason: impl Into<String>, origin: Option<Origin>) {
        let edge = Edge { from, to, constraint, reason: reason.into(), origin };
        self.graph.add(&edge);
        self.edges.push(edge);
    }

    /// Cluster, secrets, agent, and what the entry layer needs of them.
    fn base(&mut self, environment: &Environment, name: &str, layers: &[&Layer]) -> String {
        let given = environment.spec.cluster.as_ref();
        let cluster = given.and_then(|cluster| cluster.eks.as_deref().or(cluster.context.as_deref())).unwrap_or(name);
        let cluster = format!("cluster/{cluster}");
        // Flux has one layer at least; the sets of Argo CD may give none.
        let is_argo = layers.iter().all(|layer| layer.spec.application.is_some());
        let (agent, owner, needs) =
            if is_argo { ("agent/argocd", "argocd", "Argo CD's CRDs") } else { ("agent/flux", "flux", "Flux's CRDs") };
        let agent = agent.to_owned();
        self.nodes.push(Node { id: cluster.clone(), action: Action::Wait, owner: "provider", seconds: estimate::CLUSTER });
        let mut secrets: BTreeMap<String, Option<Origin>> = BTreeMap::new();
        for secret in &environment.spec.secrets {
            secrets.entry(format!("secret/{}/{}", secret.namespace, secret.name)).or_insert_with(|| secret.origin.clone());
        }
        // What the agent takes variables from is written in the same way.
        for given in &environment.spec.variables {
            secrets.entry(outputs::object(&given.kind, &given.namespace, &given.name)).or_insert_with(|| given.origin.clone());
        }
        // What is known only later holds back those that use it, and nobody else.
        let mut late: BTreeSet<String> = BTreeSet::new();
        for given in &environment.spec.outputs {
            let node = outputs::object(&given.kind, &given.namespace, &given.name);
            late.insert(node.clone());
            secrets.entry(node).or_insert_with(|| given.origin.clone());
        }
        for (secret, origin) in secrets {
            self.nodes.push(Node { id: secret.clone(), action: Action::Apply, owner: "blackstart", seconds: estimate::SECRET });
            self.edge(cluster.clone(), secret.clone(), Constraint::ReadyBeforeStart, "needs the cluster", origin.clone());
            if !late.contains(&secret) {
                self.edge(secret, agent.clone(), Constraint::ReadyBeforeStart, "written before the agent starts", origin);
            }
        }
        self.nodes.push(Node { id: agent.clone(), action: Action::Apply, owner, seconds: estimate::AGENT });
        self.edge(cluster.clone(), agent.clone(), Constraint::ReadyBeforeStart, "needs the cluster", None);
        for entry in layers.iter().filter(|layer| layer.parent.is_none()) {
            self.edge(agent.clone(), entry.id.node(), Constraint::AppliedBeforeStart, needs, None);
        }
        cluster
    }

    /// What is built below the cluster comes first.
    fn cloud(&mut self, cloud: Cloud) {
        self.cloud = cloud.declared;
        self.left = cloud.left;
        self.nodes.splice(0..0, cloud.nodes);
        for edge in cloud.edges {
            self.graph.add(&edge);
            self.edges.push(edge);
        }
        self.problems.extend(cloud.problems);
    }

    /// Claims get their old data before the layer that makes them.
    fn claims(&mut self, claims: &[Claim], cluster: &str) {
        for claim in claims {
            self.nodes.push(Node { id: claim.node(), action: Action::Restore, owner: "provider", seconds: estimate::CLAIM });
            self.edge(cluster.to_owned(), claim.node(), Constraint::ReadyBeforeStart, "needs the cluster", claim.origin.clone());
            self.edge(
                claim.node(),
                claim.layer.node(),
                Constraint::ReadyBeforeStart,
                "its claim binds to the old data",
                claim.origin.clone(),
            );
        }
    }

    /// Commands, and what waits for values that are known only later.
    fn outputs(&mut self, outputs: Outputs) {
        // Beside the cloud resources, before the cluster.
        let place = self.cloud.len();
        self.nodes.splice(place..place, outputs.nodes);
        for edge in outputs.edges {
            self.graph.add(&edge);
            self.edges.push(edge);
        }
        self.problems.extend(outputs.problems);
    }

    /// What the layers say themselves.
    fn declared(&mut self, layers: &[&Layer], sets: &Sets) {
        let known: BTreeMap<String, &Layer> = layers.iter().map(|layer| (layer.id.to_string(), *layer)).collect();
        for layer in layers {
            let node = layer.id.node();
            if let Some(application) = &layer.spec.application {
                self.application(layer, application);
                continue;
            }
            if let Some(parent) = &layer.parent {
                self.edge(parent.node(), node.clone(), Constraint::AppliedBeforeStart, "declared there", layer.declaration.origin.clone());
                let waits = known.get(&parent.to_string()).is_some_and(|parent| parent.spec.wait);
                if waits && !layer.spec.suspend && !sets.gives(&layer.id) {
                    self.edge(node.clone(), parent.node(), Constraint::ReadyBeforeReady, "wait", layer.declaration.origin.clone());
                }
            }
            for (dependency, id) in layer.spec.depends_on.iter().zip(layer.depends_on()) {
                let origin = dependency.origin.clone().or_else(|| layer.declaration.origin.clone());
                match known.get(&id.to_string()) {
                    Some(other) if other.spec.suspend => {
                        let message = format!("Kustomization {}: dependsOn {id}, which is suspended and so never becomes ready", layer.id);
                        let hint = format!("resume {id}, or drop the dependency");
                        self.problems.push(Problem::blocks("dependency-suspended", message).at(origin.clone()).hint(hint));
                    }
                    Some(_) => {}
                    None => {
                        self.problems.push(missing(layer, &id, known.keys().map(String::as_str), origin));
                        continue;
                    }
                }
                self.edge(id.node(), node.clone(), Constraint::ReadyBeforeStart, "dependsOn", origin);
            }
            let awaited: BTreeSet<LayerId> = checked(layer).into_iter().collect();
            for id in awaited.into_iter().filter(|id| known.contains_key(&id.to_string()) && *id != layer.id) {
                self.edge(id.node(), node.clone(), Constraint::ReadyBeforeReady, "healthChecks", layer.declaration.origin.clone());
            }
        }
    }

    /// What ResourceSets say.
    fn sets(&mut self, sets: Sets) {
        for order in sets.orders {
            self.edge(order.from.node(), order.to.node(), order.constraint, order.reason, order.origin);
        }
        self.problems.extend(sets.problems);
    }

    /// What Argo CD says of an Application: who holds it, and what its step comes after.
    fn application(&mut self, layer: &Layer, application: &Application) {
        let node = layer.id.node();
        let origin = layer.declaration.origin.clone();
        if let Some(parent) = &layer.parent {
            let reason = match &application.set {
                Some((set, _)) => format!("ApplicationSet {set}"),
                None => "declared there".to_owned(),
            };
            self.edge(parent.node(), node.clone(), Constraint::AppliedBeforeStart, reason, origin.clone());
            if application.set.is_none() {
                self.edge(node.clone(), parent.node(), Constraint::ReadyBeforeReady, "health of what it holds", origin);
            }
        }
        for after in &application.after {
            self.edge(after.id.node(), node.clone(), Constraint::ReadyBeforeStart, after.reason.clone(), after.origin.clone());
        }
    }

    /// Layers that wait for each other: the shortest way round, with the place of each step.
    fn cycles(&mut self) {
        for cycle in self.graph.shortest_cycles() {
            let edges: Vec<&Edge> = cycle.iter().map(|number| &self.edges[*number]).collect();
            let name = |node: &str| node.strip_prefix("layer/").unwrap_or(node).to_owned();
            let step = |edge: &&Edge| {
                let place = edge.origin.as_ref().map_or_else(String::new, |origin| format!(" at {origin}"));
                format!("{} waits for {} ({}{place})", name(&edge.to), name(&edge.from), edge.reason)
            };
            // Told in the order in which one waits for the next.
            let steps: Vec<String> = edges.iter().rev().map(step).collect();
            let all_layers = edges.iter().all(|edge| edge.to.starts_with("layer/"));
            let who = if all_layers { "layers" } else { "nodes" };
            let message = format!("{who} wait for each other: {}", steps.join(", "));
            let origin = edges.iter().rev().find_map(|edge| edge.origin.clone());
            self.problems.push(Problem::blocks("cycle", message).at(origin).hint("remove one of these"));
        }
    }

    fn implied(&mut self, edge: Edge) {
        if self.graph.would_close(&edge) {
            // What is only waited for by a controller comes when it comes.
            if edge.constraint == Constraint::AppliedBeforeReady {
                return;
            }
            let name = |node: &str| node.strip_prefix("layer/").unwrap_or(node).to_owned();
            let message = format!("layer {} needs {} of layer {}, which comes after it", name(&edge.to), edge.reason, name(&edge.from));
            let problem = Problem::blocks("order-risk", message).at(edge.origin.clone());
            // Without its variables the agent does not even begin with a layer, so that the other one never comes.
            let is_of_variables = ["ConfigMap ", "Secret "].iter().any(|kind| edge.reason.starts_with(kind));
            self.problems.push(if is_of_variables {
                problem.hint("move it to a layer that comes before both, or mark it as optional where the layer can do without")
            } else {
                Problem { severity: Severity::Risk, ..problem }.hint("move it to a layer that both depend on")
            });
            return;
        }
        self.graph.add(&edge);
        self.edges.push(edge);
    }
}

/// A problem that shows `${NAME}` where a value is not known yet.
fn legible(problem: Problem) -> Problem {
    Problem { message: shown(&problem.message), hint: problem.hint.map(|hint| shown(&hint)), ..problem }
}

fn missing<'a>(layer: &Layer, id: &LayerId, known: impl Iterator<Item = &'a str>, origin: Option<Origin>) -> Problem {
    let others: Vec<LayerId> =
        known.filter_map(|other| other.split_once('/')).map(|(namespace, name)| LayerId::new(namespace, name)).collect();
    // The right name in another namespace is the usual mistake, a wrong letter the next.
    let names = nearest(&id.name, others.iter().map(|other| other.name.as_str()));
    let alike = |exact: bool| others.iter().filter(move |other| **other != layer.id && if exact { other.name == id.name } else { true });
    let mut near: Vec<String> = alike(true).map(ToString::to_string).collect();
    if near.is_empty() {
        near = alike(false).filter(|other| names.contains(&other.name)).map(ToString::to_string).take(3).collect();
    }
    let problem =
        Problem::blocks("dependency-missing", format!("Kustomization {}: dependsOn {id}, which no layer declares", layer.id)).at(origin);
    if near.is_empty() {
        problem.hint("declare it, or drop the dependency")
    } else {
        problem.hint(format!("did you mean {}?", near.join(", ")))
    }
}
