//! Errors as a person sees them, and the exit code of each.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the input has problems, the run was refused, or the environment did not become ready |
//! | 2 | wrong usage of the command line |
//! | 3 | something that the tool itself needs is missing or failed (a program, the sandbox, a file it cannot write) |
//! | 130 | interrupted |

use crate::problem::Problem;
use anstyle::{AnsiColor, Style};
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

const HEADING: Style = AnsiColor::Red.on_default().bold();
const PLACE: Style = AnsiColor::Cyan.on_default();
const HINT: Style = AnsiColor::Green.on_default();
const FAINT: Style = Style::new().dimmed();

/// A verb that did not do its work.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    causes: Vec<String>,
    problems: Vec<Problem>,
    hint: Option<String>,
}

impl Failure {
    /// The object first, then what failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), causes: Vec::new(), problems: Vec::new(), hint: None }
    }

    /// With whose failure it is, where several are told.
    #[must_use]
    pub fn of(mut self, whose: &str) -> Self {
        if !self.message.starts_with(whose) {
            self.message = format!("{whose}: {}", self.message);
        }
        self
    }

    /// All problems of an input.
    pub fn problems(problems: Vec<Problem>) -> Self {
        let message = match problems.len() {
            1 => "1 problem; nothing was written".to_owned(),
            count => format!("{count} problems; nothing was written"),
        };
        Self { problems, ..Self::new(message) }
    }

    /// The head line alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The first problem of an input.
    pub(super) fn first_problem(&self) -> Option<&Problem> {
        self.problems.first()
    }

    /// The head line and the causes, on one line; without what holds for every failure.
    pub(super) fn reason(&self) -> String {
        let message = self.message.trim_end_matches("; nothing was written");
        std::iter::once(message).chain(self.causes.iter().map(String::as_str)).collect::<Vec<_>>().join(": ")
    }

    /// What to do next.
    pub(super) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// With the chain of causes; a cause that the message already holds is left out.
    #[must_use]
    pub fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !self.message.contains(&text) && !self.causes.iter().any(|earlier| earlier.contains(&text)) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Prints it to stderr and gives the exit code.
    pub fn show(&self) -> ExitCode {
        anstream::eprint!("{}", self.text());
        ExitCode::from(self.code)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&problem_text(problem));
        }
        let _ = writeln!(text, "{HEADING}error:{HEADING:#} {}", self.message);
        for cause in &self.causes {
            let _ = writeln!(text, "  {FAINT}because:{FAINT:#} {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  {HINT}hint:{HINT:#} {hint}");
        }
        text
    }
}

/// One problem for people: place, message, the line itself, hint.
pub(super) fn problem_text(problem: &Problem) -> String {
    let mut text = String::new();
    let column = problem.column.map(|column| format!(":{column}")).unwrap_or_default();
    let place = problem.origin.as_ref().map(|origin| format!("{PLACE}{origin}{column}{PLACE:#} ")).unwrap_or_default();
    let _ = writeln!(text, "{place}{} {FAINT}[{}]{FAINT:#}", problem.message, problem.rule);
    if let (Some(excerpt), Some(origin)) = (&problem.excerpt, &problem.origin) {
        let number = origin.line.to_string();
        for (position, line) in excerpt.lines().enumerate() {
            let gutter = if position == 0 { number.clone() } else { " ".repeat(number.len()) };
            let _ = writeln!(text, "  {FAINT}{gutter} |{FAINT:#} {line}");
        }
        if let Some(column) = problem.column {
            let _ = writeln!(
                text,
                "  {FAINT}{} |{FAINT:#} {}{HEADING}^{HEADING:#}",
                " ".repeat(number.len()),
                " ".repeat(column.saturating_sub(1) as usize)
            );
        }
    }
    if let Some(hint) = &problem.hint {
        let _ = writeln!(text, "  {HINT}hint:{HINT:#} {hint}");
    }
    text
}

impl From<crate::cluster::ClusterError> for Failure {
    fn from(error: crate::cluster::ClusterError) -> Self {
        let failure = Self::new(error.to_string()).because(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<crate::execute::kubeconfig::NoCluster> for Failure {
    fn from(error: crate::execute::kubeconfig::NoCluster) -> Self {
        use crate::execute::kubeconfig::NoCluster;
        match error {
            NoCluster::Cluster(error) => error.into(),
            NoCluster::Stopped { .. } => Self::new(error.to_string()).code(130),
            NoCluster::Late { .. } => {
                Self::new(error.to_string()).hint("look whether it is written there; the same command again goes on from here")
            }
            NoCluster::Never { .. } => Self::new(error.to_string()),
        }
    }
}

impl From<crate::read::ReadError> for Failure {
    fn from(error: crate::read::ReadError) -> Self {
        if let crate::read::ReadError::Invalid { problems } = error {
            return Self::problems(problems);
        }
        let failure = Self::new(error.to_string()).because(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<crate::sandbox::SandboxError> for Failure {
    fn from(error: crate::sandbox::SandboxError) -> Self {
        Self::new(error.to_string()).because(&error).code(3)
    }
}

impl From<crate::execute::RunError> for Failure {
    fn from(error: crate::execute::RunError) -> Self {
        let failure = Self::new(error.to_string()).because(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
