//! The command line: which suites run, how long, and whether `RESULTS.md` is rewritten.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tempfile::TempDir;

use crate::recorder::Recorder;
use crate::{
    build_times, calls, cascade, child, events, layers, machine, memory, overload, postgres, profile, remote,
    report, rest, tenants, transactions,
};

/// What ends a run.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

type Suite = fn(&Plan) -> Result<String, Failure>;

/// The suites in the order of `RESULTS.md`; the last two are slow and run only when they are named.
const SUITES: [(&str, Suite); 14] = [
    ("machine", machine::run),
    ("calls", calls::run),
    ("layers", layers::run),
    ("remote", remote::run),
    ("rest", rest::run),
    ("transactions", transactions::run),
    ("postgres", postgres::run),
    ("events", events::run),
    ("tenants", tenants::run),
    ("cascade", cascade::run),
    ("overload", overload::run),
    ("memory", memory::run),
    ("backlog", events::backlog::run),
    ("build", build_times::run),
];
/// How many of them run when none is named.
const USUAL: usize = 12;

const USAGE: &str = "usage: cargo bench -p drystone-benches -- [--quick] [--write] [SUITE ...]
       cargo bench -p drystone-benches -- profile calls|rest|transactions|postgres|events|events-postgres";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often the measurements take turns.
    pub(crate) rounds: usize,
    /// How long one measurement takes.
    pub(crate) time: Duration,
}

impl Plan {
    /// The same with so many rounds at most, for a suite of many sides.
    pub(crate) fn at_most(self, rounds: usize) -> Self {
        Self { rounds: self.rounds.min(rounds), ..self }
    }

    /// How a number of these rounds came about.
    pub(crate) fn said(&self) -> String {
        format!("Medians of {} rounds of {:?}.", self.rounds, self.time)
    }

    const FULL: Self = Self { rounds: 21, time: Duration::from_secs(1) };
    const QUICK: Self = Self { rounds: 5, time: Duration::from_millis(500) };
}

/// Runs what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = child::act() {
        return code;
    }
    // Cargo tells a benchmark with a flag that it is one.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| word.starts_with("--"));
    if let Some(flag) = flags.iter().find(|flag| !["--quick", "--write"].contains(flag)) {
        return Err(format!("{flag} is not a flag here\n{USAGE}").into());
    }
    if let ["profile", what] = names[..] {
        return profile::run(what);
    }
    let plan = if flags.contains(&"--quick") { Plan::QUICK } else { Plan::FULL };
    // Suites that call from this process do it recorded, as those in processes of their own.
    Recorder::Lean.install()?;
    for (name, suite) in chosen(&names)? {
        let text = suite(&plan)?;
        report::publish(name, &text, flags.contains(&"--write"))?;
    }
    Ok(())
}

fn chosen(names: &[&str]) -> Result<Vec<(&'static str, Suite)>, Failure> {
    if names.is_empty() {
        return Ok(SUITES[..USUAL].to_vec());
    }
    let one = |name: &&str| {
        let known = SUITES.into_iter().find(|(known, _)| known == name);
        known.ok_or_else(|| {
            let all = SUITES.map(|(name, _)| name).join(", ");
            format!("there is no suite {name:?}; there are {all}\n{USAGE}").into()
        })
    };
    names.iter().map(one).collect()
}

/// A directory below the build directory, so that data lies on a real disk and not in memory.
pub(crate) fn directory() -> Result<TempDir, Failure> {
    Ok(TempDir::new_in(build_directory()?)?)
}

/// Where the release profile's programs are.
pub(crate) fn build_directory() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let directory = program.parent().and_then(std::path::Path::parent);
    Ok(directory.ok_or("this program lies in no build directory")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_run_as_named_and_the_slow_ones_only_then() {
        let names =
            |chosen: Vec<(&'static str, Suite)>| chosen.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(chosen(&["rest", "calls"]).unwrap()), ["rest", "calls"]);
        let usual = names(chosen(&[]).unwrap());
        assert!(
            usual.contains(&"memory") && !usual.contains(&"backlog") && !usual.contains(&"build"),
            "{usual:?}"
        );
        let error = chosen(&["cals"]).unwrap_err().to_string();
        assert!(error.contains("cals") && error.contains("calls"), "{error}");
    }
}
