//! S3.

use super::kind::Kind;

pub(super) const KINDS: &[&dyn Kind] = &[];
