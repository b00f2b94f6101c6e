//! Files that nobody would write: mutated ones, alias bombs, deep nesting, huge documents. Each reader of files (`targets`) gets them in a process of
//! its own, with a bound of time and of memory for each. A few seconds a reader; `BLACKSTART_MUTATIONS=SECONDS` for more, with
//! `BLACKSTART_MUTATIONS_SEED=N` for the same inputs again.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its seed")]

mod targets;

use blackstart::manifest::yaml::STACK;
use fastrand::Rng;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that one input may take, in CPU time; programs for tests are not optimised.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });
/// Most memory that one input may take.
const MEMORY: u64 = 512 << 20;
/// Seconds for each reader where nothing else is asked for.
const SECONDS: u64 = 3;

/// Words that mean something to one of the readers.
const WORDS: [&str; 58] = [
    "&a ",
    "*a",
    "*a ",
    "<<: *a",
    "<<: [*a, *b]",
    "? ",
    "- ",
    ": ",
    "|",
    ">-",
    "|2-",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "!!binary ",
    "!!str ",
    "!x ",
    "# ",
    "\t",
    "\r",
    "\n\n",
    "\u{feff}",
    "\u{0}",
    "é",
    "\u{2028}",
    "~",
    "null",
    "1e999",
    "0777",
    "0x1f",
    ".inf",
    "-0",
    "18446744073709551616",
    "yes",
    "${",
    "${A}",
    "${A:-",
    "${A:=x}",
    "${A:0:3}",
    "${#A}",
    "${A/a/b}",
    "${A^^}",
    "$${",
    "$",
    "}",
    ":=",
    "resources:",
    "../",
    "apiVersion: v1\n",
    "spec:\n",
    "components: [.]\n",
    "generators: [x]\n",
];

fn seeds() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("plans"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = open.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(fs::read(path).unwrap());
            }
        }
    }
    let texts = [
        "a: ${A:-${n:=x}}${LONG:1:2} $${A} $n ${EMPTY:-y}\n",
        "resources: [../base, b.yaml]\nnamespace: x\npatches:\n  - path: b.yaml\nconfigMapGenerator:\n  - {name: a, files: [k=b.yaml], literals: [a=b]}\n",
        "a: &a {b: 1}\nc: {<<: *a, d: [*a, *a]}\ne: |\n  text\n   more\n",
    ];
    found.extend(texts.map(|text| text.as_bytes().to_vec()));
    found
}

/// An input that is made to be expensive.
fn heavy(random: &mut Rng) -> Vec<u8> {
    let size = 1 << random.u32(4..17);
    match random.u32(0..14) {
        // Each level doubles, or multiplies by ten.
        0 => {
            let (levels, width) = (random.usize(2..40), random.usize(2..11));
            let mut text = "l0: &l0 [x, x]\n".to_owned();
            for level in 1..levels {
                let items = vec![format!("*l{}", level - 1); width].join(", ");
                writeln!(text, "l{level}: &l{level} [{items}]").unwrap();
            }
            text.into_bytes()
        }
        1 => {
            let mut text = "l0: &l0 {a: 1}\n".to_owned();
            for level in 1..random.usize(2..30) {
                writeln!(text, "l{level}: &l{level} {{<<: [*l{0}, *l{0}], b{level}: *l{0}}}", level - 1).unwrap();
            }
            text.into_bytes()
        }
        2 => "[".repeat(size).into_bytes(),
        3 => ("[".repeat(size) + &"]".repeat(size)).into_bytes(),
        4 => "{a: ".repeat(size).into_bytes(),
        5 => "- ".repeat(size).into_bytes(),
        6 => (0..size.min(3000)).flat_map(|depth| [" ".repeat(depth), "a:\n".to_owned()]).collect::<String>().into_bytes(),
        7 => "${A:-".repeat(size).into_bytes(),
        8 => ("${A:-".repeat(size) + "x" + &"}".repeat(size)).into_bytes(),
        9 => (0..size).flat_map(|number| ["key".to_owned(), number.to_string(), ": 1\n".to_owned()]).collect::<String>().into_bytes(),
        10 => format!("a: \"{}\"\n", "x".repeat(size * 8)).into_bytes(),
        11 => "---\na: 1\n".repeat(size).into_bytes(),
        12 => format!("a: &a x\nb: [{}]\n", vec!["*a"; size].join(", ")).into_bytes(),
        _ => {
            format!("resources: [{}]\n", vec!["../base", "../top", "."][..random.usize(1..4)].join(", ")).repeat(size.min(64)).into_bytes()
        }
    }
}

/// A seed with some changes.
fn mutated(random: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Rng| seeds[random.usize(0..seeds.len())].clone();
    let mut data = pick(random);
    for _ in 0..random.usize(1..12) {
        let at = random.usize(0..=data.len());
        let end = (at + random.usize(0..40)).min(data.len());
        match random.u32(0..10) {
            0 if at < data.len() => data[at] ^= 1 << random.u32(0..8),
            1 => drop(data.drain(at..end)),
            2 => {
                let part = data[at..end].to_vec();
                data.splice(at..at, part);
            }
            3..=5 => drop(data.splice(at..at, WORDS[random.usize(0..WORDS.len())].bytes())),
            6 => {
                let other = pick(random);
                let from = random.usize(0..=other.len());
                let to = (from + random.usize(0..200)).min(other.len());
                data.splice(at..end, other[from..to].iter().copied());
            }
            7 => drop(data.splice(at..at, std::iter::repeat_n(b' ', random.usize(1..9)))),
            8 => data.truncate(at),
            _ => {
                let mut lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
                if lines.len() > 1 {
                    let (one, other) = (random.usize(0..lines.len()), random.usize(0..lines.len()));
                    lines.swap(one, other);
                    data = lines.concat();
                }
            }
        }
    }
    data.truncate(1 << 20);
    data
}

fn input(seed: u64, number: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
    if number % 8 == 7 { heavy(&mut random) } else { mutated(&mut random, seeds) }
}

/// What this thread has had of a processor: others of the machine must not count.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// In the process of its own: inputs from `first` on, each named before it is read.
fn work(target: targets::Target, seed: u64, first: u64, until: Duration) {
    let seeds = seeds();
    let began = Instant::now();
    let mut out = std::io::stdout();
    for number in first.. {
        if began.elapsed() > until {
            return;
        }
        let data = input(seed, number, &seeds);
        writeln!(out, "input {number}").unwrap();
        out.flush().unwrap();
        let before = cpu();
        target(&data);
        let took = cpu().saturating_sub(before);
        assert!(took <= LIMIT, "took {took:?} of {LIMIT:?}");
    }
}

/// Runs a reader in a process of its own, and tells the input that it did not survive.
fn bounded(name: &str) {
    let (_, target) = targets::ALL.into_iter().find(|(other, _)| *other == name).unwrap();
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(first) = number("BLACKSTART_MUTATIONS_FIRST") {
        let used = fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse::<u64>().unwrap() * 4096;
        let most = Some(used + MEMORY);
        rustix::process::setrlimit(rustix::process::Resource::As, rustix::process::Rlimit { current: most, maximum: most }).unwrap();
        let until = Duration::from_secs(number("BLACKSTART_MUTATIONS").unwrap_or(SECONDS));
        let seed = number("BLACKSTART_MUTATIONS_SEED").unwrap();
        // As the program's own threads.
        let worker = std::thread::Builder::new().stack_size(STACK).spawn(move || work(target, seed, first, until)).unwrap();
        return worker.join().unwrap();
    }
    let seconds = number("BLACKSTART_MUTATIONS").unwrap_or(SECONDS);
    let seed = number("BLACKSTART_MUTATIONS_SEED").unwrap_or(20_261_122);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("BLACKSTART_MUTATIONS_FIRST", number("BLACKSTART_MUTATIONS_AT").unwrap_or(0).to_string())
        .env("BLACKSTART_MUTATIONS_SEED", seed.to_string())
        .env("BLACKSTART_MUTATIONS", seconds.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let told = std::thread::spawn(move || {
        let mut last = Vec::new();
        let mut buffer = [0; 4096];
        // Only the end counts.
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            last.extend_from_slice(&buffer[..count]);
            last.drain(..last.len().saturating_sub(4096));
        }
        String::from_utf8_lossy(&last).into_owned()
    });
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    // What hangs is stopped; on a busy machine CPU time comes slowly.
    let deadline = Instant::now() + Duration::from_secs(seconds) + LIMIT * 20;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (told, errors) = (told.join().unwrap(), errors.join().unwrap());
    let last = told.lines().rev().find_map(|line| line.strip_prefix("input ")?.parse::<u64>().ok());
    println!("{name}: seed {seed}, {} inputs in {seconds} s", last.map_or(0, |last| last + 1));
    if status.is_some_and(|status| status.success()) {
        assert!(last.is_some_and(|last| last > 8), "{told}\n{errors}");
        return;
    }
    let number = last.unwrap_or(0);
    let file = std::env::temp_dir().join(format!("blackstart-{name}-{seed}-{number}"));
    fs::write(&file, input(seed, number, &seeds())).unwrap();
    let how = status.map_or("did not end".to_owned(), |status| status.to_string());
    let errors: String = errors.chars().take(4000).collect();
    panic!("{name}: input {number} of seed {seed} ({}): {how}\n{errors}", file.display());
}

#[test]
fn yaml() {
    bounded("yaml");
}

#[test]
fn envsubst() {
    bounded("envsubst");
}

#[test]
fn environment() {
    bounded("environment");
}

#[test]
fn kustomization() {
    bounded("kustomization");
}

/// What fuzzing has found.
#[test]
fn found_before() {
    // Carriage returns alone end lines: the place of the problem is on one that Rust does not count.
    targets::environment_file(b"--\n#\r\r\r\r\r\r yaml\napiVersion: x\nkind: y\nmetadata:\n  name: a/\n");
    targets::yaml(b"a: 1\r- b\r\r---\rc: [\r");
}
