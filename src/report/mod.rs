//! Events to terminal, JSON lines, tables and pages. Decides nothing.

pub mod event;
