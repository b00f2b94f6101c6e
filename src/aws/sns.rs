//! SNS.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::s3::form::{self, forms};
use super::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Reference, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_sns::types::Tag;
use futures::future::{try_join_all, try_join3};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// Attributes of a topic: ACK's field and AWS' name.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("archivePolicy", "ArchivePolicy"),
    ("contentBasedDeduplication", "ContentBasedDeduplication"),
    ("deliveryPolicy", "DeliveryPolicy"),
    ("displayName", "DisplayName"),
    ("fifoThroughputScope", "FifoThroughputScope"),
    ("fifoTopic", "FifoTopic"),
    ("kmsMasterKeyID", "KmsMasterKeyId"),
    ("policy", "Policy"),
    ("signatureVersion", "SignatureVersion"),
    ("tracingConfig", "TracingConfig"),
    ("applicationFailureFeedbackRoleARN", "ApplicationFailureFeedbackRoleArn"),
    ("applicationSuccessFeedbackRoleARN", "ApplicationSuccessFeedbackRoleArn"),
    ("applicationSuccessFeedbackSampleRate", "ApplicationSuccessFeedbackSampleRate"),
    ("firehoseFailureFeedbackRoleARN", "FirehoseFailureFeedbackRoleArn"),
    ("firehoseSuccessFeedbackRoleARN", "FirehoseSuccessFeedbackRoleArn"),
    ("firehoseSuccessFeedbackSampleRate", "FirehoseSuccessFeedbackSampleRate"),
    ("httpFailureFeedbackRoleARN", "HTTPFailureFeedbackRoleArn"),
    ("httpSuccessFeedbackRoleARN", "HTTPSuccessFeedbackRoleArn"),
    ("httpSuccessFeedbackSampleRate", "HTTPSuccessFeedbackSampleRate"),
    ("lambdaFailureFeedbackRoleARN", "LambdaFailureFeedbackRoleArn"),
    ("lambdaSuccessFeedbackRoleARN", "LambdaSuccessFeedbackRoleArn"),
    ("lambdaSuccessFeedbackSampleRate", "LambdaSuccessFeedbackSampleRate"),
    ("sqsFailureFeedbackRoleARN", "SQSFailureFeedbackRoleArn"),
    ("sqsSuccessFeedbackRoleARN", "SQSSuccessFeedbackRoleArn"),
    ("sqsSuccessFeedbackSampleRate", "SQSSuccessFeedbackSampleRate"),
];

/// Attributes that only a FIFO topic has; of others AWS tells neither, and takes not even `false`.
const OF_FIFO: &[&str] = &["contentBasedDeduplication", "fifoTopic"];

static TOPIC: Schema = Schema {
    service: "sns",
    kind: "Topic",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("name").fixed(),
        field("archivePolicy").policy(),
        field("contentBasedDeduplication"),
        field("dataProtectionPolicy").policy(),
        field("deliveryPolicy").policy(),
        field("displayName"),
        field("fifoThroughputScope"),
        field("fifoTopic").fixed(),
        field("kmsMasterKeyID"),
        field("policy").policy(),
        field("signatureVersion"),
        field("tracingConfig"),
        field("applicationFailureFeedbackRoleARN"),
        field("applicationSuccessFeedbackRoleARN"),
        field("applicationSuccessFeedbackSampleRate"),
        field("firehoseFailureFeedbackRoleARN"),
        field("firehoseSuccessFeedbackRoleARN"),
        field("firehoseSuccessFeedbackSampleRate"),
        field("httpFailureFeedbackRoleARN"),
        field("httpSuccessFeedbackRoleARN"),
        field("httpSuccessFeedbackSampleRate"),
        field("lambdaFailureFeedbackRoleARN"),
        field("lambdaSuccessFeedbackRoleARN"),
        field("lambdaSuccessFeedbackSampleRate"),
        field("sqsFailureFeedbackRoleARN"),
        field("sqsSuccessFeedbackRoleARN"),
        field("sqsSuccessFeedbackSampleRate"),
    ],
    references: &[
        refers("kmsMasterKeyID", "kmsMasterKeyRef", "kms", "Key", "keyID"),
        refers("policy", "policyRef", "iam", "Policy", "policyDocument"),
        role("applicationFailureFeedbackRoleARN"),
        role("applicationSuccessFeedbackRoleARN"),
        role("firehoseFailureFeedbackRoleARN"),
        role("firehoseSuccessFeedbackRoleARN"),
        role("httpFailureFeedbackRoleARN"),
        role("httpSuccessFeedbackRoleARN"),
        role("lambdaFailureFeedbackRoleARN"),
        role("lambdaSuccessFeedbackRoleARN"),
        role("sqsFailureFeedbackRoleARN"),
        role("sqsSuccessFeedbackRoleARN"),
    ],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:sns:{region}:{account}:{name}"),
    seconds: 2,
};

/// A role that AWS writes delivery logs with.
const fn role(path: &'static str) -> Reference {
    refers(path, path, "iam", "Role", "arn").late()
}

pub(super) const KINDS: &[&dyn Kind] = &[&Topic];

struct Topic;

forms! { Tag { "key": key set_key, "value": value set_value } }

#[async_trait]
impl Kind for Topic {
    fn schema(&self) -> &'static Schema {
        &TOPIC
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let by_name: HashMap<&str, &Wanted> = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, wanted))).collect();
        let mut found = Vec::new();
        let mut pages = cloud.sns().list_topics().into_paginator().items().send();
        while let Some(topic) = pages.next().await {
            let topic = topic.map_err(|error| CloudError::new("sns ListTopics", &error))?;
            let arn = topic.topic_arn.unwrap_or_default();
            if let Some(wanted) = by_name.get(name_of(&arn)) {
                found.push((arn, wanted.declared.spec()));
            }
        }
        // There is no call that tells attributes of several topics.
        let found = try_join_all(found.iter().map(|(arn, declared)| read(cloud, arn, declared))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        // Delivery logs are for SetTopicAttributes only.
        let attributes = attributes(&wanted.spec).filter(|(field, _, _)| !field.contains("Feedback"));
        let attributes = attributes.filter(|(field, _, value)| !(OF_FIFO.contains(field) && value == "false"));
        let call = cloud.sns().create_topic().set_name(wanted.text("name").map(str::to_owned)).set_tags(form::tags(&wanted.tags)?);
        let call = call.set_attributes(Some(attributes.map(|(_, name, value)| (name.to_owned(), value)).collect()));
        let call = call.set_data_protection_policy(wanted.text("dataProtectionPolicy").map(str::to_owned));
        let made = call.send().await.map_err(|error| CloudError::new("sns CreateTopic", &error))?;
        let arn = made.topic_arn().ok_or_else(|| CloudError::malformed("sns CreateTopic", "TopicArn"))?;
        Ok(living(arn, &HashMap::new(), wanted.spec.get("dataProtectionPolicy").cloned(), BTreeMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        for (_, name, value) in attributes(&wanted.spec).filter(|(field, _, _)| differs(differences, field)) {
            let call = cloud.sns().set_topic_attributes().topic_arn(&living.id).attribute_name(name).attribute_value(value);
            call.send().await.map_err(|error| CloudError::new("sns SetTopicAttributes", &error))?;
        }
        if let Some(policy) = wanted.text("dataProtectionPolicy").filter(|_| differs(differences, "dataProtectionPolicy")) {
            let call = cloud.sns().put_data_protection_policy().resource_arn(&living.id).data_protection_policy(policy);
            call.send().await.map_err(|error| CloudError::new("sns PutDataProtectionPolicy", &error))?;
        }
        if differs(differences, "tags") {
            let call = cloud.sns().tag_resource().resource_arn(&living.id).set_tags(form::tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| CloudError::new("sns TagResource", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id, &living.spec).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.sns().delete_topic().topic_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("sns DeleteTopic", &error))).map(drop)
    }
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// Declared attributes: field, AWS' name, value.
fn attributes(spec: &Value) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ATTRIBUTES.iter().filter_map(move |(field, name)| Some((*field, *name, text(spec.get(*field)?))))
}

/// A topic; its data protection policy, which is a call of its own, only where Git declares one.
async fn read(cloud: &Cloud, arn: &str, declared: &Value) -> Result<Option<Living>, CloudError> {
    let attributes = async {
        let told = cloud.sns().get_topic_attributes().topic_arn(arn).send().await;
        or_absent(told.map_err(|error| CloudError::new("sns GetTopicAttributes", &error)))
    };
    let tags = async {
        let told = cloud.sns().list_tags_for_resource().resource_arn(arn).send().await;
        or_absent(told.map_err(|error| CloudError::new("sns ListTagsForResource", &error)))
    };
    let protection = async {
        if declared.get("dataProtectionPolicy").is_none() {
            return Ok(None);
        }
        let told = cloud.sns().get_data_protection_policy().resource_arn(arn).send().await;
        or_absent(told.map_err(|error| CloudError::new("sns GetDataProtectionPolicy", &error)))
    };
    let (attributes, tags, protection) = Box::pin(try_join3(attributes, tags, protection)).await?;
    let (Some(attributes), Some(tags)) = (attributes, tags) else { return Ok(None) };
    let protection = declared.get("dataProtectionPolicy").map(|_| protection.and_then(|told| told.data_protection_policy).into());
    Ok(Some(living(arn, &attributes.attributes.unwrap_or_default(), protection, form::tag_map(&tags.tags))))
}

fn living(arn: &str, attributes: &HashMap<String, String>, protection: Option<Value>, tags: BTreeMap<String, String>) -> Living {
    let mut spec: Map<String, Value> = OF_FIFO.iter().map(|field| ((*field).to_owned(), "false".into())).collect();
    spec.extend(ATTRIBUTES.iter().filter_map(|(field, name)| Some(((*field).to_owned(), attributes.get(*name)?.clone().into()))));
    spec.insert("name".into(), name_of(arn).into());
    spec.extend(protection.map(|policy| ("dataProtectionPolicy".to_owned(), policy)));
    Living {
        id: arn.to_owned(),
        spec: Value::Object(spec),
        status: json!({
            "topicARN": arn,
            "owner": attributes.get("Owner"),
            "effectiveDeliveryPolicy": attributes.get("EffectiveDeliveryPolicy"),
            "ackResourceMetadata": {"arn": arn},
        }),
        tags,
        state: State::Ready,
        created: None,
    }
}
