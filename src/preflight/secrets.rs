//! Whether a value is what its key in a Secret promises, as its reader in the cluster would take it. The answer never quotes it.

use serde_json::Value;

/// What is wrong with a value; none where it is right, or where the key promises nothing.
pub fn wrong(key: &str, value: &str) -> Option<&'static str> {
    let is_pem = |what: &str| value.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(what));
    let ending = key.rsplit_once('.').map_or("", |(_, last)| last);
    match key {
        _ if value.trim().is_empty() => Some("is empty"),
        // kustomize-controller `internal/decryptor`: one identity a line, `#` for comments.
        _ if ending == "agekey" => {
            (!value.lines().any(|line| line.trim().starts_with("AGE-"))).then_some("holds no age identity (AGE-SECRET-KEY-…)")
        }
        _ if ending == "asc" => (!is_pem("PGP PRIVATE KEY BLOCK-----")).then_some("holds no armoured PGP private key"),
        ".dockerconfigjson" => {
            let auths =
                serde_json::from_str::<Value>(value).ok().and_then(|value| value.get("auths")?.as_object().map(|auths| !auths.is_empty()));
            (auths != Some(true)).then_some("is no JSON with `auths` of registries")
        }
        "identity" => (!is_pem("PRIVATE KEY-----")).then_some("holds no private SSH key"),
        "tls.key" => (!is_pem("PRIVATE KEY-----")).then_some("holds no PEM private key"),
        "tls.crt" => (!is_pem("CERTIFICATE-----")).then_some("holds no PEM certificate"),
        // sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": names, type, key.
        "known_hosts" => {
            let is_entry = |line: &str| !line.starts_with('#') && line.split_whitespace().count() >= 3;
            (!value.lines().any(is_entry)).then_some("names no host key (ssh-keyscan HOST gives it)")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_be_what_its_key_promises() {
        for (key, value, is_right) in [
            ("age.agekey", "# created\nAGE-SECRET-KEY-1QQQ\n", true),
            ("age.agekey", "age1qqq\n", false),
            ("key.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n", true),
            ("key.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\nx\n", false),
            (".dockerconfigjson", r#"{"auths": {"ghcr.io": {"auth": "eA=="}}}"#, true),
            (".dockerconfigjson", r#"{"auths": {}}"#, false),
            ("identity", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", true),
            ("identity", "ssh-ed25519 AAAA", false),
            ("known_hosts", "# c\ngithub.com ssh-ed25519 AAAA\n", true),
            ("known_hosts", "github.com\n", false),
            ("tls.key", "-----BEGIN RSA PRIVATE KEY-----\nx\n", true),
            ("token", "x", true),
            ("token", " \n", false),
        ] {
            assert_eq!(wrong(key, value).is_none(), is_right, "{key}: {value}");
        }
    }
}
