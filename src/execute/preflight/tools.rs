//! Programs that a run calls, with their versions.

use super::Given;
use crate::preflight::{Check, Group};
use crate::render::program;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A program, what it is for, and how it tells its version.
struct Tool {
    name: &'static str,
    version: &'static [&'static str],
    fix: &'static str,
}

const GIT: Tool = Tool { name: "git", version: &["--version"], fix: "install git: it speaks to the agent's remote" };
const KUSTOMIZE: Tool = Tool { name: "kustomize", version: &["version"], fix: "install kustomize, or run: blackstart sandbox install" };
const KUBECTL: Tool = Tool { name: "kubectl", version: &["version", "--client"], fix: "" };
const SOPS: Tool =
    Tool { name: "sops", version: &["--version", "--disable-version-check"], fix: "install sops, or run: blackstart sandbox install" };

pub(super) async fn look(given: Given<'_>) -> Vec<Check> {
    let sops = given.reading.layers.iter().any(|read| read.layer.spec.decryption.is_some());
    let folders: BTreeMap<String, PathBuf> = given
        .plan
        .commands
        .iter()
        .flat_map(|command| {
            let programs = [command.run.first(), command.check.first(), command.outputs.as_ref().and_then(|words| words.first())];
            programs.into_iter().flatten().map(|name| (name.clone(), command.folder.clone())).collect::<Vec<_>>()
        })
        .collect();
    let looked = tokio::task::spawn_blocking(move || {
        let mut checks = vec![tool(&GIT)];
        // `kubectl kustomize` does as well.
        checks.push(if program::find(KUSTOMIZE.name).is_none() && program::find(KUBECTL.name).is_some() {
            tool(&KUBECTL)
        } else {
            tool(&KUSTOMIZE)
        });
        if sops {
            checks.push(tool(&SOPS));
        }
        for (name, folder) in folders {
            let file = if name.contains('/') { Some(folder.join(&name)).filter(|file| file.is_file()) } else { program::find(&name) };
            checks.push(match file {
                Some(file) => Check::ok(Group::Tools, name, file.display().to_string()),
                None => Check::blocker(Group::Tools, &name, "a command of blackstart.yaml needs it, and it was not found")
                    .fix(format!("install {name}, or correct its path")),
            });
        }
        checks
    });
    looked.await.unwrap_or_else(|_| vec![Check::not_checked(Group::Tools, "programs", "looking was stopped")])
}

fn tool(tool: &Tool) -> Check {
    let Some(file) = program::find(tool.name) else {
        return Check::blocker(Group::Tools, tool.name, "was found neither on PATH nor among the sandbox's components").fix(tool.fix);
    };
    match program::run(&file, tool.version, &[], None) {
        Ok(output) if output.success => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
            Check::ok(Group::Tools, tool.name, format!("{} ({})", version(line), file.display()))
        }
        Ok(output) => {
            let why = output.stderr.lines().next().unwrap_or("no word").to_owned();
            Check::blocker(Group::Tools, tool.name, format!("{} does not run: {why}", file.display())).fix(tool.fix)
        }
        Err(error) => Check::blocker(Group::Tools, tool.name, format!("{} does not run: {error}", file.display())).fix(tool.fix),
    }
}

/// The word with digits: `git version 2.43.0` says no more.
fn version(line: &str) -> &str {
    line.split_whitespace().find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())).unwrap_or(line)
}
