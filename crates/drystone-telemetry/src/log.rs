//! The process's log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "DRYSTONE_LOG";

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Sets up the log of this process; `$DRYSTONE_LOG` says what is logged (`info` when it is not set).
///
/// A second call, or one in a program that has set up its own log, changes nothing.
///
/// # Errors
/// If the variable is not a filter.
pub fn init(format: LogFormat) -> Result<(), String> {
    let text = std::env::var(FILTER).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| format!("${FILTER} is {text:?}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Failing means that a log is set up already.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
