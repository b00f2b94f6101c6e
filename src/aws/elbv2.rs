//! Elastic Load Balancing, version 2.

use super::kind::Kind;

pub(super) const KINDS: &[&dyn Kind] = &[];
