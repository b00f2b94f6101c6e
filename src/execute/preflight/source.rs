//! Whether the agent will read its sources: each remote is asked with exactly the credentials that the agent gets, and none of ours.

use super::super::secret::fetch;
use super::Given;
use crate::preflight::{Check, Group};
use crate::repo::remote::{Credentials, RemoteError, reach};
use futures::future::join_all;
use std::collections::BTreeMap;

pub(super) async fn look(given: Given<'_>) -> Vec<Check> {
    let sources = given.reading.sources.iter().filter(|(id, _)| id.kind == "GitRepository");
    let declared = sources.filter_map(|(id, source)| Some((id, source.declaration.as_ref()?)));
    let asked = declared.filter_map(|(id, declaration)| {
        let secret = declaration.text("/spec/secretRef/name");
        let url = declaration.text("/spec/url");
        let asked = async move { one(given, &id.to_string(), url, &id.namespace, secret).await.at(declaration.origin.clone()) };
        (!secret.is_empty() && !url.is_empty()).then_some(asked)
    });
    join_all(asked).await
}

async fn one(given: Given<'_>, id: &str, url: &str, namespace: &str, secret: &str) -> Check {
    let cloud = given.lower.map(|lower| lower.cloud);
    let mut data = BTreeMap::new();
    for entry in given.environment.spec.secrets.iter().filter(|entry| entry.namespace == namespace && entry.name == secret) {
        match fetch(&entry.from, &given.environment.base, cloud).await {
            Ok(value) => drop(data.insert(entry.key.clone(), value)),
            // The list of secrets tells why.
            Err(_) => {
                return Check::not_checked(Group::Source, id, format!("key {} of Secret {namespace}/{secret} cannot be had", entry.key));
            }
        }
    }
    if data.is_empty() {
        return Check::not_checked(Group::Source, id, format!("Secret {namespace}/{secret} is not among spec.secrets"));
    }
    let credentials = match Credentials::of(url, data) {
        Ok(credentials) => credentials,
        Err(why) => {
            return Check::blocker(Group::Source, id, format!("Secret {namespace}/{secret} {why}; the agent cannot read {url}"))
                .fix("give what the agent wants as keys of this Secret in spec.secrets (Flux: GitRepository, \"Secret reference\")");
        }
    };
    let what = credentials.words();
    match reach(url, &credentials).await {
        Ok(()) => Check::ok(Group::Source, id, format!("the {what} of Secret {namespace}/{secret} reads {url}")),
        Err(error @ RemoteError::Refused { .. }) if error.is_refusal() => {
            Check::blocker(Group::Source, id, format!("the {what} of Secret {namespace}/{secret} does not read it: {error}"))
                .fix("renew it, give it read access to this repository, and put it where spec.secrets takes it from")
        }
        Err(error) => Check::not_checked(Group::Source, id, error.to_string()),
    }
}
