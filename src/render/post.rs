//! `spec.postRenderers` of a HelmRelease: kustomize over what the chart gives, one after the other (helm-controller
//! `internal/postrender`, `Kustomize.Run`).

use super::cache::Cache;
use super::{RenderError, Renderer, built};
use crate::manifest::{ObjectId, Resource, write};
use crate::problem::Origin;
use crate::repo::hex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::sync::atomic::Ordering;

/// The one file of a build.
const FILE: &str = "all.yaml";

impl Renderer {
    /// Objects after the post-renderers; each keeps its place. What is private reaches no disk.
    pub(super) fn post_rendered(
        &self,
        mut objects: Vec<Resource>,
        renderers: &[Value],
        is_private: bool,
    ) -> Result<Vec<Resource>, RenderError> {
        for renderer in renderers.iter().filter_map(|renderer| renderer.get("kustomize")).filter_map(kustomization) {
            objects = self.post_render(&objects, &renderer, is_private)?;
        }
        Ok(objects)
    }

    fn post_render(&self, objects: &[Resource], kustomization: &Value, is_private: bool) -> Result<Vec<Resource>, RenderError> {
        let text = objects.iter().fold(String::new(), |text, object| text + "---\n" + &write(&object.value));
        let cache = self.cache.as_ref().filter(|_| !is_private);
        let key = || hex(&Sha256::digest(json!(["post", kustomization, text]).to_string()));
        let entry = cache.map(|cache| (cache, key()));
        let cached = entry.as_ref().and_then(|(cache, key): &(&Cache, String)| cache.get(key));
        let output = if let Some(output) = cached {
            output
        } else {
            let output = self.kustomized_text(&text, kustomization, is_private)?;
            if let Some((cache, key)) = &entry {
                cache.put(key, &output);
            }
            output
        };
        let mut origins: HashMap<ObjectId, Option<Origin>> = objects.iter().map(|object| (object.id(), object.origin.clone())).collect();
        let placed = |mut object: Resource| {
            object.origin = origins.remove(&object.id()).flatten();
            object
        };
        Ok(built(&output)?.into_iter().map(placed).collect())
    }

    fn kustomized_text(&self, text: &str, kustomization: &Value, is_private: bool) -> Result<String, RenderError> {
        if is_private && !self.folder.in_memory() {
            return Err(RenderError::NoMemory);
        }
        let folder = self.folder.path().join(format!("post-{}", self.mirrors.fetch_add(1, Ordering::Relaxed)));
        let failed = |source| RenderError::Read { path: FILE.to_owned(), source };
        let put = |name: &str, text: &str| {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name));
            file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).map_err(failed)
        };
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let files = put(FILE, text).and_then(|()| put("kustomization.yaml", &kustomization.to_string()));
        let output = files.and_then(|()| self.run(&folder, &[&folder]));
        let _ = fs::remove_dir_all(&folder);
        output
    }
}

/// The kustomization of one post-renderer; none where it changes nothing. The two older kinds of patches are those of `v2beta1`.
fn kustomization(asked: &Value) -> Option<Value> {
    let list = |key: &str| asked.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut patches = list("patches");
    patches.extend(list("patchesStrategicMerge").iter().map(|patch| json!({"patch": write(patch)})));
    patches.extend(list("patchesJson6902").iter().map(|entry| {
        let patch = entry.get("patch").map(write).unwrap_or_default();
        json!({"patch": patch, "target": entry.get("target")})
    }));
    let images = list("images");
    if patches.is_empty() && images.is_empty() {
        return None;
    }
    let mut map = Map::from_iter([
        ("apiVersion".to_owned(), json!("kustomize.config.k8s.io/v1beta1")),
        ("kind".to_owned(), json!("Kustomization")),
        ("resources".to_owned(), json!([FILE])),
    ]);
    for (key, list) in [("patches", patches), ("images", images)] {
        if !list.is_empty() {
            map.insert(key.to_owned(), list.into());
        }
    }
    Some(map.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_patches_become_patches() {
        let asked = json!({
            "patches": [{"patch": "a"}],
            "patchesStrategicMerge": [{"kind": "Service", "metadata": {"name": "x"}}],
            "patchesJson6902": [{"target": {"kind": "Service", "name": "x"}, "patch": [{"op": "remove", "path": "/spec"}]}],
            "images": [{"name": "nginx", "newTag": "1"}],
        });
        let found = kustomization(&asked).expect("it changes something");
        assert_eq!(
            found["patches"],
            json!([
                {"patch": "a"},
                {"patch": "kind: Service\nmetadata:\n  name: x\n"},
                {"patch": "- op: remove\n  path: /spec\n", "target": {"kind": "Service", "name": "x"}},
            ])
        );
        assert_eq!((&found["resources"], &found["images"][0]["newTag"]), (&json!(["all.yaml"]), &json!("1")));
        assert_eq!(kustomization(&json!({"images": []})), None);
    }
}
