//! Who may do what: principals of IAM in the cluster, and service accounts of the cluster in IAM.

use super::{CLUSTER, Member, ROLE, busy, members, named, new_tags, place, refused, tag, tags, token};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given, take, time};
use crate::aws::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, field, put, refers};
use async_trait::async_trait;
use aws_sdk_eks::types::{self, AssociatedAccessPolicy};
use futures::future::try_join;
use serde_json::json;

const POLICIES: &str = "accessPolicies";

static ACCESS_ENTRY: Schema = Schema {
    service: "eks",
    kind: "AccessEntry",
    identity: Identity::Name(&["clusterName", "principalARN"]),
    fields: &[
        field(POLICIES).set(),
        field("clusterName").fixed(),
        field("kubernetesGroups").set(),
        field("principalARN").fixed(),
        field("type").fixed(),
        field("username"),
    ],
    references: &[CLUSTER, refers("principalARN", "principalARN", "iam", "Role", "arn")],
    tags: Tags::Map("tags"),
    arn: None,
    seconds: 2,
};

static POD_IDENTITY_ASSOCIATION: Schema = Schema {
    service: "eks",
    kind: "PodIdentityAssociation",
    identity: Identity::Name(&["clusterName", "namespace", "serviceAccount"]),
    fields: &[
        field("clientRequestToken").once(),
        field("clusterName").fixed(),
        field("disableSessionTags"),
        field("namespace").fixed(),
        field("policy").policy(),
        field("roleARN"),
        field("serviceAccount").fixed(),
        field("targetRoleARN"),
    ],
    references: &[CLUSTER, ROLE, refers("targetRoleARN", "targetRoleARN", "iam", "Role", "arn")],
    tags: Tags::Map("tags"),
    arn: None,
    seconds: 2,
};

pub(super) struct AccessEntry;

#[async_trait]
impl Member for AccessEntry {
    fn key(wanted: &Wanted) -> Option<String> {
        wanted.text("principalARN").map(str::to_owned)
    }

    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError> {
        let principals = cloud.eks().list_access_entries().cluster_name(cluster).into_paginator().items().send().try_collect().await;
        match principals.map_err(|error| CloudError::new("eks ListAccessEntries", &error)) {
            Ok(principals) => Ok(named(principals)),
            // The cluster knows aws-auth only, and is changed to what Git declares before any entry is made.
            Err(error) if error.message.contains("authentication mode must be set") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn read(cloud: &Cloud, cluster: &str, principal: &str) -> Result<Option<Living>, CloudError> {
        let entry = async {
            let found = cloud.eks().describe_access_entry().cluster_name(cluster).principal_arn(principal).send().await;
            found.map_err(|error| CloudError::new("eks DescribeAccessEntry", &error))
        };
        let policies = async {
            let call = cloud.eks().list_associated_access_policies().cluster_name(cluster).principal_arn(principal);
            let found = call.into_paginator().items().send().try_collect().await;
            found.map_err(|error| CloudError::new("eks ListAssociatedAccessPolicies", &error))
        };
        let Some((entry, policies)) = or_absent(try_join(entry, policies).await)? else { return Ok(None) };
        Ok(entry.access_entry().map(|entry| living_entry(entry, &policies)))
    }
}

#[async_trait]
impl Kind for AccessEntry {
    fn schema(&self) -> &'static Schema {
        &ACCESS_ENTRY
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        members::<Self>(cloud, wanted).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreateAccessEntry";
        let call = given!(cloud.eks().create_access_entry(), &wanted.spec;
            "clusterName" set_cluster_name,
            "kubernetesGroups" set_kubernetes_groups,
            "principalARN" set_principal_arn,
            "type" set_type,
            "username" set_username,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        match made.map_err(|error| refused(OPERATION, &error)) {
            Ok(made) => {
                made.access_entry().map(|entry| living_entry(entry, &[])).ok_or_else(|| CloudError::malformed(OPERATION, "accessEntry"))
            }
            // EKS itself makes entries in a new cluster: for the roles of its nodes, and for who made it.
            Err(error) if error.meaning == Meaning::Exists => {
                let (cluster, principal) = (wanted.text("clusterName"), wanted.text("principalARN"));
                Self::read(cloud, cluster.unwrap_or_default(), principal.unwrap_or_default()).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differs(differences, "kubernetesGroups") || differs(differences, "username") {
            let (cluster, principal) = place(living, "principalARN");
            let call = cloud.eks().update_access_entry().cluster_name(cluster).principal_arn(principal);
            let call = given!(call, &wanted.spec; "kubernetesGroups" set_kubernetes_groups, "username" set_username);
            call.send().await.map_err(|error| busy("eks UpdateAccessEntry", &error))?;
        }
        if differs(differences, POLICIES) {
            associate(cloud, wanted, living).await?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, principal) = place(living, "principalARN");
        Self::read(cloud, cluster, principal).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let (cluster, principal) = place(living, "principalARN");
        let deleted = cloud.eks().delete_access_entry().cluster_name(cluster).principal_arn(principal).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeleteAccessEntry", &error))).map(drop)
    }
}

/// Gives the declared policies their scope, and takes away what Git does not declare, as ACK does.
async fn associate(cloud: &Cloud, wanted: &Wanted, living: &Living) -> Result<(), CloudError> {
    let (cluster, principal) = place(living, "principalARN");
    let declared: Vec<AssociatedAccessPolicy> = take(&wanted.spec, POLICIES)?;
    let there: Vec<AssociatedAccessPolicy> = take(&living.spec, POLICIES)?;
    for policy in declared.iter().filter(|policy| !there.contains(policy)) {
        let call = cloud.eks().associate_access_policy().cluster_name(cluster).principal_arn(principal);
        let call = call.set_policy_arn(policy.policy_arn.clone()).set_access_scope(policy.access_scope.clone());
        call.send().await.map_err(|error| busy("eks AssociateAccessPolicy", &error))?;
    }
    for policy in there.iter().filter(|policy| declared.iter().all(|one| one.policy_arn != policy.policy_arn)) {
        let call = cloud.eks().disassociate_access_policy().cluster_name(cluster).principal_arn(principal);
        let call = call.set_policy_arn(policy.policy_arn.clone());
        call.send().await.map_err(|error| busy("eks DisassociateAccessPolicy", &error))?;
    }
    Ok(())
}

fn living_entry(entry: &types::AccessEntry, policies: &[AssociatedAccessPolicy]) -> Living {
    let mut spec = entry.write();
    put(&mut spec, POLICIES, policies.iter().map(Form::write).collect());
    let created = time(entry.created_at());
    Living {
        id: format!("{}/{}", entry.cluster_name().unwrap_or_default(), entry.principal_arn().unwrap_or_default()),
        spec,
        status: json!({"ackResourceMetadata": {"arn": entry.access_entry_arn()}, "createdAt": created}),
        tags: tags(entry.tags()),
        state: State::Ready,
        created,
    }
}

pub(super) struct PodIdentityAssociation;

#[async_trait]
impl Member for PodIdentityAssociation {
    fn key(wanted: &Wanted) -> Option<String> {
        Some(format!("{}/{}", wanted.text("namespace")?, wanted.text("serviceAccount")?))
    }

    async fn ids(cloud: &Cloud, cluster: &str) -> Result<Vec<(String, String)>, CloudError> {
        let found = cloud.eks().list_pod_identity_associations().cluster_name(cluster).into_paginator().items().send().try_collect().await;
        let found = found.map_err(|error| CloudError::new("eks ListPodIdentityAssociations", &error))?;
        let ids = found.iter().map(|one| {
            let key = format!("{}/{}", one.namespace().unwrap_or_default(), one.service_account().unwrap_or_default());
            (key, one.association_id().unwrap_or_default().to_owned())
        });
        Ok(ids.collect())
    }

    async fn read(cloud: &Cloud, cluster: &str, id: &str) -> Result<Option<Living>, CloudError> {
        let found = cloud.eks().describe_pod_identity_association().cluster_name(cluster).association_id(id).send().await;
        let found = or_absent(found.map_err(|error| CloudError::new("eks DescribePodIdentityAssociation", &error)))?;
        Ok(found.as_ref().and_then(|found| found.association()).map(living_association))
    }
}

#[async_trait]
impl Kind for PodIdentityAssociation {
    fn schema(&self) -> &'static Schema {
        &POD_IDENTITY_ASSOCIATION
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        members::<Self>(cloud, wanted).await
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "eks CreatePodIdentityAssociation";
        let call = given!(cloud.eks().create_pod_identity_association(), &wanted.spec;
            "clusterName" set_cluster_name,
            "disableSessionTags" set_disable_session_tags,
            "namespace" set_namespace,
            "policy" set_policy,
            "roleARN" set_role_arn,
            "serviceAccount" set_service_account,
            "targetRoleARN" set_target_role_arn,
        );
        let made = call.client_request_token(token(wanted)).set_tags(Some(new_tags(wanted))).send().await;
        let made = made.map_err(|error| refused(OPERATION, &error))?;
        made.association().map(living_association).ok_or_else(|| CloudError::malformed(OPERATION, "association"))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differs(differences, "tags") {
            tag(cloud, wanted, living).await?;
        }
        if differences.iter().all(|difference| difference.path == "tags") {
            return Ok(());
        }
        let (cluster, _) = place(living, "serviceAccount");
        let call = cloud.eks().update_pod_identity_association().cluster_name(cluster).association_id(&living.id);
        let call = given!(call, &wanted.spec;
            "disableSessionTags" set_disable_session_tags,
            "policy" set_policy,
            "roleARN" set_role_arn,
            "targetRoleARN" set_target_role_arn,
        );
        call.send().await.map_err(|error| busy("eks UpdatePodIdentityAssociation", &error)).map(drop)
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let (cluster, _) = place(living, "serviceAccount");
        Self::read(cloud, cluster, &living.id).await
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let (cluster, _) = place(living, "serviceAccount");
        let deleted = cloud.eks().delete_pod_identity_association().cluster_name(cluster).association_id(&living.id).send().await;
        or_absent(deleted.map_err(|error| busy("eks DeletePodIdentityAssociation", &error))).map(drop)
    }
}

fn living_association(association: &types::PodIdentityAssociation) -> Living {
    let created = time(association.created_at());
    Living {
        id: association.association_id().unwrap_or_default().to_owned(),
        spec: association.write(),
        status: json!({
            "ackResourceMetadata": {"arn": association.association_arn()},
            "associationARN": association.association_arn(),
            "associationID": association.association_id(),
            "createdAt": created,
            "externalID": association.external_id(),
        }),
        tags: tags(association.tags()),
        state: State::Ready,
        created,
    }
}
