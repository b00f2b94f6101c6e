//! Elastic Load Balancing, version 2.

mod balancer;
mod group;
mod listener;
mod shapes;

use super::kind::{Kind, Living, State, Wanted};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::put;
use aws_sdk_elasticloadbalancingv2::operation::describe_tags::DescribeTagsOutput;
use aws_sdk_elasticloadbalancingv2::primitives::DateTime;
use aws_sdk_elasticloadbalancingv2::types::Tag;
use futures::future::try_join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) const KINDS: &[&dyn Kind] = &[&balancer::LoadBalancer, &group::TargetGroup, &listener::Listener];

fn names(wanted: &[Wanted]) -> BTreeSet<&str> {
    wanted.iter().filter_map(|wanted| wanted.text("name")).collect()
}

/// Tags by ARN.
pub(super) type TagsOf = HashMap<String, BTreeMap<String, String>>;

/// Tags of all these, those of AWS itself left out.
pub(super) async fn tags(cloud: &Cloud, arns: &[&str]) -> Result<TagsOf, CloudError> {
    // The call takes 20.
    let calls = arns.chunks(20).map(|some| async move {
        let arns = some.iter().map(|&arn| arn.to_owned()).collect();
        let found = cloud.elbv2().describe_tags().set_resource_arns(Some(arns)).send().await;
        found.map_err(|error| CloudError::new("elbv2 DescribeTags", &error))
    });
    let found = try_join_all(calls).await?;
    Ok(found
        .iter()
        .flat_map(DescribeTagsOutput::tag_descriptions)
        .map(|one| (one.resource_arn().unwrap_or_default().to_owned(), own(one.tags())))
        .collect())
}

fn own(tags: &[Tag]) -> BTreeMap<String, String> {
    let pairs = tags.iter().map(|tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned()));
    pairs.filter(|(key, _)| !key.starts_with("aws:")).collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Sets all tags that Git declares; others stay.
async fn tag(cloud: &Cloud, wanted: &Wanted, arn: &str) -> Result<(), CloudError> {
    let call = cloud.elbv2().add_tags().resource_arns(arn).set_tags(Some(tag_list(&wanted.declared.tags())));
    call.send().await.map_err(|error| CloudError::new("elbv2 AddTags", &error)).map(drop)
}

fn living(arn: Option<&str>, spec: Value, mut status: Value, tags: &mut TagsOf, state: State, created: Option<&DateTime>) -> Living {
    let arn = arn.unwrap_or_default();
    put(&mut status, "ackResourceMetadata.arn", arn.into());
    let created = created.and_then(|time| jiff::Timestamp::from_second(time.secs()).ok()).map(|time| time.to_string());
    Living { id: arn.to_owned(), spec, status, tags: tags.remove(arn).unwrap_or_default(), state, created }
}
