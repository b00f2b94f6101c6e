//! One cloud resource's work: made once, completed, awaited.

use crate::aws::observe::{candidate, differing};
use crate::aws::{self, Cloud, CloudError, Kind, Living, Meaning, State, Wanted};
use crate::execute::Events;
use crate::execute::journal::{DOUBT, Journal};
use crate::layers::infrastructure::{Candidate, Change, Difference, Match, identify};
use crate::report::event::Happening;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// How long a new resource may be unknown to the calls that follow, and how long what blocks a call may take to pass.
pub(super) const SETTLING: Duration = Duration::from_secs(120);
/// Rounds of comparing and changing before a difference counts as one that does not go away.
const ROUNDS: usize = 6;

pub(super) struct Task {
    pub(super) kind: &'static dyn Kind,
    pub(super) cloud: Arc<Cloud>,
    pub(super) wanted: Wanted,
    pub(super) environment: String,
    pub(super) node: String,
    pub(super) events: Events,
    pub(super) calls: Arc<Semaphore>,
    pub(super) stop: watch::Receiver<u8>,
    pub(super) deadline: Instant,
    pub(super) journal: Option<Arc<Journal>>,
}

/// Why a call was given up.
enum GivenUp {
    Refused(CloudError),
    Stopped,
}

impl GivenUp {
    fn tell(self, verb: &str) -> String {
        match self {
            GivenUp::Refused(error) => {
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                format!("cannot {verb} it: {error}{hint}")
            }
            GivenUp::Stopped => "stopped waiting for it; the same command goes on from here".to_owned(),
        }
    }
}

impl Task {
    /// Makes it, once: where nobody answered, or AWS says that it exists, it is looked for before it is tried again.
    pub(super) async fn make(&self) -> Result<Living, String> {
        let until = Instant::now() + SETTLING;
        loop {
            if let Some(journal) = &self.journal {
                journal.note();
            }
            let made =
                self.patiently(|error| is_passing(error) && !is_doubtful(error), || self.kind.create(&self.cloud, &self.wanted)).await;
            let error = match made {
                Ok(living) => return Ok(living),
                Err(GivenUp::Refused(error)) if is_doubtful(&error) => error,
                Err(given_up) => return Err(given_up.tell("make")),
            };
            if let Some(living) = self.find().await? {
                return Ok(living);
            }
            if error.meaning == Meaning::Exists || Instant::now() > until {
                return Err(GivenUp::Refused(error).tell("make"));
            }
        }
    }

    /// Takes over what lives: the next run knows it for certain, and `destroy` as ours.
    pub(super) async fn mark(&self, living: Living) -> Result<Living, String> {
        let marks = self.wanted.declared.marks(&self.environment);
        let mark = || aws::mark(&self.cloud, &self.wanted.declared, &living, &marks);
        self.patiently(is_passing, mark).await.map_err(|given_up| given_up.tell("mark"))?;
        Ok(living)
    }

    /// What a create call may have made although it did not say so; lists are behind for a moment.
    async fn find(&self) -> Result<Option<Living>, String> {
        let until = Instant::now() + DOUBT;
        loop {
            let wanted = std::slice::from_ref(&self.wanted);
            let list =
                self.patiently(is_passing, || self.kind.list(&self.cloud, wanted)).await.map_err(|given_up| given_up.tell("look for"))?;
            let candidates: Vec<Candidate<'_>> = list.iter().map(candidate).collect();
            match identify(&self.wanted.declared, &self.wanted.spec, &self.environment, &candidates) {
                Match::One { position, .. } => return Ok(Some(list[position].clone())),
                Match::Several { positions, .. } => {
                    let ids: Vec<&str> = positions.iter().map(|&position| list[position].id.as_str()).collect();
                    return Err(format!("lives more than once: {}", ids.join(", ")));
                }
                Match::None if Instant::now() > until => return Ok(None),
                Match::None => self.pause(1).await.map_err(|given_up| given_up.tell("look for"))?,
            }
        }
    }

    /// Waits until it can be used and is as declared. Gives it, and whether anything was changed. What `is_seen` was looked at already.
    pub(super) async fn complete(&self, mut living: Living, mut is_seen: bool) -> Result<(Living, bool), String> {
        let mut wrote = false;
        let mut rounds = 0;
        let mut last: Vec<Difference> = Vec::new();
        loop {
            if !std::mem::take(&mut is_seen) || living.state != State::Ready {
                living = self.usable(living).await?;
            }
            let found = differing(self.wanted.declared.schema, &self.wanted.spec, &self.wanted.unknown, &living);
            if found.is_empty() {
                return Ok((living, wrote));
            }
            if let Some(fixed) = found.iter().find(|difference| difference.change == Change::Never) {
                return Err(format!(
                    "spec.{} is {} in Git and {} in AWS, which cannot change it in place",
                    fixed.path, fixed.declared, fixed.living
                ));
            }
            rounds += 1;
            if rounds > ROUNDS {
                let paths: Vec<String> =
                    found.iter().map(|one| format!("{} (declared {}, lives {})", one.path, one.declared, one.living)).collect();
                return Err(format!("AWS took the change and still tells otherwise: {}", paths.join(", ")));
            }
            if found == last {
                // Changed already, and not told yet: reads are behind writes for a moment.
                self.pause(1).await.map_err(|given_up| given_up.tell("change"))?;
            }
            match self.patiently(is_passing, || self.kind.update(&self.cloud, &self.wanted, &living, &found)).await {
                // Done already, by a call that nobody answered: the next look tells.
                Ok(()) | Err(GivenUp::Refused(CloudError { meaning: Meaning::Exists, .. })) => {}
                Err(given_up) => return Err(given_up.tell("change")),
            }
            wrote = true;
            last = found;
        }
    }

    async fn usable(&self, mut living: Living) -> Result<Living, String> {
        let mut told = String::new();
        let unseen_until = Instant::now() + SETTLING;
        loop {
            let look = || self.kind.look(&self.cloud, &living);
            let word = match self.patiently(is_passing, look).await.map_err(|given_up| given_up.tell("look at"))? {
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
                self.events.send(Happening::Progress {
                    node: self.node.clone(),
                    ready: 0,
                    of: 1,
                    message: format!("{}: {word}", living.id),
                });
                told = word;
            }
            if Instant::now() > self.deadline {
                return Err(format!("{} is still {told}; the same command again goes on waiting", living.id));
            }
            self.pause(self.kind.poll()).await.map_err(|given_up| given_up.tell("wait for"))?;
        }
    }

    /// Tries a call again while what stands against it may pass: what it names is seconds old, something else still holds it.
    async fn patiently<T, F>(&self, may_pass: impl Fn(&CloudError) -> bool, call: impl Fn() -> F) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, CloudError>>,
    {
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
            if !may_pass(&error) || Instant::now() > until {
                return Err(GivenUp::Refused(error));
            }
            if !std::mem::replace(&mut told, true) {
                self.events.send(Happening::Retried { node: self.node.clone(), error: error.to_string() });
            }
            self.pause(2).await?;
        }
    }

    /// The provider's own minimum between two looks; ends at once when the user asks to stop.
    async fn pause(&self, seconds: u32) -> Result<(), GivenUp> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(self.cloud.pace(seconds)) => Ok(()),
            _ = stop.wait_for(|count| *count > 0) => Err(GivenUp::Stopped),
        }
    }
}

/// What stands against a call and may pass.
fn is_passing(error: &CloudError) -> bool {
    matches!(error.meaning, Meaning::Absent | Meaning::Dependency | Meaning::Throttled | Meaning::Unreachable)
}

/// A create call may have done its work all the same.
fn is_doubtful(error: &CloudError) -> bool {
    matches!(error.meaning, Meaning::Exists | Meaning::Unreachable)
}
