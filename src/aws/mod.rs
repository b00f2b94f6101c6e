//! Cloud resources through the AWS SDK: one file a service, each kind with its facts and its calls.
//!
//! A new kind is one `impl Kind` in the file of its service and one entry in that file's `KINDS`; a new service is one line in [`SERVICES`].

pub mod error;
pub mod kind;
pub mod leftovers;
pub mod observe;
pub mod permissions;
pub mod token;
mod value;

mod dynamodb;
mod ec2;
mod ecr;
mod eks;
mod elbv2;
mod iam;
mod kms;
mod logs;
mod rds;
mod route53;
mod s3;
mod secretsmanager;
mod sns;
mod sqs;

use crate::layers::infrastructure::{Place, Schema};
use crate::restore::volumes::Stock;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
pub use ec2::volume::VOLUME;
pub use error::{CloudError, Meaning};
pub use kind::{Kind, Living, State, Wanted, mark};
pub use kms::AnyKey;
use std::sync::OnceLock;
use std::time::Duration;

/// All kinds, by service.
pub const SERVICES: &[&[&dyn Kind]] = &[
    dynamodb::KINDS,
    ec2::KINDS,
    ecr::KINDS,
    eks::KINDS,
    elbv2::KINDS,
    iam::KINDS,
    kms::KINDS,
    logs::KINDS,
    rds::KINDS,
    route53::KINDS,
    s3::KINDS,
    secretsmanager::KINDS,
    sns::KINDS,
    sqs::KINDS,
];

/// All kinds.
pub fn kinds() -> impl Iterator<Item = &'static dyn Kind> {
    SERVICES.iter().flat_map(|kinds| kinds.iter().copied())
}

/// What an account holds for the claims of a cluster: living volumes and snapshots, also the named ones, whoever owns them.
pub async fn stock(cloud: &Cloud, snapshots: &[&str]) -> Result<Stock, CloudError> {
    ec2::volume::stock(cloud, snapshots).await
}

/// A KMS key by ID, ARN or alias; none where there is no such key.
pub async fn key(cloud: &Cloud, key: &str) -> Result<Option<AnyKey>, CloudError> {
    kms::any(cloud, key).await
}

/// Facts of all kinds, for rooms that know no AWS.
pub fn catalogue() -> Vec<&'static Schema> {
    kinds().map(Kind::schema).collect()
}

/// The calls of a kind.
pub fn kind(schema: &Schema) -> Option<&'static dyn Kind> {
    kinds()
        .chain([&ec2::volume::Volume as &dyn Kind])
        .find(|kind| kind.schema().service == schema.service && kind.schema().kind == schema.kind)
}

/// How an account is reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Account that may be touched; any where none is named.
    pub account: Option<String>,
    /// Region; the one of the user's own configuration where absent.
    pub region: Option<String>,
    /// ARN of a role to assume with the credentials at hand.
    pub role: Option<String>,
    /// Where all services answer, for a sandbox; credentials are made up then.
    pub sandbox: Option<String>,
    /// It is a sandbox's that never held anything.
    pub is_new: bool,
}

/// One account and region, and the clients of its services.
#[derive(Debug)]
pub struct Cloud {
    config: SdkConfig,
    place: Place,
    sandbox: bool,
    clients: Clients,
}

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No region.
    #[error("AWS: no region: blackstart.yaml has no spec.aws.region, and the configuration at hand names none")]
    NoRegion,
    /// Credentials, network.
    #[error("AWS: {0}")]
    Refused(#[from] CloudError),
    /// The guard.
    #[error("AWS: these credentials belong to account {found} ({arn}), blackstart.yaml allows {wanted} only; nothing was written")]
    WrongAccount {
        /// Account of the credentials.
        found: String,
        /// Who they are.
        arn: String,
        /// Account of blackstart.yaml.
        wanted: String,
    },
}

impl AccessError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRegion => Some("add spec.aws.region to blackstart.yaml, or set AWS_REGION".to_owned()),
            Self::WrongAccount { .. } => Some("choose the right profile: AWS_PROFILE=… blackstart …".to_owned()),
            Self::Refused(error) if error.meaning == Meaning::Unreachable => {
                Some("check the network, and that spec.aws.region is one of AWS' regions; then run the same command again".to_owned())
            }
            Self::Refused(error) => error.hint().map(str::to_owned),
        }
    }
}

macro_rules! clients {
    ($($name:ident: $client:path, $doc:literal;)*) => {
        #[derive(Debug, Default)]
        struct Clients { $($name: OnceLock<$client>,)* }

        impl Cloud {
            $(#[doc = $doc] pub fn $name(&self) -> &$client { self.clients.$name.get_or_init(|| <$client>::new(&self.config)) })*
        }
    };
}

clients! {
    dynamodb: aws_sdk_dynamodb::Client, "DynamoDB.";
    ec2: aws_sdk_ec2::Client, "EC2.";
    ecr: aws_sdk_ecr::Client, "ECR.";
    eks: aws_sdk_eks::Client, "EKS.";
    elbv2: aws_sdk_elasticloadbalancingv2::Client, "Elastic Load Balancing, version 2.";
    iam: aws_sdk_iam::Client, "IAM.";
    kms: aws_sdk_kms::Client, "KMS.";
    logs: aws_sdk_cloudwatchlogs::Client, "CloudWatch Logs.";
    rds: aws_sdk_rds::Client, "RDS.";
    route53: aws_sdk_route53::Client, "Route 53.";
    secretsmanager: aws_sdk_secretsmanager::Client, "Secrets Manager.";
    sns: aws_sdk_sns::Client, "SNS.";
    sqs: aws_sdk_sqs::Client, "SQS.";
    ssm: aws_sdk_ssm::Client, "Systems Manager.";
    sts: aws_sdk_sts::Client, "STS.";
}

/// Whether an endpoint (`AWS_ENDPOINT_URL`) is on this machine, and so no AWS.
fn is_here(endpoint: &str) -> bool {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split('/').next().unwrap_or_default();
    crate::host::is_loopback(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
}

impl Cloud {
    /// Connects, asks who we are, and refuses any other account than the allowed one. Writes nothing.
    pub async fn connect(access: &Access) -> Result<Self, AccessError> {
        // Adaptive: one token bucket a service slows all calls down together when it throttles.
        let mut retry = RetryConfig::adaptive().with_max_attempts(8);
        if access.sandbox.is_some() {
            // There a minute is a second.
            retry = retry.with_initial_backoff(Duration::from_millis(50)).with_max_backoff(Duration::from_secs(1));
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retry).timeout_config(
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(Duration::from_secs(30)).build(),
        );
        if let Some(region) = &access.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &access.sandbox {
            loader = loader.endpoint_url(endpoint).test_credentials();
        }
        let mut config = loader.load().await;
        if let Some(role) = access.role.as_ref().filter(|_| access.sandbox.is_none()) {
            // Refreshed before it expires, as all credentials of the SDK are.
            let provider = AssumeRoleProvider::builder(role).session_name("blackstart").configure(&config).build().await;
            config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
        }
        let region = config.region().ok_or(AccessError::NoRegion)?.to_string();
        let sandbox = access.sandbox.is_some() || config.endpoint_url().is_some_and(is_here);
        let mut cloud = Self { config, place: Place::new("", &region), sandbox, clients: Clients::default() };
        let who = cloud.sts().get_caller_identity().send().await.map_err(|error| CloudError::new("sts GetCallerIdentity", &error))?;
        let found = who.account().unwrap_or_default().to_owned();
        if let Some(wanted) = access.account.as_ref().filter(|wanted| **wanted != found) {
            let arn = who.arn().unwrap_or_default().to_owned();
            return Err(AccessError::WrongAccount { found, arn, wanted: wanted.clone() });
        }
        cloud.place.account = found;
        Ok(cloud)
    }

    fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Account, region, partition.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where STS answers.
    pub fn sts_url(&self) -> String {
        let suffix = if self.place.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let own = || format!("https://sts.{}.{suffix}/", self.place.region);
        self.config.endpoint_url().map_or_else(own, str::to_owned)
    }

    /// The time between two looks that a provider asks for; a sandbox is asked ten times a second.
    pub fn pace(&self, seconds: u32) -> Duration {
        if self.sandbox { Duration::from_millis(100) } else { Duration::from_secs(u64::from(seconds)) }
    }

    /// IAM for questions that a run can do without: where the answer does not come, it does not wait for it.
    pub fn iam_that_gives_up(&self) -> aws_sdk_iam::Client {
        let retry = RetryConfig::standard().with_max_attempts(3);
        aws_sdk_iam::Client::from_conf(aws_sdk_iam::config::Builder::from(&self.config).retry_config(retry).build())
    }

    /// S3; addressed by path in a sandbox, which has one host name.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(self.sandbox).build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_sandbox() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:5000", true),
            ("http://localhost:4566/", true),
            ("http://[::1]:5000", true),
            ("https://sts.eu-west-1.amazonaws.com", false),
            ("http://127.0.0.1.example.com:80", false),
        ] {
            assert_eq!(is_here(endpoint), expected, "{endpoint}");
        }
    }
}
