//! What stands in front of the AWS emulator: every call is recorded, and what an emulator leaves out is added.
//!
//! ```text
//! call    a call and an answer, in the words of their protocol
//! moto    the emulator: calls are forwarded, questions asked
//! clock   how long a kind of resource takes, on the sandbox's scale
//! eks     EKS, in moto's place
//! ecr     its cache rules, which moto has not
//! states  pending and creating, where moto is done at once
//! fresh   eventual consistency
//! holds   what stands against a deletion
//! tokens  what may be made only once: client tokens, listeners
//! faults  latency, 5xx, throttling, dropped connections
//! control what the sandbox's own verbs ask of the edge
//! ```

mod call;
mod clock;
mod control;
mod ecr;
mod eks;
mod faults;
mod fresh;
mod holds;
mod moto;
mod records;
mod states;
mod tables;
mod tokens;

pub use call::Call;
pub use control::Control;
pub use eks::ApiServer;
pub use faults::Faults;

use super::{Credentials, SandboxError};
use call::{Answer, Asked};
use clock::Clock;
use eks::{Around, Eks};
use faults::Fault;
use fresh::Fresh;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use moto::Moto;
use states::States;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokens::Tokens;
use tokio::net::TcpListener;

/// A running edge; ends with its owner.
#[derive(Debug)]
pub struct Edge {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    moto: Moto,
    eks: Eks,
    rules: ecr::Rules,
    tables: tables::Tables,
    states: States,
    fresh: Fresh,
    tokens: Tokens,
    clock: Mutex<Clock>,
    api_server: Mutex<Option<ApiServer>>,
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Faults>,
    /// A region that does not answer.
    lost: Mutex<Option<String>>,
    dice: Mutex<fastrand::Rng>,
    /// Part of the path of the edge's own questions: who does not know it cannot ask them.
    secret: String,
    keys: Credentials,
}

impl Edge {
    /// Stands in front of `upstream` (`http://127.0.0.1:PORT`) on a free port; the same seed gives the same faults to the same calls in a row.
    /// What is made is there at once, until a time scale is set.
    pub async fn start(upstream: &str, seed: u64) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Io { what: "edge".to_owned(), source };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let shared = Arc::new(Shared {
            moto: Moto::new(upstream),
            eks: Eks::default(),
            rules: ecr::Rules::default(),
            tables: tables::Tables::default(),
            states: States::default(),
            fresh: Fresh::default(),
            tokens: Tokens::default(),
            clock: Mutex::default(),
            api_server: Mutex::default(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            lost: Mutex::default(),
            dice: Mutex::new(fastrand::Rng::with_seed(seed)),
            secret: super::state::random()?,
            keys: Credentials { id: format!("AKIA{}", &super::state::random()?.to_uppercase()[..16]), secret: super::state::random()? },
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { port, shared, task })
    }

    /// Where all services answer.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the edge's own questions are answered; secret.
    pub fn control(&self) -> Control {
        Control::new(format!("{}/{}/{}", self.endpoint(), control::PATH, self.shared.secret))
    }

    /// The keys whose tokens the clusters take.
    pub fn keys(&self) -> &Credentials {
        &self.shared.keys
    }

    /// Where the clusters lead to; a made-up address where nothing is told.
    pub fn set_api_server(&self, server: ApiServer) {
        *lock(&self.shared.api_server) = Some(server);
    }

    /// Seconds here for one in AWS: 1/60 makes a NAT gateway in two seconds.
    pub fn set_time_scale(&self, scale: f64) {
        lock(&self.shared.clock).scale = scale;
    }

    /// Unscaled times for single resources: by name, or by the beginning of an ID (`nat-*`).
    pub fn set_durations(&self, durations: BTreeMap<String, Duration>) {
        lock(&self.shared.clock).durations = durations;
    }

    /// Faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// No call to this region is answered from now on.
    pub fn lose_region(&self, region: String) {
        *lock(&self.shared.lost) = Some(region);
    }

    /// All calls so far; forgotten with this.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.shared.calls))
    }
}

impl Shared {
    fn set_faults(&self, faults: Faults) {
        self.fresh.set_window(faults.consistency);
        *lock(&self.faults) = faults;
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, shared.clone()));
            // A client that goes away is no trouble of ours.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// An error here closes the connection without an answer. A call that has come in is carried out, though its caller may be dead by then.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<bytes::Bytes>>, String> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let asked = Asked::new(parts.method, parts.uri, parts.headers, body);
    let answered = tokio::spawn(async move { on_record(asked, &shared).await }).await;
    Ok(answered.map_err(|error| error.to_string())??.into_response())
}

/// Answers, or fails on purpose.
async fn on_record(asked: Asked, shared: &Shared) -> Result<Answer, String> {
    if let Some(question) = control::question(&asked, &shared.secret) {
        return Ok(control::answer(question, &asked, shared).await);
    }
    if lock(&shared.lost).as_ref() == Some(&asked.region) {
        return Err(format!("{} is lost", asked.region));
    }
    let (faults, chance) = (lock(&shared.faults).clone(), lock(&shared.dice).f64());
    tokio::time::sleep(faults.latency).await;
    let fault = faults.draw(chance);
    let answer = match fault {
        Some(Fault::Error) => Answer::text(http::StatusCode::SERVICE_UNAVAILABLE, faults::WORDS),
        Some(Fault::Throttled) => faults::throttled(&asked.service),
        Some(Fault::Dropped) | None => carry_out(&asked, shared).await?,
    };
    let dropped = fault == Some(Fault::Dropped);
    let status = if dropped { 0 } else { answer.status.as_u16() };
    let call = Call { time: jiff::Timestamp::now(), writes: asked.writes(), service: asked.service, operation: asked.operation, status };
    lock(&shared.calls).push(call);
    if dropped { Err("dropped".to_owned()) } else { Ok(answer) }
}

async fn carry_out(asked: &Asked, shared: &Shared) -> Result<Answer, String> {
    let clock = lock(&shared.clock).clone();
    if asked.service == "eks" {
        let api_server = lock(&shared.api_server).clone();
        return Ok(shared.eks.answer(asked, &Around { moto: &shared.moto, fresh: &shared.fresh, clock, api_server }).await);
    }
    if let Some(answer) = shared.rules.answer(asked) {
        return Ok(answer);
    }
    let mut first = shared.tokens.first(asked).await;
    if let Some(answer) = first.as_ref().and_then(tokens::First::answer) {
        return Ok(shared.states.told(asked, answer.clone()));
    }
    if let Some(refusal) = shared.fresh.refusal(asked) {
        return Ok(refusal);
    }
    if let Some(refusal) = holds::refusal(asked, &shared.moto, &shared.eks).await? {
        return Ok(refusal);
    }
    if let Some(refusal) = tokens::refusal(asked, &shared.moto).await {
        return Ok(refusal);
    }
    let mut answer = shared.moto.forward(asked).await?;
    if let Some(better) = records::again(asked, &answer, &shared.moto).await? {
        answer = better;
    }
    if answer.status.is_success() {
        holds::let_go(asked, &shared.moto).await?;
        shared.tables.remember(asked);
        shared.states.begin(asked, &answer, &clock);
        shared.fresh.remember(asked, &answer);
        if let Some(first) = first.as_mut() {
            first.keep(&answer);
        }
    }
    Ok(shared.fresh.hidden(asked, shared.states.told(asked, shared.tables.told(asked, answer))))
}
