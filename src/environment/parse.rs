//! Text of a blackstart.yaml to an [`Environment`]; every unknown field, wrong type and missing field is a problem with its line.

mod accept;
mod check;
mod git;
mod provision;
mod region;

use super::{Above, Agent, ArgoCd, Aws, Environment, Restore, RestoreRule, Root, Secret, SecretSource, Variables};
use crate::manifest::yaml::{Content, Located, SyntaxError, chunks};
use crate::problem::{Origin, Problem, nearest};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads an environment; `file` is its name in messages.
pub fn parse(text: &str, file: &str) -> Result<Environment, Vec<Problem>> {
    let mut reader = Reader { file, lines: text.lines().collect(), problems: Vec::new() };
    let documents: Vec<_> = chunks(text).into_iter().filter(|(_, chunk)| !is_empty(chunk)).collect();
    let (before, chunk) = match documents.as_slice() {
        [only] => *only,
        [] => {
            return Err(vec![
                Problem::blocks("environment-invalid", format!("{file}: is empty; an Environment is expected")).at(Some(reader.origin(1))),
            ]);
        }
        [_, (second, _), ..] => {
            return Err(vec![
                Problem::blocks("environment-invalid", format!("{file}: holds several documents; one Environment is expected"))
                    .at(Some(reader.origin(second + 1)))
                    .hint("one file for each environment: environments/NAME.yaml"),
            ]);
        }
    };
    let root = Located::parse_chunk(before, chunk).map_err(|error| vec![invalid_yaml(&error, file, text)])?;
    let environment = reader.environment(&root);
    if reader.problems.is_empty() { Ok(environment) } else { Err(reader.problems) }
}

fn is_empty(chunk: &str) -> bool {
    chunk.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}

/// A problem for text that is not YAML: file, line, column and the line itself.
pub(crate) fn invalid_yaml(error: &SyntaxError, file: &str, text: &str) -> Problem {
    let mut problem = Problem::blocks("yaml-invalid", format!("{file}: is not valid YAML: {}", error.message));
    problem.origin = Some(Origin { file: file.to_owned(), line: error.line });
    problem.column = Some(error.column);
    problem.excerpt = text.lines().nth(error.line.saturating_sub(1) as usize).map(str::to_owned);
    problem
}

/// Where a secret value may come from.
const SOURCES: [&str; 5] = ["file", "env", "command", "secretsManager", "ssm"];

struct Reader<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn origin(&self, line: u32) -> Origin {
        Origin { file: self.file.to_owned(), line }
    }

    fn problem(&mut self, (line, column): (u32, u32), message: String, hint: Option<String>) {
        let mut problem = Problem::blocks("environment-invalid", message).at(Some(self.origin(line)));
        problem.column = Some(column);
        problem.excerpt = self.lines.get(line.saturating_sub(1) as usize).map(|line| (*line).to_owned());
        problem.hint = hint;
        self.problems.push(problem);
    }

    fn wrong(&mut self, node: &Located, path: &str, wanted: &str) {
        self.problem((node.line, node.column), format!("{path}: must be {wanted}"), None);
    }

    /// Entries of a map whose keys are all known; anything else is a problem. `null` is an empty map.
    fn fields<'n>(&mut self, node: &'n Located, path: &str, known: &[&str]) -> Fields<'n> {
        let mut fields = Fields { place: (node.line, node.column), path: path.to_owned(), entries: BTreeMap::new() };
        match &node.content {
            Content::Map(entries) => {
                for (key, place, value) in entries {
                    if known.contains(&key.as_str()) {
                        fields.entries.insert(key, value);
                    } else {
                        let near = nearest(key, known.iter().copied());
                        let hint = match near.first() {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!("known here: {}", known.join(", ")),
                        };
                        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        self.problem(*place, format!("{name}: unknown field"), Some(hint));
                    }
                }
            }
            Content::Scalar(Value::Null) => {}
            _ => self.wrong(node, if path.is_empty() { "the file" } else { path }, "a map"),
        }
        fields
    }

    fn text(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = fields.entries.get(key)?;
        match node.text() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                self.wrong(node, &fields.name(key), "a text (quote numbers)");
                None
            }
        }
    }

    fn required(&mut self, fields: &Fields<'_>, key: &str) -> String {
        if !fields.entries.contains_key(key) {
            self.problem(fields.place, format!("{}: is missing", fields.name(key)), None);
        }
        self.text(fields, key).unwrap_or_default()
    }

    fn list<'n>(&mut self, fields: &Fields<'n>, key: &str) -> &'n [Located] {
        let Some(node) = fields.entries.get(key) else { return &[] };
        match &node.content {
            Content::List(items) => items,
            Content::Scalar(Value::Null) => &[],
            _ => {
                self.wrong(node, &fields.name(key), "a list");
                &[]
            }
        }
    }

    fn environment(&mut self, root: &Located) -> Environment {
        let top = self.fields(root, "", &["apiVersion", "kind", "metadata", "spec"]);
        for (key, wanted) in [("apiVersion", "blackstart/v1alpha1"), ("kind", "Environment")] {
            let found = self.required(&top, key);
            if let (Some(node), false) = (top.entries.get(key), found.is_empty() || found == wanted) {
                self.wrong(node, key, &format!("`{wanted}`"));
            }
        }
        let mut environment = Environment { file: Some(self.file.to_owned()), ..Environment::default() };
        match top.entries.get("metadata") {
            Some(node) => {
                let metadata = self.fields(node, "metadata", &["name"]);
                environment.name = self.required(&metadata, "name");
            }
            None => self.problem(top.place, "metadata.name: is missing".to_owned(), None),
        }
        let Some(spec) = top.entries.get("spec") else { return environment };
        let spec = self.fields(
            spec,
            "spec",
            &["aws", "infrastructure", "cluster", "agent", "variables", "outputs", "secrets", "restore", "checks", "accept", "git"],
        );
        environment.spec.aws = spec.entries.get("aws").map(|node| self.aws(node));
        for (index, item) in self.list(&spec, "infrastructure").iter().enumerate() {
            self.infrastructure(item, &format!("spec.infrastructure[{index}]"), &mut environment.spec);
        }
        if let Some(node) = spec.entries.get("cluster") {
            environment.spec.cluster = Some(self.cluster(node));
        }
        if let Some(node) = spec.entries.get("agent") {
            environment.spec.agent = self.agent(node);
        }
        for (index, item) in self.list(&spec, "variables").iter().enumerate() {
            let variables = self.variables(item, &format!("spec.variables[{index}]"));
            environment.spec.variables.push(variables);
        }
        for (index, item) in self.list(&spec, "outputs").iter().enumerate() {
            let outputs = self.outputs(item, &format!("spec.outputs[{index}]"));
            environment.spec.outputs.push(outputs);
        }
        self.named_twice(&environment.spec);
        if let Some(node) = spec.entries.get("aws") {
            self.variables_elsewhere(node, &environment.spec);
        }
        for (index, item) in self.list(&spec, "secrets").iter().enumerate() {
            if let Some(secret) = self.secret(item, &format!("spec.secrets[{index}]")) {
                environment.spec.secrets.push(secret);
            }
        }
        self.one_type_each(&environment.spec.secrets);
        for (index, item) in self.list(&spec, "restore").iter().enumerate() {
            if let Some(restore) = self.restore(item, &format!("spec.restore[{index}]")) {
                environment.spec.restore.push(restore);
            }
        }
        for (index, item) in self.list(&spec, "checks").iter().enumerate() {
            environment.spec.checks.extend(self.check(item, &format!("spec.checks[{index}]")));
        }
        self.checks_named_twice(&environment.spec.checks);
        for (index, item) in self.list(&spec, "accept").iter().enumerate() {
            let accept = self.accept(item, &format!("spec.accept[{index}]"));
            environment.spec.accept.push(accept);
        }
        environment.spec.verify = spec.entries.get("git").and_then(|node| self.git(node));
        environment
    }

    fn aws(&mut self, node: &Located) -> Aws {
        let fields = self.fields(node, "spec.aws", &["accountID", "region", "regions", "above", "assumeRole"]);
        let above = match (fields.entries.get("above"), self.text(&fields, "above").as_deref()) {
            (_, Some("direct")) => Above::Direct,
            (None, _) | (_, Some("controllers") | None) => Above::Controllers,
            (Some(node), Some(_)) => {
                self.wrong(node, "spec.aws.above", "`controllers` (in the cluster, the default) or `direct` (by blackstart)");
                Above::Controllers
            }
        };
        let (account_id, region) = (self.required(&fields, "accountID"), self.required(&fields, "region"));
        let (assume_role, regions) = (self.text(&fields, "assumeRole"), self.regions(&fields));
        let aws = Aws { account_id, region, above, assume_role, regions };
        let is_role = |role: &String| role.starts_with("arn:") && role.contains(":role/");
        if let (Some(node), false) = (fields.entries.get("assumeRole"), aws.assume_role.as_ref().is_none_or(is_role)) {
            self.wrong(node, "spec.aws.assumeRole", "the ARN of a role: arn:aws:iam::111122223333:role/recovery");
        }
        let digits = aws.account_id.len() == 12 && aws.account_id.bytes().all(|byte| byte.is_ascii_digit());
        if let (Some(node), false) = (fields.entries.get("accountID"), digits || aws.account_id.is_empty()) {
            self.wrong(node, "spec.aws.accountID", "twelve digits in quotes");
        }
        aws
    }

    fn agent(&mut self, node: &Located) -> Agent {
        let fields = self.fields(node, "spec.agent", &["flux", "argocd"]);
        match (fields.entries.get("flux"), fields.entries.get("argocd")) {
            (Some(_), Some(_)) => self.wrong(node, "spec.agent", "either `flux` or `argocd`"),
            (Some(flux), None) => {
                let flux = self.fields(flux, "spec.agent.flux", &["components", "entrypoint"]);
                return Agent { components: self.text(&flux, "components"), entrypoint: self.text(&flux, "entrypoint"), argocd: None };
            }
            (None, Some(argocd)) => return self.argocd(argocd),
            (None, None) => {}
        }
        Agent::default()
    }

    fn argocd(&mut self, node: &Located) -> Agent {
        let fields = self.fields(node, "spec.agent.argocd", &["namespace", "server", "entrypoint", "root"]);
        let root = fields.entries.get("root").map(|root| self.root(root));
        let entrypoint = self.text(&fields, "entrypoint");
        if entrypoint.is_some() && root.is_some() {
            self.wrong(node, "spec.agent.argocd", "either `entrypoint` (root Applications in Git) or `root` (made outside Git)");
        }
        let argocd = ArgoCd { namespace: self.text(&fields, "namespace"), server: self.text(&fields, "server"), root };
        Agent { components: None, entrypoint, argocd: Some(argocd) }
    }

    fn root(&mut self, node: &Located) -> Root {
        let fields = self.fields(node, "spec.agent.argocd.root", &["name", "repoURL", "targetRevision", "path", "values"]);
        let values = fields.entries.get("values").map(|node| node.value()).unwrap_or_default();
        if let (Some(node), false) = (fields.entries.get("values"), values.is_object()) {
            self.wrong(node, "spec.agent.argocd.root.values", "a map");
        }
        Root {
            name: self.required(&fields, "name"),
            repo_url: self.text(&fields, "repoURL"),
            target_revision: self.text(&fields, "targetRevision"),
            path: self.required(&fields, "path"),
            values,
            origin: Some(self.origin(node.line)),
        }
    }

    fn variables(&mut self, node: &Located, path: &str) -> Variables {
        let fields = self.fields(node, path, &["kind", "namespace", "name", "data"]);
        let kind = self.required(&fields, "kind");
        if let (Some(node), false) = (fields.entries.get("kind"), ["ConfigMap", "Secret", ""].contains(&kind.as_str())) {
            self.wrong(node, &format!("{path}.kind"), "`ConfigMap` or `Secret`");
        }
        let data = self.texts(&fields, "data");
        let (namespace, name) = (self.required(&fields, "namespace"), self.required(&fields, "name"));
        Variables { kind, namespace, name, data, origin: Some(self.origin(node.line)) }
    }

    fn texts(&mut self, fields: &Fields<'_>, name: &str) -> BTreeMap<String, String> {
        let path = fields.name(name);
        let mut texts = BTreeMap::new();
        match fields.entries.get(name).map(|node| &node.content) {
            Some(Content::Map(entries)) => {
                for (key, _, value) in entries {
                    match value.text() {
                        Some(text) => {
                            texts.insert(key.clone(), text.to_owned());
                        }
                        None => self.wrong(value, &format!("{path}.{key}"), "a text (quote numbers)"),
                    }
                }
            }
            Some(_) => self.wrong(fields.entries[name], &path, "a map of texts"),
            None => self.problem(fields.place, format!("{path}: is missing"), None),
        }
        texts
    }

    fn secret(&mut self, node: &Located, path: &str) -> Option<Secret> {
        let fields = self.fields(node, path, &["namespace", "name", "key", "from", "type", "labels"]);
        let (namespace, name, key) = (self.required(&fields, "namespace"), self.required(&fields, "name"), self.required(&fields, "key"));
        let Some(from) = fields.entries.get("from") else {
            self.problem(fields.place, format!("{path}.from: is missing"), Some("for example: from: {env: SOPS_AGE_KEY}".to_owned()));
            return None;
        };
        let from = self.source(from, &format!("{path}.from"), &SOURCES)?;
        // The API server takes no other type with this key.
        let implied = || (key == ".dockerconfigjson").then(|| "kubernetes.io/dockerconfigjson".to_owned());
        let r#type = self.text(&fields, "type").or_else(implied);
        let labels = if fields.entries.contains_key("labels") { self.texts(&fields, "labels") } else { BTreeMap::new() };
        Some(Secret { namespace, name, key, from, r#type, labels, origin: Some(self.origin(node.line)) })
    }

    /// Several keys may make one Secret, which has one type, and each key once.
    fn one_type_each(&mut self, secrets: &[Secret]) {
        for (index, secret) in secrets.iter().enumerate() {
            let place = secret.origin.as_ref().map_or((1, 1), |origin| (origin.line, 1));
            let earlier = || secrets[..index].iter().filter(|other| (&other.namespace, &other.name) == (&secret.namespace, &secret.name));
            let name = format!("spec.secrets[{index}]: Secret {}/{}", secret.namespace, secret.name);
            if earlier().any(|other| other.key == secret.key) {
                self.problem(place, format!("{name} has key {} already", secret.key), None);
            }
            let types = |other: &&Secret| other.r#type.is_some() && secret.r#type.is_some() && other.r#type != secret.r#type;
            if let Some(other) = earlier().find(types) {
                let message = format!("{name} is of type {} already", other.r#type.as_deref().unwrap_or_default());
                self.problem(place, message, None);
            }
        }
    }

    /// Exactly one of the ways by which a secret value comes.
    fn source(&mut self, node: &Located, path: &str, ways: &[&str]) -> Option<SecretSource> {
        let found = self.fields(node, path, ways);
        if found.entries.len() != 1 {
            self.wrong(node, path, &format!("exactly one of {}", ways.join(", ")));
            return None;
        }
        if found.entries.contains_key("command") {
            return self.words(&found, "command").map(SecretSource::Command);
        }
        let (way, _) = found.entries.first_key_value()?;
        let text = self.text(&found, way)?;
        Some(match *way {
            "file" => SecretSource::File(text),
            "env" => SecretSource::Env(text),
            "secretsManager" => SecretSource::SecretsManager(text),
            _ => SecretSource::Ssm(text),
        })
    }

    fn restore(&mut self, node: &Located, path: &str) -> Option<Restore> {
        let fields = self.fields(node, path, &["match", "rule"]);
        let matching = if let Some(node) = fields.entries.get("match") {
            self.fields(node, &format!("{path}.match"), &["kind", "namespace", "name"]);
            node.value()
        } else {
            self.problem(fields.place, format!("{path}.match: is missing"), None);
            Value::Null
        };
        let Some(node) = fields.entries.get("rule") else {
            self.problem(fields.place, format!("{path}.rule: is missing"), None);
            return None;
        };
        let rule = match (node.text(), node.get("at").and_then(Located::text)) {
            (Some("required"), _) => RestoreRule::Required,
            (Some("newest"), _) => RestoreRule::Newest,
            (Some("empty"), _) => RestoreRule::Empty,
            (None, Some(time)) => RestoreRule::At(time.to_owned()),
            _ => {
                self.wrong(node, &format!("{path}.rule"), "required, newest, empty or {at: TIME}");
                return None;
            }
        };
        Some(Restore { matching, rule, origin: Some(self.origin(node.line)) })
    }
}

struct Fields<'n> {
    place: (u32, u32),
    path: String,
    entries: BTreeMap<&'n str, &'n Located>,
}

impl Fields<'_> {
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// What the tests of all parts use.
#[cfg(test)]
mod trying {
    use super::parse;

    /// A file with a `spec`.
    pub(super) fn whole(spec: &str) -> String {
        format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: x}}\nspec:\n{spec}")
    }

    /// `LINE: MESSAGE (HINT)` of each problem of a `spec`.
    pub(super) fn problems(spec: &str) -> Vec<String> {
        lines(&whole(spec)).into_iter().map(|line| line.trim_start_matches("blackstart.yaml:").to_owned()).collect()
    }

    /// `blackstart.yaml:LINE: MESSAGE (HINT)` of each problem of a file.
    pub(super) fn lines(text: &str) -> Vec<String> {
        let told = parse(text, "blackstart.yaml").expect_err("problems").into_iter();
        told.map(|problem| {
            let origin = problem.origin.expect("an origin");
            format!("{origin}: {}{}", problem.message, problem.hint.map(|hint| format!(" ({hint})")).unwrap_or_default())
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cluster;
    use super::trying::lines;
    use super::*;

    const WHOLE: &str = r#"
apiVersion: blackstart/v1alpha1
kind: Environment
metadata: {name: production}
spec:
  aws: {accountID: "111122223333", region: eu-west-1}
  infrastructure:
    - path: infrastructure/network
  cluster: {eks: {name: production}}
  agent: {flux: {components: clusters/production/flux-system, entrypoint: clusters/production}}
  variables:
    - {kind: ConfigMap, namespace: flux-system, name: cluster-vars, data: {STACK_NAME: prod}}
  secrets:
    - {namespace: flux-system, name: sops-age, key: age.agekey, from: {file: ~/.config/sops/age/keys.txt}}
    - {namespace: flux-system, name: git, key: token, from: {command: [pass, show, git]}}
  restore:
    - {match: {kind: PersistentVolumeClaim, namespace: shop}, rule: newest}
    - {match: {kind: Table}, rule: {at: "2026-01-01T00:00:00Z"}}
"#;

    #[test]
    fn the_documented_example_is_read() {
        let environment = parse(WHOLE, "blackstart.yaml").expect("valid");
        assert_eq!(environment.name, "production");
        assert_eq!(environment.spec.cluster, Some(Cluster { eks: Some("production".into()), ..Cluster::default() }));
        assert_eq!(environment.spec.agent.entrypoint.as_deref(), Some("clusters/production"));
        assert_eq!(environment.spec.variables[0].data["STACK_NAME"], "prod");
        assert_eq!(environment.spec.secrets[1].from, SecretSource::Command(vec!["pass".into(), "show".into(), "git".into()]));
        assert_eq!(environment.spec.secrets[0].origin.as_ref().map(|origin| origin.line), Some(14));
        assert_eq!(environment.spec.restore[1].rule, RestoreRule::At("2026-01-01T00:00:00Z".into()));
    }

    #[test]
    fn every_problem_is_told_at_once_with_line_and_nearest_name() {
        let text = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: x}\nspec:\n  clusterr: {}\n  secrets:\n    - namespace: a\n      name: b\n      key: c\n      from: {env: X, file: y}\n  variables:\n    - {kind: Map, namespace: a, name: b, data: {A: 1}}\n";
        assert_eq!(
            lines(text),
            [
                "blackstart.yaml:5: spec.clusterr: unknown field (did you mean `cluster`?)",
                "blackstart.yaml:12: spec.variables[0].kind: must be `ConfigMap` or `Secret`",
                "blackstart.yaml:12: spec.variables[0].data.A: must be a text (quote numbers)",
                "blackstart.yaml:10: spec.secrets[0].from: must be exactly one of file, env, command, secretsManager, ssm",
            ]
        );
    }

    #[test]
    fn whoever_makes_what_layers_hold_is_one_of_two() {
        let text = |above: &str| {
            format!(
                "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: x}}\nspec:\n  aws:\n    accountID: \"111122223333\"\n    region: eu-west-1\n{above}"
            )
        };
        let above = |more: &str| parse(&text(more), "e.yaml").expect("valid").spec.aws.map(|aws| aws.above);
        assert_eq!([above(""), above("    above: direct\n")], [Some(Above::Controllers), Some(Above::Direct)]);
        assert_eq!(
            lines(&text("    above: blackstart\n")),
            ["blackstart.yaml:8: spec.aws.above: must be `controllers` (in the cluster, the default) or `direct` (by blackstart)"]
        );
    }

    #[test]
    fn a_root_of_argo_cd_is_made_in_git_or_outside() {
        let text =
            |agent: &str| format!("apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: x}}\nspec:\n  agent:\n{agent}");
        let outside = "    argocd:\n      namespace: gitops\n      root: {name: apps, path: charts/apps, values: {stage: prod}}\n";
        let agent = parse(&text(outside), "e.yaml").expect("valid").spec.agent;
        let argocd = agent.argocd.expect("argocd");
        let root = argocd.root.expect("root");
        assert_eq!(
            (argocd.namespace.as_deref(), root.path.as_str(), &root.values["stage"]),
            (Some("gitops"), "charts/apps", &"prod".into())
        );
        assert_eq!(root.origin.map(|origin| origin.line), Some(8));
        assert_eq!(
            lines(&text("    argocd:\n      entrypoint: apps\n      root: {name: a, values: [x]}\n")),
            [
                "blackstart.yaml:8: spec.agent.argocd.root.values: must be a map",
                "blackstart.yaml:8: spec.agent.argocd.root.path: is missing",
                "blackstart.yaml:7: spec.agent.argocd: must be either `entrypoint` (root Applications in Git) or `root` (made outside Git)",
            ]
        );
        assert_eq!(lines(&text("    flux: {}\n    argocd: {}\n")), ["blackstart.yaml:6: spec.agent: must be either `flux` or `argocd`"]);
    }

    #[test]
    fn invalid_yaml_shows_line_column_and_the_line() {
        let problem = parse("apiVersion: blackstart/v1alpha1\nkind: [a\nspec: x\n", "e.yaml").expect_err("invalid").remove(0);
        assert_eq!(problem.rule, "yaml-invalid");
        assert!(problem.column.is_some() && problem.excerpt.is_some(), "{problem:?}");
    }
}
