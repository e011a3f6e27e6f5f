//! `[rehearsal]`: the ordinary program with the faults of a network on its edges, from one seed.
//!
//! Every edge that begins in the process gets the faulty runner: those between modules, those of the gateway, and the ways of events. An edge to a module of
//! the same process becomes a wire with faults on it; one to another process gets faults beside those that its network has.

use std::fmt::Write as _;
use std::sync::Arc;

use drystone_call::{FaultCounts, FaultKind, Faults, Faulty, Mount, Profile, Remote, Target};
use serde::Deserialize;

use crate::StartError;
use crate::settings::Settings;
use crate::surroundings::{CallSettings, LocalRunner};

/// The seed where none is set.
const SEED: u64 = 1;

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    seed: Option<u64>,
    profile: Option<String>,
}

/// What the processes of an application rehearse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RehearsalSettings {
    seed: u64,
    profile: Profile,
}

impl RehearsalSettings {
    /// What the settings say: nothing, unless a value of `[rehearsal]` is set or `calls.runner` is `faulty`.
    ///
    /// # Errors
    /// A value that does not fit, or a profile that there is not.
    pub(crate) fn read(settings: &Settings) -> Result<Option<Self>, StartError> {
        let Section { seed, profile } = settings.section("rehearsal")?;
        let runner = settings.section::<CallSettings>("calls")?.runner;
        if seed.is_none() && profile.is_none() && runner != LocalRunner::Faulty {
            return Ok(None);
        }
        let profile = profile.map_or(Ok(Profile::Absorbable), |name| name.parse());
        let profile = profile.map_err(|problem| StartError::Settings {
            place: settings.places("rehearsal.profile"),
            problem: format!("rehearsal.profile: {problem}"),
        })?;
        Ok(Some(Self { seed: seed.unwrap_or(SEED), profile }))
    }

    /// The text of `--rehearse` as settings: `seed=7,profile=wan`, either of them, or nothing.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(crate) fn of_argument(text: &str) -> Result<String, StartError> {
        let mut toml = String::from("[rehearsal]\n");
        let wrong = |part: &str| StartError::Settings {
            place: "--rehearse".to_owned(),
            problem: format!("`{part}` is not understood; write it as seed=7,profile=wan"),
        };
        let (mut seed, mut profile) = (SEED.to_string(), Profile::Absorbable.to_string());
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("seed", number)) => number.clone_into(&mut seed),
                Some(("profile", name)) => name.clone_into(&mut profile),
                _ => return Err(wrong(part)),
            }
        }
        seed.parse::<u64>().map_err(|_| wrong(&format!("seed={seed}")))?;
        let _ = writeln!(toml, "seed = {seed}\nprofile = {profile:?}");
        Ok(toml)
    }

    /// The faults of one process.
    pub(crate) fn faults(self) -> Arc<Faults> {
        Faults::new(self.seed, self.profile)
    }
}

/// What is rehearsed, for a person.
pub(crate) fn announcement(faults: &Faults) -> String {
    let (seed, profile) = (faults.seed(), faults.profile());
    format!(
        "  rehearsal        seed {seed}, profile {profile}: calls between modules, their events and the gateway's calls meet the faults of a network"
    )
}

/// What an edge from the module `from` to a service of this process is bound to.
pub(crate) fn target_here(
    mount: &Mount,
    runner: LocalRunner,
    faults: Option<&Arc<Faults>>,
    from: &str,
) -> Target {
    match (faults, runner) {
        (Some(faults), _) => {
            let wire = Faulty::over(Arc::clone(mount.dispatch()), Arc::clone(faults), from);
            Target::Faulty(mount.clone(), Arc::new(wire))
        }
        (None, LocalRunner::Encoded) => Target::Encoded(mount.clone()),
        (None, LocalRunner::Direct | LocalRunner::Faulty) => Target::Direct(mount.clone()),
    }
}

/// What an edge from the module `from` to the module `to` in another process is bound to.
pub(crate) fn target_elsewhere(
    remote: Arc<dyn Remote>,
    faults: Option<&Arc<Faults>>,
    from: &str,
    to: &str,
) -> Target {
    match faults {
        Some(faults) => Target::Remote(Arc::new(Faulty::around(remote, Arc::clone(faults), from, to))),
        None => Target::Remote(remote),
    }
}

/// The faults in the Prometheus text format.
pub(crate) fn prometheus(faults: &Faults) -> String {
    let report = faults.report();
    let mut text = String::from(
        "# HELP drystone_rehearsal_faults_total Faults that the rehearsal has injected.\n# TYPE drystone_rehearsal_faults_total counter\n",
    );
    let counted = |counts: &FaultCounts, kind: FaultKind| Some(counts.of(kind)).filter(|count| *count > 0);
    for ((from, method), counts) in &report.edges {
        for (kind, count) in
            FaultKind::ALL.into_iter().filter_map(|kind| Some((kind, counted(counts, kind)?)))
        {
            let _ = writeln!(
                text,
                "drystone_rehearsal_faults_total{{from=\"{from}\",method=\"{}\",kind=\"{}\"}} {count}",
                method.trim_start_matches('/'),
                kind.name()
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<RehearsalSettings>, StartError> {
        let mut settings = Settings::default();
        settings.layer(include_str!("defaults.toml"), None).unwrap();
        settings.layer(text, Some("shop.toml")).unwrap();
        RehearsalSettings::read(&settings)
    }

    #[test]
    fn nothing_is_rehearsed_unless_it_is_set() {
        assert_eq!(read("").unwrap(), None);
        for (text, seed, profile) in [
            ("[rehearsal]\nseed = 7\nprofile = \"wan\"\n", 7, Profile::Wan),
            ("[rehearsal]\nseed = 7\n", 7, Profile::Absorbable),
            ("[rehearsal]\nprofile = \"hostile\"\n", SEED, Profile::Hostile),
            ("[calls]\nrunner = \"faulty\"\n", SEED, Profile::Absorbable),
        ] {
            assert_eq!(read(text).unwrap(), Some(RehearsalSettings { seed, profile }), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, place, problem) in [
            ("[rehearsal]\nprofile = \"lossy\"\n", "shop.toml:2", "absorbable, hostile, lan, wan"),
            ("[rehearsal]\nseed = -1\n", "shop.toml:2", "rehearsal"),
            ("[rehearsal]\nseeds = 7\n", "shop.toml:2", "seeds"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(problem), "{text}: {error}");
        }
        for text in ["seed", "seed=x", "loss=3", "seed=1;profile=wan"] {
            let error = RehearsalSettings::of_argument(text).unwrap_err().to_string();
            assert!(error.contains("--rehearse") && error.contains("seed=7,profile=wan"), "{text}: {error}");
        }
    }

    #[test]
    fn the_argument_of_the_command_line_becomes_settings() {
        for (argument, seed, profile) in [
            ("seed=7,profile=wan", 7, Profile::Wan),
            ("profile=lan", SEED, Profile::Lan),
            ("seed=9", 9, Profile::Absorbable),
            ("", SEED, Profile::Absorbable),
        ] {
            let settings = RehearsalSettings::of_argument(argument).unwrap();
            assert_eq!(read(&settings).unwrap(), Some(RehearsalSettings { seed, profile }), "{argument}");
        }
    }
}
