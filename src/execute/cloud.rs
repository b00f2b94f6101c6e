//! Makes cloud resources, each as soon as what it needs is there, and waits until they can be used.
//!
//! What lives is looked at first, all at once; what is missing is made with one call and then completed: each round looks, compares
//! and changes what differs, so that a run that died anywhere is gone on with by the next.

use super::Events;
use super::command::{Job, Surroundings};
use super::journal::{self, Journal};
use super::progress::{Made, Progress};
use super::queue::{Index, Queue};
use crate::aws::observe::{Found, Observation, wanted};
use crate::aws::{self, Cloud, Living, VOLUME, Wanted};
use crate::layers::infrastructure::{Change, Declared, filled};
use crate::plan::{Action, Edge};
use crate::problem::Problem;
use crate::report::event::{Happening, Outcome};
use crate::restore::Backup;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use task::Task;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

mod task;

/// Calls under way at once, over all services; the SDK slows down by itself where a service throttles.
const CALLS: usize = 32;

/// What is to be made, and how.
#[derive(Debug)]
pub struct Build {
    /// The account; none where there are commands only.
    pub cloud: Option<Arc<Cloud>>,
    /// Name of the environment.
    pub environment: String,
    /// Folder of its file.
    pub base: PathBuf,
    /// The manifests.
    pub declared: Vec<Declared>,
    /// The commands.
    pub commands: Vec<Job>,
    /// What waits for what, by node ids.
    pub edges: Vec<Edge>,
    /// What lives.
    pub observation: Observation,
    /// Backups that lost ones are made from, by position of the manifest.
    pub backups: HashMap<usize, Backup>,
    /// Where events go.
    pub events: Events,
    /// What is remembered of create calls, should this process be killed.
    pub journal: Option<Arc<Journal>>,
    /// Who waits for single resources hears of them here.
    pub progress: Progress,
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
            let message = format!(
                "{id}: {} exists already ({}), and blackstart did not make it; nothing was written",
                found.living.id, found.evidence
            );
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
    /// A command gave this, and whether it was run.
    Commanded(Index, Result<(Value, bool), String>),
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
    let nodes: Vec<String> = build.declared.iter().map(Declared::node).chain(build.commands.iter().map(|job| job.command.node())).collect();
    let mut stop = build.stop.clone();
    let mut engine = Engine {
        queue: Queue::new(nodes.iter().map(String::as_str), &build.edges),
        living: HashMap::new(),
        actions: (0..build.declared.len())
            .map(|position| {
                let is_restored = build.backups.contains_key(&position) || std::ptr::eq(build.declared[position].schema, &raw const VOLUME);
                if is_restored { Action::Restore } else { action(build.observation.found.get(&position)) }
            })
            .chain(build.commands.iter().map(Job::action))
            .collect(),
        wrote: vec![false; nodes.len()],
        completing: vec![false; nodes.len()],
        sender,
        calls: Arc::new(Semaphore::new(CALLS)),
        run: build.journal.as_ref().map_or_else(journal::new_run, |journal| journal.run().to_owned()),
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
    engine.build.progress.over();
    if running == 0
        && let Some(journal) = &engine.build.journal
    {
        journal.close();
    }
    Built { success: !interrupted && !engine.failed && engine.queue.is_over(), interrupted, living: engine.living }
}

impl Engine {
    fn node(&self, index: Index) -> String {
        match self.build.declared.get(index) {
            Some(declared) => declared.node(),
            None => self.build.commands[index - self.build.declared.len()].command.node(),
        }
    }

    fn send(&self, happening: Happening) {
        self.build.events.send(happening);
    }

    /// The manifest with all that is known now.
    fn wanted(&self, index: Index) -> Result<Wanted, String> {
        let filled = filled(&self.build.declared[index], |output| output.of(&self.build.progress.made(&output.node)?.outputs).cloned())?;
        if let Some(output) = filled.open.first() {
            return Err(format!("{} gives no {}, which is needed as {}", output.node, output.field, output.variable));
        }
        let mut wanted = wanted(&filled.declared, &self.build.environment, &self.run, |service, kind, namespace, name| {
            let position = self.build.declared.iter().position(|other| other.is_named(service, kind, namespace, name))?;
            Some(self.living.get(&position)?.outputs())
        });
        wanted.backup = self.build.backups.get(&index).map(|backup| backup.id.clone());
        Ok(wanted)
    }

    fn task(&self, index: Index) -> Result<Task, String> {
        let wanted = self.wanted(index)?;
        Ok(Task {
            kind: aws::kind(wanted.declared.schema).ok_or("its kind is not known")?,
            cloud: self.build.cloud.clone().ok_or("there is no account to make it in")?,
            environment: self.build.environment.clone(),
            node: wanted.declared.node(),
            events: self.build.events.clone(),
            calls: self.calls.clone(),
            stop: self.build.stop.clone(),
            deadline: Instant::now() + task::SETTLING + Duration::from_secs(u64::from(wanted.declared.schema.seconds) * 4),
            journal: self.build.journal.clone(),
            wanted,
        })
    }

    fn start(&mut self, index: Index) {
        self.send(Happening::Started { node: self.node(index), action: self.actions[index], objects: 1 });
        if index >= self.build.declared.len() {
            return self.command(index);
        }
        let found = self.build.observation.found.get(&index).cloned();
        let (sender, task) = (self.sender.clone(), self.task(index));
        let marks =
            found.as_ref().is_some_and(|found| !found.ours && found.wants_marks(&self.build.declared[index], &self.build.environment));
        self.wrote[index] = found.is_none() || marks;
        tokio::spawn(async move {
            let made = match (found, task) {
                (Some(found), Ok(task)) if marks => task.mark(found.living).await,
                (Some(found), _) => Ok(found.living),
                (None, Ok(task)) => task.make().await,
                (None, Err(why)) => Err(why),
            };
            let _ = sender.send(Message::Made(index, made));
        });
    }

    fn command(&self, index: Index) {
        let (job, sender, progress) =
            (self.build.commands[index - self.build.declared.len()].clone(), self.sender.clone(), self.build.progress.clone());
        let surroundings = Surroundings {
            base: self.build.base.clone(),
            cloud: self.build.cloud.clone(),
            events: self.build.events.clone(),
            stop: self.build.stop.clone(),
        };
        tokio::spawn(async move {
            let done = job.carry_out(|output| output.of(&progress.made(&output.node)?.outputs).cloned(), &surroundings).await;
            let _ = sender.send(Message::Commanded(index, done));
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
            let (task, Some(living)) = (self.task(index), self.living.get(&index).cloned()) else { continue };
            self.completing[index] = true;
            started += 1;
            let sender = self.sender.clone();
            let is_seen = self.build.observation.found.contains_key(&index);
            tokio::spawn(async move {
                let completed = match task {
                    Ok(task) => task.complete(living, is_seen).await,
                    Err(why) => Err(why),
                };
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
                let freed = self.queue.freed(index);
                self.are_ready(freed);
            }
            Message::Completed(index, Ok((living, wrote))) => {
                self.living.insert(index, living);
                self.wrote[index] |= wrote;
                self.ready(index);
            }
            Message::Made(index, Err(error)) | Message::Completed(index, Err(error)) => {
                self.fail(index, self.build.declared[index].error(error));
            }
            Message::Commanded(index, Ok((outputs, ran))) => {
                self.wrote[index] = ran;
                self.build.progress.ready(self.node(index), Made { outputs, living: None });
                for blocked in self.queue.applied(index) {
                    self.block(blocked);
                }
                let freed = self.queue.freed(index);
                self.are_ready(freed);
                self.ready(index);
            }
            Message::Commanded(index, Err(error)) => self.fail(index, error),
        }
    }

    fn ready(&mut self, index: Index) {
        let ready = self.queue.healthy(index);
        self.are_ready(ready);
    }

    fn are_ready(&mut self, nodes: Vec<Index>) {
        for ready in nodes {
            let result = if self.wrote[ready] { Outcome::Ready } else { Outcome::Unchanged };
            if let Some(living) = self.living.get(&ready) {
                self.build.progress.ready(self.node(ready), Made::of(living));
            }
            self.send(Happening::Finished { node: self.node(ready), action: self.actions[ready], result, error: None });
        }
    }

    fn fail(&mut self, index: Index, error: String) {
        self.failed = true;
        self.build.progress.failed(self.node(index), error.clone());
        self.send(Happening::Finished { node: self.node(index), action: self.actions[index], result: Outcome::Failed, error: Some(error) });
        for blocked in self.queue.failed(index) {
            self.block(blocked);
        }
    }

    fn block(&self, index: Index) {
        let on: Vec<String> =
            self.queue.waits_for(index).into_iter().map(|(other, reason)| format!("{} ({reason})", self.node(other))).collect();
        let error = (!on.is_empty()).then(|| format!("waits for {}", on.join(", ")));
        self.build.progress.failed(self.node(index), error.clone().unwrap_or_default());
        self.send(Happening::Finished { node: self.node(index), action: self.actions[index], result: Outcome::Blocked, error });
    }
}
