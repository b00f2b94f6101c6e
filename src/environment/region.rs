//! The same environment in another region: what is other there.

use super::{Environment, Restore};
use crate::problem::{Problem, nearest};
use std::collections::BTreeMap;

/// One entry of `spec.aws.regions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elsewhere {
    /// Variables of `spec.variables` that have another value there.
    pub variables: BTreeMap<String, String>,
    /// Rules that go before those of `spec.restore`.
    pub restore: Vec<Restore>,
}

impl Environment {
    /// It, as it is in that region; an error where `spec.aws` does not name it.
    pub fn in_region(mut self, region: &str) -> Result<Self, Box<Problem>> {
        let refused = |message: String, hint: String| Err(Box::new(Problem::blocks("region-unknown", message).hint(hint)));
        let file = self.file.clone().unwrap_or_else(|| "blackstart.yaml".to_owned());
        let Some(aws) = &mut self.spec.aws else {
            return refused(
                format!("--region {region}: {file} has no spec.aws"),
                "add spec.aws with accountID, region and regions".to_owned(),
            );
        };
        if aws.region == region {
            return Ok(self);
        }
        let Some(elsewhere) = aws.regions.get(region).cloned() else {
            let known: Vec<&str> = std::iter::once(&aws.region).chain(aws.regions.keys()).map(String::as_str).collect();
            let hint = match nearest(region, known.iter().copied()).first() {
                Some(near) => format!("did you mean {near}?"),
                None => format!("say there what is other in it; there is: {}", known.join(", ")),
            };
            return refused(format!("--region {region}: spec.aws.regions of {file} does not name it"), hint);
        };
        region.clone_into(&mut aws.region);
        for variables in &mut self.spec.variables {
            for (name, value) in &mut variables.data {
                if let Some(other) = elsewhere.variables.get(name) {
                    value.clone_from(other);
                }
            }
        }
        self.spec.restore.splice(0..0, elsewhere.restore);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RestoreRule, parse};

    const TEXT: &str = r#"
apiVersion: blackstart/v1alpha1
kind: Environment
metadata: {name: production}
spec:
  aws:
    accountID: "111122223333"
    region: eu-west-1
    regions:
      eu-central-1:
        variables: {REGION: eu-central-1}
        restore: [{match: {kind: Table}, rule: newest}]
  variables:
    - {kind: ConfigMap, namespace: flux-system, name: region, data: {REGION: eu-west-1, STAGE: prod}}
  restore: [{match: {kind: Table}, rule: required}]
"#;

    #[test]
    fn another_region_has_its_variables_and_its_rules_first() {
        let there = parse(TEXT, "e.yaml").expect("valid").in_region("eu-central-1").expect("known");
        assert_eq!(there.spec.aws.map(|aws| aws.region).as_deref(), Some("eu-central-1"));
        let data = &there.spec.variables[0].data;
        assert_eq!((data["REGION"].as_str(), data["STAGE"].as_str()), ("eu-central-1", "prod"));
        let rules: Vec<RestoreRule> = there.spec.restore.into_iter().map(|restore| restore.rule).collect();
        assert_eq!(rules, [RestoreRule::Newest, RestoreRule::Required]);
        let home = parse(TEXT, "e.yaml").expect("valid");
        assert_eq!(home.clone().in_region("eu-west-1"), Ok(home));
    }

    #[test]
    fn a_region_that_is_not_named_is_refused() {
        let refused = |text: &str, region: &str| {
            let problem = parse(text, "e.yaml").expect("valid").in_region(region).expect_err("refused");
            format!("{} ({})", problem.message, problem.hint.unwrap_or_default())
        };
        assert_eq!(
            [refused(TEXT, "eu-central-2"), refused(TEXT, "ap-south-1")],
            [
                "--region eu-central-2: spec.aws.regions of e.yaml does not name it (did you mean eu-central-1?)",
                "--region ap-south-1: spec.aws.regions of e.yaml does not name it (say there what is other in it; there is: eu-west-1, eu-central-1)",
            ]
        );
        let bare = "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {name: x}\n";
        assert_eq!(
            refused(bare, "eu-west-1"),
            "--region eu-west-1: e.yaml has no spec.aws (add spec.aws with accountID, region and regions)"
        );
    }

    #[test]
    fn a_variable_that_nobody_declares_is_told_with_its_line() {
        let text = TEXT.replace("variables: {REGION:", "variables: {REGOIN:");
        let problems = parse(&text, "e.yaml").expect_err("refused");
        let line = problems[0].origin.as_ref().map(|origin| origin.line);
        assert_eq!((problems.len(), line), (1, Some(11)));
        assert_eq!(
            (problems[0].message.as_str(), problems[0].hint.as_deref()),
            ("spec.aws.regions.eu-central-1.variables.REGOIN: is in no entry of spec.variables", Some("did you mean `REGION`?"))
        );
    }
}
