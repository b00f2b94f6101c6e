//! Commands, and values that are known only when something is made: their nodes, what waits for what, and what is wrong with them.

use super::{Action, Constraint, Edge, Node};
use crate::environment::{After, Command, Environment, Given, SecretSource};
use crate::layers::infrastructure::{Catalogue, Declared, at, gives, service};
use crate::layers::outputs::{self, Output};
use crate::layers::{LayerId, flux};
use crate::problem::{Origin, Problem, nearest};
use crate::read::{ReadLayer, Reading};
use std::collections::{BTreeMap, BTreeSet};

/// Usual seconds of a command of which nothing is known.
const COMMAND: f64 = 30.0;

/// What this adds to a plan.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) problems: Vec<Problem>,
}

/// Id of the node of a ConfigMap or Secret that the environment gives.
pub(crate) fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", if kind == "Secret" { "secret" } else { "variables" })
}

/// `cluster` is the id of the cluster's node.
pub(crate) fn outputs(
    reading: &Reading,
    environment: &Environment,
    declared: &[Declared],
    catalogue: &Catalogue,
    cluster: &str,
) -> Outputs {
    let mut builder = Builder { known: known(reading), declared, catalogue, found: Outputs::default() };
    for command in &reading.commands {
        builder.command(command);
    }
    for resource in declared {
        for output in outputs::outputs(&resource.resource.value) {
            // What other manifests give is a need of the manifest already.
            if output.node.starts_with("command/") {
                builder.edge(&output.node, &resource.node(), output.reason(), resource.origin());
            }
        }
    }
    for given in &environment.spec.outputs {
        let node = object(&given.kind, &given.namespace, &given.name);
        for (output, origin) in given.data.values() {
            if builder.source(output, origin.as_ref()) {
                builder.edge(&output.node, &node, output.reason(), origin.clone());
            }
        }
    }
    for secret in &environment.spec.secrets {
        let SecretSource::SecretsManager(name) = &secret.from else { continue };
        let is_it = |one: &&Declared| one.schema.service == "secretsmanager" && at(one.spec(), "name").is_some_and(|found| found == name);
        if let Some(made) = declared.iter().find(is_it) {
            let node = object("Secret", &secret.namespace, &secret.name);
            builder.edge(&made.node(), &node, "its value is there".to_owned(), secret.origin.clone());
        }
    }
    for after in environment.spec.cluster.iter().flat_map(|cluster| &cluster.after) {
        builder.after("spec.cluster.after", cluster, after);
    }
    builder.layers(reading, environment);
    builder.found
}

/// Ids of all that gives values, also of manifests that something is wrong with.
fn known(reading: &Reading) -> BTreeSet<String> {
    let manifests = reading
        .infrastructure
        .iter()
        .filter_map(|one| Some(format!("aws/{}/{}/{}/{}", service(one)?, one.kind(), one.namespace().unwrap_or("default"), one.name())));
    manifests.chain(reading.commands.iter().map(Command::node)).collect()
}

struct Builder<'a> {
    known: BTreeSet<String>,
    declared: &'a [Declared],
    catalogue: &'a Catalogue,
    found: Outputs,
}

impl Builder<'_> {
    fn edge(&mut self, from: &str, to: &str, reason: String, origin: Option<Origin>) {
        let edge = Edge { from: from.to_owned(), to: to.to_owned(), constraint: Constraint::ReadyBeforeStart, reason, origin };
        if !self.found.edges.contains(&edge) {
            self.found.edges.push(edge);
        }
    }

    /// What is made can only be known when the command was asked.
    fn command(&mut self, command: &Command) {
        let node = command.node();
        self.found.nodes.push(Node { id: node.clone(), action: Action::Create, owner: "command", seconds: COMMAND });
        for after in &command.after {
            self.after(&format!("command {}: after", command.name), &node, after);
        }
        let words = command.run.iter().chain(&command.check).chain(command.outputs.iter().flatten());
        let texts = command.env.values().filter_map(|given| match given {
            Given::Text(text) => Some(text),
            Given::Secret(_) => None,
        });
        let used: BTreeSet<Output> = words.chain(texts).flat_map(|text| outputs::in_text(text)).collect();
        for output in used {
            self.edge(&output.node, &node, output.reason(), command.origin.clone());
        }
    }

    fn after(&mut self, what: &str, node: &str, after: &After) {
        if self.known.contains(&after.node) {
            self.edge(&after.node, node, "after".to_owned(), after.origin.clone());
        } else {
            let message = format!("{what} names {}, which is not declared", short(&after.node));
            self.missing(&after.node, message, after.origin.clone());
        }
    }

    /// Whether an output can be had, as far as that can be known.
    fn source(&mut self, output: &Output, origin: Option<&Origin>) -> bool {
        if !self.known.contains(&output.node) {
            let message = format!("spec.outputs: {} comes from {}, which is not declared", output.variable, short(&output.node));
            self.missing(&output.node, message, origin.cloned());
            return false;
        }
        let schema = self.declared.iter().find(|one| one.is(&output.node)).map(|one| one.schema);
        if let Some(Err(fields)) = schema.map(|schema| gives(schema, &output.field, self.catalogue)) {
            let message = format!("spec.outputs: {}: {} gives no {}", output.variable, short(&output.node), output.field);
            let near = nearest(&output.field, fields.iter().copied());
            let hint =
                if near.is_empty() { format!("it gives: {}", fields.join(", ")) } else { format!("did you mean {}?", near.join(", ")) };
            self.found.problems.push(Problem::blocks("output-field", message).at(origin.cloned()).hint(hint));
        }
        true
    }

    fn missing(&mut self, node: &str, message: String, origin: Option<Origin>) {
        let near = nearest(short(node), self.known.iter().map(|known| short(known)));
        let hint = match near.first() {
            Some(near) => format!("did you mean {near}?"),
            None => "name a manifest of spec.infrastructure as SERVICE/KIND/NAMESPACE/NAME, or a command as command/NAME".to_owned(),
        };
        self.found.problems.push(Problem::blocks("node-missing", message).at(origin).hint(hint));
    }

    /// Layers wait for the objects that they take variables from, and for the values that came to them in another way.
    fn layers(&mut self, reading: &Reading, environment: &Environment) {
        let given: BTreeMap<String, BTreeSet<&Output>> = environment
            .spec
            .outputs
            .iter()
            .map(|one| (object(&one.kind, &one.namespace, &one.name), one.data.values().map(|(output, _)| output).collect()))
            .collect();
        let is_applied = |read: &&ReadLayer| !read.layer.spec.suspend && read.layer.spec.kube_config.is_none();
        let applied: BTreeSet<&LayerId> = reading.layers.iter().filter(is_applied).map(|read| &read.layer.id).collect();
        for read in reading.layers.iter().filter(is_applied) {
            let node = read.layer.id.node();
            let mut covered: BTreeSet<&Output> = BTreeSet::new();
            for reference in read.layer.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from) {
                let from = object(&reference.kind, &read.layer.id.namespace, &reference.name);
                if let Some(outputs) = given.get(&from) {
                    covered.extend(outputs);
                    self.edge(&from, &node, "its variables".to_owned(), reference.origin.clone());
                }
            }
            // The object of a layer below is written when that layer is ready.
            let is_own = |object: &&crate::manifest::Resource| {
                let id = LayerId::new(object.namespace().unwrap_or("default"), object.name());
                !(flux::is_kustomization(object) && applied.contains(&id))
            };
            let mut used: BTreeMap<Output, Option<Origin>> = BTreeMap::new();
            for object in read.objects.iter().filter(is_own).chain([&read.layer.declaration]) {
                for output in outputs::outputs(&object.value).into_iter().filter(|output| !covered.contains(output)) {
                    used.entry(output).or_insert_with(|| object.origin.clone());
                }
            }
            for (output, origin) in used {
                self.edge(&output.node, &node, output.reason(), origin);
            }
        }
    }
}

fn short(node: &str) -> &str {
    node.strip_prefix("aws/").unwrap_or(node)
}
