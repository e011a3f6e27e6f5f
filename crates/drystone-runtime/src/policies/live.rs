//! The policies of a process that runs: applied at the start, and again when the settings are read again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drystone_call::{AnyChannel, Dispatch, OwnWrites};
use serde::{Deserialize, Serialize};

use super::report::PolicyReport;
use super::{Known, Policies};
use crate::settings::Settings;
use crate::{App, StartError};

/// The one setting of `[calls]` that is read at the start alone.
const RUNNER: &str = "calls.runner";

/// The policies of a process, and everything that they are applied to.
pub(crate) struct LivePolicies {
    app: App,
    process: String,
    known: Known,
    /// What the process was started with.
    started: Settings,
    /// The writes of the process's principals, from the moment on at which some method shares calls.
    writes: Arc<OwnWrites>,
    now: Mutex<Now>,
}

/// What is applied, and to what.
struct Now {
    settings: Settings,
    policies: Policies,
    channels: Vec<Arc<dyn AnyChannel>>,
    served: Vec<Arc<dyn Dispatch>>,
}

/// What came of reading the settings again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// The process.
    pub(crate) process: String,
    /// The settings that hold from now on, with their origins.
    pub(crate) changed: Vec<String>,
    /// Those that differ and hold from the next start on.
    pub(crate) restart: Vec<String>,
}

impl LivePolicies {
    /// Nothing is applied yet.
    ///
    /// # Errors
    /// If the settings do not fit.
    pub(crate) fn new(
        app: &App,
        process: &str,
        settings: &Settings,
        known: Known,
    ) -> Result<Self, StartError> {
        let policies = Policies::read(settings, &known)?;
        let now = Now { settings: settings.clone(), policies, channels: Vec::new(), served: Vec::new() };
        let (app, process, started) = (app.clone(), process.to_owned(), settings.clone());
        Ok(Self { app, process, known, started, writes: Arc::default(), now: Mutex::new(now) })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the policies to an edge, now and whenever they change.
    pub(crate) fn add_channel(&self, channel: Arc<dyn AnyChannel>) {
        let mut now = self.now();
        self.share_writes(&now.policies, std::slice::from_ref(&channel), &[]);
        now.policies.apply_to_channel(&*channel);
        now.channels.push(channel);
    }

    /// Applies the policies to a mounted service, now and whenever they change.
    pub(crate) fn add_served(&self, served: Arc<dyn Dispatch>) {
        let mut now = self.now();
        self.share_writes(&now.policies, &[], std::slice::from_ref(&served));
        now.policies.apply_to_served(&*served);
        now.served.push(served);
    }

    /// The edges to which the policies are applied.
    pub(crate) fn channels(&self) -> Vec<Arc<dyn AnyChannel>> {
        self.now().channels.clone()
    }

    /// Reads the settings again and applies what they say; calls that are under way keep what they began with.
    ///
    /// # Errors
    /// If a setting does not fit. Then nothing has changed.
    pub(crate) fn reload(&self) -> Result<Reloaded, StartError> {
        // Held throughout, so that two reloads do not mix.
        let mut now = self.now();
        let settings = self.app.load(self.started.files())?;
        let policies = Policies::read(&settings, &self.known)?;
        let reloaded = Reloaded {
            process: self.process.clone(),
            changed: differences(&settings, &now.settings, is_live),
            restart: differences(&settings, &self.started, |path| !is_live(path)),
        };
        self.share_writes(&policies, &now.channels, &now.served);
        for channel in &now.channels {
            policies.apply_to_channel(&**channel);
        }
        for served in &now.served {
            policies.apply_to_served(&**served);
        }
        now.settings = settings;
        now.policies = policies;
        Ok(reloaded)
    }

    /// Has writes remembered, everywhere before anywhere a read shares a call; where none does, nobody pays for it.
    fn share_writes(
        &self,
        policies: &Policies,
        channels: &[Arc<dyn AnyChannel>],
        served: &[Arc<dyn Dispatch>],
    ) {
        if policies.any_coalesce() {
            channels.iter().for_each(|channel| channel.share_writes(&self.writes));
            served.iter().for_each(|served| served.share_writes(&self.writes));
        }
    }

    /// Reloads and writes to the log what came of it.
    pub(crate) fn reload_and_say(&self) -> Result<Reloaded, StartError> {
        let outcome = self.reload();
        match &outcome {
            Ok(reloaded) => {
                tracing::info!(target: "drystone::policy", "the settings were read again: {reloaded}")
            }
            Err(error) => tracing::error!(
                target: "drystone::policy", "the settings were read again and do not fit; nothing has changed: {error}"
            ),
        }
        outcome
    }

    /// What holds now, and how it stands.
    pub(crate) fn report(&self) -> PolicyReport {
        let now = self.now();
        PolicyReport::of_process(&self.process, &now.policies, &now.channels, &now.served)
    }
}

impl Policies {
    /// Whether reads share calls anywhere.
    fn any_coalesce(&self) -> bool {
        self.edges.iter().any(|edge| edge.methods.iter().any(|method| method.policy.coalesce.is_some()))
    }

    fn apply_to_channel(&self, channel: &dyn AnyChannel) {
        let contract = channel.contract();
        if let Some(edge) = self.edge(&channel.edge_metrics().from, contract.name) {
            channel.set_policies(edge.methods.iter().map(|method| method.policy.clone()).collect());
        }
    }

    fn apply_to_served(&self, served: &dyn Dispatch) {
        if let Some(policies) = self.served(served.contract().name) {
            served.set_policies(policies.methods.iter().map(|method| method.policy.clone()).collect());
        }
    }
}

/// Whether a setting may change while the process runs.
fn is_live(path: &str) -> bool {
    path != RUNNER && (path.starts_with("calls.") || path.starts_with("serving."))
}

/// The settings that differ, as they are now.
fn differences(new: &Settings, old: &Settings, which: fn(&str) -> bool) -> Vec<String> {
    let paths = new.differing(old).into_iter().filter(|path| which(path));
    paths
        .map(|path| new.describe_one(&path).unwrap_or_else(|| format!("{path} is not set any more")))
        .collect()
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.as_slice() {
            [] => f.write_str("nothing has changed")?,
            changed => write!(f, "{}", changed.join("; "))?,
        }
        if !self.restart.is_empty() {
            write!(f, "; needs a restart: {}", self.restart.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for LivePolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePolicies").field("process", &self.process).finish_non_exhaustive()
    }
}
