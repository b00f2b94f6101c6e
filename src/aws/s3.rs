//! S3.

pub(super) mod form;
mod types;

use self::form::{Form, given, object};
use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs, size};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Reference, Schema, Tags, at, field, refers};
use crate::problem::count;
use async_trait::async_trait;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier, ObjectLockEnabled, Tag, Tagging};
use futures::future::{try_join, try_join_all};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// The only region whose buckets have no location.
const NO_LOCATION: &str = "us-east-1";

static BUCKET: Schema = Schema {
    service: "s3",
    kind: "Bucket",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("name").fixed(),
        field("accelerate.status"),
        field("acl").once(),
        field("cors.corsRules"),
        field("createBucketConfiguration.locationConstraint").fixed(),
        field("encryption.rules"),
        field("lifecycle.rules").set(),
        field("logging.loggingEnabled.targetBucket"),
        field("logging.loggingEnabled.targetPrefix"),
        field("notification.lambdaFunctionConfigurations").set(),
        field("notification.queueConfigurations").set(),
        field("notification.topicConfigurations").set(),
        field("objectLockConfiguration.rule.defaultRetention.days"),
        field("objectLockConfiguration.rule.defaultRetention.mode"),
        field("objectLockConfiguration.rule.defaultRetention.years"),
        field("objectLockEnabledForBucket"),
        field("ownershipControls.rules"),
        field("policy").policy(),
        field("publicAccessBlock.blockPublicACLs"),
        field("publicAccessBlock.blockPublicPolicy"),
        field("publicAccessBlock.ignorePublicACLs"),
        field("publicAccessBlock.restrictPublicBuckets"),
        field("replication.role"),
        field("replication.rules").set(),
        field("requestPayment.payer"),
        field("versioning.status"),
        field("website.errorDocument.key"),
        field("website.indexDocument.suffix"),
        field("website.redirectAllRequestsTo.hostName"),
        field("website.redirectAllRequestsTo.protocol"),
        field("website.routingRules"),
    ],
    references: &[
        // A bucket needs nothing to be made; buckets may name each other.
        refers(
            "encryption.rules[].applyServerSideEncryptionByDefault.kmsMasterKeyID",
            "encryption.rules[].applyServerSideEncryptionByDefault.kmsMasterKeyRef",
            "kms",
            "Key",
            "arn",
        )
        .late(),
        refers("replication.role", "replication.roleRef", "iam", "Role", "arn").late(),
        names("replication.rules[].destination.bucket", "s3", "Bucket", "arn"),
        names("logging.loggingEnabled.targetBucket", "s3", "Bucket", "name"),
        names("notification.queueConfigurations[].queueARN", "sqs", "Queue", "arn"),
        names("notification.topicConfigurations[].topicARN", "sns", "Topic", "arn"),
    ],
    tags: Tags::List("tagging.tagSet"),
    arn: Some("arn:{partition}:s3:::{name}"),
    seconds: 3,
};

/// A plain field that names another resource, for which ACK has no twin.
const fn names(path: &'static str, service: &'static str, kind: &'static str, output: &'static str) -> Reference {
    refers(path, path, service, kind, output).late()
}

pub(super) const KINDS: &[&dyn Kind] = &[&Bucket];

struct Bucket;

/// The parts of a bucket, in the order in which they are written: `"field of spec": call that reads, what of its answer; call that writes`.
macro_rules! parts {
    ($($part:literal: $get:ident $got:literal $told:expr; $put:ident $wrote:literal $setter:ident;)*) => {
        const PARTS: &[&str] = &[$($part),*];

        /// A part as it lives; null where the bucket has none.
        async fn read_part(cloud: &Cloud, bucket: &str, part: &str) -> Result<Value, CloudError> {
            match part {
                $($part => {
                    let answer = cloud.s3().$get().bucket(bucket).send().await.map_err(|error| CloudError::new($got, &error));
                    Ok(or_absent(answer)?.map_or(Value::Null, $told))
                })*
                _ => Ok(Value::Null),
            }
        }

        async fn write_part(cloud: &Cloud, bucket: &str, part: &str, value: &Value) -> Result<(), CloudError> {
            match part {
                $($part => {
                    let call = cloud.s3().$put().bucket(bucket).$setter(Form::read(value)?);
                    call.send().await.map(drop).map_err(|error| passing(CloudError::new($wrote, &error)))
                })*
                _ => Ok(()),
            }
        }
    };
}

parts! {
    "versioning":
        get_bucket_versioning "s3 GetBucketVersioning" |told| object([("status", told.status.write())]);
        put_bucket_versioning "s3 PutBucketVersioning" set_versioning_configuration;
    "objectLockEnabledForBucket":
        get_object_lock_configuration "s3 GetObjectLockConfiguration"
            |told| told.object_lock_configuration.map(|lock| lock.object_lock_enabled == Some(ObjectLockEnabled::Enabled)).write();
        put_object_lock_configuration "s3 PutObjectLockConfiguration" set_object_lock_configuration;
    "objectLockConfiguration":
        get_object_lock_configuration "s3 GetObjectLockConfiguration" |told| told.object_lock_configuration.write();
        put_object_lock_configuration "s3 PutObjectLockConfiguration" set_object_lock_configuration;
    "ownershipControls":
        get_bucket_ownership_controls "s3 GetBucketOwnershipControls" |told| told.ownership_controls.write();
        put_bucket_ownership_controls "s3 PutBucketOwnershipControls" set_ownership_controls;
    "publicAccessBlock":
        get_public_access_block "s3 GetPublicAccessBlock" |told| told.public_access_block_configuration.write();
        put_public_access_block "s3 PutPublicAccessBlock" set_public_access_block_configuration;
    "encryption":
        get_bucket_encryption "s3 GetBucketEncryption" |told| told.server_side_encryption_configuration.write();
        put_bucket_encryption "s3 PutBucketEncryption" set_server_side_encryption_configuration;
    "policy":
        get_bucket_policy "s3 GetBucketPolicy" |told| told.policy.write();
        put_bucket_policy "s3 PutBucketPolicy" set_policy;
    "lifecycle":
        get_bucket_lifecycle_configuration "s3 GetBucketLifecycleConfiguration" |told| object([("rules", told.rules.write())]);
        put_bucket_lifecycle_configuration "s3 PutBucketLifecycleConfiguration" set_lifecycle_configuration;
    "cors":
        get_bucket_cors "s3 GetBucketCors" |told| object([("corsRules", told.cors_rules.write())]);
        put_bucket_cors "s3 PutBucketCors" set_cors_configuration;
    "logging":
        get_bucket_logging "s3 GetBucketLogging" |told| object([("loggingEnabled", told.logging_enabled.write())]);
        put_bucket_logging "s3 PutBucketLogging" set_bucket_logging_status;
    "notification":
        get_bucket_notification_configuration "s3 GetBucketNotificationConfiguration"
            |told| object([
                ("lambdaFunctionConfigurations", told.lambda_function_configurations.write()),
                ("queueConfigurations", told.queue_configurations.write()),
                ("topicConfigurations", told.topic_configurations.write()),
            ]);
        put_bucket_notification_configuration "s3 PutBucketNotificationConfiguration" set_notification_configuration;
    "replication":
        get_bucket_replication "s3 GetBucketReplication" |told| told.replication_configuration.write();
        put_bucket_replication "s3 PutBucketReplication" set_replication_configuration;
    "accelerate":
        get_bucket_accelerate_configuration "s3 GetBucketAccelerateConfiguration" |told| object([("status", told.status.write())]);
        put_bucket_accelerate_configuration "s3 PutBucketAccelerateConfiguration" set_accelerate_configuration;
    "requestPayment":
        get_bucket_request_payment "s3 GetBucketRequestPayment" |told| object([("payer", told.payer.write())]);
        put_bucket_request_payment "s3 PutBucketRequestPayment" set_request_payment_configuration;
    "website":
        get_bucket_website "s3 GetBucketWebsite"
            |told| object([
                ("errorDocument", told.error_document.write()),
                ("indexDocument", told.index_document.write()),
                ("redirectAllRequestsTo", told.redirect_all_requests_to.write()),
                ("routingRules", told.routing_rules.write()),
            ]);
        put_bucket_website "s3 PutBucketWebsite" set_website_configuration;
}

#[async_trait]
impl Kind for Bucket {
    fn schema(&self) -> &'static Schema {
        &BUCKET
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let by_name: HashMap<&str, &Wanted> = wanted.iter().filter_map(|wanted| Some((wanted.text("name")?, wanted))).collect();
        let mut found = Vec::new();
        // With a page size S3 tells the region of each.
        let mut pages = cloud.s3().list_buckets().max_buckets(1000).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::new("s3 ListBuckets", &error))?;
            for bucket in page.buckets.unwrap_or_default() {
                if let Some((name, wanted)) = bucket.name.as_deref().and_then(|name| by_name.get_key_value(name)) {
                    let region = bucket.bucket_region.as_deref().unwrap_or(&cloud.place().region);
                    found.push(living(cloud, name, region, wanted.declared.spec(), form::time(bucket.creation_date.as_ref())));
                }
            }
        }
        let found = try_join_all(found.into_iter().map(|bucket| read(cloud, bucket))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let name = wanted.text("name").unwrap_or_default();
        let region = wanted.text("createBucketConfiguration.locationConstraint").unwrap_or(&cloud.place().region);
        let place = CreateBucketConfiguration::builder()
            .set_location_constraint((region != NO_LOCATION).then(|| BucketLocationConstraint::from(region)))
            .set_tags(form::tags(&wanted.tags)?);
        let call = given!(cloud.s3().create_bucket(), &wanted.spec;
            "name" set_bucket, "acl" set_acl, "objectLockEnabledForBucket" set_object_lock_enabled_for_bucket);
        // The default owner rule forbids most ACLs.
        let owner = wanted.spec.pointer("/ownershipControls/rules/0/objectOwnership").unwrap_or(&Value::Null);
        let made = call.set_object_ownership(Form::read(owner)?).create_bucket_configuration(place.build()).send().await;
        made.map_err(|error| CloudError::new("s3 CreateBucket", &error))?;
        if cloud.sandbox {
            // The stand-in forgets tags of this call.
            put_tags(cloud, name, &wanted.tags).await?;
        }
        Ok(living(cloud, name, region, wanted.declared.spec(), None))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        // One after the other: S3 refuses two changes of a bucket at once.
        for part in PARTS {
            if differences.iter().any(|difference| difference.path.split('.').next() == Some(part)) {
                write_part(cloud, &living.id, part, &sent(&wanted.spec, part)).await?;
            }
        }
        if differs(differences, "tags") {
            // The call replaces the whole set.
            let mut tags = living.tags.clone();
            tags.extend(wanted.declared.tags());
            put_tags(cloud, &living.id, &tags).await?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, living.clone()).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.s3().delete_bucket().bucket(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("s3 DeleteBucket", &error))).map(drop)
    }

    async fn holds(&self, cloud: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        let told = cloud.s3().list_objects_v2().bucket(&living.id).send().await;
        let told = told.map_err(|error| CloudError::new("s3 ListObjectsV2", &error))?;
        let bytes = told.contents().iter().filter_map(|object| object.size).sum();
        let more = if told.is_truncated == Some(true) { "more than " } else { "" };
        Ok((!told.contents().is_empty()).then(|| format!("{more}{}, {}", count(told.contents().len(), "object"), size(bytes))))
    }

    /// All versions of all objects, a page at a time.
    async fn empty(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        loop {
            let page = cloud.s3().list_object_versions().bucket(&living.id).send().await;
            let Some(page) = or_absent(page.map_err(|error| CloudError::new("s3 ListObjectVersions", &error)))? else { return Ok(()) };
            let versions = page.versions().iter().map(|one| (one.key(), one.version_id()));
            let markers = page.delete_markers().iter().map(|one| (one.key(), one.version_id()));
            let objects: Vec<ObjectIdentifier> = versions
                .chain(markers)
                .filter_map(|(key, version)| ObjectIdentifier::builder().key(key?).set_version_id(version.map(str::to_owned)).build().ok())
                .collect();
            if objects.is_empty() {
                return Ok(());
            }
            let all = Delete::builder().set_objects(Some(objects)).quiet(true).build();
            let all = all.map_err(|error| form::invalid("Delete", &error.to_string()))?;
            let deleted = cloud.s3().delete_objects().bucket(&living.id).delete(all).send().await;
            let deleted = deleted.map_err(|error| CloudError::new("s3 DeleteObjects", &error))?;
            // The call succeeds though some of it does not: an object may be locked.
            if let Some(error) = deleted.errors().first() {
                let message = format!("{}: {}", error.key().unwrap_or_default(), error.message().unwrap_or_default());
                return Err(CloudError {
                    code: error.code().unwrap_or_default().to_owned(),
                    ..CloudError::invalid("s3 DeleteObjects", message)
                });
            }
        }
    }
}

/// Others may still be on their way to what this needs of them: a destination with versions, a queue that lets S3 write.
fn passing(mut error: CloudError) -> CloudError {
    if error.message.contains("must have versioning enabled") || error.message.contains("Unable to validate the following destination") {
        error.meaning = Meaning::Dependency;
    }
    error
}

/// What a call takes for a part.
fn sent(spec: &Value, part: &str) -> Value {
    let declared = spec.get(part).cloned().unwrap_or_default();
    match part {
        "objectLockEnabledForBucket" => json!({"objectLockEnabled": "Enabled"}),
        "objectLockConfiguration" => json!({"objectLockEnabled": "Enabled", "rule": declared.get("rule")}),
        _ => declared,
    }
}

async fn put_tags(cloud: &Cloud, bucket: &str, tags: &BTreeMap<String, String>) -> Result<(), CloudError> {
    let tagging: Option<Vec<Tag>> = form::tags(tags)?;
    let tagging = Tagging::builder().set_tag_set(tagging).build().map_err(|error| form::invalid("Tagging", &error.to_string()))?;
    let call = cloud.s3().put_bucket_tagging().bucket(bucket).tagging(tagging);
    call.send().await.map(drop).map_err(|error| CloudError::new("s3 PutBucketTagging", &error))
}

/// A bucket of which nothing is read yet; its spec names the parts to read: those that Git declares, as each is a call of its own.
fn living(cloud: &Cloud, name: &str, region: &str, declared: &Value, created: Option<String>) -> Living {
    let parts = PARTS.iter().filter(|part| declared.get(*part).is_some());
    let mut spec: Map<String, Value> = parts.map(|part| ((*part).to_owned(), Value::Null)).collect();
    spec.insert("name".into(), name.into());
    spec.insert("createBucketConfiguration".into(), json!({"locationConstraint": region}));
    Living {
        id: name.to_owned(),
        spec: Value::Object(spec),
        status: json!({"location": format!("/{name}"), "ackResourceMetadata": {"arn": format!("arn:{}:s3:::{name}", cloud.place().partition)}}),
        tags: BTreeMap::new(),
        state: State::Ready,
        created,
    }
}

async fn read(cloud: &Cloud, mut bucket: Living) -> Result<Option<Living>, CloudError> {
    if at(&bucket.spec, "createBucketConfiguration.locationConstraint").is_some_and(|region| region != &cloud.place().region) {
        // Only its own region answers.
        return Ok(Some(bucket));
    }
    let tags = async {
        let call = cloud.s3().get_bucket_tagging().bucket(&bucket.id);
        match call.send().await.map_err(|error| CloudError::new("s3 GetBucketTagging", &error)) {
            Ok(told) => Ok(Some(form::tag_map(&told.tag_set))),
            Err(error) if error.code == "NoSuchTagSet" => Ok(Some(BTreeMap::new())),
            Err(error) => or_absent(Err(error)),
        }
    };
    let parts: Vec<&str> = PARTS.iter().copied().filter(|part| bucket.spec.get(part).is_some()).collect();
    let values = try_join_all(parts.iter().map(|part| read_part(cloud, &bucket.id, part)));
    let (tags, values) = try_join(tags, values).await?;
    let Some(tags) = tags else { return Ok(None) };
    bucket.tags = tags;
    for (part, value) in parts.into_iter().zip(values) {
        bucket.spec[part] = value;
    }
    Ok(Some(bucket))
}
