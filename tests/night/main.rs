//! What a night needs: checks before it, root secrets that stay secret, reports that are kept, a page to print.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]
#![allow(clippy::format_collect, clippy::format_push_string, reason = "short answers and manifests, put together where they are read")]

#[path = "../account/mod.rs"]
mod account;
#[path = "../cluster_server/mod.rs"]
mod cluster_server;
mod preflight;
mod reports;
mod secrets;
