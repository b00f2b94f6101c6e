//! What a cloud resource needs of others: what comes first, and which value it gives. Pure.

use super::{Declared, Place, Reference, Shape, at, known_output, put};
use crate::layers::outputs::outputs;
use crate::problem::{Problem, nearest};
use serde_json::Value;
use std::collections::BTreeSet;

/// Why one cloud resource comes before another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Position of what comes first.
    pub from: usize,
    /// Position of what waits.
    pub to: usize,
    /// In words: `vpcRef`, `its ARN in inlinePolicies`.
    pub reason: String,
    /// Not before it is made, but before it is complete.
    pub late: bool,
}

/// What waits for what among declared resources, and references to nothing.
pub fn needs(all: &[Declared], place: &Place) -> (Vec<Needs>, Vec<Problem>) {
    let mut needs = BTreeSet::new();
    for (to, declared) in all.iter().enumerate() {
        for reference in declared.schema.references {
            for (namespace, name) in named(declared, reference) {
                if let Some(from) = target(reference, &namespace, &name, all) {
                    needs.insert(Needs { from, to, reason: reference.twin.trim_end_matches("[]").to_owned(), late: reference.late });
                }
            }
            for value in values(declared.spec(), reference.path) {
                let from = all.iter().position(|other| {
                    is_of(other, reference) && known_output(other, reference.output, place).is_some_and(|known| known == value)
                });
                if let Some(from) = from.filter(|from| *from != to) {
                    let reason = format!("its {} in {}", reference.output, reference.path.trim_end_matches("[]"));
                    needs.insert(Needs { from, to, reason, late: reference.late });
                }
            }
        }
    }
    // Values of others by variables.
    for (to, declared) in all.iter().enumerate() {
        for output in outputs(&declared.resource.value) {
            if let Some(from) = all.iter().position(|other| other.is(&output.node)) {
                needs.insert(Needs { from, to, reason: output.reason(), late: false });
            }
        }
    }
    // ARNs inside documents: the policy may be written before, but what it names has to be there for some of its users.
    let arns: Vec<(usize, String)> = all.iter().enumerate().filter_map(|(at, other)| Some((at, other.arn(place)?))).collect();
    for (to, declared) in all.iter().enumerate() {
        for field in declared.schema.fields.iter().filter(|field| matches!(field.shape, Shape::Policy | Shape::Policies)) {
            let Some(document) = at(declared.spec(), field.path).map(Value::to_string) else { continue };
            for (from, arn) in &arns {
                // A role in a trust policy has to exist: IAM refuses an unknown principal. Elsewhere an ARN is only a name.
                if *from != to && all[*from].schema.service == "iam" && field.shape == Shape::Policy && document.contains(arn.as_str()) {
                    needs.insert(Needs { from: *from, to, reason: format!("its ARN in {}", field.path), late: false });
                }
            }
        }
    }
    (needs.into_iter().collect(), all.iter().flat_map(|declared| unresolved(declared, all)).collect())
}

/// References of one resource that name none of these.
pub fn unresolved(declared: &Declared, all: &[Declared]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for reference in declared.schema.references {
        let missing = named(declared, reference).into_iter().filter(|(namespace, name)| target(reference, namespace, name, all).is_none());
        problems.extend(missing.map(|(namespace, name)| nothing(declared, reference, &namespace, &name, all)));
    }
    problems
}

/// Position of what a reference's twin names.
fn target(reference: &Reference, namespace: &str, name: &str, all: &[Declared]) -> Option<usize> {
    all.iter().position(|other| other.is_named(reference.service, reference.kind, namespace, name))
}

fn is_of(declared: &Declared, reference: &Reference) -> bool {
    declared.schema.service == reference.service && declared.schema.kind == reference.kind
}

/// `(namespace, name)` of all that a reference's twin names.
fn named(declared: &Declared, reference: &Reference) -> Vec<(String, String)> {
    if reference.path == reference.twin {
        return Vec::new();
    }
    let own = declared.resource.namespace().unwrap_or("default");
    let mut found = Vec::new();
    walk(declared.spec(), reference.twin, &mut |value| {
        let from = value.get("from").unwrap_or(&Value::Null);
        if let Some(name) = from.get("name").and_then(Value::as_str) {
            let namespace = from.get("namespace").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(own);
            found.push((namespace.to_owned(), name.to_owned()));
        }
    });
    found
}

/// The strings at a path, through lists.
fn values<'a>(spec: &'a Value, path: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    walk(spec, path, &mut |value| found.extend(value.as_str()));
    found
}

fn walk<'a>(value: &'a Value, path: &str, visit: &mut impl FnMut(&'a Value)) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let (key, is_list) = key.strip_suffix("[]").map_or((key, false), |key| (key, true));
    let Some(value) = value.get(key) else { return };
    let mut visit_one = |value: &'a Value| match rest {
        Some(rest) => walk(value, rest, &mut *visit),
        None => visit(value),
    };
    match value.as_array() {
        Some(list) if is_list => list.iter().for_each(visit_one),
        _ => visit_one(value),
    }
}

fn nothing(declared: &Declared, reference: &Reference, namespace: &str, name: &str, all: &[Declared]) -> Problem {
    let message = format!(
        "{}: {} names {} {namespace}/{name}, which is not declared",
        declared.resource.id(),
        reference.twin.trim_end_matches("[]"),
        reference.kind
    );
    let near = nearest(name, all.iter().filter(|other| is_of(other, reference)).map(|other| other.resource.name()));
    let problem = Problem::blocks("cloud-reference", message).at(declared.origin());
    match near.first() {
        Some(near) => problem.hint(format!("did you mean {near}?")),
        None => problem.hint(format!("declare the {}, or give its value in {}", reference.kind, reference.path.trim_end_matches("[]"))),
    }
}

/// A spec with the references that can be resolved in place of their twins; the others are named.
///
/// `outputs(service, kind, namespace, name)` gives what is known of a resource.
pub fn resolve(declared: &Declared, outputs: impl Fn(&str, &str, &str, &str) -> Option<Value>) -> (Value, Vec<String>) {
    let mut spec = declared.spec().clone();
    let mut unknown = Vec::new();
    let own = declared.resource.namespace().unwrap_or("default").to_owned();
    for reference in declared.schema.references.iter().filter(|reference| reference.path != reference.twin) {
        let give = |twin: &Value| {
            let from = twin.get("from")?;
            let name = from.get("name")?.as_str()?;
            let namespace = from.get("namespace").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(&own);
            let all = outputs(reference.service, reference.kind, namespace, name)?;
            at(&all, reference.output).cloned()
        };
        if !replace(&mut spec, reference.path, reference.twin, &give) {
            unknown.push(reference.path.trim_end_matches("[]").to_owned());
        }
    }
    (spec, unknown)
}

/// Puts values in place of twins; false where one is not known.
fn replace(value: &mut Value, path: &str, twin: &str, give: &impl Fn(&Value) -> Option<Value>) -> bool {
    if let (Some((head, path)), Some((same, twin))) = (path.split_once('.'), twin.split_once('.'))
        && head == same
    {
        let (key, is_list) = head.strip_suffix("[]").map_or((head, false), |key| (key, true));
        let Some(below) = value.get_mut(key) else { return true };
        return match below.as_array_mut() {
            // Each element, though one is not known.
            Some(list) if is_list => {
                let mut is_known = true;
                for element in list {
                    is_known &= replace(element, path, twin, give);
                }
                is_known
            }
            _ => replace(below, path, twin, give),
        };
    }
    let Some(object) = value.as_object_mut() else { return true };
    let (twin, path) = (twin.trim_end_matches("[]"), path.trim_end_matches("[]"));
    let Some(found) = object.remove(twin) else { return true };
    let given = match &found {
        Value::Array(list) => list.iter().map(give).collect::<Option<Vec<Value>>>().map(Value::Array),
        one => give(one),
    };
    match given {
        Some(given) => {
            put(value, path, given);
            true
        }
        None => false,
    }
}
