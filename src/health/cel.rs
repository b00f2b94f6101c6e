//! Health by expression: `healthCheckExprs` and `dependsOn.readyExpr`, in CEL.

use super::Health;
use crate::layers::flux::HealthCheckExpr;
use kube_cel::KubeCelExt;
use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedEntryExpr};
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::parser::{Expression, Parser};
use kube_cel::cel::{Context, Value as Cel};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// First parts of dotted function names.
const LIBRARIES: [&str; 7] = ["sets", "base64", "strings", "math", "lists", "format", "optional"];

/// The expressions of one layer, compiled once.
#[derive(Debug, Default)]
pub struct Expressions {
    /// By group and kind; an empty kind stands for all kinds of its group.
    rules: Vec<(String, String, Rule)>,
}

#[derive(Debug)]
struct Rule {
    in_progress: Option<Program>,
    failed: Option<Program>,
    current: Program,
}

#[derive(Debug)]
struct Program {
    text: String,
    expression: Expression,
}

impl Program {
    fn compile(text: &str) -> Result<Self, String> {
        let expression = Parser::default().enable_optional_syntax(true).parse(text).map_err(|errors| {
            format!("CEL expression `{text}`: {}", errors.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "))
        })?;
        Ok(Self { text: text.to_owned(), expression })
    }

    /// Evaluates with these variables; other results than true and false are errors, as in Flux.
    fn holds<'a>(&self, variables: impl Iterator<Item = (&'a str, &'a Value)>) -> Result<bool, String> {
        let mut context = Context::default().with_all();
        let references = self.expression.references();
        for (name, value) in variables.filter(|(name, _)| references.has_variable(name)) {
            context.add_variable_from_value(name, cel(value));
        }
        match Cel::resolve(&self.expression, &context) {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("CEL expression `{}` gives a {}, not a bool", self.text, other.type_of())),
            Err(error) => Err(format!("CEL expression `{}`: {error}", self.text)),
        }
    }
}

impl Expressions {
    /// Compiles; all that is wrong is told at once.
    pub fn compile(declared: &[HealthCheckExpr]) -> Result<Self, Vec<String>> {
        let mut rules: Vec<(String, String, Rule)> = Vec::new();
        let mut wrong = Vec::new();
        for declared in declared {
            let group = declared.api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let mut program = |text: &str| Program::compile(text).map_err(|error| wrong.push(error)).ok();
            let current = program(&declared.current);
            let failed = declared.failed.as_deref().filter(|text| !text.is_empty()).map(&mut program);
            let in_progress = declared.in_progress.as_deref().filter(|text| !text.is_empty()).map(&mut program);
            if declared.current.is_empty() {
                wrong.push(format!("healthCheckExprs of {} {}: current is missing", declared.api_version, declared.kind));
            } else if rules.iter().any(|(known, kind, _)| known == group && *kind == declared.kind) {
                wrong.push(format!("healthCheckExprs of {} {}: given twice", declared.api_version, declared.kind));
            } else if let Some(current) = current {
                let rule = Rule { in_progress: in_progress.flatten(), failed: failed.flatten(), current };
                rules.push((group.to_owned(), declared.kind.clone(), rule));
            }
        }
        if wrong.is_empty() { Ok(Self { rules }) } else { Err(wrong) }
    }

    /// How an object is: by its expressions where the layer has some for its kind, else by `health::of`.
    ///
    /// In the order of RFC 0009: observedGeneration, inProgress, failed, current; an expression that cannot be evaluated
    /// (a field that is not there yet) is in progress.
    pub fn of(&self, object: &Value) -> Health {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
        let find = |kind: &str| self.rules.iter().find(|(known, of, _)| known == group && of == kind);
        match find(text("kind")).or_else(|| find("")) {
            // The status reader of expressions stands behind the generic one: deletion comes first in both.
            Some((_, _, rule)) => rule.of(object),
            None => super::of(object),
        }
    }

    /// Whether the layer has expressions for a kind, so that its objects must be watched.
    pub fn covers(&self, api_version: &str, kind: &str) -> bool {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.rules.iter().any(|(known, of, _)| known == group && (of == kind || of.is_empty()))
    }
}

impl Rule {
    fn of(&self, object: &Value) -> Health {
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
        if let (Some(observed), Some(generation)) = (number("/status/observedGeneration"), number("/metadata/generation"))
            && observed != generation
        {
            return Health::InProgress("its controller has not looked at its newest generation yet".to_owned());
        }
        let holds = |program: &Program| {
            let fields = object.as_object().into_iter().flatten();
            program.holds(fields.map(|(name, value)| (name.as_str(), value)))
        };
        let verdict = || -> Result<Health, String> {
            if let Some(program) = &self.in_progress
                && holds(program)?
            {
                return Ok(Health::InProgress(format!("`{}` holds", program.text)));
            }
            if let Some(program) = &self.failed
                && holds(program)?
            {
                return Ok(Health::Failed(format!("`{}` holds", program.text)));
            }
            Ok(if holds(&self.current)? { Health::Ready } else { Health::InProgress(format!("`{}` does not hold", self.current.text)) })
        };
        verdict().unwrap_or_else(Health::InProgress)
    }
}

/// Whether a dependency counts as ready by its `readyExpr`; `this` is the Kustomization that depends, `dep` the one it depends on.
pub fn ready_expr(expression: &str, this: &Value, dep: &Value) -> Result<bool, String> {
    Program::compile(expression)?.holds([("self", this), ("dep", dep)].into_iter())
}

/// Whether a health check expression can be parsed; its variables are the fields of whatever object it will meet.
pub fn check_expression(expression: &str) -> Result<(), String> {
    Program::compile(expression).map(|_| ())
}

/// Whether a readyExpr can be parsed and speaks of `self` and `dep` alone, as Flux demands.
pub fn check_ready_expression(expression: &str) -> Result<(), String> {
    let program = Program::compile(expression)?;
    let mut strangers = Vec::new();
    free(&program.expression, &mut Vec::new(), &mut strangers);
    strangers.retain(|name| *name != "self" && *name != "dep");
    match strangers.first() {
        None => Ok(()),
        Some(name) => Err(format!("CEL expression `{expression}`: `{name}` is not known; only `self` and `dep` are")),
    }
}

/// Collects the variables that an expression takes from outside, leaving out those that its own macros bind.
fn free<'e>(expression: &'e Expression, bound: &mut Vec<&'e str>, found: &mut Vec<&'e str>) {
    match &expression.expr {
        Expr::Ident(name) => {
            if !name.starts_with('@') && !bound.contains(&name.as_str()) {
                found.push(name);
            }
        }
        Expr::Select(select) => free(&select.operand, bound, found),
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                // `sets.contains(…)` is a function with a dotted name.
                if !matches!(&part.expr, Expr::Ident(name) if LIBRARIES.contains(&name.as_str())) {
                    free(part, bound, found);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            free(&comprehension.iter_range, bound, found);
            free(&comprehension.accu_init, bound, found);
            let outside = bound.len();
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
            for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
                free(part, bound, found);
            }
            bound.truncate(outside);
        }
        Expr::List(list) => list.elements.iter().for_each(|part| free(part, bound, found)),
        Expr::Map(map) => entries(&map.entries, bound, found),
        Expr::Struct(structure) => entries(&structure.entries, bound, found),
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entries<'e>(entries: &'e [IdedEntryExpr], bound: &mut Vec<&'e str>, found: &mut Vec<&'e str>) {
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => free(&field.value, bound, found),
            EntryExpr::MapEntry(entry) => {
                free(&entry.key, bound, found);
                free(&entry.value, bound, found);
            }
        }
    }
}

/// JSON as CEL sees it: whole numbers are int, as in Go's unstructured objects.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Cel::Int(number),
            (None, number) => Cel::Float(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(cel).collect())),
        Value::Object(map) => {
            let entries: HashMap<Key, Cel> = map.iter().map(|(key, value)| (Key::String(Arc::new(key.clone())), cel(value))).collect();
            Cel::Map(Map { map: Arc::new(entries) })
        }
    }
}
