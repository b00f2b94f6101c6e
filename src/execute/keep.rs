//! Keeps a run's report where the next person looks for it: in a bucket, or in the cluster.

use crate::aws::{Cloud, CloudError};
use crate::cluster::{Apply, Cluster, ClusterError};
use serde_json::json;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The API server takes no ConfigMap of more than 1 MiB, keys and all (Kubernetes, "ConfigMaps").
const MOST: usize = 1_000_000;

/// Where a report is kept, beside or instead of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `s3://BUCKET/PREFIX`.
    Bucket {
        /// Bucket.
        bucket: String,
        /// Before the names of the files.
        prefix: String,
    },
    /// `configmap://NAMESPACE/NAME`.
    ConfigMap {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(format!("`{text}` names no bucket; write s3://BUCKET/PREFIX"));
            }
            return Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() });
        }
        match text.strip_prefix("configmap://").and_then(|rest| rest.split_once('/')) {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::ConfigMap { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is no place for a report; write a folder, s3://BUCKET/PREFIX or configmap://NAMESPACE/NAME")),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::ConfigMap { namespace, name } => write!(f, "configmap://{namespace}/{name}"),
        }
    }
}

/// Into a bucket, below a folder of the run's id.
pub async fn in_bucket(cloud: &Cloud, bucket: &str, prefix: &str, run: &str, files: &[(&str, String)]) -> Result<(), CloudError> {
    for (name, content) in files {
        let parts: Vec<&str> = [prefix, run, name].into_iter().filter(|part| !part.is_empty()).collect();
        let kind = match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("html") => "text/html; charset=utf-8",
            Some("md") => "text/markdown; charset=utf-8",
            _ => "application/json",
        };
        let call = cloud.s3().put_object().bucket(bucket).key(parts.join("/")).content_type(kind).body(content.clone().into_bytes().into());
        call.send().await.map_err(|error| CloudError::new("s3 PutObject", &error))?;
    }
    Ok(())
}

/// Into a ConfigMap: as many of the files as fit, the most useful first.
pub async fn in_cluster(cluster: &Cluster, namespace: &str, name: &str, files: &[(&str, String)]) -> Result<Vec<String>, ClusterError> {
    let (data, left_out) = fitting(files);
    let labels = json!({"app.kubernetes.io/managed-by": "blackstart"});
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, "labels": labels}, "data": data,
    });
    cluster.apply(&object, &Apply { manager: "blackstart", ..Apply::flux() }).await?;
    Ok(left_out)
}

fn fitting<'f>(files: &'f [(&'f str, String)]) -> (BTreeMap<&'f str, &'f str>, Vec<String>) {
    let (mut data, mut left_out, mut size) = (BTreeMap::new(), Vec::new(), 0);
    for (name, content) in files {
        if size + content.len() > MOST {
            left_out.push((*name).to_owned());
        } else {
            size += content.len();
            data.insert(*name, content.as_str());
        }
    }
    (data, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["s3://reports", "s3://reports/blackstart/production", "configmap://kube-system/last-recovery"] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(text.to_owned()));
        }
        for text in ["s3://", "configmap://name", "configmap://a/b/c", "ftp://x"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_told() {
        let files = [("report.json", "x".repeat(600_000)), ("report.html", "y".repeat(600_000)), ("report.md", "z".to_owned())];
        let (data, left_out) = fitting(&files);
        assert_eq!(data.keys().copied().collect::<Vec<_>>(), ["report.json", "report.md"]);
        assert_eq!(left_out, ["report.html"]);
    }
}
