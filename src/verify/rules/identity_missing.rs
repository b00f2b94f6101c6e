//! A cloud resource that a recovery could not tell from others.

use super::{Finding, Rule};
use crate::layers::infrastructure::{Declared, Identity, Tags, at};
use crate::problem::Severity;
use crate::verify::facts::Facts;
use std::collections::BTreeMap;

pub(crate) const RULE: Rule = Rule {
    id: "identity-missing",
    severity: Severity::Risk,
    title: "A recovery could not find a cloud resource again",
    why: "AWS gives it no name of its own, and Git declares no tag that only it has. Our own tags do not last: an ACK controller takes away \
          tags that Git does not declare. A recovery would make a second one beside it.",
    fix: "declare a tag that no other resource of the kind has",
    check: Some(check),
};

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let all = &facts.subject.plan.declared;
    for declared in all {
        let adopted = declared.annotation("adoption-fields").is_some();
        if adopted || declared.annotation("adoption-policy").is_some_and(|policy| policy == "adopt") {
            continue;
        }
        let message = match declared.schema.identity {
            Identity::Tags => {
                let tags = declared.tags();
                let twin = all.iter().find(|other| {
                    let theirs = other.tags();
                    other.node() != declared.node()
                        && is_same_kind(declared, other)
                        && tags.iter().all(|(key, value)| theirs.get(key) == Some(value))
                });
                match (tags.is_empty(), twin) {
                    (true, _) => format!("{}: declares no tag by which a recovery could find it", declared.resource.id()),
                    (false, Some(twin)) => {
                        format!(
                            "{}: its declared tags fit {} too, so that a recovery could not tell them apart",
                            declared.resource.id(),
                            twin.resource.id()
                        )
                    }
                    (false, None) => continue,
                }
            }
            Identity::Name(fields) | Identity::Key(fields) => {
                let unknown = |field: &&&str| {
                    let twin = declared.schema.references.iter().find(|reference| reference.path == **field);
                    at(declared.spec(), field).is_none()
                        && twin.is_none_or(|twin| at(declared.spec(), twin.twin.trim_end_matches("[]")).is_none())
                };
                let Some(field) = fields.iter().find(unknown) else { continue };
                format!("{}: does not declare spec.{field}, by which a recovery would find it", declared.resource.id())
            }
        };
        let finding = Finding::new(&RULE, message).about(&declared.resource);
        found.push(match hint(declared, &facts.subject.plan.environment) {
            Some(hint) => finding.hint(hint),
            None => finding,
        });
    }
    found
}

fn is_same_kind(one: &Declared, other: &Declared) -> bool {
    one.schema.service == other.schema.service && one.schema.kind == other.schema.kind
}

/// The tag that Git should declare; none where tags do not identify the kind, or it has some already.
pub fn proposal(declared: &Declared, environment: &str) -> Option<BTreeMap<String, String>> {
    let wanted = declared.schema.identity == Identity::Tags && declared.schema.tags != Tags::None && declared.tags().is_empty();
    let name = declared.resource.name();
    let value = if name.contains(environment) { name.to_owned() } else { format!("{environment}-{name}") };
    wanted.then(|| BTreeMap::from([("Name".to_owned(), value)]))
}

fn hint(declared: &Declared, environment: &str) -> Option<String> {
    let tags = proposal(declared, environment)?;
    let (key, value) = tags.first_key_value()?;
    Some(match declared.schema.tags {
        Tags::List(path) => {
            let (name, content) = declared.schema.tag_words();
            format!("add to spec.{path}: {{{name}: {key}, {content}: {value}}}")
        }
        Tags::Map(path) => format!("add to spec.{path}: {{{key}: {value}}}"),
        Tags::None => return None,
    })
}
