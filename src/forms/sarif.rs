//! SARIF 2.1.0, which code scanning of forges reads (OASIS, sarif-v2.1.0).

use crate::problem::Severity;
use crate::verify::rules::{RULES, Rule};
use crate::verify::{Finding, Verification};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// One run with all rules and all findings; what is accepted is suppressed, with its reason.
pub fn sarif(found: &Verification) -> String {
    let rules: Vec<Value> = RULES.iter().map(|rule| descriptor(rule)).collect();
    let results: Vec<Value> = found.findings.iter().chain(&found.accepted).map(result).collect();
    super::json(&json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "blackstart", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "automationDetails": {"id": format!("blackstart/{}/", found.environment)},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Blocks => "error",
        Severity::Differs => "warning",
        Severity::Risk => "note",
    }
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": format!("What to do: {}.", rule.fix)},
        "defaultConfiguration": {"level": level(rule.severity)},
    })
}

fn result(finding: &Finding) -> Value {
    let problem = &finding.problem;
    let hint = problem.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let mut result = json!({
        "ruleId": problem.rule,
        "level": level(problem.severity),
        "message": {"text": format!("{}{hint}", problem.message)},
        "partialFingerprints": {"blackstart/v1": digest(&finding.fingerprint())},
    });
    if let Some(index) = RULES.iter().position(|rule| rule.id == problem.rule) {
        result["ruleIndex"] = index.into();
    }
    if let Some(origin) = &problem.origin {
        // A file of another repository has the name of its source before it; it is no path here.
        let region = problem
            .column
            .map_or_else(|| json!({"startLine": origin.line}), |column| json!({"startLine": origin.line, "startColumn": column}));
        result["locations"] = json!([{"physicalLocation": {"artifactLocation": {"uri": uri(&origin.file)}, "region": region}}]);
    }
    if let Some(accepted) = &finding.accepted {
        result["suppressions"] = json!([{"kind": "inSource", "justification": accepted.reason}]);
    }
    result
}

/// A relative reference (RFC 3986): what may not stand in a path is written as `%XX`.
fn uri(file: &str) -> String {
    let mut text = String::new();
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).fold(String::new(), |mut done, byte| {
        let _ = write!(done, "{byte:02x}");
        done
    })
}
