//! Credentials of a Git remote as Flux takes them from a Secret, given to `git` so that they stand in no argument and on no disk.

use super::super::PrivateFolder;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use tokio::process::Command;
use zeroize::Zeroizing;

/// Says what it is asked for from its environment; holds no secret itself.
const ASKPASS: &str = "#!/bin/sh\ncase \"$1\" in\nUsername*) printf '%s' \"$BLACKSTART_GIT_USERNAME\" ;;\n*) printf '%s' \"$BLACKSTART_GIT_PASSWORD\" ;;\nesac\n";

/// What a Secret gives (Flux, GitRepository "Secret reference"; source-controller reads the same keys).
#[derive(Debug)]
pub struct Credentials {
    kind: Kind,
    data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Password,
    Bearer,
    Key,
}

/// Values by key; shown by their keys alone.
struct Data(BTreeMap<String, Zeroizing<String>>);

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// For this URL; an error says what the Secret lacks.
    pub fn of(url: &str, data: BTreeMap<String, Zeroizing<String>>) -> Result<Self, &'static str> {
        let has = |key: &str| data.contains_key(key);
        let over_ssh = url.starts_with("ssh://") || !url.contains("://");
        let kind = if over_ssh {
            if !has("identity") {
                return Err("has no key `identity`");
            }
            if !has("known_hosts") {
                return Err("has no key `known_hosts`, without which the agent trusts no host");
            }
            Kind::Key
        } else if has("bearerToken") {
            Kind::Bearer
        } else if has("username") && has("password") {
            Kind::Password
        } else {
            return Err("has neither `username` and `password` nor `bearerToken`");
        };
        Ok(Self { kind, data: Data(data) })
    }

    /// What proves who the agent is.
    pub fn words(&self) -> &'static str {
        match self.kind {
            Kind::Password => "password or token",
            Kind::Bearer => "bearer token",
            Kind::Key => "deploy key",
        }
    }

    fn value(&self, key: &str) -> &str {
        self.data.0.get(key).map_or("", |value| value.as_str())
    }

    /// Gives them to a command, and none of the user's own. What it returns must live as long as the command runs.
    pub(super) fn give(&self, command: &mut Command) -> std::io::Result<PrivateFolder> {
        let folder = PrivateFolder::new().map_err(std::io::Error::other)?;
        let mut settings = vec![("credential.helper", String::new())];
        match self.kind {
            Kind::Password => {
                let askpass = write(&folder, "askpass", ASKPASS, 0o700)?;
                command.env("GIT_ASKPASS", askpass);
                command.env("BLACKSTART_GIT_USERNAME", self.value("username")).env("BLACKSTART_GIT_PASSWORD", self.value("password"));
            }
            Kind::Bearer => settings.push(("http.extraHeader", format!("Authorization: Bearer {}", self.value("bearerToken").trim()))),
            Kind::Key => {
                if !folder.in_memory() {
                    return Err(std::io::Error::other("a deploy key is written to memory only, and /dev/shm cannot be written here"));
                }
                let key = write(&folder, "identity", &(self.value("identity").trim_end().to_owned() + "\n"), 0o600)?;
                let hosts = write(&folder, "known_hosts", self.value("known_hosts"), 0o600)?;
                let ssh = format!(
                    "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=yes \
                     -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=10",
                    key.display(),
                    hosts.display()
                );
                command.env("GIT_SSH_COMMAND", ssh).env_remove("SSH_ASKPASS");
            }
        }
        // Settings in the environment: an argument would be seen by everyone on this machine.
        let first = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|count| count.parse::<usize>().ok()).unwrap_or_default();
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{}", first + number), key).env(format!("GIT_CONFIG_VALUE_{}", first + number), value);
        }
        command.env("GIT_CONFIG_COUNT", (first + settings.len()).to_string());
        Ok(folder)
    }
}

fn write(folder: &PrivateFolder, name: &str, text: &str, mode: u32) -> std::io::Result<PathBuf> {
    let path = folder.path().join(name);
    OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(url: &str, keys: &[&str]) -> Result<&'static str, &'static str> {
        let data = keys.iter().map(|key| ((*key).to_owned(), Zeroizing::new("secret-value".to_owned()))).collect();
        Credentials::of(url, data).map(|found| found.words())
    }

    #[test]
    fn a_secret_has_what_its_url_wants() {
        assert_eq!(lacks("https://host/a", &["username", "password"]), Ok("password or token"));
        assert_eq!(lacks("https://host/a", &["bearerToken"]), Ok("bearer token"));
        assert!(lacks("https://host/a", &["identity", "known_hosts"]).is_err());
        assert_eq!(lacks("ssh://git@host/a", &["identity", "known_hosts"]), Ok("deploy key"));
        assert_eq!(lacks("git@host:a", &["identity"]), Err("has no key `known_hosts`, without which the agent trusts no host"));
    }

    #[test]
    fn no_argument_holds_a_secret_and_no_file_but_in_memory() {
        for (url, keys) in [
            ("https://host/a", &["username", "password"][..]),
            ("https://host/a", &["bearerToken"]),
            ("ssh://host/a", &["identity", "known_hosts"]),
        ] {
            let data = keys.iter().map(|key| ((*key).to_owned(), Zeroizing::new("secret-value".to_owned()))).collect();
            let credentials = Credentials::of(url, data).expect("complete");
            assert!(!format!("{credentials:?}").contains("secret-value"));
            let mut command = Command::new("git");
            let Ok(folder) = credentials.give(&mut command) else { continue };
            let command = command.as_std();
            assert!(command.get_args().all(|argument| !argument.to_string_lossy().contains("secret-value")));
            let holds = std::fs::read_dir(folder.path())
                .expect("a folder")
                .flatten()
                .any(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("secret-value")));
            assert!(!holds || folder.in_memory());
        }
    }
}
