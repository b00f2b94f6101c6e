//! An image from a registry that this very run creates empty.

use super::{Finding, Rule};
use crate::layers::infrastructure::service;
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::images;

pub(crate) const RULE: Rule = Rule {
    id: "image-in-empty-registry",
    severity: Severity::Blocks,
    title: "An image comes from a registry that the start creates empty",
    why: "The repository is declared in Git, so a start from nothing makes it; nobody has pushed anything into it. Its pods never start. A \
          repository that a pull-through cache or a Job of the layers fills is fine.",
    fix: "pull from a registry that survives, through a pull-through cache rule, or push the images with a command in spec.infrastructure",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let all = || facts.objects().map(|(_, object)| object).chain(&facts.subject.reading.infrastructure);
    let of_ecr = |object: &&Resource, kind: &str| service(object) == Some("ecr") && object.kind() == kind;
    let prefixes: Vec<&str> = all()
        .filter(|object| of_ecr(object, "PullThroughCacheRule"))
        .map(|rule| rule.text("/spec/ecrRepositoryPrefix"))
        .filter(|prefix| !prefix.is_empty())
        .collect();
    let repositories: Vec<&Resource> = all().filter(|object| of_ecr(object, "Repository")).collect();
    for (position, object) in facts.objects() {
        for image in images(object) {
            let Some((registry, path)) = image.split_once('/') else { continue };
            if !(registry.contains(".dkr.ecr.") && registry.contains(".amazonaws.com")) {
                continue;
            }
            let path = path.split(['@', ':']).next().unwrap_or(path);
            let cached = prefixes.iter().any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')));
            if cached || is_filled(facts, path) {
                continue;
            }
            let Some(repository) = repositories.iter().find(|repository| repository.text("/spec/name") == path) else {
                continue;
            };
            let place = repository.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
            let message =
                format!("{}: its image {image} comes from {}{place}, which this start creates empty", object.id(), repository.id());
            found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object));
        }
    }
    found
}

/// Whether a Job of the repository looks as if it pushed the image: it names the registry's program and the repository, or its folder.
fn is_filled(facts: &Facts<'_>, path: &str) -> bool {
    let folder = path.split_once('/').map_or_else(|| path.to_owned(), |(first, _)| format!("{first}/"));
    facts.objects().filter(|(_, object)| matches!(object.kind(), "Job" | "CronJob")).any(|(_, job)| {
        let text = job.value.to_string();
        text.contains("ecr") && text.contains(&folder)
    })
}
