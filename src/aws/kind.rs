//! What blackstart asks of a kind of cloud resource.

use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Change, Declared, Difference, Schema, Tags, put};
use crate::restore::Backup;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A declared resource with what is known of it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The manifest and the facts of its kind.
    pub declared: Declared,
    /// `spec` with its references resolved, as far as they are known.
    pub spec: Value,
    /// Paths that are not known yet; they are absent from `spec`.
    pub unknown: Vec<String>,
    /// Tags to make it with: those that Git declares, and ours.
    pub tags: BTreeMap<String, String>,
    /// The same for each attempt of one run to make this resource, for calls that take a client token (32 hex digits).
    pub token: String,
    /// The backup that it is made from, where it lost its data: what `Kind::backups` calls it.
    pub backup: Option<String>,
}

impl Wanted {
    /// A text at a path of the spec.
    pub fn text(&self, path: &str) -> Option<&str> {
        crate::layers::infrastructure::at(&self.spec, path).and_then(Value::as_str)
    }

    /// A number at a path of the spec.
    pub fn number(&self, path: &str) -> Option<i64> {
        crate::layers::infrastructure::at(&self.spec, path).and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// A truth at a path of the spec.
    pub fn flag(&self, path: &str) -> Option<bool> {
        crate::layers::infrastructure::at(&self.spec, path).and_then(Value::as_bool)
    }

    /// The texts of a list at a path of the spec.
    pub fn texts(&self, path: &str) -> Vec<String> {
        let list = crate::layers::infrastructure::at(&self.spec, path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Whether a living resource can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Ready,
    /// Not yet: AWS' own word for its state.
    Pending(String),
    /// It never will: AWS' words.
    Failed(String),
    /// It is being deleted, or scheduled to be; it counts as gone.
    Leaving(String),
}

/// A living resource in the words of its manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Living {
    /// What AWS calls it: `vpc-0a1…`, a name, an ARN.
    pub id: String,
    /// The honoured fields of `spec` as they live, ACK's names and shapes; what cannot be read is absent.
    pub spec: Value,
    /// `status` as ACK would write it: IDs, `ackResourceMetadata.arn`, endpoints.
    pub status: Value,
    /// Tags, those of AWS itself (`aws:`) left out.
    pub tags: BTreeMap<String, String>,
    /// Whether it can be used.
    pub state: State,
    /// When it was made, RFC 3339, where AWS tells.
    pub created: Option<String>,
}

impl Living {
    /// Whether an ACK controller tends it: it has the tag that all of them set.
    pub fn is_tended(&self) -> bool {
        self.tags.contains_key("services.k8s.aws/controller-version")
    }

    /// What others may refer to: the status over the spec, and `arn`.
    pub fn outputs(&self) -> Value {
        let mut all = self.spec.as_object().cloned().unwrap_or_default();
        all.extend(self.status.as_object().cloned().unwrap_or_default());
        if let Some(arn) = self.status.pointer("/ackResourceMetadata/arn") {
            all.insert("arn".into(), arn.clone());
        }
        Value::Object(all)
    }
}

/// One kind: its facts and its calls. All calls are safe to repeat.
///
/// `create` makes one create call, with tags and token in it where the API takes them, and nothing else: what needs further
/// calls (attachments, rules, policies) is told as a difference by the next look and done by `update`, so that a run that
/// dies between two calls is completed by the next.
#[async_trait]
pub trait Kind: Send + Sync {
    /// Its facts.
    fn schema(&self) -> &'static Schema;

    /// All living resources that any of these could be, with few calls: lists and filters, no call for each resource where the
    /// API has another way. References in the specs may be unknown: never filter by what only a living parent tells.
    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError>;

    /// Makes it. The answer may be incomplete; it is looked at next.
    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError>;

    /// Changes what differs, in place, and completes what `create` began.
    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError>;

    /// The same resource now; none where it is gone.
    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError>;

    /// Deletes it; not an error where it is gone.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError>;

    /// Fields of the status that ACK's controller must find in an object that it adopts, beside ID and ARN.
    fn adopted_with(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is lost with it, in a few words, as far as one call tells it: `1204 items, 3 MiB`. None where it holds nothing.
    async fn holds(&self, _cloud: &Cloud, _living: &Living) -> Result<Option<String>, CloudError> {
        Ok(None)
    }

    /// Removes what it holds and AWS would not delete with it: objects of a bucket, images of a repository.
    async fn empty(&self, _cloud: &Cloud, _living: &Living) -> Result<(), CloudError> {
        Ok(())
    }

    /// Backups of those that are gone, each with the position of its manifest; `create` takes one of them in [`Wanted::backup`].
    async fn backups(&self, _cloud: &Cloud, _wanted: &[Wanted]) -> Result<Vec<(usize, Backup)>, CloudError> {
        Ok(Vec::new())
    }

    /// Seconds between two looks while it is pending: the provider's own minimum.
    fn poll(&self) -> u32 {
        2
    }
}

/// Sets these tags, others stay: an update to a manifest that declares them and nothing else.
pub async fn mark(cloud: &Cloud, declared: &Declared, living: &Living, tags: &BTreeMap<String, String>) -> Result<(), CloudError> {
    let (path, value) = match declared.schema.tags {
        Tags::None => return Ok(()),
        Tags::List(path) => (path, tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()),
        Tags::Map(path) => (path, json!(tags)),
    };
    let Some(kind) = super::kind(declared.schema) else { return Ok(()) };
    let mut spec = json!({});
    put(&mut spec, path, value);
    let mut declared = declared.clone();
    declared.resource.value["spec"] = spec.clone();
    let wanted = Wanted { spec, unknown: Vec::new(), tags: tags.clone(), token: String::new(), backup: None, declared };
    let difference = Difference { path: "tags", declared: json!(tags), living: json!(living.tags), change: Change::InPlace };
    kind.update(cloud, &wanted, living, &[difference]).await
}

/// Bytes as people say them.
pub(super) fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "bytes";
    let (mut whole, mut rest) = (bytes, 0);
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, next);
    }
    if whole < 10 && unit != "bytes" { format!("{whole}.{rest} {unit}") } else { format!("{whole} {unit}") }
}

/// Whether a difference is at this path.
pub fn differs(differences: &[Difference], path: &str) -> bool {
    differences.iter().any(|difference| difference.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_with_two_digits_at_least() {
        for (bytes, expected) in [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10 MiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
