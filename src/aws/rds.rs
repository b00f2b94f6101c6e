//! RDS. Passwords are never ours: only those that RDS itself keeps in Secrets Manager (`manageMasterUserPassword`) are honoured.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::s3::form::{self, Form, forms, given, object};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use crate::restore::Backup;
use async_trait::async_trait;
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::{
    CloudwatchLogsExportConfiguration, DbCluster, DbInstance, DbSubnetGroup, MasterUserSecret, PendingCloudwatchLogsExports,
    ProcessorFeature, ScalingConfiguration, ScalingConfigurationInfo, ServerlessV2ScalingConfiguration,
    ServerlessV2ScalingConfigurationInfo, Tag, VpcSecurityGroupMembership,
};
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

static DB_INSTANCE: Schema = Schema {
    service: "rds",
    kind: "DBInstance",
    identity: Identity::Name(&["dbInstanceIdentifier"]),
    fields: &[
        field("dbInstanceIdentifier").fixed(),
        field("allocatedStorage"),
        field("autoMinorVersionUpgrade"),
        field("availabilityZone").fixed(),
        field("backupRetentionPeriod"),
        field("backupTarget").fixed(),
        field("caCertificateIdentifier"),
        field("characterSetName").fixed(),
        field("copyTagsToSnapshot"),
        field("dbClusterIdentifier").fixed(),
        field("dbInstanceClass"),
        field("dbName").fixed(),
        field("dbParameterGroupName"),
        field("dbSnapshotIdentifier").once(),
        field("dbSubnetGroupName"),
        field("deletionProtection"),
        field("domain"),
        field("domainIAMRoleName"),
        field("enableCloudwatchLogsExports").set(),
        field("enableIAMDatabaseAuthentication"),
        field("engine").fixed(),
        field("engineVersion"),
        field("iops"),
        field("kmsKeyID").fixed(),
        field("licenseModel"),
        field("manageMasterUserPassword"),
        field("masterUserSecretKMSKeyID"),
        field("masterUsername").fixed(),
        field("maxAllocatedStorage"),
        field("monitoringInterval"),
        field("monitoringRoleARN"),
        field("multiAZ"),
        field("ncharCharacterSetName").fixed(),
        field("networkType"),
        field("optionGroupName"),
        field("performanceInsightsEnabled"),
        field("performanceInsightsKMSKeyID"),
        field("performanceInsightsRetentionPeriod"),
        field("port"),
        field("preferredBackupWindow"),
        field("preferredMaintenanceWindow"),
        field("processorFeatures").set(),
        field("promotionTier"),
        field("publiclyAccessible"),
        field("storageEncrypted").fixed(),
        field("storageThroughput"),
        field("storageType"),
        field("timezone").fixed(),
        field("vpcSecurityGroupIDs").set(),
    ],
    references: &[
        refers("dbClusterIdentifier", "dbClusterIdentifier", "rds", "DBCluster", "dbClusterIdentifier"),
        refers("dbSubnetGroupName", "dbSubnetGroupRef", "rds", "DBSubnetGroup", "name"),
        refers("kmsKeyID", "kmsKeyRef", "kms", "Key", "arn"),
        refers("masterUserSecretKMSKeyID", "masterUserSecretKMSKeyRef", "kms", "Key", "arn"),
        refers("monitoringRoleARN", "monitoringRoleARN", "iam", "Role", "arn"),
        refers("vpcSecurityGroupIDs[]", "vpcSecurityGroupRefs[]", "ec2", "SecurityGroup", "id"),
    ],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:rds:{region}:{account}:db:{dbInstanceIdentifier}"),
    seconds: 420,
};

static DB_CLUSTER: Schema = Schema {
    service: "rds",
    kind: "DBCluster",
    identity: Identity::Name(&["dbClusterIdentifier"]),
    fields: &[
        field("dbClusterIdentifier").fixed(),
        field("allocatedStorage"),
        field("autoMinorVersionUpgrade"),
        // AWS adds zones until there are three.
        field("availabilityZones").once(),
        field("backtrackWindow"),
        field("backupRetentionPeriod"),
        field("characterSetName").fixed(),
        field("copyTagsToSnapshot"),
        field("databaseName").fixed(),
        field("dbClusterInstanceClass"),
        field("dbClusterParameterGroupName"),
        field("dbSubnetGroupName").fixed(),
        field("deletionProtection"),
        field("domain"),
        field("domainIAMRoleName"),
        field("enableCloudwatchLogsExports").set(),
        field("enableHTTPEndpoint"),
        field("enableIAMDatabaseAuthentication"),
        field("enablePerformanceInsights"),
        field("engine").fixed(),
        field("engineMode").fixed(),
        field("engineVersion"),
        field("iops"),
        field("kmsKeyID").fixed(),
        field("manageMasterUserPassword"),
        field("masterUserSecretKMSKeyID"),
        field("masterUsername").fixed(),
        field("monitoringInterval"),
        field("monitoringRoleARN"),
        field("networkType"),
        field("optionGroupName"),
        field("performanceInsightsKMSKeyID"),
        field("performanceInsightsRetentionPeriod"),
        field("port"),
        field("preferredBackupWindow"),
        field("preferredMaintenanceWindow"),
        field("publiclyAccessible").fixed(),
        field("scalingConfiguration.autoPause"),
        field("scalingConfiguration.maxCapacity"),
        field("scalingConfiguration.minCapacity"),
        field("scalingConfiguration.secondsBeforeTimeout"),
        field("scalingConfiguration.secondsUntilAutoPause"),
        field("scalingConfiguration.timeoutAction"),
        field("serverlessV2ScalingConfiguration.maxCapacity"),
        field("serverlessV2ScalingConfiguration.minCapacity"),
        field("serverlessV2ScalingConfiguration.secondsUntilAutoPause"),
        field("snapshotIdentifier").once(),
        field("storageEncrypted").fixed(),
        field("storageType"),
        field("vpcSecurityGroupIDs").set(),
    ],
    references: &[
        refers("dbSubnetGroupName", "dbSubnetGroupRef", "rds", "DBSubnetGroup", "name"),
        refers("kmsKeyID", "kmsKeyRef", "kms", "Key", "arn"),
        refers("masterUserSecretKMSKeyID", "masterUserSecretKMSKeyRef", "kms", "Key", "arn"),
        refers("monitoringRoleARN", "monitoringRoleARN", "iam", "Role", "arn"),
        refers("vpcSecurityGroupIDs[]", "vpcSecurityGroupRefs[]", "ec2", "SecurityGroup", "id"),
    ],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:rds:{region}:{account}:cluster:{dbClusterIdentifier}"),
    seconds: 90,
};

static DB_SUBNET_GROUP: Schema = Schema {
    service: "rds",
    kind: "DBSubnetGroup",
    identity: Identity::Name(&["name"]),
    fields: &[field("name").fixed(), field("description"), field("subnetIDs").set()],
    references: &[refers("subnetIDs[]", "subnetRefs[]", "ec2", "Subnet", "subnetID")],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:rds:{region}:{account}:subgrp:{name}"),
    seconds: 3,
};

pub(super) const KINDS: &[&dyn Kind] = &[&Instance, &Cluster, &SubnetGroup];

struct Instance;
struct Cluster;
struct SubnetGroup;

forms! {
    Tag { "key": key set_key, "value": value set_value }
    ProcessorFeature { "name": name set_name, "value": value set_value }
    ScalingConfiguration {
        "autoPause": auto_pause set_auto_pause,
        "maxCapacity": max_capacity set_max_capacity,
        "minCapacity": min_capacity set_min_capacity,
        "secondsBeforeTimeout": seconds_before_timeout set_seconds_before_timeout,
        "secondsUntilAutoPause": seconds_until_auto_pause set_seconds_until_auto_pause,
        "timeoutAction": timeout_action set_timeout_action,
    }
    ScalingConfigurationInfo {
        "autoPause": auto_pause set_auto_pause,
        "maxCapacity": max_capacity set_max_capacity,
        "minCapacity": min_capacity set_min_capacity,
        "secondsBeforeTimeout": seconds_before_timeout set_seconds_before_timeout,
        "secondsUntilAutoPause": seconds_until_auto_pause set_seconds_until_auto_pause,
        "timeoutAction": timeout_action set_timeout_action,
    }
    ServerlessV2ScalingConfiguration {
        "maxCapacity": max_capacity set_max_capacity,
        "minCapacity": min_capacity set_min_capacity,
        "secondsUntilAutoPause": seconds_until_auto_pause set_seconds_until_auto_pause,
    }
    ServerlessV2ScalingConfigurationInfo {
        "maxCapacity": max_capacity set_max_capacity,
        "minCapacity": min_capacity set_min_capacity,
        "secondsUntilAutoPause": seconds_until_auto_pause set_seconds_until_auto_pause,
    }
    MasterUserSecret { "kmsKeyID": kms_key_id set_kms_key_id, "secretARN": secret_arn set_secret_arn, "secretStatus": secret_status set_secret_status }
}

/// Fields that creating, restoring and modifying an instance take alike.
macro_rules! instance {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "dbInstanceIdentifier" set_db_instance_identifier,
            "allocatedStorage" set_allocated_storage,
            "autoMinorVersionUpgrade" set_auto_minor_version_upgrade,
            "backupRetentionPeriod" set_backup_retention_period,
            "caCertificateIdentifier" set_ca_certificate_identifier,
            "copyTagsToSnapshot" set_copy_tags_to_snapshot,
            "dbInstanceClass" set_db_instance_class,
            "dbParameterGroupName" set_db_parameter_group_name,
            "dbSubnetGroupName" set_db_subnet_group_name,
            "deletionProtection" set_deletion_protection,
            "domain" set_domain,
            "domainIAMRoleName" set_domain_iam_role_name,
            "enableIAMDatabaseAuthentication" set_enable_iam_database_authentication,
            "iops" set_iops,
            "licenseModel" set_license_model,
            "manageMasterUserPassword" set_manage_master_user_password,
            "masterUserSecretKMSKeyID" set_master_user_secret_kms_key_id,
            "multiAZ" set_multi_az,
            "networkType" set_network_type,
            "optionGroupName" set_option_group_name,
            "preferredBackupWindow" set_preferred_backup_window,
            "processorFeatures" set_processor_features,
            "publiclyAccessible" set_publicly_accessible,
            "storageThroughput" set_storage_throughput,
            "storageType" set_storage_type,
            "vpcSecurityGroupIDs" set_vpc_security_group_ids,
        )
    };
}

/// Fields that creating and modifying an instance take; a restored one gets them afterwards.
macro_rules! instance_settings {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "engineVersion" set_engine_version,
            "maxAllocatedStorage" set_max_allocated_storage,
            "monitoringInterval" set_monitoring_interval,
            "monitoringRoleARN" set_monitoring_role_arn,
            "performanceInsightsEnabled" set_enable_performance_insights,
            "performanceInsightsKMSKeyID" set_performance_insights_kms_key_id,
            "performanceInsightsRetentionPeriod" set_performance_insights_retention_period,
            "preferredMaintenanceWindow" set_preferred_maintenance_window,
            "promotionTier" set_promotion_tier,
        )
    };
}

/// Fields that creating and restoring an instance take alike.
macro_rules! new_instance {
    ($call:expr, $spec:expr) => {
        given!(instance!($call, $spec), $spec;
            "availabilityZone" set_availability_zone,
            "backupTarget" set_backup_target,
            "dbName" set_db_name,
            "enableCloudwatchLogsExports" set_enable_cloudwatch_logs_exports,
            "engine" set_engine,
            "port" set_port,
        )
    };
}

/// Fields that creating, restoring and modifying a cluster take alike.
macro_rules! cluster {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "dbClusterIdentifier" set_db_cluster_identifier,
            "backtrackWindow" set_backtrack_window,
            "backupRetentionPeriod" set_backup_retention_period,
            "copyTagsToSnapshot" set_copy_tags_to_snapshot,
            "dbClusterInstanceClass" set_db_cluster_instance_class,
            "dbClusterParameterGroupName" set_db_cluster_parameter_group_name,
            "deletionProtection" set_deletion_protection,
            "domain" set_domain,
            "domainIAMRoleName" set_domain_iam_role_name,
            "enableIAMDatabaseAuthentication" set_enable_iam_database_authentication,
            "enablePerformanceInsights" set_enable_performance_insights,
            "engineVersion" set_engine_version,
            "iops" set_iops,
            "monitoringInterval" set_monitoring_interval,
            "monitoringRoleARN" set_monitoring_role_arn,
            "networkType" set_network_type,
            "optionGroupName" set_option_group_name,
            "performanceInsightsKMSKeyID" set_performance_insights_kms_key_id,
            "performanceInsightsRetentionPeriod" set_performance_insights_retention_period,
            "port" set_port,
            "preferredBackupWindow" set_preferred_backup_window,
            "scalingConfiguration" set_scaling_configuration,
            "serverlessV2ScalingConfiguration" set_serverless_v2_scaling_configuration,
            "storageType" set_storage_type,
            "vpcSecurityGroupIDs" set_vpc_security_group_ids,
        )
    };
}

/// Fields that creating and modifying a cluster take; a restored one gets them afterwards.
macro_rules! cluster_settings {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "allocatedStorage" set_allocated_storage,
            "autoMinorVersionUpgrade" set_auto_minor_version_upgrade,
            "enableHTTPEndpoint" set_enable_http_endpoint,
            "manageMasterUserPassword" set_manage_master_user_password,
            "masterUserSecretKMSKeyID" set_master_user_secret_kms_key_id,
            "preferredMaintenanceWindow" set_preferred_maintenance_window,
        )
    };
}

/// Fields that creating and restoring a cluster take alike.
macro_rules! new_cluster {
    ($call:expr, $spec:expr) => {
        given!(cluster!($call, $spec), $spec;
            "availabilityZones" set_availability_zones,
            "databaseName" set_database_name,
            "dbSubnetGroupName" set_db_subnet_group_name,
            "enableCloudwatchLogsExports" set_enable_cloudwatch_logs_exports,
            "engine" set_engine,
            "engineMode" set_engine_mode,
            "kmsKeyID" set_kms_key_id,
            "publiclyAccessible" set_publicly_accessible,
        )
    };
}

/// The spec with the snapshot that it is made from: the one that was chosen, else the one that Git declares.
fn from_backup(wanted: &Wanted, field: &str) -> Value {
    let mut spec = wanted.spec.clone();
    if let Some(backup) = &wanted.backup {
        put(&mut spec, field, backup.as_str().into());
    }
    spec
}

fn backup(id: Option<&str>, kind: Option<&str>, taken: Option<&DateTime>, status: Option<&str>, key: Option<&str>) -> Option<Backup> {
    Some(Backup {
        id: id?.to_owned(),
        what: if kind == Some("automated") { "automated snapshot" } else { "snapshot" },
        taken: jiff::Timestamp::from_second(taken?.secs()).ok()?,
        unusable: status.filter(|status| *status != "available").map(str::to_owned),
        key: key.map(str::to_owned),
    })
}

#[async_trait]
impl Kind for Instance {
    fn schema(&self) -> &'static Schema {
        &DB_INSTANCE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let mut found = Vec::new();
        let mut all = cloud.rds().describe_db_instances().max_records(100).into_paginator().items().send();
        while let Some(one) = all.next().await {
            let one = one.map_err(|error| CloudError::new("rds DescribeDBInstances", &error))?;
            found.extend(meant(wanted, "dbInstanceIdentifier", one.db_instance_identifier()).map(|declared| instance(&one, declared)));
        }
        Ok(found)
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let spec = &from_backup(wanted, "dbSnapshotIdentifier");
        let tags = form::tags(&wanted.tags)?;
        let made = if spec.get("dbSnapshotIdentifier").is_some() {
            let call = new_instance!(cloud.rds().restore_db_instance_from_db_snapshot(), spec);
            let made = given!(call, spec; "dbSnapshotIdentifier" set_db_snapshot_identifier).set_tags(tags).send().await;
            made.map_err(|error| passing(CloudError::new("rds RestoreDBInstanceFromDBSnapshot", &error)))?.db_instance
        } else {
            let call = given!(instance_settings!(new_instance!(cloud.rds().create_db_instance(), spec), spec), spec;
                "characterSetName" set_character_set_name,
                "dbClusterIdentifier" set_db_cluster_identifier,
                "kmsKeyID" set_kms_key_id,
                "masterUsername" set_master_username,
                "ncharCharacterSetName" set_nchar_character_set_name,
                "storageEncrypted" set_storage_encrypted,
                "timezone" set_timezone,
            );
            let made = call.set_tags(tags).send().await;
            made.map_err(|error| passing(CloudError::new("rds CreateDBInstance", &error)))?.db_instance
        };
        made.map(|made| instance(&made, spec)).ok_or_else(|| CloudError::malformed("rds CreateDBInstance", "DBInstance"))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        tag(cloud, wanted, living, differences).await?;
        let Some(spec) = changed(&wanted.spec, differences) else { return Ok(()) };
        let call = instance_settings!(instance!(cloud.rds().modify_db_instance(), &spec), &spec);
        let call = given!(call, &spec; "port" set_db_port_number).db_instance_identifier(&living.id);
        let call = call.set_cloudwatch_logs_export_configuration(exports(&spec, &living.spec)?).apply_immediately(true);
        let made = call.set_allow_major_version_upgrade(spec.get("engineVersion").map(|_| true)).send().await;
        made.map_err(|error| passing(CloudError::new("rds ModifyDBInstance", &error)))?;
        seen(cloud).await;
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let told = cloud.rds().describe_db_instances().db_instance_identifier(&living.id).send().await;
        let told = or_absent(told.map_err(|error| CloudError::new("rds DescribeDBInstances", &error)))?;
        Ok(told.and_then(|told| told.db_instances().first().map(|one| instance(one, &living.spec))))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        // As ACK does; the automated backups stay for their time.
        let call = cloud.rds().delete_db_instance().db_instance_identifier(&living.id).skip_final_snapshot(true);
        let deleted = call.delete_automated_backups(false).send().await;
        gone(deleted.map_err(|error| passing(CloudError::new("rds DeleteDBInstance", &error))))
    }

    async fn holds(&self, _: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        Ok(Some(database(living)))
    }

    async fn backups(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<(usize, Backup)>, CloudError> {
        let mut found = Vec::new();
        let mut all = cloud.rds().describe_db_snapshots().max_records(100).into_paginator().items().send();
        while let Some(one) = all.next().await {
            let one = one.map_err(|error| CloudError::new("rds DescribeDBSnapshots", &error))?;
            let is_it = |wanted: &Wanted| wanted.text("dbInstanceIdentifier") == one.db_instance_identifier();
            let Some(position) = wanted.iter().position(is_it) else { continue };
            let taken = one.original_snapshot_create_time().or(one.snapshot_create_time());
            let backup = backup(one.db_snapshot_identifier(), one.snapshot_type(), taken, one.status(), one.kms_key_id());
            found.extend(backup.map(|backup| (position, backup)));
        }
        Ok(found)
    }

    fn poll(&self) -> u32 {
        10
    }
}

#[async_trait]
impl Kind for Cluster {
    fn schema(&self) -> &'static Schema {
        &DB_CLUSTER
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let mut found = Vec::new();
        let mut all = cloud.rds().describe_db_clusters().max_records(100).into_paginator().items().send();
        while let Some(one) = all.next().await {
            let one = one.map_err(|error| CloudError::new("rds DescribeDBClusters", &error))?;
            found.extend(meant(wanted, "dbClusterIdentifier", one.db_cluster_identifier()).map(|declared| cluster(&one, declared)));
        }
        Ok(found)
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let spec = &from_backup(wanted, "snapshotIdentifier");
        let tags = form::tags(&wanted.tags)?;
        let made = if spec.get("snapshotIdentifier").is_some() {
            let call = new_cluster!(cloud.rds().restore_db_cluster_from_snapshot(), spec);
            let made = given!(call, spec; "snapshotIdentifier" set_snapshot_identifier).set_tags(tags).send().await;
            made.map_err(|error| passing(CloudError::new("rds RestoreDBClusterFromSnapshot", &error)))?.db_cluster
        } else {
            let call = given!(cluster_settings!(new_cluster!(cloud.rds().create_db_cluster(), spec), spec), spec;
                "characterSetName" set_character_set_name,
                "masterUsername" set_master_username,
                "storageEncrypted" set_storage_encrypted,
            );
            let made = call.set_tags(tags).send().await;
            made.map_err(|error| passing(CloudError::new("rds CreateDBCluster", &error)))?.db_cluster
        };
        made.map(|made| cluster(&made, spec)).ok_or_else(|| CloudError::malformed("rds CreateDBCluster", "DBCluster"))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        tag(cloud, wanted, living, differences).await?;
        let Some(spec) = changed(&wanted.spec, differences) else { return Ok(()) };
        let call = cluster_settings!(cluster!(cloud.rds().modify_db_cluster(), &spec), &spec).db_cluster_identifier(&living.id);
        let call = call.set_cloudwatch_logs_export_configuration(exports(&spec, &living.spec)?).apply_immediately(true);
        let made = call.set_allow_major_version_upgrade(spec.get("engineVersion").map(|_| true)).send().await;
        made.map_err(|error| passing(CloudError::new("rds ModifyDBCluster", &error)))?;
        seen(cloud).await;
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let told = cloud.rds().describe_db_clusters().db_cluster_identifier(&living.id).send().await;
        let told = or_absent(told.map_err(|error| CloudError::new("rds DescribeDBClusters", &error)))?;
        Ok(told.and_then(|told| told.db_clusters().first().map(|one| cluster(one, &living.spec))))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let call = cloud.rds().delete_db_cluster().db_cluster_identifier(&living.id).skip_final_snapshot(true);
        let deleted = call.delete_automated_backups(false).send().await;
        gone(deleted.map_err(|error| passing(CloudError::new("rds DeleteDBCluster", &error))))
    }

    async fn holds(&self, _: &Cloud, living: &Living) -> Result<Option<String>, CloudError> {
        Ok(Some(database(living)))
    }

    async fn backups(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<(usize, Backup)>, CloudError> {
        let mut found = Vec::new();
        let mut all = cloud.rds().describe_db_cluster_snapshots().max_records(100).into_paginator().items().send();
        while let Some(one) = all.next().await {
            let one = one.map_err(|error| CloudError::new("rds DescribeDBClusterSnapshots", &error))?;
            let is_it = |wanted: &Wanted| wanted.text("dbClusterIdentifier") == one.db_cluster_identifier();
            let Some(position) = wanted.iter().position(is_it) else { continue };
            let taken = one.snapshot_create_time();
            let backup = backup(one.db_cluster_snapshot_identifier(), one.snapshot_type(), taken, one.status(), one.kms_key_id());
            found.extend(backup.map(|backup| (position, backup)));
        }
        Ok(found)
    }

    fn poll(&self) -> u32 {
        10
    }
}

#[async_trait]
impl Kind for SubnetGroup {
    fn schema(&self) -> &'static Schema {
        &DB_SUBNET_GROUP
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let mut found = Vec::new();
        let mut all = cloud.rds().describe_db_subnet_groups().max_records(100).into_paginator().items().send();
        while let Some(one) = all.next().await {
            let one = one.map_err(|error| CloudError::new("rds DescribeDBSubnetGroups", &error))?;
            if let Some(declared) = meant(wanted, "name", one.db_subnet_group_name()) {
                found.push((one, declared));
            }
        }
        try_join_all(found.iter().map(|(one, declared)| subnet_group(cloud, one, declared))).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = given!(cloud.rds().create_db_subnet_group(), &wanted.spec;
            "name" set_db_subnet_group_name,
            "description" set_db_subnet_group_description,
            "subnetIDs" set_subnet_ids,
        );
        let made = call.set_tags(form::tags(&wanted.tags)?).send().await;
        let made = made.map_err(|error| CloudError::new("rds CreateDBSubnetGroup", &error))?;
        let made = made.db_subnet_group.ok_or_else(|| CloudError::malformed("rds CreateDBSubnetGroup", "DBSubnetGroup"))?;
        Ok(living_subnet_group(&made, &wanted.spec, wanted.tags.clone()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        tag(cloud, wanted, living, differences).await?;
        if differs(differences, "description") || differs(differences, "subnetIDs") {
            let call = cloud.rds().modify_db_subnet_group().db_subnet_group_name(&living.id);
            let call = given!(call, &wanted.spec; "description" set_db_subnet_group_description, "subnetIDs" set_subnet_ids);
            call.send().await.map_err(|error| passing(CloudError::new("rds ModifyDBSubnetGroup", &error)))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let told = cloud.rds().describe_db_subnet_groups().db_subnet_group_name(&living.id).send().await;
        let told = or_absent(told.map_err(|error| CloudError::new("rds DescribeDBSubnetGroups", &error)))?;
        match told.as_ref().and_then(|told| told.db_subnet_groups().first()) {
            Some(one) => subnet_group(cloud, one, &living.spec).await.map(Some),
            None => Ok(None),
        }
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.rds().delete_db_subnet_group().db_subnet_group_name(&living.id).send().await;
        gone(deleted.map_err(|error| passing(CloudError::new("rds DeleteDBSubnetGroup", &error))))
    }
}

/// What is lost with an instance or a cluster.
fn database(living: &Living) -> String {
    let storage = living.spec.get("allocatedStorage").and_then(Value::as_i64).filter(|storage| *storage > 1);
    let storage = storage.map_or_else(String::new, |storage| format!(" of {storage} GiB"));
    format!("a database{storage}, without a last snapshot; its automated backups stay for their time")
}

/// The declared spec that means a living resource of this name; RDS keeps names in small letters.
fn meant<'a>(wanted: &'a [Wanted], field: &str, name: Option<&str>) -> Option<&'a Value> {
    let is_meant = |wanted: &&Wanted| wanted.text(field).zip(name).is_some_and(|(declared, name)| declared.eq_ignore_ascii_case(name));
    wanted.iter().find(is_meant).map(|wanted| &wanted.spec)
}

/// What is busy with something else takes the call later: `InvalidDBInstanceState`, `InvalidDBClusterStateFault`, …
fn passing(mut error: CloudError) -> CloudError {
    if error.code.starts_with("InvalidDB") && error.code.contains("State") {
        error.meaning = Meaning::Dependency;
    }
    error
}

fn gone<T>(deleted: Result<T, CloudError>) -> Result<(), CloudError> {
    match deleted {
        Err(error) if error.message.contains("being deleted") => Ok(()),
        other => or_absent(other).map(drop),
    }
}

/// A change shows in the status only after a while.
async fn seen(cloud: &Cloud) {
    tokio::time::sleep(cloud.pace(15)).await;
}

async fn tag(cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
    if differs(differences, "tags") {
        let arn = living.status.pointer("/ackResourceMetadata/arn").and_then(Value::as_str).unwrap_or_default();
        let call = cloud.rds().add_tags_to_resource().resource_name(arn).set_tags(form::tags(&wanted.declared.tags())?);
        call.send().await.map_err(|error| CloudError::new("rds AddTagsToResource", &error))?;
    }
    Ok(())
}

/// Fields that RDS takes together only.
const TOGETHER: &[&[&str]] = &[
    &["allocatedStorage", "iops", "storageThroughput", "storageType"],
    &["domain", "domainIAMRoleName"],
    &["manageMasterUserPassword", "masterUserSecretKMSKeyID"],
    &["monitoringInterval", "monitoringRoleARN"],
    &["enablePerformanceInsights", "performanceInsightsEnabled", "performanceInsightsKMSKeyID", "performanceInsightsRetentionPeriod"],
];

/// The declared fields to change; none where only tags differ.
fn changed(spec: &Value, differences: &[Difference]) -> Option<Value> {
    let differing: Vec<&str> = differences.iter().filter_map(|difference| difference.path.split('.').next()).collect();
    let is_sent = |key: &str| {
        differing.contains(&key) || TOGETHER.iter().any(|group| group.contains(&key) && group.iter().any(|other| differing.contains(other)))
    };
    let fields: Map<String, Value> = spec
        .as_object()?
        .iter()
        .filter(|(key, _)| *key != "tags" && is_sent(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

const EXPORTS: &str = "enableCloudwatchLogsExports";

/// Logs to begin and to end with.
fn exports(spec: &Value, living: &Value) -> Result<Option<CloudwatchLogsExportConfiguration>, CloudError> {
    let Some(declared) = form::take::<Option<Vec<String>>>(spec, EXPORTS)? else { return Ok(None) };
    let living: Vec<String> = form::take::<Option<_>>(living, EXPORTS)?.unwrap_or_default();
    let (begin, end) = (without(&declared, &living), without(&living, &declared));
    Ok(Some(CloudwatchLogsExportConfiguration::builder().set_enable_log_types(Some(begin)).set_disable_log_types(Some(end)).build()))
}

fn without(all: &[String], others: &[String]) -> Vec<String> {
    all.iter().filter(|one| !others.contains(one)).cloned().collect()
}

fn groups(memberships: &[VpcSecurityGroupMembership]) -> Value {
    let staying = memberships.iter().filter(|group| group.status() != Some("removing"));
    staying.filter_map(|group| group.vpc_security_group_id()).collect()
}

fn instance(one: &DbInstance, declared: &Value) -> Living {
    let status = one.db_instance_status().unwrap_or_default();
    let domain = one.domain_memberships().first();
    let now = object([
        ("dbInstanceIdentifier", one.db_instance_identifier.write()),
        ("allocatedStorage", one.allocated_storage.write()),
        ("autoMinorVersionUpgrade", one.auto_minor_version_upgrade.write()),
        ("availabilityZone", one.availability_zone.write()),
        ("backupRetentionPeriod", one.backup_retention_period.write()),
        ("backupTarget", one.backup_target.write()),
        ("caCertificateIdentifier", one.ca_certificate_identifier.write()),
        ("characterSetName", one.character_set_name.write()),
        ("copyTagsToSnapshot", one.copy_tags_to_snapshot.write()),
        ("dbClusterIdentifier", one.db_cluster_identifier.write()),
        ("dbInstanceClass", one.db_instance_class.write()),
        ("dbName", one.db_name.write()),
        ("dbParameterGroupName", one.db_parameter_groups().first().map_or(Value::Null, |group| group.db_parameter_group_name.write())),
        ("dbSubnetGroupName", one.db_subnet_group().map_or(Value::Null, |group| group.db_subnet_group_name.write())),
        ("deletionProtection", one.deletion_protection.write()),
        ("domain", domain.map_or(Value::Null, |member| member.domain.write())),
        ("domainIAMRoleName", domain.map_or(Value::Null, |member| member.iam_role_name.write())),
        (EXPORTS, one.enabled_cloudwatch_logs_exports.write()),
        ("enableIAMDatabaseAuthentication", one.iam_database_authentication_enabled.write()),
        ("engine", one.engine.write()),
        ("engineVersion", one.engine_version.write()),
        ("iops", one.iops.write()),
        ("kmsKeyID", one.kms_key_id.write()),
        ("licenseModel", one.license_model.write()),
        ("manageMasterUserPassword", one.master_user_secret.is_some().into()),
        ("masterUserSecretKMSKeyID", one.master_user_secret().map_or(Value::Null, |secret| secret.kms_key_id.write())),
        ("masterUsername", one.master_username.write()),
        ("maxAllocatedStorage", one.max_allocated_storage.write()),
        ("monitoringInterval", one.monitoring_interval.write()),
        ("monitoringRoleARN", one.monitoring_role_arn.write()),
        ("multiAZ", one.multi_az.write()),
        ("ncharCharacterSetName", one.nchar_character_set_name.write()),
        ("networkType", one.network_type.write()),
        ("optionGroupName", one.option_group_memberships().first().map_or(Value::Null, |group| group.option_group_name.write())),
        ("performanceInsightsEnabled", one.performance_insights_enabled.write()),
        ("performanceInsightsKMSKeyID", one.performance_insights_kms_key_id.write()),
        ("performanceInsightsRetentionPeriod", one.performance_insights_retention_period.write()),
        ("port", one.endpoint().map_or(Value::Null, |endpoint| endpoint.port.write())),
        ("preferredBackupWindow", one.preferred_backup_window.write()),
        ("preferredMaintenanceWindow", one.preferred_maintenance_window.write()),
        ("processorFeatures", one.processor_features.write()),
        ("promotionTier", one.promotion_tier.write()),
        ("publiclyAccessible", one.publicly_accessible.write()),
        ("storageEncrypted", one.storage_encrypted.write()),
        ("storageThroughput", one.storage_throughput.write()),
        ("storageType", one.storage_type.write()),
        ("timezone", one.timezone.write()),
        ("vpcSecurityGroupIDs", groups(one.vpc_security_groups())),
    ]);
    let pending = one.pending_modified_values();
    let next = pending.map_or(Value::Null, |next| {
        object([
            ("allocatedStorage", next.allocated_storage.write()),
            ("backupRetentionPeriod", next.backup_retention_period.write()),
            ("caCertificateIdentifier", next.ca_certificate_identifier.write()),
            ("dbInstanceClass", next.db_instance_class.write()),
            ("dbSubnetGroupName", next.db_subnet_group_name.write()),
            ("enableIAMDatabaseAuthentication", next.iam_database_authentication_enabled.write()),
            ("engineVersion", next.engine_version.write()),
            ("iops", next.iops.write()),
            ("licenseModel", next.license_model.write()),
            ("multiAZ", next.multi_az.write()),
            ("port", next.port.write()),
            ("processorFeatures", next.processor_features.write()),
            ("storageThroughput", next.storage_throughput.write()),
            ("storageType", next.storage_type.write()),
        ])
    });
    Living {
        id: one.db_instance_identifier.clone().unwrap_or_default(),
        spec: settled(now, &next, status, declared),
        status: object([
            ("dbInstanceStatus", status.into()),
            ("dbiResourceID", one.dbi_resource_id.write()),
            (
                "endpoint",
                one.endpoint().map_or(Value::Null, |endpoint| {
                    object([
                        ("address", endpoint.address.write()),
                        ("hostedZoneID", endpoint.hosted_zone_id.write()),
                        ("port", endpoint.port.write()),
                    ])
                }),
            ),
            ("masterUserSecret", one.master_user_secret.write()),
            ("ackResourceMetadata", json!({"arn": one.db_instance_arn})),
        ]),
        tags: form::tag_map(&one.tag_list),
        state: state(status, pending.and_then(|next| next.pending_cloudwatch_logs_exports.as_ref())),
        created: form::time(one.instance_create_time()),
    }
}

fn cluster(one: &DbCluster, declared: &Value) -> Living {
    let status = one.status().unwrap_or_default();
    let domain = one.domain_memberships().first();
    // The usual storage of Aurora has no name in the answer.
    let is_aurora = one.engine().is_some_and(|engine| engine.starts_with("aurora"));
    let storage = one.storage_type().or(is_aurora.then_some("aurora"));
    let now = object([
        ("dbClusterIdentifier", one.db_cluster_identifier.write()),
        ("allocatedStorage", one.allocated_storage.write()),
        ("autoMinorVersionUpgrade", one.auto_minor_version_upgrade.write()),
        ("backtrackWindow", one.backtrack_window.write()),
        ("backupRetentionPeriod", one.backup_retention_period.write()),
        ("characterSetName", one.character_set_name.write()),
        ("copyTagsToSnapshot", one.copy_tags_to_snapshot.write()),
        ("databaseName", one.database_name.write()),
        ("dbClusterInstanceClass", one.db_cluster_instance_class.write()),
        ("dbClusterParameterGroupName", one.db_cluster_parameter_group.write()),
        ("dbSubnetGroupName", one.db_subnet_group.write()),
        ("deletionProtection", one.deletion_protection.write()),
        ("domain", domain.map_or(Value::Null, |member| member.domain.write())),
        ("domainIAMRoleName", domain.map_or(Value::Null, |member| member.iam_role_name.write())),
        (EXPORTS, one.enabled_cloudwatch_logs_exports.write()),
        ("enableHTTPEndpoint", one.http_endpoint_enabled.write()),
        ("enableIAMDatabaseAuthentication", one.iam_database_authentication_enabled.write()),
        ("enablePerformanceInsights", one.performance_insights_enabled.write()),
        ("engine", one.engine.write()),
        ("engineMode", one.engine_mode.write()),
        ("engineVersion", one.engine_version.write()),
        ("iops", one.iops.write()),
        ("kmsKeyID", one.kms_key_id.write()),
        ("manageMasterUserPassword", one.master_user_secret.is_some().into()),
        ("masterUserSecretKMSKeyID", one.master_user_secret().map_or(Value::Null, |secret| secret.kms_key_id.write())),
        ("masterUsername", one.master_username.write()),
        ("monitoringInterval", one.monitoring_interval.write()),
        ("monitoringRoleARN", one.monitoring_role_arn.write()),
        ("networkType", one.network_type.write()),
        (
            "optionGroupName",
            one.db_cluster_option_group_memberships().first().map_or(Value::Null, |group| group.db_cluster_option_group_name.write()),
        ),
        ("performanceInsightsKMSKeyID", one.performance_insights_kms_key_id.write()),
        ("performanceInsightsRetentionPeriod", one.performance_insights_retention_period.write()),
        ("port", one.port.write()),
        ("preferredBackupWindow", one.preferred_backup_window.write()),
        ("preferredMaintenanceWindow", one.preferred_maintenance_window.write()),
        ("publiclyAccessible", one.publicly_accessible.write()),
        ("scalingConfiguration", one.scaling_configuration_info.write()),
        ("serverlessV2ScalingConfiguration", one.serverless_v2_scaling_configuration.write()),
        ("storageEncrypted", one.storage_encrypted.write()),
        ("storageType", storage.into()),
        ("vpcSecurityGroupIDs", groups(one.vpc_security_groups())),
    ]);
    let pending = one.pending_modified_values();
    let next = pending.map_or(Value::Null, |next| {
        object([
            ("allocatedStorage", next.allocated_storage.write()),
            ("backupRetentionPeriod", next.backup_retention_period.write()),
            ("enableIAMDatabaseAuthentication", next.iam_database_authentication_enabled.write()),
            ("engineVersion", next.engine_version.write()),
            ("iops", next.iops.write()),
            ("storageType", next.storage_type.write()),
        ])
    });
    Living {
        id: one.db_cluster_identifier.clone().unwrap_or_default(),
        spec: settled(now, &next, status, declared),
        status: object([
            ("status", status.into()),
            ("dbClusterResourceID", one.db_cluster_resource_id.write()),
            ("endpoint", one.endpoint.write()),
            ("hostedZoneID", one.hosted_zone_id.write()),
            ("masterUserSecret", one.master_user_secret.write()),
            ("readerEndpoint", one.reader_endpoint.write()),
            ("ackResourceMetadata", json!({"arn": one.db_cluster_arn})),
        ]),
        tags: form::tag_map(&one.tag_list),
        state: state(status, pending.and_then(|next| next.pending_cloudwatch_logs_exports.as_ref())),
        created: form::time(one.cluster_create_time()),
    }
}

async fn subnet_group(cloud: &Cloud, one: &DbSubnetGroup, declared: &Value) -> Result<Living, CloudError> {
    let told = cloud.rds().list_tags_for_resource().resource_name(one.db_subnet_group_arn().unwrap_or_default()).send().await;
    let told = or_absent(told.map_err(|error| CloudError::new("rds ListTagsForResource", &error)))?;
    Ok(living_subnet_group(one, declared, told.map(|told| form::tag_map(&told.tag_list)).unwrap_or_default()))
}

fn living_subnet_group(one: &DbSubnetGroup, declared: &Value, tags: BTreeMap<String, String>) -> Living {
    let mut spec = object([
        ("name", one.db_subnet_group_name.write()),
        ("description", one.db_subnet_group_description.write()),
        ("subnetIDs", one.subnets().iter().filter_map(|subnet| subnet.subnet_identifier()).collect()),
    ]);
    if let Some(name) = declared.get("name") {
        as_declared("name", &mut spec["name"], name);
    }
    Living {
        id: one.db_subnet_group_name.clone().unwrap_or_default(),
        spec,
        status: object([
            ("subnetGroupStatus", one.subnet_group_status.write()),
            ("vpcID", one.vpc_id.write()),
            ("ackResourceMetadata", json!({"arn": one.db_subnet_group_arn})),
        ]),
        tags,
        state: State::Ready,
        created: None,
    }
}

/// What lives when all that is pending is done, in the words of Git.
fn settled(mut now: Value, next: &Value, status: &str, declared: &Value) -> Value {
    for (key, value) in next.as_object().into_iter().flatten() {
        put(&mut now, key, value.clone());
    }
    for (key, declared) in declared.as_object().into_iter().flatten() {
        match now.get_mut(key) {
            Some(living) => as_declared(key, living, declared),
            // Zone, port and others are told late: so long, what was asked for counts.
            None if status == "creating" => put(&mut now, key, declared.clone()),
            None => {}
        }
    }
    now
}

/// RDS tells small letters, a full version, the ARN of a key, a fraction, where Git may say the same otherwise.
fn as_declared(key: &str, living: &mut Value, declared: &Value) {
    let is_same = match (&*living, declared) {
        (Value::String(arn), _) if key.ends_with("KeyID") || key.ends_with("kmsKeyID") => {
            *living = form::key_as_declared(Some(arn), Some(declared));
            false
        }
        (Value::String(living), Value::String(declared)) if key == "engineVersion" => {
            living.strip_prefix(declared.as_str()).is_some_and(|rest| rest.starts_with('.'))
        }
        (Value::String(living), Value::String(declared)) => living.eq_ignore_ascii_case(declared),
        (Value::Number(living), Value::Number(declared)) => living.as_f64() == declared.as_f64(),
        (Value::Object(_), Value::Object(declared)) => {
            for (key, declared) in declared {
                if let Some(living) = living.get_mut(key) {
                    as_declared(key, living, declared);
                }
            }
            false
        }
        _ => false,
    };
    if is_same {
        living.clone_from(declared);
    }
}

/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html#Overview.DBInstance.Status>
fn state(status: &str, logs: Option<&PendingCloudwatchLogsExports>) -> State {
    let word = status.to_owned();
    match status {
        "available" if logs.is_some_and(|logs| !logs.log_types_to_enable().is_empty() || !logs.log_types_to_disable().is_empty()) => {
            State::Pending("configuring-log-exports".to_owned())
        }
        // Backups and moves of storage go on beside the work, some of them for hours.
        "available" | "backing-up" | "storage-config-upgrade" | "storage-initialization" | "storage-optimization" => State::Ready,
        "deleted" | "deleting" => State::Leaving(word),
        "failed" | "insufficient-capacity" | "restore-error" | "stopped" | "stopping" | "storage-full" => State::Failed(word),
        _ if status.starts_with("incompatible-") || status.starts_with("inaccessible-encryption-credentials") => State::Failed(word),
        _ => State::Pending(word),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_pass_by_value)]
mod tests {
    use super::*;
    use crate::layers::infrastructure::Change;

    fn as_told(told: Value, declared: Value) -> Value {
        settled(told, &Value::Null, "available", &declared)
    }

    #[test]
    fn what_rds_tells_otherwise_is_told_in_the_words_of_git() {
        let key = "arn:aws:kms:eu-west-1:123456789012:key/12";
        let told = json!({"engineVersion": "16.3", "dbInstanceIdentifier": "orders", "kmsKeyID": key,
            "serverlessV2ScalingConfiguration": {"minCapacity": 1.0, "maxCapacity": 4.5}});
        let declared = json!({"engineVersion": "16", "dbInstanceIdentifier": "Orders", "kmsKeyID": "12",
            "serverlessV2ScalingConfiguration": {"minCapacity": 1, "maxCapacity": 4}});
        let words = as_told(told, declared);
        assert_eq!(
            (&words["engineVersion"], &words["dbInstanceIdentifier"], &words["kmsKeyID"]),
            (&"16".into(), &"Orders".into(), &"12".into())
        );
        assert_eq!(words["serverlessV2ScalingConfiguration"], json!({"minCapacity": 1, "maxCapacity": 4.5}));
        assert_eq!(as_told(json!({"engineVersion": "16.3"}), json!({"engineVersion": "1"}))["engineVersion"], "16.3");
    }

    #[test]
    fn what_is_pending_counts_and_what_is_made_is_not_compared_too_early() {
        let next = settled(json!({"multiAZ": false}), &json!({"multiAZ": true}), "available", &json!({"port": 1}));
        assert_eq!(next, json!({"multiAZ": true}));
        let made = settled(json!({}), &Value::Null, "creating", &json!({"availabilityZone": "eu-west-1a"}));
        assert_eq!(made["availabilityZone"], "eu-west-1a");
    }

    #[test]
    fn what_belongs_together_is_sent_together() {
        let spec = json!({"iops": 3000, "allocatedStorage": 400, "multiAZ": true, "tags": []});
        let difference = |path| Difference { path, declared: Value::Null, living: Value::Null, change: Change::InPlace };
        assert_eq!(changed(&spec, &[difference("iops")]), Some(json!({"iops": 3000, "allocatedStorage": 400})));
        assert_eq!(changed(&spec, &[difference("tags")]), None);
    }

    #[test]
    fn logs_end_that_git_names_no_more() {
        let change = exports(&json!({EXPORTS: ["error", "audit"]}), &json!({EXPORTS: ["error", "general"]})).unwrap().unwrap();
        assert_eq!((change.enable_log_types(), change.disable_log_types()), (&["audit".to_owned()][..], &["general".to_owned()][..]));
    }
}
