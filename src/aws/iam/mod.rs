//! IAM.

mod policy;
mod profile;
mod provider;
mod role;

use super::kind::Kind;
use super::s3::form::forms;
use super::{Cloud, CloudError};
use aws_sdk_iam::operation::get_account_authorization_details::GetAccountAuthorizationDetailsOutput;
use aws_sdk_iam::types::{EntityType, Tag};

pub(super) const KINDS: &[&dyn Kind] = &[&role::Role, &policy::Policy, &profile::InstanceProfile, &provider::OpenIdConnectProvider];

forms! {
    Tag {
        "key": key set_key,
        "value": value set_value,
    }
}

/// The most that IAM tells in one answer.
const PAGE: i32 = 1000;

/// All roles or policies of the account with their documents, in few calls.
async fn details(cloud: &Cloud, kind: EntityType) -> Result<Vec<GetAccountAuthorizationDetailsOutput>, CloudError> {
    let pages = cloud.iam().get_account_authorization_details().filter(kind).max_items(PAGE).into_paginator().send().try_collect().await;
    pages.map_err(|error| CloudError::new("iam GetAccountAuthorizationDetails", &error))
}

/// IAM tells documents URL-encoded.
fn decode(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.split_at_checked(2).and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest)));
        let (byte, rest) = byte.unwrap_or((b'%', part));
        bytes.push(byte);
        bytes.extend(rest.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_decoded() {
        assert_eq!(decode("%7B%22a%22%3A%22%C3%A9+%25%22%7D"), "{\"a\":\"é+%\"}");
        assert_eq!(decode("100%, 5%2"), "100%, 5%2");
    }
}
