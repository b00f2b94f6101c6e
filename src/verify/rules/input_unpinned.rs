//! A source that may give something else tomorrow.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::repo::same_url;
use crate::verify::facts::Facts;
use crate::verify::objects::{chart, is_release};

pub(crate) const RULE: Rule = Rule {
    id: "input-unpinned",
    severity: Severity::Differs,
    title: "An input is not pinned",
    why: "A branch, `latest` or a range of versions gives whatever is newest when it is asked. The old cluster asked at another time: a \
          rebuild of the same commit comes up with other contents, on the day when a surprise is least welcome.",
    fix: "name a tag, a version or, best, a digest or commit",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let reading = facts.subject.reading;
    let entry = reading.layers.first().map(|read| &read.layer.source);
    let entry = entry.and_then(|id| reading.sources.get(id)).and_then(|source| source.declaration.as_ref());
    // The commit that is read decides what PATH itself gives; another branch of it is another input.
    let is_path = |object: &Resource| {
        entry.is_some_and(|entry| {
            let (url, reference) = (entry.text("/spec/url"), |source: &Resource| source.value.pointer("/spec/ref").cloned());
            !url.is_empty()
                && same_url(url, object.text("/spec/url"))
                && (entry.id() == object.id() || reference(entry) == reference(object))
        })
    };
    for (position, object) in facts.objects() {
        let why = match (object.group(), object.kind()) {
            ("source.toolkit.fluxcd.io", _) if is_path(object) => None,
            ("source.toolkit.fluxcd.io", "GitRepository") => git(object),
            ("source.toolkit.fluxcd.io", "OCIRepository") => oci(object),
            _ if is_release(object) => release(facts, object),
            _ => None,
        };
        if let Some(why) = why {
            found.push(Finding::new(&RULE, format!("{}: {why}", object.id())).of(facts.layer(position)).about(object));
        }
    }
    found
}

fn git(object: &Resource) -> Option<String> {
    let given = |key: &str| !object.text(&format!("/spec/ref/{key}")).is_empty();
    if given("commit") || given("tag") || given("name") && !object.text("/spec/ref/name").starts_with("refs/heads/") {
        return None;
    }
    if given("semver") {
        return Some(format!("takes the newest tag of {}", object.text("/spec/ref/semver")));
    }
    let branch = object.text("/spec/ref/branch");
    Some(format!("follows branch {}", if branch.is_empty() { "master (the default)" } else { branch }))
}

fn oci(object: &Resource) -> Option<String> {
    if !object.text("/spec/ref/digest").is_empty() {
        return None;
    }
    let (range, tag) = (object.text("/spec/ref/semver"), object.text("/spec/ref/tag"));
    if !range.is_empty() {
        return is_range(range).then(|| format!("takes the newest version of {range}"));
    }
    matches!(tag, "" | "latest").then(|| "takes the tag latest".to_owned())
}

fn release(facts: &Facts<'_>, object: &Resource) -> Option<String> {
    let chart = chart(facts, object)?;
    if chart.source.kind != "HelmRepository" {
        return None;
    }
    match chart.version {
        None => Some(format!("takes the newest version of chart {}", chart.name)),
        Some(range) if is_range(&range) => Some(format!("takes the newest version {range} of chart {}", chart.name)),
        Some(_) => None,
    }
}

/// Whether a version stands for more than one (Masterminds/semver: operators, wildcards, several conditions).
fn is_range(version: &str) -> bool {
    let version = version.trim().trim_start_matches(['=', 'v']);
    version.contains(['*', '<', '>', '~', '^', '|', ',', ' ', '!'])
        || version.split(['.', '-']).take(3).any(|part| matches!(part, "x" | "X"))
        || version.split(['-', '+']).next().unwrap_or_default().split('.').count() < 3
}

#[cfg(test)]
mod tests {
    use super::is_range;

    #[test]
    fn what_stands_for_more_than_one_version() {
        assert!(["1.x", ">=1.0.0", "1.2", "*", "~1.2.3", "1.2.x", ">=1 <2"].into_iter().all(is_range));
        assert!(!["1.2.3", "v1.2.3", "1.2.3-rc.1", "=1.2.3", "1.2.3+build.x"].into_iter().any(is_range));
    }
}
