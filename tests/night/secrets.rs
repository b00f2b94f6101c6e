//! Root secrets: every source is planted with a mark, a whole run uses them, and the mark must be nowhere but in the cluster.

use crate::account::Account;
use crate::account::environment::Environment;
use crate::cluster_server::server;
use crate::preflight::registry;
use aws_sdk_ssm::types::ParameterType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blackstart::cluster::Cluster;
use blackstart::manifest::ObjectId;
use blackstart::render::program;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What no one may find. Short, so that no line break hides it.
const MARK: &str = "PLANTED7f3a";

/// Files below a folder that hold the mark, also as base64.
fn holders(folder: &Path, marks: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                let text = String::from_utf8_lossy(&content);
                found.extend(marks.iter().filter(|mark| text.contains(mark.as_str())).map(|mark| format!("{}: {mark}", path.display())));
            }
        }
    }
    found
}

/// Arguments of all processes that hold a mark.
fn arguments(marks: &[String]) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| marks.iter().any(|mark| line.contains(mark.as_str())))
        .collect()
}

fn run(program: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> String {
    use std::io::Write as _;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The agent's definitions as the sandbox has them: enough for an agent that is there and does nothing.
fn definitions() -> Option<String> {
    let folder = program::cache_folder()?.join("components");
    let found = std::fs::read_dir(folder).ok()?.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with("flux-crds-"))?;
    let files = std::fs::read_dir(found.path()).ok()?.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "yaml"));
    let texts: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    (!texts.is_empty()).then(|| texts.join("\n---\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_in_the_cluster_and_nowhere_else() {
    let (Some(sops), Some(keygen), Some(definitions)) = (program::find("sops"), program::find("age-keygen"), definitions()) else {
        println!("skipped: sops, age-keygen and Flux's definitions are not at hand; run `blackstart sandbox install`");
        return;
    };
    let Some(account) = Account::open(1).await else { return };
    let Some(server) = tokio::task::spawn_blocking(server).await.unwrap() else { return };
    let kubeconfig = server.kubeconfig("planted", "admin-token", server.port);
    let key = run(&keygen, &[], &[], "");
    let secret_key = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned();
    let public = key.lines().find_map(|line| line.split_once("public key: ")).unwrap().1.to_owned();
    let clear =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: encrypted, namespace: default}}\nstringData: {{password: {MARK}-sops}}\n");
    let encrypted = run(
        &sops,
        &["encrypt", "--age", &public, "--encrypted-regex", "^stringData$", "--input-type", "yaml", "--output-type", "yaml", "/dev/stdin"],
        &[],
        &clear,
    );
    let ssm = |name: &'static str, value: String| {
        account.cloud.ssm().put_parameter().name(name).value(value).r#type(ParameterType::SecureString).send()
    };
    ssm("/planted/age", key.clone()).await.unwrap();
    ssm("/planted/token", format!("{MARK}-ssm")).await.unwrap();
    ssm("/planted/git", format!("{MARK}-git")).await.unwrap();
    account.cloud.secretsmanager().create_secret().name("planted").secret_string(format!("{MARK}-secretsmanager")).send().await.unwrap();
    let git = tempfile::tempdir().unwrap();
    run(Path::new("/usr/bin/git"), &["init", "--quiet", "--bare", &git.path().display().to_string()], &[], "");
    let remote = registry(git.path(), "PLANTED7f3a-git").await;

    let pull = format!("{{\"auths\": {{\"ghcr.io\": {{\"auth\": \"{MARK}-pull\"}}}}}}");
    let program = tempfile::tempdir().unwrap();
    let planted = program.path().join("command");
    std::fs::write(&planted, format!("{MARK}-command\n")).unwrap();
    let environment = Environment::new(
        "apiVersion: sqs.services.k8s.aws/v1alpha1\nkind: Queue\nmetadata: {name: q, namespace: infra}\nspec: {queueName: q}\n",
        &"  agent: {flux: {components: agent.yaml}}
  secrets:
    - {namespace: flux-system, name: sops-age, key: age.agekey, from: {ssm: /planted/age}}
    - {namespace: flux-system, name: planted, key: file, from: {file: .git/planted}}
    - {namespace: flux-system, name: planted, key: env, from: {env: PLANTED}}
    - {namespace: flux-system, name: planted, key: command, from: {command: [cat, PLACE]}}
    - {namespace: flux-system, name: planted, key: secretsmanager, from: {secretsManager: planted}}
    - {namespace: flux-system, name: planted, key: ssm, from: {ssm: /planted/token}}
    - {namespace: flux-system, name: pull, key: .dockerconfigjson, from: {file: .git/pull}}
    - {namespace: flux-system, name: sealed, key: tls.key, type: kubernetes.io/tls, labels: {sealedsecrets.bitnami.com/sealed-secrets-key: active}, from: {file: .git/tls.key}}
    - {namespace: flux-system, name: sealed, key: tls.crt, from: {file: .git/tls.crt}}
    - {namespace: flux-system, name: git, key: username, from: {file: .git/user}}
    - {namespace: flux-system, name: git, key: password, from: {ssm: /planted/git}}
  checks:
    - name: echo # its answer holds what it was asked with
      timeout: 3s
      http: {url: REMOTE/echo, contains: another word, headers: {X-Token: {from: {ssm: /planted/token}}, X-File: {from: {file: .git/planted}}}}
"
        .replace("PLACE", &planted.display().to_string())
        .replace("REMOTE", &remote),
    );
    let pem = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    for (path, text) in [
        (".git/planted", format!("{MARK}-file")),
        (".git/command", format!("{MARK}-command\n")),
        (".git/pull", pull),
        (".git/tls.key", pem.signing_key.serialize_pem()),
        (".git/tls.crt", pem.cert.pem()),
        (".git/user", "flux".to_owned()),
        ("agent.yaml", definitions),
        ("apps/one/secret.yaml", encrypted),
        (
            "apps/one/source.yaml",
            format!("apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: private, namespace: flux-system}}\nspec: {{url: '{remote}/private.git', interval: 1m, secretRef: {{name: git}}}}\n"),
        ),
        (
            "clusters/a/one.yaml",
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: one, namespace: flux-system}\nspec: {path: ./apps/one, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}, decryption: {provider: sops, secretRef: {name: sops-age}}}\n".to_owned(),
        ),
    ] {
        environment.write(path, &text);
    }
    environment
        .manifests("apiVersion: sqs.services.k8s.aws/v1alpha1\nkind: Queue\nmetadata: {name: q, namespace: infra}\nspec: {queueName: q}\n");

    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| environment.path().join(".git").join(name).display().to_string();
    let (report, events) = (at("report"), at("events.jsonl"));
    // Other tests run beside this one: the private folders of these processes are meant.
    let private = |process: u32| -> usize {
        let own = format!("blackstart-files-{process}-");
        let all = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        all.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own)).count()
    };
    let marks = [MARK.to_owned(), STANDARD.encode(format!("{MARK}-file")), secret_key.clone()];
    let mut said = Vec::new();
    // Without a controller nobody takes over: the run ends by its own bound, after all is written.
    for words in [
        &["preflight", "-v"][..],
        &["recover", "-v", "--timeout", "15s", "--report", &report, "--events", &events],
        &["prove", "-v"],
        &["runbook"],
        &["report", &report],
    ] {
        let endpoint = account.edge.endpoint();
        let mut command = if words[0] == "report" {
            Command::new(env!("CARGO_BIN_EXE_blackstart"))
        } else {
            environment.command(&endpoint, Some(&kubeconfig), words)
        };
        if words[0] == "report" {
            command.args(words);
        }
        command.env("PLANTED", format!("{MARK}-env")).env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (over, marks) = (Arc::new(AtomicBool::new(false)), marks.clone());
        let watching = std::thread::spawn({
            let over = over.clone();
            move || {
                let (mut seen, end) = (Vec::new(), Instant::now() + Duration::from_secs(120));
                while !over.load(Ordering::Relaxed) && Instant::now() < end {
                    seen.extend(arguments(&marks));
                    std::thread::sleep(Duration::from_millis(2));
                }
                seen
            }
        });
        let child = command.spawn().unwrap();
        let process = child.id();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(private(process), 0, "{words:?}: private folders are gone");
        over.store(true, Ordering::Relaxed);
        assert_eq!(watching.join().unwrap(), [""; 0], "{words:?}: arguments");
        said.push(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr));
    }
    let all = said.join("\n");
    for mark in &marks {
        assert!(!all.contains(mark.as_str()), "{mark} was printed:\n{all}");
    }
    assert!(said[0].contains("its encrypted objects can be read"), "{}", said[0]);
    assert!(said[0].contains("of Secret flux-system/git reads"), "{}", said[0]);
    // The check was asked with its headers, and its answer is not told.
    assert!(said[2].contains("echo") && said[2].contains("another word"), "{}", said[2]);

    // It did come through: the values are where they belong.
    let cluster = Cluster::connect(Some(&kubeconfig), None).await.unwrap();
    let secret = async |namespace: &str, name: &str| {
        let id = ObjectId { api_version: "v1".into(), kind: "Secret".into(), namespace: Some(namespace.into()), name: name.into() };
        cluster.get(&id).await.unwrap().unwrap_or_else(|| panic!("{namespace}/{name} is not there:\n{all}"))
    };
    let planted = secret("flux-system", "planted").await;
    for source in ["file", "env", "command", "secretsmanager", "ssm"] {
        assert_eq!(planted["data"][source], STANDARD.encode(format!("{MARK}-{source}")), "{source}");
    }
    assert_eq!(secret("default", "encrypted").await["data"]["password"], STANDARD.encode(format!("{MARK}-sops")));
    assert_eq!(secret("flux-system", "pull").await["type"], "kubernetes.io/dockerconfigjson");
    let sealed = secret("flux-system", "sealed").await;
    assert_eq!(sealed["type"], "kubernetes.io/tls");
    assert_eq!(sealed["metadata"]["labels"]["sealedsecrets.bitnami.com/sealed-secrets-key"], "active");

    // And nowhere else: events, reports, journal, cache, temporary files, private folders.
    assert!(Path::new(&report).join("report.html").is_file() && Path::new(&events).is_file(), "{all}");
    let cache = program::cache_folder().unwrap().join("render");
    for folder in [Path::new(&report), temporary.path(), &cache, &environment.path().join(".git/state")] {
        assert_eq!(holders(folder, &marks), [""; 0]);
    }
    let told = std::fs::read_to_string(&events).unwrap();
    assert!(told.contains("\"type\":\"context\"") && marks.iter().all(|mark| !told.contains(mark.as_str())));
}

#[test]
fn pgp_keys_decrypt_from_a_keyring_of_their_own() {
    use blackstart::read::{self, ReadOptions, Revision};
    let (Some(sops), Some(gpg)) = (program::find("sops"), program::find("gpg")) else {
        println!("skipped: sops and gpg are not at hand");
        return;
    };
    let home = tempfile::Builder::new()
        .prefix("g")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in("/dev/shm")
        .unwrap();
    let place = home.path().display().to_string();
    let own = [("GNUPGHOME", place.as_str())];
    run(&gpg, &["--batch", "--passphrase", "", "--quick-generate-key", "tests@example.com", "rsa2048", "sign,encr", "never"], &own, "");
    let listed = run(&gpg, &["--batch", "--with-colons", "--list-keys"], &own, "");
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_owned();
    let armoured = run(&gpg, &["--batch", "--armor", "--export-secret-keys", &fingerprint], &own, "");
    let clear = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {password: by-pgp}\n";
    let encrypted = run(
        &sops,
        &[
            "encrypt",
            "--pgp",
            &fingerprint,
            "--encrypted-regex",
            "^stringData$",
            "--input-type",
            "yaml",
            "--output-type",
            "yaml",
            "/dev/stdin",
        ],
        &own,
        clear,
    );
    let environment =
        Environment::new("", "  secrets: [{namespace: flux-system, name: sops-gpg, key: sops.asc, from: {file: .git/key.asc}}]\n");
    environment.write(".git/key.asc", &armoured);
    environment.write("apps/one/secret.yaml", &encrypted);
    environment.write(
        "clusters/a/one.yaml",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: one, namespace: flux-system}\nspec: {path: ./apps/one, prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: flux-system}, decryption: {provider: sops, secretRef: {name: sops-gpg}}}\n",
    );
    let options = ReadOptions {
        path: environment.path().to_owned(),
        entrypoint: None,
        revision: Revision::WorkingTree,
        sources: Vec::new(),
        decrypt: true,
        allowed_signers: Vec::new(),
    };
    let reading = read::read_blocking(&options, &read::environment(environment.path(), None, None).unwrap()).unwrap();
    assert_eq!(reading.problems, []);
    let layer = reading.layers.iter().find(|read| read.layer.id.name == "one").unwrap();
    let secret = layer.objects.iter().find(|object| object.kind() == "Secret").unwrap();
    assert_eq!(secret.text("/stringData/password"), "by-pgp");
    // No agent of gpg is left behind with our keys.
    let agents = arguments(&["blackstart-files-".to_owned()]);
    assert!(!agents.iter().any(|line| line.contains("gpg-agent")), "{agents:?}");
    let _ = Command::new("gpgconf").args(["--homedir", &place, "--kill", "all"]).status();
}
