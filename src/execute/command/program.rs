//! One program: in a process group of its own, bounded, its words told line by line with every secret masked.

use super::super::Events;
use crate::render::program::find;
use crate::report::event::Happening;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long a program may take to end after it was asked to, and to close its output after it ended.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of an error.
const LAST: usize = 10;
/// Longest line that is told, in characters.
const WIDTH: usize = 500;
/// Most that a program may print.
const MOST: u64 = 16 * 1024 * 1024;

pub(super) struct Program<'a> {
    pub(super) words: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) env: &'a BTreeMap<&'a str, Zeroizing<String>>,
    pub(super) secrets: &'a [Zeroizing<String>],
    pub(super) timeout: Duration,
    pub(super) tells: Option<(&'a Events, &'a str)>,
    pub(super) tells_stdout: bool,
    /// The second time the user asks to stop ends it.
    pub(super) stop: watch::Receiver<u8>,
}

/// How a program ended.
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) code: i32,
    pub(super) stdout: Zeroizing<String>,
    last: VecDeque<String>,
}

impl Ended {
    /// In words, with its last lines.
    pub(super) fn failed(&self, what: &str) -> String {
        with_lines(format!("{what}: {} ended with exit code {}", self.name, self.code), &self.last)
    }
}

fn with_lines(mut message: String, lines: &VecDeque<String>) -> String {
    for line in lines {
        message.push('\n');
        message.push_str(line);
    }
    message
}

/// Its process group ends with it, whoever drops it: no program outlives a run that was stopped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Nobody is left: nothing to do.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

enum Line {
    Out(Zeroizing<String>),
    Err(String),
}

impl Program<'_> {
    pub(super) async fn run(self) -> Result<Ended, String> {
        let (name, arguments) = self.words.split_first().ok_or("no program is named")?;
        let file = if name.contains('/') { Some(self.folder.join(name)) } else { find(name) };
        let file = file.ok_or_else(|| format!("program {name} was not found on PATH"))?;
        let mut command = Command::new(&file);
        command.args(arguments).current_dir(self.folder).envs(self.env.iter().map(|(name, value)| (name, value.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("program {name} cannot be started: {error}"))?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (sender, mut lines) = mpsc::channel(64);
        let out = child.stdout.take().map(|pipe| tokio::spawn(read(pipe, sender.clone(), |line| Line::Out(Zeroizing::new(line)))));
        let err = child.stderr.take().map(|pipe| tokio::spawn(read(pipe, sender, Line::Err)));
        let (mut stdout, mut last) = (Zeroizing::new(String::new()), VecDeque::new());
        let mut take = |line: Line| {
            let (text, shown) = match &line {
                Line::Out(text) => {
                    stdout.push_str(text);
                    (text.as_str(), self.tells_stdout)
                }
                Line::Err(text) => (text.as_str(), true),
            };
            let text = masked(text.trim_end(), self.secrets);
            if text.is_empty() || !shown {
                return;
            }
            if let Some((events, node)) = self.tells {
                events.send(Happening::Progress { node: node.to_owned(), ready: 0, of: 1, message: text.clone() });
            }
            last.push_back(text);
            if last.len() > LAST {
                last.pop_front();
            }
        };
        let deadline = Instant::now() + self.timeout;
        let mut stop = self.stop.clone();
        let mut is_open = true;
        let ended = loop {
            tokio::select! {
                line = lines.recv(), if is_open => match line {
                    Some(line) => take(line),
                    None => is_open = false,
                },
                status = child.wait() => break Ok(status),
                () = tokio::time::sleep_until(deadline) => break Err(format!("did not end within {} s", self.timeout.as_secs())),
                () = twice(&mut stop) => break Err("was stopped".to_owned()),
            }
        };
        let shown = masked(&self.words.join(" "), self.secrets);
        let status = match ended {
            Ok(status) => status.map_err(|error| format!("{shown}: {error}"))?,
            Err(why) => {
                group.signal(Signal::TERM);
                let _ = tokio::time::timeout(GRACE, child.wait()).await;
                return Err(with_lines(format!("{shown} {why}"), &last));
            }
        };
        // A program that it left behind may hold its output open for ever.
        let _ = tokio::time::timeout(GRACE, async {
            while let Some(line) = lines.recv().await {
                take(line);
            }
        })
        .await;
        for reader in [out, err].into_iter().flatten() {
            reader.abort();
        }
        group.0 = None;
        match status.code() {
            Some(code) => Ok(Ended { name: shown, code, stdout, last }),
            None => Err(with_lines(format!("{shown} was killed ({status})"), &last)),
        }
    }
}

/// Standard output of a program that gives a secret value; `base` is its folder.
pub(in crate::execute) async fn run_for_text(
    words: &[String],
    base: &Path,
    timeout: Duration,
    stop: watch::Receiver<u8>,
) -> Result<Zeroizing<String>, String> {
    let program = Program { words, folder: base, env: &BTreeMap::new(), secrets: &[], timeout, tells: None, tells_stdout: false, stop };
    let ended = program.run().await?;
    if ended.code == 0 { Ok(ended.stdout) } else { Err(ended.failed("command")) }
}

async fn twice(stop: &mut watch::Receiver<u8>) {
    if stop.wait_for(|count| *count > 1).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn read(pipe: impl AsyncRead + Unpin, sender: mpsc::Sender<Line>, line: impl Fn(String) -> Line) {
    let mut pipe = BufReader::new(pipe.take(MOST));
    let mut bytes = Zeroizing::new(Vec::new());
    while pipe.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
        if sender.send(line(String::from_utf8_lossy(&bytes).into_owned())).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

/// A line without secrets, and not too long. Each line of a secret is one, since programs print line by line.
fn masked(line: &str, secrets: &[Zeroizing<String>]) -> String {
    let mut parts: Vec<&str> = secrets.iter().flat_map(|secret| secret.lines().map(str::trim)).filter(|part| !part.is_empty()).collect();
    // The longest first: one may hold another.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let line = parts.iter().fold(line.to_owned(), |line, part| line.replace(part, "***"));
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_secret_is_told() {
        let secrets = ["one\ntwo long\n", "two"].map(|secret| Zeroizing::new(secret.to_owned()));
        assert_eq!(masked("a one b two long c two", &secrets), "a *** b *** c ***");
        assert_eq!(masked(&"x".repeat(WIDTH + 1), &[]).chars().count(), WIDTH + 1);
    }
}
