//! The ready queue: which node may start, which may call itself ready, and what holds the others back.
//! Pure: no I/O, no clock, no threads; whoever drives it tells it what happened.

use crate::plan::{Constraint, Edge};
use std::collections::BTreeMap;

/// Index of a node, in the order in which the nodes were given.
pub type Index = usize;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not started.
    Waiting,
    /// Its work runs.
    Started,
    /// Its objects are written.
    Applied,
    /// Applied, healthy, and all that it waits for is ready.
    Ready,
    /// Its own work failed.
    Failed,
    /// Something before it failed.
    Blocked,
}

impl Stage {
    fn is_over(self) -> bool {
        matches!(self, Stage::Ready | Stage::Failed | Stage::Blocked)
    }
}

#[derive(Debug)]
struct Link {
    other: Index,
    constraint: Constraint,
    reason: String,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    stages: Vec<Stage>,
    /// Whether the objects are written; stays true when the node fails later, since its children may still go on.
    written: Vec<bool>,
    healthy: Vec<bool>,
    before: Vec<Vec<Link>>,
    after: Vec<Vec<Index>>,
    /// Nodes whose state changed since the last call of [`Queue::startable`].
    fresh: Vec<Index>,
}

impl Queue {
    /// From node ids and edges; an edge that names an unknown node holds nothing back (the plan has said so as a problem).
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a str>, edges: impl IntoIterator<Item = &'a Edge>) -> Self {
        let index: BTreeMap<&str, Index> = nodes.into_iter().enumerate().map(|(position, id)| (id, position)).collect();
        let count = index.len();
        let mut before: Vec<Vec<Link>> = (0..count).map(|_| Vec::new()).collect();
        let mut after: Vec<Vec<Index>> = vec![Vec::new(); count];
        for edge in edges {
            if let (Some(&from), Some(&to)) = (index.get(edge.from.as_str()), index.get(edge.to.as_str())) {
                before[to].push(Link { other: from, constraint: edge.constraint, reason: edge.reason.clone() });
                after[from].push(to);
            }
        }
        Self {
            stages: vec![Stage::Waiting; count],
            written: vec![false; count],
            healthy: vec![false; count],
            before,
            after,
            fresh: (0..count).collect(),
        }
    }

    /// Where a node stands.
    pub fn stage(&self, node: Index) -> Stage {
        self.stages[node]
    }

    /// Nodes that may start now, each given out once; the caller starts them all.
    pub fn startable(&mut self) -> Vec<Index> {
        let mut candidates = std::mem::take(&mut self.fresh);
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|&node| self.stages[node] == Stage::Waiting && self.before[node].iter().all(|link| self.lets_start(link)));
        for &node in &candidates {
            self.stages[node] = Stage::Started;
        }
        candidates
    }

    /// All objects of a started node are written. Gives the nodes that can never be ready now:
    /// not empty only where something that this node waits for failed meanwhile.
    pub fn applied(&mut self, node: Index) -> Vec<Index> {
        self.stages[node] = Stage::Applied;
        self.written[node] = true;
        self.fresh.extend(&self.after[node]);
        if self.is_hopeless(node) {
            self.stages[node] = Stage::Blocked;
            let mut blocked = self.block_after(node);
            blocked.push(node);
            return blocked;
        }
        Vec::new()
    }

    /// All that the node itself checks is healthy. Gives the nodes that became ready by this, dependents first come last:
    /// the node itself where nothing holds it back, and those that only waited for it.
    pub fn healthy(&mut self, node: Index) -> Vec<Index> {
        self.healthy[node] = true;
        self.settle(vec![node])
    }

    /// Nodes that are healthy already and that only the objects of this one held back: to be asked after [`Queue::applied`].
    /// Gives those that became ready by this, dependents first come last.
    pub fn freed(&mut self, node: Index) -> Vec<Index> {
        self.settle(self.after[node].clone())
    }

    fn settle(&mut self, mut look: Vec<Index>) -> Vec<Index> {
        let mut ready = Vec::new();
        while let Some(candidate) = look.pop() {
            let may = self.stages[candidate] == Stage::Applied
                && self.healthy[candidate]
                && self.before[candidate].iter().all(|link| self.lets_be_ready(link));
            if may {
                self.stages[candidate] = Stage::Ready;
                self.fresh.extend(&self.after[candidate]);
                look.extend(&self.after[candidate]);
                ready.push(candidate);
            }
        }
        ready
    }

    /// The node's own work failed. Gives all nodes that can never be ready now, in no particular order.
    pub fn failed(&mut self, node: Index) -> Vec<Index> {
        self.stages[node] = Stage::Failed;
        self.block_after(node)
    }

    /// Blocks what waits or is applied and can never be ready without `node`, directly or through others.
    /// What is started goes on to its end and is looked at again in [`Queue::applied`].
    fn block_after(&mut self, node: Index) -> Vec<Index> {
        let mut blocked = Vec::new();
        let mut look = vec![node];
        while let Some(cause) = look.pop() {
            for &next in &self.after[cause] {
                let hopeless = self.before[next].iter().filter(|link| link.other == cause).any(|link| match self.stages[next] {
                    Stage::Waiting => !self.lets_be_ready(link) || !self.lets_start(link),
                    Stage::Applied => !self.lets_be_ready(link),
                    _ => false,
                });
                // A node that only its readiness holds back may still start: its own objects and children do not suffer.
                let may_start = self.stages[next] == Stage::Waiting
                    && self.before[next].iter().filter(|link| link.other == cause).all(|link| self.lets_start(link));
                if hopeless && !may_start {
                    self.stages[next] = Stage::Blocked;
                    blocked.push(next);
                    look.push(next);
                }
            }
        }
        blocked
    }

    /// Whether a started or applied node can still become ready.
    pub fn is_hopeless(&self, node: Index) -> bool {
        self.before[node].iter().any(|link| !self.lets_be_ready(link) && matches!(self.stages[link.other], Stage::Failed | Stage::Blocked))
    }

    /// What holds a node back: `(node, reason)`. For an applied node, what its readiness still waits for.
    pub fn waits_for(&self, node: Index) -> Vec<(Index, &str)> {
        self.before[node]
            .iter()
            .filter(|link| match self.stages[node] {
                Stage::Waiting | Stage::Blocked => !self.lets_start(link),
                Stage::Started | Stage::Applied => !self.lets_be_ready(link),
                Stage::Ready | Stage::Failed => false,
            })
            .map(|link| (link.other, link.reason.as_str()))
            .collect()
    }

    /// Nodes that come after this one.
    pub fn dependents(&self, node: Index) -> &[Index] {
        &self.after[node]
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.stages.iter().all(|stage| stage.is_over())
    }

    /// Whether some node's work runs (started, not yet applied).
    pub fn is_applying(&self) -> bool {
        self.stages.contains(&Stage::Started)
    }

    fn lets_start(&self, link: &Link) -> bool {
        match link.constraint {
            Constraint::ReadyBeforeStart => self.stages[link.other] == Stage::Ready,
            Constraint::AppliedBeforeStart => self.written[link.other],
            Constraint::ReadyBeforeReady | Constraint::AppliedBeforeReady => true,
        }
    }

    fn lets_be_ready(&self, link: &Link) -> bool {
        match link.constraint {
            Constraint::ReadyBeforeReady => self.stages[link.other] == Stage::Ready,
            Constraint::AppliedBeforeReady => self.written[link.other],
            Constraint::ReadyBeforeStart | Constraint::AppliedBeforeStart => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_objects_alone_is_ready_when_they_are_written() {
        let mut queue =
            Queue::new(["a", "b", "c"], &[edge("a", "b", Constraint::AppliedBeforeReady), edge("b", "c", Constraint::ReadyBeforeReady)]);
        assert_eq!(queue.startable(), [0, 1, 2]);
        for node in [1, 2] {
            queue.applied(node);
            assert_eq!(queue.healthy(node), [0usize; 0]);
        }
        queue.applied(0);
        assert_eq!(queue.freed(0), [1, 2]);
        // That its own health fails later is nothing to them.
        assert_eq!(queue.failed(0), [0usize; 0]);
        assert!(queue.is_over());
    }

    fn edge(from: &str, to: &str, constraint: Constraint) -> Edge {
        Edge { from: from.into(), to: to.into(), constraint, reason: "test".into(), origin: None }
    }

    #[test]
    fn starts_what_nothing_holds_back_once() {
        let mut queue = Queue::new(["a", "b"], &[edge("a", "b", Constraint::ReadyBeforeStart)]);
        assert_eq!(queue.startable(), [0]);
        assert_eq!(queue.startable(), [0usize; 0]);
        queue.applied(0);
        assert_eq!(queue.startable(), [0usize; 0]);
        assert_eq!(queue.healthy(0), [0]);
        assert_eq!(queue.startable(), [1]);
    }

    #[test]
    fn a_child_starts_when_its_parent_is_applied_and_the_parent_waits_for_it() {
        let edges = [edge("parent", "child", Constraint::AppliedBeforeStart), edge("child", "parent", Constraint::ReadyBeforeReady)];
        let mut queue = Queue::new(["parent", "child"], &edges);
        assert_eq!(queue.startable(), [0]);
        queue.applied(0);
        assert_eq!(queue.healthy(0), [0usize; 0]);
        assert_eq!(queue.waits_for(0), [(1, "test")]);
        assert_eq!(queue.startable(), [1]);
        queue.applied(1);
        assert_eq!(queue.healthy(1), [1, 0]);
        assert!(queue.is_over());
    }

    #[test]
    fn a_failure_blocks_all_that_needs_it_and_nothing_else() {
        let edges = [edge("a", "b", Constraint::ReadyBeforeStart), edge("b", "c", Constraint::ReadyBeforeStart)];
        let mut queue = Queue::new(["a", "b", "c", "d"], &edges);
        assert_eq!(queue.startable(), [0, 3]);
        let mut blocked = queue.failed(0);
        blocked.sort_unstable();
        assert_eq!(blocked, [1, 2]);
        assert_eq!(queue.stage(3), Stage::Started);
        assert_eq!(queue.waits_for(1), [(0, "test")]);
    }

    #[test]
    fn a_failed_child_blocks_the_parent_that_waits_but_not_its_siblings() {
        let edges = [
            edge("parent", "x", Constraint::AppliedBeforeStart),
            edge("parent", "y", Constraint::AppliedBeforeStart),
            edge("x", "parent", Constraint::ReadyBeforeReady),
            edge("y", "parent", Constraint::ReadyBeforeReady),
        ];
        let mut queue = Queue::new(["parent", "x", "y"], &edges);
        queue.startable();
        queue.applied(0);
        assert_eq!(queue.failed(1), [0]);
        queue.healthy(0);
        assert_eq!(queue.stage(0), Stage::Blocked);
        assert_eq!(queue.startable(), [2]);
        queue.applied(2);
        assert_eq!(queue.healthy(2), [2]);
        assert!(queue.is_over());
    }
}
