//! Values that AWS holds: parameters of Systems Manager, secrets of Secrets Manager.

use super::error::or_absent;
use super::{Cloud, CloudError, Meaning};
use aws_sdk_ssm::types::ParameterType;
use zeroize::Zeroizing;

impl Cloud {
    /// A parameter of Systems Manager, decrypted.
    pub async fn parameter(&self, name: &str) -> Result<Zeroizing<String>, CloudError> {
        const CALL: &str = "ssm GetParameter";
        let found = self.ssm().get_parameter().name(name).with_decryption(true).send().await;
        let found = found.map_err(|error| CloudError::new(CALL, &error))?;
        let value = found.parameter.and_then(|parameter| parameter.value);
        value.map(Zeroizing::new).ok_or_else(|| CloudError::malformed(CALL, "value"))
    }

    /// Makes a parameter; false where it is there already.
    pub async fn claim_parameter(&self, name: &str, value: &str) -> Result<bool, CloudError> {
        match self.put_parameter(name, value, false).await {
            Ok(()) => Ok(true),
            Err(error) if error.meaning == Meaning::Exists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a parameter another value.
    pub async fn set_parameter(&self, name: &str, value: &str) -> Result<(), CloudError> {
        self.put_parameter(name, value, true).await
    }

    async fn put_parameter(&self, name: &str, value: &str, overwrite: bool) -> Result<(), CloudError> {
        let call = self.ssm().put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(overwrite);
        call.send().await.map_err(|error| CloudError::new("ssm PutParameter", &error)).map(drop)
    }

    /// Removes a parameter; not an error where it is gone.
    pub async fn delete_parameter(&self, name: &str) -> Result<(), CloudError> {
        let deleted = self.ssm().delete_parameter().name(name).send().await;
        or_absent(deleted.map_err(|error| CloudError::new("ssm DeleteParameter", &error))).map(drop)
    }

    /// The current value of a secret of Secrets Manager, by name or ARN.
    pub async fn secret(&self, name: &str) -> Result<Zeroizing<String>, CloudError> {
        const CALL: &str = "secretsmanager GetSecretValue";
        let found = self.secretsmanager().get_secret_value().secret_id(name).send().await;
        let found = found.map_err(|error| CloudError::new(CALL, &error))?;
        let text = found.secret_string.or_else(|| String::from_utf8(found.secret_binary?.into_inner()).ok());
        text.map(Zeroizing::new).ok_or_else(|| CloudError::malformed(CALL, "text"))
    }
}
