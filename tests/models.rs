//! Random graphs against naive models of them: cycles, what an edge adds, the ready queue, the longest chain, and the drawing in a terminal.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use blackstart::execute::queue::{Queue, Stage};
use blackstart::forms;
use blackstart::graph::Graph;
use blackstart::layers::{LayerId, SourceId};
use blackstart::plan::estimate::estimate;
use blackstart::plan::{Action, Constraint, Edge, Node, Plan, PlannedLayer};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CONSTRAINTS: [Constraint; 4] =
    [Constraint::ReadyBeforeStart, Constraint::AppliedBeforeStart, Constraint::ReadyBeforeReady, Constraint::AppliedBeforeReady];

type Arrow = (usize, usize, usize);

fn edge(&(from, to, constraint): &Arrow) -> Edge {
    Edge { from: format!("n{from:02}"), to: format!("n{to:02}"), constraint: CONSTRAINTS[constraint], reason: "test".into(), origin: None }
}

/// Edges among so many nodes, in both directions.
fn arrows(nodes: usize, most: usize) -> impl Strategy<Value = Vec<Arrow>> {
    prop::collection::vec((0..nodes, 0..nodes, 0..4_usize), 0..most)
        .prop_map(|all| all.into_iter().filter(|(from, to, _)| from != to).collect())
}

/// The same without cycles: from lower to higher numbers.
fn ordered(nodes: usize, most: usize) -> impl Strategy<Value = Vec<Arrow>> {
    arrows(nodes, most).prop_map(|all| all.into_iter().map(|(from, to, constraint)| (from.min(to), from.max(to), constraint)).collect())
}

/// Moments of a node: start, applied, ready.
fn ends(&(from, to, constraint): &Arrow) -> (usize, usize) {
    match CONSTRAINTS[constraint] {
        Constraint::ReadyBeforeStart => (from * 3 + 2, to * 3),
        Constraint::AppliedBeforeStart => (from * 3 + 1, to * 3),
        Constraint::ReadyBeforeReady => (from * 3 + 2, to * 3 + 2),
        Constraint::AppliedBeforeReady => (from * 3 + 1, to * 3 + 2),
    }
}

const FAR: usize = usize::MAX / 4;

/// Fewest edges from each moment to each other by trying all ways over all moments; steps inside a node cost nothing.
fn distances(nodes: usize, arrows: &[Arrow]) -> Vec<Vec<usize>> {
    let count = nodes * 3;
    let mut far = vec![vec![FAR; count]; count];
    for node in 0..nodes {
        far[node * 3][node * 3 + 1] = 0;
        far[node * 3 + 1][node * 3 + 2] = 0;
    }
    for arrow in arrows {
        let (from, to) = ends(arrow);
        far[from][to] = far[from][to].min(1);
    }
    for middle in 0..count {
        for from in 0..count {
            for to in 0..count {
                far[from][to] = far[from][to].min(far[from][middle] + far[middle][to]);
            }
        }
    }
    far
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_shortest_cycle_of_each_knot_is_told(arrows in arrows(6, 16)) {
        let far = distances(6, &arrows);
        let mut graph = Graph::default();
        for arrow in &arrows {
            graph.add(&edge(arrow));
        }
        // Knots are sets of moments that lead to each other.
        let knots: BTreeSet<Vec<usize>> = (0..18)
            .filter(|&at| far[at][at] < FAR)
            .map(|at| (0..18).filter(|&other| far[at][other] < FAR && far[other][at] < FAR).collect())
            .collect();
        let mut wanted: Vec<usize> = knots.iter().map(|knot| knot.iter().map(|&at| far[at][at]).min().unwrap()).collect();
        wanted.sort_unstable();
        let cycles = graph.shortest_cycles();
        for cycle in &cycles {
            // Each edge leads on to the next one, the last to the first.
            for (at, &number) in cycle.iter().enumerate() {
                let (_, to) = ends(&arrows[number]);
                let (from, _) = ends(&arrows[cycle[(at + 1) % cycle.len()]]);
                prop_assert!(to / 3 == from / 3 && to <= from, "{cycle:?} of {arrows:?}");
            }
        }
        let mut found: Vec<usize> = cycles.iter().map(Vec::len).collect();
        found.sort_unstable();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn an_edge_is_known_for_what_it_adds(arrows in arrows(6, 14), next in (0..6_usize, 0..6_usize, 0..4_usize)) {
        prop_assume!(next.0 != next.1);
        let far = distances(6, &arrows);
        let mut graph = Graph::default();
        for arrow in &arrows {
            graph.add(&edge(arrow));
        }
        let (from, to) = ends(&next);
        prop_assert_eq!(graph.would_close(&edge(&next)), far[to][from] < FAR);
        prop_assert_eq!(graph.holds(&edge(&next)), far[from][to] < FAR);
    }

    #[test]
    fn the_queue_starts_and_ends_what_a_naive_one_would(arrows in ordered(8, 20), choices in prop::collection::vec((0..8_usize, 0..10_u8), 64)) {
        let ids: Vec<String> = (0..8).map(|node| format!("n{node:02}")).collect();
        let edges: Vec<Edge> = arrows.iter().map(edge).collect();
        let mut queue = Queue::new(ids.iter().map(String::as_str), &edges);
        let mut naive = Naive::new(8, &arrows);
        let mut choices = choices.into_iter();
        loop {
            let started: BTreeSet<usize> = queue.startable().into_iter().collect();
            prop_assert_eq!(&started, &naive.start(), "start: {:?}", naive);
            let Some((choice, fate)) = choices.next() else { break };
            // A node whose work runs is written or fails; a written one becomes healthy or fails.
            let open: Vec<usize> = (0..8).filter(|&node| matches!(naive.stages[node], Stage::Started | Stage::Applied) && !naive.healthy[node]).collect();
            let Some(&node) = open.get(choice % open.len().max(1)) else { break };
            if fate == 0 {
                queue.failed(node);
                naive.stages[node] = Stage::Failed;
            } else if naive.stages[node] == Stage::Started {
                queue.applied(node);
                queue.freed(node);
                naive.stages[node] = Stage::Applied;
                naive.written[node] = true;
            } else {
                queue.healthy(node);
                naive.healthy[node] = true;
            }
            naive.settle();
            let stages: Vec<Stage> = (0..8).map(|node| queue.stage(node)).collect();
            prop_assert_eq!(&stages, &naive.stages, "{:?}", arrows);
        }
    }

    #[test]
    fn the_longest_chain_takes_as_long_as_the_slowest_way(arrows in ordered(8, 20), seconds in prop::collection::vec(0..50_u32, 8)) {
        let nodes: Vec<Node> = seconds.iter().enumerate()
            .map(|(node, seconds)| Node { id: format!("n{node:02}"), action: Action::Apply, owner: "", seconds: f64::from(*seconds) }).collect();
        let plan = Plan { nodes, edges: arrows.iter().map(edge).collect(), ..Plan::default() };
        let estimate = estimate(&plan, &BTreeMap::new(), 1.0);
        let chain: f64 = estimate.path.iter().map(|step| step.seconds).sum();
        // Steps of less than a twentieth are left out.
        prop_assert!((chain - estimate.seconds).abs() < 0.4, "{chain} of {estimate:?}");
        let own = f64::from(seconds.iter().copied().max().unwrap());
        prop_assert!(estimate.seconds >= own - 1e-9, "{estimate:?}");
        // Only what waits for a ready node adds up in full: that way is a lower bound.
        let mut ready = [0.0_f64; 8];
        for node in 0..8 {
            let before = arrows.iter().filter(|(_, to, constraint)| *to == node && CONSTRAINTS[*constraint] == Constraint::ReadyBeforeStart);
            let start = before.map(|(from, ..)| ready[*from]).fold(0.0, f64::max);
            ready[node] = start + f64::from(seconds[node]);
        }
        let bound = ready.iter().copied().fold(0.0, f64::max);
        prop_assert!(estimate.seconds >= bound - 1e-9, "{} below {bound}", estimate.seconds);
        let all: u32 = seconds.iter().sum();
        prop_assert!(estimate.seconds <= f64::from(all) + 1e-9, "{estimate:?}");
    }

    #[test]
    fn the_drawing_shows_each_edge_that_no_other_way_implies(pairs in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
        let pairs: BTreeSet<(usize, usize)> = pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (a.min(b), a.max(b))).collect();
        let plan = layers(12, &pairs);
        let text = anstream::adapter::strip_str(&forms::graph(&plan, 200)).to_string();
        let mut wanted = pairs.clone();
        let reaches = |from: usize, to: usize, without: (usize, usize)| {
            let mut open = vec![from];
            let mut seen = BTreeSet::new();
            while let Some(at) = open.pop() {
                for &(_, next) in pairs.iter().filter(|pair| pair.0 == at && **pair != without) {
                    if next == to {
                        return true;
                    }
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            false
        };
        wanted.retain(|&(from, to)| !reaches(from, to, (from, to)));
        prop_assert_eq!(drawn(&text), wanted, "{}", text);
    }
}

/// Looks at everything anew after each step.
#[derive(Debug)]
struct Naive {
    stages: Vec<Stage>,
    written: Vec<bool>,
    healthy: Vec<bool>,
    arrows: Vec<Arrow>,
}

impl Naive {
    fn new(nodes: usize, arrows: &[Arrow]) -> Self {
        Self { stages: vec![Stage::Waiting; nodes], written: vec![false; nodes], healthy: vec![false; nodes], arrows: arrows.to_vec() }
    }

    fn before(&self, node: usize) -> impl Iterator<Item = (usize, Constraint)> + '_ {
        self.arrows.iter().filter(move |(_, to, _)| *to == node).map(|(from, _, constraint)| (*from, CONSTRAINTS[*constraint]))
    }

    fn holds(&self, other: usize, constraint: Constraint) -> bool {
        match constraint {
            Constraint::ReadyBeforeStart | Constraint::ReadyBeforeReady => self.stages[other] == Stage::Ready,
            Constraint::AppliedBeforeStart | Constraint::AppliedBeforeReady => self.written[other],
        }
    }

    fn is_for_start(constraint: Constraint) -> bool {
        matches!(constraint, Constraint::ReadyBeforeStart | Constraint::AppliedBeforeStart)
    }

    fn start(&mut self) -> BTreeSet<usize> {
        let may = |node: usize| {
            self.stages[node] == Stage::Waiting
                && self.before(node).all(|(other, constraint)| !Self::is_for_start(constraint) || self.holds(other, constraint))
        };
        let found: BTreeSet<usize> = (0..self.stages.len()).filter(|&node| may(node)).collect();
        for &node in &found {
            self.stages[node] = Stage::Started;
        }
        found
    }

    /// Until nothing changes: what is ready, and what never can be.
    fn settle(&mut self) {
        loop {
            let before = self.stages.clone();
            for node in 0..self.stages.len() {
                let lost = |for_start: bool| {
                    self.before(node).any(|(other, constraint)| {
                        Self::is_for_start(constraint) == for_start
                            && !self.holds(other, constraint)
                            && matches!(self.stages[other], Stage::Failed | Stage::Blocked)
                    })
                };
                let ready = self.before(node).all(|(other, constraint)| Self::is_for_start(constraint) || self.holds(other, constraint));
                match self.stages[node] {
                    Stage::Applied if self.healthy[node] && ready => self.stages[node] = Stage::Ready,
                    // Its own objects do not suffer from what only its readiness waits for.
                    Stage::Waiting if lost(true) => self.stages[node] = Stage::Blocked,
                    Stage::Applied if lost(false) => self.stages[node] = Stage::Blocked,
                    _ => {}
                }
            }
            if self.stages == before {
                return;
            }
        }
    }
}

fn layers(count: usize, pairs: &BTreeSet<(usize, usize)>) -> Plan {
    let mut waves = vec![0_u32; count];
    for node in 0..count {
        waves[node] = pairs.iter().filter(|(_, to)| *to == node).map(|(from, _)| waves[*from] + 1).max().unwrap_or(0);
    }
    let layer = |node: usize| PlannedLayer {
        id: LayerId::new("flux-system", format!("n{node:02}")),
        kind: "Kustomization",
        source: SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() },
        path: String::new(),
        parent: None,
        depends_on: Vec::new(),
        level: 0,
        wave: waves[node],
        named_wave: 0,
        rendered: true,
        suspended: false,
        remote: false,
        objects: Vec::new(),
        charts: Vec::new(),
        declared: None,
    };
    let edges = pairs.iter().map(|(from, to)| Edge {
        from: format!("layer/flux-system/n{from:02}"),
        to: format!("layer/flux-system/n{to:02}"),
        constraint: Constraint::ReadyBeforeStart,
        reason: "dependsOn".into(),
        origin: None,
    });
    Plan { layers: (0..count).map(layer).collect(), edges: edges.collect(), ..Plan::default() }
}

/// The edges that a drawing shows: lanes are followed from the layer that they begin at to those that they join.
fn drawn(text: &str) -> BTreeSet<(usize, usize)> {
    let mut lanes: BTreeMap<usize, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let rows =
        text.lines().skip(1).filter(|line| line.split_whitespace().last().is_some_and(|name| name.starts_with('n') && name.len() == 3));
    for line in rows {
        let name = line.split_whitespace().last().unwrap();
        let node: usize = name[1..].parse().unwrap();
        // The heading is as wide in all rows.
        let cells: Vec<char> = line.chars().skip("wave 0  ".len()).collect();
        let cells = &cells[..cells.len() - name.len()];
        let own = cells.iter().position(|cell| matches!(cell, '●' | '○')).unwrap();
        for (at, cell) in cells.iter().enumerate().filter(|(at, _)| at % 2 == 0) {
            match cell {
                '├' | '┼' => drop(found.insert((lanes[&at], node))),
                '╰' | '┴' => drop(found.insert((lanes.remove(&at).unwrap(), node))),
                '│' => assert!(lanes.contains_key(&at), "{text}"),
                _ => {}
            }
        }
        if let Some(above) = lanes.remove(&own) {
            found.insert((above, node));
        }
        if cells[own] == '●' {
            lanes.insert(own, node);
        }
    }
    assert!(lanes.is_empty(), "lanes that lead nowhere: {lanes:?}\n{text}");
    found
}
