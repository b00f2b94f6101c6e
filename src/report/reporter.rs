//! Receives the events of a run and drives all writers, in one task of its own.

use super::document::Report;
use super::event::{Event, Happening, Sink};
use super::model::RunModel;
use super::plain::{self, Place};
use super::remaining::Earlier;
use super::screen::{self, Screen};
use super::text::Line;
use super::{end, live, markdown, page};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// Shortest time between two frames of the live view.
const FRAME: Duration = Duration::from_millis(100);

/// How a run is shown.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--color`.
    pub color: Color,
    /// `-q`, `-v`.
    pub verbosity: Verbosity,
    /// Live view or lines.
    pub mode: Mode,
    /// What the end prints: `-o`.
    pub output: Output,
    /// `--events`: JSON lines are written here, each at once.
    pub events_file: Option<PathBuf>,
    /// Add to that file instead of beginning it anew.
    pub again: bool,
    /// `--report`: report.json, report.md and report.html are written into this folder, which is made if need be.
    pub report_dir: Option<PathBuf>,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// Where stderr is a terminal that can; `NO_COLOR`, `CLICOLOR_FORCE` and `TERM=dumb` are heeded.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Failures and the result.
    Quiet,
    /// What a person wants to follow.
    #[default]
    Normal,
    /// Everything.
    Verbose,
}

/// How the run is shown while it lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Live where stderr is a terminal, else lines.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// Live, whatever stderr is.
    Live,
}

/// What the end prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Tables, to stderr.
    #[default]
    Human,
    /// The content of report.json, to stdout.
    Json,
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file for events.
    #[error("events file {}: cannot be written", path.display())]
    Events {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder for reports.
    #[error("report folder {}: cannot be made or written", path.display())]
    Folder {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The report for stdout.
    #[error("report: cannot be written to stdout")]
    Stdout {
        /// Why.
        source: io::Error,
    },
}

/// What is left of a run.
#[derive(Debug)]
pub struct Summary {
    /// Whether the run said that everything is ready.
    pub success: bool,
    /// The report, as in report.json.
    pub report: Report,
    /// Files that were written.
    pub files: Vec<PathBuf>,
    /// What could not be written; it was said on stderr too.
    pub errors: Vec<Error>,
}

/// The task that shows a run. Dropping it leaves the task to end with its events.
#[derive(Debug)]
pub struct Reporter {
    finish: oneshot::Sender<Option<String>>,
    task: JoinHandle<Summary>,
}

/// Opens the files and starts to show; needs a tokio runtime. Files that cannot be opened are an error now, before anything is done.
pub fn start(options: Options) -> Result<(Sink, Reporter), Error> {
    let events = options.events_file.as_deref().map(|path| open_events(path, options.again)).transpose()?;
    if let Some(path) = &options.report_dir {
        std::fs::create_dir_all(path).map_err(|source| Error::Folder { path: path.clone(), source })?;
    }
    let (sink, receiver) = unbounded_channel();
    let (finish, finishing) = oneshot::channel();
    let task = tokio::spawn(Writers::new(options, events).run(receiver, finishing));
    Ok((sink, Reporter { finish, task }))
}

impl Reporter {
    /// Shows what is still on its way, prints the end, writes the report. A run that sent no `ended` is shown as interrupted;
    /// with an error that the caller itself tells, as ended by it.
    pub async fn finish(self, error: Option<&str>) -> Summary {
        // The task may have ended with its events already.
        let _ = self.finish.send(error.map(str::to_owned));
        match self.task.await {
            Ok(summary) => summary,
            Err(error) => {
                screen::restore_terminal();
                match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only a runtime that is being shut down cancels it; nothing is known then.
                    Err(_) => Summary { success: false, report: Report::of(&RunModel::default()), files: Vec::new(), errors: Vec::new() },
                }
            }
        }
    }
}

fn open_events(path: &Path, again: bool) -> Result<File, Error> {
    let file = if again { File::options().append(true).create(true).open(path) } else { File::create(path) };
    file.map_err(|source| Error::Events { path: path.to_owned(), source })
}

/// Everything that is written to, and what is known.
struct Writers {
    options: Options,
    model: RunModel,
    events: Option<File>,
    /// The report of the run before this one.
    earlier: Option<Earlier>,
    errors: Vec<Error>,
    color: bool,
    /// The live view, with lines that wait to scroll away above it.
    live: Option<(Screen<io::Stderr>, Vec<Line>)>,
}

impl Writers {
    fn new(options: Options, events: Option<File>) -> Self {
        let color = match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never,
        };
        let live = match options.mode {
            Mode::Live => true,
            Mode::Plain => false,
            Mode::Auto => io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb"),
        };
        let live = (live && options.verbosity != Verbosity::Quiet).then(|| (Screen::new(io::stderr(), color), Vec::new()));
        let earlier = options.report_dir.as_deref().filter(|_| live.is_some()).and_then(Earlier::read);
        Self { options, model: RunModel::default(), events, earlier, errors: Vec::new(), color, live }
    }

    async fn run(mut self, mut receiver: UnboundedReceiver<Event>, mut finishing: oneshot::Receiver<Option<String>>) -> Summary {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut resized = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()).ok();
        let mut next_frame = Instant::now();
        let mut stale = false;
        // An owner that drops the reporter without finishing it still has its events shown.
        let mut orphaned = false;
        loop {
            tokio::select! {
                event = receiver.recv() => {
                    let Some(event) = event else {
                        // All senders are gone; what the owner still has to say comes with its word to finish.
                        if !orphaned {
                            self.close(finishing.await.ok().flatten());
                        }
                        break;
                    };
                    if self.take(&event) {
                        break;
                    }
                    stale = true;
                }
                _ = tick.tick(), if self.live.is_some() => stale = true,
                () = changed(&mut resized), if self.live.is_some() => stale = true,
                () = tokio::time::sleep_until(next_frame), if stale && self.live.is_some() => {
                    self.draw();
                    stale = false;
                    next_frame = Instant::now() + FRAME;
                }
                asked = &mut finishing, if !orphaned => {
                    let Ok(error) = asked else {
                        orphaned = true;
                        continue;
                    };
                    while let Ok(event) = receiver.try_recv() {
                        if self.take(&event) {
                            break;
                        }
                    }
                    self.close(error);
                    break;
                }
            }
        }
        self.end()
    }

    /// Takes one event; says whether it was the last.
    fn take(&mut self, event: &Event) -> bool {
        self.model.take(event);
        // What was measured before is part of what is expected.
        if matches!(event.happening, Happening::Expected { .. }) {
            self.earlier = Earlier::usual(&self.model);
        }
        self.write_event(event);
        let verbosity = self.options.verbosity;
        match &mut self.live {
            Some((_, above)) => above.extend(plain::lines(&self.model, event, Place::AboveLive, verbosity, Some(screen::size().0))),
            None => self.print(&plain::lines(&self.model, event, Place::Pipe, verbosity, None)),
        }
        matches!(event.happening, Happening::Ended { .. })
    }

    /// The end that a run which was given up did not tell itself.
    fn close(&mut self, error: Option<String>) {
        let Some(summary) = error.filter(|_| self.model.end.is_none()) else { return };
        let event =
            Event { time: jiff::Timestamp::now(), run: self.model.run.clone(), happening: Happening::Ended { success: false, summary } };
        self.model.given_up = true;
        self.take(&event);
    }

    fn write_event(&mut self, event: &Event) {
        let Some(file) = &mut self.events else { return };
        let written = serde_json::to_string(event).map_err(io::Error::from).and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(source) = written {
            // Said once; a full disk must not stop a recovery.
            self.events = None;
            let path = self.options.events_file.clone().unwrap_or_default();
            self.errors.push(Error::Events { path, source });
        }
    }

    fn draw(&mut self) {
        let Some((screen, above)) = &mut self.live else { return };
        if self.model.began.is_none() {
            return;
        }
        let (columns, rows) = screen::size();
        let now = jiff::Timestamp::now();
        let remaining = self.earlier.as_ref().and_then(|earlier| earlier.remaining(&self.model, now));
        let frame = live::frame(&self.model, now, remaining, columns, rows);
        screen.draw(above, &frame, columns);
        above.clear();
    }

    fn end(mut self) -> Summary {
        let (columns, _) = screen::size();
        if let Some((mut screen, above)) = self.live.take() {
            screen.clear(columns);
            self.print(&above);
        }
        let report = Report::of(&self.model);
        let mut files = Vec::new();
        if let Some(folder) = self.options.report_dir.clone() {
            match write_report(&folder, &report) {
                Ok(written) => files = written,
                Err(source) => self.errors.push(Error::Folder { path: folder, source }),
            }
        }
        match self.options.output {
            Output::Human => {
                let columns = if io::stderr().is_terminal() { columns } else { 120 };
                self.print(&end::lines(&self.model, columns, self.options.verbosity, &files));
            }
            Output::Json => {
                let written =
                    serde_json::to_string_pretty(&report).map_err(io::Error::from).and_then(|text| writeln!(io::stdout(), "{text}"));
                if let Err(source) = written {
                    self.errors.push(Error::Stdout { source });
                }
            }
        }
        let said: Vec<Line> = self.errors.iter().map(end::error).collect();
        self.print(&said);
        Summary { success: self.model.success(), report, files, errors: self.errors }
    }

    fn print(&self, lines: &[Line]) {
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.render(self.color));
            text.push('\n');
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Waits until the terminal has another size; for ever where that cannot be known.
async fn changed(resized: &mut Option<tokio::signal::unix::Signal>) {
    match resized {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn write_report(folder: &Path, report: &Report) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (name, content) in contents(report) {
        let path = folder.join(name);
        std::fs::write(&path, content)?;
        files.push(path);
    }
    Ok(files)
}

/// All forms of a report, by file name.
pub(super) fn contents(report: &Report) -> Vec<(&'static str, String)> {
    let json = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
    vec![("report.json", json), ("report.md", markdown::text(report)), ("report.html", page::html(report))]
}
