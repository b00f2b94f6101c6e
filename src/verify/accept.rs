//! What Git accepts, each with a reason: an annotation of the object or of its layer's Kustomization, or `spec.accept` of the environment.

use super::facts::Facts;
use super::rules::{self, ACCEPT_INVALID, ACCEPT_UNUSED};
use super::{Accepted, Finding};
use crate::environment::Accept;
use crate::manifest::Resource;
use crate::problem::{Severity, nearest};
use std::collections::BTreeSet;

/// Lines of `rule: reason`.
pub const ANNOTATION: &str = "blackstart.dev/accept";

/// Findings that nobody accepts, and those that somebody does. What accepts nothing becomes a finding itself.
pub(super) fn part(facts: &Facts<'_>, findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    let (mut open, mut accepted) = (Vec::new(), Vec::new());
    let list = &facts.subject.environment.spec.accept;
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut used_annotations: BTreeSet<(String, String)> = BTreeSet::new();
    for mut finding in findings {
        // A run refuses what the plan itself calls blocking, whatever is accepted here.
        let refused =
            finding.problem.severity == Severity::Blocks && rules::find(finding.problem.rule).is_none_or(|rule| rule.check.is_none());
        let annotated = holders(facts, &finding).find_map(|holder| {
            let (_, reason) = entries(holder).find(|(rule, reason)| *rule == finding.problem.rule && !reason.is_empty())?;
            Some((holder, reason.to_owned()))
        });
        if refused {
            open.push(finding);
        } else if let Some((holder, reason)) = annotated {
            used_annotations.insert((holder.id().to_string(), finding.problem.rule.to_owned()));
            finding.accepted = Some(Accepted { reason, origin: holder.origin.clone() });
            accepted.push(finding);
        } else if let Some(position) = list.iter().position(|accept| matches(accept, &finding)) {
            used.insert(position);
            finding.accepted = Some(Accepted { reason: list[position].reason.clone(), origin: list[position].origin.clone() });
            accepted.push(finding);
        } else {
            open.push(finding);
        }
    }
    for (position, accept) in list.iter().enumerate().filter(|(position, _)| !used.contains(position)) {
        let what = format!("spec.accept[{position}]");
        open.push(idle(&what, &accept.rule).at(accept.origin.clone()));
    }
    for holder in facts.holders() {
        for (rule, reason) in entries(holder) {
            let id = holder.id();
            if used_annotations.contains(&(id.to_string(), rule.to_owned())) {
                continue;
            }
            let what = format!("{id}: annotation {ANNOTATION}");
            let finding = if reason.is_empty() {
                Finding::new(&ACCEPT_INVALID, format!("{what}: `{rule}` has no reason")).hint("write `rule: reason`, one a line")
            } else {
                idle(&what, rule)
            };
            open.push(finding.about(holder));
        }
    }
    (open, accepted)
}

/// An entry that accepts nothing: its rule is not known, or finds nothing there.
fn idle(what: &str, rule: &str) -> Finding {
    let Some(known) = rules::find(rule) else {
        let near = nearest(rule, rules::RULES.iter().map(|rule| rule.id));
        let hint =
            if near.is_empty() { "the rules are listed in docs/rules.md".to_owned() } else { format!("did you mean {}?", near.join(", ")) };
        return Finding::new(&ACCEPT_INVALID, format!("{what}: there is no rule `{rule}`")).hint(hint);
    };
    if known.check.is_none() && known.severity == Severity::Blocks {
        let message = format!("{what}: `{rule}` cannot be accepted: a run refuses it too");
        return Finding::new(&ACCEPT_INVALID, message).hint("solve it, and take the entry out");
    }
    Finding::new(&ACCEPT_UNUSED, format!("{what}: accepts `{rule}`, which is not found there"))
}

/// The objects whose annotation may accept a finding: its own, then its layer's Kustomization.
fn holders<'f>(facts: &'f Facts<'_>, finding: &'f Finding) -> impl Iterator<Item = &'f Resource> {
    let own = finding.object.as_ref().and_then(|id| facts.object(finding.layer.as_ref(), id));
    let layer = finding.layer.as_ref().and_then(|id| facts.by_id(id)).map(|position| &facts.layer(position).declaration);
    own.into_iter().chain(layer)
}

/// `(rule, reason)` of an object's annotation.
fn entries(holder: &Resource) -> impl Iterator<Item = (&str, &str)> {
    let text = holder.annotation(ANNOTATION).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (rule, reason) = line.split_once(':').unwrap_or((line, ""));
        (rule.trim(), reason.trim())
    })
}

fn matches(accept: &Accept, finding: &Finding) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
    let object = finding.object.as_ref();
    let layer = finding.layer.as_ref().map(ToString::to_string);
    accept.rule == finding.problem.rule
        && is(&accept.layer, layer.as_deref())
        && is(&accept.file, finding.problem.origin.as_ref().map(|origin| origin.file.as_str()))
        && is(&accept.kind, object.map(|object| object.kind.as_str()))
        && is(&accept.namespace, object.and_then(|object| object.namespace.as_deref()))
        && is(&accept.name, object.map(|object| object.name.as_str()))
}
