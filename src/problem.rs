//! What is wrong with an input: collected, all at once, before anything is written.

use serde::Serialize;

/// Where something stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// Path from the root of its source, with `/`; a source that is not PATH itself comes before it, as `d1-infra:components/x.yaml`.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How bad a problem is for a start from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The start stops.
    Blocks,
    /// It comes up other than before.
    Differs,
    /// It may go wrong.
    Risk,
}

/// One thing that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable id of the rule, such as `dependency-missing`.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The object first, then what failed and why; one line.
    pub message: String,
    /// Where.
    #[serde(flatten)]
    pub origin: Option<Origin>,
    /// Column, counted from 1, where the parser tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The line itself, for the human output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem that stops the start.
    pub fn blocks(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, severity: Severity::Blocks, message: message.into(), origin: None, column: None, excerpt: None, hint: None }
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Something the plan needs and cannot know from Git; not an error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unknown {
    /// Id of the node that needs it.
    pub node: String,
    /// What is needed, and why it is not known.
    pub needs: String,
    /// Where.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

/// `1 layer`, `3 layers`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Up to three names that are close to a wrong one, nearest first: few letters apart, or one holds the other.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = distance(&wanted, &other);
            let contained = wanted.len().min(other.len()) >= 3 && (other.contains(&wanted) || wanted.contains(&other));
            (distance <= wanted.chars().count().max(3) / 3 || contained).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// How many letters must be added, removed, changed or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = changed.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_letters_are_one_mistake() {
        assert_eq!((distance("tow", "two"), distance("mian", "main"), distance("a", "abc"), distance("", "x")), (1, 1, 2, 1));
        assert_eq!(nearest("tow", ["two", "three"]), ["two"]);
    }
}
