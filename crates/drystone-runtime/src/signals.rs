//! When to stop and when to read the settings again: signals, and the end of standard input.

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::StartError;

/// Completes at the first SIGINT or SIGTERM. A second one ends the process at once, whatever it does then.
///
/// # Errors
/// If the handlers cannot be installed.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, StartError> {
    let install = |kind| signal(kind).map_err(|error| StartError::part("signal handling", error));
    let (mut interrupt, mut terminate) =
        (install(SignalKind::interrupt())?, install(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            eprintln!("stopping at once, as asked a second time");
            #[expect(
                clippy::disallowed_methods,
                reason = "asked twice: nothing may hold the process up any longer"
            )]
            std::process::exit(130);
        });
    })
}

/// SIGHUP, which asks for the settings to be read again; from now on it does not end the process.
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// # Errors
    /// If the handler cannot be installed.
    pub(crate) fn new() -> Result<Self, StartError> {
        signal(SignalKind::hangup()).map(Self).map_err(|error| StartError::part("signal handling", error))
    }

    /// Completes at the next one, or at once if one came since the last.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Completes when standard input ends.
pub(crate) async fn stdin_end() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while matches!(stdin.read(&mut buffer).await, Ok(read) if read > 0) {}
}
