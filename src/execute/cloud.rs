//! Makes cloud resources, each as soon as what it needs is there, and waits until they can be used.
//!
//! What lives is looked at first, all at once; what is missing is made with one call and then completed: each round looks, compares
//! and changes what differs, so that a run that died anywhere is gone on with by the next.

use super::Events;
use super::queue::{Index, Queue};
use crate::aws::observe::{Found, Observation, wanted};
use crate::aws::{self, Cloud, CloudError, Kind, Living, Meaning, State, Wanted};
use crate::layers::infrastructure::{Change, Declared, Difference, differences};
use crate::plan::{Action, Edge};
use crate::problem::Problem;
use crate::report::event::{Happening, Outcome};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Calls under way at once, over all services; the SDK slows down by itself where a service throttles.
const CALLS: usize = 32;
/// How long a new resource may be unknown to the calls that follow, and how long what blocks a call may take to pass.
const SETTLING: Duration = Duration::from_secs(120);
/// Rounds of comparing and changing before a difference counts as one that does not go away.
const ROUNDS: usize = 6;

/// What is to be made, and how.
#[derive(Debug)]
pub struct Build {
    /// The account.
    pub cloud: Arc<Cloud>,
    /// Name of the environment.
    pub environment: String,
    /// The manifests.
    pub declared: Vec<Declared>,
    /// What waits for what, by node ids.
    pub edges: Vec<Edge>,
    /// What lives.
    pub observation: Observation,
    /// Where events go.
    pub events: Events,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Built {
    /// All is there.
    pub success: bool,
    /// The user asked to stop.
    pub interrupted: bool,
    /// What lives now, by position of its manifest.
    pub living: HashMap<usize, Living>,
}

/// What a run would do with a living or missing resource.
pub fn action(found: Option<&Found>) -> Action {
    match found {
        None => Action::Create,
        Some(found) if !found.differences.is_empty() => Action::Update,
        Some(found) if !found.ours => Action::Adopt,
        Some(_) => Action::Keep,
    }
}

/// What stands against making or adopting; before the first write.
pub fn refuse(declared: &[Declared], observation: &Observation, first_start: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (position, found) in &observation.found {
        let declared = &declared[*position];
        let id = declared.resource.id();
        if first_start && !found.ours {
            let message = format!("{id}: {} exists already ({}), and blackstart did not make it; nothing was written", found.living.id, found.evidence);
            let hint = "to take over what is there, run `blackstart recover` with the same arguments, or set the annotation services.k8s.aws/adoption-policy: adopt-or-create";
            problems.push(Problem::blocks("cloud-exists", message).at(declared.origin()).hint(hint));
        }
        for difference in found.differences.iter().filter(|difference| difference.change == Change::Never) {
            let message = format!(
                "{id}: spec.{} is {} in Git and {} in {}, and AWS cannot change it in place; nothing was written",
                difference.path, difference.declared, difference.living, found.living.id
            );
            let hint = "make Git say what lives, or remove the living resource yourself; blackstart replaces nothing";
            problems.push(Problem::blocks("cloud-replace", message).at(declared.origin()).hint(hint));
        }
    }
    problems.sort_by(|one, other| (&one.origin, &one.message).cmp(&(&other.origin, &other.message)));
    problems
}

enum Message {
    Made(Index, Result<Living, String>),
    Completed(Index, Result<(Living, bool), String>),
}

struct Engine {
    build: Build,
    queue: Queue,
    living: HashMap<usize, Living>,
    actions: Vec<Action>,
    /// Made by this run, or changed.
    wrote: Vec<bool>,
    completing: Vec<bool>,
    sender: mpsc::UnboundedSender<Message>,
    calls: Arc<Semaphore>,
    run: String,
    failed: bool,
}

/// Makes and completes everything; nodes that fail hold back what needs them, and nothing else.
pub async fn build(build: Build) -> Built {
    let (sender, mut messages) = mpsc::unbounded_channel();
    let nodes: Vec<String> = build.declared.iter().map(Declared::node).collect();
    let mut stop = build.stop.clone();
    let mut engine = Engine {
        queue: Queue::new(nodes.iter().map(String::as_str), &build.edges),
        living: HashMap::new(),
        actions: (0..nodes.len()).map(|position| action(build.observation.found.get(&position))).collect(),
        wrote: vec![false; nodes.len()],
        completing: vec![false; nodes.len()],
        sender,
        calls: Arc::new(Semaphore::new(CALLS)),
        run: format!("{}-{}", jiff::Timestamp::now(), std::process::id()),
        failed: false,
        build,
    };
    let mut interrupted = *stop.borrow_and_update() > 0;
    let mut running = 0_usize;
    loop {
        if !interrupted {
            for index in engine.queue.startable() {
                engine.start(index);
                running += 1;
            }
            running += engine.complete();
        }
        if running == 0 {
            break;
        }
        tokio::select! {
            Some(message) = messages.recv() => {
                running -= 1;
                engine.message(message);
            }
            Ok(()) = stop.changed() => {
                interrupted = true;
                if *stop.borrow_and_update() > 1 {
                    break;
                }
                engine.build.events.send(Happening::Phase { name: "stop".into(), detail: "finishing what runs; Ctrl-C again stops at once".into() });
            }
        }
    }
    Built { success: !interrupted && !engine.failed && engine.queue.is_over(), interrupted, living: engine.living }
}

impl Engine {
    fn node(&self, index: Index) -> String {
        self.build.declared[index].node()
    }

    fn send(&self, happening: Happening) {
        self.build.events.send(happening);
    }

    /// The manifest with all that is known now.
    fn wanted(&self, index: Index) -> Wanted {
        wanted(&self.build.declared[index], &self.build.environment, &self.run, |service, kind, namespace, name| {
            let position = self.build.declared.iter().position(|other| {
                other.schema.service == service
                    && other.schema.kind == kind
                    && other.resource.name() == name
                    && other.resource.namespace().unwrap_or("default") == namespace
            })?;
            Some(self.living.get(&position)?.outputs())
        })
    }

    fn task(&self, index: Index) -> Option<Task> {
        let wanted = self.wanted(index);
        Some(Task {
            kind: aws::kind(wanted.declared.schema)?,
            cloud: self.build.cloud.clone(),
            environment: self.build.environment.clone(),
            node: wanted.declared.node(),
            events: self.build.events.clone(),
            calls: self.calls.clone(),
            stop: self.build.stop.clone(),
            deadline: Instant::now() + SETTLING + Duration::from_secs(u64::from(wanted.declared.schema.seconds) * 4),
            wanted,
        })
    }

    fn start(&mut self, index: Index) {
        self.send(Happening::Started { node: self.node(index), action: self.actions[index], objects: 1 });
        let found = self.build.observation.found.get(&index).cloned();
        let (sender, task) = (self.sender.clone(), self.task(index));
        let marks = found.as_ref().is_some_and(|found| !found.ours && found.wants_marks(&self.build.declared[index], &self.build.environment));
        self.wrote[index] = found.is_none() || marks;
        tokio::spawn(async move {
            let made = match (found, task) {
                (Some(found), Some(task)) if marks => task.mark(found.living).await,
                (Some(found), _) => Ok(found.living),
                (None, Some(task)) => task.make().await,
                (None, None) => Err("its kind is not known".to_owned()),
            };
            let _ = sender.send(Message::Made(index, made));
        });
    }

    /// Completes what is made and has all that it refers to; gives how many tasks were started.
    fn complete(&mut self) -> usize {
        let mut started = 0;
        for index in 0..self.completing.len() {
            let is_made = self.living.contains_key(&index) && self.queue.stage(index) == super::queue::Stage::Applied;
            if !is_made || self.completing[index] || !self.queue.waits_for(index).is_empty() {
                continue;
            }
            let (Some(task), Some(living)) = (self.task(index), self.living.get(&index).cloned()) else { continue };
            self.completing[index] = true;
            started += 1;
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let completed = task.complete(living).await;
                let _ = sender.send(Message::Completed(index, completed));
            });
        }
        started
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Made(index, Ok(living)) => {
                self.living.insert(index, living);
                for blocked in self.queue.applied(index) {
                    self.block(blocked);
                }
            }
            Message::Completed(index, Ok((living, wrote))) => {
                self.living.insert(index, living);
                self.wrote[index] |= wrote;
                for ready in self.queue.healthy(index) {
                    let result = if self.wrote[ready] { Outcome::Ready } else { Outcome::Unchanged };
                    self.send(Happening::Finished { node: self.node(ready), action: self.actions[ready], result, error: None });
                }
            }
            Message::Made(index, Err(error)) | Message::Completed(index, Err(error)) => {
                self.failed = true;
                let declared = &self.build.declared[index];
                let place = declared.origin().map(|origin| format!(" ({origin})")).unwrap_or_default();
                let error = format!("{}{place}: {error}", declared.resource.id());
                self.send(Happening::Finished { node: self.node(index), action: self.actions[index], result: Outcome::Failed, error: Some(error) });
                for blocked in self.queue.failed(index) {
                    self.block(blocked);
                }
            }
        }
    }

    fn block(&self, index: Index) {
        let on: Vec<String> =
            self.queue.waits_for(index).into_iter().map(|(other, reason)| format!("{} ({reason})", self.node(other))).collect();
        let error = (!on.is_empty()).then(|| format!("waits for {}", on.join(", ")));
        self.send(Happening::Finished { node: self.node(index), action: self.actions[index], result: Outcome::Blocked, error });
    }
}

/// One resource's work.
struct Task {
    kind: &'static dyn Kind,
    cloud: Arc<Cloud>,
    wanted: Wanted,
    environment: String,
    node: String,
    events: Events,
    calls: Arc<Semaphore>,
    stop: watch::Receiver<u8>,
    deadline: Instant,
}

impl Task {
    async fn make(&self) -> Result<Living, String> {
        self.patiently("make", || self.kind.create(&self.cloud, &self.wanted)).await
    }

    /// Takes over what lives: the next run knows it for certain, and `destroy` as ours.
    async fn mark(&self, living: Living) -> Result<Living, String> {
        let marks = self.wanted.declared.marks(&self.environment);
        self.patiently("mark", || aws::mark(&self.cloud, &self.wanted.declared, &living, &marks)).await?;
        Ok(living)
    }

    /// Waits until it can be used and is as declared. Gives it, and whether anything was changed.
    async fn complete(&self, mut living: Living) -> Result<(Living, bool), String> {
        let mut wrote = false;
        let mut rounds = 0;
        let mut last: Vec<Difference> = Vec::new();
        loop {
            living = self.usable(living).await?;
            let mut found = differences(self.wanted.declared.schema, &self.wanted.spec, &living.spec, &living.tags);
            found.retain(|difference| !self.wanted.unknown.iter().any(|unknown| unknown.starts_with(difference.path)));
            if found.is_empty() {
                return Ok((living, wrote));
            }
            if let Some(fixed) = found.iter().find(|difference| difference.change == Change::Never) {
                return Err(format!("spec.{} is {} in Git and {} in AWS, which cannot change it in place", fixed.path, fixed.declared, fixed.living));
            }
            rounds += 1;
            if rounds > ROUNDS {
                let paths: Vec<String> = found.iter().map(|one| format!("{} (declared {}, lives {})", one.path, one.declared, one.living)).collect();
                return Err(format!("AWS took the change and still tells otherwise: {}", paths.join(", ")));
            }
            if found == last {
                // Changed already, and not told yet: reads are behind writes for a moment.
                self.pause(1).await?;
            }
            self.patiently("change", || self.kind.update(&self.cloud, &self.wanted, &living, &found)).await?;
            wrote = true;
            last = found;
        }
    }

    async fn usable(&self, mut living: Living) -> Result<Living, String> {
        let mut told = String::new();
        let unseen_until = Instant::now() + SETTLING;
        loop {
            let seen = self.patiently("look at", || self.kind.look(&self.cloud, &living)).await?;
            let word = match seen {
                Some(seen) => {
                    let state = seen.state.clone();
                    living = seen;
                    match state {
                        State::Ready => return Ok(living),
                        State::Pending(word) => word,
                        State::Failed(word) => return Err(format!("{} is {word}", living.id)),
                        State::Leaving(word) => return Err(format!("{} is {word}: somebody deletes it", living.id)),
                    }
                }
                None if Instant::now() < unseen_until => "not seen yet".to_owned(),
                None => return Err(format!("{} is gone: somebody deleted it", living.id)),
            };
            if word != told {
                self.events.send(Happening::Progress { node: self.node.clone(), ready: 0, of: 1, message: format!("{}: {word}", living.id) });
                told = word;
            }
            if Instant::now() > self.deadline {
                return Err(format!("{} is still {told}; the same command again goes on waiting", living.id));
            }
            self.pause(self.kind.poll()).await?;
        }
    }

    /// Tries a call again while what stands against it may pass: what it names is seconds old, something else still holds it.
    async fn patiently<T, F: Future<Output = Result<T, CloudError>>>(&self, verb: &str, call: impl Fn() -> F) -> Result<T, String> {
        let until = Instant::now() + SETTLING;
        let mut told = false;
        loop {
            let result = {
                let _permit = self.calls.acquire().await;
                call().await
            };
            let error = match result {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let may_pass = matches!(error.meaning, Meaning::Absent | Meaning::Dependency | Meaning::Throttled | Meaning::Unreachable);
            if !may_pass || Instant::now() > until {
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                return Err(format!("cannot {verb} it: {error}{hint}"));
            }
            if !std::mem::replace(&mut told, true) {
                self.events.send(Happening::Retried { node: self.node.clone(), error: error.to_string() });
            }
            self.pause(2).await?;
        }
    }

    /// The provider's own minimum between two looks; ends at once when the user asks to stop.
    async fn pause(&self, seconds: u32) -> Result<(), String> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(self.cloud.pace(seconds)) => Ok(()),
            _ = stop.wait_for(|count| *count > 0) => Err("stopped waiting for it; the same command goes on from here".to_owned()),
        }
    }
}

/// What layers and variables may use of a resource that lives.
pub fn outputs(built: &Built, position: usize) -> Option<Value> {
    built.living.get(&position).map(Living::outputs)
}
