//! A version that satisfies a range, as charts ask for it (<https://github.com/Masterminds/semver>: the ranges of Helm and Flux).

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    core: [u64; 3],
    /// `false` sorts before `true`: a pre-release comes before its release.
    release: bool,
    pre: String,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.core;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.release { Ok(()) } else { write!(f, "-{}", self.pre) }
    }
}

/// One comparison: operator, the parts that are given, pre-release.
struct Comparator {
    operator: String,
    parts: Vec<u64>,
    pre: String,
}

impl Comparator {
    fn parse(text: &str) -> Option<Self> {
        let number = text.trim_start_matches(['=', '<', '>', '!', '~', '^']);
        let operator = text[..text.len() - number.len()].to_owned();
        let number = number.trim_start_matches(['v', 'V']);
        let number = number.split('+').next().unwrap_or_default();
        let (core, pre) = number.split_once('-').unwrap_or((number, ""));
        let mut parts = Vec::new();
        for part in core.split('.') {
            if matches!(part, "x" | "X" | "*" | "") {
                break;
            }
            parts.push(part.parse().ok()?);
        }
        (parts.len() <= 3).then(|| Self { operator, parts, pre: pre.to_owned() })
    }

    fn base(&self) -> Version {
        let part = |index: usize| self.parts.get(index).copied().unwrap_or(0);
        Version { core: [part(0), part(1), part(2)], release: self.pre.is_empty(), pre: self.pre.clone() }
    }

    /// The first version after all that start with the first `count` parts.
    fn after(&self, count: usize) -> Version {
        let mut core = [0; 3];
        for (index, slot) in core.iter_mut().enumerate().take(count) {
            *slot = self.parts.get(index).copied().unwrap_or(0);
        }
        if let Some(last) = count.checked_sub(1) {
            core[last] += 1;
        }
        Version { core, release: true, pre: String::new() }
    }

    fn accepts(&self, version: &Version) -> bool {
        let given = self.parts.len();
        if given == 0 {
            return self.operator != "<" && self.operator != ">" && self.operator != "!=";
        }
        let base = self.base();
        match self.operator.as_str() {
            "" | "=" => *version >= base && *version < self.after(given) && (given < 3 || *version == base),
            "!=" => given < 3 && !(*version >= base && *version < self.after(given)) || given == 3 && *version != base,
            ">" if given < 3 => *version >= self.after(given),
            ">" => *version > base,
            ">=" | "=>" => *version >= base,
            "<" => *version < base,
            "<=" | "=<" if given < 3 => *version < self.after(given),
            "<=" | "=<" => *version <= base,
            "~" | "~>" => *version >= base && *version < self.after(given.min(2)),
            // The leftmost part that is not zero stays.
            "^" => *version >= base && *version < self.after(self.parts.iter().position(|part| *part > 0).map_or(given, |index| index + 1)),
            _ => false,
        }
    }
}

/// A version in the range; none where it cannot be told.
pub(super) fn satisfying(range: &str) -> Option<String> {
    range.split("||").find_map(alternative)
}

fn alternative(range: &str) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    let text = match range.split_once(" - ") {
        Some((low, high)) => format!(">={} <={}", low.trim(), high.trim()),
        None => range.replace(',', " "),
    };
    for word in text.split_ascii_whitespace() {
        match words.last_mut() {
            // `>= 1.2` is one comparison.
            Some(last) if last.chars().all(|c| "=<>!~^".contains(c)) => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    let comparators: Vec<Comparator> = words.iter().map(|word| Comparator::parse(word)).collect::<Option<_>>()?;
    let release = |core| Version { core, release: true, pre: String::new() };
    let mut candidates = vec![];
    for comparator in comparators.iter().filter(|comparator| !comparator.parts.is_empty()) {
        let base = comparator.base();
        let [major, minor, patch] = base.core;
        candidates.extend([base.clone(), release([major, minor, patch + 1]), release([major, minor + 1, 0]), release([major + 1, 0, 0])]);
    }
    candidates.extend([release([1, 0, 0]), release([0, 1, 0]), release([0, 0, 1])]);
    candidates
        .into_iter()
        .find(|candidate| candidate.core != [0; 3] && comparators.iter().all(|comparator| comparator.accepts(candidate)))
        .map(|version| version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_version_in_each_kind_of_range() {
        for (range, expected) in [
            ("6.5.1", "6.5.1"),
            ("v1.2.3", "1.2.3"),
            ("6.5.*", "6.5.0"),
            ("1.x", "1.0.0"),
            ("*", "1.0.0"),
            ("", "1.0.0"),
            (">=1.0.0", "1.0.0"),
            (">1.0.0", "1.0.1"),
            (">= 1.2, < 2", "1.2.0"),
            (">4.0.0 <5", "4.0.1"),
            ("<2.0.0", "1.0.0"),
            ("~1.2", "1.2.0"),
            ("^0.2.3", "0.2.3"),
            ("1.2 - 1.4", "1.2.0"),
            ("<0.5 || >=9", "0.1.0"),
            ("1.0.0-rc.1", "1.0.0-rc.1"),
            (">=1.0.0-alpha", "1.0.0-alpha"),
        ] {
            assert_eq!(satisfying(range).as_deref(), Some(expected), "{range}");
        }
        assert_eq!(satisfying("latest"), None);
    }
}
