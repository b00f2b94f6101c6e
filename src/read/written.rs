//! Secrets and encrypted documents as they stand in the files, before anything is decrypted or replaced.

use super::Reading;
use crate::manifest::Resource;
use crate::manifest::yaml::{chunks, documents};
use crate::problem::Origin;
use std::collections::BTreeSet;

/// All such documents of the files that the layers' objects come from.
pub fn written(reading: &Reading) -> Vec<Resource> {
    let objects = reading.layers.iter().flat_map(|read| &read.objects).filter_map(|object| object.origin.as_ref());
    let files: BTreeSet<&str> = objects.map(|origin| origin.file.as_str()).collect();
    let mut found = Vec::new();
    for file in files {
        let Some(text) = reading.text(file) else { continue };
        for (before, chunk) in chunks(&text) {
            if !chunk.contains("Secret") && !chunk.contains("sops:") {
                continue;
            }
            for document in documents(chunk).unwrap_or_default() {
                let resource =
                    Resource { value: document.value, origin: Some(Origin { file: file.to_owned(), line: before + document.line }) };
                if resource.kind() == "Secret" || resource.value.get("sops").is_some() {
                    found.push(resource);
                }
            }
        }
    }
    found
}
