//! Identity providers that roles trust by OpenID Connect, such as the issuer of a cluster.

use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{given, tag_map, tags, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field};
use async_trait::async_trait;
use aws_sdk_iam::operation::get_open_id_connect_provider::GetOpenIdConnectProviderOutput;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

static OPEN_ID_CONNECT_PROVIDER: Schema = Schema {
    service: "iam",
    kind: "OpenIDConnectProvider",
    identity: Identity::Name(&["url"]),
    fields: &[field("clientIDs").set(), field("thumbprints").set(), field("url").fixed()],
    references: &[],
    tags: Tags::List("tags"),
    // It holds the URL without its scheme.
    arn: None,
    seconds: 2,
};

pub(super) struct OpenIdConnectProvider;

#[async_trait]
impl Kind for OpenIdConnectProvider {
    fn schema(&self) -> &'static Schema {
        &OPEN_ID_CONNECT_PROVIDER
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let issuers: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("url")).map(issuer).collect();
        let there = cloud.iam().list_open_id_connect_providers().send().await;
        let there = there.map_err(|error| CloudError::new("iam ListOpenIDConnectProviders", &error))?;
        let arns = there.open_id_connect_provider_list().iter().filter_map(|entry| entry.arn());
        let wanted = arns.filter(|arn| arn.split_once('/').is_some_and(|(_, issuer)| issuers.contains(issuer)));
        let found = try_join_all(wanted.map(|arn| read(cloud, arn))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "iam CreateOpenIDConnectProvider";
        let call = given!(cloud.iam().create_open_id_connect_provider().set_tags(tags(&wanted.tags)?), &wanted.spec;
            "clientIDs" set_client_id_list,
            "thumbprints" set_thumbprint_list,
            "url" set_url,
        );
        let made = call.send().await.map_err(|error| CloudError::new(OPERATION, &error))?;
        let arn = made.open_id_connect_provider_arn().ok_or_else(|| CloudError::malformed(OPERATION, "OpenIDConnectProviderArn"))?;
        Ok(Living {
            id: arn.to_owned(),
            spec: wanted.spec.clone(),
            status: json!({"ackResourceMetadata": {"arn": arn}}),
            tags: BTreeMap::new(),
            state: State::Ready,
            created: None,
        })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let arn = &living.id;
        if differs(differences, "thumbprints") {
            let call = cloud.iam().update_open_id_connect_provider_thumbprint().open_id_connect_provider_arn(arn);
            let call = given!(call, &wanted.spec; "thumbprints" set_thumbprint_list);
            call.send().await.map_err(|error| CloudError::new("iam UpdateOpenIDConnectProviderThumbprint", &error))?;
        }
        if differs(differences, "clientIDs") {
            let (declared, there) = (clients(&wanted.spec), clients(&living.spec));
            try_join_all(declared.difference(&there).map(|client| add(cloud, arn, client))).await?;
            try_join_all(there.difference(&declared).map(|client| remove(cloud, arn, client))).await?;
        }
        if differs(differences, "tags") {
            let call = cloud.iam().tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
            let call = call.set_tags(tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| CloudError::new("iam TagOpenIDConnectProvider", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.iam().delete_open_id_connect_provider().open_id_connect_provider_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("iam DeleteOpenIDConnectProvider", &error))).map(drop)
    }
}

/// A URL as IAM keeps it.
fn issuer(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

fn clients(spec: &Value) -> BTreeSet<&str> {
    at(spec, "clientIDs").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

async fn add(cloud: &Cloud, arn: &str, client: &str) -> Result<(), CloudError> {
    let call = cloud.iam().add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(arn).client_id(client);
    call.send().await.map_err(|error| CloudError::new("iam AddClientIDToOpenIDConnectProvider", &error)).map(drop)
}

async fn remove(cloud: &Cloud, arn: &str, client: &str) -> Result<(), CloudError> {
    let call = cloud.iam().remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(arn).client_id(client);
    or_absent(call.send().await.map_err(|error| CloudError::new("iam RemoveClientIDFromOpenIDConnectProvider", &error))).map(drop)
}

async fn read(cloud: &Cloud, arn: &str) -> Result<Option<Living>, CloudError> {
    let found = cloud.iam().get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await;
    let found = or_absent(found.map_err(|error| CloudError::new("iam GetOpenIDConnectProvider", &error)))?;
    Ok(found.as_ref().map(|provider| living(arn, provider)))
}

fn living(arn: &str, provider: &GetOpenIdConnectProviderOutput) -> Living {
    Living {
        id: arn.to_owned(),
        spec: json!({
            "clientIDs": provider.client_id_list(),
            "thumbprints": provider.thumbprint_list(),
            "url": provider.url().map(|url| format!("https://{}", issuer(url))),
        }),
        status: json!({"ackResourceMetadata": {"arn": arn}}),
        tags: tag_map(&provider.tags),
        state: State::Ready,
        created: time(provider.create_date()),
    }
}
