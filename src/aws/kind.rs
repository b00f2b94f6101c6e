//! What blackstart asks of a kind of cloud resource.

use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Declared, Difference, Schema};
use async_trait::async_trait;
use serde_json::Value;
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

    /// Seconds between two looks while it is pending: the provider's own minimum.
    fn poll(&self) -> u32 {
        2
    }
}

/// Whether a difference is at this path.
pub fn differs(differences: &[Difference], path: &str) -> bool {
    differences.iter().any(|difference| difference.path == path)
}
