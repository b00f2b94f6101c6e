//! For developers: shows a run again, from an events file or made up, to look at the live view and the reports.
//!
//! `cargo run --example replay -- [EVENTS.jsonl] [--speed 4] [--fail] [--bootstrap] [--layers 40] [--quiet|--verbose] [--plain] [--json] [--report DIR] [--events FILE]`

mod sample;

use blackstart::plan::Action;
use blackstart::report::{self, Mode, Options, Output, Verbosity, event};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    let mut shape = sample::Shape { layers: 40, fails: false, rehearsal: true, seed: 7 };
    let (mut speed, mut file) = (1.0, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument}: a value is missing"));
        match argument.as_str() {
            "--speed" => speed = value()?.parse::<f64>()?.max(0.001),
            "--fail" => shape.fails = true,
            "--bootstrap" => shape.rehearsal = false,
            "--layers" => shape.layers = value()?.parse()?,
            "--seed" => shape.seed = value()?.parse()?,
            "--quiet" => options.verbosity = Verbosity::Quiet,
            "--verbose" => options.verbosity = Verbosity::Verbose,
            "--plain" => options.mode = Mode::Plain,
            "--json" => options.output = Output::Json,
            "--report" => options.report_dir = Some(value()?.into()),
            "--events" => options.events_file = Some(value()?.into()),
            _ => file = Some(argument),
        }
    }
    let events: Vec<event::Event> = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)?;
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?
        }
        None => sample::events(shape, jiff::Timestamp::now()),
    };

    let (sink, reporter) = report::start(options)?;
    let begun = tokio::time::Instant::now();
    let (first, shown) = (events.first().map(|event| event.time), jiff::Timestamp::now());
    for mut event in events {
        let since = first.map_or(0.0, |first| event.time.duration_since(first).as_secs_f64());
        tokio::select! {
            () = tokio::time::sleep_until(begun + std::time::Duration::from_secs_f64((since / speed).max(0.0))) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        // As if it happened now, so that the clocks of the live view agree: a run at another speed has other times.
        event.time = shown + jiff::SignedDuration::try_from_secs_f64(since / speed)?;
        sink.send(event)?;
    }
    reporter.finish(None).await;
    Ok(())
}
