//! The log: what the library traces, on stderr.

use std::str::FromStr as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use super::failure::Failure;
use super::invocation::Invocation;

/// The variable that holds a filter.
const VARIABLE: &str = "AISHELL_LOG";

/// Lets the library say as much as the person wants to hear.
///
/// # Errors
/// The filter makes no sense.
pub fn install(invocation: &Invocation) -> Result<(), Failure> {
    let targets = match invocation.host.variable(VARIABLE) {
        Some(filter) => Targets::from_str(filter).map_err(|error| {
            Failure::usage(
                format!("{VARIABLE} is not a filter: {error}"),
                "write it like `debug` or `aishell::plan=trace,warn`",
            )
        })?,
        None => match invocation.global.verbose {
            0 => return Ok(()),
            1 => Targets::new().with_target("aishell", LevelFilter::INFO),
            2 => Targets::new().with_target("aishell", LevelFilter::DEBUG),
            _ => Targets::new()
                .with_default(LevelFilter::DEBUG)
                .with_target("aishell", LevelFilter::TRACE),
        },
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(invocation.output.talks_in_color())
        .with_filter(targets);
    // Only tests run more than one command in a process; the first one's wish stands.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    Ok(())
}
