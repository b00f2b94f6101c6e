//! What controllers in a cluster make beside the manifests, found again by the tags that they set: load balancers with their target
//! groups and security groups, volumes, network interfaces. Only `destroy` asks for them.

use super::elbv2;
use super::error::or_absent;
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::TAG_RESOURCE;
use crate::problem::count;
use aws_sdk_ec2::types::{Filter, NetworkInterface, NetworkInterfaceStatus, Tag, Volume, VolumeState};
use futures::future::{join_all, try_join, try_join_all};
use std::collections::{BTreeMap, BTreeSet};

/// Tags with the name of their cluster: the AWS Load Balancer Controller's, and EKS Auto Mode's.
const NAMED: [&str; 2] = ["elbv2.k8s.aws/cluster", "eks:eks-cluster-name"];
/// What the EBS drivers and the in-tree provisioner write on a volume of a claim; the disk of a node has none of them.
const CLAIM: [&str; 3] = ["ebs.csi.aws.com/cluster", "CSIVolumeName", "kubernetes.io/created-for/pvc/name"];
/// What the VPC CNI writes on the interfaces that it adds to a node, and leaves behind with a node that ends too soon.
const CNI: [&str; 2] = ["cluster.k8s.amazonaws.com/name", "node.k8s.amazonaws.com/instance_id"];

/// Whose leftovers are meant.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// Names of the clusters.
    pub clusters: BTreeSet<String>,
    /// Volumes that the clusters themselves name as theirs.
    pub volumes: BTreeSet<String>,
    /// IDs and ARNs of what Git declares: never a leftover.
    pub declared: BTreeSet<String>,
}

/// What was left, or is about to be.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// ARNs of load balancers.
    pub balancers: Vec<String>,
    /// ARNs of target groups.
    pub target_groups: Vec<String>,
    /// IDs of security groups.
    pub groups: Vec<String>,
    /// IDs of volumes with their size in GiB; only what nothing uses can be deleted.
    pub volumes: Vec<(String, i32)>,
}

impl Leftovers {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.balancers.is_empty() && self.target_groups.is_empty() && self.groups.is_empty() && self.volumes.is_empty()
    }

    /// In words: `2 load balancers, 3 volumes (120 GiB)`.
    pub fn words(&self) -> String {
        let count_of = |list: &[String], noun: &str| (!list.is_empty()).then(|| count(list.len(), noun));
        let gib: i32 = self.volumes.iter().map(|(_, gib)| gib).sum();
        let volumes = (!self.volumes.is_empty()).then(|| format!("{} ({gib} GiB)", count(self.volumes.len(), "volume")));
        let parts = [
            count_of(&self.balancers, "load balancer"),
            count_of(&self.target_groups, "target group"),
            count_of(&self.groups, "security group"),
            volumes,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Whose {
    fn is_theirs(&self, id: &str, tags: &BTreeMap<String, String>) -> bool {
        let names = |name: &String| {
            NAMED.iter().any(|tag| tags.get(*tag) == Some(name))
                || tags.get(&format!("kubernetes.io/cluster/{name}")).is_some_and(|value| value == "owned")
        };
        // What EKS made itself goes with the cluster.
        let is_of_eks = tags.contains_key("aws:eks:cluster-name");
        !is_of_eks && !self.declared.contains(id) && !tags.contains_key(TAG_RESOURCE) && self.clusters.iter().any(names)
    }

    /// One for each tag that may name them: filters of one call must all hold.
    fn filters(&self) -> Vec<Filter> {
        let filter = |tag: String, values: Vec<String>| Filter::builder().name(format!("tag:{tag}")).set_values(Some(values)).build();
        let owned = self.clusters.iter().map(|name| filter(format!("kubernetes.io/cluster/{name}"), vec!["owned".to_owned()]));
        owned.chain(NAMED.map(|tag| filter(tag.to_owned(), self.clusters.iter().cloned().collect()))).collect()
    }
}

fn tags(list: &[Tag]) -> BTreeMap<String, String> {
    list.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()))).collect()
}

/// Looks for all of them; writes nothing.
pub async fn find(cloud: &Cloud, whose: &Whose) -> Result<Leftovers, CloudError> {
    if whose.clusters.is_empty() && whose.volumes.is_empty() {
        return Ok(Leftovers::default());
    }
    let ((balancers, target_groups), (groups, volumes)) =
        try_join(try_join(balancers(cloud, whose), target_groups(cloud, whose)), try_join(groups(cloud, whose), volumes(cloud, whose)))
            .await?;
    Ok(Leftovers { balancers, target_groups, groups, volumes })
}

async fn balancers(cloud: &Cloud, whose: &Whose) -> Result<Vec<String>, CloudError> {
    let pages = cloud.elbv2().describe_load_balancers().into_paginator().items().send();
    let all: Vec<_> = pages.try_collect().await.map_err(|error| CloudError::new("elbv2 DescribeLoadBalancers", &error))?;
    theirs(cloud, whose, all.into_iter().filter_map(|one| one.load_balancer_arn).collect()).await
}

async fn target_groups(cloud: &Cloud, whose: &Whose) -> Result<Vec<String>, CloudError> {
    let pages = cloud.elbv2().describe_target_groups().into_paginator().items().send();
    let all: Vec<_> = pages.try_collect().await.map_err(|error| CloudError::new("elbv2 DescribeTargetGroups", &error))?;
    theirs(cloud, whose, all.into_iter().filter_map(|one| one.target_group_arn).collect()).await
}

async fn theirs(cloud: &Cloud, whose: &Whose, arns: Vec<String>) -> Result<Vec<String>, CloudError> {
    let borrowed: Vec<&str> = arns.iter().map(String::as_str).collect();
    let tags = elbv2::tags(cloud, &borrowed).await?;
    Ok(arns.into_iter().filter(|arn| tags.get(arn).is_some_and(|tags| whose.is_theirs(arn, tags))).collect())
}

async fn groups(cloud: &Cloud, whose: &Whose) -> Result<Vec<String>, CloudError> {
    let asked = whose.filters().into_iter().map(|filter| async move {
        let pages = cloud.ec2().describe_security_groups().filters(filter).into_paginator().items().send();
        pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeSecurityGroups", &error))
    });
    let all = try_join_all(asked).await?.into_iter().flatten();
    let theirs = all.filter(|one| whose.is_theirs(one.group_id().unwrap_or_default(), &tags(one.tags())));
    Ok(theirs.filter_map(|one| one.group_id).collect::<BTreeSet<_>>().into_iter().collect())
}

async fn volumes(cloud: &Cloud, whose: &Whose) -> Result<Vec<(String, i32)>, CloudError> {
    // By ID as a filter: one that is gone already is no error.
    let named = Filter::builder().name("volume-id").set_values(Some(whose.volumes.iter().cloned().collect())).build();
    let named = (!whose.volumes.is_empty()).then_some(named);
    let asked = whose.filters().into_iter().chain(named).map(|filter| async move {
        let pages = cloud.ec2().describe_volumes().filters(filter).into_paginator().items().send();
        pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeVolumes", &error))
    });
    let is_meant = |one: &Volume| {
        let (id, tags) = (one.volume_id().unwrap_or_default(), tags(one.tags()));
        whose.volumes.contains(id) || whose.is_theirs(id, &tags) && CLAIM.iter().any(|tag| tags.contains_key(*tag))
    };
    let found: BTreeMap<String, i32> = try_join_all(asked)
        .await?
        .into_iter()
        .flatten()
        .filter(|one| is_meant(one) && one.state() != Some(&VolumeState::Deleting))
        .filter_map(|one| Some((one.volume_id?, one.size.unwrap_or_default())))
        .collect();
    Ok(found.into_iter().collect())
}

/// Deletes what can go; gives the errors of the rest. What something still uses is left for the next time, with AWS' words.
pub async fn delete(cloud: &Cloud, leftovers: &Leftovers) -> Vec<CloudError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), CloudError>| errors.extend(or_absent(result).err());
    for arn in &leftovers.balancers {
        let deleted = cloud.elbv2().delete_load_balancer().load_balancer_arn(arn).send().await;
        note(deleted.map(drop).map_err(|error| CloudError::new("elbv2 DeleteLoadBalancer", &error)));
    }
    for arn in &leftovers.target_groups {
        let deleted = cloud.elbv2().delete_target_group().target_group_arn(arn).send().await;
        note(deleted.map(drop).map_err(|error| CloudError::new("elbv2 DeleteTargetGroup", &error)));
    }
    for (id, _) in &leftovers.volumes {
        let deleted = cloud.ec2().delete_volume().volume_id(id).send().await;
        note(deleted.map(drop).map_err(|error| CloudError::new("ec2 DeleteVolume", &error)));
    }
    for id in &leftovers.groups {
        let deleted = cloud.ec2().delete_security_group().group_id(id).send().await;
        note(deleted.map(drop).map_err(|error| CloudError::new("ec2 DeleteSecurityGroup", &error)));
    }
    errors
}

/// Removes the interfaces of a VPC or subnet (`vpc-id`, `subnet-id`) that a cluster's network left behind, and tells what else is in it:
/// `eni-0a1… (ELB net/…)`.
pub async fn interfaces(cloud: &Cloud, filter: &str, id: &str) -> Result<Vec<String>, CloudError> {
    let filter = Filter::builder().name(filter).values(id).build();
    let pages = cloud.ec2().describe_network_interfaces().filters(filter).into_paginator().items().send();
    let all: Vec<NetworkInterface> = pages.try_collect().await.map_err(|error| CloudError::new("ec2 DescribeNetworkInterfaces", &error))?;
    let is_left = |one: &NetworkInterface| {
        let tags = tags(one.tag_set());
        one.status() == Some(&NetworkInterfaceStatus::Available)
            && (CNI.iter().any(|tag| tags.contains_key(*tag)) || one.description().is_some_and(|text| text.starts_with("aws-K8S-")))
    };
    let (left, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_left);
    let deleted = left.iter().map(|one| async move {
        let call = cloud.ec2().delete_network_interface().set_network_interface_id(one.network_interface_id.clone());
        match or_absent(call.send().await.map_err(|error| CloudError::new("ec2 DeleteNetworkInterface", &error))) {
            // Taken into use again meanwhile.
            Err(error) if error.meaning == Meaning::Dependency => Ok(()),
            other => other.map(drop),
        }
    });
    join_all(deleted).await.into_iter().collect::<Result<(), _>>()?;
    let words = |one: &NetworkInterface| {
        let description = one.description().filter(|text| !text.is_empty()).map(|text| format!(" ({text})")).unwrap_or_default();
        format!("{}{description}", one.network_interface_id().unwrap_or_default())
    };
    Ok(others.iter().map(words).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cluster_owns_and_git_does_not_declare_is_left_over() {
        let whose = Whose { clusters: ["shop".to_owned()].into(), declared: ["sg-2".to_owned()].into(), ..Whose::default() };
        let is_theirs = |id: &str, tags: &[(&str, &str)]| {
            let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            whose.is_theirs(id, &tags)
        };
        assert!(is_theirs("sg-1", &[("kubernetes.io/cluster/shop", "owned")]));
        assert!(is_theirs("sg-1", &[("elbv2.k8s.aws/cluster", "shop")]));
        assert!(!is_theirs("sg-1", &[("kubernetes.io/cluster/shop", "shared")]), "used by it, not made by it");
        assert!(!is_theirs("sg-1", &[("elbv2.k8s.aws/cluster", "shop-2")]), "of another cluster");
        assert!(!is_theirs("sg-2", &[("kubernetes.io/cluster/shop", "owned")]), "declared");
        assert!(!is_theirs("sg-1", &[("kubernetes.io/cluster/shop", "owned"), (TAG_RESOURCE, "a/b")]), "made from a manifest");
        assert!(!is_theirs("sg-1", &[("kubernetes.io/cluster/shop", "owned"), ("aws:eks:cluster-name", "shop")]), "EKS' own");
    }
}
