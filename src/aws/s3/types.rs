//! The parts of a bucket, as its manifest declares them.

#![expect(deprecated, reason = "older manifests name the prefix of a rule beside its filter")]

use super::form::{Form, forms, invalid, words};
use crate::aws::CloudError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, AccelerateConfiguration, AccessControlTranslation, BucketAccelerateStatus, BucketCannedAcl,
    BucketLifecycleConfiguration, BucketLocationConstraint, BucketLoggingStatus, BucketVersioningStatus, Condition, CorsConfiguration,
    CorsRule, DefaultRetention, DeleteMarkerReplication, DeleteMarkerReplicationStatus, Destination, EncryptionConfiguration,
    ErrorDocument, Event, ExistingObjectReplication, ExistingObjectReplicationStatus, ExpirationStatus, FilterRule, FilterRuleName,
    IndexDocument, LambdaFunctionConfiguration, LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator, LifecycleRuleFilter,
    LoggingEnabled, Metrics, MetricsStatus, NoncurrentVersionExpiration, NoncurrentVersionTransition, NotificationConfiguration,
    NotificationConfigurationFilter, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule, ObjectOwnership,
    OwnerOverride, OwnershipControls, OwnershipControlsRule, Payer, Protocol, PublicAccessBlockConfiguration, QueueConfiguration, Redirect,
    RedirectAllRequestsTo, ReplicaModifications, ReplicaModificationsStatus, ReplicationConfiguration, ReplicationRule,
    ReplicationRuleAndOperator, ReplicationRuleFilter, ReplicationRuleStatus, ReplicationTime, ReplicationTimeStatus, ReplicationTimeValue,
    RequestPaymentConfiguration, RoutingRule, S3KeyFilter, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, SourceSelectionCriteria, SseKmsEncryptedObjects,
    SseKmsEncryptedObjectsStatus, StorageClass, Tag, TopicConfiguration, Transition, TransitionStorageClass, VersioningConfiguration,
    WebsiteConfiguration,
};
use serde_json::Value;

words! {
    BucketAccelerateStatus, BucketCannedAcl, BucketLocationConstraint, BucketVersioningStatus, DeleteMarkerReplicationStatus, Event,
    ExistingObjectReplicationStatus, ExpirationStatus, MetricsStatus, ObjectLockEnabled, ObjectLockRetentionMode, ObjectOwnership,
    OwnerOverride, Payer, Protocol, ReplicaModificationsStatus, ReplicationRuleStatus, ReplicationTimeStatus, ServerSideEncryption,
    SseKmsEncryptedObjectsStatus, StorageClass, TransitionStorageClass,
}

/// S3 takes `prefix` and tells `Prefix`.
impl Form for FilterRuleName {
    fn read(value: &Value) -> Result<Self, CloudError> {
        match String::read(value)?.to_ascii_lowercase().as_str() {
            name @ ("prefix" | "suffix") => Ok(Self::from(name)),
            other => Err(invalid("FilterRule", &format!("{other} is neither prefix nor suffix"))),
        }
    }

    fn write(&self) -> Value {
        self.as_str().to_ascii_lowercase().into()
    }
}

forms! {
    Tag { "key": key set_key, "value": value set_value }

    AccelerateConfiguration { "status": status set_status }
    VersioningConfiguration { "status": status set_status }
    RequestPaymentConfiguration { "payer": payer set_payer }

    CorsConfiguration { "corsRules": cors_rules set_cors_rules }
    CorsRule {
        "allowedHeaders": allowed_headers set_allowed_headers,
        "allowedMethods": allowed_methods set_allowed_methods,
        "allowedOrigins": allowed_origins set_allowed_origins,
        "exposeHeaders": expose_headers set_expose_headers,
        "id": id set_id,
        "maxAgeSeconds": max_age_seconds set_max_age_seconds,
    }

    ServerSideEncryptionConfiguration { "rules": rules set_rules }
    ServerSideEncryptionRule {
        "applyServerSideEncryptionByDefault": apply_server_side_encryption_by_default set_apply_server_side_encryption_by_default,
        "bucketKeyEnabled": bucket_key_enabled set_bucket_key_enabled,
    }
    ServerSideEncryptionByDefault {
        "kmsMasterKeyID": kms_master_key_id set_kms_master_key_id,
        "sseAlgorithm": sse_algorithm set_sse_algorithm,
    }

    BucketLifecycleConfiguration { "rules": rules set_rules }
    LifecycleRule {
        "abortIncompleteMultipartUpload": abort_incomplete_multipart_upload set_abort_incomplete_multipart_upload,
        "expiration": expiration set_expiration,
        "filter": filter set_filter,
        "id": id set_id,
        "noncurrentVersionExpiration": noncurrent_version_expiration set_noncurrent_version_expiration,
        "noncurrentVersionTransitions": noncurrent_version_transitions set_noncurrent_version_transitions,
        "prefix": prefix set_prefix,
        "status": status set_status,
        "transitions": transitions set_transitions,
    }
    AbortIncompleteMultipartUpload { "daysAfterInitiation": days_after_initiation set_days_after_initiation }
    LifecycleExpiration {
        "date": date set_date,
        "days": days set_days,
        "expiredObjectDeleteMarker": expired_object_delete_marker set_expired_object_delete_marker,
    }
    LifecycleRuleFilter {
        "and": and set_and,
        "objectSizeGreaterThan": object_size_greater_than set_object_size_greater_than,
        "objectSizeLessThan": object_size_less_than set_object_size_less_than,
        "prefix": prefix set_prefix,
        "tag": tag set_tag,
    }
    LifecycleRuleAndOperator {
        "objectSizeGreaterThan": object_size_greater_than set_object_size_greater_than,
        "objectSizeLessThan": object_size_less_than set_object_size_less_than,
        "prefix": prefix set_prefix,
        "tags": tags set_tags,
    }
    Transition { "date": date set_date, "days": days set_days, "storageClass": storage_class set_storage_class }
    NoncurrentVersionExpiration {
        "newerNoncurrentVersions": newer_noncurrent_versions set_newer_noncurrent_versions,
        "noncurrentDays": noncurrent_days set_noncurrent_days,
    }
    NoncurrentVersionTransition {
        "newerNoncurrentVersions": newer_noncurrent_versions set_newer_noncurrent_versions,
        "noncurrentDays": noncurrent_days set_noncurrent_days,
        "storageClass": storage_class set_storage_class,
    }

    BucketLoggingStatus { "loggingEnabled": logging_enabled set_logging_enabled }
    LoggingEnabled { "targetBucket": target_bucket set_target_bucket, "targetPrefix": target_prefix set_target_prefix }

    NotificationConfiguration {
        "lambdaFunctionConfigurations": lambda_function_configurations set_lambda_function_configurations,
        "queueConfigurations": queue_configurations set_queue_configurations,
        "topicConfigurations": topic_configurations set_topic_configurations,
    }
    LambdaFunctionConfiguration {
        "events": events set_events,
        "filter": filter set_filter,
        "id": id set_id,
        "lambdaFunctionARN": lambda_function_arn set_lambda_function_arn,
    }
    QueueConfiguration { "events": events set_events, "filter": filter set_filter, "id": id set_id, "queueARN": queue_arn set_queue_arn }
    TopicConfiguration { "events": events set_events, "filter": filter set_filter, "id": id set_id, "topicARN": topic_arn set_topic_arn }
    NotificationConfigurationFilter { "key": key set_key }
    S3KeyFilter { "filterRules": filter_rules set_filter_rules }
    FilterRule { "name": name set_name, "value": value set_value }

    ObjectLockConfiguration { "objectLockEnabled": object_lock_enabled set_object_lock_enabled, "rule": rule set_rule }
    ObjectLockRule { "defaultRetention": default_retention set_default_retention }
    DefaultRetention { "days": days set_days, "mode": mode set_mode, "years": years set_years }

    OwnershipControls { "rules": rules set_rules }
    OwnershipControlsRule { "objectOwnership": object_ownership set_object_ownership }

    PublicAccessBlockConfiguration {
        "blockPublicACLs": block_public_acls set_block_public_acls,
        "blockPublicPolicy": block_public_policy set_block_public_policy,
        "ignorePublicACLs": ignore_public_acls set_ignore_public_acls,
        "restrictPublicBuckets": restrict_public_buckets set_restrict_public_buckets,
    }

    ReplicationConfiguration { "role": role set_role, "rules": rules set_rules }
    ReplicationRule {
        "deleteMarkerReplication": delete_marker_replication set_delete_marker_replication,
        "destination": destination set_destination,
        "existingObjectReplication": existing_object_replication set_existing_object_replication,
        "filter": filter set_filter,
        "id": id set_id,
        "prefix": prefix set_prefix,
        "priority": priority set_priority,
        "sourceSelectionCriteria": source_selection_criteria set_source_selection_criteria,
        "status": status set_status,
    }
    DeleteMarkerReplication { "status": status set_status }
    ExistingObjectReplication { "status": status set_status }
    ReplicationRuleFilter { "and": and set_and, "prefix": prefix set_prefix, "tag": tag set_tag }
    ReplicationRuleAndOperator { "prefix": prefix set_prefix, "tags": tags set_tags }
    SourceSelectionCriteria {
        "replicaModifications": replica_modifications set_replica_modifications,
        "sseKMSEncryptedObjects": sse_kms_encrypted_objects set_sse_kms_encrypted_objects,
    }
    ReplicaModifications { "status": status set_status }
    SseKmsEncryptedObjects { "status": status set_status }
    Destination {
        "accessControlTranslation": access_control_translation set_access_control_translation,
        "account": account set_account,
        "bucket": bucket set_bucket,
        "encryptionConfiguration": encryption_configuration set_encryption_configuration,
        "metrics": metrics set_metrics,
        "replicationTime": replication_time set_replication_time,
        "storageClass": storage_class set_storage_class,
    }
    AccessControlTranslation { "owner": owner set_owner }
    EncryptionConfiguration { "replicaKMSKeyID": replica_kms_key_id set_replica_kms_key_id }
    Metrics { "eventThreshold": event_threshold set_event_threshold, "status": status set_status }
    ReplicationTime { "status": status set_status, "time": time set_time }
    ReplicationTimeValue { "minutes": minutes set_minutes }

    WebsiteConfiguration {
        "errorDocument": error_document set_error_document,
        "indexDocument": index_document set_index_document,
        "redirectAllRequestsTo": redirect_all_requests_to set_redirect_all_requests_to,
        "routingRules": routing_rules set_routing_rules,
    }
    ErrorDocument { "key": key set_key }
    IndexDocument { "suffix": suffix set_suffix }
    RedirectAllRequestsTo { "hostName": host_name set_host_name, "protocol": protocol set_protocol }
    RoutingRule { "condition": condition set_condition, "redirect": redirect set_redirect }
    Condition {
        "httpErrorCodeReturnedEquals": http_error_code_returned_equals set_http_error_code_returned_equals,
        "keyPrefixEquals": key_prefix_equals set_key_prefix_equals,
    }
    Redirect {
        "hostName": host_name set_host_name,
        "httpRedirectCode": http_redirect_code set_http_redirect_code,
        "protocol": protocol set_protocol,
        "replaceKeyPrefixWith": replace_key_prefix_with set_replace_key_prefix_with,
        "replaceKeyWith": replace_key_with set_replace_key_with,
    }
}
