//! `spec.accept`: findings of `verify` that are known and accepted, each with a reason.

use super::super::Accept;
use super::Reader;
use crate::manifest::yaml::Located;

impl Reader<'_> {
    /// One entry.
    pub(super) fn accept(&mut self, node: &Located, path: &str) -> Accept {
        let fields = self.fields(node, path, &["rule", "layer", "file", "match", "reason"]);
        let (rule, reason) = (self.required(&fields, "rule"), self.required(&fields, "reason"));
        let (layer, file) = (self.text(&fields, "layer"), self.text(&fields, "file"));
        let (mut kind, mut namespace, mut name) = (None, None, None);
        if let Some(node) = fields.entries.get("match") {
            let matching = self.fields(node, &format!("{path}.match"), &["kind", "namespace", "name"]);
            kind = self.text(&matching, "kind");
            namespace = self.text(&matching, "namespace");
            name = self.text(&matching, "name");
        }
        Accept { rule, layer, file, kind, namespace, name, reason, origin: Some(self.origin(node.line)) }
    }
}
