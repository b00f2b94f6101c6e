//! Templates of an ApplicationSet: `{{name}}` (fasttemplate), and the part of Go's text/template with Sprig that such templates and those of a
//! ResourceSet use (argo-cd `applicationset/utils/utils.go`, pkg.go.dev/text/template, masterminds.github.io/sprig). Pure.

mod eval;
pub(super) mod functions;
mod parse;
mod paths;
mod slug;

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
        /// The action.
        template: String,
        /// Name of the function.
        name: String,
    },
    /// It uses a value that only the cluster has.
    #[error("`{template}`: {what} is known only in the cluster")]
    Later {
        /// The action.
        template: String,
        /// The field.
        what: String,
    },
}

/// Stands for a field of the inputs that only the cluster knows: what uses it has no result here.
pub(super) const LATER: &str = eval::LATER;

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
    run(text, parse::BRACES, &eval::Filling { dot: &Value::Object(parameters.clone()), inputs: None, strict })
}

/// A text of a ResourceSet: `<< inputs.name >>` is a field of the inputs. There is no dot, and a field that is not there is an error
/// (flux-operator `internal/builder/resourceset.go`, `newTemplate`).
pub(super) fn fill_inputs(text: &str, inputs: &Map<String, Value>) -> Result<String, TemplateError> {
    let inputs = Value::Object(inputs.clone());
    run(text, parse::ANGLES, &eval::Filling { dot: &Value::Null, inputs: Some(&inputs), strict: true })
}

fn run(text: &str, marks: parse::Marks, with: &eval::Filling<'_>) -> Result<String, TemplateError> {
    let blamed = |action: Option<String>| action.unwrap_or_else(|| parse::shown(&text[text.find(marks.0).unwrap_or_default()..]));
    let nodes = parse::parse(text, marks).map_err(|(why, action)| TemplateError::Wrong { template: blamed(action), why })?;
    eval::run(&nodes, with).map_err(|(fault, action)| {
        let template = blamed(action);
        match fault {
            eval::Fault::Wrong(why) => TemplateError::Wrong { template, why },
            eval::Fault::Function(name) => TemplateError::Function { template, name },
            eval::Fault::Later(what) => TemplateError::Later { template, what },
        }
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
            ("{{ .count | list 1 | toStrings | reverse | join \"\" }}{{ slugify 3 false \"abcd\" }}", "31abc"),
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

    fn of_set(text: &str) -> String {
        let inputs = json!({"t": "a-b", "names": ["x", "y"], "app": {"name": "web"}, "uid": LATER, "n": 3});
        match fill_inputs(text, inputs.as_object().expect("a map")) {
            Ok(text) => text,
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn what_the_operator_offers_to_a_template() {
        for (text, wanted) in [
            (r#"<< cat inputs.t "x" >>|<< list "a" "b" | reverse | join "-" >>|<< without (list "a" "b") "a" | join "" >>"#, "a-b x|b-a|b"),
            (r"<< sha256sum inputs.t | trunc 8 >> << adler32sum inputs.t >>", "d44362d6 31588593"),
            (r#"<< "https://a.b" | regexQuoteMeta >>"#, r"https://a\.b"),
            (
                r#"<< regexReplaceAll "(a)-" inputs.t "${1}x" >><< regexFind "[b-z]" inputs.t >><< if regexMatch "^a" inputs.t >>!<< end >>"#,
                "axbb!",
            ),
            (r#"<< regexFindAll "[ab]" inputs.t -1 | join "+" >> << regexSplit "-" inputs.t -1 | last >>"#, "a+b b"),
            ("<< range $i := until 2 >><< $i >>,<< end >><< seq 1 3 >>", "0,1,1 2 3"),
            (
                r#"<< (splitn "-" 2 "a-b-c")._1 >> << slice (list 1 2 3) 1 2 | toJson >> << prepend (list "b") "a" | join "" >>"#,
                "b-c [2] ab",
            ),
            (r#"<< any inputs.t "" >> << all inputs.t "" >> << list 1 2 | toStrings | join "" >>"#, "true false 12"),
            (r#"<< base "a/b.c" >> << dir "a/b.c" >> << ext "a/b.c" >> << clean "a/../b" >>"#, "b.c a .c b"),
            (r#"<< inputs.app | mustToYaml >>|<< println inputs.t inputs.n >>|<< print 1 2 "x" >>"#, "name: web\n|a-b 3\n|1 2x"),
            (r#"<< $_ := set inputs "q" "r" >><< inputs.q >><< $_ = unset inputs "q" >><< hasKey inputs "q" >>"#, "rfalse"),
            ("<< round 2.567 1 >> << ceil 2.1 >> << maxf 1 2.5 >>", "2.6 3 2.5"),
            (
                r#"<< slugify "feature-branch-with-a-long-name-that-goes-on-and-on-for-sixty-chars-x" >>"#,
                "feature-branch-with-a-long-name-that-goes-on-and-on-for-sixty",
            ),
        ] {
            assert_eq!(of_set(text), wanted, "{text}");
        }
    }

    #[test]
    fn inputs_are_a_function_that_the_dot_does_not_change() {
        assert_eq!(of_set("<< range $n := inputs.names >><< $n >>-<< inputs.t >> << end >>"), "x-a-b y-a-b ");
        assert_eq!(of_set("<< with inputs.app >><< .name >>-<< inputs.t >><< end >>"), "web-a-b");
        assert_eq!(of_set("<< .inputs.t >>"), "! `<< .inputs.t >>`: . is not set, so that it has no field inputs");
    }

    #[test]
    fn the_action_that_is_to_blame_is_told() {
        assert_eq!(of_set("<< define \"x\" >>a<< end >><< inputs.t >>"), "! `<< define \"x\" >>`: function define is not known here");
        assert_eq!(of_set("<< range inputs.names >><< break >><< end >>"), "! `<< break >>`: function break is not known here");
        assert_eq!(of_set("a: << inputs.t >>\nb: << plumbum 1 >>\n"), "! `<< plumbum 1 >>`: function plumbum is not known here");
        assert_eq!(
            of_set("<< inputs.t >>\n<< if inputs.t >>\n<< inputs.gone >><< end >>"),
            "! `<< inputs.gone >>`: inputs.gone is not set"
        );
        assert_eq!(of_set("<< inputs.t >>\n<< inputs.t | >>\n"), "! `<< inputs.t | >>`: a value is missing");
        assert_eq!(of_set("<< inputs.t >> << inputs.t"), "! `<< inputs.t`: an action has no `>>`");
        assert_eq!(of_set("<< inputs.t >><< inputs.uid >>"), "! `<< inputs.uid >>`: inputs.uid is known only in the cluster");
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
