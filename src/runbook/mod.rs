//! The page for the night: how one environment is brought back, as Markdown that is good on paper. Made from the plan and the environment's
//! file alone, and pure: it says the same for the same commit.

mod steps;

use crate::environment::{Environment, RestoreRule, SecretSource};
use crate::layers::infrastructure::at;
use crate::plan::Plan;
use serde_json::Value;
use std::fmt::Write as _;

/// What a page needs to know beside plan and environment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Version of the tool.
    pub version: String,
    /// URL of the repository, where it has a remote.
    pub remote: Option<String>,
    /// `--environment` and `--entrypoint` as they were given, for the commands.
    pub flags: String,
    /// Whether a layer is decrypted.
    pub decrypts: bool,
}

/// The page.
pub fn page(plan: &Plan, environment: &Environment, facts: &Facts) -> String {
    let mut out = String::new();
    let sha = crate::repo::short(&plan.revision);
    let _ = writeln!(out, "# Bringing `{}` back\n", plan.environment);
    let _ = writeln!(
        out,
        "Made by blackstart {} from commit `{sha}`. Print it. Make it again when the repository has changed: `blackstart runbook{}`.\n",
        facts.version, facts.flags
    );
    if let Some(expected) = plan.expected.as_ref().filter(|expected| expected.seconds >= 1.0) {
        let _ = writeln!(
            out,
            "From an empty account to everything ready: about **{}**, if nothing stands in the way.\n",
            steps::time(expected.seconds)
        );
    }
    needed(plan, environment, facts, &mut out);
    commands(environment, facts, &mut out);
    steps::order(plan, &mut out);
    by_hand(plan, environment, &mut out);
    trouble(plan, environment, facts, &mut out);
    out.push_str(
        "## People\n\n| who | for what | how to reach |\n|---|---|---|\n| | access to the account | |\n| | DNS, domains | |\n| | the applications | |\n| | says that we are back | |\n",
    );
    out
}

fn needed(plan: &Plan, environment: &Environment, facts: &Facts, out: &mut String) {
    let spec = &environment.spec;
    out.push_str("## 1. What you need\n\n");
    let clone = match &facts.remote {
        Some(url) => format!("`git clone {url}`; where that is gone too, any clone or bundle (`git clone fleet.bundle`)"),
        None => "any clone or bundle of it".to_owned(),
    };
    let mut items = vec![format!("The repository: {clone}.")];
    let sops = if facts.decrypts { ", `sops`" } else { "" };
    items.push(format!(
        "This machine: Linux, `blackstart` {}, `git`, `kustomize`{sops}; `blackstart sandbox install` builds the last ones from source.",
        facts.version
    ));
    if let Some(aws) = &spec.aws {
        items.push(format!(
            "Credentials for AWS account **{}**, region **{}**. Any other account is refused. Look: `aws sts get-caller-identity`.",
            aws.account_id, aws.region
        ));
        let others = aws.regions.keys().filter(|region| **region != aws.region);
        let others: Vec<String> = others.map(|region| format!("`--region {region}`")).collect();
        if !others.is_empty() {
            items.push(format!("If all of {} is lost: {} on every command of this page.", aws.region, others.join(" or ")));
        }
    }
    match &spec.cluster {
        Some(cluster) if cluster.eks.is_some() => {
            items.push(format!("The EKS cluster `{}` is reached with the same credentials.", cluster.eks.as_deref().unwrap_or_default()));
        }
        Some(cluster) if cluster.from.is_some() => {
            let from = cluster.from.as_ref().map(SecretSource::words).unwrap_or_default();
            items.push(format!("The cluster's kubeconfig comes from {from}; it is waited for."));
        }
        Some(cluster) if cluster.kubeconfig.is_some() => {
            let file = cluster.kubeconfig.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
            items.push(format!("A kubeconfig for the cluster: `{file}`."));
        }
        _ => items.push("A kubeconfig for an empty cluster: `export KUBECONFIG=…`.".to_owned()),
    }
    let mut programs: Vec<&str> =
        plan.commands.iter().flat_map(|command| [command.run.first(), command.check.first()]).flatten().map(String::as_str).collect();
    programs.sort_unstable();
    programs.dedup();
    if !programs.is_empty() {
        items.push(format!("Programs of this environment's commands: {}.", list(programs.iter().map(|name| format!("`{name}`")))));
    }
    for item in items {
        let _ = writeln!(out, "- [ ] {item}");
    }
    out.push('\n');
    if !spec.secrets.is_empty() {
        out.push_str(
            "Secrets that Git does not hold. Without one of them nothing is begun.\n\n| | Secret | key | comes from |\n|---|---|---|---|\n",
        );
        for secret in &spec.secrets {
            let _ = writeln!(out, "| [ ] | {}/{} | {} | {} |", secret.namespace, secret.name, secret.key, cell(&place(&secret.from)));
        }
        out.push('\n');
    }
}

fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("file `{path}`"),
        SecretSource::Env(name) => format!("environment variable `{name}`"),
        SecretSource::Command(words) => format!("program `{}`", words.join(" ")),
        SecretSource::SecretsManager(name) => format!("AWS Secrets Manager, `{name}`"),
        SecretSource::Ssm(name) => format!("AWS Systems Manager, parameter `{name}`"),
    }
}

fn commands(environment: &Environment, facts: &Facts, out: &mut String) {
    let flags = &facts.flags;
    out.push_str("## 2. What to type\n\n```console\n");
    let mut lines = Vec::new();
    if environment.spec.aws.is_some() {
        lines.push(("export AWS_PROFILE=…".to_owned(), "then look: aws sts get-caller-identity"));
    }
    for (command, why) in [
        ("preflight", "all that is missing, with fixes"),
        ("plan --live", "what will be made, and what survived"),
        ("recover --report report", "does it"),
        ("status", "whether all is as declared"),
    ] {
        lines.push((format!("blackstart {command}{flags}"), why));
    }
    let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (command, why) in lines {
        let _ = writeln!(out, "$ {command:<width$}  # {why}");
    }
    out.push_str("```\n\n");
    out.push_str(
        "`recover` may be interrupted (Ctrl-C) and run again: what is there is kept, it goes on with the rest. It deletes nothing. \
         `report/report.html` tells afterwards what took how long.\n\n",
    );
}

fn by_hand(plan: &Plan, environment: &Environment, out: &mut String) {
    let mut items = Vec::new();
    for declared in plan.declared.iter().filter(|declared| declared.schema.kind == "HostedZone") {
        if at(declared.spec(), "hostedZoneConfig.privateZone").and_then(Value::as_bool) != Some(true) {
            let name = declared.spec().get("name").and_then(Value::as_str).unwrap_or_default();
            items.push(format!(
                "If the hosted zone `{name}` had to be made anew: set its name servers at the parent (`blackstart preflight` says which)."
            ));
        }
    }
    for restore in &environment.spec.restore {
        let text = |key: &str| restore.matching.get(key).and_then(Value::as_str).unwrap_or("*").to_owned();
        let what = format!("{} {}/{}", text("kind"), text("namespace"), text("name"));
        items.push(match &restore.rule {
            RestoreRule::Required => {
                format!("{what}: without a backup the run stops. Find one, or decide to lose the data (rule `empty`).")
            }
            RestoreRule::Newest => format!("{what}: comes back from its newest backup, or empty. Look at the age in the report."),
            RestoreRule::At(time) => format!("{what}: comes back as of {time}. Is that still the right time?"),
            RestoreRule::Empty => format!("{what}: begins empty. Tell whoever needs the data."),
        });
    }
    for layer in plan.layers.iter().filter(|layer| layer.suspended) {
        items.push(format!("Layer `{}` is suspended in Git: nobody brings it up. Decide.", layer.id));
    }
    for layer in plan.layers.iter().filter(|layer| layer.remote) {
        items.push(format!("Layer `{}` is for another cluster: bring that up first, or later.", layer.id));
    }
    for unknown in &plan.unknowns {
        items.push(format!("`{}` needs {}.", unknown.node, unknown.needs));
    }
    out.push_str("## 4. What only you can do\n\n");
    for item in &items {
        let _ = writeln!(out, "- [ ] {item}");
    }
    for check in &environment.spec.checks {
        let _ = writeln!(out, "- [ ] `{}` (asked at the end of the run, and by `blackstart prove`): {}.", check.name, check.endpoint);
    }
    out.push_str("- [ ] See with your own eyes that users are served, then tell those who wait.\n\n");
}

fn trouble(plan: &Plan, environment: &Environment, facts: &Facts, out: &mut String) {
    let flags = &facts.flags;
    out.push_str("## 5. When it does not go on\n\n| what you see | where to look, what to do |\n|---|---|\n");
    let mut row = |seen: &str, look: String| {
        let _ = writeln!(out, "| {seen} | {look} |");
    };
    row(
        "it is refused before the first write",
        "each problem names file and line, and what to do; `blackstart preflight` lists all".to_owned(),
    );
    if !plan.declared.is_empty() {
        row(
            "a cloud resource fails",
            format!(
                "its line has AWS' own words; `blackstart status{flags}` compares with what lives; mend it and run the same command again"
            ),
        );
        row(
            "\"quota\", \"LimitExceeded\"",
            "ask for more in Service Quotas, or remove what is not needed; run the same command again".to_owned(),
        );
        row(
            "\"more than one living resource fits\"",
            "name the right one in the annotation `services.k8s.aws/adoption-fields`, or remove the others".to_owned(),
        );
    }
    if environment.spec.cluster.as_ref().is_some_and(|cluster| cluster.eks.is_some()) {
        row(
            "you want kubectl",
            format!("`blackstart kubeconfig{flags} --output /dev/shm/kubeconfig && export KUBECONFIG=/dev/shm/kubeconfig`"),
        );
    }
    if facts.decrypts {
        row(
            "\"cannot be decrypted\"",
            "the message names the public keys that fit; the private one belongs where section 1 says".to_owned(),
        );
    }
    row(
        "a layer is not ready",
        "the report names the first object that is not, and its reason; then `kubectl describe`, `kubectl logs`".to_owned(),
    );
    row(
        "a layer is ready but not handed over",
        "`kubectl get kustomizations -A`; `kubectl -n flux-system logs deploy/kustomize-controller`".to_owned(),
    );
    row("\"another run holds it\"", "somebody else is at it: ask. A run that died frees its place by itself after 30 s".to_owned());
    row("you want to stop", "Ctrl-C once finishes what runs, twice stops at once. The same command goes on".to_owned());
    out.push('\n');
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::region::Elsewhere;
    use crate::environment::{Aws, Secret};
    use crate::plan::estimate::Estimate;
    use crate::plan::{Action, Node};

    #[test]
    fn the_page_names_account_secrets_and_commands() {
        let mut environment = Environment::named("shop");
        environment.spec.aws = Some(Aws {
            account_id: "111122223333".into(),
            region: "eu-west-1".into(),
            above: crate::environment::Above::default(),
            assume_role: None,
            regions: [("eu-central-1".to_owned(), Elsewhere::default())].into(),
        });
        environment.spec.secrets = vec![Secret {
            namespace: "flux-system".into(),
            name: "sops-age".into(),
            key: "age.agekey".into(),
            from: SecretSource::Ssm("/shop/age".into()),
            r#type: None,
            labels: std::collections::BTreeMap::default(),
            origin: None,
        }];
        let nodes = vec![
            Node { id: "aws/eks/Cluster/infra/shop".into(), action: Action::Create, owner: "blackstart", seconds: 840.0 },
            Node { id: "layer/flux-system/apps".into(), action: Action::Apply, owner: "flux", seconds: 20.0 },
        ];
        let expected =
            Estimate { seconds: 860.0, nodes: nodes.iter().map(|node| (node.id.clone(), node.seconds)).collect(), ..Estimate::default() };
        let plan = Plan { environment: "shop".into(), revision: "a".repeat(40), nodes, expected: Some(expected), ..Plan::default() };
        let facts = Facts { version: "1.0.0".into(), remote: None, flags: " --environment shop".into(), decrypts: true };
        let text = page(&plan, &environment, &facts);
        for part in [
            "# Bringing `shop` back",
            "about **15 minutes**",
            "account **111122223333**",
            "If all of eu-west-1 is lost: `--region eu-central-1` on every command of this page.",
            "| [ ] | flux-system/sops-age | age.agekey | AWS Systems Manager, parameter `/shop/age` |",
            "$ blackstart recover --report report --environment shop",
            "eks Cluster shop",
            "cannot be decrypted",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
