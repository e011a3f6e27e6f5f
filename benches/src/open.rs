//! Open load: requests begin when they are due, whether or not earlier ones were answered, as those of many people do.
//!
//! A closed loop waits for a slow server and so offers less the worse it does, which hides what a caller sees. Here each stream of requests has its rate, and a
//! latency counts from the moment at which the request was *due*, not from when it was sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_resilience::{Random as _, SeededRandom};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::http::{Answer, Connection};
use crate::suites::Failure;

/// How long an answer is waited for.
const LONGEST: Duration = Duration::from_secs(10);

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// In equal steps, so that what is counted in a second does not scatter.
    Even,
    /// Each whenever it likes, as people who know nothing of each other do: a Poisson process, the same in every run.
    Random,
}

/// Requests of one kind.
pub(crate) struct Stream {
    pub(crate) per_second: f64,
    pub(crate) arrivals: Arrivals,
    /// The bytes of the request of this number.
    pub(crate) request: Box<dyn Fn(u64) -> String + Send>,
}

impl Stream {
    /// The same request over and over.
    pub(crate) fn of(per_second: f64, arrivals: Arrivals, request: String) -> Self {
        Self { per_second, arrivals, request: Box::new(move |_| request.clone()) }
    }

    /// The time to the next request, in seconds.
    fn gap(&self, chance: &SeededRandom) -> f64 {
        let gaps = match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Random => -(1.0 - chance.unit()).ln(),
        };
        gaps / self.per_second
    }
}

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The place of its stream.
    pub(crate) stream: usize,
    /// When it was due, since the load began.
    pub(crate) due: Duration,
    /// From then to its answer.
    pub(crate) took: Duration,
    /// The status; 0 where no answer came.
    pub(crate) status: u16,
    /// What the judge of answers said of it.
    pub(crate) marked: bool,
}

/// Marks answers that are of interest.
pub(crate) type Judge = fn(&Answer<'_>) -> bool;

/// A request whose time has come.
struct Due {
    stream: usize,
    since: Duration,
    at: Instant,
    request: String,
}

/// Offers all streams for a time and tells what came of every request.
///
/// One thread of this process sends, and another one waits for the moments: a runtime's timer is too coarse for them.
pub(crate) async fn offer(
    address: &str,
    streams: Vec<Stream>,
    time: Duration,
    judge: Judge,
) -> Result<Vec<Seen>, Failure> {
    let (send, mut due) = mpsc::unbounded_channel();
    let began = Instant::now();
    let pacer = std::thread::spawn(move || pace(&streams, began, time, &send));
    let address: Arc<str> = address.into();
    let (free, mut freed) = mpsc::unbounded_channel();
    let mut idle: Vec<Connection> = Vec::new();
    let (mut senders, mut seen) = (JoinSet::new(), Vec::new());
    while let Some(due) = due.recv().await {
        while let Ok(connection) = freed.try_recv() {
            idle.push(connection);
        }
        senders.spawn(send_one(due, idle.pop(), Arc::clone(&address), free.clone(), judge));
        while let Some(done) = senders.try_join_next() {
            seen.push(done?);
        }
    }
    pacer.join().map_err(|_| "the thread that waits for the moments panicked")?;
    while let Some(done) = senders.join_next().await {
        seen.push(done?);
    }
    Ok(seen)
}

/// Hands out requests when they are due, of all streams in the order of time.
fn pace(streams: &[Stream], began: Instant, time: Duration, send: &mpsc::UnboundedSender<Due>) {
    let chance = SeededRandom::new(7);
    // Streams begin apart, so that they do not come in step.
    let start = |(place, stream): (usize, &Stream)| {
        ((place as f64 + 0.5) / streams.len() as f64 / stream.per_second, 0_u64)
    };
    let mut next: Vec<(f64, u64)> = streams.iter().enumerate().map(start).collect();
    loop {
        let first = (0..next.len()).min_by(|a, b| next[*a].0.total_cmp(&next[*b].0));
        let Some(stream) = first else { return };
        let (seconds, number) = next[stream];
        let since = Duration::from_secs_f64(seconds);
        if since >= time {
            return;
        }
        let at = began + since;
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let request = (streams[stream].request)(number);
        if send.send(Due { stream, since, at, request }).is_err() {
            return;
        }
        next[stream] = (seconds + streams[stream].gap(&chance), number + 1);
    }
}

/// Sends one request on a free connection, or on a new one, and gives the connection back.
async fn send_one(
    due: Due,
    connection: Option<Connection>,
    address: Arc<str>,
    free: mpsc::UnboundedSender<Connection>,
    judge: Judge,
) -> Seen {
    let Due { stream, since, at, request } = due;
    let answer = async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(&address).await?,
        };
        let answer = connection.answer(request.as_bytes()).await?;
        let told = (answer.status, judge(&answer));
        // The receiver is gone once nothing more is sent.
        let _ = free.send(connection);
        Ok::<_, Failure>(told)
    };
    let answer = tokio::time::timeout(LONGEST, answer).await;
    let (status, marked) = answer.ok().and_then(Result::ok).unwrap_or_default();
    Seen { stream, due: since, took: at.elapsed(), status, marked }
}

/// The value below which this share of the latencies lies, in milliseconds; not a number if there are none.
pub(crate) fn quantile<'s>(seen: impl Iterator<Item = &'s Seen>, share: f64) -> f64 {
    let mut took: Vec<Duration> = seen.map(|seen| seen.took).collect();
    took.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let place = (share * took.len() as f64) as usize;
    took.get(place.min(took.len().saturating_sub(1))).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_their_rates_in_the_order_of_time() {
        let of = |rate, arrivals| Stream::of(rate, arrivals, "a".to_owned());
        let streams = [of(1000.0, Arrivals::Even), of(500.0, Arrivals::Even), of(1000.0, Arrivals::Random)];
        let (send, mut due) = mpsc::unbounded_channel();
        pace(&streams, Instant::now(), Duration::from_millis(100), &send);
        drop(send);
        let mut all = Vec::new();
        while let Some(due) = due.blocking_recv() {
            all.push((due.since, due.stream));
        }
        assert!(all.is_sorted(), "{all:?}");
        let count = |stream| all.iter().filter(|(_, known)| *known == stream).count();
        assert_eq!([count(0), count(1)], [100, 50]);
        // A hundred, and three times the square root of it.
        assert!((70..=130).contains(&count(2)), "{}", count(2));
    }

    #[test]
    fn a_quantile_is_a_latency_that_was_seen() {
        let seen: Vec<Seen> = (1..=100)
            .rev()
            .map(|n| Seen {
                stream: 0,
                due: Duration::ZERO,
                took: Duration::from_millis(n),
                status: 200,
                marked: false,
            })
            .collect();
        assert!((quantile(seen.iter(), 0.99) - 100.0).abs() < 1e-9);
        assert!((quantile(seen.iter(), 0.5) - 51.0).abs() < 1e-9);
        assert!(quantile(seen[..0].iter(), 0.5).is_nan());
    }
}
