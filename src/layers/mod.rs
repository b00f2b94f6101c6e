//! What a repository declares: layers, their sources, and what one layer asks of its rendering and its readiness.
//! Pure: takes resources, gives layers of Flux (`flux`; `operator` for what the Flux Operator makes of its own objects) and Argo CD
//! (`argo`).

pub mod argo;
pub mod flux;
pub mod infrastructure;
pub mod operator;
pub mod outputs;
pub mod scope;
mod template;

use serde::{Deserialize, Serialize};

/// Names a layer: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl LayerId {
    /// From its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Id of its node in graph, plan and events: `layer/namespace/name`.
    pub fn node(&self) -> String {
        format!("layer/{self}")
    }
}

impl std::fmt::Display for LayerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for LayerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Names a source object: `Kind/namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct SourceId {
    /// GitRepository, OCIRepository, Bucket or ExternalArtifact.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl SourceId {
    /// Whether its files are packed by somebody: any folder of a repository may be what is in it, while a GitRepository is all of one.
    pub fn is_packed(&self) -> bool {
        ["OCIRepository", "Bucket", "ExternalArtifact"].contains(&self.kind.as_str())
    }
}

impl std::fmt::Display for SourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

impl Serialize for SourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
