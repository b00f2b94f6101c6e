//! Proves from Git alone that a start from nothing converges, or lists why not. Pure: works on what `read` and `plan` already know.
//!
//! `Facts` is the index that all rules share, `simulate` starts the layers against an API server that holds nothing yet, `rules` is the
//! table: one rule a file. `simulate` tells at the end how the start goes where each layer that a finding keeps from it stays behind.
//! The report has all three: what is found, what never starts, what was not looked at. What `read` and `plan` find wrong is listed with the rest. A finding that Git accepts with a reason is
//! counted apart, never dropped.

mod accept;
mod charts;
mod facts;
mod objects;
mod page;
pub mod rules;
mod simulate;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use accept::ANNOTATION;
pub use page::page;
pub use simulate::Step;

use crate::environment::Environment;
use crate::layers::LayerId;
use crate::manifest::{ObjectId, Resource};
use crate::plan::Plan;
use crate::problem::{Origin, Problem, Severity, Unknown};
use crate::read::Reading;
use facts::Facts;
use rules::Rule;
use serde::Serialize;
use simulate::{Lacking, Outcome, Until};
use std::collections::BTreeSet;

/// What is verified.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// All layers with their objects.
    pub reading: &'a Reading,
    /// The environment.
    pub environment: &'a Environment,
    /// Its plan.
    pub plan: &'a Plan,
    /// Definitions in charts that stand in Git, each with the HelmRelease that installs it.
    pub shipped: &'a [(ObjectId, Resource)],
    /// HelmReleases whose chart is not in the source that is at hand, each with its folder.
    pub absent: &'a [(ObjectId, String)],
    /// Secrets and encrypted documents as they stand in the files.
    pub written: &'a [Resource],
}

/// What `verify -o json` prints.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// `blackstart/v1alpha1`.
    pub api_version: &'static str,
    /// `Verification`.
    pub kind: &'static str,
    /// Name of the environment.
    pub environment: String,
    /// Commit, `-dirty` for a changed working tree.
    pub revision: String,
    /// Only what is not found at this revision is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// How many layers there are.
    pub layers: usize,
    /// How many objects they hold.
    pub objects: usize,
    /// The start against an empty API server, step by step.
    pub steps: Vec<Step>,
    /// Layers that never start in it.
    pub stopped: Vec<LayerId>,
    /// Layers that start and never become ready.
    pub unready: Vec<LayerId>,
    /// Layers whose objects Git does not tell: counted as started, not looked at.
    pub unread: Vec<LayerId>,
    /// What is found and not accepted: what blocks first, then by place.
    pub findings: Vec<Finding>,
    /// What is found and accepted.
    pub accepted: Vec<Finding>,
    /// What Git does not tell: nothing was looked for there.
    pub unknowns: Vec<Unknown>,
    /// How many findings the baseline has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Rule, message, place, hint.
    #[serde(flatten)]
    pub problem: Problem,
    /// The layer it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
    /// The object it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// A change of the file that mends it, as `git apply` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Why it is accepted, and where that is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Layers that it keeps from being applied, or from being ready, where it blocks.
    #[serde(skip)]
    pub(crate) keeps: Vec<(LayerId, Until)>,
}

/// Why a finding is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// In the words of whoever accepted it.
    pub reason: String,
    /// Where.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

impl Finding {
    /// Of a rule, with its severity. The object first, then what is wrong.
    pub(crate) fn new(rule: &Rule, message: impl Into<String>) -> Self {
        let mut problem = Problem::blocks(rule.id, message);
        problem.severity = rule.severity;
        problem.into()
    }

    /// About a layer, at its declaration.
    pub(crate) fn of(mut self, layer: &crate::layers::flux::Layer) -> Self {
        self.layer = Some(layer.id.clone());
        self.problem.origin = self.problem.origin.or_else(|| layer.declaration.origin.clone());
        self
    }

    /// About an object, at its place.
    pub(crate) fn about(mut self, object: &Resource) -> Self {
        self.object = Some(object.id());
        self.problem.origin = object.origin.clone().or(self.problem.origin);
        self
    }

    /// At this place, where there is one.
    pub(crate) fn at(mut self, origin: Option<Origin>) -> Self {
        self.problem.origin = origin.or(self.problem.origin);
        self
    }

    /// With what to do next, where the rule's own advice is not enough.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// With another severity than the rule's.
    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.problem.severity = severity;
        self
    }

    /// Keeps layers from being applied, or from being ready.
    pub(crate) fn keeps(mut self, facts: &Facts<'_>, layers: impl IntoIterator<Item = usize>, from: Until) -> Self {
        self.keeps.extend(layers.into_iter().map(|layer| (facts.layer(layer).id.clone(), from)));
        self
    }

    /// The same finding has the same one in another revision: line numbers do not count.
    pub fn fingerprint(&self) -> String {
        let layer = self.layer.as_ref().map(ToString::to_string).unwrap_or_default();
        let object = self.object.as_ref().map(|id| format!("{} {id}", id.group())).unwrap_or_default();
        let file = self.problem.origin.as_ref().map_or("", |origin| origin.file.as_str());
        format!("{}|{layer}|{object}|{file}|{}", self.problem.rule, without_lines(&self.problem.message))
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self { problem, layer: None, object: None, patch: None, accepted: None, keeps: Vec::new() }
    }
}

/// A text without the lines of the places in it: `a.yaml:12` becomes `a.yaml`.
fn without_lines(text: &str) -> String {
    let mut parts = text.split(".yaml:");
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        done.push_str(".yaml");
        done.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    done
}

/// Runs all rules.
pub fn verify(subject: &Subject<'_>) -> Verification {
    let facts = Facts::new(*subject);
    let mut findings: Vec<Finding> = subject.plan.problems.iter().cloned().map(Finding::from).collect();
    for check in rules::RULES.iter().filter_map(|rule| rule.check) {
        findings.extend(check(&facts));
    }
    let (mut findings, mut accepted) = accept::part(&facts, findings);
    let outcome = outcome(&facts, &findings, &accepted);
    findings.extend(rules::never_starts(&facts, &outcome));
    let ids = |layers: &[usize]| layers.iter().map(|&layer| facts.layer(layer).id.clone()).collect::<Vec<_>>();
    for list in [&mut findings, &mut accepted] {
        for finding in list.iter_mut().filter(|finding| finding.problem.hint.is_none()) {
            finding.problem.hint = rules::find(finding.problem.rule).map(|rule| rule.fix.to_owned());
        }
        let key = |finding: &Finding| {
            let problem = &finding.problem;
            (problem.severity, problem.rule, problem.origin.clone(), problem.message.clone())
        };
        list.sort_by_key(key);
        list.dedup();
    }
    Verification {
        api_version: "blackstart/v1alpha1",
        kind: "Verification",
        environment: subject.plan.environment.clone(),
        revision: subject.reading.revision.clone(),
        baseline: None,
        layers: subject.plan.layers.len(),
        objects: subject.plan.layers.iter().map(|layer| layer.objects.len()).sum(),
        stopped: ids(&outcome.stopped),
        unready: ids(&outcome.unready),
        unread: ids(&outcome.unread),
        steps: outcome.steps,
        findings,
        accepted,
        unknowns: subject.plan.unknowns.clone(),
        known: None,
    }
}

/// The start with all that stands against it. What is accepted does not.
fn outcome(facts: &Facts<'_>, findings: &[Finding], accepted: &[Finding]) -> Outcome {
    let blocking = || findings.iter().filter(|finding| finding.problem.severity == Severity::Blocks);
    let mut kept: Vec<(usize, Until)> =
        blocking().flat_map(|finding| &finding.keeps).filter_map(|(id, until)| Some((facts.by_id(id)?, *until))).collect();
    kept.extend(told(facts, blocking().map(|finding| &finding.problem)).into_iter().map(|layer| (layer, Until::Applied)));
    let is_accepted = |layer: usize, what: &Lacking<'_>| {
        let id = &facts.layer(layer).id;
        accepted.iter().any(|finding| finding.problem.rule == what.rule() && finding.layer.as_ref() == Some(id))
    };
    simulate::outcome(facts, &kept, &is_accepted)
}

/// Layers that something found by reading or planning keeps from being applied. Their problems name them in the words of every message:
/// the object first, then its layer.
fn told<'p>(facts: &Facts<'_>, problems: impl Iterator<Item = &'p Problem> + Clone) -> BTreeSet<usize> {
    // What is not on this machine is no fault of the start.
    let of_plan = problems.filter(|problem| rules::find(problem.rule).is_some_and(|rule| rule.check.is_none()));
    let names =
        |rule: &'static str, text: String| of_plan.clone().any(|problem| problem.rule == rule && problem.message.starts_with(&text));
    let is_kept = |(position, layer, objects): (usize, &crate::layers::flux::Layer, &[Resource])| {
        let (first, inside) = (format!("{} {}: ", layer.kind(), layer.id), format!(" of layer {}: ", layer.id));
        let needs = format!("layer {} needs ", layer.id);
        let is_told = of_plan.clone().filter(|problem| !rules::IS_ABSENT.contains(&problem.rule)).any(|problem| {
            problem.message.starts_with(&first)
                || problem.message.starts_with(&needs)
                || problem.message.split(": ").next().is_some_and(|start| format!("{start}: ").ends_with(&inside))
        });
        let lacks_variables = layer.spec.post_build.iter().flat_map(|post_build| &post_build.substitute_from).any(|reference| {
            let text = format!("{} {}/{}: ", reference.kind, layer.id.namespace, reference.name);
            !reference.optional && names("variables-missing", text)
        });
        // The API server refuses it, and with it everything that is applied at once.
        let holds_invalid = objects.iter().any(|object| names("kustomization-invalid", format!("{}: ", object.id())));
        (is_told || lacks_variables || holds_invalid).then_some(position)
    };
    facts.layers().filter_map(is_kept).collect()
}

impl Verification {
    /// Leaves only what an earlier revision does not have.
    #[must_use]
    pub fn since(mut self, baseline: &str, earlier: &Verification) -> Self {
        let known: BTreeSet<String> = earlier.findings.iter().chain(&earlier.accepted).map(Finding::fingerprint).collect();
        let before = self.findings.len();
        self.findings.retain(|finding| !known.contains(&finding.fingerprint()));
        self.accepted.retain(|finding| !known.contains(&finding.fingerprint()));
        self.known = Some(before - self.findings.len());
        self.baseline = Some(baseline.to_owned());
        self
    }

    /// How many findings have a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.problem.severity == severity).count()
    }
}
