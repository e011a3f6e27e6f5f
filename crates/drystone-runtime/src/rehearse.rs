//! Rehearsals: an application's invariants under faults, seed by seed.
//!
//! For each seed the whole application starts anew, on stores of its own, with the faulty runner on every edge. A [`Rehearsal`]'s workload uses it as callers
//! do. Then the faults end, everything comes to rest, and the invariants are checked.
//!
//! A seed repeats to the bit: the application runs on one thread, on tokio's paused time, which moves when nobody has anything to do; ids, jitter and
//! the choice of faults come from the seed; the stores commit in place. What is real is everything else: modules, call stack, bytes and headers, SQLite and its files, the
//! engine of events. What is not there is threads, so a fault that only two threads at once can meet is not found here.

mod command;
mod phases;
mod rehearser;
mod report;
mod run;
mod trace;

use std::fmt;
use std::sync::Arc;

use drystone_call::Error;
use futures_util::future::LocalBoxFuture;

pub(crate) use command::{Rehearse, rehearse};
pub use drystone_call::Profile;
pub use rehearser::Rehearser;
pub use report::{Broken, Rehearsed};

use crate::stores::whole;
use crate::{App, StartError};

/// Why an invariant does not hold, in words and numbers for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSo(pub String);

impl fmt::Display for NotSo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for NotSo {
    fn from(error: Error) -> Self {
        Self(format!("a call that was to succeed failed: {:?} {}", error.code(), whole(&error)))
    }
}

impl From<String> for NotSo {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What a rehearsal does: the workload, and what must hold afterwards whatever went wrong meanwhile.
///
/// ```no_run
/// use drystone_runtime::{App, Module, NotSo, Rehearsal};
///
/// let rehearsal = Rehearsal::new(async |callers| Ok(callers.below(10)))
///     .invariant("the number is small", async |_, number| {
///         if *number < 10 { Ok(()) } else { Err(NotSo(format!("it is {number}"))) }
///     });
/// App::new("shop").module(Module::new("orders")).rehearsal(rehearsal);
/// ```
pub struct Rehearsal<T> {
    workload: Workload<T>,
    invariants: Vec<Invariant<T>>,
    settings: String,
}

type Workload<T> = Arc<dyn for<'a> Fn(&'a Rehearser) -> LocalBoxFuture<'a, Result<T, NotSo>> + Send + Sync>;
type Check<T> =
    Arc<dyn for<'a> Fn(&'a Rehearser, &'a T) -> LocalBoxFuture<'a, Result<(), NotSo>> + Send + Sync>;

struct Invariant<T> {
    name: &'static str,
    check: Check<T>,
}

impl<T: 'static> Rehearsal<T> {
    /// A rehearsal of this workload, which gives what the invariants compare with: what was acknowledged.
    pub fn new<W>(workload: W) -> Self
    where
        W: AsyncFn(&Rehearser) -> Result<T, NotSo> + Send + Sync + 'static,
    {
        let workload = Arc::new(workload);
        let workload: Workload<T> = Arc::new(move |rehearser| begun(Arc::clone(&workload), rehearser));
        Self { workload, invariants: Vec::new(), settings: String::new() }
    }

    /// Something that must hold when the faults are over and everything has come to rest.
    #[must_use]
    pub fn invariant<C>(mut self, name: &'static str, check: C) -> Self
    where
        C: AsyncFn(&Rehearser, &T) -> Result<(), NotSo> + Send + Sync + 'static,
    {
        let check = Arc::new(check);
        let check: Check<T> =
            Arc::new(move |rehearser, result| checked(Arc::clone(&check), rehearser, result));
        self.invariants.push(Invariant { name, check });
        self
    }

    /// More settings of the application while it is rehearsed, as TOML.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self
    }
}

fn begun<'a, T: 'static, W>(
    workload: Arc<W>,
    rehearser: &'a Rehearser,
) -> LocalBoxFuture<'a, Result<T, NotSo>>
where
    W: AsyncFn(&Rehearser) -> Result<T, NotSo> + 'static,
{
    Box::pin(async move { workload(rehearser).await })
}

fn checked<'a, T: 'static, C>(
    check: Arc<C>,
    rehearser: &'a Rehearser,
    result: &'a T,
) -> LocalBoxFuture<'a, Result<(), NotSo>>
where
    C: AsyncFn(&Rehearser, &T) -> Result<(), NotSo> + 'static,
{
    Box::pin(async move { check(rehearser, result).await })
}

/// A rehearsal of whatever result, as an application keeps it.
pub(crate) trait AnyRehearsal: Send + Sync {
    fn settings(&self) -> &str;

    /// Runs the workload, brings everything to rest and checks the invariants; gives those that do not hold.
    fn run<'a>(&'a self, rehearser: &'a Rehearser) -> LocalBoxFuture<'a, Vec<Broken>>;
}

impl<T: 'static> AnyRehearsal for Rehearsal<T> {
    fn settings(&self) -> &str {
        &self.settings
    }

    fn run<'a>(&'a self, rehearser: &'a Rehearser) -> LocalBoxFuture<'a, Vec<Broken>> {
        Box::pin(async move {
            let result = (self.workload)(rehearser).await;
            let mut broken = rehearser.come_to_rest().await;
            match result {
                Ok(result) => {
                    for Invariant { name, check } in &self.invariants {
                        if let Err(NotSo(said)) = check(rehearser, &result).await {
                            broken.push(Broken { invariant: (*name).to_owned(), said });
                        }
                    }
                }
                Err(NotSo(said)) => {
                    broken.push(Broken { invariant: "the workload comes to its end".to_owned(), said })
                }
            }
            broken
        })
    }
}

impl App {
    /// How the application is rehearsed: what its command `rehearse` does.
    #[must_use]
    pub fn rehearsal<T: 'static>(mut self, rehearsal: Rehearsal<T>) -> Self {
        self.rehearsal = Some(Arc::new(rehearsal));
        self
    }

    /// Takes something away while the application is rehearsed, to see that it is noticed.
    #[cfg(feature = "defects")]
    #[doc(hidden)]
    #[must_use]
    pub fn broken(mut self, what: &'static str) -> Self {
        self.defect = what;
        self
    }

    /// Rehearses one seed and says what was found. Blocks; not for use inside an async runtime.
    ///
    /// The environment and files are not read: a seed means the same on every machine.
    ///
    /// # Errors
    /// If the application has no rehearsal or does not start.
    pub fn rehearse(&self, seed: u64, profile: Profile) -> Result<Rehearsed, StartError> {
        run::one(self, seed, profile, true)
    }
}

impl<T> fmt::Debug for Rehearsal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariants: Vec<_> = self.invariants.iter().map(|invariant| invariant.name).collect();
        f.debug_struct("Rehearsal").field("invariants", &invariants).finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn AnyRehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rehearsal")
    }
}
