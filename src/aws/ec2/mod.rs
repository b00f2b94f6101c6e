//! EC2: networks in `vpc`, `subnet`, `gateway`, `route` and `endpoint`, machines in `compute`, rules of security groups in `security`.

mod compute;
mod endpoint;
mod gateway;
mod route;
mod security;
mod subnet;
pub(super) mod volume;
mod vpc;

use super::kind::{Kind, Living, State, Wanted};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{TAG_RESOURCE, at};
use aws_config::retry::RetryConfig;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, ResourceType, Tag, TagSpecification};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const KINDS: &[&dyn Kind] = &[
    &vpc::Vpc,
    &subnet::Subnet,
    &gateway::InternetGateway,
    &gateway::NatGateway,
    &gateway::ElasticIpAddress,
    &route::RouteTable,
    &endpoint::VpcEndpoint,
    &security::SecurityGroup,
    &compute::LaunchTemplate,
    &compute::Instance,
];

/// Tags for a create call.
fn tag_specifications(kind: ResourceType, wanted: &Wanted) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(tag_list(&wanted.tags))).build()
}

/// For create calls that have neither name nor token: the SDK would repeat one that nobody answered, and make a second resource.
fn once() -> aws_sdk_ec2::config::Builder {
    aws_sdk_ec2::Config::builder().retry_config(RetryConfig::disabled())
}

fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Tags of an answer, those of AWS itself left out.
fn tags(list: &[Tag]) -> BTreeMap<String, String> {
    let own = list.iter().filter(|tag| !tag.key().unwrap_or_default().starts_with("aws:"));
    own.map(|tag| (tag.key().unwrap_or_default().to_owned(), tag.value().unwrap_or_default().to_owned())).collect()
}

/// Sets all tags that Git declares; others stay.
async fn tag(cloud: &Cloud, id: &str, wanted: &Wanted) -> Result<(), CloudError> {
    let call = cloud.ec2().create_tags().resources(id).set_tags(Some(tag_list(&wanted.declared.tags())));
    call.send().await.map_err(|error| CloudError::new("ec2 CreateTags", &error)).map(drop)
}

fn filter<V: Into<String>>(name: &str, values: impl IntoIterator<Item = V>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(Into::into).collect())).build()
}

/// What only our own tag can tell. Everything where a manifest names an ID to adopt, or tags of its own: quotas keep that few.
fn tagged(wanted: &[Wanted]) -> Option<Vec<Filter>> {
    let is_ours_alone = |wanted: &Wanted| wanted.declared.tags().is_empty() && wanted.declared.annotation("adoption-fields").is_none();
    wanted.iter().all(is_ours_alone).then(|| vec![filter("tag-key", [TAG_RESOURCE])])
}

fn arn(cloud: &Cloud, resource: &str, id: &str) -> String {
    let place = cloud.place();
    format!("arn:{}:ec2:{}:{}:{resource}/{id}", place.partition, place.region, place.account)
}

/// A time of an answer, RFC 3339.
fn time(time: Option<&DateTime>) -> Option<String> {
    jiff::Timestamp::from_second(time?.secs()).ok().map(|time| time.to_string())
}

/// A truth in the form that Modify* calls want.
fn truth(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

/// A text of the spec, to be sent.
fn text(wanted: &Wanted, path: &str) -> Option<String> {
    wanted.text(path).map(str::to_owned)
}

/// Of a list without order: what Git declares more than lives, and what lives more than Git declares.
fn apart(wanted: &Wanted, living: &Living, path: &str) -> (Vec<String>, Vec<String>) {
    let declared = wanted.texts(path);
    let lives: Vec<&str> = at(&living.spec, path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let surplus = lives.iter().filter(|one| !declared.iter().any(|other| other == *one)).map(|&one| one.to_owned()).collect();
    (declared.into_iter().filter(|one| !lives.contains(&one.as_str())).collect(), surplus)
}

/// What AWS' word for a state means, in whatever case it is written, with the reason of a failure.
fn state(word: &str, reason: Option<&str>) -> State {
    let word = word.to_lowercase();
    match word.as_str() {
        "available" => State::Ready,
        "deleting" | "deleted" => State::Leaving(word),
        "rejected" | "expired" | "unavailable" => State::Failed(word),
        _ if word.starts_with("failed") => State::Failed(reason.map_or(word.clone(), |reason| format!("{word}: {reason}"))),
        _ => State::Pending(word),
    }
}
