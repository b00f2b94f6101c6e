//! SQS.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use crate::problem::count;
use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Attributes of a queue: ACK's field and AWS' name.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("contentBasedDeduplication", "ContentBasedDeduplication"),
    ("deduplicationScope", "DeduplicationScope"),
    ("delaySeconds", "DelaySeconds"),
    ("fifoQueue", "FifoQueue"),
    ("fifoThroughputLimit", "FifoThroughputLimit"),
    ("kmsDataKeyReusePeriodSeconds", "KmsDataKeyReusePeriodSeconds"),
    ("kmsMasterKeyID", "KmsMasterKeyId"),
    ("maximumMessageSize", "MaximumMessageSize"),
    ("messageRetentionPeriod", "MessageRetentionPeriod"),
    ("policy", "Policy"),
    ("receiveMessageWaitTimeSeconds", "ReceiveMessageWaitTimeSeconds"),
    ("redriveAllowPolicy", "RedriveAllowPolicy"),
    ("redrivePolicy", "RedrivePolicy"),
    ("sqsManagedSSEEnabled", "SqsManagedSseEnabled"),
    ("visibilityTimeout", "VisibilityTimeout"),
];

static QUEUE: Schema = Schema {
    service: "sqs",
    kind: "Queue",
    identity: Identity::Name(&["queueName"]),
    fields: &[
        field("queueName").fixed(),
        field("contentBasedDeduplication"),
        field("deduplicationScope"),
        field("delaySeconds"),
        field("fifoQueue").fixed(),
        field("fifoThroughputLimit"),
        field("kmsDataKeyReusePeriodSeconds"),
        field("kmsMasterKeyID"),
        field("maximumMessageSize"),
        field("messageRetentionPeriod"),
        field("policy").policy(),
        field("receiveMessageWaitTimeSeconds"),
        field("redriveAllowPolicy").policy(),
        field("redrivePolicy").policy(),
        field("sqsManagedSSEEnabled"),
        field("visibilityTimeout"),
    ],
    references: &[refers("kmsMasterKeyID", "kmsMasterKeyRef", "kms", "Key", "keyID")],
    tags: Tags::Map("tags"),
    arn: Some("arn:{partition}:sqs:{region}:{account}:{queueName}"),
    seconds: 2,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Queue];

struct Queue;

#[async_trait]
impl Kind for Queue {
    fn schema(&self) -> &'static Schema {
        &QUEUE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("queueName")).collect();
        let mut urls = Vec::new();
        let mut pages = cloud.sqs().list_queues().max_results(1000).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::new("sqs ListQueues", &error))?;
            urls.extend(page.queue_urls().iter().filter(|url| names.contains(name_of(url))).cloned());
        }
        // There is no call that tells attributes of several queues.
        let found = try_join_all(urls.iter().map(|url| read(cloud, url))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.sqs().create_queue().set_queue_name(wanted.text("queueName").map(str::to_owned));
        let tags: HashMap<String, String> = wanted.tags.clone().into_iter().collect();
        let made = call.set_attributes(Some(attributes(&wanted.spec, |_| true))).set_tags(Some(tags)).send().await;
        let made = made.map_err(|error| CloudError::new("sqs CreateQueue", &error))?;
        let url = made.queue_url().ok_or_else(|| CloudError::malformed("sqs CreateQueue", "QueueUrl"))?;
        Ok(living(url, &HashMap::new(), BTreeMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let changed = attributes(&wanted.spec, |field| differs(differences, field));
        if !changed.is_empty() {
            let call = cloud.sqs().set_queue_attributes().queue_url(&living.id).set_attributes(Some(changed));
            call.send().await.map_err(|error| CloudError::new("sqs SetQueueAttributes", &error))?;
        }
        if differs(differences, "tags") {
            let tags: HashMap<String, String> = wanted.declared.tags().into_iter().collect();
            let call = cloud.sqs().tag_queue().queue_url(&living.id).set_tags(Some(tags));
            call.send().await.map_err(|error| CloudError::new("sqs TagQueue", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.sqs().delete_queue().queue_url(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("sqs DeleteQueue", &error))).map(drop)
    }

    async fn holds(&self, cloud: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        let number = QueueAttributeName::ApproximateNumberOfMessages;
        let told = cloud.sqs().get_queue_attributes().queue_url(&living.id).attribute_names(number.clone()).send().await;
        let told = told.map_err(|error| CloudError::new("sqs GetQueueAttributes", &error))?;
        let messages = told.attributes().and_then(|all| all.get(&number)?.parse().ok()).unwrap_or_default();
        Ok((messages > 0).then(|| count(messages, "message")))
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Declared attributes in AWS' names.
fn attributes(spec: &Value, is_wanted: impl Fn(&str) -> bool) -> HashMap<QueueAttributeName, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ATTRIBUTES
        .iter()
        .filter(|(field, _)| is_wanted(field))
        .filter_map(|(field, name)| Some((QueueAttributeName::from(*name), text(spec.get(*field)?))))
        .collect()
}

async fn read(cloud: &Cloud, url: &str) -> Result<Option<Living>, CloudError> {
    let attributes = async {
        let call = cloud.sqs().get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
        call.send().await.map_err(|error| CloudError::new("sqs GetQueueAttributes", &error))
    };
    let tags =
        async { cloud.sqs().list_queue_tags().queue_url(url).send().await.map_err(|error| CloudError::new("sqs ListQueueTags", &error)) };
    let (attributes, tags) = futures::future::join(attributes, tags).await;
    let (Some(attributes), Some(tags)) = (or_absent(attributes)?, or_absent(tags)?) else { return Ok(None) };
    let tags = tags.tags().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Some(living(url, &attributes.attributes.unwrap_or_default(), tags)))
}

fn living(url: &str, attributes: &HashMap<QueueAttributeName, String>, tags: BTreeMap<String, String>) -> Living {
    let mut spec: Map<String, Value> = ATTRIBUTES
        .iter()
        .filter_map(|(field, name)| Some(((*field).to_owned(), attributes.get(&QueueAttributeName::from(*name))?.clone().into())))
        .collect();
    spec.insert("queueName".into(), name_of(url).into());
    let arn = attributes.get(&QueueAttributeName::QueueArn);
    let created = attributes.get(&QueueAttributeName::CreatedTimestamp).and_then(|seconds| seconds.parse().ok());
    Living {
        id: url.to_owned(),
        spec: Value::Object(spec),
        status: json!({"queueURL": url, "ackResourceMetadata": {"arn": arn}}),
        tags,
        state: State::Ready,
        created: created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).map(|time| time.to_string()),
    }
}
