//! Programs that rendering needs: found on PATH first, else where `blackstart sandbox install` puts them; run with a bound.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longest that one program may take; remote bases are fetched in this time too.
const BOUND: Duration = Duration::from_secs(300);

/// The user's cache folder for this tool: `$XDG_CACHE_HOME/blackstart`, else `~/.cache/blackstart`.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("blackstart"))
}

/// Finds a program on PATH, else as a component of the sandbox: `components/NAME-VERSION/NAME` below the cache folder, newest first.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file)).or_else(|| component(name))
}

fn component(name: &str) -> Option<PathBuf> {
    let folder = cache_folder()?.join("components");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| {
            let folder = entry.file_name();
            let version = folder.to_str().and_then(|folder| folder.strip_prefix(name)?.strip_prefix('-'));
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(|entry| entry.path().join(name))
        .filter(|file| is_program(file))
        .collect();
    found.sort();
    found.pop()
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What a program said.
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a program to its end. `environment` is added to the process' own; `input` goes to its standard input.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    environment: &[(&str, &str)],
    input: Option<&[u8]>,
) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    let (sender, receiver) = mpsc::channel();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.as_mut().map(|pipe| pipe.read_to_end(&mut text));
        text
    });
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.as_mut().map_or(Ok(0), |pipe| pipe.read_to_end(&mut bytes));
        let _ = sender.send(read.map(|_| bytes));
    });
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that does not read its input says so by its exit code.
        let _ = pipe.write_all(input);
    }
    let Ok(stdout) = receiver.recv_timeout(BOUND) else {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("did not end within {} s", BOUND.as_secs())));
    };
    let status = child.wait()?;
    let stderr = errors.join().unwrap_or_default();
    Ok(Output { success: status.success(), stdout: stdout?, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}
