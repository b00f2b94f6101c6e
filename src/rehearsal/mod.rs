//! A disaster in a sandbox: what is marked before, what goes, and whether it came back.
//!
//! ```text
//! disaster  what goes, as data: by name or from a file (pure)
//! marks     marked data in volumes, tables, queues and buckets, and backups of it
//! strike    deletes it, in the sandbox's account and cluster
//! ```
//!
//! Never: an account that is not a sandbox's own.

pub mod disaster;
pub mod marks;
pub mod strike;

pub use disaster::Disaster;
