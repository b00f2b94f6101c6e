//! Actions and parameters to text.

use super::functions;
use super::parse::{Argument, Node, Pipe};
use super::slug::slug;
use serde_json::Value;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Wrong(String),
    /// A function that is not known here.
    Function(String),
    /// A value that only the cluster has.
    Later(String),
}

/// Stands for a value that only the cluster has, up to where it is used.
pub(super) const LATER: &str = "\u{f8f0}later\u{f8f0}";

/// What a template is filled with.
pub(super) struct Filling<'v> {
    pub(super) dot: &'v Value,
    /// What `inputs` gives; none outside of ResourceSets.
    pub(super) inputs: Option<&'v Value>,
    /// A field that is not there is an error.
    pub(super) strict: bool,
}

/// More than this comes from no ApplicationSet that anyone wrote.
const LONGEST: usize = 4 << 20;

/// The text, or why there is none and the action that is to blame.
pub(super) fn run(nodes: &[Node], with: &Filling<'_>) -> Result<String, (Fault, Option<String>)> {
    let mut variables = vec![(String::new(), with.dot.clone())];
    variables.extend(with.inputs.map(|inputs| (INPUTS.to_owned(), inputs.clone())));
    let mut run = Run { strict: with.strict, of_set: with.inputs.is_some(), variables, culprit: None, out: String::new() };
    match run.nodes(nodes, with.dot) {
        Ok(()) if run.out.contains(LATER) => Err((Fault::Later("a value".to_owned()), None)),
        Ok(()) => Ok(run.out),
        Err(fault) => Err((fault, run.culprit)),
    }
}

/// The inputs are kept as a variable whose name nobody can write.
const INPUTS: &str = "inputs()";

/// As Go prints it.
pub(in crate::layers) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        Value::Number(number) if number.is_f64() => float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// `%v` of a float64: the shortest digits that mean it, with an exponent below 0.0001 and from a million on (strconv, format `g`).
fn float(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) else {
        return text;
    };
    let sign = if exponent < 0 { '-' } else { '+' };
    if (-4..6).contains(&exponent) { number.to_string() } else { format!("{digits}e{sign}{:02}", exponent.abs()) }
}

/// What counts as false is what is empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

struct Run {
    strict: bool,
    /// Whether the template is that of a ResourceSet.
    of_set: bool,
    /// The last of a name counts; `$` has the empty one.
    variables: Vec<(String, Value)>,
    /// The innermost action that failed.
    culprit: Option<String>,
    out: String,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Fault> {
        let known = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
            if self.out.len() > LONGEST {
                return Err(Fault::Wrong("its result is longer than 4 MB".to_owned()));
            }
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), Fault> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(written, node) => {
                let done = self.node(node, dot);
                if done.is_err() {
                    self.culprit.get_or_insert_with(|| written.clone());
                }
                return done;
            }
            Node::Output(pipe) => {
                let value = self.pipe(pipe, dot)?;
                self.out.push_str(&printed(&value));
            }
            Node::Set(name, is_new, pipe) => {
                let value = self.pipe(pipe, dot)?;
                match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    Some((_, known)) if !is_new => *known = value,
                    _ => self.variables.push((name.clone(), value)),
                }
            }
            Node::If(branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        Some(condition) => is_true(&self.pipe(condition, dot)?),
                        None => true,
                    };
                    if holds {
                        return self.nodes(body, dot);
                    }
                }
            }
            Node::With(name, pipe, body, otherwise) => {
                let value = self.pipe(pipe, dot)?;
                if !is_true(&value) {
                    return self.nodes(otherwise, dot);
                }
                let known = self.variables.len();
                self.variables.extend(name.clone().map(|name| (name, value.clone())));
                self.nodes(body, &value)?;
                self.variables.truncate(known);
            }
            Node::Range(names, pipe, body, otherwise) => {
                let items: Vec<(Value, Value)> = match self.pipe(pipe, dot)? {
                    Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect(),
                    // serde_json keeps keys in their order, Go sorts them.
                    Value::Object(map) => {
                        let mut items: Vec<(String, Value)> = map.into_iter().collect();
                        items.sort_by(|a, b| a.0.cmp(&b.0));
                        items.into_iter().map(|(key, value)| (key.into(), value)).collect()
                    }
                    Value::Number(count) => (0..count.as_i64().unwrap_or(0)).map(|at| (at.into(), at.into())).collect(),
                    _ => Vec::new(),
                };
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (key, item) in items {
                    let known = self.variables.len();
                    match names.as_slice() {
                        [value] => self.variables.push((value.clone(), item.clone())),
                        [first, second, ..] => self.variables.extend([(first.clone(), key), (second.clone(), item.clone())]),
                        [] => {}
                    }
                    self.nodes(body, &item)?;
                    self.variables.truncate(known);
                }
            }
        }
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut last: Option<Value> = None;
        for command in pipe {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&mut self, command: &[Argument], last: Option<Value>, dot: &Value) -> Result<Value, Fault> {
        let Some((first, rest)) = command.split_first() else { return Err(Fault::Wrong("a value is missing".to_owned())) };
        let Argument::Function(name) = first else {
            return if rest.is_empty() && last.is_none() {
                self.argument(first, dot)
            } else {
                Err(Fault::Wrong("a value is no function, and takes no arguments".to_owned()))
            };
        };
        // These two stop at the first argument that decides.
        if let ("and" | "or", None) = (name.as_str(), &last) {
            let mut value = Value::Null;
            for argument in rest {
                value = self.argument(argument, dot)?;
                if is_true(&value) == (name == "or") {
                    break;
                }
            }
            return Ok(value);
        }
        let mut arguments: Vec<Value> = rest.iter().map(|argument| self.argument(argument, dot)).collect::<Result<_, _>>()?;
        arguments.extend(last);
        let found = self.call(name, &arguments)?;
        // Both change the map itself, whoever else looks at it.
        if let ("set" | "unset", Some(map)) = (name.as_str(), rest.first()) {
            self.put(map, &found);
        }
        Ok(found)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        match (name, arguments) {
            // A label holds 63 characters; and the operator writes YAML with the last line's end.
            ("slugify", [text]) if self.of_set => slug(&printed(text), 63, true).map(Value::from),
            ("toYaml" | "mustToYaml", [value]) if self.of_set => Ok(crate::manifest::write(value).into()),
            _ => functions::call(name, arguments),
        }
    }

    /// Puts a value where an argument was taken from.
    fn put(&mut self, place: &Argument, value: &Value) {
        let (name, parts) = match place {
            Argument::Variable(name, parts) => (name.as_str(), parts),
            Argument::Inputs(parts) => (INPUTS, parts),
            _ => return,
        };
        let Some((_, known)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) else { return };
        if let Some(known) = parts.iter().try_fold(known, |at, part| at.get_mut(part)) {
            known.clone_from(value);
        }
    }

    fn argument(&mut self, argument: &Argument, dot: &Value) -> Result<Value, Fault> {
        match argument {
            Argument::Literal(value) => Ok(value.clone()),
            Argument::Field(parts) => self.field(dot, parts, ""),
            Argument::Variable(name, parts) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| Fault::Wrong(format!("variable ${name} is not set")))?;
                self.field(value, parts, &format!("${name}"))
            }
            Argument::Inputs(parts) => {
                let inputs = self.variables.iter().find(|(known, _)| known == INPUTS);
                let (_, inputs) = inputs.ok_or_else(|| Fault::Function("inputs".to_owned()))?;
                self.field(inputs, parts, "inputs")
            }
            Argument::Group(pipe, parts) => {
                let value = self.pipe(pipe, dot)?;
                self.field(&value, parts, "(…)")
            }
            Argument::Function(name) => self.call(name, &[]),
        }
    }

    fn field(&self, value: &Value, parts: &[String], shown: &str) -> Result<Value, Fault> {
        let mut at = value;
        let mut path = shown.to_owned();
        for part in parts {
            match at {
                Value::Object(map) => match map.get(part) {
                    Some(found) => at = found,
                    None if self.strict => return Err(Fault::Wrong(format!("{path}.{part} is not set"))),
                    None => at = &Value::Null,
                },
                Value::Null => {
                    return Err(Fault::Wrong(format!(
                        "{} is not set, so that it has no field {part}",
                        if path.is_empty() { "." } else { &path }
                    )));
                }
                _ => return Err(Fault::Wrong(format!("{path} is no map, so that it has no field {part}"))),
            }
            path = format!("{path}.{part}");
        }
        if at.as_str() == Some(LATER) {
            return Err(Fault::Later(path));
        }
        Ok(at.clone())
    }
}
