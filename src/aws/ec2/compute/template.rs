//! Launch templates.

use crate::aws::ec2::{arn, filter, tag, tag_specifications, tags, text, time};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, object, take};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, refers};
use async_trait::async_trait;
use aws_sdk_ec2::types::{self, LaunchTemplateVersion, ResourceType};
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

static LAUNCH_TEMPLATE: Schema = Schema {
    service: "ec2",
    kind: "LaunchTemplate",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("data.blockDeviceMappings"),
        field("data.capacityReservationSpecification"),
        field("data.cpuOptions"),
        field("data.creditSpecification"),
        field("data.disableAPIStop"),
        field("data.disableAPITermination"),
        field("data.ebsOptimized"),
        field("data.enclaveOptions"),
        field("data.hibernationOptions"),
        field("data.iamInstanceProfile"),
        field("data.imageID"),
        field("data.instanceInitiatedShutdownBehavior"),
        field("data.instanceMarketOptions"),
        field("data.instanceType"),
        field("data.kernelID"),
        field("data.keyName"),
        field("data.licenseSpecifications"),
        field("data.maintenanceOptions"),
        field("data.metadataOptions"),
        field("data.monitoring"),
        field("data.networkInterfaces"),
        field("data.placement"),
        field("data.privateDNSNameOptions"),
        field("data.ramDiskID"),
        field("data.securityGroupIDs").set(),
        field("data.securityGroups").set(),
        field("data.tagSpecifications").set(),
        field("data.userData"),
        field("defaultVersion"),
        field("name").fixed(),
        field("versionDescription"),
    ],
    references: &[
        refers("data.blockDeviceMappings[].ebs.kmsKeyID", "data.blockDeviceMappings[].ebs.kmsKeyRef", "kms", "Key", "keyID"),
        refers("data.iamInstanceProfile.arn", "data.iamInstanceProfile.arn", "iam", "InstanceProfile", "arn"),
        refers("data.iamInstanceProfile.name", "data.iamInstanceProfile.name", "iam", "InstanceProfile", "name"),
        refers("data.networkInterfaces[].subnetID", "data.networkInterfaces[].subnetRef", "ec2", "Subnet", "subnetID"),
        refers("data.securityGroupIDs[]", "data.securityGroupRefs[]", "ec2", "SecurityGroup", "id"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

/// Which fields of a template make a new version.
fn is_of_version(difference: &Difference) -> bool {
    difference.path.starts_with("data.") || difference.path == "versionDescription"
}

pub(in crate::aws::ec2) struct LaunchTemplate;

#[async_trait]
impl Kind for LaunchTemplate {
    fn schema(&self) -> &'static Schema {
        &LAUNCH_TEMPLATE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("name")).collect();
        // A filter takes 200 values.
        let filters = (names.len() <= 200).then(|| vec![filter("launch-template-name", names.iter().copied())]);
        let templates = cloud.ec2().describe_launch_templates().set_filters(filters).into_paginator().items().send();
        let templates: Vec<_> = templates.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplates", &error))?;
        let meant = templates.iter().filter(|template| names.contains(template.launch_template_name().unwrap_or_default()));
        let found = try_join_all(meant.map(|template| with_version(cloud, template))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud
            .ec2()
            .create_launch_template()
            .client_token(&wanted.token)
            .set_launch_template_name(text(wanted, "name"))
            .set_launch_template_data(take(&wanted.spec, "data")?)
            .set_version_description(text(wanted, "versionDescription"))
            .tag_specifications(tag_specifications(ResourceType::LaunchTemplate, wanted));
        let made = call.send().await.map_err(|error| CloudError::new("ec2 CreateLaunchTemplate", &error))?;
        let template = made.launch_template().ok_or_else(|| CloudError::malformed("ec2 CreateLaunchTemplate", "LaunchTemplate"))?;
        Ok(words(cloud, template, None))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let latest = living.status.get("latestVersion").and_then(Value::as_i64).unwrap_or_default();
        let changed = if differences.iter().any(is_of_version) { latest + 1 } else { latest };
        // Versions count from one: a template that was lost gets as many again as Git and its users count on.
        let last = wanted.number("defaultVersion").map_or(changed, |version| version.max(changed));
        for version in latest + 1..=last {
            let call = cloud
                .ec2()
                .create_launch_template_version()
                .client_token(format!("{}-{version}", wanted.token))
                .launch_template_id(&living.id)
                .set_launch_template_data(take(&wanted.spec, "data")?)
                .set_version_description(text(wanted, "versionDescription"));
            call.send().await.map_err(|error| CloudError::new("ec2 CreateLaunchTemplateVersion", &error))?;
        }
        if let Some(version) = wanted.number("defaultVersion").filter(|_| differs(differences, "defaultVersion")) {
            let call = cloud.ec2().modify_launch_template().launch_template_id(&living.id).default_version(version.to_string());
            call.send().await.map_err(|error| CloudError::new("ec2 ModifyLaunchTemplate", &error))?;
        }
        if differs(differences, "tags") { tag(cloud, &living.id, wanted).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let found = cloud.ec2().describe_launch_templates().launch_template_ids(&living.id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplates", &error)))?;
        match found.as_ref().and_then(|found| found.launch_templates().first()) {
            Some(template) => with_version(cloud, template).await,
            None => Ok(None),
        }
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.ec2().delete_launch_template().launch_template_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ec2 DeleteLaunchTemplate", &error))).map(drop)
    }
}

/// A template with what its latest version says, which is what ACK compares.
async fn with_version(cloud: &Cloud, template: &types::LaunchTemplate) -> Result<Option<Living>, CloudError> {
    let call = cloud.ec2().describe_launch_template_versions().set_launch_template_id(template.launch_template_id.clone());
    let found = call.versions("$Latest").send().await.map_err(|error| CloudError::new("ec2 DescribeLaunchTemplateVersions", &error));
    Ok(or_absent(found)?.map(|found| words(cloud, template, found.launch_template_versions().first())))
}

fn words(cloud: &Cloud, template: &types::LaunchTemplate, version: Option<&LaunchTemplateVersion>) -> Living {
    let id = template.launch_template_id().unwrap_or_default();
    Living {
        id: id.to_owned(),
        spec: object([
            ("data", version.map_or(Value::Null, |version| version.launch_template_data.write())),
            ("defaultVersion", template.default_version_number.write()),
            ("name", template.launch_template_name.write()),
            ("versionDescription", version.map_or(Value::Null, |version| version.version_description.write())),
        ]),
        status: json!({
            "id": id,
            "latestVersion": template.latest_version_number(),
            "createdBy": template.created_by(),
            "ackResourceMetadata": {"arn": arn(cloud, "launch-template", id)},
        }),
        tags: tags(template.tags()),
        state: State::Ready,
        created: time(template.create_time()),
    }
}
