//! `blackstart sandbox fault` and `calls`: the AWS of a running sandbox.

use super::sandbox::{Format, out};
use crate::sandbox::edge::{Call, Control, Faults};
use crate::sandbox::{SandboxError, State, state};
use serde_json::json;
use std::time::Duration;

/// `sandbox fault`.
#[derive(Debug, clap::Args)]
pub(super) struct Fault {
    /// Name of the sandbox; not needed where only one has an AWS
    name: Option<String>,
    /// Added to each call, such as 100ms
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    latency: Option<Duration>,
    /// Part of the calls that is answered with 503 and not carried out, such as 5%
    #[arg(long, value_name = "PERCENT", value_parser = part)]
    errors: Option<f64>,
    /// Part of the calls that is throttled and not carried out
    #[arg(long, value_name = "PERCENT", value_parser = part)]
    throttled: Option<f64>,
    /// Part of the calls that is carried out and not answered
    #[arg(long, value_name = "PERCENT", value_parser = part)]
    dropped: Option<f64>,
    /// How long what is new is neither listed nor known to other calls, such as 3s
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    consistency: Option<Duration>,
    /// Take away all faults that were set before
    #[arg(long)]
    clear: bool,
}

/// `sandbox calls`.
#[derive(Debug, clap::Args)]
pub(super) struct Calls {
    /// Name of the sandbox; not needed where only one has an AWS
    name: Option<String>,
    /// Only those that could change something
    #[arg(long)]
    writes: bool,
    /// Output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// `5%` of all calls.
fn part(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| format!("`{text}` is no part of all calls; write 5%"))
}

/// The edge of the sandbox that is meant.
fn control(name: Option<String>) -> Result<Control, SandboxError> {
    let living: Vec<State> = state::list()?.into_iter().filter(|state| !state.dead()).collect();
    let state = if let Some(id) = name {
        living.into_iter().find(|state| state.id == id).ok_or(SandboxError::Unknown { id })?
    } else {
        let mut clouds: Vec<State> = living.into_iter().filter(|state| state.cloud.is_some()).collect();
        if clouds.len() != 1 {
            let names: Vec<&str> = clouds.iter().map(|state| state.id.as_str()).collect();
            let found = if names.is_empty() {
                "none that runs has an AWS".to_owned()
            } else {
                format!("several have an AWS: {}", names.join(", "))
            };
            return Err(SandboxError::WhichCloud { found });
        }
        clouds.remove(0)
    };
    state.cloud.map(|cloud| Control::new(cloud.control)).ok_or(SandboxError::NoCloud { id: state.id })
}

/// Sets what is given over what is set.
pub(super) async fn fault(args: Fault) -> Result<(), SandboxError> {
    let control = control(args.name)?;
    let before = control.faults().await?;
    let base = if args.clear { Faults::default() } else { before.clone() };
    let faults = Faults {
        latency: args.latency.unwrap_or(base.latency),
        errors: args.errors.unwrap_or(base.errors),
        throttled: args.throttled.unwrap_or(base.throttled),
        dropped: args.dropped.unwrap_or(base.dropped),
        consistency: args.consistency.unwrap_or(base.consistency),
    };
    if faults != before {
        control.set_faults(&faults).await?;
    }
    let percent = |part: f64| format!("{}%", (part * 10_000.0).round() / 100.0);
    out(&format!(
        "latency {:?}, errors {}, throttled {}, dropped {}, consistency {:?}\n",
        faults.latency,
        percent(faults.errors),
        percent(faults.throttled),
        percent(faults.dropped),
        faults.consistency
    ));
    Ok(())
}

/// Prints every call so far.
pub(super) async fn calls(args: Calls) -> Result<(), SandboxError> {
    let mut calls: Vec<Call> = control(args.name)?.calls().await?;
    calls.retain(|call| call.writes || !args.writes);
    if args.output == Format::Json {
        out(&format!("{:#}\n", json!({"apiVersion": "blackstart/v1alpha1", "kind": "CallList", "calls": calls})));
        return Ok(());
    }
    for call in calls {
        let status = if call.status == 0 { "dropped".to_owned() } else { call.status.to_string() };
        out(&format!("{}  {:<20} {:<40} {status}\n", call.time.strftime("%H:%M:%S%.3f"), call.service, call.operation));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_percent_of_all_calls() {
        assert_eq!(part("5%"), Ok(0.05));
        for wrong in ["5", "101%", "-1%", "x%", ""] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
