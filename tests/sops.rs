//! SOPS: what is encrypted in Git is in clear in the reading, with the right key only. Skipped where sops is not at hand.

#![expect(clippy::print_stdout, reason = "says what it skips")]

use blackstart::plan::{Plan, plan};
use blackstart::read::{self, ReadOptions, Reading, Revision};
use blackstart::render::program;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Made for this test; protects nothing.
const KEY: &str = "AGE-SECRET-KEY-1EGJ936Z6M5D78JTXXVNQGQUFRUVVXGUPPLPJ390CMD7CMT2QE28SHK6YX3";
const RECIPIENT: &str = "age16qzg0rtx9t4gd4sn809vlqs8jv5ll0mgg3p5safrca3mfsqxcapqw2prnv";
const OTHER_KEY: &str = "AGE-SECRET-KEY-1H9GWE5W9U67PJNS9MRY99SFGRQWAUYUH3F5TWJZ5SCVHGAWZCELSRYVQMQ";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\n  namespace: shop\nstringData:\n  password: correct-horse\n";

fn sops() -> Option<PathBuf> {
    let found = program::find("sops").filter(|_| program::find("kustomize").is_some());
    if found.is_none() {
        println!("skipped: sops or kustomize is not at hand");
    }
    found
}

fn encrypt(sops: &Path, text: &str, kind: &str) -> String {
    let mut child = Command::new(sops)
        .args([
            "encrypt",
            "--age",
            RECIPIENT,
            "--encrypted-regex",
            "^(data|stringData|token)$",
            "--input-type",
            kind,
            "--output-type",
            kind,
            "/dev/stdin",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("pipe"), text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

fn repository(sops: &Path, key: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let ks = "apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: secrets, namespace: flux-system}
spec:
  path: ./secrets
  interval: 1m
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
  targetNamespace: shop
  decryption:
    provider: sops
    secretRef: {name: sops-age}
";
    let kustomization = "resources: [login.yaml]\nsecretGenerator:\n  - name: generated\n    envs: [token.env]\n    options: {disableNameSuffixHash: true}\n";
    let environment = "apiVersion: blackstart/v1alpha1
kind: Environment
metadata: {name: test}
spec:
  secrets:
    - {namespace: flux-system, name: sops-age, key: age.agekey, from: {file: .git/age.key}}
";
    let files = [
        ("clusters/a/flux-system/gotk-sync.yaml", "# made elsewhere\n".to_owned()),
        ("clusters/a/secrets.yaml", ks.to_owned()),
        ("secrets/kustomization.yaml", kustomization.to_owned()),
        ("secrets/login.yaml", format!("# a comment\n{}", encrypt(sops, SECRET, "yaml"))),
        ("secrets/token.env", encrypt(sops, "token=battery-staple\n", "dotenv")),
        ("blackstart.yaml", environment.to_owned()),
    ];
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(path, text).expect("written");
    }
    git2::Repository::init(folder.path()).expect("init");
    if let Some(key) = key {
        fs::write(folder.path().join(".git/age.key"), format!("# key\n{key}\n")).expect("written");
    }
    folder
}

fn planned(folder: &Path) -> (Reading, Plan) {
    let environment = read::environment(folder, None, None).expect("environment");
    let options = ReadOptions {
        path: folder.to_owned(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    let reading = read::read_blocking(&options, &environment).expect("read");
    let plan = plan(&reading, &environment, &[]);
    (reading, plan)
}

#[test]
fn with_the_key_objects_and_generated_secrets_are_in_clear() {
    let Some(sops) = sops() else { return };
    let folder = repository(&sops, Some(KEY));
    let (reading, plan) = planned(folder.path());
    assert!(plan.problems.is_empty() && plan.unknowns.is_empty(), "{:#?}", plan.problems);
    let layer = reading.layers.iter().find(|read| read.layer.id.name == "secrets").expect("layer");
    let login = layer.objects.iter().find(|object| object.name() == "login").expect("login");
    assert_eq!(login.text("/stringData/password"), "correct-horse");
    assert!(login.value.get("sops").is_none());
    assert_eq!(login.origin.as_ref().map(ToString::to_string).as_deref(), Some("secrets/login.yaml:2"));
    let generated = layer.objects.iter().find(|object| object.name() == "generated").expect("generated");
    assert_eq!(generated.text("/data/token"), "YmF0dGVyeS1zdGFwbGU=");
    // Nothing in clear stays behind, not even in the private folder.
    let private = reading.folder.as_ref().expect("folder").path().to_owned();
    assert!(!holds(&private, "battery-staple") && !holds(&private, "correct-horse"));
    drop(reading);
    assert!(!private.exists());
    let cache = program::cache_folder().expect("cache").join("render");
    assert!(!holds(&cache, "battery-staple") && !holds(&cache, "correct-horse") && !holds(&cache, "YmF0dGVyeS1zdGFwbGU="));
}

#[test]
fn without_a_key_the_plan_knows_names_only_and_says_so() {
    let Some(sops) = sops() else { return };
    let folder = repository(&sops, None);
    let (_, plan) = planned(folder.path());
    assert!(plan.problems.is_empty(), "{:#?}", plan.problems);
    assert_eq!(plan.layers.iter().map(|layer| layer.objects.len()).sum::<usize>(), 3);
    assert!(plan.unknowns.iter().any(|unknown| unknown.needs.contains("flux-system/sops-age")), "{:#?}", plan.unknowns);
}

#[test]
fn with_a_wrong_key_the_problem_names_the_file_and_who_could_read_it() {
    let Some(sops) = sops() else { return };
    let folder = repository(&sops, Some(OTHER_KEY));
    let (_, plan) = planned(folder.path());
    let problem = plan.problems.iter().find(|problem| problem.rule == "decryption-failed").expect("problem");
    assert!(problem.message.contains(RECIPIENT), "{problem:#?}");
    assert!(problem.origin.as_ref().is_some_and(|origin| origin.file.starts_with("secrets/")), "{problem:#?}");
    assert!(problem.hint.as_ref().is_some_and(|hint| hint.contains("flux-system/sops-age")), "{problem:#?}");
}

fn holds(folder: &Path, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            holds(&path, text)
        } else {
            fs::read_to_string(&path).is_ok_and(|content| content.contains(text))
        }
    })
}
