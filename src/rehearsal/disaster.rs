//! What goes in a disaster, as data.

use crate::manifest::yaml::{Content, Located};
use crate::plan::Edge;
use crate::problem::{Origin, Problem, nearest};
use std::collections::{BTreeMap, BTreeSet};

/// A disaster.
#[derive(Clone, Debug, PartialEq)]
pub struct Disaster {
    /// Its name.
    pub name: String,
    /// What the cluster loses.
    pub cluster: Cluster,
    /// Whether the agent is gone: its processes, its namespace.
    pub agent: bool,
    /// Namespaces that are deleted.
    pub namespaces: Namespaces,
    /// Cloud resources that are deleted.
    pub resources: Resources,
    /// Whether the volumes of claims are deleted too.
    pub volumes: bool,
    /// Whether the whole region does not answer any more; copies of backups stand in another one.
    pub region: bool,
}

/// What a cluster loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// Nothing.
    Stays,
    /// All that etcd held.
    Emptied,
    /// Itself: an EKS cluster with its node groups and add-ons, and with it all that etcd held.
    Deleted,
}

/// Namespaces that are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// None.
    None,
    /// Those that hold claims.
    Claiming,
    /// Half of those that hold layers' objects, drawn.
    Half,
    /// These.
    Named(Vec<String>),
}

/// Cloud resources that are deleted, with all that needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resources {
    /// None, beside the cluster's own.
    None,
    /// All.
    All,
    /// At most half of them, drawn.
    Half,
    /// These nodes.
    Named(Vec<String>),
}

/// Names, and what each is.
pub const NAMED: [(&str, &str); 8] = [
    ("cluster-deleted", "the cluster is deleted; other cloud resources and the volumes of claims remain"),
    ("all-deleted", "everything is deleted but backups"),
    ("half-deleted", "up to half of the cloud resources, and half of the namespaces, drawn by --seed"),
    ("namespace-deleted", "the namespaces that hold claims are deleted, and their volumes with them"),
    ("agent-deleted", "the agent is deleted with its namespace"),
    ("etcd-lost", "the cluster loses all that it held; the cloud resources are the same"),
    ("volumes-remain", "everything is deleted but the volumes of claims and backups"),
    ("region-lost", "no call to the region is answered; it comes back in --region, from copies of backups there"),
];

impl Disaster {
    /// One that takes nothing.
    fn none(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: Cluster::Stays,
            agent: false,
            namespaces: Namespaces::None,
            resources: Resources::None,
            volumes: false,
            region: false,
        }
    }
}

/// A disaster by its name.
pub fn named(name: &str) -> Option<Disaster> {
    let none = Disaster::none(name);
    Some(match name {
        "cluster-deleted" => Disaster { cluster: Cluster::Deleted, ..none },
        "all-deleted" => Disaster { cluster: Cluster::Deleted, resources: Resources::All, volumes: true, ..none },
        "half-deleted" => Disaster { namespaces: Namespaces::Half, resources: Resources::Half, ..none },
        "namespace-deleted" => Disaster { namespaces: Namespaces::Claiming, ..none },
        "agent-deleted" => Disaster { agent: true, ..none },
        "etcd-lost" => Disaster { cluster: Cluster::Emptied, ..none },
        "volumes-remain" => Disaster { cluster: Cluster::Deleted, resources: Resources::All, ..none },
        "region-lost" => Disaster { region: true, ..none },
        _ => return None,
    })
}

/// A disaster from a file:
///
/// ```yaml
/// apiVersion: blackstart/v1alpha1
/// kind: Disaster
/// metadata: {name: friday}
/// spec:
///   cluster: deleted            # or emptied; stays where absent
///   agent: deleted
///   namespaces: [shop]          # or claiming, half
///   resources: [aws/dynamodb/Table/shop/orders]   # or all, half
///   volumes: deleted
///   region: lost                # the rest is of no matter then
/// ```
pub fn read(text: &str, file: &str) -> Result<Disaster, Vec<Problem>> {
    let mut reader = Reader { file, problems: Vec::new() };
    let root = match Located::parse(text) {
        Ok(root) => root,
        Err(error) => return Err(vec![reader.problem(error.line, &error.message, None)]),
    };
    if root.get("kind").and_then(Located::text) != Some("Disaster") {
        reader.wrong(root.line, "kind: must be Disaster");
    }
    let name = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Located::text).unwrap_or_default();
    if name.is_empty() {
        reader.wrong(root.line, "metadata.name: is missing");
    }
    let mut disaster = Disaster::none(name);
    let Some(Content::Map(fields)) = root.get("spec").map(|spec| &spec.content) else {
        reader.wrong(root.line, "spec: is missing");
        return Err(reader.problems);
    };
    for (field, line, value) in fields {
        match (field.as_str(), value.text()) {
            ("cluster", Some("deleted")) => disaster.cluster = Cluster::Deleted,
            ("cluster", Some("emptied")) => disaster.cluster = Cluster::Emptied,
            ("cluster", Some("stays")) => {}
            ("cluster", _) => reader.wrong(value.line, "spec.cluster: deleted, emptied or stays"),
            ("agent", Some("deleted")) => disaster.agent = true,
            ("agent", _) => reader.wrong(value.line, "spec.agent: deleted, or absent"),
            ("volumes", Some("deleted")) => disaster.volumes = true,
            ("volumes", _) => reader.wrong(value.line, "spec.volumes: deleted, or absent"),
            ("region", Some("lost")) => disaster.region = true,
            ("region", _) => reader.wrong(value.line, "spec.region: lost, or absent"),
            ("namespaces", Some("claiming")) => disaster.namespaces = Namespaces::Claiming,
            ("namespaces", Some("half")) => disaster.namespaces = Namespaces::Half,
            ("namespaces", None) => match texts(value) {
                Some(list) => disaster.namespaces = Namespaces::Named(list),
                None => reader.wrong(value.line, "spec.namespaces: a list of names, claiming or half"),
            },
            ("namespaces", Some(_)) => reader.wrong(value.line, "spec.namespaces: a list of names, claiming or half"),
            ("resources", Some("all")) => disaster.resources = Resources::All,
            ("resources", Some("half")) => disaster.resources = Resources::Half,
            ("resources", None) => match texts(value) {
                Some(list) => disaster.resources = Resources::Named(list),
                None => reader.wrong(value.line, "spec.resources: a list of nodes such as aws/sqs/Queue/shop/orders, all or half"),
            },
            ("resources", Some(_)) => {
                reader.wrong(value.line, "spec.resources: a list of nodes such as aws/sqs/Queue/shop/orders, all or half");
            }
            (other, _) => {
                let near = nearest(other, ["cluster", "agent", "namespaces", "resources", "volumes", "region"]);
                let hint = near.first().map(|near| format!("did you mean {near}?"));
                let problem = reader.problem(line.0, &format!("spec.{other}: is not known"), hint);
                reader.problems.push(problem);
            }
        }
    }
    if reader.problems.is_empty() { Ok(disaster) } else { Err(reader.problems) }
}

fn texts(node: &Located) -> Option<Vec<String>> {
    match &node.content {
        Content::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
        _ => None,
    }
}

struct Reader<'a> {
    file: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&self, line: u32, message: &str, hint: Option<String>) -> Problem {
        let problem = Problem::blocks("disaster", format!("disaster {}: {message}", self.file));
        let problem = problem.at(Some(Origin { file: self.file.to_owned(), line }));
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    fn wrong(&mut self, line: u32, message: &str) {
        let problem = self.problem(line, message, None);
        self.problems.push(problem);
    }
}

/// Numbers that are drawn: the same for the same seed.
pub trait Dice {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize;
}

impl Resources {
    /// Which of these nodes go: never one without all that needs it. `always` are those that go with the cluster, `kept` are never drawn.
    pub fn doomed(
        &self,
        nodes: &[String],
        always: &BTreeSet<String>,
        kept: &BTreeSet<String>,
        edges: &[Edge],
        dice: &mut impl Dice,
    ) -> BTreeSet<String> {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for edge in edges {
            users.entry(&edge.from).or_default().push(&edge.to);
        }
        let all: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
        let close = |start: &str, into: &mut BTreeSet<String>| {
            let mut open = vec![start];
            while let Some(node) = open.pop() {
                if all.contains(node) && into.insert(node.to_owned()) {
                    open.extend(users.get(node).into_iter().flatten());
                }
            }
        };
        let mut doomed = BTreeSet::new();
        for node in always {
            close(node, &mut doomed);
        }
        match self {
            Resources::None => {}
            Resources::All => doomed.extend(nodes.iter().cloned()),
            Resources::Named(list) => list.iter().for_each(|node| close(node, &mut doomed)),
            Resources::Half if nodes.len() < 2 => {}
            Resources::Half => {
                // Not always as many as may go: else a cluster, with all that is in it, would hardly ever stay.
                let most = 1 + dice.below(nodes.len() / 2);
                let mut open: Vec<&String> = nodes.iter().collect();
                while !open.is_empty() {
                    let node = open.swap_remove(dice.below(open.len()));
                    let mut more = doomed.clone();
                    close(node, &mut more);
                    if more.len() <= most && more.is_disjoint(kept) {
                        doomed = more;
                    }
                }
            }
        }
        doomed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::Constraint;

    struct Next(usize);

    impl Dice for Next {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % end
        }
    }

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: from.into(), to: to.into(), constraint: Constraint::ReadyBeforeStart, reason: String::new(), origin: None }
    }

    #[test]
    fn nothing_goes_without_what_needs_it() {
        let nodes: Vec<String> = ["vpc", "subnet", "cluster", "queue", "table", "bucket"].map(str::to_owned).into();
        let edges = [edge("vpc", "subnet"), edge("subnet", "cluster")];
        let none = BTreeSet::new();
        let named = Resources::Named(vec!["subnet".into()]).doomed(&nodes, &none, &none, &edges, &mut Next(0));
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["cluster", "subnet"]);
        let mut sizes = BTreeSet::new();
        for seed in 0..50 {
            let half = Resources::Half.doomed(&nodes, &none, &none, &edges, &mut Next(seed));
            assert!(!half.is_empty() && half.len() <= 3, "{half:?}");
            assert!(!half.contains("vpc") || half.contains("cluster"), "{half:?}");
            sizes.insert((half.len(), half.contains("cluster")));
        }
        assert!(sizes.len() > 3, "always the same: {sizes:?}");
    }

    #[test]
    fn a_file_says_the_same_as_a_name_and_all_that_is_wrong_is_told_at_once() {
        let text = "apiVersion: blackstart/v1alpha1\nkind: Disaster\nmetadata: {name: all-deleted}\nspec:\n  cluster: deleted\n  resources: all\n  volumes: deleted\n";
        assert_eq!(read(text, "friday.yaml").unwrap(), named("all-deleted").unwrap());
        let wrong = "kind: Disaster\nmetadata: {name: x}\nspec:\n  cluster: melted\n  volume: deleted\n";
        let problems: Vec<String> = read(wrong, "friday.yaml").unwrap_err().iter().map(|problem| problem.message.clone()).collect();
        assert_eq!(
            problems,
            ["disaster friday.yaml: spec.cluster: deleted, emptied or stays", "disaster friday.yaml: spec.volume: is not known"]
        );
        assert!(NAMED.iter().all(|(name, _)| named(name).is_some()));
    }
}
