//! The Secret that opens a secret store comes out of that store.

use super::{Finding, Rule};
use crate::manifest::Resource;
use crate::problem::Severity;
use crate::verify::facts::Facts;
use crate::verify::objects::{opens_store, secrets_made};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: Rule = Rule {
    id: "store-opens-itself",
    severity: Severity::Blocks,
    title: "A secret store is opened by a Secret out of itself",
    why: "An ExternalSecret keeps the store's own token up to date in a living cluster. In a new one the token is not there, so the store \
          cannot be opened, and so the token never comes: everything that needs a secret waits for ever. The first one was written by hand.",
    fix: "name the Secret in spec.secrets of the environment: it is written first, and the ExternalSecret takes it over",
    check: Some(check),
};

/// Kind, namespace (none for a store of the whole cluster) and name.
type Store = (String, Option<String>, String);

fn check(facts: &Facts<'_>) -> Vec<Finding> {
    let spec = &facts.environment().spec;
    let mut given: BTreeSet<(String, String)> = spec.secrets.iter().map(|secret| (secret.namespace.clone(), secret.name.clone())).collect();
    let plain = facts.objects().map(|(_, object)| object).filter(|object| object.kind() == "Secret" && object.group().is_empty());
    given.extend(plain.map(|secret| (secret.namespace().unwrap_or("default").to_owned(), secret.name().to_owned())));
    // Out of which store each Secret is made, and which Secrets open each store.
    let mut made: BTreeMap<(String, String), (Store, &Resource)> = BTreeMap::new();
    let mut opened: BTreeMap<Store, BTreeSet<(String, String)>> = BTreeMap::new();
    for (_, object) in facts.objects() {
        if object.kind() == "ExternalSecret" {
            made.extend(secrets_made(object).into_iter().map(|secret| (secret, (reference(object), object))));
        }
        if object.kind().ends_with("SecretStore") {
            opened.insert(identity(object), opens_store(object));
        }
    }
    let mut found = Vec::new();
    for (position, object) in facts.objects().filter(|(_, object)| object.kind().ends_with("SecretStore")) {
        let own = identity(object);
        for secret in opened.get(&own).into_iter().flatten() {
            if leads_back(secret, &own, &given, &made, &opened)
                && let Some((_, maker)) = made.get(secret)
            {
                let message = format!(
                    "{}: opened by Secret {}/{}, which only {} makes, out of this store",
                    object.id(),
                    secret.0,
                    secret.1,
                    maker.id()
                );
                let hint =
                    format!("add to spec.secrets of the environment: {{namespace: {}, name: {}, key: …, from: {{…}}}}", secret.0, secret.1);
                found.push(Finding::new(&RULE, message).of(facts.layer(position)).about(object).hint(hint));
            }
        }
    }
    found
}

fn identity(store: &Resource) -> Store {
    let namespace = store.namespace().filter(|_| !store.kind().starts_with("Cluster"));
    (store.kind().to_owned(), namespace.map(str::to_owned), store.name().to_owned())
}

/// The store that an ExternalSecret names.
fn reference(object: &Resource) -> Store {
    let kind = Some(object.text("/spec/secretStoreRef/kind")).filter(|kind| !kind.is_empty()).unwrap_or("SecretStore");
    let namespace = object.namespace().filter(|_| !kind.starts_with("Cluster"));
    (kind.to_owned(), namespace.map(str::to_owned), object.text("/spec/secretStoreRef/name").to_owned())
}

/// Whether a Secret can only be made out of a store, however many stores stand between.
fn leads_back(
    secret: &(String, String),
    store: &Store,
    given: &BTreeSet<(String, String)>,
    made: &BTreeMap<(String, String), (Store, &Resource)>,
    opened: &BTreeMap<Store, BTreeSet<(String, String)>>,
) -> bool {
    let (mut seen, mut left) = (BTreeSet::new(), vec![secret]);
    while let Some(at) = left.pop() {
        if given.contains(at) || !seen.insert(at) {
            continue;
        }
        let Some((from, _)) = made.get(at) else { continue };
        if from == store {
            return true;
        }
        left.extend(opened.get(from).into_iter().flatten());
    }
    false
}
