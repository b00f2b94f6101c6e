//! An account for tests: moto behind the sandbox's edge, manifests from files, whole runs against it.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod environment;
pub(crate) mod losses;
pub(crate) mod wall;

use blackstart::aws::observe::observe;
use blackstart::aws::{self, Access, Cloud};
use blackstart::execute::Events;
use blackstart::execute::cloud::{self, Build, Built};
use blackstart::execute::journal::Journal;
use blackstart::execute::progress::Progress;
use blackstart::layers::infrastructure::{Declared, needs};
use blackstart::manifest::{Resource, yaml};
use blackstart::plan::Action;
use blackstart::plan::cloud::edges;
use blackstart::problem::Origin;
use blackstart::sandbox::cloud::Moto;
use blackstart::sandbox::edge::Edge;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub(crate) const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-west-1";
pub(crate) const ENVIRONMENT: &str = "tests";

pub(crate) struct Account {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) edge: Edge,
    moto: Moto,
    folder: tempfile::TempDir,
}

impl Account {
    /// None, with a printed line, where moto is not at hand.
    pub(crate) async fn open(seed: u64) -> Option<Self> {
        Self::open_in(seed, REGION).await
    }

    /// The same in another region.
    pub(crate) async fn open_in(seed: u64, region: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let moto = match Moto::start(folder.path(), ACCOUNT).await {
            Ok(moto) => moto,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let edge = Edge::start(&moto.endpoint(), seed).await.unwrap();
        let cloud = connect_in(&edge.endpoint(), region).await;
        edge.take_calls();
        Some(Self { cloud, edge, moto, folder })
    }

    /// Where moto answers, behind the edge.
    pub(crate) fn moto(&self) -> String {
        self.moto.endpoint()
    }

    /// Tags something of EC2.
    pub(crate) async fn tag(&self, id: &str, tags: &[(&str, &str)]) {
        let tags = tags.iter().map(|(key, value)| aws_sdk_ec2::types::Tag::builder().key(*key).value(*value).build()).collect();
        self.cloud.ec2().create_tags().resources(id).set_tags(Some(tags)).send().await.unwrap();
    }

    /// Calls since the last look that could change something.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.edge.take_calls().into_iter().filter(|call| call.writes).map(|call| format!("{} {}", call.service, call.operation)).collect()
    }

    pub(crate) async fn actions(&self, declared: &[Declared]) -> Vec<Action> {
        let (needs, _) = needs(declared, self.cloud.place());
        let (observation, problems) =
            observe(&self.cloud, ENVIRONMENT, declared, &needs).await.unwrap_or_else(|errors| panic!("{errors:#?}"));
        assert_eq!(problems, []);
        for (position, found) in &observation.found {
            if !found.differences.is_empty() {
                println!("{}: differs: {:?}", declared[*position].node(), found.differences);
            }
        }
        (0..declared.len()).map(|position| cloud::action(observation.found.get(&position))).collect()
    }

    /// One whole run: looks, makes, completes.
    pub(crate) async fn run(&self, declared: &[Declared]) -> Built {
        run(&self.cloud, declared, &self.journal()).await
    }

    /// Where runs note their create calls.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }
}

pub(crate) async fn connect(endpoint: &str) -> Arc<Cloud> {
    connect_in(endpoint, REGION).await
}

async fn connect_in(endpoint: &str, region: &str) -> Arc<Cloud> {
    let access =
        Access { account: Some(ACCOUNT.into()), region: Some(region.into()), sandbox: Some(endpoint.to_owned()), ..Access::default() };
    Arc::new(Cloud::connect(&access).await.unwrap())
}

pub(crate) async fn run(cloud: &Arc<Cloud>, declared: &[Declared], journal: &Path) -> Built {
    let journal = Arc::new(Journal::open(journal, cloud.place(), ENVIRONMENT));
    journal.settle().await;
    let (needs, problems) = needs(declared, cloud.place());
    assert_eq!(problems, []);
    let (observation, problems) = observe(cloud, ENVIRONMENT, declared, &needs).await.unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(problems, []);
    let edges = edges(declared, &needs);
    let (sink, mut events) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(0);
    let work = Build {
        cloud: Some(cloud.clone()),
        environment: ENVIRONMENT.into(),
        base: PathBuf::new(),
        declared: declared.to_vec(),
        commands: Vec::new(),
        edges,
        observation,
        backups: std::collections::HashMap::new(),
        events: Events::new(sink),
        journal: Some(journal),
        progress: Progress::default(),
        stop,
    };
    let built = tokio::time::timeout(Duration::from_secs(400), cloud::build(work)).await.expect("ends within 400 s");
    while let Ok(event) = events.try_recv() {
        let text = serde_json::to_string(&event.happening).unwrap();
        if text.contains("\"error\"") {
            println!("{text}");
        }
    }
    built
}

/// Manifests of a file.
pub(crate) fn manifests(path: &Path) -> Vec<Resource> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // The example environment names its own account.
    // It protects what these tests delete.
    let text = text
        .replace("111122223333", ACCOUNT)
        .replace("${REGION}", REGION)
        .replace("${RECEIPTS}", "shop-receipts")
        .replace("deletionProtectionEnabled: true\n  globalSecondary", "deletionProtectionEnabled: false\n  globalSecondary");
    documents(&text, &path.file_name().unwrap().to_string_lossy())
}

fn documents(text: &str, file: &str) -> Vec<Resource> {
    let documents = yaml::documents(text).expect("YAML");
    documents.into_iter().map(|one| Resource { value: one.value, origin: Some(Origin { file: file.to_owned(), line: one.line }) }).collect()
}

/// Cloud resources of a text.
pub(crate) fn of(text: &str) -> Vec<Declared> {
    declared(&documents(text, "text.yaml"))
}

pub(crate) fn declared(resources: &[Resource]) -> Vec<Declared> {
    let catalogue = aws::catalogue();
    let read = |resource: &Resource| {
        Declared::read(resource, &catalogue).expect("an ACK manifest").unwrap_or_else(|problems| panic!("{problems:#?}"))
    };
    resources.iter().map(read).collect()
}
