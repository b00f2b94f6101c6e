//! Route 53.

use super::error::or_absent;
use super::kind::{Kind, Living, State, Wanted, differs};
use super::{Cloud, CloudError, Meaning};
use crate::layers::infrastructure::{Difference, Identity, Schema, Tags, at, field, refers};
use async_trait::async_trait;
use aws_sdk_route53::error::BuildError;
use aws_sdk_route53::operation::get_hosted_zone::GetHostedZoneOutput;
use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, CidrRoutingConfig, DelegationSet, GeoLocation, HostedZone as Zone, HostedZoneConfig,
    ResourceRecord, ResourceRecordSet, ResourceRecordSetFailover, ResourceRecordSetRegion, Tag, TagResourceType, Vpc, VpcRegion,
};
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};
use std::collections::BTreeMap;

static HOSTED_ZONE: Schema = Schema {
    service: "route53",
    kind: "HostedZone",
    // AWS allows several of one name, but a delegation leads to one of them. A private one is another: `list` tells them apart.
    identity: Identity::Key(&["name"]),
    fields: &[
        field("name").fixed(),
        field("delegationSetID").fixed(),
        field("hostedZoneConfig.comment"),
        field("hostedZoneConfig.privateZone").fixed(),
        field("vpc.vpcID").fixed(),
        field("vpc.vpcRegion").fixed(),
    ],
    references: &[],
    tags: Tags::List("tags"),
    arn: None,
    seconds: 2,
};

static RECORD_SET: Schema = Schema {
    service: "route53",
    kind: "RecordSet",
    identity: Identity::Name(&["hostedZoneID", "name", "recordType"]),
    fields: &[
        field("hostedZoneID").fixed(),
        field("name").fixed(),
        field("recordType").fixed(),
        field("setIdentifier").fixed(),
        field("aliasTarget.dnsName"),
        field("aliasTarget.evaluateTargetHealth"),
        field("aliasTarget.hostedZoneID"),
        field("cidrRoutingConfig.collectionID"),
        field("cidrRoutingConfig.locationName"),
        field("failover"),
        field("geoLocation.continentCode"),
        field("geoLocation.countryCode"),
        field("geoLocation.subdivisionCode"),
        field("healthCheckID"),
        field("multiValueAnswer"),
        field("region"),
        field("resourceRecords").set(),
        field("ttl"),
        field("weight"),
    ],
    references: &[refers("hostedZoneID", "hostedZoneRef", "route53", "HostedZone", "id")],
    tags: Tags::None,
    arn: None,
    seconds: 2,
};

pub(super) const KINDS: &[&dyn Kind] = &[&HostedZone, &RecordSet];

/// `Z123` of `/hostedzone/Z123`.
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// A name as it is compared: AWS adds a dot, and writes a wildcard in octal.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').replace("\\052", "*").to_lowercase()
}

/// What AWS tells, as the manifest writes it where both mean the same.
fn as_declared(found: &str, declared: Option<&str>, form: impl Fn(&str) -> String) -> String {
    declared.filter(|declared| form(declared) == form(found)).unwrap_or(found).to_owned()
}

fn text<'a>(spec: &'a Value, path: &str) -> Option<&'a str> {
    at(spec, path).and_then(Value::as_str)
}

/// All zones of the account.
async fn zones(cloud: &Cloud) -> Result<Vec<Zone>, CloudError> {
    let mut zones = Vec::new();
    let mut all = cloud.route53().list_hosted_zones().into_paginator().items().send();
    while let Some(zone) = all.next().await {
        zones.push(zone.map_err(|error| CloudError::new("route53 ListHostedZones", &error))?);
    }
    Ok(zones)
}

struct HostedZone;

#[async_trait]
impl Kind for HostedZone {
    fn schema(&self) -> &'static Schema {
        &HOSTED_ZONE
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let zones = zones(cloud).await?;
        let meant = zones.iter().filter_map(|zone| Some((zone.id(), &wanted.iter().find(|wanted| is_meant(&wanted.spec, zone))?.spec)));
        let found = try_join_all(meant.map(|(id, spec)| read_zone(cloud, bare(id), spec))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let vpc = wanted.spec.get("vpc").map(|_| {
            let region = wanted.text("vpc.vpcRegion").map(Into::into);
            Vpc::builder().set_vpc_id(wanted.text("vpc.vpcID").map(str::to_owned)).set_vpc_region(region).build()
        });
        let config = wanted.spec.get("hostedZoneConfig").map(|_| {
            let comment = wanted.text("hostedZoneConfig.comment").map(str::to_owned);
            HostedZoneConfig::builder().set_comment(comment).private_zone(is_private(&wanted.spec)).build()
        });
        let call = cloud.route53().create_hosted_zone().set_name(wanted.text("name").map(str::to_owned)).caller_reference(&wanted.token);
        let call =
            call.set_delegation_set_id(wanted.text("delegationSetID").map(str::to_owned)).set_hosted_zone_config(config).set_vpc(vpc);
        let made = call.send().await.map_err(|error| CloudError::new("route53 CreateHostedZone", &error))?;
        let zone = made.hosted_zone().ok_or_else(|| CloudError::malformed("route53 CreateHostedZone", "HostedZone"))?;
        let id = bare(zone.id());
        // The call takes no tags. Where this one fails, the declared ones are still a difference.
        drop(tag(cloud, id, &wanted.tags).await);
        let status = json!({"id": id, "delegationSet": {"nameServers": made.delegation_set().map(DelegationSet::name_servers)}});
        Ok(Living { id: id.to_owned(), spec: wanted.spec.clone(), status, tags: wanted.tags.clone(), state: State::Ready, created: None })
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, differences: &[Difference]) -> Result<(), CloudError> {
        if let Some(comment) = wanted.text("hostedZoneConfig.comment").filter(|_| differs(differences, "hostedZoneConfig.comment")) {
            let call = cloud.route53().update_hosted_zone_comment().id(&living.id).comment(comment);
            call.send().await.map_err(|error| CloudError::new("route53 UpdateHostedZoneComment", &error))?;
        }
        if differs(differences, "tags") {
            tag(cloud, &living.id, &wanted.declared.tags()).await?;
        }
        Ok(())
    }

    async fn look(&self, cloud: &Cloud, living: &Living) -> Result<Option<Living>, CloudError> {
        read_zone(cloud, &living.id, &living.spec).await
    }

    /// Not one that holds records which nobody declared.
    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        let deleted = cloud.route53().delete_hosted_zone().id(&living.id).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("route53 DeleteHostedZone", &error))).map(drop)
    }
}

fn is_private(spec: &Value) -> bool {
    spec.get("vpc").is_some() || at(spec, "hostedZoneConfig.privateZone") == Some(&Value::Bool(true))
}

fn is_meant(spec: &Value, zone: &Zone) -> bool {
    text(spec, "name").is_some_and(|name| plain(name) == plain(zone.name()))
        && is_private(spec) == zone.config().is_some_and(HostedZoneConfig::private_zone)
}

async fn tag(cloud: &Cloud, zone: &str, tags: &BTreeMap<String, String>) -> Result<(), CloudError> {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    let call = cloud.route53().change_tags_for_resource().resource_type(TagResourceType::Hostedzone).resource_id(zone);
    call.set_add_tags(Some(tags)).send().await.map_err(|error| CloudError::new("route53 ChangeTagsForResource", &error)).map(drop)
}

/// `declared` gives the form of its values.
async fn read_zone(cloud: &Cloud, id: &str, declared: &Value) -> Result<Option<Living>, CloudError> {
    let zone = async {
        let call = cloud.route53().get_hosted_zone().id(id).send().await;
        call.map_err(|error| CloudError::new("route53 GetHostedZone", &error))
    };
    let tags = async {
        let call = cloud.route53().list_tags_for_resource().resource_type(TagResourceType::Hostedzone).resource_id(id).send().await;
        call.map_err(|error| CloudError::new("route53 ListTagsForResource", &error))
    };
    let Some((answer, tags)) = or_absent(try_join(zone, tags).await)? else { return Ok(None) };
    let tags = tags.resource_tag_set.and_then(|set| set.tags).unwrap_or_default().into_iter();
    let tags = tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).filter(|(key, _)| !key.starts_with("aws:")).collect();
    Ok(living_zone(cloud, id, &answer, declared, tags))
}

fn living_zone(cloud: &Cloud, id: &str, answer: &GetHostedZoneOutput, declared: &Value, tags: BTreeMap<String, String>) -> Option<Living> {
    let (zone, set) = (answer.hosted_zone()?, answer.delegation_set());
    let same = |vpc: &&Vpc| vpc.vpc_id() == text(declared, "vpc.vpcID");
    let vpc = answer.vpcs().iter().find(same).or_else(|| answer.vpcs().first());
    let set_id = set.and_then(DelegationSet::id).map(|id| as_declared(id, text(declared, "delegationSetID"), |id| bare(id).to_owned()));
    Some(Living {
        id: id.to_owned(),
        spec: json!({
            "name": as_declared(zone.name(), text(declared, "name"), plain),
            "delegationSetID": set_id,
            "hostedZoneConfig": {
                "comment": zone.config().and_then(HostedZoneConfig::comment),
                "privateZone": zone.config().map(HostedZoneConfig::private_zone),
            },
            "vpc": vpc.map(|vpc| json!({"vpcID": vpc.vpc_id(), "vpcRegion": vpc.vpc_region().map(VpcRegion::as_str)})),
        }),
        status: json!({
            "id": id,
            "delegationSet": {"nameServers": set.map(DelegationSet::name_servers)},
            "ackResourceMetadata": {"arn": format!("arn:{}:route53:::hostedzone/{id}", cloud.place().partition)},
        }),
        tags,
        state: State::Ready,
        created: None,
    })
}

struct RecordSet;

/// Route 53 takes a change at once; its name servers follow within a minute, which nothing here waits for.
#[async_trait]
impl Kind for RecordSet {
    fn schema(&self) -> &'static Schema {
        &RECORD_SET
    }

    async fn list(&self, cloud: &Cloud, wanted: &[Wanted]) -> Result<Vec<Living>, CloudError> {
        let zones = zones(cloud).await?;
        let lists = zones.iter().map(|zone| (zone, wanted.iter().filter(|wanted| may_hold(zone, wanted)).collect::<Vec<_>>()));
        let lists = lists.filter(|(_, wanted)| !wanted.is_empty());
        let found = try_join_all(lists.map(|(zone, wanted)| records(cloud, zone, wanted))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, cloud: &Cloud, wanted: &Wanted) -> Result<Living, CloudError> {
        let id = wanted.text("hostedZoneID").unwrap_or_default();
        let zone = cloud.route53().get_hosted_zone().id(id).send().await;
        let zone = zone.map_err(|error| CloudError::new("route53 GetHostedZone", &error))?;
        let domain = zone.hosted_zone().map(Zone::name).unwrap_or_default();
        let record = record(&full_name(wanted.text("name"), domain), wanted)?;
        let made = living(id, &record, &wanted.spec);
        change(cloud, id, ChangeAction::Create, record).await?;
        Ok(made)
    }

    async fn update(&self, cloud: &Cloud, wanted: &Wanted, living: &Living, _: &[Difference]) -> Result<(), CloudError> {
        change(cloud, text(&living.spec, "hostedZoneID").unwrap_or_default(), ChangeAction::Upsert, record(name_of(living), wanted)?).await
    }

    async fn look(&self, cloud: &Cloud, of: &Living) -> Result<Option<Living>, CloudError> {
        let record = find(cloud, of).await?;
        Ok(record.map(|record| living(text(&of.spec, "hostedZoneID").unwrap_or_default(), &record, &of.spec)))
    }

    async fn delete(&self, cloud: &Cloud, living: &Living) -> Result<(), CloudError> {
        match find(cloud, living).await? {
            Some(record) => change(cloud, text(&living.spec, "hostedZoneID").unwrap_or_default(), ChangeAction::Delete, record).await,
            None => Ok(()),
        }
    }
}

/// The whole name: ACK adds the domain of the zone to one that does not end with a dot.
fn full_name(name: Option<&str>, domain: &str) -> String {
    match name {
        None | Some("") => domain.to_owned(),
        Some(name) if name.ends_with('.') => name.to_owned(),
        Some(name) => format!("{name}.{domain}"),
    }
}

/// Whether a zone may be the one of a record whose zone is not always known.
fn may_hold(zone: &Zone, wanted: &Wanted) -> bool {
    match (wanted.text("hostedZoneID"), wanted.text("name")) {
        (Some(id), _) => bare(id) == bare(zone.id()),
        (None, Some(name)) if name.ends_with('.') => format!(".{}", plain(name)).ends_with(&format!(".{}", plain(zone.name()))),
        (None, _) => true,
    }
}

/// The records of a zone that are wanted.
async fn records(cloud: &Cloud, zone: &Zone, wanted: Vec<&Wanted>) -> Result<Vec<Living>, CloudError> {
    let mut found = Vec::new();
    let mut call = cloud.route53().list_resource_record_sets().hosted_zone_id(zone.id());
    loop {
        let page = call.send().await.map_err(|error| CloudError::new("route53 ListResourceRecordSets", &error))?;
        for record in page.resource_record_sets() {
            let is_meant = |wanted: &&&Wanted| is(record, &full_name(wanted.text("name"), zone.name()), &wanted.spec);
            found.extend(wanted.iter().find(is_meant).map(|wanted| living(bare(zone.id()), record, &wanted.spec)));
        }
        if !page.is_truncated {
            return Ok(found);
        }
        call = cloud.route53().list_resource_record_sets().hosted_zone_id(zone.id());
        call = call.set_start_record_name(page.next_record_name).set_start_record_type(page.next_record_type);
        call = call.set_start_record_identifier(page.next_record_identifier);
    }
}

fn is(record: &ResourceRecordSet, name: &str, spec: &Value) -> bool {
    plain(record.name()) == plain(name)
        && Some(record.r#type().as_str()) == text(spec, "recordType")
        && record.set_identifier() == text(spec, "setIdentifier")
}

/// The whole name, the first word of the ID.
fn name_of(living: &Living) -> &str {
    living.id.split(' ').next().unwrap_or(&living.id)
}

async fn find(cloud: &Cloud, living: &Living) -> Result<Option<ResourceRecordSet>, CloudError> {
    let spec = &living.spec;
    let call = cloud.route53().list_resource_record_sets().set_hosted_zone_id(text(spec, "hostedZoneID").map(str::to_owned)).max_items(1);
    let call = call.start_record_name(name_of(living)).set_start_record_type(text(spec, "recordType").map(Into::into));
    let call = call.set_start_record_identifier(text(spec, "setIdentifier").map(str::to_owned)).send().await;
    let page = or_absent(call.map_err(|error| CloudError::new("route53 ListResourceRecordSets", &error)))?;
    Ok(page.and_then(|page| page.resource_record_sets.into_iter().find(|record| is(record, name_of(living), spec))))
}

async fn change(cloud: &Cloud, zone: &str, action: ChangeAction, record: ResourceRecordSet) -> Result<(), CloudError> {
    let change = complete(Change::builder().action(action).resource_record_set(record).build())?;
    let batch = complete(ChangeBatch::builder().changes(change).build())?;
    let call = cloud.route53().change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send().await;
    let mut error = match call {
        Ok(_) => return Ok(()),
        Err(error) => CloudError::new("route53 ChangeResourceRecordSets", &error),
    };
    // A batch is refused in one word for all reasons; this one may be the work of a call that nobody answered.
    if error.message.contains("but it already exists") {
        error.meaning = Meaning::Exists;
    }
    Err(error)
}

fn complete<T>(built: Result<T, BuildError>) -> Result<T, CloudError> {
    built.map_err(|error| CloudError::invalid("route53 ChangeResourceRecordSets", error.to_string()))
}

/// The declared record.
fn record(name: &str, wanted: &Wanted) -> Result<ResourceRecordSet, CloudError> {
    let owned = |path: &str| wanted.text(path).map(str::to_owned);
    let values = at(&wanted.spec, "resourceRecords").and_then(Value::as_array).map(|records| {
        let values = records.iter().map(|record| ResourceRecord::builder().set_value(text(record, "value").map(str::to_owned)).build());
        complete(values.collect::<Result<Vec<_>, _>>())
    });
    let alias = wanted.spec.get("aliasTarget").map(|_| {
        let target = AliasTarget::builder().set_dns_name(owned("aliasTarget.dnsName"));
        let target = target.set_hosted_zone_id(owned("aliasTarget.hostedZoneID"));
        complete(target.evaluate_target_health(wanted.flag("aliasTarget.evaluateTargetHealth").unwrap_or_default()).build())
    });
    let cidr = wanted.spec.get("cidrRoutingConfig").map(|_| {
        let config = CidrRoutingConfig::builder().set_collection_id(owned("cidrRoutingConfig.collectionID"));
        complete(config.set_location_name(owned("cidrRoutingConfig.locationName")).build())
    });
    let location = wanted.spec.get("geoLocation").map(|_| {
        let location = GeoLocation::builder().set_continent_code(owned("geoLocation.continentCode"));
        let location = location.set_country_code(owned("geoLocation.countryCode"));
        location.set_subdivision_code(owned("geoLocation.subdivisionCode")).build()
    });
    let record = ResourceRecordSet::builder()
        .name(name)
        .set_type(wanted.text("recordType").map(Into::into))
        .set_set_identifier(owned("setIdentifier"))
        .set_alias_target(alias.transpose()?)
        .set_cidr_routing_config(cidr.transpose()?)
        .set_failover(wanted.text("failover").map(Into::into))
        .set_geo_location(location)
        .set_health_check_id(owned("healthCheckID"))
        .set_multi_value_answer(wanted.flag("multiValueAnswer"))
        .set_region(wanted.text("region").map(Into::into))
        .set_resource_records(values.transpose()?)
        .set_ttl(wanted.number("ttl"))
        .set_weight(wanted.number("weight"));
    complete(record.build())
}

/// `declared` gives the form of its values.
fn living(zone: &str, record: &ResourceRecordSet, declared: &Value) -> Living {
    let alias = record.alias_target().map(|target| {
        json!({
            "dnsName": as_declared(target.dns_name(), text(declared, "aliasTarget.dnsName"), plain),
            "evaluateTargetHealth": target.evaluate_target_health(),
            "hostedZoneID": target.hosted_zone_id(),
        })
    });
    let location = record.geo_location().map(|location| {
        json!({
            "continentCode": location.continent_code(),
            "countryCode": location.country_code(),
            "subdivisionCode": location.subdivision_code(),
        })
    });
    let cidr = record.cidr_routing_config();
    let values: Vec<Value> = record.resource_records().iter().map(|record| json!({"value": record.value()})).collect();
    let set = record.set_identifier().map(|set| format!(" {set}")).unwrap_or_default();
    Living {
        id: format!("{} {}{set} in {}", record.name(), record.r#type().as_str(), bare(zone)),
        spec: json!({
            "hostedZoneID": as_declared(zone, text(declared, "hostedZoneID"), |id| bare(id).to_owned()),
            "name": declared.get("name"),
            "recordType": record.r#type().as_str(),
            "setIdentifier": record.set_identifier(),
            "aliasTarget": alias,
            "cidrRoutingConfig": cidr.map(|cidr| json!({"collectionID": cidr.collection_id(), "locationName": cidr.location_name()})),
            "failover": record.failover().map(ResourceRecordSetFailover::as_str),
            "geoLocation": location,
            "healthCheckID": record.health_check_id(),
            "multiValueAnswer": record.multi_value_answer(),
            "region": record.region().map(ResourceRecordSetRegion::as_str),
            "resourceRecords": values,
            "ttl": record.ttl(),
            "weight": record.weight(),
        }),
        status: json!({}),
        tags: BTreeMap::new(),
        state: State::Ready,
        created: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_dot_at_its_end_is_one_inside_the_zone() {
        assert_eq!(full_name(Some("www"), "example.com."), "www.example.com.");
        assert_eq!(full_name(Some("www.example.com."), "example.com."), "www.example.com.");
        assert_eq!(full_name(None, "example.com."), "example.com.");
    }

    #[test]
    fn names_and_ids_are_told_as_the_manifest_writes_them() {
        assert_eq!(as_declared("example.com.", Some("Example.com"), plain), "Example.com");
        assert_eq!(as_declared("\\052.example.com.", Some("*.example.com"), plain), "*.example.com");
        assert_eq!(as_declared("example.com.", Some("example.org"), plain), "example.com.");
        assert_eq!(as_declared("/delegationset/N1", Some("N1"), |id| bare(id).to_owned()), "N1");
    }
}
