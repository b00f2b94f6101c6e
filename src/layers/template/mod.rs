//! Templates of an ApplicationSet: `{{name}}` (fasttemplate), and the part of Go's text/template with Sprig that such templates and those of a
//! ResourceSet use (argo-cd `applicationset/utils/utils.go`, pkg.go.dev/text/template, masterminds.github.io/sprig). Pure.

mod eval;
pub(super) mod functions;
mod parse;

pub(super) use eval::printed;

use serde_json::{Map, Value};

/// How the strings of an ApplicationSet are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `{{name}}`: the parameter of this name, or the text as it stands.
    Simple,
    /// Go templates; `strict` is `missingkey=error`.
    Go {
        /// A parameter that is not there is an error.
        strict: bool,
    },
}

/// Why a template has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is wrong.
    #[error("`{template}`: {why}")]
    Wrong {
        /// The action, or the template's beginning.
        template: String,
        /// Why.
        why: String,
    },
    /// It uses what is not known here.
    #[error("`{template}`: function {name} is not known here")]
    Function {
        /// The template's beginning.
        template: String,
        /// Name of the function.
        name: String,
    },
}

/// Replaces the parameters in all strings of a value, keys included.
pub(super) fn fill(value: &Value, parameters: &Map<String, Value>, style: Style) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => Value::String(fill_text(text, parameters, style)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, parameters, style)).collect::<Result<_, _>>()?),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| Ok((fill_text(key, parameters, style)?, fill(value, parameters, style)?));
            Value::Object(map.iter().map(entry).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// Replaces the parameters in one text.
pub(super) fn fill_text(text: &str, parameters: &Map<String, Value>, style: Style) -> Result<String, TemplateError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let Style::Go { strict } = style else { return Ok(simple(text, parameters)) };
    run(text, parse::BRACES, &Value::Object(parameters.clone()), strict)
}

/// A text of a ResourceSet: `<< inputs.name >>` is a field of the inputs.
pub(super) fn fill_inputs(text: &str, inputs: &Map<String, Value>) -> Result<String, TemplateError> {
    // The operator sets `missingkey=error`.
    run(text, parse::ANGLES, &serde_json::json!({"inputs": inputs}), true)
}

fn run(text: &str, marks: parse::Marks, dot: &Value, strict: bool) -> Result<String, TemplateError> {
    let beginning =
        || text[text.find(marks.0).unwrap_or_default()..].lines().next().unwrap_or_default().chars().take(80).collect::<String>();
    let wrong = |why| TemplateError::Wrong { template: beginning(), why };
    let nodes = parse::parse(text, marks).map_err(wrong)?;
    eval::run(&nodes, dot, strict).map_err(|fault| match fault {
        eval::Fault::Wrong(why) => wrong(why),
        eval::Fault::Function(name) => TemplateError::Function { template: beginning(), name },
    })
}

/// A name without a parameter stays as it stands.
fn simple(text: &str, parameters: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start..].find("}}") else { break };
        let name = rest[start + 2..start + length].trim();
        out.push_str(&rest[..start]);
        match parameters.get(name) {
            Some(Value::String(value)) => out.push_str(value),
            Some(value) => out.push_str(&eval::printed(value)),
            None => out.push_str(&rest[start..start + length + 2]),
        }
        rest = &rest[start + length + 2..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameters() -> Map<String, Value> {
        let value = json!({
            "path": {"path": "apps/shop-api", "basename": "shop-api", "segments": ["apps", "shop-api"]},
            "path.basename": "shop-api", "region": "eu-west-1", "count": 3, "on": true, "empty": "",
            "tags": {"b": "2", "a": "1"}, "sub-key": {"x": 1},
        });
        value.as_object().expect("a map").clone()
    }

    fn go(text: &str) -> String {
        match fill_text(text, &parameters(), Style::Go { strict: false }) {
            Ok(text) => text,
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn simple_names_are_replaced_and_unknown_ones_stay() {
        let fill = |text: &str| fill_text(text, &parameters(), Style::Simple).expect("simple");
        assert_eq!(fill("{{path.basename}}-{{ region }}-{{gone}}-{{"), "shop-api-eu-west-1-{{gone}}-{{");
    }

    #[test]
    fn fields_functions_and_pipelines() {
        for (text, wanted) in [
            ("{{.path.basename}}-{{ .region | upper }}", "shop-api-EU-WEST-1"),
            ("{{ index .path.segments 0 }}/{{ index . \"sub-key\" \"x\" }}", "apps/1"),
            ("{{ default \"x\" .empty }}{{ .empty | default \"y\" }}{{ .count }}", "xy3"),
            ("{{ printf \"%s-%d\" .region .count | quote }}", "\"eu-west-1-3\""),
            ("{{ (index .path.segments 1) | replace \"-\" \"_\" }}", "shop_api"),
            ("{{ .path.segments | join \"+\" }} {{ len .path.segments }} {{ splitList \"-\" .region | last }}", "apps+shop-api 2 1"),
            ("{{ ternary \"yes\" \"no\" (eq .region \"eu-west-1\" ) }}", "yes"),
            ("{{ trunc 4 .region }}{{ trimPrefix \"eu-\" .region }}{{ normalize \"A_b c\" }}", "eu-wwest-1a-b-c"),
            ("{{ toJson .tags }}{{ hasKey .tags \"a\" }}{{ .gone }}", "{\"a\":\"1\",\"b\":\"2\"}true<no value>"),
            ("{{ \"quoted }} text\" }}", "quoted }} text"),
        ] {
            assert_eq!(go(text), wanted, "{text}");
        }
    }

    #[test]
    fn control_structures_and_trimming() {
        for (text, wanted) in [
            ("a {{- if .on }} b {{- else }} c {{- end }} d", "a b d"),
            ("{{ if and .on (not .empty) }}1{{ else if .count }}2{{ else }}3{{ end }}", "1"),
            ("{{ if eq .region \"x\" }}1{{ else if gt .count 2 }}2{{ else }}3{{ end }}", "2"),
            ("{{ range .path.segments }}[{{ . }}]{{ end }}", "[apps][shop-api]"),
            ("{{ range $i, $s := .path.segments }}{{ $i }}={{ $s }} {{ $.region }};{{ end }}", "0=apps eu-west-1;1=shop-api eu-west-1;"),
            ("{{ range $k, $v := .tags }}{{ $k }}{{ $v }}{{ else }}none{{ end }}", "a1b2"),
            ("{{ range .empty }}x{{ else }}none{{ end }}", "none"),
            ("{{ with .path }}{{ .basename }}{{ end }}{{ with .gone }}x{{ else }}-{{ end }}", "shop-api-"),
            ("{{ $x := \"a\" }}{{ if .on }}{{ $x = \"b\" }}{{ end }}{{ $x }}{{/* note */}}", "b"),
            ("{{ .tags.a }}\n{{- /* note */ -}}\n{{ .tags.b }}", "12"),
        ] {
            assert_eq!(go(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_or_not_known_is_told() {
        for (text, wanted) in [
            ("{{ env \"HOME\" }}", "! `{{ env \"HOME\" }}`: function env is not known here"),
            ("{{ if .on }}x", "! `{{ if .on }}x`: `if` has no end"),
            ("{{ .gone.deep }}", "! `{{ .gone.deep }}`: .gone is not set, so that it has no field deep"),
            ("{{ index .path.segments 7 }}", "! `{{ index .path.segments 7 }}`: index 7 is out of range"),
        ] {
            assert_eq!(go(text), wanted, "{text}");
        }
        let strict = fill_text("{{ .gone }}", &parameters(), Style::Go { strict: true }).expect_err("strict");
        assert_eq!(strict.to_string(), "`{{ .gone }}`: .gone is not set");
    }
}
