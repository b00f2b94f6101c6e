//! EC2: networks in `network`, machines in `compute`, rules of security groups in `security`.

mod compute;
mod network;
mod security;

use super::kind::Kind;

pub(super) const KINDS: &[&dyn Kind] = &[];
