//! The table of rules, and one file for each.

mod account_missing;
mod argo_app_health;
mod decryption_key;
mod definition_too_late;
mod dependency_elsewhere;
mod field_unknown;
mod found;
mod health_check_missing;
mod identity_missing;
mod image_in_empty_registry;
mod image_mutable;
mod input_unpinned;
mod issuer_lost;
mod kind_from_nowhere;
mod namespace_missing;
mod namespace_too_late;
mod namespace_unnamed;
mod network_behind_agent;
mod object_twice;
mod order_undeclared;
mod prune_missing;
mod release_incomplete;
mod sealed_secret_key;
mod secret_generated;
mod secret_missing;
mod secret_plain;
mod source_unreachable;
mod state_without_restore;
mod store_opens_itself;
mod suspended_awaited;
mod sync_missing;
mod value_at_run_time;
mod value_not_text;
mod wait_missing;
mod waits_for_itself;
mod webhook_blocks_itself;

pub(super) use found::{ACCEPT_INVALID, ACCEPT_UNUSED, IS_ABSENT, never_starts};
pub use identity_missing::proposal;

/// Rules that tell what lacks in the simulated start.
pub(super) const OF_KINDS: &str = definition_too_late::RULE.id;
pub(super) const OF_NAMESPACES: &str = namespace_too_late::RULE.id;
pub(super) const OF_HEALTH: &str = waits_for_itself::RULE.id;
/// Id of the rule whose findings a patch mends.
pub const IDENTITY: &str = identity_missing::RULE.id;

use super::Finding;
use super::facts::Facts;
use crate::problem::Severity;

/// One rule.
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// How bad what it finds is, in most cases.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why that is wrong.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Finds it; none where reading and planning do.
    pub(super) check: Option<fn(&Facts<'_>) -> Vec<Finding>>,
}

/// All rules: those of this room in the order of their severity, then what reading and planning find.
pub static RULES: [&Rule; 35 + found::FOUND.len()] = {
    let own = [
        &definition_too_late::RULE,
        &namespace_too_late::RULE,
        &namespace_missing::RULE,
        &namespace_unnamed::RULE,
        &value_not_text::RULE,
        &waits_for_itself::RULE,
        &webhook_blocks_itself::RULE,
        &health_check_missing::RULE,
        &suspended_awaited::RULE,
        &release_incomplete::RULE,
        &account_missing::RULE,
        &field_unknown::RULE,
        &secret_missing::RULE,
        &store_opens_itself::RULE,
        &decryption_key::RULE,
        &sealed_secret_key::RULE,
        &source_unreachable::RULE,
        &image_in_empty_registry::RULE,
        &issuer_lost::RULE,
        &argo_app_health::RULE,
        &sync_missing::RULE,
        &state_without_restore::RULE,
        &secret_generated::RULE,
        &input_unpinned::RULE,
        &image_mutable::RULE,
        &prune_missing::RULE,
        &value_at_run_time::RULE,
        &network_behind_agent::RULE,
        &order_undeclared::RULE,
        &kind_from_nowhere::RULE,
        &wait_missing::RULE,
        &dependency_elsewhere::RULE,
        &object_twice::RULE,
        &identity_missing::RULE,
        &secret_plain::RULE,
    ];
    let mut all = [&found::FOUND[0]; 35 + found::FOUND.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < own.len() { own[at] } else { &found::FOUND[at - own.len()] };
        at += 1;
    }
    all
};

/// A rule by its id.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.id == id)
}
