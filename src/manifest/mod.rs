//! YAML to resources that know their file and line. Pure; the only room that parses YAML.

pub mod patch;
mod write;
pub mod yaml;

pub use write::write;

use crate::problem::Origin;
use serde::Serialize;
use serde_json::Value;

/// Maps are merged, on all levels; of everything else the second wins.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// What names an object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Group and version, such as `apps/v1` or `v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectId {
    /// An id from its parts.
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }

    /// What names an object; an empty text stands for what it does not say.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        Self::new(text("/apiVersion"), text("/kind"), namespace, text("/metadata/name"))
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The version.
    pub fn version(&self) -> &str {
        self.api_version.rsplit_once('/').map_or(self.api_version.as_str(), |(_, version)| version)
    }
}

/// As in messages: `Deployment shop/api`.
impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// As in `plan -o json`: `[apiVersion, kind, namespace or null, name]`.
impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.api_version, &self.kind, &self.namespace, &self.name).serialize(serializer)
    }
}

/// One declared Kubernetes object (a JSON object with apiVersion, kind and metadata.name).
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The object.
    pub value: Value,
    /// Where it is declared, as far as it can be told after rendering.
    pub origin: Option<Origin>,
}

impl Resource {
    /// A string field by JSON pointer, empty where absent.
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `group/version` or `version`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// Group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// metadata.name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// metadata.namespace.
    pub fn namespace(&self) -> Option<&str> {
        self.value.pointer("/metadata/namespace").and_then(Value::as_str).filter(|namespace| !namespace.is_empty())
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.value.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.value.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// What names it.
    pub fn id(&self) -> ObjectId {
        ObjectId::of(&self.value)
    }
}
