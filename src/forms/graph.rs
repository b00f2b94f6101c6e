//! The graph in a terminal: a line for each layer, in the order of the waves, and a lane to the left of it for each layer that others wait for.
//!
//! ```text
//! wave 0  ●     flux-system
//! wave 1  ├─●   namespaces
//!         ● │   storage
//! wave 2  ╰─┴─● database
//! wave 3      ○ api
//! ```
//!
//! A lane ends at its last dependent. A dependency that another one implies is not drawn. Shapes alone say all of it; colour only helps.

use super::{FAINT, NAME, TITLE, commit, drawn};
use crate::plan::Plan;
use crate::problem::count;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// From so many layers on, those that wait for the same and that nobody waits for share a line.
const MANY: usize = 24;
/// So many of them at least.
const ALIKE: usize = 3;
/// Columns that a name should have at least.
const NAMES: usize = 24;

/// Something that has a line.
struct Row {
    wave: u32,
    names: Vec<String>,
    /// Rows that it waits for, by index.
    after: Vec<usize>,
    /// How many rows wait for it.
    before: usize,
}

/// The graph within so many columns.
pub fn graph(plan: &Plan, columns: usize) -> String {
    let (rows, left_out) = rows(plan);
    let mut text = String::new();
    let waves: BTreeSet<u32> = rows.iter().map(|row| row.wave).collect();
    let what = [count(plan.layers.len(), "layer"), count(waves.len(), "wave")].join(", ");
    let _ = writeln!(text, "{TITLE}{}{TITLE:#} at {}: {what}", plan.environment, commit(&plan.revision).0);
    if rows.is_empty() {
        return text;
    }
    let heading = waves.iter().next_back().map_or(0, |wave| format!("wave {wave}  ").len());
    let (drawing, lanes) = lanes(&rows);
    if heading + lanes * 2 + NAMES <= columns.max(1) {
        let mut before = None;
        for (row, cells) in rows.iter().zip(&drawing) {
            let wave = if before == Some(row.wave) { String::new() } else { format!("wave {}", row.wave) };
            before = Some(row.wave);
            let width = heading + lanes * 2;
            let name = names(&row.names, columns.saturating_sub(width));
            let padding = " ".repeat(lanes * 2 - cells.width());
            let _ = writeln!(text, "{TITLE}{wave:<heading$}{TITLE:#}{cells}{padding}{NAME}{name}{NAME:#}");
        }
        let (awaited, last) = ("● others wait for it", "○ nothing waits for it");
        let between = if awaited.width() + last.width() + 2 <= columns { "  " } else { "\n" };
        let _ = writeln!(text, "\n{FAINT}{awaited}{between}{last}{FAINT:#}");
    } else {
        counted(&rows, columns, &mut text);
    }
    if left_out > 0 {
        let _ = writeln!(text, "{FAINT}not drawn: {} of a cycle{FAINT:#}", count(left_out, "edge"));
    }
    text
}

/// Rows in their order, each after all that it waits for, and how many edges of cycles are left out.
fn rows(plan: &Plan) -> (Vec<Row>, usize) {
    let namespaces: BTreeSet<&str> = plan.layers.iter().map(|layer| layer.id.namespace.as_str()).collect();
    let is_one = namespaces.len() == 1;
    let index: BTreeMap<String, usize> = plan.layers.iter().enumerate().map(|(at, layer)| (layer.id.node(), at)).collect();
    let mut after: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); plan.layers.len()];
    for (from, to, _) in drawn(plan) {
        if let (Some(&from), Some(&to)) = (index.get(from), index.get(to))
            && from != to
        {
            after[to].insert(from);
        }
    }
    let order = order(&after, |at| (plan.layers[at].wave, plan.layers[at].id.to_string()));
    let mut position = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &at)| position[at] = place);
    // What is left in a cycle leads back.
    let mut left_out = 0;
    for (at, after) in after.iter_mut().enumerate() {
        let all = after.len();
        after.retain(|&other| position[other] < position[at]);
        left_out += all - after.len();
    }
    reduce(&mut after, &order);
    let awaited: BTreeSet<usize> = after.iter().flatten().copied().collect();
    let label = |at: usize| if is_one { plan.layers[at].id.name.clone() } else { plan.layers[at].id.to_string() };
    let mut groups: BTreeMap<(u32, Vec<usize>), Vec<usize>> = BTreeMap::new();
    for &at in order.iter().filter(|at| !awaited.contains(at)) {
        groups.entry((plan.layers[at].wave, after[at].iter().copied().collect())).or_default().push(at);
    }
    groups.retain(|_, members| plan.layers.len() >= MANY && members.len() >= ALIKE);
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of: BTreeMap<usize, usize> = BTreeMap::new();
    for &at in &order {
        if row_of.contains_key(&at) {
            continue;
        }
        let layer = &plan.layers[at];
        let key = (layer.wave, after[at].iter().copied().collect::<Vec<_>>());
        let members = groups.get(&key).filter(|members| members.contains(&at)).cloned().unwrap_or_else(|| vec![at]);
        row_of.extend(members.iter().map(|member| (*member, rows.len())));
        let names = members.iter().map(|member| label(*member)).collect();
        let after: Vec<usize> = after[at].iter().filter_map(|other| row_of.get(other).copied()).collect();
        for &other in &after {
            rows[other].before += 1;
        }
        rows.push(Row { wave: layer.wave, names, after, before: 0 });
    }
    (rows, left_out)
}

/// Each after all that it waits for, otherwise by key; what waits for itself comes last.
fn order<K: Ord>(after: &[BTreeSet<usize>], key: impl Fn(usize) -> K) -> Vec<usize> {
    let mut waits: Vec<usize> = after.iter().map(BTreeSet::len).collect();
    let mut dependents = vec![Vec::new(); after.len()];
    after.iter().enumerate().for_each(|(at, after)| after.iter().for_each(|&other| dependents[other].push(at)));
    let mut free: BTreeSet<(K, usize)> = (0..after.len()).filter(|&at| waits[at] == 0).map(|at| (key(at), at)).collect();
    let mut open: BTreeSet<usize> = (0..after.len()).collect();
    let mut ordered = Vec::new();
    while let Some(at) = free.pop_first().map(|(_, at)| at).or_else(|| open.iter().copied().min_by_key(|&at| key(at))) {
        if !open.remove(&at) {
            continue;
        }
        ordered.push(at);
        for &next in &dependents[at] {
            waits[next] -= 1;
            if waits[next] == 0 && open.contains(&next) {
                free.insert((key(next), next));
            }
        }
    }
    ordered
}

/// Drops each dependency that another one implies.
fn reduce(after: &mut [BTreeSet<usize>], order: &[usize]) {
    let mut all: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); after.len()];
    for &at in order {
        let implied: BTreeSet<usize> = after[at].iter().flat_map(|&other| all[other].iter().copied()).collect();
        after[at].retain(|other| !implied.contains(other));
        all[at] = implied.into_iter().chain(after[at].iter().copied()).collect();
    }
}

/// What stands to the left of each row, and how many lanes there are.
fn lanes(rows: &[Row]) -> (Vec<String>, usize) {
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let mut open: Vec<usize> = rows.iter().map(|row| row.before).collect();
    let mut drawing = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let joined: Vec<usize> = row.after.iter().filter_map(|other| lanes.iter().position(|lane| *lane == Some(*other))).collect();
        row.after.iter().for_each(|&other| open[other] -= 1);
        let ends = |lane: usize| lanes[lane].is_some_and(|other| open[other] == 0);
        // Below its only dependency, or beside the last of them.
        let own = match joined.as_slice() {
            [only] if ends(*only) => *only,
            _ => {
                let from = joined.iter().max().map_or(0, |last| last + 1);
                (from..lanes.len()).find(|&lane| lanes[lane].is_none()).unwrap_or(lanes.len().max(from))
            }
        };
        let first = joined.iter().copied().chain([own]).min().unwrap_or(own);
        let mut line = String::new();
        for lane in 0..lanes.len().max(own + 1) {
            let is_live = lanes.get(lane).is_some_and(Option::is_some);
            let inside = lane > first && lane < own;
            let mark = if lane == own {
                if row.before > 0 { '●' } else { '○' }
            } else if joined.contains(&lane) {
                match (ends(lane), lane == first) {
                    (true, true) => '╰',
                    (true, false) => '┴',
                    (false, true) => '├',
                    (false, false) => '┼',
                }
            } else if is_live {
                '│'
            } else if inside {
                '─'
            } else {
                ' '
            };
            line.push(mark);
            line.push(if lane >= first && lane < own { '─' } else { ' ' });
        }
        let freed: Vec<usize> = joined.iter().copied().filter(|&lane| ends(lane)).collect();
        for lane in freed {
            lanes[lane] = None;
        }
        if own >= lanes.len() {
            lanes.resize(own + 1, None);
        }
        lanes[own] = (row.before > 0).then_some(at);
        drawing.push(line.trim_end().to_owned() + " ");
    }
    (drawing, lanes.len().max(1))
}

/// By waves, where a line for each layer has no place: how many, who, and how many of which wave wait for them.
fn counted(rows: &[Row], columns: usize, text: &mut String) {
    let mut waves: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    rows.iter().enumerate().for_each(|(at, row)| waves.entry(row.wave).or_default().push(at));
    for (wave, members) in &waves {
        let all: Vec<String> = members.iter().flat_map(|&at| rows[at].names.clone()).collect();
        let _ = writeln!(text, "\n{TITLE}╭─ wave {wave}{TITLE:#} {FAINT}{}{FAINT:#}", count(all.len(), "layer"));
        for line in wrapped(&all, columns.saturating_sub(2)) {
            let _ = writeln!(text, "│ {NAME}{line}{NAME:#}");
        }
        let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.after.iter().any(|other| members.contains(other))) {
            *waiting.entry(row.wave).or_default() += row.names.len();
        }
        let waiting: Vec<String> = waiting.iter().map(|(wave, number)| format!("{number} of wave {wave}")).collect();
        let waiting = if waiting.is_empty() { "nothing waits for them".to_owned() } else { format!("awaited by {}", waiting.join(", ")) };
        let _ = writeln!(text, "╰─ {FAINT}{waiting}{FAINT:#}");
    }
}

/// Names in lines of so many columns.
fn wrapped(names: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.width() + 2 + name.width() < columns => {
                line.push_str(", ");
                line.push_str(name);
            }
            _ => lines.push(cut(name, columns)),
        }
    }
    lines
}

/// A name in so many columns.
fn cut(name: &str, columns: usize) -> String {
    if name.width() <= columns {
        return name.to_owned();
    }
    let mut text = String::new();
    for c in name.chars() {
        if text.width() + c.width().unwrap_or(0) + 1 > columns {
            break;
        }
        text.push(c);
    }
    text + "…"
}

/// As many names as fit, and how many more.
fn names(names: &[String], columns: usize) -> String {
    if let [only] = names {
        return cut(only, columns);
    }
    let head = format!("{}: ", count(names.len(), "layer"));
    for shown in (1..=names.len()).rev() {
        let more = if shown < names.len() { format!(" and {} more", names.len() - shown) } else { String::new() };
        let text = format!("{head}{}{more}", names[..shown].join(", "));
        if text.width() <= columns {
            return text;
        }
    }
    count(names.len(), "layer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{LayerId, SourceId};
    use crate::plan::{Constraint, Edge, PlannedLayer};

    /// Layers with their waves, and edges from one to another.
    fn plan(layers: &[(&str, u32)], edges: &[(&str, &str)]) -> Plan {
        let layer = |(name, wave): &(&str, u32)| PlannedLayer {
            id: LayerId::new("flux-system", *name),
            kind: "Kustomization",
            source: SourceId { kind: "GitRepository".into(), namespace: "flux-system".into(), name: "flux-system".into() },
            path: String::new(),
            parent: None,
            depends_on: Vec::new(),
            level: 0,
            wave: *wave,
            named_wave: 0,
            rendered: true,
            suspended: false,
            remote: false,
            objects: Vec::new(),
            charts: Vec::new(),
            declared: None,
        };
        let edge = |(from, to): &(&str, &str)| Edge {
            from: format!("layer/flux-system/{from}"),
            to: format!("layer/flux-system/{to}"),
            constraint: Constraint::ReadyBeforeStart,
            reason: "dependsOn".into(),
            origin: None,
        };
        Plan {
            environment: "shop".into(),
            revision: "0123456789abcdef".into(),
            layers: layers.iter().map(layer).collect(),
            edges: edges.iter().map(edge).collect(),
            ..Plan::default()
        }
    }

    /// Without colour, and what is the same in each.
    fn drawing(plan: &Plan, columns: usize) -> String {
        let text = anstream::adapter::strip_str(&graph(plan, columns)).to_string();
        assert!(text.lines().all(|line| line.width() <= columns), "{text}");
        text.lines()
            .map(str::trim_end)
            .skip(1)
            .filter(|line| !line.contains("● others") && !line.contains("○ nothing"))
            .collect::<Vec<_>>()
            .join("\n")
            .trim_end()
            .to_owned()
    }

    #[test]
    fn each_edge_is_a_lane_from_its_layer_to_the_last_that_waits() {
        let layers = [("root", 0), ("storage", 1), ("namespaces", 1), ("database", 2), ("alone", 1), ("api", 3)];
        let edges = [
            ("root", "storage"),
            ("root", "namespaces"),
            ("storage", "database"),
            ("namespaces", "database"),
            ("root", "database"),
            ("database", "api"),
            ("namespaces", "api"),
        ];
        insta::assert_snapshot!(drawing(&plan(&layers, &edges), 80), @r"
        wave 0  ●     root
        wave 1  │ ○   alone
                ├─●   namespaces
                ● │   storage
        wave 2  ╰─┴─● database
        wave 3      ○ api
        ");
    }

    #[test]
    fn lanes_that_are_crossed_go_on() {
        let layers = [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 2)];
        let edges = [("a", "c"), ("a", "d"), ("b", "e")];
        insta::assert_snapshot!(drawing(&plan(&layers, &edges), 80), @r"
        wave 0  ●     a
                │ ●   b
        wave 1  ├─│─○ c
                ○ │   d
        wave 2    ○   e
        ");
    }

    #[test]
    fn a_cycle_is_drawn_as_far_as_it_goes() {
        let text = drawing(&plan(&[("a", 0), ("b", 0), ("c", 1)], &[("a", "b"), ("b", "a"), ("b", "c")]), 80);
        assert!(text.contains("not drawn: 1 edge of a cycle"), "{text}");
        assert!(["a", "b", "c"].iter().all(|name| text.lines().any(|line| line.ends_with(name))), "{text}");
    }

    #[test]
    fn many_layers_that_wait_for_the_same_share_a_line() {
        let names: Vec<String> = (0..70).map(|number| format!("app-{number:02}")).collect();
        let mut layers = vec![("root", 0), ("crds", 1)];
        layers.extend(names.iter().map(|name| (name.as_str(), 2)));
        let mut edges = vec![("root", "crds")];
        edges.extend(names.iter().map(|name| ("crds", name.as_str())));
        let text = drawing(&plan(&layers, &edges), 80);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("70 layers: app-00, app-01") && text.contains("more"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_counted_by_waves() {
        let names: Vec<String> = (0..60).map(|number| format!("layer-{number:02}")).collect();
        let layers: Vec<(&str, u32)> = names.iter().enumerate().map(|(at, name)| (name.as_str(), u32::from(at >= 30))).collect();
        let edges: Vec<(&str, &str)> = (0..30)
            .flat_map(|at| [(at, at + 30), (at, (at + 7) % 30 + 30)])
            .map(|(from, to)| (names[from].as_str(), names[to].as_str()))
            .collect();
        let text = drawing(&plan(&layers, &edges), 60);
        assert!(text.contains("╭─ wave 0 30 layers") && text.contains("╰─ awaited by 30 of wave 1"), "{text}");
        assert!(names.iter().all(|name| text.contains(name.as_str())), "{text}");
        drawing(&plan(&layers, &edges), 200);
        drawing(&plan(&[("a-name-that-is-longer-than-the-page-is-wide", 0)], &[]), 40);
    }
}
