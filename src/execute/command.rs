//! Commands of other provisioners: asked whether what they make is there, run where it is not, and asked what they give.

mod program;

use super::Events;
use super::secret;
use crate::aws::Cloud;
use crate::environment::{Codes, Command, Given};
use crate::layers::outputs::{self, Output};
use crate::plan::Action;
use program::{Ended, Program};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use zeroize::Zeroizing;

pub(super) use program::run_for_text;

/// What a command has made.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It is there, with what it gives.
    Present(Value),
    /// It is not there.
    Absent,
    /// It is there, other than declared.
    Differs,
}

/// A command of a run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is declared.
    pub command: Command,
    /// What was found before the first write; none where its arguments were not known yet.
    pub found: Option<Found>,
}

/// What all commands of a run share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Folder of the environment's file.
    pub base: PathBuf,
    /// The account, where secrets come from it.
    pub cloud: Option<Arc<Cloud>>,
    /// Where events go.
    pub events: Events,
    /// How often the user asked to stop.
    pub stop: watch::Receiver<u8>,
}

impl Job {
    /// What a run does with it.
    pub fn action(&self) -> Action {
        match self.found {
            Some(Found::Present(_)) => Action::Keep,
            Some(Found::Absent) => Action::Create,
            Some(Found::Differs) => Action::Update,
            None => Action::Unknown,
        }
    }

    /// Asks whether it is there, where all that its programs need is known already. Changes nothing.
    pub async fn look(command: Command, surroundings: &Surroundings) -> Result<Self, String> {
        if !open(&command).is_empty() {
            return Ok(Self { command, found: None });
        }
        let found = Work::new(&command, surroundings).await?.check().await.map_err(|why| told(&command, &why))?;
        Ok(Self { command, found: Some(found) })
    }

    /// Does what is to be done. Gives what others may use of it, and whether it was run.
    pub(super) async fn carry_out(
        self,
        give: impl Fn(&Output) -> Option<Value>,
        surroundings: &Surroundings,
    ) -> Result<(Value, bool), String> {
        let command = filled(self.command, give);
        if let Some(output) = open(&command).into_iter().next() {
            return Err(told(&command, &format!("{} gives no {}, which it needs as {}", output.node, output.field, output.variable)));
        }
        let work = async {
            if let Some(Found::Present(outputs)) = self.found {
                return Ok((outputs, false));
            }
            let work = Work::new(&command, surroundings).await?;
            if self.found.is_none()
                && let Found::Present(outputs) = work.check().await?
            {
                return Ok((outputs, false));
            }
            Ok((work.run().await?, true))
        };
        work.await.map_err(|why: String| told(&command, &why))
    }
}

fn told(command: &Command, why: &str) -> String {
    let place = command.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
    let head = format!("command {}{place}: ", command.name);
    if why.starts_with(&head) { why.to_owned() } else { format!("{head}{why}") }
}

/// Values that its programs still wait for.
fn open(command: &Command) -> Vec<Output> {
    let words = command.run.iter().chain(&command.check).chain(command.outputs.iter().flatten());
    let texts = command.env.values().filter_map(|given| match given {
        Given::Text(text) => Some(text),
        Given::Secret(_) => None,
    });
    words.chain(texts).flat_map(|text| outputs::in_text(text)).collect()
}

fn filled(mut command: Command, give: impl Fn(&Output) -> Option<Value>) -> Command {
    let words = command.run.iter_mut().chain(&mut command.check).chain(command.outputs.iter_mut().flatten());
    let texts = command.env.values_mut().filter_map(|given| match given {
        Given::Text(text) => Some(text),
        Given::Secret(_) => None,
    });
    for text in words.chain(texts) {
        *text = outputs::paste(text, &give);
    }
    command
}

/// A command whose arguments and secrets are known.
struct Work<'a> {
    command: &'a Command,
    surroundings: &'a Surroundings,
    env: BTreeMap<&'a str, Zeroizing<String>>,
    /// What must not be seen in anything it says.
    secrets: Vec<Zeroizing<String>>,
}

impl<'a> Work<'a> {
    async fn new(command: &'a Command, surroundings: &'a Surroundings) -> Result<Self, String> {
        let (mut env, mut secrets) = (BTreeMap::new(), Vec::new());
        for (name, given) in &command.env {
            let value = match given {
                Given::Text(text) => Zeroizing::new(text.clone()),
                Given::Secret(source) => {
                    let value = secret::fetch(source, &surroundings.base, surroundings.cloud.as_deref()).await;
                    let value = value.map_err(|error| format!("env.{name} cannot be had from {error}"))?;
                    secrets.push(value.clone());
                    value
                }
            };
            env.insert(name.as_str(), value);
        }
        Ok(Self { command, surroundings, env, secrets })
    }

    async fn check(&self) -> Result<Found, String> {
        let ended = self.program(&self.command.check, false).await?;
        let Codes { present, absent, differs } = self.command.codes;
        match Some(ended.code) {
            code if code == present => Ok(Found::Present(self.outputs(ended.stdout).await?)),
            code if code == absent => Ok(Found::Absent),
            code if code == differs => Ok(Found::Differs),
            _ => Err(ended.failed("check")),
        }
    }

    async fn run(&self) -> Result<Value, String> {
        let ended = self.program(&self.command.run, true).await?;
        if ended.code != 0 {
            return Err(ended.failed("run"));
        }
        self.outputs(ended.stdout).await
    }

    /// What `outputs` prints; without it what the program before printed, where that is a JSON object.
    async fn outputs(&self, before: Zeroizing<String>) -> Result<Value, String> {
        let Some(words) = &self.command.outputs else {
            return Ok(object(&before).unwrap_or_else(|| Map::new().into()));
        };
        let ended = self.program(words, false).await?;
        if ended.code != 0 {
            return Err(ended.failed("outputs"));
        }
        object(&ended.stdout).ok_or_else(|| format!("outputs: {} printed no JSON object", ended.name))
    }

    /// `tells`: what it says is shown while it runs. Standard output is shown only where it is not the outputs: those may be secrets.
    async fn program(&self, words: &[String], tells: bool) -> Result<Ended, String> {
        let node = self.command.node();
        let program = Program {
            words,
            folder: &self.command.folder,
            env: &self.env,
            secrets: &self.secrets,
            timeout: self.command.timeout,
            tells: tells.then_some((&self.surroundings.events, node.as_str())),
            tells_stdout: self.command.outputs.is_some(),
            stop: self.surroundings.stop.clone(),
        };
        program.run().await
    }
}

/// A JSON object; as Terraform prints it, `{name: {value, type, sensitive}}`, it is made flat.
fn object(text: &str) -> Option<Value> {
    let object: Map<String, Value> = serde_json::from_str(text.trim()).ok()?;
    let is_terraform = |value: &Value| value.get("value").is_some() && value.get("sensitive").is_some_and(Value::is_boolean);
    if object.is_empty() || !object.values().all(is_terraform) {
        return Some(Value::Object(object));
    }
    let flat = object.into_iter().map(|(name, mut value)| (name, value.get_mut("value").map(Value::take).unwrap_or_default()));
    Some(Value::Object(flat.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn outputs_of_terraform_are_made_flat_and_others_stay() {
        let terraform = r#"{"zone": {"sensitive": false, "type": "string", "value": "Z1"}, "ids": {"sensitive": true, "type": ["list", "string"], "value": ["a"]}}"#;
        assert_eq!(object(terraform), Some(json!({"zone": "Z1", "ids": ["a"]})));
        assert_eq!(object("{\"a\": {\"value\": 1}}\n"), Some(json!({"a": {"value": 1}})));
        assert_eq!((object("[1]"), object("done"), object("{}")), (None, None, Some(json!({}))));
    }
}
