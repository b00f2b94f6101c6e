//! DynamoDB.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs, size};
use super::s3::form::{self, Form, forms, given, object, take, words};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use crate::problem::count;
use crate::restore::Backup;
use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_table::builders::UpdateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BackupStatus, BackupSummary, BackupType, BackupTypeFilter, BillingMode, CreateGlobalSecondaryIndexAction,
    DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndex, GlobalSecondaryIndexDescription, GlobalSecondaryIndexUpdate, IndexStatus,
    KeySchemaElement, KeyType, LocalSecondaryIndex, LocalSecondaryIndexDescription, OnDemandThroughput, PointInTimeRecoverySpecification,
    PointInTimeRecoveryStatus, Projection, ProjectionType, ProvisionedThroughput, ProvisionedThroughputDescription, ScalarAttributeType,
    SseSpecification, SseStatus, SseType, StreamSpecification, StreamViewType, TableClass, TableDescription, TableStatus, Tag,
    TimeToLiveSpecification, TimeToLiveStatus, UpdateGlobalSecondaryIndexAction,
};
use futures::future::{try_join_all, try_join3};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

static TABLE: Schema = Schema {
    service: "dynamodb",
    kind: "Table",
    identity: Identity::Name(&["tableName"]),
    fields: &[
        field("tableName").fixed(),
        field("attributeDefinitions").set(),
        field("billingMode"),
        field("continuousBackups.pointInTimeRecoveryEnabled"),
        field("deletionProtectionEnabled"),
        field("globalSecondaryIndexes").set(),
        field("keySchema").fixed(),
        field("localSecondaryIndexes").set().fixed(),
        field("onDemandThroughput.maxReadRequestUnits"),
        field("onDemandThroughput.maxWriteRequestUnits"),
        field("provisionedThroughput.readCapacityUnits"),
        field("provisionedThroughput.writeCapacityUnits"),
        field("sseSpecification.enabled"),
        field("sseSpecification.kmsMasterKeyID"),
        field("sseSpecification.sseType"),
        field("streamSpecification.streamEnabled"),
        field("streamSpecification.streamViewType"),
        field("tableClass"),
        field("timeToLive.attributeName"),
        field("timeToLive.enabled"),
    ],
    references: &[refers("sseSpecification.kmsMasterKeyID", "sseSpecification.kmsMasterKeyRef", "kms", "Key", "arn")],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:dynamodb:{region}:{account}:table/{tableName}"),
    seconds: 10,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Table];

struct Table;

words! { BillingMode, KeyType, ProjectionType, ScalarAttributeType, SseType, StreamViewType, TableClass, TableStatus }

forms! {
    Tag { "key": key set_key, "value": value set_value }
    AttributeDefinition { "attributeName": attribute_name set_attribute_name, "attributeType": attribute_type set_attribute_type }
    KeySchemaElement { "attributeName": attribute_name set_attribute_name, "keyType": key_type set_key_type }
    Projection { "nonKeyAttributes": non_key_attributes set_non_key_attributes, "projectionType": projection_type set_projection_type }
    ProvisionedThroughput {
        "readCapacityUnits": read_capacity_units set_read_capacity_units,
        "writeCapacityUnits": write_capacity_units set_write_capacity_units,
    }
    ProvisionedThroughputDescription {
        "readCapacityUnits": read_capacity_units set_read_capacity_units,
        "writeCapacityUnits": write_capacity_units set_write_capacity_units,
    }
    OnDemandThroughput {
        "maxReadRequestUnits": max_read_request_units set_max_read_request_units,
        "maxWriteRequestUnits": max_write_request_units set_max_write_request_units,
    }
    LocalSecondaryIndex { "indexName": index_name set_index_name, "keySchema": key_schema set_key_schema, "projection": projection set_projection }
    LocalSecondaryIndexDescription {
        "indexName": index_name set_index_name,
        "keySchema": key_schema set_key_schema,
        "projection": projection set_projection,
    }
    GlobalSecondaryIndex {
        "indexName": index_name set_index_name,
        "keySchema": key_schema set_key_schema,
        "onDemandThroughput": on_demand_throughput set_on_demand_throughput,
        "projection": projection set_projection,
        "provisionedThroughput": provisioned_throughput set_provisioned_throughput,
    }
    GlobalSecondaryIndexDescription {
        "indexName": index_name set_index_name,
        "keySchema": key_schema set_key_schema,
        "onDemandThroughput": on_demand_throughput set_on_demand_throughput,
        "projection": projection set_projection,
        "provisionedThroughput": provisioned_throughput set_provisioned_throughput,
    }
    CreateGlobalSecondaryIndexAction {
        "indexName": index_name set_index_name,
        "keySchema": key_schema set_key_schema,
        "onDemandThroughput": on_demand_throughput set_on_demand_throughput,
        "projection": projection set_projection,
        "provisionedThroughput": provisioned_throughput set_provisioned_throughput,
    }
    DeleteGlobalSecondaryIndexAction { "indexName": index_name set_index_name }
    UpdateGlobalSecondaryIndexAction {
        "indexName": index_name set_index_name,
        "onDemandThroughput": on_demand_throughput set_on_demand_throughput,
        "provisionedThroughput": provisioned_throughput set_provisioned_throughput,
    }
    SseSpecification { "enabled": enabled set_enabled, "kmsMasterKeyID": kms_master_key_id set_kms_master_key_id, "sseType": sse_type set_sse_type }
    StreamSpecification { "streamEnabled": stream_enabled set_stream_enabled, "streamViewType": stream_view_type set_stream_view_type }
    TimeToLiveSpecification { "attributeName": attribute_name set_attribute_name, "enabled": enabled set_enabled }
    PointInTimeRecoverySpecification { "pointInTimeRecoveryEnabled": point_in_time_recovery_enabled set_point_in_time_recovery_enabled }
}

#[async_trait]
impl Kind for Table {
    fn schema(&self) -> &'static Schema {
        &TABLE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let by_name: HashMap<&str, &Value> = wanted.iter().filter_map(|wanted| Some((wanted.text("tableName")?, &wanted.spec))).collect();
        let mut found = Vec::new();
        let mut names = cloud.dynamodb().list_tables().into_paginator().items().send();
        while let Some(name) = names.next().await {
            let name = name.map_err(|error| CloudError::new("dynamodb ListTables", &error))?;
            found.extend(by_name.get_key_value(name.as_str()));
        }
        let found = try_join_all(found.into_iter().map(|(name, declared)| read(cloud, name, declared))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        if let Some(backup) = &wanted.backup {
            return restored(cloud, wanted, backup).await;
        }
        let call = given!(cloud.dynamodb().create_table(), &wanted.spec;
            "tableName" set_table_name,
            "attributeDefinitions" set_attribute_definitions,
            "billingMode" set_billing_mode,
            "deletionProtectionEnabled" set_deletion_protection_enabled,
            "globalSecondaryIndexes" set_global_secondary_indexes,
            "keySchema" set_key_schema,
            "localSecondaryIndexes" set_local_secondary_indexes,
            "onDemandThroughput" set_on_demand_throughput,
            "provisionedThroughput" set_provisioned_throughput,
            "sseSpecification" set_sse_specification,
            "streamSpecification" set_stream_specification,
            "tableClass" set_table_class,
        );
        let made = call.set_tags(form::tags(&wanted.tags)?).send().await;
        let made = made.map_err(|error| CloudError::new("dynamodb CreateTable", &error))?;
        let table = made.table_description.ok_or_else(|| CloudError::malformed("dynamodb CreateTable", "TableDescription"))?;
        Ok(living(&table, &wanted.spec, BTreeMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let db = cloud.dynamodb();
        let spec = &wanted.spec;
        if differs(differences, "tags") {
            let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str).unwrap_or_default();
            let call = db.tag_resource().resource_arn(arn).set_tags(form::tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| passing(CloudError::new("dynamodb TagResource", &error)))?;
        }
        if differs_in(differences, "timeToLive") {
            let call = given!(db.update_time_to_live().table_name(&living.id), spec; "timeToLive" set_time_to_live_specification);
            call.send().await.map_err(|error| passing(CloudError::new("dynamodb UpdateTimeToLive", &error)))?;
        }
        if differs_in(differences, "continuousBackups") {
            let call = db.update_continuous_backups().table_name(&living.id);
            let call = given!(call, spec; "continuousBackups" set_point_in_time_recovery_specification);
            call.send().await.map_err(|error| passing(CloudError::new("dynamodb UpdateContinuousBackups", &error)))?;
        }
        if let Some(call) = change(db.update_table().table_name(&living.id), spec, &living.spec, differences)? {
            call.send().await.map_err(|error| passing(CloudError::new("dynamodb UpdateTable", &error)))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id, &living.spec).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.dynamodb().delete_table().table_name(&living.id).send().await;
        match deleted.map_err(|error| passing(CloudError::new("dynamodb DeleteTable", &error))) {
            Err(error) if error.message.contains("being deleted") => Ok(()),
            other => or_absent(other).map(drop),
        }
    }

    /// On-demand ones, and the one that AWS itself takes when a table with point-in-time recovery is deleted and keeps for 35 days.
    async fn backups(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<(usize, Backup)>, CloudError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let call = cloud.dynamodb().list_backups().backup_type(BackupTypeFilter::All).set_exclusive_start_backup_arn(after);
            let page = call.send().await.map_err(|error| CloudError::new("dynamodb ListBackups", &error))?;
            for summary in page.backup_summaries() {
                let is_it = |wanted: &Wanted| wanted.text("tableName") == summary.table_name();
                if let (Some(position), Some(backup)) = (wanted.iter().position(is_it), backup(summary)) {
                    found.push((position, backup));
                }
            }
            match page.last_evaluated_backup_arn {
                Some(last) => after = Some(last),
                None => return Ok(found),
            }
        }
    }

    /// As AWS last counted them, every six hours.
    async fn holds(&self, cloud: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        let told = cloud.dynamodb().describe_table().table_name(&living.id).send().await;
        let table = told.map_err(|error| CloudError::new("dynamodb DescribeTable", &error))?.table;
        let items = table.as_ref().and_then(|table| table.item_count).unwrap_or_default();
        let bytes = table.as_ref().and_then(|table| table.table_size_bytes).unwrap_or_default();
        Ok((items > 0).then(|| format!("{}, {}", count(usize::try_from(items).unwrap_or_default(), "item"), size(bytes))))
    }
}

/// A table from a backup: its tags, its time to live, its stream and its backups are not in there, and follow as differences.
async fn restored(cloud: &Cloud, wanted: &Wanted, backup: &str) -> Result<Living, CloudError> {
    let call = given!(cloud.dynamodb().restore_table_from_backup().backup_arn(backup), &wanted.spec;
        "tableName" set_target_table_name,
        "billingMode" set_billing_mode_override,
        "provisionedThroughput" set_provisioned_throughput_override,
        "onDemandThroughput" set_on_demand_throughput_override,
        "sseSpecification" set_sse_specification_override,
    );
    let made = call.send().await.map_err(|error| passing(CloudError::new("dynamodb RestoreTableFromBackup", &error)))?;
    let table = made.table_description.ok_or_else(|| CloudError::malformed("dynamodb RestoreTableFromBackup", "TableDescription"))?;
    Ok(living(&table, &wanted.spec, BTreeMap::new()))
}

fn backup(summary: &BackupSummary) -> Option<Backup> {
    let of_aws_backup = summary.backup_type() == Some(&BackupType::AwsBackup);
    let unusable = match summary.backup_status() {
        Some(BackupStatus::Available) if of_aws_backup => Some("kept by AWS Backup, which alone restores it".to_owned()),
        Some(BackupStatus::Available) => None,
        other => Some(other.map_or("unknown", BackupStatus::as_str).to_owned()),
    };
    Some(Backup {
        id: summary.backup_arn()?.to_owned(),
        what: if summary.backup_type() == Some(&BackupType::System) { "last state" } else { "backup" },
        taken: jiff::Timestamp::from_second(summary.backup_creation_date_time()?.secs()).ok()?,
        unusable,
        key: None,
    })
}

/// A table that is busy with one change takes no other, and an account only some at a time.
fn passing(mut error: CloudError) -> CloudError {
    if error.code == "ResourceInUseException" || error.code == "LimitExceededException" && error.message.contains("simultaneous") {
        error.meaning = Meaning::Dependency;
    }
    error
}

fn differs_in(differences: &[Difference], part: &str) -> bool {
    differences.iter().any(|difference| difference.path.split('.').next() == Some(part))
}

/// The next change of the table itself: it takes one at a time, and the rest is still told as a difference when that is done.
fn change(
    call: UpdateTableFluentBuilder,
    spec: &Value,
    living: &Value,
    differences: &[Difference],
) -> Result<Option<UpdateTableFluentBuilder>, CloudError> {
    let differs = |part: &str| differs_in(differences, part);
    Ok(Some(if differs("deletionProtectionEnabled") {
        given!(call, spec; "deletionProtectionEnabled" set_deletion_protection_enabled)
    } else if differs("tableClass") {
        given!(call, spec; "tableClass" set_table_class)
    } else if differs("sseSpecification") {
        given!(call, spec; "sseSpecification" set_sse_specification)
    } else if differs("streamSpecification") {
        call.stream_specification(stream(spec, living)?)
    } else if ["billingMode", "provisionedThroughput", "onDemandThroughput"].into_iter().any(differs) {
        // What is sent must differ.
        let call = if differs("billingMode") { given!(call, spec; "billingMode" set_billing_mode) } else { call };
        let call = if differs("onDemandThroughput") { given!(call, spec; "onDemandThroughput" set_on_demand_throughput) } else { call };
        let call =
            if differs("provisionedThroughput") { given!(call, spec; "provisionedThroughput" set_provisioned_throughput) } else { call };
        let resized: Vec<GlobalSecondaryIndexUpdate> = resized(spec, living).map(resize).collect::<Result<_, _>>()?;
        call.set_global_secondary_index_updates(Some(resized).filter(|resized| !resized.is_empty()))
    } else if differs("globalSecondaryIndexes") {
        let call = given!(call, spec; "attributeDefinitions" set_attribute_definitions);
        call.set_global_secondary_index_updates(Some(index_updates(spec, living)?))
    } else if differs("attributeDefinitions") {
        return Err(CloudError::invalid("dynamodb UpdateTable", "an attribute that is a key already cannot get another type"));
    } else {
        return Ok(None);
    }))
}

/// A stream with another view is another stream: the old one is switched off first.
fn stream(spec: &Value, living: &Value) -> Result<StreamSpecification, CloudError> {
    let is_on = |spec: &Value| at(spec, "streamSpecification.streamEnabled").and_then(Value::as_bool).unwrap_or_default();
    if is_on(living) || !is_on(spec) { Form::read(&json!({"streamEnabled": false})) } else { take(spec, "streamSpecification") }
}

/// The global indexes of a spec.
fn indexes(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("globalSecondaryIndexes").and_then(Value::as_array).into_iter().flatten()
}

fn same_name<'a>(index: &Value, others: &'a Value) -> Option<&'a Value> {
    indexes(others).find(|other| other.get("indexName") == index.get("indexName"))
}

/// Whether what is declared of these keys lives so.
fn is_as_declared(declared: &Value, living: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| declared.get(key).is_none_or(|declared| living.get(key) == Some(declared)))
}

/// An index with these keys alone.
fn only<const COUNT: usize>(index: &Value, keys: [&str; COUNT]) -> Value {
    object(keys.map(|key| (key, index.get(key).cloned().unwrap_or_default())))
}

const THROUGHPUT: &[&str] = &["provisionedThroughput", "onDemandThroughput"];

/// Declared indexes that live with another throughput.
fn resized<'a>(spec: &'a Value, living: &'a Value) -> impl Iterator<Item = &'a Value> {
    indexes(spec).filter(|index| same_name(index, living).is_some_and(|lives| !is_as_declared(index, lives, THROUGHPUT)))
}

fn resize(index: &Value) -> Result<GlobalSecondaryIndexUpdate, CloudError> {
    let action = only(index, ["indexName", "provisionedThroughput", "onDemandThroughput"]);
    Ok(GlobalSecondaryIndexUpdate::builder().update(Form::read(&action)?).build())
}

/// The next change of global indexes: new throughputs together, else one index at a time, the old ones first. ACK removes them too.
fn index_updates(spec: &Value, living: &Value) -> Result<Vec<GlobalSecondaryIndexUpdate>, CloudError> {
    if let Some(other) = indexes(spec)
        .find(|index| same_name(index, living).is_some_and(|lives| !is_as_declared(index, lives, &["keySchema", "projection"])))
    {
        let message = format!(
            "index {} lives with another key or projection, which cannot be changed: give the new one another name",
            other["indexName"]
        );
        return Err(CloudError::invalid("dynamodb UpdateTable", message));
    }
    let resized: Vec<GlobalSecondaryIndexUpdate> = resized(spec, living).map(resize).collect::<Result<_, _>>()?;
    if !resized.is_empty() {
        return Ok(resized);
    }
    let one = if let Some(old) = indexes(living).find(|index| same_name(index, spec).is_none()) {
        GlobalSecondaryIndexUpdate::builder().delete(Form::read(&only(old, ["indexName"]))?)
    } else {
        let new = indexes(spec).find(|index| same_name(index, living).is_none());
        GlobalSecondaryIndexUpdate::builder().set_create(new.map(Form::read).transpose()?)
    };
    Ok(vec![one.build()])
}

/// A table; what is a call of its own, only where Git declares it.
async fn read(cloud: &Cloud, name: &str, declared: &Value) -> Result<Option<Living>, CloudError> {
    let db = cloud.dynamodb();
    let table = db.describe_table().table_name(name).send().await;
    let table = or_absent(table.map_err(|error| CloudError::new("dynamodb DescribeTable", &error)))?.and_then(|told| told.table);
    let Some(table) = table else { return Ok(None) };
    let tags = tags(cloud, table.table_arn.as_deref().unwrap_or_default());
    let time_to_live = async {
        if declared.get("timeToLive").is_none() {
            return Ok(None);
        }
        let told = db.describe_time_to_live().table_name(name).send().await;
        or_absent(told.map_err(|error| CloudError::new("dynamodb DescribeTimeToLive", &error)))
    };
    let backups = async {
        if declared.get("continuousBackups").is_none() {
            return Ok(None);
        }
        let told = db.describe_continuous_backups().table_name(name).send().await;
        or_absent(told.map_err(|error| CloudError::new("dynamodb DescribeContinuousBackups", &error)))
    };
    let (tags, time_to_live, backups) = Box::pin(try_join3(tags, time_to_live, backups)).await?;
    let mut living = living(&table, declared, tags);
    if let Some(told) = time_to_live.and_then(|told| told.time_to_live_description)
        && matches!(told.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
    {
        put(&mut living.spec, "timeToLive", json!({"attributeName": told.attribute_name, "enabled": true}));
    }
    let recovery = backups.and_then(|told| told.continuous_backups_description?.point_in_time_recovery_description);
    if recovery.is_some_and(|recovery| recovery.point_in_time_recovery_status == Some(PointInTimeRecoveryStatus::Enabled)) {
        put(&mut living.spec, "continuousBackups.pointInTimeRecoveryEnabled", true.into());
    }
    Ok(Some(living))
}

/// Ten tags a page, and the SDK has no paginator for them.
async fn tags(cloud: &Cloud, arn: &str) -> Result<BTreeMap<String, String>, CloudError> {
    let mut tags = BTreeMap::new();
    let mut token = None;
    loop {
        let page = cloud.dynamodb().list_tags_of_resource().resource_arn(arn).set_next_token(token).send().await;
        let Some(page) = or_absent(page.map_err(|error| CloudError::new("dynamodb ListTagsOfResource", &error)))? else { return Ok(tags) };
        tags.extend(form::tag_map(&page.tags));
        token = page.next_token;
        if token.is_none() {
            return Ok(tags);
        }
    }
}

fn living(table: &TableDescription, declared: &Value, tags: BTreeMap<String, String>) -> Living {
    let name = table.table_name.clone().unwrap_or_default();
    let billing = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.clone()).unwrap_or(BillingMode::Provisioned);
    let class = table.table_class_summary.as_ref().and_then(|summary| summary.table_class.clone()).unwrap_or(TableClass::Standard);
    let spec = object([
        ("tableName", name.write()),
        ("attributeDefinitions", attributes(table)),
        ("billingMode", billing.write()),
        ("continuousBackups", off(declared.get("continuousBackups"), "pointInTimeRecoveryEnabled")),
        ("deletionProtectionEnabled", table.deletion_protection_enabled.write()),
        ("globalSecondaryIndexes", in_declared_order(table.global_secondary_indexes.write(), declared.get("globalSecondaryIndexes"))),
        ("keySchema", table.key_schema.write()),
        ("localSecondaryIndexes", in_declared_order(table.local_secondary_indexes.write(), declared.get("localSecondaryIndexes"))),
        ("onDemandThroughput", table.on_demand_throughput.write()),
        ("provisionedThroughput", table.provisioned_throughput.write()),
        ("sseSpecification", encryption(table, declared.get("sseSpecification"))),
        (
            "streamSpecification",
            table.stream_specification.as_ref().map_or_else(|| off(declared.get("streamSpecification"), "streamEnabled"), Form::write),
        ),
        ("tableClass", class.write()),
        ("timeToLive", off(declared.get("timeToLive"), "enabled")),
    ]);
    let status = object([
        ("tableStatus", table.table_status.write()),
        ("tableID", table.table_id.write()),
        ("latestStreamARN", table.latest_stream_arn.write()),
        ("latestStreamLabel", table.latest_stream_label.write()),
        ("ackResourceMetadata", json!({"arn": table.table_arn})),
    ]);
    Living { id: name, spec, status, tags, state: state(table), created: form::time(table.creation_date_time.as_ref()) }
}

fn state(table: &TableDescription) -> State {
    let word = table.table_status.as_ref().map_or("unknown", TableStatus::as_str).to_owned();
    let busy = table
        .global_secondary_indexes()
        .iter()
        .find(|index| index.index_status.as_ref().is_some_and(|status| *status != IndexStatus::Active));
    match (&table.table_status, busy) {
        (Some(TableStatus::Active), None) => State::Ready,
        (Some(TableStatus::Active), Some(index)) => {
            let status = index.index_status.as_ref().map_or("unknown", IndexStatus::as_str);
            State::Pending(format!("index {} {status}", index.index_name().unwrap_or_default()))
        }
        (Some(TableStatus::Deleting), _) => State::Leaving(word),
        (Some(TableStatus::Creating | TableStatus::Updating) | None, _) => State::Pending(word),
        _ => State::Failed(word),
    }
}

/// Definitions of the attributes that are keys; those of a removed index linger.
fn attributes(table: &TableDescription) -> Value {
    let indexes = table.global_secondary_indexes().iter().flat_map(GlobalSecondaryIndexDescription::key_schema);
    let keys: Vec<&str> = table
        .key_schema()
        .iter()
        .chain(indexes)
        .chain(table.local_secondary_indexes().iter().flat_map(LocalSecondaryIndexDescription::key_schema))
        .map(|key| key.attribute_name.as_str())
        .collect();
    let used = table.attribute_definitions().iter().filter(|attribute| keys.contains(&attribute.attribute_name.as_str()));
    used.map(Form::write).collect()
}

/// Indexes, with the attributes that they hold in the order of Git: AWS keeps none.
fn in_declared_order(mut living: Value, declared: Option<&Value>) -> Value {
    const ATTRIBUTES: &str = "/projection/nonKeyAttributes";
    let sorted = |list: &Value| {
        let mut names: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
        names.sort_unstable();
        names
    };
    let declared = declared.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for index in living.as_array_mut().into_iter().flatten() {
        let declared = declared.iter().find(|other| other.get("indexName") == index.get("indexName"));
        if let (Some(declared), Some(attributes)) = (declared.and_then(|index| index.pointer(ATTRIBUTES)), index.pointer_mut(ATTRIBUTES))
            && sorted(declared) == sorted(attributes)
        {
            attributes.clone_from(declared);
        }
    }
    living
}

fn encryption(table: &TableDescription, declared: Option<&Value>) -> Value {
    match &table.sse_description {
        Some(told) if !matches!(told.status, Some(SseStatus::Disabled | SseStatus::Disabling)) => object([
            ("enabled", true.into()),
            (
                "kmsMasterKeyID",
                form::key_as_declared(told.kms_master_key_arn.as_deref(), declared.and_then(|declared| declared.get("kmsMasterKeyID"))),
            ),
            ("sseType", told.sse_type.write()),
        ]),
        _ => off(declared, "enabled"),
    }
}

/// What is off has no more to tell; the rest counts as declared. Null where nothing is declared.
fn off(declared: Option<&Value>, switch: &str) -> Value {
    let Some(mut off) = declared.cloned() else { return Value::Null };
    put(&mut off, switch, false.into());
    off
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_pass_by_value)]
mod tests {
    use super::*;

    fn index(name: &str, units: u32) -> Value {
        json!({"indexName": name, "keySchema": [{"attributeName": "a", "keyType": "HASH"}], "projection": {"projectionType": "ALL"},
            "provisionedThroughput": {"readCapacityUnits": units, "writeCapacityUnits": 1}})
    }

    #[test]
    fn indexes_change_one_at_a_time_and_the_old_goes_first() {
        let of = |indexes: &[Value]| json!({"globalSecondaryIndexes": indexes});
        let next = |declared: &[Value], living: &[Value]| index_updates(&of(declared), &of(living)).unwrap();
        let resized = next(&[index("one", 2), index("two", 2), index("new", 1)], &[index("one", 1), index("two", 1), index("old", 1)]);
        assert!(resized.len() == 2 && resized.iter().all(|update| update.update.is_some()), "{resized:?}");
        let removed = next(&[index("one", 1), index("new", 1)], &[index("one", 1), index("old", 1)]);
        assert_eq!(removed[0].delete.as_ref().map(|action| action.index_name.as_str()), Some("old"));
        let made = next(&[index("one", 1), index("new", 1)], &[index("one", 1)]);
        assert_eq!(made[0].create.as_ref().map(|action| action.index_name.as_str()), Some("new"));
    }

    #[test]
    fn the_key_of_an_index_is_never_changed_by_replacement() {
        let mut other = index("one", 1);
        other["keySchema"][0]["attributeName"] = "b".into();
        let error =
            index_updates(&json!({"globalSecondaryIndexes": [other]}), &json!({"globalSecondaryIndexes": [index("one", 1)]})).unwrap_err();
        assert!(error.message.contains("another name"), "{error}");
    }
}
