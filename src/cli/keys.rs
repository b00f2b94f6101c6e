//! Keys for decryption that AWS holds, or is: fetched before the repository is read for a run, past the guard of the account.

use super::Failure;
use crate::environment::Environment;
use crate::execute::secret::fetch;
use crate::problem::Problem;
use crate::read::{Reading, SecretValues, is_for_decryption};

/// Whether something in the repository is still encrypted.
pub(super) fn is_locked(reading: &Reading) -> bool {
    reading.layers.iter().any(crate::read::ReadLayer::is_locked)
}

/// What could open it; none where the environment has no account.
pub(super) async fn fetched(environment: &Environment) -> Result<Option<SecretValues>, Failure> {
    if environment.spec.aws.is_none() {
        return Ok(None);
    }
    let cloud = super::cloud::connect(&super::cloud::access(environment)).await?;
    let mut values = SecretValues::default();
    let mut problems = Vec::new();
    for secret in environment.spec.secrets.iter().filter(|secret| secret.from.is_in_aws() && is_for_decryption(&secret.key)) {
        match fetch(&secret.from, &environment.base, Some(&cloud)).await {
            Ok(value) => values.insert(&secret.namespace, &secret.name, &secret.key, value),
            Err(error) => {
                let message = format!("Secret {}/{}: its value cannot be had: {error}", secret.namespace, secret.name);
                problems.push(Problem::blocks("secret-unavailable", message).at(secret.origin.clone()));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::problems(problems));
    }
    let credentials = cloud.credentials().await.map_err(|error| Failure::new(format!("AWS: {error}")).because(&error))?;
    Ok(Some(values.with_aws(credentials)))
}
