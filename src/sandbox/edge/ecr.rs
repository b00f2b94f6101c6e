//! Pull-through cache rules of ECR, which moto has not; the rest of ECR is moto's.

use super::call::{Answer, Asked};
use super::lock;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// All rules, by region and prefix.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Mutex<BTreeMap<(String, String), Value>>,
}

impl Rules {
    /// The answer to a call about rules; none for any other.
    pub(super) fn answer(&self, asked: &Asked) -> Option<Answer> {
        let verb = asked.operation.strip_suffix("PullThroughCacheRules").or_else(|| asked.operation.strip_suffix("PullThroughCacheRule"));
        let verb = verb.filter(|_| asked.service == "ecr")?;
        let given = asked.json();
        let prefix = given["ecrRepositoryPrefix"].as_str().unwrap_or_default();
        let place = (asked.region.clone(), prefix.to_owned());
        let now = jiff::Timestamp::now().as_second();
        let mut rules = lock(&self.rules);
        let refused = |code: &str| Answer::refused("ecr", 400, code, &format!("pull through cache rule with prefix '{prefix}'"));
        let answer = match (verb, rules.get_mut(&place)) {
            ("Create", Some(_)) => return Some(refused("PullThroughCacheRuleAlreadyExistsException")),
            ("Create", None) => {
                let mut rule = given.clone();
                (rule["createdAt"], rule["updatedAt"]) = (now.into(), now.into());
                rules.insert(place, rule.clone());
                rule
            }
            ("Describe", _) => {
                let wanted = given["ecrRepositoryPrefixes"].as_array();
                let is_wanted = |rule: &Value| wanted.is_none_or(|wanted| wanted.contains(&rule["ecrRepositoryPrefix"]));
                let of_region = rules.iter().filter(|((region, _), _)| *region == asked.region).map(|(_, rule)| rule);
                let found: Vec<&Value> = of_region.filter(|rule| is_wanted(rule)).collect();
                if wanted.is_some_and(|wanted| wanted.len() > found.len()) {
                    return Some(refused("PullThroughCacheRuleNotFoundException"));
                }
                json!({"pullThroughCacheRules": found})
            }
            ("Update", Some(rule)) => {
                for (key, value) in given.as_object().into_iter().flatten() {
                    rule[key] = value.clone();
                }
                rule["updatedAt"] = now.into();
                rule.clone()
            }
            ("Delete", Some(_)) => rules.remove(&place).unwrap_or_default(),
            _ => return Some(refused("PullThroughCacheRuleNotFoundException")),
        };
        Some(Answer::json(StatusCode::OK, &answer))
    }
}
