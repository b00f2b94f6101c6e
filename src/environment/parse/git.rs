//! `spec.git`: whose signatures the repository's commits must carry.

use super::super::Verify;
use super::Reader;
use crate::manifest::yaml::Located;

impl Reader<'_> {
    /// `spec.git`.
    pub(super) fn git(&mut self, node: &Located) -> Option<Verify> {
        let fields = self.fields(node, "spec.git", &["verify"]);
        let node = *fields.entries.get("verify")?;
        let path = "spec.git.verify";
        let fields = self.fields(node, path, &["allowedSigners", "openPGPKeys", "since"]);
        let allowed_signers = self.text(&fields, "allowedSigners");
        let mut openpgp_keys = Vec::new();
        for (index, item) in self.list(&fields, "openPGPKeys").iter().enumerate() {
            match item.text() {
                Some(text) if !text.is_empty() => openpgp_keys.push(text.to_owned()),
                _ => self.wrong(item, &format!("{path}.openPGPKeys[{index}]"), "the path of a file"),
            }
        }
        if allowed_signers.is_none() && openpgp_keys.is_empty() {
            self.wrong(node, path, "a map with `allowedSigners`, `openPGPKeys` or both: files with the keys that count");
        }
        let since = self.text(&fields, "since");
        let is_id = |text: &str| [40, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if let (Some(node), Some(false)) = (fields.entries.get("since"), since.as_deref().map(is_id)) {
            // A branch or a tag goes where whoever pushes it wants.
            self.wrong(node, &format!("{path}.since"), "the whole id of a commit, 40 hex digits in quotes");
        }
        Some(Verify { allowed_signers, openpgp_keys, since, origin: Some(self.origin(node.line)) })
    }
}
