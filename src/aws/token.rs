//! Who we are, as an EKS cluster asks for it: a presigned question to STS, without the aws program.
//!
//! The form is that of aws-iam-authenticator: `k8s-aws-v1.` and the URL in base64url; the cluster's name is a signed header, the URL is
//! good for a minute, the token for 14.

use super::{Cloud, CloudError};
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

const OPERATION: &str = "sts presigned GetCallerIdentity";

/// How long a cluster takes a token for good; one minute less than the authenticator's 15.
pub const LIFETIME: Duration = Duration::from_secs(14 * 60);

impl Cloud {
    /// Credentials as the environment variables of other programs that speak to AWS; the region too.
    pub async fn credentials(&self) -> Result<Vec<(&'static str, Zeroizing<String>)>, CloudError> {
        const CALL: &str = "credentials";
        let provider = self.config().credentials_provider().ok_or_else(|| CloudError::invalid(CALL, "there are none"))?;
        let found = provider.provide_credentials().await.map_err(|error| CloudError::credentials(CALL, &error))?;
        let given = [
            ("AWS_ACCESS_KEY_ID", found.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", found.secret_access_key()),
            // An empty one hides that of another profile.
            ("AWS_SESSION_TOKEN", found.session_token().unwrap_or_default()),
            ("AWS_REGION", &self.place().region),
        ];
        Ok(given.into_iter().map(|(name, value)| (name, Zeroizing::new(value.to_owned()))).collect())
    }

    /// A token for an EKS cluster of this account and region.
    pub async fn token(&self, cluster: &str) -> Result<String, CloudError> {
        let provider = self.config().credentials_provider().ok_or_else(|| CloudError::invalid(OPERATION, "no credentials"))?;
        let credentials = provider.provide_credentials().await.map_err(|error| CloudError::credentials(OPERATION, &error))?;
        let region = &self.place().region;
        let suffix = if self.place().partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = format!("https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15");
        presigned(&url, region, cluster, &credentials.into(), SystemTime::now())
    }
}

fn presigned(
    url: &str,
    region: &str,
    cluster: &str,
    identity: &aws_smithy_runtime_api::client::identity::Identity,
    now: SystemTime,
) -> Result<String, CloudError> {
    let failed = |error: &dyn std::fmt::Display| CloudError::invalid(OPERATION, error.to_string());
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(60));
    let params = v4::SigningParams::builder()
        .identity(identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let headers = [("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", url, headers.into_iter(), SignableBody::Bytes(&[])).map_err(|error| failed(&error))?;
    let (instructions, _) = sign(request, &params).map_err(|error| failed(&error))?.into_parts();
    let mut request = http::Request::builder().method("GET").uri(url).body(()).map_err(|error| failed(&error))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(request.uri().to_string())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_presigned_question_that_names_the_cluster() {
        let credentials = aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", Some("session".into()), None, "test");
        let url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15";
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = presigned(url, "eu-west-1", "production", &credentials.into(), at).unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.").unwrap()).unwrap()).unwrap();
        for part in [
            "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
            "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-west-1%2Fsts%2Faws4_request",
            "X-Amz-Expires=60",
            "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
            "X-Amz-Security-Token=session",
            "X-Amz-Signature=",
        ] {
            assert!(url.contains(part), "{part} is not in {url}");
        }
    }
}
