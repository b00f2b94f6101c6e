//! What moto forgets of a table that comes from a backup: how it is billed and encrypted.

use super::call::{Answer, Asked};
use super::lock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Tables that were restored, by region and name, with what is told of them beside moto's own words.
#[derive(Debug, Default)]
pub(super) struct Tables {
    restored: Mutex<BTreeMap<(String, String), Value>>,
}

impl Tables {
    /// Notes what a call that moto has carried out says of a table.
    pub(super) fn remember(&self, asked: &Asked) {
        if asked.service != "dynamodb" {
            return;
        }
        let given = asked.json();
        let name = given["TargetTableName"].as_str().or(given["TableName"].as_str()).unwrap_or_default();
        let place = (asked.region.clone(), name.to_owned());
        let mut restored = lock(&self.restored);
        match asked.operation.as_str() {
            "RestoreTableFromBackup" => {
                let billing = given.get("BillingModeOverride").map(|mode| json!({"BillingMode": mode}));
                let encryption = given.get("SSESpecificationOverride").filter(|sse| sse["Enabled"] == true);
                let encryption =
                    encryption.map(|sse| json!({"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": sse["KMSMasterKeyId"]}));
                restored.insert(place, json!({"BillingModeSummary": billing, "SSEDescription": encryption}));
            }
            "UpdateTable" => {
                if let (Some(table), Some(mode)) = (restored.get_mut(&place), given.get("BillingMode")) {
                    table["BillingModeSummary"] = json!({"BillingMode": mode});
                }
            }
            "DeleteTable" => drop(restored.remove(&place)),
            _ => {}
        }
    }

    /// moto's answer with what it forgot.
    pub(super) fn told(&self, asked: &Asked, answer: Answer) -> Answer {
        let is_about =
            asked.service == "dynamodb" && ["DescribeTable", "RestoreTableFromBackup", "UpdateTable"].contains(&asked.operation.as_str());
        if !is_about || !answer.status.is_success() {
            return answer;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
        let field = if body.get("Table").is_some() { "Table" } else { "TableDescription" };
        let name = body[field]["TableName"].as_str().unwrap_or_default().to_owned();
        let restored = lock(&self.restored);
        let Some(known) = restored.get(&(asked.region.clone(), name)) else { return answer };
        for (key, value) in known.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            body[field][key] = value.clone();
        }
        Answer { body: body.to_string().into(), ..answer }
    }
}
