//! The commands of an environment: their variables, and where they run.

use super::infrastructure::Tree;
use crate::environment::{Command, Environment, Given};
use crate::layers::outputs;
use crate::problem::{Problem, nearest};
use crate::render::envsubst::substitute;
use crate::render::join;
use std::collections::BTreeMap;
use std::path::Path;

/// What manifests and commands of the environment may use by name: its variables, and the marks of its outputs.
pub(crate) fn values(environment: &Environment) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for variables in environment.spec.variables.iter().filter(|variables| variables.kind == "ConfigMap") {
        values.extend(variables.data.clone());
    }
    for (output, _) in environment.spec.outputs.iter().flat_map(|outputs| outputs.data.values()) {
        values.insert(output.variable.clone(), output.mark());
    }
    values
}

/// The commands with their variables replaced, as far as they are known, and all that is wrong with them. They run in the working tree:
/// what they keep beside their files (a lock, a cache, a state) is there the next time.
pub(crate) fn read(environment: &Environment, tree: &Tree<'_>, repository: &Path) -> (Vec<Command>, Vec<Problem>) {
    let values = values(environment);
    let mut problems = Vec::new();
    let commands = environment.spec.commands.iter().map(|command| one(command, environment, &values, tree, repository, &mut problems));
    (commands.collect(), problems)
}

fn one(
    command: &Command,
    environment: &Environment,
    values: &BTreeMap<String, String>,
    tree: &Tree<'_>,
    repository: &Path,
    problems: &mut Vec<Problem>,
) -> Command {
    let mut command = command.clone();
    let written = command.folder.to_string_lossy().into_owned();
    match join("", &written).filter(|path| tree.root.join(path).is_dir()) {
        Some(path) => command.folder = repository.join(path),
        None => problems.push(no_folder(&command, &written, tree)),
    }
    let secrets: Vec<&str> = environment
        .spec
        .outputs
        .iter()
        .filter(|outputs| outputs.kind == "Secret")
        .flat_map(|one| one.data.keys().map(String::as_str))
        .collect();
    let mut told = Vec::new();
    let mut replace = |what: &str, text: &mut String, is_argument: bool| {
        let problem = match substitute(text, values) {
            Ok(done) => {
                let shown =
                    outputs::in_text(&done.text).into_iter().find(|output| is_argument && secrets.contains(&output.variable.as_str()));
                *text = done.text;
                let undefined = done.undefined.iter().map(|name| undefined(name, what, values));
                told.extend(undefined);
                shown.map(|output| {
                    let message = format!("{what}: {} is a secret, and every process of the machine can read arguments", output.variable);
                    ("secret-argument", message, Some("give it as an environment variable".to_owned()))
                })
            }
            Err(error) => Some(("substitution-invalid", format!("{what}: {error}"), None)),
        };
        told.extend(problem);
    };
    for (what, words) in [("run", Some(&mut command.run)), ("check", Some(&mut command.check)), ("outputs", command.outputs.as_mut())] {
        words.into_iter().flatten().for_each(|word| replace(what, word, true));
    }
    for (name, value) in &mut command.env {
        if let Given::Text(text) = value {
            replace(&format!("env.{name}"), text, false);
        }
    }
    problems.extend(told.into_iter().map(|(rule, message, hint)| {
        let problem = Problem::blocks(rule, format!("command {}: {message}", command.name)).at(command.origin.clone());
        hint.map_or(problem.clone(), |hint| problem.hint(hint))
    }));
    command
}

/// A variable that nobody defines: rule, message, hint.
pub(crate) fn undefined(name: &str, what: &str, values: &BTreeMap<String, String>) -> (&'static str, String, Option<String>) {
    let hint = match nearest(name, values.keys().map(String::as_str)).first() {
        Some(near) => format!("did you mean {near}?"),
        None => format!("define {name} in spec.variables (ConfigMap) or spec.outputs, or write $${{{name}}} where no variable is meant"),
    };
    ("variable-undefined", format!("{what}: variable {name} is not defined"), Some(hint))
}

fn no_folder(command: &Command, written: &str, tree: &Tree<'_>) -> Problem {
    let message = format!("command {}: folder {written} is no folder of the repository", command.name);
    let folders = tree.files.iter().filter_map(|file| file.rsplit_once('/').map(|(folder, _)| folder));
    let problem = Problem::blocks("path-missing", message).at(command.origin.clone());
    match nearest(written, folders).first() {
        Some(near) => problem.hint(format!("did you mean {near}?")),
        None => problem.hint("paths start at the root of the repository"),
    }
}
