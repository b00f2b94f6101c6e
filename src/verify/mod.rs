//! Proves from Git alone that a start from nothing converges, or lists why not. Pure: works on what `read` and `plan` already know.
//!
//! `Facts` is the index that all rules share, `simulate` starts the layers against an API server that holds nothing yet, `rules` is the
//! table: one rule a file. What `read` and `plan` find wrong is listed with the rest. A finding that Git accepts with a reason is
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
        Self { problem, layer: None, object: None, patch: None, accepted: None }
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

    /// The same finding has the same one in another revision: line numbers do not count.
    pub fn fingerprint(&self) -> String {
        let layer = self.layer.as_ref().map(ToString::to_string).unwrap_or_default();
        let object = self.object.as_ref().map(|id| format!("{} {id}", id.group())).unwrap_or_default();
        let file = self.problem.origin.as_ref().map_or("", |origin| origin.file.as_str());
        format!("{}|{layer}|{object}|{file}|{}", self.problem.rule, without_lines(&self.problem.message))
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
    let start = &facts.start;
    let mut findings: Vec<Finding> = subject
        .plan
        .problems
        .iter()
        .map(|problem| Finding { problem: problem.clone(), layer: None, object: None, patch: None, accepted: None })
        .collect();
    for check in rules::RULES.iter().filter_map(|rule| rule.check) {
        findings.extend(check(&facts));
    }
    let (mut findings, mut accepted) = accept::part(&facts, findings);
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
        steps: start.steps.clone(),
        stopped: start.stopped.iter().map(|&layer| facts.layer(layer).id.clone()).collect(),
        findings,
        accepted,
        unknowns: subject.plan.unknowns.clone(),
        known: None,
    }
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
