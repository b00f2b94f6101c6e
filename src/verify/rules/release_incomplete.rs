//! A HelmRelease that can never be installed.

use super::{Finding, Rule};
use crate::layers::SourceId;
use crate::layers::flux::is_release;
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{Required, required, target};
use crate::verify::simulate::Until;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "release-incomplete",
    severity: Severity::Blocks,
    title: "A HelmRelease can never be installed",
    why: "It depends on a release that nothing declares, that is suspended, or that depends on it; or nothing brings its chart or its values. \
          helm-controller tries for ever. Where a layer waits for it, that and all that depends on the layer stop; else only the release is \
          missing.",
    fix: "declare what is missing, or correct the name",
    check: Some(check),
};

/// Why a release is not installed.
struct Lack {
    why: String,
    /// Whether nothing outside Git can be the answer.
    is_certain: bool,
}

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let releases: Releases<'_> =
        facts.with_charts().filter(|(_, object)| is_release(object)).map(|(layer, release)| (key(release), (layer, release))).collect();
    let mut lacks: BTreeMap<Name, Vec<Lack>> = BTreeMap::new();
    for (_, release) in facts.releases() {
        let found = of_release(facts, release, &releases);
        if !found.is_empty() {
            lacks.insert(key(release), found);
        }
    }
    // What a chart makes may be the values of another one, if that chart is ever installed.
    let makers: BTreeMap<&str, &Resource> = facts
        .releases()
        .filter(|(_, release)| facts.is_closed(release) && !lacks.contains_key(&key(release)))
        .filter_map(|(_, release)| Some((target(release)?, release)))
        .collect();
    for (_, release) in facts.releases() {
        for needed in required(release).iter().filter(|needed| needed.kind == "ConfigMap" && !is_there(facts, needed)) {
            let maker = makers.get(needed.namespace.as_str()).filter(|maker| maker.id() != release.id());
            let is_copied = facts.named(&needed.name).any(|(_, object)| object.kind() == "ConfigMap" || object.kind() == "Bundle");
            let is_certain = maker.is_none() && !is_copied;
            let why = format!("takes values from {needed}, which nothing declares");
            lacks.entry(key(release)).or_default().push(Lack { why, is_certain });
        }
    }
    let finding = |(name, lacks): (&Name, &Vec<Lack>)| {
        let &(layer, release) = releases.get(name)?;
        let whys: Vec<String> = lacks.iter().map(|lack| lack.why.clone()).collect();
        let held: BTreeSet<usize> =
            dependents(name, &releases).into_iter().flat_map(|(layer, release)| facts.awaiting(layer, release)).collect();
        let finding = Finding::new(&RULE, format!("{}: can never be installed: it {}", release.id(), whys.join("; it ")));
        let finding = finding.of(facts.layer(layer)).about(release);
        Some(match (lacks.iter().any(|lack| lack.is_certain), held.is_empty()) {
            (false, _) => finding.severity(Severity::Risk),
            (true, true) => finding.severity(Severity::Differs),
            (true, false) => finding.keeps(facts, held, Until::Ready),
        })
    };
    lacks.iter().filter_map(finding).collect()
}

/// Namespace and name.
type Name = (String, String);

/// All releases of Git and of its charts, each with its layer.
type Releases<'a> = BTreeMap<Name, (usize, &'a Resource)>;

fn key(release: &Resource) -> Name {
    (release.namespace().unwrap_or("default").to_owned(), release.name().to_owned())
}

/// The releases that a release depends on.
fn dependencies(release: &Resource) -> impl Iterator<Item = Name> {
    required(release).into_iter().filter(|needed| needed.kind == "HelmRelease").map(|needed| (needed.namespace, needed.name))
}

fn of_release(facts: &Facts<'_>, release: &Resource, releases: &Releases<'_>) -> Vec<Lack> {
    let mut found = Vec::new();
    let mut add = |why: String, is_certain: bool| found.push(Lack { why, is_certain });
    for needed in required(release) {
        let is_open = !facts.is_complete() || facts.may_be_made(&needed.kind);
        match needed.kind.as_str() {
            "HelmRelease" => match releases.get(&(needed.namespace.clone(), needed.name.clone())) {
                None => add(format!("depends on {needed}, which nothing declares"), !is_open),
                Some((_, other)) if is_suspended(other) => {
                    add(format!("depends on {needed}, which is suspended"), true);
                }
                Some(_) => {}
            },
            // ArtifactGenerators make these.
            "ConfigMap" | "ExternalArtifact" => {}
            _ if !is_there(facts, &needed) => add(format!("takes its chart from {needed}, which nothing declares"), !is_open),
            _ => {}
        }
    }
    let id = release.id();
    for (_, folder) in facts.subject.absent.iter().filter(|(absent, _)| *absent == id) {
        add(format!("takes its chart from {folder}, where none is"), facts.subject.reading.assumed.is_empty());
    }
    if let Some(round) = round(&key(release), releases) {
        add(format!("waits for itself: {round}"), true);
    }
    found
}

fn is_suspended(release: &Resource) -> bool {
    release.value.pointer("/spec/suspend") == Some(&serde_json::Value::Bool(true))
}

/// Whether Git or the environment brings an object.
fn is_there(facts: &Facts<'_>, needed: &Required) -> bool {
    let spec = &facts.environment().spec;
    let is = |kind: &str, namespace: &str, name: &str| (kind, namespace, name) == (&*needed.kind, &*needed.namespace, &*needed.name);
    let id = SourceId { kind: needed.kind.clone(), namespace: needed.namespace.clone(), name: needed.name.clone() };
    let reading = facts.subject.reading;
    facts.named(&needed.name).any(|(_, object)| needed.is(object))
        // What starts the agent is there before any layer; what is given by --source has files.
        || reading.sources.get(&id).is_some_and(|source| source.declaration.is_some() || source.tree.is_some())
        || reading.layers.iter().any(|read| read.layer.parent.is_none() && read.layer.source == id)
        || spec.variables.iter().any(|given| is(&given.kind, &given.namespace, &given.name))
        || spec.outputs.iter().any(|given| is(&given.kind, &given.namespace, &given.name))
        || facts.may_be_made(&needed.kind)
        // ACK writes fields of its objects into ConfigMaps.
        || facts.objects().any(|(_, object)| object.kind() == "FieldExport" && object.text("/spec/to/name") == needed.name)
}

/// The way from a release back to itself, told once: by the first of those on it.
fn round(start: &Name, releases: &Releases<'_>) -> Option<String> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let Some((_, release)) = way.last().and_then(|last| releases.get(last)) else { continue };
        for next in dependencies(release) {
            if next == *start && way.iter().min() == way.first() {
                let names = way.iter().chain(way.first()).map(|(namespace, name)| format!("{namespace}/{name}"));
                return Some(names.collect::<Vec<_>>().join(" → "));
            }
            if next != *start && releases.contains_key(&next) && seen.insert(next.clone()) {
                ways.push(way.iter().cloned().chain([next]).collect());
            }
        }
    }
    None
}

/// A release, and all that depend on it, however many stand between.
fn dependents<'a>(start: &Name, releases: &Releases<'a>) -> Vec<(usize, &'a Resource)> {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut left = vec![start.clone()];
    while let Some(at) = left.pop() {
        for (name, (_, release)) in releases {
            if dependencies(release).any(|needed| needed == at) && seen.insert(name.clone()) {
                left.push(name.clone());
            }
        }
    }
    seen.iter().filter_map(|name| releases.get(name).copied()).collect()
}
