//! Where the boxes stand: what is built below the layers by its depth, then one column a wave; a high column is folded into several.

use crate::plan::Plan;
use std::collections::BTreeMap;

/// Size of a box.
pub(super) const WIDTH: u32 = 236;
pub(super) const HEIGHT: u32 = 46;
/// Space between boxes, between folds of a column, and between columns.
const ROW: u32 = 14;
const FOLD: u32 = 18;
const COLUMN: u32 = 74;
/// So few nodes below the layers stand in one column, in their order.
const FEW: usize = 12;
/// A column is at least so many boxes high before it is folded.
const LEAST_ROWS: usize = 10;

/// A node on the page.
pub(super) struct Placed<'p> {
    pub(super) id: &'p str,
    pub(super) x: u32,
    pub(super) y: u32,
    /// Where its column begins.
    pub(super) left: u32,
    pub(super) heading: String,
}

/// All nodes, column by column.
pub(super) fn place(plan: &Plan) -> Vec<Placed<'_>> {
    let depths = depths(plan);
    let few = depths.len() <= FEW;
    let below = if few { depths.len().min(1).try_into().unwrap_or(1) } else { depths.values().max().map_or(0, |deepest| deepest + 1) };
    let waves: BTreeMap<String, u32> = plan.layers.iter().map(|layer| (layer.id.node(), layer.wave)).collect();
    let mut columns: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for node in &plan.nodes {
        let column = waves
            .get(&node.id)
            .map(|wave| below + wave)
            .or_else(|| depths.get(node.id.as_str()).filter(|_| !few).copied())
            .unwrap_or_default();
        columns.entry(column).or_default().push(&node.id);
    }
    // About as wide as high, as far as the waves allow.
    let rows = rows(&columns.values().map(Vec::len));
    let mut placed = Vec::new();
    let mut left = 0;
    for (column, mut ids) in columns {
        ids.sort_unstable_by_key(|id| (depths.get(id).copied(), *id));
        let heading = match column.checked_sub(below) {
            Some(wave) => format!("wave {wave}"),
            None if below == 1 => "before the layers".to_owned(),
            None => format!("before the layers, {}", column + 1),
        };
        let folds = ids.len().div_ceil(rows);
        let high = ids.len().div_ceil(folds.max(1));
        for (position, id) in ids.iter().enumerate() {
            let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX / 1000);
            let (fold, row) = (number(position / high), number(position % high));
            placed.push(Placed { id, x: left + fold * (WIDTH + FOLD), y: row * (HEIGHT + ROW), left, heading: heading.clone() });
        }
        left += u32::try_from(folds).unwrap_or(1) * (WIDTH + FOLD) - FOLD + COLUMN;
    }
    placed
}

fn rows(columns: &(impl Iterator<Item = usize> + Clone)) -> usize {
    let tallest = columns.clone().max().unwrap_or(1);
    let is_wide = |rows: usize| {
        let folds: usize = columns.clone().map(|length| length.div_ceil(rows)).sum();
        folds * (WIDTH + FOLD) as usize + columns.clone().count() * (COLUMN - FOLD) as usize <= rows * (HEIGHT + ROW) as usize * 6 / 5
    };
    (LEAST_ROWS..=tallest.max(LEAST_ROWS)).find(|rows| is_wide(*rows)).unwrap_or(tallest.max(LEAST_ROWS))
}

/// How many nodes below the layers stand before each of them in its longest chain.
fn depths(plan: &Plan) -> BTreeMap<&str, u32> {
    let mut depths: BTreeMap<&str, u32> =
        plan.nodes.iter().map(|node| node.id.as_str()).filter(|id| !id.starts_with("layer/")).map(|id| (id, 0)).collect();
    let limit = u32::try_from(depths.len()).unwrap_or(u32::MAX);
    loop {
        let mut changed = false;
        for edge in plan.edges.iter().filter(|edge| !edge.constraint.is_for_ready()) {
            let Some(from) = depths.get(edge.from.as_str()).copied() else { continue };
            let Some(to) = depths.get_mut(edge.to.as_str()) else { continue };
            // A cycle would go on for ever.
            if *to <= from && from + 1 < limit {
                (*to, changed) = (from + 1, true);
            }
        }
        if !changed {
            return depths;
        }
    }
}
