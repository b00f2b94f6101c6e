//! The sandbox's programs: found on PATH, in `KUBEBUILDER_ASSETS` or in the user's cache, else built once from the recipes in `recipes/`.
//!
//! A recipe is a Go module that pins every dependency by checksum; `recipes.json` names what is built from which. A build goes into a folder of
//! its own and is renamed into the cache when it is complete, under a lock, so that two installs never meet.

use super::SandboxError;
use super::state::absolute;
use serde::Deserialize;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const LIST: &str = include_str!("recipes/recipes.json");

/// Of folders in the cache in which something is being built.
const BUILD_PREFIX: &str = ".build-";

/// Folder name, `go.mod`, `go.sum` of each recipe.
const RECIPES: &[(&str, &str, &str)] = &[
    ("age", include_str!("recipes/age/go.mod"), include_str!("recipes/age/go.sum")),
    ("etcd", include_str!("recipes/etcd/go.mod"), include_str!("recipes/etcd/go.sum")),
    ("helm", include_str!("recipes/helm/go.mod"), include_str!("recipes/helm/go.sum")),
    ("helm-controller", include_str!("recipes/helm-controller/go.mod"), include_str!("recipes/helm-controller/go.sum")),
    ("kubernetes", include_str!("recipes/kubernetes/go.mod"), include_str!("recipes/kubernetes/go.sum")),
    ("kustomize", include_str!("recipes/kustomize/go.mod"), include_str!("recipes/kustomize/go.sum")),
    ("kustomize-controller", include_str!("recipes/kustomize-controller/go.mod"), include_str!("recipes/kustomize-controller/go.sum")),
    ("kwok", include_str!("recipes/kwok/go.mod"), include_str!("recipes/kwok/go.sum")),
    ("sops", include_str!("recipes/sops/go.mod"), include_str!("recipes/sops/go.sum")),
];

/// Packages of Python programs, by the name of their component.
const REQUIREMENTS: &[(&str, &str)] = &[("moto", include_str!("recipes/moto/requirements.txt"))];

/// One row of `recipes.json`: a Go program to build, files to copy, or a Python program with its packages.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    version: String,
    #[serde(default)]
    recipe: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    ldflags: String,
    #[serde(default)]
    files: Vec<Files>,
    /// For files: where their join goes, from the cache folder.
    #[serde(default)]
    output: String,
    /// A folder for PYTHONPATH rather than a program.
    #[serde(default)]
    python: bool,
    /// Measured on 2 cores with a warm build cache.
    expect_seconds: u64,
}

/// Files of a Go module.
#[derive(Clone, Debug, Deserialize)]
struct Files {
    module: String,
    version: String,
    /// Checksum as in go.sum.
    sum: String,
    /// Folder, `/`, file name with at most one `*`.
    globs: Vec<String>,
}

impl Row {
    /// Where it stands in the cache.
    fn place(&self, cache: &Path) -> PathBuf {
        if self.files.is_empty() {
            cache.join(format!("{}-{}", self.name, self.version)).join(&self.name)
        } else {
            cache.join(&self.output)
        }
    }
}

fn rows() -> Result<Vec<Row>, SandboxError> {
    serde_json::from_str(LIST).map_err(|error| SandboxError::Io { what: "recipes.json".to_owned(), source: error.into() })
}

/// The cache folder: `$XDG_CACHE_HOME/blackstart/components`, by default below `~/.cache`.
pub fn cache() -> Result<PathBuf, SandboxError> {
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .ok_or(SandboxError::NoHome { variable: "XDG_CACHE_HOME" })?;
    Ok(base.join("blackstart/components"))
}

/// A program on PATH or in `KUBEBUILDER_ASSETS`.
pub(super) fn provided(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(assets)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
}

/// Where a program or file of the sandbox stands: PATH, `KUBEBUILDER_ASSETS`, the cache; none where it is to be built.
pub fn find(name: &str) -> Option<PathBuf> {
    provided(name).or_else(|| {
        let cache = cache().ok()?;
        let row = rows().ok()?.into_iter().find(|row| row.name == name)?;
        Some(row.place(&cache)).filter(|path| path.is_file() || row.python && path.is_dir())
    })
}

/// Where it stands, or the error that says how to get it.
pub fn need(name: &'static str) -> Result<PathBuf, SandboxError> {
    find(name).ok_or(SandboxError::Missing { component: name })
}

/// Names of all components that are neither provided nor in the cache.
pub fn missing() -> Result<Vec<String>, SandboxError> {
    Ok(rows()?.into_iter().map(|row| row.name).filter(|name| find(name).is_none()).collect())
}

/// What an install says of itself, one line each.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Another install holds the cache; this one waits for it.
    Waiting,
    /// A component is being made.
    Building {
        /// Its name and version.
        component: String,
        /// Which one, counted from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// For how long already.
        elapsed: Duration,
        /// How long it takes on two cores.
        expected: Duration,
    },
    /// It is there.
    Built {
        /// Its name and version.
        component: String,
        /// Which one, counted from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// How long it took.
        took: Duration,
    },
}

/// Builds whatever is missing; gives how many were built.
pub async fn install(mut progress: impl FnMut(Progress)) -> Result<usize, SandboxError> {
    let cache = cache()?;
    if missing()?.is_empty() {
        return Ok(0);
    }
    let go =
        provided("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|file| file.is_file())).ok_or(SandboxError::NoGo)?;
    std::fs::create_dir_all(&cache).map_err(|source| SandboxError::Io { what: format!("cache folder {}", cache.display()), source })?;
    let _lock = lock(&cache, &mut progress).await?;
    // Under the lock, a build folder can only be one that a dead install left.
    for entry in std::fs::read_dir(&cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(BUILD_PREFIX) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    // Looked at again: another install may have built it meanwhile.
    let todo: Vec<Row> = rows()?.into_iter().filter(|row| find(&row.name).is_none()).collect();
    let of = todo.len();
    for (index, row) in todo.iter().enumerate() {
        let component = format!("{} {}", row.name, row.version);
        let begin = Instant::now();
        let mut build = std::pin::pin!(make(row, &go, &cache));
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                done = &mut build => { done?; break; }
                _ = tick.tick() => progress(Progress::Building {
                    component: component.clone(), number: index + 1, of, elapsed: begin.elapsed(), expected: Duration::from_secs(row.expect_seconds),
                }),
            }
        }
        progress(Progress::Built { component, number: index + 1, of, took: begin.elapsed() });
    }
    Ok(of)
}

/// Writes progress to stderr: on a terminal one line that is drawn again, else a line now and then.
pub async fn install_with_progress() -> Result<usize, SandboxError> {
    use std::io::Write as _;
    let terminal = std::io::stderr().is_terminal();
    let mut last = (0, 0);
    install(|step| {
        let mut stderr = anstream::stderr();
        let _ = match step {
            Progress::Waiting => writeln!(stderr, "another install is at work; waiting for it"),
            Progress::Building { component, number, of, elapsed, expected } => {
                let now = (number, elapsed.as_secs() / 30);
                let news = std::mem::replace(&mut last, now) != now;
                let line = format!("[{number}/{of}] building {component}: {} s of about {} s", elapsed.as_secs(), expected.as_secs());
                if terminal {
                    write!(stderr, "\r{line}\x1b[K")
                } else if news {
                    writeln!(stderr, "{line}")
                } else {
                    Ok(())
                }
            }
            Progress::Built { component, number, of, took } => {
                let start = if terminal { "\r" } else { "" };
                let end = if terminal { "\x1b[K" } else { "" };
                writeln!(stderr, "{start}[{number}/{of}] built {component} in {:.0} s{end}", took.as_secs_f64())
            }
        };
    })
    .await
}

/// Holds the cache until dropped; ends with the process, so that it never has to be removed by hand.
async fn lock(cache: &Path, progress: &mut impl FnMut(Progress)) -> Result<std::fs::File, SandboxError> {
    use rustix::fs::{FlockOperation, flock};
    let path = cache.join(".lock");
    let failed = |source| SandboxError::Io { what: format!("lock {}", path.display()), source };
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(file);
    }
    progress(Progress::Waiting);
    let locked = tokio::task::spawn_blocking(move || flock(&file, FlockOperation::LockExclusive).map(|()| file)).await;
    locked.map_err(|error| failed(std::io::Error::other(error)))?.map_err(|error| failed(error.into()))
}

async fn make(row: &Row, go: &Path, cache: &Path) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Io { what: format!("{} {}: install", row.name, row.version), source };
    let work = tempfile::Builder::new().prefix(BUILD_PREFIX).tempdir_in(cache).map_err(failed)?;
    let made = work.path().join("made");
    if row.python {
        packages(row, work.path(), &made).await?;
    } else if row.files.is_empty() {
        let (_, module, sums) =
            RECIPES.iter().find(|(name, ..)| *name == row.recipe).ok_or_else(|| failed(std::io::Error::other("no such recipe")))?;
        std::fs::write(work.path().join("go.mod"), module).map_err(failed)?;
        std::fs::write(work.path().join("go.sum"), sums).map_err(failed)?;
        let ldflags = format!("-s -w {}", row.ldflags);
        let args = ["build", "-trimpath", "-ldflags", ldflags.trim(), "-o", "made", row.package.as_str()];
        run_go(row, go, work.path(), &args).await?;
    } else {
        let mut text = String::new();
        for files in &row.files {
            for document in copied(row, go, work.path(), files).await? {
                text.push_str("---\n");
                text.push_str(document.trim_start_matches("---").trim());
                text.push('\n');
            }
        }
        std::fs::write(&made, text).map_err(failed)?;
    }
    let place = row.place(cache);
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::rename(&made, &place).map_err(failed)
}

/// Python packages in a folder of their own: nothing is installed beside it.
async fn packages(row: &Row, work: &Path, made: &Path) -> Result<(), SandboxError> {
    let python = provided("python3").ok_or(SandboxError::NoPython)?;
    let failed = |source| SandboxError::Io { what: format!("{} {}: install", row.name, row.version), source };
    let (_, list) =
        REQUIREMENTS.iter().find(|(name, _)| *name == row.name).ok_or_else(|| failed(std::io::Error::other("no such list of packages")))?;
    let requirements = work.join("requirements.txt");
    std::fs::write(&requirements, list).map_err(failed)?;
    let mut command = tokio::process::Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--target"]);
    command.arg(made).arg("--requirement").arg(&requirements);
    output(row, command).await.map(drop)
}

/// Runs `go`.
async fn run_go(row: &Row, go: &Path, folder: &Path, args: &[&str]) -> Result<Vec<u8>, SandboxError> {
    let mut command = tokio::process::Command::new(go);
    command.args(args).current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
    output(row, command).await
}

/// The output of a program; an error carries its last lines.
async fn output(row: &Row, mut command: tokio::process::Command) -> Result<Vec<u8>, SandboxError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| SandboxError::Io { what: format!("{}: {program}", row.name), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.trim().lines().collect();
    Err(SandboxError::Build { component: format!("{} {}", row.name, row.version), last: lines[lines.len().saturating_sub(6)..].join("\n") })
}

/// The files of a module that the globs name, in order; the module's checksum is compared with the recipe's.
async fn copied(row: &Row, go: &Path, work: &Path, files: &Files) -> Result<Vec<String>, SandboxError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Downloaded {
        dir: PathBuf,
        sum: String,
    }
    let failed = |source| SandboxError::Io { what: format!("{}: files of {} {}", row.name, files.module, files.version), source };
    let answer = run_go(row, go, work, &["mod", "download", "-json", &format!("{}@{}", files.module, files.version)]).await?;
    let module: Downloaded = serde_json::from_slice(&answer).map_err(|error| failed(error.into()))?;
    if module.sum != files.sum {
        return Err(failed(std::io::Error::other(format!("checksum is {}, the recipe says {}", module.sum, files.sum))));
    }
    let mut documents = Vec::new();
    for glob in &files.globs {
        let (folder, pattern) = glob.rsplit_once('/').unwrap_or(("", glob));
        let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        let mut names: Vec<PathBuf> = std::fs::read_dir(module.dir.join(folder))
            .map_err(failed)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start) && name.to_string_lossy().ends_with(end))
            })
            .collect();
        names.sort();
        for name in names {
            documents.push(std::fs::read_to_string(name).map_err(failed)?);
        }
    }
    Ok(documents)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_recipe() {
        for row in rows().unwrap() {
            let has_packages = row.python && REQUIREMENTS.iter().any(|(name, _)| *name == row.name);
            assert!(has_packages || !row.files.is_empty() || RECIPES.iter().any(|(name, ..)| *name == row.recipe), "{}", row.name);
        }
    }

    #[test]
    fn every_recipe_pins_the_version_that_its_row_names() {
        for row in rows().unwrap().iter().filter(|row| row.files.is_empty() && !row.python) {
            let (_, module, _) = RECIPES.iter().find(|(name, ..)| *name == row.recipe).unwrap();
            assert!(module.contains(&format!("v{}", row.version)), "{}", row.name);
        }
    }
}
