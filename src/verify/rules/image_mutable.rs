//! An image by a tag that is meant to move.

use super::{Finding, Rule};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{images, list};

pub(crate) const RULE: Rule = Rule {
    id: "image-mutable",
    severity: Severity::Differs,
    title: "An image is named by a tag that moves",
    why: "A node that pulls it today gets something else than the old node did, and possibly something that does not fit the rest.",
    fix: "name a version, and its digest: image:1.2.3@sha256:…",
    check: Some(check),
};

/// Tags that are made to move.
const MOVING: [&str; 14] = [
    "latest",
    "main",
    "master",
    "edge",
    "nightly",
    "dev",
    "develop",
    "development",
    "stable",
    "rolling",
    "canary",
    "head",
    "snapshot",
    "testing",
];

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, object) in facts.with_charts() {
        let moving: Vec<String> = images(object).into_iter().filter(|image| is_moving(image)).collect();
        if !moving.is_empty() {
            let message = format!("{}: {}", object.id(), list(&moving, 3));
            found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
        }
    }
    found
}

fn is_moving(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| MOVING.contains(&tag.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::is_moving;

    #[test]
    fn tags_that_move() {
        assert!(["nginx", "nginx:latest", "localhost:5000/a", "a/b:Main"].into_iter().all(is_moving));
        assert!(!["nginx:1.2", "nginx:latest@sha256:00", "localhost:5000/a:v1"].into_iter().any(is_moving));
    }
}
