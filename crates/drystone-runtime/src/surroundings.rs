//! What the settings say of the process: data directory, runner, clock and ids.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drystone_call::{Clock, Home, ManualClock, RandomIds, SeededIds, SystemClock};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::StartError;
use crate::settings::Settings;

/// `[app]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppSettings {
    pub(crate) data: PathBuf,
    /// Where the authority of the processes' certificates is.
    certificates: Option<PathBuf>,
    drain: u64,
    grace_ms: u64,
}

impl AppSettings {
    /// The time that calls in progress may take to finish.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    /// How long a process that stops says so before it closes its port to the others.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    /// The directory of the certificates: replicas with data directories of their own share one.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.certificates.clone().unwrap_or_else(|| self.data.join("certs"))
    }
}

/// What `[calls]` says of the process; the rest of the section is read with its [policies](crate::policies).
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct CallSettings {
    pub(crate) runner: LocalRunner,
}

/// How modules of one process call each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LocalRunner {
    /// The message moves.
    #[default]
    Direct,
    /// The message is encoded and decoded.
    Encoded,
    /// As to another process, with the faults of `[rehearsal]`.
    Faulty,
}

/// `[determinism]`: for tests and demonstrations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Determinism {
    /// Ids repeat from this seed.
    seed: Option<u64>,
    /// The time of day at which the clock stands still.
    clock: Option<toml::value::Datetime>,
    /// Whether it goes on from there, with tokio's time, which a rehearsal pauses.
    #[serde(default)]
    goes_on: bool,
}

/// The clock and the ids of the process's modules.
#[derive(Clone)]
pub(crate) struct Surroundings {
    clock: Arc<dyn Clock>,
    /// The same clock, when it stands still until it is turned.
    pub(crate) manual: Option<Arc<ManualClock>>,
    seed: Option<u64>,
}

impl Surroundings {
    /// What `[determinism]` says, the machine's clock and random ids otherwise.
    pub(crate) fn read(settings: &Settings) -> Result<Self, StartError> {
        let Determinism { seed, clock, goes_on } = settings.section("determinism")?;
        let manual = clock.map(|time| standing_at(&time)).transpose()?;
        let clock: Arc<dyn Clock> = match &manual {
            Some(manual) if goes_on => Arc::new(GoingOn { from: manual.now(), since: Instant::now() }),
            Some(manual) => Arc::clone(manual) as _,
            None => Arc::new(SystemClock),
        };
        Ok(Self { clock, manual: manual.filter(|_| !goes_on), seed })
    }

    /// The home of a module.
    pub(crate) fn home(&self, module: &str) -> Arc<Home> {
        match self.seed {
            Some(seed) => Home::new(module, Arc::clone(&self.clock), Arc::new(SeededIds::new(seed, module))),
            None => Home::new(module, Arc::clone(&self.clock), Arc::new(RandomIds)),
        }
    }
}

/// A clock that begins at a moment and goes on with tokio's time.
struct GoingOn {
    from: SystemTime,
    since: Instant,
}

impl Clock for GoingOn {
    fn now(&self) -> SystemTime {
        self.from + self.since.elapsed()
    }
}

fn standing_at(time: &toml::value::Datetime) -> Result<Arc<ManualClock>, StartError> {
    let wrong = |error: time::error::Parse| StartError::Settings {
        place: "settings".to_owned(),
        problem: format!("determinism.clock = {time}: {error}; write it as 2026-01-01T00:00:00Z"),
    };
    let time = OffsetDateTime::parse(&time.to_string(), &Rfc3339).map_err(wrong)?;
    Ok(Arc::new(ManualClock::at(time.into())))
}
