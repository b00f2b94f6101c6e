//! PGP keys for sops, in a keyring of their own that no other program sees: in memory, gone with its owner. The user's own keyring is
//! neither read nor changed.

use super::program;
use crate::repo::PrivateFolder;
use std::path::PathBuf;

/// Secret keys, imported once.
#[derive(Debug)]
pub struct Keyring {
    folder: Option<PrivateFolder>,
    /// Why there is none.
    why: Option<String>,
}

impl Keyring {
    /// Imports armoured private keys. What fails is told when something is to be decrypted.
    pub(crate) fn new(armoured: &[&str]) -> Self {
        match import(armoured) {
            Ok(folder) => Self { folder: Some(folder), why: None },
            Err(why) => Self { folder: None, why: Some(why) },
        }
    }

    /// Its folder, as `GNUPGHOME`.
    pub(super) fn home(&self) -> Result<String, String> {
        match (&self.folder, &self.why) {
            (Some(folder), _) => Ok(folder.path().display().to_string()),
            (None, why) => Err(why.clone().unwrap_or_default()),
        }
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        // gpg starts an agent that would outlive us.
        if let (Some(folder), Some(gpgconf)) = (&self.folder, program::find("gpgconf")) {
            let home = folder.path().display().to_string();
            let _ = program::run(&gpgconf, ["--homedir", &home, "--kill", "all"], &[], None);
        }
    }
}

fn import(armoured: &[&str]) -> Result<PrivateFolder, String> {
    let gpg: PathBuf = program::find("gpg").ok_or("gpg is needed for PGP keys and was not found on PATH")?;
    let folder = PrivateFolder::new().map_err(|error| error.to_string())?;
    if !folder.in_memory() {
        return Err("PGP keys are only imported into memory, and /dev/shm cannot be written here".to_owned());
    }
    let home = folder.path().display().to_string();
    for key in armoured {
        let arguments = ["--batch", "--no-tty", "--quiet", "--import"];
        let output =
            program::run(&gpg, arguments, &[("GNUPGHOME", &home)], Some(key.as_bytes())).map_err(|error| format!("gpg: {error}"))?;
        if !output.success {
            return Err("gpg: the PGP key cannot be imported".to_owned());
        }
    }
    Ok(folder)
}
