//! The phases of a run: the application starts, may stop and start again on the same files, and comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drystone_call::{FaultReport, MethodInfo, Reply};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, timeout};

use super::rehearser::{Rehearser, Shown};
use super::report::Broken;
use super::run::in_general;
use super::trace::short;
use crate::module_events::ModuleEvents;
use crate::surroundings::Surroundings;
use crate::{Running, StartError, host};

/// What a rehearsal's clock shows at its beginning: seconds since 1970, the first of January 2026.
const BEGINNING: u64 = 1_767_225_600;
/// How long an application may keep its files after it was told to stop, with calls under way.
const LETTING_GO: Duration = Duration::from_secs(30);
/// How long events may be on their way when nothing goes wrong any more.
const SETTLING: Duration = Duration::from_hours(1);

impl Rehearser {
    /// Starts the application on the files of this run.
    pub(super) async fn start(&self) -> Result<(), StartError> {
        let settings = self.app().load_rehearsed()?;
        let running = host::start_embedded(&self.app(), settings).await?;
        if let Some(faults) = running.faults() {
            let trace = Arc::clone(&self.trace);
            faults.witness(Arc::new(
                move |from: &str, method: &MethodInfo, answer: &drystone_call::Result<Reply>| {
                    let body = answer.as_ref().map(|reply| short(&reply.body));
                    trace.add(&format!(
                        "{from} -> {}: {}",
                        method.path,
                        Shown(body.as_ref().map_err(|error| *error))
                    ));
                },
            ));
            self.faults.borrow_mut().push(Arc::clone(faults));
        }
        *self.running.borrow_mut() = Some(running);
        Ok(())
    }

    /// The application with the settings of this run. Each start has chance of its own, since a process that begins again begins its ids anew.
    fn app(&self) -> crate::App {
        let site = &self.site;
        let seed = (site.seed ^ (u64::from(self.restarts.get()) << 40)) & (u64::MAX >> 1);
        let settings = format!(
            "[app]\ndata = {:?}\ndrain = 5\n[determinism]\nseed = {seed}\nclock = {}\ngoes_on = true\n[store]\nurl = \"sqlite:\"\n\
             commits = \"in place\"\n[events]\nbroker = \"embedded\"\n[rehearsal]\nseed = {seed}\nprofile = \"{}\"\n",
            site.data.display().to_string(),
            self.now(),
            site.profile,
        );
        site.app.clone().settings(site.rehearsal.settings()).settings(&settings)
    }

    /// What the clock shows now, as TOML.
    fn now(&self) -> String {
        let now: SystemTime = UNIX_EPOCH + Duration::from_secs(BEGINNING) + self.trace.elapsed();
        OffsetDateTime::from(now).format(&Rfc3339).expect("a moment of this century has a form in RFC 3339")
    }

    /// Stops the application in order and starts it again on the same files, with calls under way.
    ///
    /// # Errors
    /// If it does not start again.
    pub async fn restart(&self) -> Result<(), StartError> {
        let Some(running) = self.running.borrow_mut().take() else { return Ok(()) };
        self.clients.borrow_mut().clear();
        self.note("the application stops");
        running.stop().await;
        self.restarts.set(self.restarts.get() + 1);
        let began = Instant::now();
        // Calls under way keep files open until they end, and one process owns them.
        while let Err(error) = self.start().await {
            if began.elapsed() > LETTING_GO {
                return Err(error);
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.note("the application runs again");
        Ok(())
    }

    /// Ends the faults and waits until nothing is under way any more.
    pub(super) async fn come_to_rest(&self) -> Vec<Broken> {
        let all = self.faults.borrow().clone();
        for faults in &all {
            faults.turn(false);
        }
        self.note("no faults from here on");
        for faults in &all {
            if timeout(SETTLING, faults.at_rest()).await.is_err() {
                return vec![in_general(
                    "every call comes to its end",
                    "a repeated call still runs".to_owned(),
                )];
            }
        }
        let (began, events) = (Instant::now(), self.events());
        loop {
            let waiting = match events_waiting(&events).await {
                Ok(waiting) if waiting.is_empty() => return Vec::new(),
                Ok(waiting) => waiting.join("\n"),
                Err(error) => error,
            };
            if began.elapsed() > SETTLING {
                return vec![in_general("every event is delivered and handled", waiting)];
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn events(&self) -> Result<Vec<(String, ModuleEvents)>, StartError> {
        let settings = self.app().load_rehearsed()?;
        let (_, graph) = self.site.app.plan(&settings)?;
        let running = self.running.borrow();
        let Some(running) = running.as_ref() else { return Ok(Vec::new()) };
        let events = ModuleEvents::of_process(running, &settings, &Surroundings::read(&settings)?, &graph)?;
        Ok(events.into_iter().collect())
    }

    /// Adds what every store holds in the end to the trace, so that the digest covers it.
    pub(super) async fn write_down_stores(&self) {
        let stores = self.running.borrow().as_ref().map(|running| running.stores.clone()).unwrap_or_default();
        for (module, store) in stores {
            for tenant in store.tenants().list().await.unwrap_or_default() {
                let mut dump = Vec::new();
                let written = store.tenants().export(&tenant, &mut dump).await;
                match written {
                    Ok(_) => {
                        let lines = String::from_utf8_lossy(&dump);
                        lines.lines().for_each(|line| self.note(&format!("{module} of {tenant}: {line}")));
                    }
                    Err(error) => {
                        self.note(&format!("{module} of {tenant} cannot be read: {}", error.message()))
                    }
                }
            }
        }
    }

    /// What all starts of the application have injected.
    pub(super) fn report(&self) -> FaultReport {
        let all = self.faults.borrow();
        let (seed, profile) = (self.site.seed, self.site.profile);
        let mut report = FaultReport { seed, profile, calls: 0, edges: BTreeMap::new() };
        all.iter().for_each(|faults| report.add(&faults.report()));
        report
    }

    pub(super) async fn stop(&self) {
        let running: Option<Running> = self.running.borrow_mut().take();
        if let Some(running) = running {
            running.stop().await;
        }
    }
}

/// The events that are on their way or held back.
async fn events_waiting(
    all: &Result<Vec<(String, ModuleEvents)>, StartError>,
) -> Result<Vec<String>, String> {
    let mut waiting = Vec::new();
    for (module, events) in all.as_ref().map_err(ToString::to_string)? {
        let status = events.status(0).await;
        let status = status.map_err(|error| format!("the events of `{module}`: {}", error.message()))?;
        for pump in status.pumps.iter().map(|pump| &pump.status).filter(|pump| pump.lag > 0) {
            waiting.push(format!("{} of {module} are not with {}", pump.lag, pump.pump));
        }
        for one in status.consumers.iter().map(|one| &one.status).filter(|one| one.held_messages > 0) {
            waiting.push(format!("{} are held back by {}", one.held_messages, one.consumer));
        }
    }
    Ok(waiting)
}
