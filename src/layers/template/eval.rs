//! Actions and parameters to text.

use super::functions;
use super::parse::{Argument, Node, Pipe};
use serde_json::Value;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Wrong(String),
    /// A function that is not known here.
    Function(String),
}

/// More than this comes from no ApplicationSet that anyone wrote.
const LONGEST: usize = 4 << 20;

pub(super) fn run(nodes: &[Node], parameters: &Value, strict: bool) -> Result<String, Fault> {
    let mut run = Run { strict, variables: vec![(String::new(), parameters.clone())], out: String::new() };
    run.nodes(nodes, parameters)?;
    Ok(run.out)
}

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
    /// The last of a name counts; `$` has the empty one.
    variables: Vec<(String, Value)>,
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
                    let holds = condition.as_ref().map_or(Ok(true), |condition| self.pipe(condition, dot).map(|value| is_true(&value)))?;
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

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut last: Option<Value> = None;
        for command in pipe {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(&self, command: &[Argument], last: Option<Value>, dot: &Value) -> Result<Value, Fault> {
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
        functions::call(name, &arguments)
    }

    fn argument(&self, argument: &Argument, dot: &Value) -> Result<Value, Fault> {
        match argument {
            Argument::Literal(value) => Ok(value.clone()),
            Argument::Field(parts) => self.field(dot, parts, ""),
            Argument::Variable(name, parts) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| Fault::Wrong(format!("variable ${name} is not set")))?;
                self.field(value, parts, &format!("${name}"))
            }
            Argument::Group(pipe, parts) => self.field(&self.pipe(pipe, dot)?, parts, "(…)"),
            Argument::Function(name) => functions::call(name, &[]),
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
                Value::Null => return Err(Fault::Wrong(format!("{path} is not set, so that it has no field {part}"))),
                _ => return Err(Fault::Wrong(format!("{path} is no map, so that it has no field {part}"))),
            }
            path = format!("{path}.{part}");
        }
        Ok(at.clone())
    }
}
