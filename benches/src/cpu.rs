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

/// Fields 16 and 17: the same of the children that have ended.
fn ticks_of_ended(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(13);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Processor time of a process and of its children, those that have ended included; each has one thread, as PostgreSQL's have.
///
/// Many processes would lose much to ticks, so the scheduler's own nanoseconds are read.
fn of_family(parent: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{parent}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let ended = ticks_of_ended(&text).ok_or_else(|| format!("{path} is not as proc(5) says: {text}"))?;
    let mut all = nanoseconds(parent).ok_or_else(|| format!("/proc/{parent}/schedstat cannot be read"))?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ends meanwhile is among the ended at the next look.
        if let Some(pid) = pid.filter(|pid| parent_of(*pid) == Some(parent)) {
            all += nanoseconds(pid).unwrap_or_default();
        }
    }
    Ok(all + TICK * ended)
}

/// Time on a processor, the first field.
fn nanoseconds(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whose time is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    /// One process's, with all its threads.
    Process(u32),
    /// That of a process and of all its children, each of one thread.
    Family(u32),
}

impl Whose {
    fn time(self) -> Result<Duration, Failure> {
        match self {
            Self::Process(pid) => of(pid),
            Self::Family(pid) => of_family(pid),
        }
    }
}

/// Measures processes over a stretch of time.
pub(crate) struct Meter {
    began: Instant,
    before: Vec<(Whose, Duration)>,
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
        Self::of(&pids.iter().copied().map(Whose::Process).collect::<Vec<_>>())
    }

    /// Begins a stretch of single processes and of families.
    pub(crate) fn of(all: &[Whose]) -> Result<Self, Failure> {
        let before = all.iter().map(|whose| Ok((*whose, whose.time()?))).collect::<Result<_, Failure>>()?;
        Ok(Self { began: Instant::now(), before })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Taken, Failure> {
        let wall = self.began.elapsed();
        let cpu = self.before.iter().map(|(whose, before)| Ok(whose.time()?.saturating_sub(*before)));
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
        assert_eq!(
            ticks_of_ended("7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 30 4 20 0 3 0 100 0 0"),
            Some(34)
        );
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(megabytes(std::process::id(), "status", "VmRSS").unwrap() > 0.1);
        assert!(megabytes(std::process::id(), "status", "VmNothing").is_err());
    }

    #[test]
    fn a_family_has_the_time_of_its_children_those_that_ended_too() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        // The child lives until its input ends; the one before it has ended by then.
        let script = format!("sh -c '{busy}'; sh -c '{busy}; echo done; read -r _'; :");
        let mut family = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(family.stdout.take().unwrap()), &mut line)
            .unwrap();
        let (alone, all) = (of(family.id()).unwrap(), of_family(family.id()).unwrap());
        let ended = TICK
            * ticks_of_ended(&fs::read_to_string(format!("/proc/{}/stat", family.id())).unwrap()).unwrap();
        assert!(alone + ended < all, "{alone:?} and {ended:?} of ended children are not all of {all:?}");
        assert!(ended > TICK, "{ended:?}");
        drop(family.stdin.take());
        assert!(family.wait().unwrap().success());
    }
}
