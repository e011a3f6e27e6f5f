//! Processor time and memory of a process, as the kernel counts them.

use std::fs;
use std::time::{Duration, Instant};

use crate::suites::Failure;

/// The unit of `/proc/<pid>/stat`: Linux shows every program 100 ticks a second, whatever the kernel's own clock is.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, in user and kernel mode, of all threads of a process since it began.
fn of(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    ticks(&text)
        .map(|ticks| TICK * ticks)
        .ok_or_else(|| format!("{path} is not as proc(5) says: {text}").into())
}

/// Fields 14 and 15; the second one, the program's name, may hold blanks and is in parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Measures processes over a stretch of time.
pub(crate) struct Meter {
    began: Instant,
    before: Vec<(u32, Duration)>,
}

/// What a stretch of time took.
pub(crate) struct Taken {
    pub(crate) wall: Duration,
    /// Processor time of each process, in the order in which they were named.
    pub(crate) cpu: Vec<Duration>,
}

impl Meter {
    /// Begins a stretch.
    pub(crate) fn start(pids: &[u32]) -> Result<Self, Failure> {
        let before = pids.iter().map(|pid| Ok((*pid, of(*pid)?))).collect::<Result<_, Failure>>()?;
        Ok(Self { began: Instant::now(), before })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Taken, Failure> {
        let wall = self.began.elapsed();
        let cpu = self.before.iter().map(|(pid, before)| Ok(of(*pid)?.saturating_sub(*before)));
        Ok(Taken { wall, cpu: cpu.collect::<Result<_, Failure>>()? })
    }
}

/// A value of `/proc/<pid>/<file>` that is given in kB, in MB of a million bytes.
pub(crate) fn megabytes(pid: u32, file: &str, name: &str) -> Result<f64, Failure> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes: Option<f64> =
        line.and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| format!("{path} has no {name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(megabytes(std::process::id(), "status", "VmRSS").unwrap() > 0.1);
        assert!(megabytes(std::process::id(), "status", "VmNothing").is_err());
    }
}
