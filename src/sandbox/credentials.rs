//! Keys, certificates and kubeconfigs of one sandbox: made for it alone, gone with it.

use super::SandboxError;
use super::state::write_private;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Makes client certificates that the sandbox's API server believes.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// Writes `ca.crt`, `server.crt`, `server.key`, `accounts.pub` and `accounts.key` into the private folder.
    pub(super) fn new(folder: &Path) -> Result<Self, SandboxError> {
        let mut params = parameters("blackstart sandbox", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = Self { issuer, folder: folder.to_owned() };
        authority.write("ca.crt", &authority.issuer.pem())?;

        let mut params = parameters("kube-apiserver", None);
        params.subject_alt_names =
            vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)), SanType::IpAddress(IpAddr::V4(super::control_plane::FIRST_SERVICE))];
        for name in ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        authority.write("server.crt", &params.signed_by(&key, &authority.issuer)?.pem())?;
        authority.write("server.key", &key.serialize_pem())?;

        let key = KeyPair::generate()?;
        authority.write("accounts.key", &key.serialize_pem())?;
        authority.write("accounts.pub", &key.public_key_pem())?;
        Ok(authority)
    }

    /// Writes a kubeconfig with a client certificate of its own; every user of a sandbox is a cluster administrator
    /// under its own name, so that the audit log tells them apart.
    pub(super) fn kubeconfig(&self, file: &str, user: &str, server: &str) -> Result<PathBuf, SandboxError> {
        use base64::Engine as _;
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let mut params = parameters(user, Some("system:masters"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": server, "certificate-authority-data": base64(&self.issuer.pem())}}],
            "users": [{"name": user, "user": {"client-certificate-data": base64(&certificate), "client-key-data": base64(&key.serialize_pem())}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
        });
        // JSON is YAML; kubectl and client-go read it.
        self.write(file, &format!("{config:#}\n"))?;
        Ok(self.folder.join(file))
    }

    fn write(&self, file: &str, content: &str) -> Result<(), SandboxError> {
        let path = self.folder.join(file);
        write_private(&path, content.as_bytes()).map_err(|source| SandboxError::Io { what: path.display().to_string(), source })
    }
}

fn parameters(name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params
}
