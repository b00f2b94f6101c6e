//! `spec.git.verify` and `--allowed-signers`, with keys that are made for each test; skipped where ssh-keygen or gpg is absent.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and tells what it skips")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SYNC: &str = "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: 'https://example.com/fleet', interval: 1m}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/a, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}}
";

fn is_absent(program: &str, argument: &str) -> bool {
    let absent = Command::new(program).arg(argument).stdin(Stdio::null()).output().is_err();
    if absent {
        println!("skipped: {program} is not here");
    }
    absent
}

fn run(program: &str, arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How a commit is signed.
enum By<'a> {
    Nobody,
    Ssh(&'a str),
    OpenPgp,
}

/// A repository with an environment, and keys beside it.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        for key in ["ada", "eve"] {
            let file = stage.beside(key);
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", file.to_str().unwrap()], stage.folder.path(), &[]);
        }
        fs::create_dir(stage.root()).unwrap();
        run("git", &["init", "--quiet", "--initial-branch=main"], &stage.root(), &[]);
        stage.write("clusters/a/flux-system/gotk-sync.yaml", SYNC);
        stage
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn environment(&self, verify: &str) {
        self.write(
            "blackstart.yaml",
            &format!(
                "apiVersion: blackstart/v1alpha1\nkind: Environment\nmetadata: {{name: a}}\nspec:\n  git:\n    verify: {{{verify}}}\n"
            ),
        );
    }

    /// A line of allowed signers for one of the SSH keys.
    fn line(&self, principal: &str, options: &str, key: &str) -> String {
        format!("{principal} {options} {}", fs::read_to_string(self.beside(&format!("{key}.pub"))).unwrap())
    }

    fn commit(&self, message: &str, by: &By<'_>) -> String {
        run("git", &["add", "--all"], &self.root(), &[]);
        let home = self.beside("gnupg").display().to_string();
        let mut arguments: Vec<String> = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"].map(str::to_owned).into();
        let key = match by {
            By::Nobody => None,
            By::Ssh(key) => {
                arguments.extend(["-c".to_owned(), "gpg.format=ssh".to_owned()]);
                Some(self.beside(key).display().to_string())
            }
            By::OpenPgp => Some("ada@example.com".to_owned()),
        };
        arguments.extend(key.iter().flat_map(|key| ["-c".to_owned(), format!("user.signingkey={key}")]));
        arguments.extend(["commit", "--quiet", "--allow-empty", "--message", message].map(str::to_owned));
        arguments.extend(key.map(|_| "--gpg-sign".to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run("git", &arguments, &self.root(), &[("GNUPGHOME", &home)]);
        run("git", &["rev-parse", "HEAD"], &self.root(), &[])
    }

    /// An OpenPGP key, and the file with its public part.
    fn openpgp(&self, expires: &str) -> PathBuf {
        use std::os::unix::fs::DirBuilderExt as _;
        let home = self.beside("gnupg");
        fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
        let environment = [("GNUPGHOME", home.to_str().unwrap())];
        let make = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "Ada <ada@example.com>"];
        run("gpg", &[&make[..], &["ed25519", "sign", expires]].concat(), &home, &environment);
        let public = run("gpg", &["--armor", "--export"], &home, &environment);
        let file = self.beside("ada.asc");
        fs::write(&file, public).unwrap();
        file
    }

    fn blackstart(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
        command.args(arguments).arg(self.root()).stdin(Stdio::null());
        let output = command.env("HOME", self.folder.path()).env_remove("KUBECONFIG").output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr), output.status.code())
    }

    #[track_caller]
    fn accepts(&self, arguments: &[&str]) {
        let (text, code) = self.blackstart(&[&["plan"], arguments].concat());
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("No problems."), "{text}");
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], wanted: &[&str]) {
        let (text, code) = self.blackstart(&[&["plan"], arguments].concat());
        for part in wanted {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
        assert_eq!(code, Some(1), "{text}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // gpg's agent outlives its caller otherwise.
        if self.beside("gnupg").is_dir() {
            let home = self.beside("gnupg").display().to_string();
            let _ = Command::new("gpgconf").args(["--homedir", &home, "--kill", "all"]).status();
        }
    }
}

#[test]
fn only_an_allowed_signer_s_commit_is_read() {
    if is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.environment("allowedSigners: ../allowed");
    let allow = |options: &str| fs::write(stage.beside("allowed"), stage.line("ada@example.com", options, "ada")).unwrap();
    allow("namespaces=\"git\"");
    stage.commit("nobody's", &By::Nobody);
    stage.refuses(&[], &["blackstart.yaml:6", "(\"nobody's\" of Ada <ada@example.com>): is not signed", "hint: "]);
    stage.commit("another's", &By::Ssh("eve"));
    stage.refuses(&[], &["blackstart.yaml:6", "is signed with key SHA256:", "no allowed signer's"]);
    let good = stage.commit("allowed", &By::Ssh("ada"));
    stage.accepts(&[]);
    stage.refuses(&["--revision", "HEAD~1"], &["another's"]);

    // What the line of the key says counts too.
    allow("namespaces=\"file\"");
    stage.refuses(&[], &["revision-unsigned", "allowed"]);
    allow("valid-before=\"20200101\"");
    stage.refuses(&[], &["or was not at that time"]);
    allow("valid-after=\"20200101\"");
    stage.accepts(&[]);

    // The same contents with the signature of another commit are no signed commit.
    let raw = run("git", &["cat-file", "commit", &good], &stage.root(), &[]) + "\n";
    fs::write(stage.beside("forged"), raw.replace("\nallowed\n", "\nforged\n")).unwrap();
    let forged = run("git", &["hash-object", "-t", "commit", "-w", stage.beside("forged").to_str().unwrap()], &stage.root(), &[]);
    assert_ne!(forged, good);
    stage.refuses(&["--revision", &forged], &["forged", "has a bad signature"]);
    // Nor does a replacement that stands in for it pass.
    run("git", &["replace", &forged, &good], &stage.root(), &[]);
    stage.refuses(&["--revision", &forged], &["has a bad signature"]);
}

#[test]
fn openpgp_keys_count_while_they_are_valid() {
    if is_absent("gpg", "--version") || is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.openpgp("0");
    stage.environment("openPGPKeys: [../ada.asc]");
    stage.commit("signed", &By::OpenPgp);
    stage.accepts(&[]);
    // Another key than the allowed one, and another format than the allowed one.
    fs::write(stage.beside("allowed"), stage.line("ada@example.com", "", "ada")).unwrap();
    let allowed = stage.beside("allowed").display().to_string();
    stage.refuses(&["--allowed-signers", &allowed], &["is not among the allowed ones"]);
    stage.accepts(&["--allowed-signers", &allowed, "--allowed-signers", stage.beside("ada.asc").to_str().unwrap()]);
    stage.commit("by SSH", &By::Ssh("ada"));
    stage.refuses(&[], &["is signed with key SHA256:"]);
    fs::write(stage.beside("ada.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\nnot a key\n").unwrap();
    stage.refuses(&[], &["gpg cannot import the OpenPGP key"]);
    fs::remove_file(stage.beside("ada.asc")).unwrap();
    stage.refuses(&[], &["blackstart.yaml:6", "ada.asc: cannot be read", "--allowed-signers FILE"]);
}

#[test]
fn an_expired_openpgp_key_counts_no_more() {
    if is_absent("gpg", "--version") || is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.openpgp("seconds=3");
    stage.environment("openPGPKeys: [../ada.asc]");
    stage.commit("signed", &By::OpenPgp);
    std::thread::sleep(std::time::Duration::from_secs(4));
    stage.refuses(&[], &["which has expired"]);
}

#[test]
fn since_a_trusted_commit_all_count_and_its_own_keys_decide() {
    if is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.write("keys/allowed", &stage.line("ada@example.com", "", "ada"));
    let trusted = stage.commit("trusted", &By::Nobody);
    stage.environment(&format!("allowedSigners: keys/allowed, since: \"{trusted}\""));
    stage.commit("first", &By::Ssh("ada"));
    let good = stage.commit("second", &By::Ssh("ada"));
    stage.accepts(&[]);
    let (text, _) = stage.blackstart(&["preflight", "-o", "json"]);
    assert!(text.contains("2 commits since") && text.contains("whoever can push can change it"), "{text}");

    // One in between that nobody signed.
    stage.commit("slipped in", &By::Nobody);
    stage.commit("third", &By::Ssh("ada"));
    stage.refuses(&[], &["slipped in", "is not signed"]);
    let (text, _) = stage.blackstart(&["plan"]);
    assert!(!text.contains("\"third\""), "{text}");
    run("git", &["reset", "--quiet", "--hard", &good], &stage.root(), &[]);

    // Eve adds her own key, and signs that herself: the trusted commit does not know it.
    let both = stage.line("ada@example.com", "", "ada") + &stage.line("eve@example.com", "", "eve");
    stage.write("keys/allowed", &both);
    stage.commit("eve's key", &By::Ssh("eve"));
    stage.refuses(&[], &["eve's key", "is signed with key SHA256:"]);
    run("git", &["reset", "--quiet", "--hard", &good], &stage.root(), &[]);

    // A merge brings all of its commits, and is one itself.
    run("git", &["checkout", "--quiet", "-b", "side", &trusted], &stage.root(), &[]);
    stage.commit("aside", &By::Nobody);
    run("git", &["checkout", "--quiet", "main"], &stage.root(), &[]);
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "merge", "--quiet", "--no-ff", "--message", "merged", "side"];
    run("git", &who, &stage.root(), &[]);
    stage.refuses(&[], &["\"aside\"", "\"merged\""]);
    run("git", &["reset", "--quiet", "--hard", &good], &stage.root(), &[]);

    // History that does not follow the trusted commit, or is not all here.
    run("git", &["checkout", "--quiet", "--orphan", "other"], &stage.root(), &[]);
    stage.commit("another root", &By::Ssh("ada"));
    stage.refuses(&[], &["does not follow the trusted commit", "hint: "]);
    run("git", &["checkout", "--quiet", "main"], &stage.root(), &[]);
    let from = format!("file://{}", stage.root().display());
    run("git", &["clone", "--quiet", "--depth", "2", &from, "shallow"], stage.folder.path(), &[]);
    let (text, code) = stage.blackstart(&["plan"]);
    assert_eq!(code, Some(0), "{text}");
    fs::rename(stage.root(), stage.beside("whole")).unwrap();
    fs::rename(stage.beside("shallow"), stage.root()).unwrap();
    stage.refuses(&[], &["shallow clone", "git fetch --unshallow"]);
}

#[test]
fn the_command_line_trusts_no_key_of_the_repository() {
    if is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.beside("allowed"), stage.line("ada@example.com", "", "ada")).unwrap();
    let allowed = stage.beside("allowed").display().to_string();
    // No environment asks for signatures, and yet they are asked for.
    stage.commit("nobody's", &By::Nobody);
    stage.accepts(&[]);
    stage.refuses(&["--allowed-signers", &allowed], &["is not signed"]);
    // An environment that trusts its own key is not asked.
    stage.write("keys/allowed", &stage.line("eve@example.com", "", "eve"));
    stage.environment("allowedSigners: keys/allowed");
    stage.commit("eve's", &By::Ssh("eve"));
    stage.accepts(&[]);
    stage.refuses(&["--allowed-signers", &allowed], &["is signed with key SHA256:"]);
    let nowhere = stage.beside("nowhere").display().to_string();
    stage.refuses(&["--allowed-signers", &nowhere], &["nowhere: cannot be read"]);
}

#[test]
fn a_run_is_refused_before_it_asks_anybody() {
    if is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.environment("allowedSigners: allowed");
    stage.write("allowed", &stage.line("ada@example.com", "", "ada"));
    stage.commit("nobody's", &By::Nobody);
    // A cluster that nobody could reach is not even asked for.
    for verb in ["bootstrap", "recover"] {
        let (text, code) = stage.blackstart(&[verb, "--kubeconfig", "/nowhere"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("is not signed") && text.contains("blackstart.yaml:6") && !text.contains("nowhere"), "{text}");
    }
    let (text, code) = stage.blackstart(&["preflight", "-o", "json"]);
    assert!(code == Some(1) && text.contains("revision-unsigned"), "{text}");
    let (text, code) = stage.blackstart(&["verify", "-o", "json"]);
    assert!(code == Some(1) && text.contains("revision-unsigned"), "{text}");
    // To look at what lives is no run: it gets as far as the cluster.
    let (text, code) = stage.blackstart(&["prove", "--kubeconfig", "/nowhere"]);
    assert!(code != Some(0) && text.contains("nowhere") && !text.contains("is not signed"), "{text}");
}

#[test]
fn without_its_program_no_signature_counts() {
    if is_absent("ssh-keygen", "-?") {
        return;
    }
    let stage = Stage::new();
    stage.environment("allowedSigners: allowed");
    stage.write("allowed", &stage.line("ada@example.com", "", "ada"));
    stage.commit("signed", &By::Ssh("ada"));
    let programs = stage.beside("programs");
    fs::create_dir(&programs).unwrap();
    let git = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join("git")).find(|file| file.is_file());
    std::os::unix::fs::symlink(git.unwrap(), programs.join("git")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blackstart"));
    let output = command.arg("plan").arg(stage.root()).env("PATH", &programs).env("HOME", stage.folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ssh-keygen is needed and was not found on PATH"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
