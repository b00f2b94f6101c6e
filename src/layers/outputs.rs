//! Values that are known only when something is made. Until then a mark stands in their place, in a character range that nobody
//! uses, and says whose value it is; it flows through substitution like any text, and is replaced when the object is written. Pure.

use crate::manifest::write;
use crate::manifest::yaml::substituted;
use serde_json::Value;
use std::collections::BTreeSet;

// Private use (Unicode 23.5), far from the glyphs of icon fonts; YAML takes them as letters.
const OPEN: char = '\u{10FFF0}';
const NEXT: char = '\u{10FFF1}';
const CLOSE: char = '\u{10FFF2}';

/// A value that a node gives when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Output {
    /// The variable that stands for it.
    pub variable: String,
    /// Id of the node that gives it: `aws/ec2/VPC/ack-system/shop`, `command/dns`.
    pub node: String,
    /// Which of its outputs, with dots for what lies inside: `vpcID`, `identity.oidc.issuer`, `subnets.0`.
    pub field: String,
}

impl Output {
    /// What stands in its place until it is known.
    pub fn mark(&self) -> String {
        format!("{OPEN}{}{NEXT}{}{NEXT}{}{CLOSE}", self.variable, self.node, self.field)
    }

    /// The value among all that the node gives.
    pub fn of<'v>(&self, outputs: &'v Value) -> Option<&'v Value> {
        let step = |value: &'v Value, key: &str| match value {
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        };
        self.field.split('.').try_fold(outputs, step).filter(|value| !value.is_null())
    }

    /// In words, for reasons of edges: `vpcID as ${VPC_ID}`.
    pub fn reason(&self) -> String {
        format!("{} as ${{{}}}", self.field, self.variable)
    }
}

/// Whether a text holds a mark.
pub fn is_open(text: &str) -> bool {
    text.contains(OPEN)
}

/// Whether a value holds a mark anywhere.
pub fn holds(value: &Value) -> bool {
    match value {
        Value::String(text) => is_open(text),
        Value::Array(list) => list.iter().any(holds),
        Value::Object(map) => map.iter().any(|(key, value)| is_open(key) || holds(value)),
        _ => false,
    }
}

/// All outputs that a value holds marks of.
pub fn outputs(value: &Value) -> BTreeSet<Output> {
    fn collect(value: &Value, found: &mut BTreeSet<Output>) {
        match value {
            Value::String(text) => found.extend(in_text(text)),
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                found.extend(in_text(key));
                collect(value, found);
            }),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    if holds(value) {
        collect(value, &mut found);
    }
    found
}

/// All outputs that a text holds marks of.
pub fn in_text(text: &str) -> BTreeSet<Output> {
    let mut found = BTreeSet::new();
    replace(text, |output| {
        found.insert(output.clone());
        None
    });
    found
}

/// A text as people see it: `${VPC_ID}` where a mark stands.
pub fn shown(text: &str) -> String {
    replace(text, |output| Some(format!("${{{}}}", output.variable)))
}

/// A value as people see it.
pub fn shown_in(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown(text)),
        Value::Array(list) => list.iter().map(shown_in).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (shown(key), shown_in(value))).collect(),
        other => other.clone(),
    }
}

/// A text with the values that are known in place of their marks, as they are.
pub fn paste(text: &str, give: impl Fn(&Output) -> Option<Value>) -> String {
    replace(text, |output| {
        give(output).map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    })
}

/// A value with what is known in place of its marks, as the agent would make it of the same variables: pasted into the text of the
/// document, without line breaks, and read again, so that a number alone becomes a number. Other marks stay.
///
/// # Errors
/// Where the document is none any more with these values.
pub fn fill(value: &Value, give: impl Fn(&Output) -> Option<Value>) -> Result<Value, String> {
    if !holds(value) {
        return Ok(value.clone());
    }
    let mut names = BTreeSet::new();
    let text = replace(&write(value), |output| {
        let value = give(output)?;
        names.insert(output.variable.clone());
        Some(match value {
            Value::String(text) => text.replace('\n', ""),
            other => other.to_string(),
        })
    });
    substituted(&text).map_err(|_| {
        let names: Vec<String> = names.into_iter().collect();
        format!("is not valid YAML any more with the value of {}; quote the variable", names.join(", "))
    })
}

/// A text with some of its marks replaced.
fn replace(text: &str, mut with: impl FnMut(&Output) -> Option<String>) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        done.push_str(before);
        let Some((inside, behind)) = after.split_once(CLOSE) else {
            done.push(OPEN);
            rest = after;
            continue;
        };
        let mut parts = inside.split(NEXT).map(str::to_owned);
        if let (Some(variable), Some(node), Some(field), None) = (parts.next(), parts.next(), parts.next(), parts.next()) {
            let output = Output { variable, node, field };
            done.push_str(&with(&output).unwrap_or_else(|| output.mark()));
        } else {
            done.push(OPEN);
            done.push_str(inside);
            done.push(CLOSE);
        }
        rest = behind;
    }
    done.push_str(rest);
    done
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn output(variable: &str) -> Output {
        Output { variable: variable.into(), node: "command/a".into(), field: variable.to_lowercase() }
    }

    fn mark(variable: &str) -> String {
        output(variable).mark()
    }

    fn values() -> Value {
        json!({"port": 8080, "text_port": "8080", "name": "shop", "list": ["a", "b"], "key": "one\ntwo\n", "on": "yes", "odd": "a: b"})
    }

    fn give(output: &Output) -> Option<Value> {
        output.of(&values()).cloned()
    }

    #[test]
    fn a_value_alone_becomes_what_yaml_makes_of_it_and_inside_a_text_it_is_pasted() {
        let value = json!({
            "a": mark("PORT"), "b": mark("TEXT_PORT"), "c": format!("x-{}", mark("PORT")), "d": mark("LIST"), "e": mark("ON"),
            "f": format!("'{}'", mark("PORT")), "g": "8080", "h": format!("{}: x", mark("NAME")), "i": format!("{}\n", mark("PORT")),
            mark("NAME"): 1,
        });
        let wanted = json!({
            "a": 8080, "b": 8080, "c": "x-8080", "d": ["a", "b"], "e": true, "f": "'8080'", "g": "8080", "h": "shop: x", "i": "8080\n", "shop": 1
        });
        assert_eq!(fill(&value, give), Ok(wanted));
    }

    #[test]
    fn it_is_what_the_agent_makes_of_the_same_variables() {
        // The same objects with real values in place of marks, through the substitution that layers have.
        let values = [("PORT", "8080"), ("NAME", "shop"), ("ON", "yes"), ("KEY", "onetwo")];
        for text in [
            "${PORT}",
            "a ${PORT}",
            "${PORT}${PORT}",
            "${NAME}: ${PORT}",
            "0${PORT}",
            "${ON}",
            "- ${NAME}",
            "${KEY}",
            "#${NAME}",
            "l\n${ON}\n",
        ] {
            let object = json!({"x": [text, {"y": text}]});
            let known = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let agents = substituted(&crate::render::envsubst::substitute(&write(&object), &known).unwrap().text).unwrap();
            let marks = values.iter().map(|(name, _)| ((*name).to_owned(), mark(name))).collect();
            let marked = substituted(&crate::render::envsubst::substitute(&write(&object), &marks).unwrap().text).unwrap();
            assert_eq!(fill(&marked, give), Ok(agents), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_stays_and_is_told() {
        let value = json!({"a": mark("GONE"), "b": mark("PORT")});
        let filled = fill(&value, give).unwrap();
        assert_eq!(filled["b"], 8080);
        assert_eq!(outputs(&filled), [output("GONE")].into());
        assert_eq!(shown_in(&filled), json!({"a": "${GONE}", "b": 8080}));
        assert!(holds(&filled) && !holds(&shown_in(&filled)));
    }

    #[test]
    fn a_value_that_breaks_the_document_is_an_error_without_the_value() {
        let error = fill(&json!({"a": mark("ODD")}), give).unwrap_err();
        assert_eq!(error, "is not valid YAML any more with the value of ODD; quote the variable");
    }

    #[test]
    fn arguments_get_values_as_they_are() {
        assert_eq!(paste(&format!("--key={}", mark("KEY")), give), "--key=one\ntwo\n");
        assert_eq!(paste(&format!("{}/{}", mark("LIST"), mark("PORT")), give), "[\"a\",\"b\"]/8080");
        assert_eq!(shown(&format!("{}-{}", mark("A"), mark("B"))), "${A}-${B}");
    }

    #[test]
    fn fields_lead_into_objects_and_lists() {
        let given = json!({"identity": {"oidc": {"issuer": "x"}}, "subnets": ["a", "b"], "none": null});
        let of = |field: &str| Output { field: field.into(), ..output("X") }.of(&given).cloned();
        assert_eq!(of("identity.oidc.issuer"), Some("x".into()));
        assert_eq!(of("subnets.1"), Some("b".into()));
        assert_eq!((of("subnets.2"), of("none"), of("gone")), (None, None, None));
    }
}
