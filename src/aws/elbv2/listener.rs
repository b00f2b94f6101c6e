//! Listeners.

use super::balancer::balancers;
use super::{TagsOf, living, tag, tag_list, tags};
use crate::aws::error::or_absent;
use crate::aws::kind::{Kind, Living, State, Wanted, differs};
use crate::aws::s3::form::{Form, given, take};
use crate::aws::{Cloud, CloudError};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, put, refers};
use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::{self, Action, Certificate};
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

static LISTENER: Schema = Schema {
    service: "elbv2",
    kind: "Listener",
    identity: Identity::Name(&["loadBalancerARN", "port"]),
    fields: &[
        field("alpnPolicy"),
        field("certificates"),
        field("defaultActions"),
        field("loadBalancerARN").fixed(),
        field("mutualAuthentication"),
        field("port"),
        field("protocol"),
        field("sslPolicy"),
    ],
    references: &[
        refers("certificates[].certificateARN", "certificates[].certificateRef", "acm", "Certificate", "arn"),
        refers(
            "defaultActions[].forwardConfig.targetGroups[].targetGroupARN",
            "defaultActions[].forwardConfig.targetGroups[].targetGroupRef",
            "elbv2",
            "TargetGroup",
            "arn",
        ),
        refers("defaultActions[].targetGroupARN", "defaultActions[].targetGroupRef", "elbv2", "TargetGroup", "arn"),
        refers("loadBalancerARN", "loadBalancerRef", "elbv2", "LoadBalancer", "arn"),
    ],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

/// What can be changed in place.
macro_rules! changeable {
    ($call:expr, $spec:expr) => {
        given!($call, $spec;
            "alpnPolicy" set_alpn_policy,
            "defaultActions" set_default_actions,
            "mutualAuthentication" set_mutual_authentication,
            "port" set_port,
            "protocol" set_protocol,
            "sslPolicy" set_ssl_policy,
        )
    };
}

pub(super) struct Listener;

#[async_trait]
impl Kind for Listener {
    fn schema(&self) -> &'static Schema {
        &LISTENER
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        // Only a load balancer tells its listeners, and which one is meant may be known only later.
        let named: Option<BTreeSet<String>> = wanted.iter().map(|wanted| wanted.text("loadBalancerARN").map(str::to_owned)).collect();
        let arns = match named {
            Some(arns) => arns,
            None => balancers(cloud).await?.into_iter().filter_map(|balancer| balancer.load_balancer_arn).collect(),
        };
        let found = try_join_all(arns.iter().map(|arn| listeners(cloud, arn))).await?.concat();
        let arns: Vec<&str> = found.iter().filter_map(types::Listener::listener_arn).collect();
        let mut tags = tags(cloud, &arns).await?;
        Ok(found.iter().map(|listener| listener_words(listener, &mut tags)).collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let call = cloud.elbv2().create_listener().set_certificates(certificates(wanted)?).set_tags(Some(tag_list(&wanted.tags)));
        let call = given!(changeable!(call, &wanted.spec), &wanted.spec; "loadBalancerARN" set_load_balancer_arn);
        let made = call.send().await.map_err(|error| CloudError::new("elbv2 CreateListener", &error))?;
        let listener = made.listeners().first().ok_or_else(|| CloudError::malformed("elbv2 CreateListener", "Listener"))?;
        Ok(listener_words(listener, &mut HashMap::new()))
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if differences.iter().any(|difference| difference.path != "tags") {
            let call = cloud.elbv2().modify_listener().listener_arn(&living.id).set_certificates(certificates(wanted)?);
            let call = changeable!(call, &wanted.spec);
            call.send().await.map_err(|error| CloudError::new("elbv2 ModifyListener", &error))?;
        }
        if differs(differences, "tags") { tag(cloud, wanted, &living.id).await } else { Ok(()) }
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        let arn = living.id.as_str();
        let listener = async {
            let found = cloud.elbv2().describe_listeners().listener_arns(arn).send().await;
            found.map_err(|error| CloudError::new("elbv2 DescribeListeners", &error))
        };
        let Some((found, mut tags)) = or_absent(try_join(listener, tags(cloud, &[arn])).await)? else { return Ok(None) };
        Ok(found.listeners().first().map(|listener| listener_words(listener, &mut tags)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.elbv2().delete_listener().listener_arn(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("elbv2 DeleteListener", &error))).map(drop)
    }
}

/// Listeners of a load balancer; none where it is gone.
async fn listeners(cloud: &Cloud, balancer: &str) -> Result<Vec<types::Listener>, CloudError> {
    let pages = cloud.elbv2().describe_listeners().load_balancer_arn(balancer).into_paginator().items().send();
    let found: Result<Vec<_>, _> = pages.try_collect().await;
    Ok(or_absent(found.map_err(|error| CloudError::new("elbv2 DescribeListeners", &error)))?.unwrap_or_default())
}

/// The one certificate of a listener is its default one, and AWS wants not to be told so.
fn certificates(wanted: &Wanted) -> Result<Option<Vec<Certificate>>, CloudError> {
    let mut certificates: Option<Vec<Certificate>> = take(&wanted.spec, "certificates")?;
    for certificate in certificates.iter_mut().flatten() {
        certificate.is_default = None;
    }
    Ok(certificates)
}

fn listener_words(listener: &types::Listener, tags: &mut TagsOf) -> Living {
    let mut spec = listener.write();
    let certificates = listener.certificates().iter();
    put(&mut spec, "certificates", certificates.map(|one| json!({"certificateARN": one.certificate_arn(), "isDefault": true})).collect());
    put(&mut spec, "defaultActions", listener.default_actions().iter().enumerate().map(|(at, action)| action_words(at, action)).collect());
    living(listener.listener_arn(), spec, json!({}), tags, State::Ready, None)
}

/// An action with what AWS leaves out: a single target group is told in one form or both, though a manifest may have used the other.
fn action_words(position: usize, action: &Action) -> Value {
    let mut words = action.write();
    if at(&words, "order").is_none() {
        put(&mut words, "order", (position + 1).into());
    }
    let mut groups: Vec<Value> = at(&words, "forwardConfig.targetGroups").and_then(Value::as_array).cloned().unwrap_or_default();
    match (groups.as_slice(), action.target_group_arn()) {
        ([], Some(arn)) => groups.push(json!({"targetGroupARN": arn})),
        ([group], None) => {
            let arn = group.get("targetGroupARN").cloned().unwrap_or_default();
            put(&mut words, "targetGroupARN", arn);
        }
        _ => {}
    }
    if !groups.is_empty() {
        groups.iter_mut().filter(|group| at(group, "weight").is_none()).for_each(|group| put(group, "weight", 1.into()));
        put(&mut words, "forwardConfig.targetGroups", groups.into());
    }
    words
}
