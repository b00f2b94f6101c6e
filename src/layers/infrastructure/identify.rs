//! Which living resource a manifest means, without a state file. Pure.

use super::{Declared, Identity, TAG_ENVIRONMENT, TAG_RESOURCE, at};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is known of a living resource that could be the declared one.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What AWS calls it.
    pub id: &'a str,
    /// Its fields in the words of the manifest.
    pub spec: &'a Value,
    /// Its status.
    pub status: &'a Value,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// It is being deleted.
    pub leaving: bool,
}

/// Which of the candidates a manifest means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// None of them.
    None,
    /// This one.
    One {
        /// Its position.
        position: usize,
        /// Why, in words.
        evidence: String,
        /// Whether it was made by blackstart for this manifest, or the manifest itself asks for it.
        ours: bool,
    },
    /// More than one, by the same evidence.
    Several {
        /// Their positions.
        positions: Vec<usize>,
        /// Why, in words.
        evidence: String,
    },
}

/// Strongest evidence first: ACK's adoption annotation, our tags, then what identifies the kind.
///
/// `spec` has its references resolved; where a field of the identity is not known, its parent does not exist, and so does none of these.
pub fn identify(declared: &Declared, spec: &Value, environment: &str, candidates: &[Candidate<'_>]) -> Match {
    let living: Vec<usize> = (0..candidates.len()).filter(|&position| !candidates[position].leaving).collect();
    let choose = |evidence: &str, ours: bool, is_meant: &dyn Fn(&Candidate<'_>) -> bool| {
        let found: Vec<usize> = living.iter().copied().filter(|&position| is_meant(&candidates[position])).collect();
        match found.as_slice() {
            [] => Match::None,
            [position] => Match::One { position: *position, evidence: evidence.to_owned(), ours },
            _ => Match::Several { positions: found, evidence: evidence.to_owned() },
        }
    };
    let adopts = declared.annotation("adoption-policy").is_some_and(|policy| policy.starts_with("adopt"));
    let fields: Option<serde_json::Map<String, Value>> =
        declared.annotation("adoption-fields").and_then(|text| serde_json::from_str(text).ok());
    if let Some(fields) = fields.filter(|fields| adopts && !fields.is_empty()) {
        let has = |candidate: &Candidate<'_>, key: &str, value: &Value| {
            at(candidate.status, key).or_else(|| at(candidate.spec, key)) == Some(value) || key == "arn" && value == &arn_of(candidate)
        };
        return choose("the annotation adoption-fields", true, &|candidate| fields.iter().all(|(key, value)| has(candidate, key, value)));
    }
    let key = declared.key();
    let ours = |candidate: &Candidate<'_>| {
        candidate.tags.get(TAG_RESOURCE) == Some(&key) && candidate.tags.get(TAG_ENVIRONMENT).map(String::as_str) == Some(environment)
    };
    let tagged = choose("our tags", true, &ours);
    if tagged != Match::None {
        return tagged;
    }
    match declared.schema.identity {
        Identity::Name(fields) | Identity::Key(fields) => {
            let values: Option<Vec<(&str, &Value)>> = fields.iter().map(|field| Some((*field, at(spec, field)?))).collect();
            let Some(values) = values.filter(|values| !values.is_empty()) else { return Match::None };
            let words: Vec<String> = values.iter().map(|(field, value)| format!("{field} {}", super::text(value))).collect();
            choose(&words.join(", "), adopts, &|candidate| {
                !belongs_to_another(candidate, &key, environment)
                    && values
                        .iter()
                        .all(|(field, value)| at(candidate.spec, field).is_some_and(|living| super::text(living) == super::text(value)))
            })
        }
        Identity::Tags => {
            let declared_tags = declared.tags();
            if declared_tags.is_empty() {
                return Match::None;
            }
            choose("all tags that Git declares", adopts, &|candidate| {
                !belongs_to_another(candidate, &key, environment)
                    && declared_tags.iter().all(|(name, value)| candidate.tags.get(name) == Some(value))
            })
        }
    }
}

fn arn_of(candidate: &Candidate<'_>) -> Value {
    candidate.status.pointer("/ackResourceMetadata/arn").cloned().unwrap_or_default()
}

/// Made by blackstart for another manifest or environment.
fn belongs_to_another(candidate: &Candidate<'_>, key: &str, environment: &str) -> bool {
    let is_other = |tag: &str, own: &str| candidate.tags.get(tag).is_some_and(|value| value != own);
    is_other(TAG_RESOURCE, key) || is_other(TAG_ENVIRONMENT, environment)
}
