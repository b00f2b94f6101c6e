//! Roles, with their inline policies and the managed ones that are attached to them.

use super::{PAGE, decode, details};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{given, tag_map, tags, time};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput;
use aws_sdk_iam::types::{self, AttachedPermissionsBoundary, AttachedPolicy, EntityType, RoleDetail, Tag};
use futures::future::{try_join, try_join_all, try_join3};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

static ROLE: Schema = Schema {
    service: "iam",
    kind: "Role",
    identity: Identity::Name(&["name"]),
    fields: &[
        field("name").fixed(),
        field("assumeRolePolicyDocument").policy(),
        field("description"),
        field("inlinePolicies").policies(),
        field("maxSessionDuration"),
        field("path").fixed(),
        field("permissionsBoundary"),
        field("policies").set(),
    ],
    references: &[
        refers("permissionsBoundary", "permissionsBoundaryRef", "iam", "Policy", "arn"),
        refers("policies[]", "policyRefs[]", "iam", "Policy", "arn"),
    ],
    tags: Tags::List("tags"),
    arn: Some("arn:{partition}:iam::{account}:role{path|/}{name}"),
    seconds: 2,
};

pub(super) struct Role;

#[async_trait]
impl Kind for Role {
    fn schema(&self) -> &'static Schema {
        &ROLE
    }

    /// Policies and tags stand in the account's details, description and session duration only in the list of roles.
    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let names: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.text("name")).collect();
        let roles = async {
            let roles = cloud.iam().list_roles().max_items(PAGE).into_paginator().items().send().try_collect().await;
            roles.map_err(|error| CloudError::new("iam ListRoles", &error))
        };
        let (roles, pages) = try_join(roles, details(cloud, EntityType::Role)).await?;
        let roles: HashMap<&str, &types::Role> = roles.iter().map(|role| (role.role_name(), role)).collect();
        let found = pages.iter().flat_map(GetAccountAuthorizationDetailsOutput::role_detail_list).filter_map(|detail| {
            let name = detail.role_name().filter(|name| names.contains(name))?;
            Some(living(roles.get(name)?, &Grants::of(detail)))
        });
        Ok(found.collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        const OPERATION: &str = "iam CreateRole";
        let call = given!(cloud.iam().create_role().set_tags(tags(&wanted.tags)?), &wanted.spec;
            "assumeRolePolicyDocument" set_assume_role_policy_document,
            "description" set_description,
            "maxSessionDuration" set_max_session_duration,
            "name" set_role_name,
            "path" set_path,
            "permissionsBoundary" set_permissions_boundary,
        );
        let made = call.send().await.map_err(|error| CloudError::new(OPERATION, &error))?;
        let role = made.role().ok_or_else(|| CloudError::malformed(OPERATION, "Role"))?;
        Ok(living(role, &Grants::default()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        let (name, spec) = (&living.id, &wanted.spec);
        if differs(differences, "assumeRolePolicyDocument") {
            let call = cloud.iam().update_assume_role_policy().role_name(name);
            let call = given!(call, spec; "assumeRolePolicyDocument" set_policy_document);
            call.send().await.map_err(|error| CloudError::new("iam UpdateAssumeRolePolicy", &error))?;
        }
        if differs(differences, "description") || differs(differences, "maxSessionDuration") {
            let call = cloud.iam().update_role().role_name(name);
            let call = given!(call, spec; "description" set_description, "maxSessionDuration" set_max_session_duration);
            call.send().await.map_err(|error| CloudError::new("iam UpdateRole", &error))?;
        }
        if differs(differences, "permissionsBoundary") {
            let call = cloud.iam().put_role_permissions_boundary().role_name(name);
            let call = given!(call, spec; "permissionsBoundary" set_permissions_boundary);
            call.send().await.map_err(|error| CloudError::new("iam PutRolePermissionsBoundary", &error))?;
        }
        if differs(differences, "inlinePolicies") {
            let (declared, there) = (inline(spec), inline(&living.spec));
            try_join_all(declared.iter().map(|(policy, document)| put(cloud, name, policy, document))).await?;
            try_join_all(there.keys().filter(|policy| !declared.contains_key(*policy)).map(|policy| remove(cloud, name, policy))).await?;
        }
        if differs(differences, "policies") {
            let (declared, there) = (attached(spec), attached(&living.spec));
            try_join_all(declared.difference(&there).map(|policy| attach(cloud, name, policy))).await?;
            try_join_all(there.difference(&declared).map(|policy| detach(cloud, name, policy))).await?;
        }
        if differs(differences, "tags") {
            let call = cloud.iam().tag_role().role_name(name).set_tags(tags(&wanted.declared.tags())?);
            call.send().await.map_err(|error| CloudError::new("iam TagRole", &error))?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read(cloud, &living.id).await
    }

    /// IAM deletes no role that still has policies.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let Some(living) = read(cloud, &living.id).await? else { return Ok(()) };
        try_join_all(inline(&living.spec).keys().map(|policy| remove(cloud, &living.id, policy))).await?;
        try_join_all(attached(&living.spec).iter().map(|policy| detach(cloud, &living.id, policy))).await?;
        let deleted = cloud.iam().delete_role().role_name(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("iam DeleteRole", &error))).map(drop)
    }
}

async fn put(cloud: &Cloud, role: &str, policy: &str, document: &str) -> Result<(), CloudError> {
    let call = cloud.iam().put_role_policy().role_name(role).policy_name(policy).policy_document(document);
    call.send().await.map_err(|error| CloudError::new("iam PutRolePolicy", &error)).map(drop)
}

async fn remove(cloud: &Cloud, role: &str, policy: &str) -> Result<(), CloudError> {
    let call = cloud.iam().delete_role_policy().role_name(role).policy_name(policy);
    or_absent(call.send().await.map_err(|error| CloudError::new("iam DeleteRolePolicy", &error))).map(drop)
}

async fn attach(cloud: &Cloud, role: &str, policy: &str) -> Result<(), CloudError> {
    let call = cloud.iam().attach_role_policy().role_name(role).policy_arn(policy);
    call.send().await.map_err(|error| CloudError::new("iam AttachRolePolicy", &error)).map(drop)
}

async fn detach(cloud: &Cloud, role: &str, policy: &str) -> Result<(), CloudError> {
    let call = cloud.iam().detach_role_policy().role_name(role).policy_arn(policy);
    or_absent(call.send().await.map_err(|error| CloudError::new("iam DetachRolePolicy", &error))).map(drop)
}

/// Inline policies of a spec: names and documents.
fn inline(spec: &Value) -> HashMap<&str, &str> {
    let policies = at(spec, "inlinePolicies").and_then(Value::as_object).into_iter().flatten();
    policies.filter_map(|(name, document)| Some((name.as_str(), document.as_str()?))).collect()
}

/// ARNs of the managed policies of a spec.
fn attached(spec: &Value) -> BTreeSet<&str> {
    at(spec, "policies").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a role is given, beside the role itself.
#[derive(Default)]
struct Grants {
    inline: Map<String, Value>,
    attached: Vec<String>,
    boundary: Option<String>,
    tags: Option<Vec<Tag>>,
}

impl Grants {
    fn of(detail: &RoleDetail) -> Self {
        let inline = detail
            .role_policy_list()
            .iter()
            .filter_map(|policy| Some((policy.policy_name()?.to_owned(), decode(policy.policy_document()?).into())));
        Self {
            inline: inline.collect(),
            attached: arns(detail.attached_managed_policies()),
            boundary: boundary(detail.permissions_boundary()),
            tags: detail.tags.clone(),
        }
    }
}

fn arns(policies: &[AttachedPolicy]) -> Vec<String> {
    policies.iter().filter_map(|policy| policy.policy_arn()).map(str::to_owned).collect()
}

fn boundary(boundary: Option<&AttachedPermissionsBoundary>) -> Option<String> {
    boundary?.permissions_boundary_arn().map(str::to_owned)
}

async fn read(cloud: &Cloud, name: &str) -> Result<Option<Living>, CloudError> {
    let role = async {
        let found = cloud.iam().get_role().role_name(name).send().await;
        found.map_err(|error| CloudError::new("iam GetRole", &error))
    };
    let attached = async {
        let found = cloud.iam().list_attached_role_policies().role_name(name).into_paginator().items().send().try_collect().await;
        found.map_err(|error| CloudError::new("iam ListAttachedRolePolicies", &error))
    };
    let inline = async {
        let names = cloud.iam().list_role_policies().role_name(name).into_paginator().items().send().try_collect().await;
        let names = names.map_err(|error| CloudError::new("iam ListRolePolicies", &error))?;
        try_join_all(names.iter().map(|policy| document(cloud, name, policy))).await
    };
    let Some((found, attached, inline)) = or_absent(try_join3(role, attached, inline).await)? else { return Ok(None) };
    Ok(found.role().map(|role| {
        let grants = Grants {
            inline: inline.into_iter().collect(),
            attached: arns(&attached),
            boundary: boundary(role.permissions_boundary()),
            tags: role.tags.clone(),
        };
        living(role, &grants)
    }))
}

async fn document(cloud: &Cloud, role: &str, policy: &str) -> Result<(String, Value), CloudError> {
    let found = cloud.iam().get_role_policy().role_name(role).policy_name(policy).send().await;
    let found = found.map_err(|error| CloudError::new("iam GetRolePolicy", &error))?;
    Ok((policy.to_owned(), decode(found.policy_document()).into()))
}

fn living(role: &types::Role, grants: &Grants) -> Living {
    let created = time(Some(role.create_date()));
    Living {
        id: role.role_name().to_owned(),
        spec: json!({
            "name": role.role_name(),
            "assumeRolePolicyDocument": role.assume_role_policy_document().map(decode),
            "description": role.description(),
            "inlinePolicies": grants.inline,
            "maxSessionDuration": role.max_session_duration(),
            "path": role.path(),
            "permissionsBoundary": grants.boundary,
            "policies": grants.attached,
        }),
        status: json!({"ackResourceMetadata": {"arn": role.arn()}, "createDate": created, "roleID": role.role_id()}),
        tags: tag_map(&grants.tags),
        state: State::Ready,
        created,
    }
}
