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
            if !holds_word(chunk, "Secret") && !chunk.contains("sops:") {
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

/// Whether a word stands in a text by itself: `Secret`, and not `ExternalSecret`.
fn holds_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let is_letter = |c: char| c.is_alphanumeric();
        !text[..at].ends_with(is_letter) && !text[at + word.len()..].starts_with(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::holds_word;

    #[test]
    fn a_kind_that_ends_so_is_another_one() {
        assert!(["kind: Secret\n", "{kind: Secret, x: y}", "kind: \"Secret\""].into_iter().all(|text| holds_word(text, "Secret")));
        assert!(!["kind: ExternalSecret", "kind: SecretStore", "secretRef"].into_iter().any(|text| holds_word(text, "Secret")));
    }
}
