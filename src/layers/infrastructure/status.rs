//! What a living resource tells of itself beside its spec, by kind: what others may take from it. Pure.

use super::{Catalogue, Schema, Tags};

/// Status fields as ACK names them; the ARN, which nearly all have, is left out. A test against the emulator finds what is missing here.
const STATUS: &[(&str, &str, &[&str])] = &[
    ("dynamodb", "Table", &["tableStatus", "tableID", "latestStreamARN", "latestStreamLabel"]),
    ("ec2", "ElasticIPAddress", &["allocationID", "publicIP", "carrierIP", "customerOwnedIP"]),
    ("ec2", "Instance", &["instanceID", "privateDNSName", "publicDNSName", "publicIPAddress", "vpcID"]),
    ("ec2", "InternetGateway", &["internetGatewayID", "ownerID"]),
    ("ec2", "LaunchTemplate", &["id", "latestVersion", "createdBy"]),
    ("ec2", "NATGateway", &["natGatewayID", "state", "vpcID", "natGatewayAddresses"]),
    ("ec2", "RouteTable", &["routeTableID", "ownerID"]),
    ("ec2", "SecurityGroup", &["id"]),
    ("ec2", "Subnet", &["subnetID", "ownerID", "state", "privateDNSNameOptionsOnLaunch"]),
    ("ec2", "VPC", &["vpcID", "ownerID", "state", "cidrBlockAssociationSet"]),
    ("ec2", "VPCEndpoint", &["vpcEndpointID", "ownerID", "state", "networkInterfaceIDs", "dnsEntries"]),
    ("ecr", "PullThroughCacheRule", &["createdAt"]),
    ("ecr", "Repository", &["repositoryURI", "createdAt"]),
    ("eks", "AccessEntry", &["createdAt"]),
    ("eks", "Addon", &["createdAt", "owner", "publisher", "status"]),
    ("eks", "Capability", &["createdAt", "status", "version"]),
    (
        "eks",
        "Cluster",
        &["certificateAuthority", "clusterSecurityGroupID", "createdAt", "endpoint", "identity", "platformVersion", "status"],
    ),
    ("eks", "Nodegroup", &["createdAt", "resources", "status"]),
    ("eks", "PodIdentityAssociation", &["associationARN", "associationID", "createdAt", "externalID"]),
    ("elbv2", "Listener", &[]),
    ("elbv2", "LoadBalancer", &["canonicalHostedZoneID", "dnsName", "vpcID"]),
    ("elbv2", "TargetGroup", &["loadBalancerARNs"]),
    ("iam", "InstanceProfile", &["createDate", "instanceProfileID"]),
    ("iam", "OpenIDConnectProvider", &[]),
    ("iam", "Policy", &["createDate", "defaultVersionID", "policyID"]),
    ("iam", "Role", &["createDate", "roleID"]),
    ("kms", "Alias", &[]),
    ("kms", "Key", &["keyID", "keyState", "enabled", "creationDate"]),
    ("cloudwatchlogs", "LogGroup", &["creationTime"]),
    ("rds", "DBCluster", &["status", "dbClusterResourceID", "endpoint", "hostedZoneID", "masterUserSecret", "readerEndpoint"]),
    ("rds", "DBInstance", &["dbInstanceStatus", "dbiResourceID", "endpoint", "masterUserSecret"]),
    ("rds", "DBSubnetGroup", &["subnetGroupStatus", "vpcID"]),
    ("route53", "HostedZone", &["id", "delegationSet"]),
    ("route53", "RecordSet", &[]),
    ("s3", "Bucket", &["location"]),
    ("secretsmanager", "Secret", &["id"]),
    ("sns", "Topic", &["topicARN", "owner", "effectiveDeliveryPolicy"]),
    ("sqs", "Queue", &["queueURL"]),
];

/// Status fields of a kind; none where they are not known.
pub fn status(schema: &Schema) -> Option<&'static [&'static str]> {
    STATUS.iter().find(|(service, kind, _)| *service == schema.service && *kind == schema.kind).map(|(.., fields)| *fields)
}

/// Whether a kind gives this output. Where it does not: all that it does give.
///
/// # Errors
/// The fields that could be meant.
pub fn gives(schema: &Schema, field: &str, catalogue: &Catalogue) -> Result<(), Vec<&'static str>> {
    let Some(status) = status(schema) else { return Ok(()) };
    let mut known: Vec<&str> = vec!["arn", "ackResourceMetadata.arn"];
    known.extend(status);
    known.extend(schema.fields.iter().map(|field| field.path));
    known.extend(schema.references.iter().filter_map(|reference| reference.path.split("[]").next()));
    if let Tags::List(path) | Tags::Map(path) = schema.tags {
        known.push(path);
    }
    // What references of other kinds take is there too.
    let others = catalogue.iter().flat_map(|other| other.references);
    known.extend(others.filter(|one| one.service == schema.service && one.kind == schema.kind).map(|one| one.output));
    let is_part = |longer: &str, shorter: &str| longer.strip_prefix(shorter).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if known.iter().any(|known| is_part(field, known) || is_part(known, field)) {
        return Ok(());
    }
    known.sort_unstable();
    known.dedup();
    Err(known)
}
