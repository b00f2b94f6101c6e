//! What differs between a declared resource and a living one. Pure.

use super::{Change, Schema, Shape, at, rules, tags, text};
use serde_json::Value;
use std::collections::BTreeMap;

/// One declared field that lives otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path in `spec`; `tags` for tags.
    pub path: &'static str,
    /// What Git declares.
    pub declared: Value,
    /// What lives.
    pub living: Value,
    /// Whether it can be changed in place.
    pub change: Change,
}

/// Declared fields that live otherwise. `spec` has its references resolved; fields that could not be are left out by the caller.
pub fn differences(schema: &'static Schema, spec: &Value, living: &Value, living_tags: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut found = Vec::new();
    for field in schema.fields.iter().filter(|field| field.change != Change::AtCreation) {
        let Some(declared) = at(spec, field.path) else { continue };
        let there = at(living, field.path).unwrap_or(&Value::Null);
        if !is_same(declared, there, field.shape) {
            found.push(Difference { path: field.path, declared: declared.clone(), living: there.clone(), change: field.change });
        }
    }
    let declared = tags(spec, schema.tags);
    if declared.iter().any(|(key, value)| living_tags.get(key) != Some(value)) {
        let json =
            |tags: &BTreeMap<String, String>| Value::Object(tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect());
        found.push(Difference { path: "tags", declared: json(&declared), living: json(living_tags), change: Change::InPlace });
    }
    found
}

fn is_same(declared: &Value, living: &Value, shape: Shape) -> bool {
    match shape {
        Shape::Plain => covers(declared, living),
        Shape::Set => match (declared.as_array(), living.as_array()) {
            (Some(declared), Some(living)) => {
                declared.len() == living.len() && declared.iter().all(|one| living.iter().any(|other| covers(one, other)))
            }
            (Some(declared), None) => declared.is_empty() && living.is_null(),
            _ => covers(declared, living),
        },
        Shape::Within => declared.as_array().into_iter().flatten().all(|one| {
            let mut living = living.as_array().into_iter().flatten();
            living.any(|other| covers(one, other))
        }),
        Shape::Rules => {
            let (declared, living) = (rules::explode(declared), rules::explode(living));
            let is_there = |one: &Value| living.iter().any(|other| covers(one, other));
            let is_meant = |other: &Value| declared.iter().any(|one| covers(one, other));
            declared.iter().all(is_there) && living.iter().all(is_meant)
        }
        Shape::Policy => match (document(declared), document(living)) {
            (Some(declared), Some(living)) => declared == living,
            _ => covers(declared, living),
        },
        Shape::Policies => match (declared.as_object(), living.as_object()) {
            (Some(declared), Some(living)) => {
                declared.len() == living.len()
                    && declared.iter().all(|(name, one)| living.get(name).is_some_and(|other| is_same(one, other, Shape::Policy)))
            }
            (Some(declared), None) => declared.is_empty(),
            _ => false,
        },
    }
}

/// Whether what lives is as declared: of objects only declared keys count; absent, empty and false are the same where nothing is declared.
fn covers(declared: &Value, living: &Value) -> bool {
    match (declared, living) {
        (Value::Object(declared), Value::Object(living)) => {
            declared.iter().all(|(key, value)| covers(value, living.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(declared), Value::Array(living)) => {
            declared.len() == living.len() && declared.iter().zip(living).all(|(one, other)| covers(one, other))
        }
        (Value::Object(declared), Value::Null) => declared.values().all(|value| covers(value, &Value::Null)),
        (Value::Array(declared), Value::Null) => declared.is_empty(),
        (Value::Bool(false), Value::Null) => true,
        (Value::String(declared), Value::Null) => declared.is_empty(),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => false,
        (Value::Number(declared), Value::Number(living)) => declared == living || declared.as_f64() == living.as_f64(),
        (declared, living) => declared == living || text(declared) == text(living) && !living.is_null(),
    }
}

/// A policy document with a single string and a list of one as the same, and lists without order.
fn document(value: &Value) -> Option<Value> {
    fn normal(value: Value) -> Value {
        match value {
            Value::Object(object) => Value::Object(
                object
                    .into_iter()
                    .map(|(key, value)| {
                        let value = normal(value);
                        let is_single = matches!(
                            key.as_str(),
                            "Statement" | "Action" | "NotAction" | "Resource" | "NotResource" | "AWS" | "Service" | "Federated"
                        );
                        let value = if is_single && !value.is_array() { Value::Array(vec![value]) } else { value };
                        (key, value)
                    })
                    .collect(),
            ),
            Value::Array(list) => {
                let mut list: Vec<Value> = list.into_iter().map(normal).collect();
                list.sort_by_key(Value::to_string);
                Value::Array(list)
            }
            other => other,
        }
    }
    serde_json::from_str::<Value>(value.as_str()?).ok().map(normal)
}
