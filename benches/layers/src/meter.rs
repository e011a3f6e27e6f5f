//! Takes turns among measurements and prints what they took.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Operations of one batch: about a millisecond, shorter than a turn on the processor.
const BATCH: u32 = 10_000;
/// Batches of one round; the fastest counts, for whatever disturbs a batch can only make it longer.
const BATCHES: u32 = 15;

/// One operation, over and over.
type Batch<'a> = Box<dyn FnMut(u32) + 'a>;

/// Measurements that take turns.
pub(crate) struct Group<'a> {
    name: &'static str,
    members: Vec<(&'static str, Batch<'a>)>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, members: Vec::new() }
    }

    /// Adds an operation, which is told its number.
    pub(crate) fn add(&mut self, name: &'static str, mut operation: impl FnMut(u32) + 'a) {
        self.batch(name, move |count| (0..count).for_each(&mut operation));
    }

    /// Adds what runs an operation so many times.
    pub(crate) fn batch(&mut self, name: &'static str, batch: impl FnMut(u32) + 'a) {
        self.members.push((name, Box::new(batch)));
    }

    /// Runs all of them, so many rounds, and counts their allocations.
    pub(crate) fn run(mut self, rounds: u32) {
        for round in 0..=rounds {
            let mut least = vec![Duration::MAX; self.members.len()];
            for _ in 0..BATCHES {
                for ((_, batch), least) in self.members.iter_mut().zip(&mut least) {
                    let began = Instant::now();
                    batch(BATCH);
                    *least = (*least).min(began.elapsed());
                }
            }
            // The first round warms up.
            for ((name, _), least) in self.members.iter().zip(least).filter(|_| round > 0) {
                println!("{}\t{name}\tns\t{:.2}", self.name, least.as_secs_f64() * 1e9 / f64::from(BATCH));
            }
        }
        for (name, batch) in &mut self.members {
            let counted = allocation_counter::measure(|| batch(BATCH));
            let each = counted.count_total as f64 / f64::from(BATCH);
            println!("{}\t{name}\tallocations\t{each:.3}", self.name);
        }
    }
}

/// Drives a future that is done at its first poll.
///
/// # Panics
/// If it has to wait: it would not be the operation that is measured.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("an operation had to wait"),
    }
}
