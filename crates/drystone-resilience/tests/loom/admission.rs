//! Permits and the line in front of them, under every order in which calls come, wait, leave and are shed.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use tokio::time::Instant;

use self::line::Line;
use self::queue::{Arrival, Rules};
use self::waiter::{Verdict, Waiter};
use crate::explore;

#[path = "../../src/admission/line.rs"]
mod line;
#[path = "../../src/admission/queue.rs"]
mod queue;
#[path = "../../src/admission/waiter.rs"]
mod waiter;

const RULES: Rules =
    Rules { target: Duration::from_millis(20), interval: Duration::from_millis(250), length: 8, standing: 8 };

/// What `Admission` does with a line, for calls of one key under a limit of one.
struct Admission {
    line: Line<u8>,
    running: AtomicU32,
    now: Instant,
}

impl Admission {
    fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { line: Line::new(), running: AtomicU32::new(0), now })
    }

    fn give_turns(&self) {
        while let Some(waiter) = self.line.turn(1, self.now) {
            waiter.wake();
        }
    }

    fn give_back(&self) {
        if self.line.give_back() {
            self.give_turns();
        }
    }

    /// Comes; waits if it has to.
    fn enter(&self) -> Option<Arc<Waiter>> {
        if self.line.try_take(1) {
            return None;
        }
        let joined =
            self.line.join(&Arrival { key: &1, weight: 1, now: self.now }, RULES).expect("there is room");
        self.give_turns();
        Some(joined.waiter)
    }

    fn run(&self) {
        assert_eq!(self.running.fetch_add(1, Ordering::AcqRel), 0, "two run at once");
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.give_back();
    }

    /// Comes, and runs when it may.
    fn call(&self) {
        if let Some(waiter) = self.enter() {
            assert_eq!(wait(&waiter), Verdict::Granted);
        }
        self.run();
    }

    fn is_idle(&self) -> bool {
        self.line.running() == 0 && self.line.waiting() == 0 && self.line.try_take(1)
    }
}

/// A thread that sleeps until it is woken; one that nobody wakes is a deadlock, which loom reports.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

fn wait(waiter: &Waiter) -> Verdict {
    let sleeper = Arc::new(Sleeper(Notify::new()));
    let waker = Waker::from(sleeper.clone());
    loop {
        if let Poll::Ready(verdict) = waiter.poll(&Context::from_waker(&waker)) {
            return verdict;
        }
        sleeper.0.wait();
    }
}

#[test]
fn who_waits_is_woken_by_whoever_leaves() {
    let now = Instant::now();
    explore(move || {
        let admission = Admission::new(now);
        let theirs = admission.clone();
        let other = thread::spawn(move || theirs.call());
        admission.call();
        other.join().expect("no panic");
        assert!(admission.is_idle());
    });
}

#[test]
fn a_call_that_is_cancelled_while_it_is_woken_passes_its_permit_on() {
    let now = Instant::now();
    explore(move || {
        let admission = Admission::new(now);
        assert!(admission.line.try_take(1));
        let [cancelled, waiting] = [(); 2].map(|()| admission.enter().expect("the only place is taken"));
        let theirs = admission.clone();
        let leaving = thread::spawn(move || theirs.give_back());
        let _ = cancelled.poll(&Context::from_waker(Waker::noop()));
        if admission.line.expire(&cancelled, now) == Verdict::Granted {
            admission.give_back();
        }
        assert_eq!(wait(&waiting), Verdict::Granted);
        leaving.join().expect("no panic");
        admission.run();
        assert!(admission.is_idle());
    });
}

#[test]
fn nobody_passes_by_the_line() {
    let now = Instant::now();
    explore(move || {
        let admission = Admission::new(now);
        assert!(admission.line.try_take(1));
        let waiting = admission.enter().expect("the only place is taken");
        let theirs = admission.clone();
        let leaving = thread::spawn(move || theirs.give_back());
        assert!(!admission.line.try_take(1), "the permit is the one's that waits");
        leaving.join().expect("no panic");
        assert_eq!(wait(&waiting), Verdict::Granted);
        admission.run();
        assert!(admission.is_idle());
    });
}

#[test]
fn a_call_is_shed_or_granted_never_both_and_never_neither() {
    let now = Instant::now();
    explore(move || {
        let admission = Admission::new(now);
        assert!(admission.line.try_take(1));
        let waiter = admission.enter().expect("the only place is taken");
        let theirs = admission.clone();
        let leaving = thread::spawn(move || theirs.give_back());
        let timed_out = admission.line.expire(&waiter, now);
        leaving.join().expect("no panic");
        assert!(
            matches!(waiter.poll(&Context::from_waker(Waker::noop())), Poll::Ready(verdict) if verdict == timed_out)
        );
        if timed_out == Verdict::Granted {
            admission.run();
        }
        assert!(admission.is_idle());
    });
}
