//! Looks at an account: all living resources that a set of manifests could mean, with few calls, and which manifest means which.

use super::kind::{Living, State, Wanted};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{
    Candidate, Declared, Difference, Match, Needs, Schema, Tags, differences, filled, identify, known_output, resolve,
};
use crate::layers::outputs::Output;
use crate::problem::Problem;
use futures::future::join_all;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// What lives, by position of the manifest that means it.
#[derive(Debug, Default)]
pub struct Observation {
    /// The living resources that were found.
    pub found: HashMap<usize, Found>,
}

/// A living resource that a manifest means.
#[derive(Clone, Debug)]
pub struct Found {
    /// As it lives.
    pub living: Living,
    /// Why it is the one.
    pub evidence: String,
    /// Whether blackstart made it for this manifest, or the manifest asks for its adoption.
    pub ours: bool,
    /// Declared fields that live otherwise.
    pub differences: Vec<Difference>,
}

impl Found {
    /// Whether it is to be marked as ours: not where it is already, and not where an ACK controller tends it, which takes tags away
    /// that Git does not declare.
    pub fn wants_marks(&self, declared: &Declared, environment: &str) -> bool {
        let has = |(key, value): (&String, &String)| self.living.tags.get(key) == Some(value);
        declared.schema.tags != Tags::None && !self.living.is_tended() && !declared.marks(environment).iter().all(has)
    }
}

/// A manifest with what is known of it, ready for a call.
pub fn wanted(declared: &Declared, environment: &str, run: &str, outputs: impl Fn(&str, &str, &str, &str) -> Option<Value>) -> Wanted {
    let (spec, unknown) = resolve(declared, outputs);
    let mut tags = declared.tags();
    tags.extend(declared.marks(environment));
    Wanted { spec, unknown, tags, token: token(run, &declared.node()), backup: None, declared: declared.clone() }
}

/// Declared fields that live otherwise, those left out that are not known yet.
pub fn differing(schema: &'static Schema, spec: &Value, unknown: &[String], living: &Living) -> Vec<Difference> {
    let mut found = differences(schema, spec, &living.spec, &living.tags);
    found.retain(|difference| !unknown.iter().any(|unknown| unknown.starts_with(difference.path)));
    found
}

/// 32 hex digits, the same for each attempt of one run.
fn token(run: &str, node: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{run}\n{node}"));
    digest.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Looks at everything at once. Errors of all kinds are told together; candidates that cannot be told apart are problems.
pub async fn observe(
    cloud: &Cloud,
    environment: &str,
    all: &[Declared],
    needs: &[Needs],
) -> Result<(Observation, Vec<Problem>), Vec<CloudError>> {
    let mut kinds: BTreeMap<(&str, &str), Vec<Wanted>> = BTreeMap::new();
    let mut problems = Vec::new();
    // What follows from the manifests takes the place of variables now, what lives later.
    let from_manifest = |output: &Output| {
        let other = all.iter().find(|other| other.is(&output.node))?;
        known_output(other, &output.field, cloud.place()).map(Value::from)
    };
    for declared in all {
        let declared = match filled(declared, from_manifest) {
            Ok(filled) => filled.declared,
            Err(why) => {
                problems.push(Problem::blocks("cloud-output", why).at(declared.origin()));
                continue;
            }
        };
        // Names and ARNs that follow from the manifests are known before anything lives.
        let known = |service: &str, kind: &str, namespace: &str, name: &str| {
            let other = all.iter().find(|other| other.is_named(service, kind, namespace, name))?;
            let mut outputs = other.spec().clone();
            if let (Some(arn), Some(object)) = (other.arn(cloud.place()), outputs.as_object_mut()) {
                object.insert("arn".into(), arn.into());
            }
            Some(outputs)
        };
        let wanted = wanted(&declared, environment, "", known);
        kinds.entry((declared.schema.service, declared.schema.kind)).or_default().push(wanted);
    }
    let lists = kinds.values().map(|wanted| async move {
        let Some(kind) = wanted.first().and_then(|first| super::kind(first.declared.schema)) else { return Ok(Vec::new()) };
        kind.list(cloud, wanted).await
    });
    let mut living: BTreeMap<(&str, &str), Vec<Living>> = BTreeMap::new();
    let mut errors = Vec::new();
    for (key, list) in kinds.keys().zip(join_all(lists).await) {
        match list {
            Ok(list) => drop(living.insert(*key, list)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut observation = Observation::default();
    for position in in_order(all.len(), needs) {
        let living_output = |output: &Output| {
            let from = all.iter().position(|other| other.is(&output.node))?;
            output.of(&observation.found.get(&from)?.living.outputs()).cloned()
        };
        let filled = match filled(&all[position], |output| living_output(output).or_else(|| from_manifest(output))) {
            Ok(filled) => filled,
            Err(why) => {
                problems.push(Problem::blocks("cloud-output", why).at(all[position].origin()));
                continue;
            }
        };
        let declared = &filled.declared;
        let list = living.get(&(declared.schema.service, declared.schema.kind)).map(Vec::as_slice).unwrap_or_default();
        let (spec, mut unknown) =
            resolve(declared, |service, kind, namespace, name| observation.outputs(all, service, kind, namespace, name));
        unknown.extend(filled.unknown);
        let candidates: Vec<Candidate<'_>> = list.iter().map(candidate).collect();
        match identify(declared, &spec, environment, &candidates) {
            Match::None => {}
            Match::One { position: at, evidence, ours } => {
                let living = list[at].clone();
                let differences = differing(declared.schema, &spec, &unknown, &living);
                let ours = ours || declared.schema.tags == Tags::None;
                observation.found.insert(position, Found { living, evidence, ours, differences });
            }
            Match::Several { positions, evidence } => problems.push(several(declared, &evidence, positions.iter().map(|&at| &list[at]))),
        }
    }
    Ok((observation, problems))
}

/// As the pure rooms see it.
pub fn candidate(living: &Living) -> Candidate<'_> {
    Candidate {
        id: &living.id,
        spec: &living.spec,
        status: &living.status,
        tags: &living.tags,
        leaving: matches!(living.state, State::Leaving(_)),
    }
}

impl Observation {
    /// Outputs of a living resource, by the name of its manifest.
    pub fn outputs(&self, all: &[Declared], service: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let position = all.iter().position(|other| other.is_named(service, kind, namespace, name))?;
        Some(self.found.get(&position)?.living.outputs())
    }
}

/// Positions, each after what it needs; those of a circle (which `plan` has refused) at the end.
fn in_order(count: usize, needs: &[Needs]) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut open: Vec<usize> = (0..count).collect();
    while !open.is_empty() {
        let (free, held): (Vec<usize>, Vec<usize>) = open
            .iter()
            .partition(|&&position| needs.iter().filter(|need| !need.late && need.to == position).all(|need| order.contains(&need.from)));
        let free = if free.is_empty() { std::mem::take(&mut open) } else { free };
        open = if open.is_empty() { Vec::new() } else { held };
        order.extend(free);
    }
    order
}

fn several<'a>(declared: &Declared, evidence: &str, candidates: impl Iterator<Item = &'a Living>) -> Problem {
    let list: Vec<String> = candidates
        .map(|living| {
            let tags: Vec<String> = living.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let age = living.created.as_deref().map(|time| format!(", made {time}")).unwrap_or_default();
            format!("{} (tags {}{age})", living.id, if tags.is_empty() { "none".into() } else { tags.join(" ") })
        })
        .collect();
    let message = format!("{}: more than one living resource fits by {evidence}: {}", declared.resource.id(), list.join("; "));
    Problem::blocks("cloud-candidates", message).at(declared.origin()).hint(
        "name the right one in the annotation services.k8s.aws/adoption-fields with adoption-policy adopt-or-create, or remove the others",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_puts_each_after_its_needs_and_loses_none_of_a_circle() {
        let need = |from, to| Needs { from, to, reason: String::new(), late: false };
        assert_eq!(in_order(3, &[need(2, 0), need(0, 1)]), [2, 0, 1]);
        let mut circle = in_order(3, &[need(0, 1), need(1, 0)]);
        circle.sort_unstable();
        assert_eq!(circle, [0, 1, 2]);
    }
}
