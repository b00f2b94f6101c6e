//! What an environment is made of beside its manifests: folders and commands, the values they give, and where the cluster is found.

use super::super::{After, Cluster, Codes, Command, Given, Infrastructure, Outputs, Spec};
use super::{Fields, Reader, SOURCES};
use crate::layers::flux::duration;
use crate::layers::outputs::Output;
use crate::manifest::yaml::{Content, Located};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What a command may take without a `timeout`.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

impl Reader<'_> {
    /// A folder, or a command.
    pub(super) fn infrastructure(&mut self, node: &Located, path: &str, spec: &mut Spec) {
        let fields = self.fields(node, path, &["path", "command"]);
        match (fields.entries.get("path"), fields.entries.get("command")) {
            (Some(_), Some(_)) => self.wrong(node, path, "either a `path` or a `command`"),
            (None, Some(command)) => {
                let command = self.command(command, &format!("{path}.command"));
                if let Some(other) = spec.commands.iter().find(|other| other.name == command.name && !command.name.is_empty()) {
                    let place = other.origin.as_ref().map(|origin| format!(", first in {origin}")).unwrap_or_default();
                    self.problem((node.line, node.column), format!("{path}.command.name: {} stands twice{place}", command.name), None);
                }
                spec.commands.push(command);
            }
            _ => {
                let path = self.required(&fields, "path");
                spec.infrastructure.push(Infrastructure { path, origin: Some(self.origin(node.line)) });
            }
        }
    }

    fn command(&mut self, node: &Located, path: &str) -> Command {
        let known = ["name", "run", "check", "checkCodes", "outputs", "timeout", "env", "after", "folder"];
        let fields = self.fields(node, path, &known);
        let name = self.required(&fields, "name");
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if let (Some(node), false) = (fields.entries.get("name"), is_plain) {
            self.wrong(node, &fields.name("name"), "letters, digits, `-`, `_` and `.` only");
        }
        for key in ["run", "check"] {
            if !fields.entries.contains_key(key) {
                let hint = match key {
                    "check" => {
                        "a program that ends with 0 where it is there, 1 where not, 2 where it differs; [\"false\"] runs the command each time"
                    }
                    _ => "for example: run: [terraform, apply, -auto-approve, -input=false, -no-color]",
                };
                self.problem(fields.place, format!("{path}.{key}: is missing"), Some(hint.to_owned()));
            }
        }
        Command {
            name,
            run: self.words(&fields, "run").unwrap_or_default(),
            check: self.words(&fields, "check").unwrap_or_default(),
            codes: self.codes(&fields),
            outputs: self.words(&fields, "outputs"),
            timeout: self.duration(&fields, "timeout").unwrap_or(PATIENCE),
            env: self.given(&fields, "env", &SOURCES),
            after: self.after(&fields),
            folder: self.text(&fields, "folder").map(PathBuf::from).unwrap_or_default(),
            origin: Some(self.origin(node.line)),
        }
    }

    /// A program and its arguments.
    pub(super) fn words(&mut self, fields: &Fields<'_>, key: &str) -> Option<Vec<String>> {
        let node = fields.entries.get(key)?;
        let words: Option<Vec<String>> = node.items().iter().map(|word| word.text().map(str::to_owned)).collect();
        if let Some(text) = node.text() {
            let list: Vec<&str> = text.split_whitespace().collect();
            let hint = format!("no shell reads it; write {key}: [{}]", list.join(", "));
            let message = format!("{}: must be a list of texts, the program and its arguments, not one text", fields.name(key));
            self.problem((node.line, node.column), message, Some(hint));
            return None;
        }
        match words {
            Some(words) if words.first().is_some_and(|program| !program.is_empty()) => Some(words),
            _ => {
                self.wrong(node, &fields.name(key), "a list of texts: the program and its arguments");
                None
            }
        }
    }

    /// Without the field 0, 1 and 2; with it only the codes that it names.
    fn codes(&mut self, fields: &Fields<'_>) -> Codes {
        let Some(node) = fields.entries.get("checkCodes") else { return Codes::default() };
        let path = fields.name("checkCodes");
        let found = self.fields(node, &path, &["present", "absent", "differs"]);
        let mut code = |key: &str| {
            let node = found.entries.get(key)?;
            let Content::Scalar(Value::Number(number)) = &node.content else {
                self.wrong(node, &format!("{path}.{key}"), "an exit code, 0 to 255");
                return None;
            };
            let code = number.as_i64().and_then(|code| u8::try_from(code).ok());
            if code.is_none() {
                self.wrong(node, &format!("{path}.{key}"), "an exit code, 0 to 255");
            }
            code.map(i32::from)
        };
        let codes = Codes { present: code("present"), absent: code("absent"), differs: code("differs") };
        if codes.present.is_none() && !found.entries.contains_key("present") {
            self.problem((node.line, node.column), format!("{path}.present: is missing"), None);
        }
        let all: Vec<i32> = [codes.present, codes.absent, codes.differs].into_iter().flatten().collect();
        if (1..all.len()).any(|at| all[..at].contains(&all[at])) {
            self.wrong(node, &path, "another exit code for each meaning");
        }
        codes
    }

    pub(super) fn duration(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        let node = fields.entries.get(key)?;
        let found = node.text().and_then(duration).filter(|duration| !duration.is_zero());
        if found.is_none() {
            self.wrong(node, &fields.name(key), "a time such as 15m, 90s or 1h30m");
        }
        found
    }

    /// Texts by name, in clear or from elsewhere.
    pub(super) fn given(&mut self, fields: &Fields<'_>, key: &str, ways: &[&str]) -> BTreeMap<String, Given> {
        let mut env = BTreeMap::new();
        let Some(node) = fields.entries.get(key) else { return env };
        let path = fields.name(key);
        let Content::Map(entries) = &node.content else {
            self.wrong(node, &path, "a map of names to texts or {from: …}");
            return env;
        };
        for (name, _, value) in entries {
            let path = format!("{path}.{name}");
            if let Some(text) = value.text() {
                env.insert(name.clone(), Given::Text(text.to_owned()));
            } else if let Some(from) = value.get("from") {
                self.fields(value, &path, &["from"]);
                if let Some(source) = self.source(from, &format!("{path}.from"), ways) {
                    env.insert(name.clone(), Given::Secret(source));
                }
            } else {
                self.wrong(value, &path, "a text (quote numbers), or {from: …} as in spec.secrets");
            }
        }
        env
    }

    fn after(&mut self, fields: &Fields<'_>) -> Vec<After> {
        let mut after = Vec::new();
        for (index, item) in self.list(fields, "after").iter().enumerate() {
            match item.text().filter(|text| !text.is_empty()) {
                Some(name) => after.push(After { node: node_id(name), origin: Some(self.origin(item.line)) }),
                None => {
                    self.wrong(
                        item,
                        &format!("{}[{index}]", fields.name("after")),
                        "a name such as ec2/VPC/ack-system/shop or command/dns",
                    );
                }
            }
        }
        after
    }

    pub(super) fn outputs(&mut self, node: &Located, path: &str) -> Outputs {
        let fields = self.fields(node, path, &["kind", "namespace", "name", "data"]);
        let kind = self.required(&fields, "kind");
        if let (Some(node), false) = (fields.entries.get("kind"), ["ConfigMap", "Secret", ""].contains(&kind.as_str())) {
            self.wrong(node, &format!("{path}.kind"), "`ConfigMap` or `Secret`");
        }
        let mut data = BTreeMap::new();
        match fields.entries.get("data").map(|node| (node, &node.content)) {
            Some((_, Content::Map(entries))) => {
                for (variable, place, value) in entries {
                    let path = format!("{path}.data.{variable}");
                    if !is_variable(variable) {
                        let hint = Some("layers and manifests use it as ${NAME}".to_owned());
                        self.problem(*place, format!("{path}: must be letters, digits and `_`, and not begin with a digit"), hint);
                    }
                    let value = self.fields(value, &path, &["from", "field"]);
                    let (from, field) = (self.required(&value, "from"), self.required(&value, "field"));
                    let output = Output { variable: variable.clone(), node: node_id(&from), field };
                    data.insert(variable.clone(), (output, Some(self.origin(place.0))));
                }
            }
            Some((node, _)) => self.wrong(node, &format!("{path}.data"), "a map of names to {from, field}"),
            None => self.problem(fields.place, format!("{path}.data: is missing"), None),
        }
        let (namespace, name) = (self.required(&fields, "namespace"), self.required(&fields, "name"));
        Outputs { kind, namespace, name, data, origin: Some(self.origin(node.line)) }
    }

    /// One name, one value: manifests and commands use outputs by their name alone.
    pub(super) fn named_twice(&mut self, spec: &Spec) {
        let mut seen: BTreeMap<&str, &Output> = BTreeMap::new();
        for (output, origin) in spec.outputs.iter().flat_map(|outputs| outputs.data.values()) {
            let place = origin.as_ref().map_or((1, 1), |origin| (origin.line, 1));
            let name = &output.variable;
            if let Some(variables) = spec.variables.iter().find(|variables| variables.data.contains_key(name)) {
                let other = format!("{} {}/{} of spec.variables", variables.kind, variables.namespace, variables.name);
                self.problem(
                    place,
                    format!("spec.outputs: {name} is given by {other} too"),
                    Some("give one of them another name".to_owned()),
                );
            }
            if seen.insert(name, output).is_some_and(|other| other != output) {
                let hint = Some("give one of them another name".to_owned());
                self.problem(place, format!("spec.outputs: {name} stands for two different values"), hint);
            }
        }
    }

    pub(super) fn cluster(&mut self, node: &Located) -> Cluster {
        let fields = self.fields(node, "spec.cluster", &["eks", "kubeconfig", "from", "timeout", "after", "context"]);
        let ways: Vec<&str> = ["eks", "kubeconfig", "from"].into_iter().filter(|way| fields.entries.contains_key(way)).collect();
        if ways.len() > 1 || ways == ["eks"] && fields.entries.contains_key("context") {
            self.wrong(node, "spec.cluster", "one of `eks`, `kubeconfig` and `from`; `context` goes with the last two");
        }
        if let (Some(node), false) = (fields.entries.get("timeout"), ways.contains(&"from")) {
            self.wrong(node, "spec.cluster.timeout", "left out without `from`");
        }
        let eks = fields.entries.get("eks").map(|eks| {
            let eks = self.fields(eks, "spec.cluster.eks", &["name"]);
            self.required(&eks, "name")
        });
        let from = fields.entries.get("from");
        Cluster {
            eks,
            kubeconfig: self.text(&fields, "kubeconfig").map(Into::into),
            from: from.and_then(|from| self.source(from, "spec.cluster.from", &["file", "command", "secretsManager", "ssm"])),
            timeout: self.duration(&fields, "timeout"),
            after: self.after(&fields),
            context: self.text(&fields, "context"),
        }
    }
}

/// `ec2/VPC/ack-system/shop` and `command/dns` as ids of nodes.
fn node_id(name: &str) -> String {
    if name.starts_with("command/") || name.starts_with("aws/") { name.to_owned() } else { format!("aws/{name}") }
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{Given, SecretSource, parse};
    use super::super::trying::{problems, whole};
    use super::*;

    #[test]
    fn a_command_with_all_its_fields_is_read() {
        let text = whole(
            "  infrastructure:\n    - path: network\n    - command:\n        name: dns\n        folder: terraform/dns\n        run: [terraform, apply, -auto-approve]\n        check: [terraform, plan, -detailed-exitcode]\n        checkCodes: {present: 0, differs: 2}\n        outputs: [terraform, output, -json]\n        timeout: 5m\n        env: {TF_VAR_vpc: '${VPC_ID}', TOKEN: {from: {ssm: /dns/token}}}\n        after: [ec2/VPC/ack-system/shop, command/other]\n",
        );
        let spec = parse(&text, "e.yaml").expect("valid").spec;
        assert_eq!(spec.infrastructure.len(), 1);
        let [command] = spec.commands.as_slice() else { panic!("one command") };
        assert_eq!(command.node(), "command/dns");
        assert_eq!(command.codes, Codes { present: Some(0), absent: None, differs: Some(2) });
        assert_eq!(command.timeout, Duration::from_secs(300));
        assert_eq!(command.env["TF_VAR_vpc"], Given::Text("${VPC_ID}".into()));
        assert_eq!(command.env["TOKEN"], Given::Secret(SecretSource::Ssm("/dns/token".into())));
        assert_eq!(
            command.after.iter().map(|after| after.node.as_str()).collect::<Vec<_>>(),
            ["aws/ec2/VPC/ack-system/shop", "command/other"]
        );
    }

    #[test]
    fn all_that_is_wrong_with_commands_is_told_at_once() {
        let found = problems(
            "  infrastructure:\n    - command:\n        name: a b\n        run: terraform apply\n        checkCodes: {present: 0, differs: 0, gone: 1}\n        timeout: soon\n        env: {A: 1, B: {from: {env: X, ssm: Y}}}\n        after: [[x]]\n    - {path: a, command: {}}\n    - command: {name: c, run: [x], check: [y]}\n    - command: {name: c, run: [x], check: [y]}\n",
        );
        assert_eq!(
            found,
            [
                "7: spec.infrastructure[0].command.name: must be letters, digits, `-`, `_` and `.` only",
                "7: spec.infrastructure[0].command.check: is missing (a program that ends with 0 where it is there, 1 where not, 2 where it differs; [\"false\"] runs the command each time)",
                "8: spec.infrastructure[0].command.run: must be a list of texts, the program and its arguments, not one text (no shell reads it; write run: [terraform, apply])",
                "9: spec.infrastructure[0].command.checkCodes.gone: unknown field (known here: present, absent, differs)",
                "9: spec.infrastructure[0].command.checkCodes: must be another exit code for each meaning",
                "10: spec.infrastructure[0].command.timeout: must be a time such as 15m, 90s or 1h30m",
                "11: spec.infrastructure[0].command.env.A: must be a text (quote numbers), or {from: …} as in spec.secrets",
                "11: spec.infrastructure[0].command.env.B.from: must be exactly one of file, env, command, secretsManager, ssm",
                "12: spec.infrastructure[0].command.after[0]: must be a name such as ec2/VPC/ack-system/shop or command/dns",
                "13: spec.infrastructure[1]: must be either a `path` or a `command`",
                "15: spec.infrastructure[3].command.name: c stands twice, first in blackstart.yaml:14",
            ]
        );
    }

    #[test]
    fn outputs_name_one_value_each() {
        let found = problems(
            "  variables:\n    - {kind: ConfigMap, namespace: a, name: b, data: {ZONE: x}}\n  outputs:\n    - kind: Map\n      namespace: a\n      name: b\n      data:\n        1X: {from: ec2/VPC/a/b, field: vpcID}\n        ZONE: {from: command/dns, field: zone}\n        ID: {from: ec2/VPC/a/b, fild: vpcID}\n    - {kind: Secret, namespace: a, name: c, data: {ID: {from: command/dns, field: id}}}\n",
        );
        assert_eq!(
            found,
            [
                "8: spec.outputs[0].kind: must be `ConfigMap` or `Secret`",
                "12: spec.outputs[0].data.1X: must be letters, digits and `_`, and not begin with a digit (layers and manifests use it as ${NAME})",
                "14: spec.outputs[0].data.ID.fild: unknown field (did you mean `field`?)",
                "14: spec.outputs[0].data.ID.field: is missing",
                "13: spec.outputs: ZONE is given by ConfigMap a/b of spec.variables too (give one of them another name)",
                "15: spec.outputs: ID stands for two different values (give one of them another name)",
            ]
        );
    }

    #[test]
    fn a_cluster_comes_from_one_place() {
        let cluster =
            |spec: &str| parse(&whole(&format!("  cluster: {spec}\n")), "e.yaml").map(|environment| environment.spec.cluster.unwrap());
        let found =
            cluster("{from: {ssm: /k3s/kubeconfig}, timeout: 5m, context: k3s, after: [ec2/Instance/ack-system/k3s]}").expect("valid");
        assert_eq!(found.from, Some(SecretSource::Ssm("/k3s/kubeconfig".into())));
        assert_eq!((found.timeout, found.context.as_deref()), (Some(Duration::from_secs(300)), Some("k3s")));
        assert_eq!(found.after[0].node, "aws/ec2/Instance/ack-system/k3s");
        assert_eq!(
            problems("  cluster: {eks: {name: a}, from: {env: X}, timeout: 1s}\n"),
            [
                "5: spec.cluster: must be one of `eks`, `kubeconfig` and `from`; `context` goes with the last two",
                "5: spec.cluster.from.env: unknown field (known here: file, command, secretsManager, ssm)",
                "5: spec.cluster.from: must be exactly one of file, command, secretsManager, ssm",
            ]
        );
        assert_eq!(problems("  cluster: {timeout: 1s}\n"), ["5: spec.cluster.timeout: must be left out without `from`"]);
    }
}
