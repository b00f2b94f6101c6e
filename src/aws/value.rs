//! Values that AWS holds: parameters of Systems Manager, secrets of Secrets Manager.

use super::{Cloud, CloudError};
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

    /// The current value of a secret of Secrets Manager, by name or ARN.
    pub async fn secret(&self, name: &str) -> Result<Zeroizing<String>, CloudError> {
        const CALL: &str = "secretsmanager GetSecretValue";
        let found = self.secretsmanager().get_secret_value().secret_id(name).send().await;
        let found = found.map_err(|error| CloudError::new(CALL, &error))?;
        let text = found.secret_string.or_else(|| String::from_utf8(found.secret_binary?.into_inner()).ok());
        text.map(Zeroizing::new).ok_or_else(|| CloudError::malformed(CALL, "text"))
    }
}
