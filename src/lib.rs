//! blackstart: brings a whole Kubernetes environment back from its Git repository.
//!
//! The rooms follow a run, from the files to the report:
//!
//! ```text
//! cli → read ─┬→ repo      Git: revisions, trees, files without checkout
//!             ├→ render    kustomize, substitution, SOPS
//!             └→ layers    what the repository declares, and what a layer holds
//!       plan  ──→ graph    nodes, edges with reasons, order
//!       verify             does a start from nothing converge, by rules
//!       forms              plan and verification as JSON, Markdown, a graph, a page
//!       preflight          what must hold before a start, as data
//!       execute ─┬→ agent  Flux: install, suspend, hand over
//!                ├→ cluster  the Kubernetes API: apply, watch, discover
//!                └→ health   is it ready, by rules
//!       report             events to terminal, JSON lines, tables, pages
//!       runbook            the page for the night
//!       sandbox            real control plane and agent on the loopback
//!       restore, rehearsal what keeps data and how it comes back; disasters
//! ```
//!
//! Invariants, held by the imports of each room:
//! - `environment`, `manifest`, `layers`, `graph`, `plan`, `verify`, `forms`, `preflight`, `runbook`, `health` and `execute::queue` are pure: no tokio,
//!   kube, files or terminal.
//! - `manifest` is the only room that parses YAML.
//! - `execute` never prints; `report` never decides.
//! - Nothing but `cluster` and `agent` writes to a cluster, and nothing is written before all problems of the input are known.

pub mod agent;
pub mod aws;
pub mod cli;
pub mod cluster;
pub mod environment;
pub mod execute;
pub mod forms;
pub mod graph;
pub mod health;
pub mod host;
pub mod layers;
pub mod manifest;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod read;
pub mod rehearsal;
pub mod render;
pub mod repo;
pub mod report;
pub mod restore;
pub mod runbook;
pub mod sandbox;
pub mod verify;
