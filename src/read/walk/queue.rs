//! Rendering on all cores: layers go to the workers, and come back rendered.

use super::super::ReadError;
use crate::manifest::Resource;
use crate::manifest::yaml::STACK;
use crate::render::argo::Part;
use crate::render::{RenderError, Rendered, Renderer, Request};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

/// What a worker renders.
pub(super) enum Job {
    Layer(Box<Request>),
    /// The sources of an Application.
    Application(Vec<Part>),
    /// The chart of a HelmRelease.
    Chart(Box<Part>),
}

/// What became of it.
pub(super) enum Answer {
    Layer(Result<Rendered, RenderError>),
    Application(Vec<Result<Vec<Resource>, RenderError>>),
}

/// Jobs for the workers, and their answers.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<(usize, Job)>,
    answers: Vec<(usize, Answer)>,
    running: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: std::sync::MutexGuard<'g, QueueState>) -> std::sync::MutexGuard<'g, QueueState> {
        self.changed.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn push(&self, index: usize, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back((index, job));
        state.running += 1;
        self.changed.notify_all();
    }

    /// Answers that are there; waits for one while jobs run. Empty when nothing runs.
    pub(super) fn answers(&self) -> Vec<(usize, Answer)> {
        let mut state = self.lock();
        while state.answers.is_empty() && state.running > 0 {
            state = self.wait(state);
        }
        std::mem::take(&mut state.answers)
    }

    pub(super) fn work(&self, renderer: &Renderer) {
        loop {
            let (index, job) = {
                let mut state = self.lock();
                loop {
                    if let Some(job) = state.jobs.pop_front() {
                        break job;
                    }
                    if state.closed {
                        return;
                    }
                    state = self.wait(state);
                }
            };
            let answer = match job {
                Job::Layer(request) => Answer::Layer(renderer.render(&request)),
                Job::Chart(part) => Answer::Application(vec![renderer.render_chart(&part)]),
                Job::Application(parts) => Answer::Application(parts.iter().map(|part| renderer.render_application(part)).collect()),
            };
            let mut state = self.lock();
            state.answers.push((index, answer));
            state.running -= 1;
            self.changed.notify_all();
        }
    }
}

/// Lets workers on all cores answer what `ask` pushes.
pub(super) fn with_workers<T>(renderer: &Renderer, ask: impl FnOnce(&Queue) -> Result<T, ReadError>) -> Result<T, ReadError> {
    let queue = Queue::default();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let _close = Close(&queue);
        let worker = || std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || queue.work(renderer));
        let started = (0..workers).filter(|_| worker().is_ok()).count();
        if started == 0 { Err(ReadError::Stopped) } else { ask(&queue) }
    })
}

/// What charts make, in their order.
pub(crate) fn charts(renderer: &Renderer, charts: Vec<Part>) -> Result<Vec<Result<Vec<Resource>, RenderError>>, ReadError> {
    with_workers(renderer, |queue| {
        let mut answers: Vec<(usize, Result<Vec<Resource>, RenderError>)> = Vec::with_capacity(charts.len());
        charts.into_iter().enumerate().for_each(|(index, part)| queue.push(index, Job::Chart(Box::new(part))));
        loop {
            let found = queue.answers();
            if found.is_empty() {
                break;
            }
            for (index, answer) in found {
                if let Answer::Application(made) = answer {
                    answers.extend(made.into_iter().map(|made| (index, made)));
                }
            }
        }
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, made)| made).collect())
    })
}

/// Closes the queue however the walk ends, so that no worker waits for ever.
struct Close<'q>(&'q Queue);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}
