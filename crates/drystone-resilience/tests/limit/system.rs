//! A callee and those who call it, in simulated time: what the limit is tried on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use drystone_resilience::{AdaptiveLimit, LimitConfig, LimitSlot, Random as _, SeededRandom};
use tokio::time::Instant;

/// How the callee works.
pub(crate) enum Work {
    /// So many at once, each for `seconds`; the others wait for their turn.
    Workers { count: usize, seconds: f64, spread: Spread },
    /// One processor on which all take turns, each needing it for `seconds`.
    Shared { seconds: f64 },
    /// All that have gathered share one commit, which takes `fixed` seconds and `each` for every one of them.
    Commit { fixed: f64, each: f64 },
}

/// A turn on a processor that is shared, in seconds.
const TURN: f64 = 1e-4;

/// How service times vary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spread {
    None,
    Exponential,
    /// One of ten has next to nothing to do.
    Tenth,
}

/// A callee under load.
pub(crate) struct System {
    pub(crate) seed: u64,
    pub(crate) config: LimitConfig,
    pub(crate) work: Work,
    /// Calls a second; beyond the limit they are refused.
    pub(crate) offered: f64,
    /// By how much longer everything takes.
    pub(crate) slower: fn(f64) -> f64,
    /// When nothing moves.
    pub(crate) hangs: Range<f64>,
}

impl System {
    /// A callee offered `offered` calls a second, under the default bounds but a minimum of one.
    pub(crate) fn new(seed: u64, work: Work, offered: f64) -> Self {
        let config = LimitConfig { min: 1, ..LimitConfig::default() };
        Self { seed, config, work, offered, slower: |_| 1.0, hangs: 0.0..0.0 }
    }
}

/// What was seen: one entry for every 100 ms.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) limits: Vec<u32>,
    pub(crate) ended: Vec<u32>,
}

impl Seen {
    /// The mean limit in a range of seconds.
    pub(crate) fn limit(&self, seconds: Range<usize>) -> f64 {
        mean(&self.limits[seconds.start * 10..seconds.end * 10])
    }

    /// The calls that ended a second, in a range of seconds.
    pub(crate) fn rate(&self, seconds: Range<usize>) -> f64 {
        10.0 * mean(&self.ended[seconds.start * 10..seconds.end * 10])
    }
}

fn mean(values: &[u32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
}

enum Event {
    Arrives,
    Ends(Vec<u64>),
    /// A call had its turn on the processor.
    Turned(u64),
    Tick,
}

struct Running<'a> {
    system: &'a System,
    limit: &'a AdaptiveLimit,
    random: SeededRandom,
    origin: Instant,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    slots: BTreeMap<u64, (u64, LimitSlot<'a>)>,
    waiting: VecDeque<u64>,
    /// How much of a processor's time each had that shares it.
    had: BTreeMap<u64, f64>,
    busy: usize,
    seen: Seen,
    ended: u32,
}

/// Runs the system for so many seconds.
pub(crate) fn run(system: &System, seconds: u32) -> Seen {
    let limit = AdaptiveLimit::new(system.config);
    let mut running = Running {
        system,
        limit: &limit,
        random: SeededRandom::new(system.seed),
        origin: Instant::now(),
        events: BinaryHeap::new(),
        what: BTreeMap::new(),
        numbers: 0,
        slots: BTreeMap::new(),
        waiting: VecDeque::new(),
        had: BTreeMap::new(),
        busy: 0,
        seen: Seen::default(),
        ended: 0,
    };
    running.at(0.0, Event::Arrives);
    running.at(0.1, Event::Tick);
    while let Some(Reverse(id)) = running.events.pop() {
        if id.0 > u64::from(seconds) * 1_000_000_000 {
            break;
        }
        let event = running.what.remove(&id).expect("each event is in both");
        running.handle(id.0, event);
    }
    running.seen
}

impl Running<'_> {
    fn at(&mut self, seconds: f64, event: Event) {
        self.numbers += 1;
        let id = ((seconds * 1e9) as u64, self.numbers);
        self.events.push(Reverse(id));
        self.what.insert(id, event);
    }

    fn handle(&mut self, nanos: u64, event: Event) {
        let now = nanos as f64 / 1e9;
        match event {
            Event::Arrives => {
                if let Some(slot) = self.limit.enter(self.origin + Duration::from_nanos(nanos)) {
                    self.numbers += 1;
                    self.slots.insert(self.numbers, (nanos, slot));
                    self.waiting.push_back(self.numbers);
                    self.start(now);
                }
                let gap = self.exponential() / self.system.offered;
                self.at(now + gap, Event::Arrives);
            }
            Event::Ends(calls) => {
                self.busy -= 1;
                let at = self.origin + Duration::from_nanos(nanos);
                for call in calls {
                    let (since, slot) = self.slots.remove(&call).expect("a call ends once");
                    slot.done(Duration::from_nanos(nanos - since), at);
                    self.ended += 1;
                }
                self.start(now);
            }
            Event::Turned(call) => {
                let Work::Shared { seconds } = self.system.work else { return };
                let had = self.had.get(&call).copied().unwrap_or_default() + TURN;
                if had >= seconds {
                    self.had.remove(&call);
                    return self.handle(nanos, Event::Ends(vec![call]));
                }
                self.had.insert(call, had);
                self.waiting.push_back(call);
                self.busy -= 1;
                self.start(now);
            }
            Event::Tick => {
                self.seen.limits.push(self.limit.limit());
                self.seen.ended.push(std::mem::take(&mut self.ended));
                self.at(now + 0.1, Event::Tick);
            }
        }
    }

    fn start(&mut self, now: f64) {
        match self.system.work {
            Work::Workers { count, seconds, spread } => {
                while self.busy < count && !self.waiting.is_empty() {
                    let factor = match spread {
                        Spread::None => 1.0,
                        Spread::Exponential => self.exponential(),
                        Spread::Tenth => [1.0, 1e-4][usize::from(self.random.unit() < 0.1)],
                    };
                    let call = self.waiting.pop_front().into_iter().collect();
                    self.begin(now, seconds * factor, call);
                }
            }
            Work::Shared { .. } => {
                if self.busy == 0
                    && let Some(call) = self.waiting.pop_front()
                {
                    self.busy += 1;
                    self.at(now + TURN, Event::Turned(call));
                }
            }
            Work::Commit { fixed, each } => {
                if self.busy == 0 && !self.waiting.is_empty() {
                    let calls: Vec<u64> = self.waiting.drain(..).collect();
                    self.begin(now, fixed + each * calls.len() as f64, calls);
                }
            }
        }
    }

    fn begin(&mut self, now: f64, lasts: f64, calls: Vec<u64>) {
        self.busy += 1;
        let mut end = now + lasts * (self.system.slower)(now);
        let hangs = &self.system.hangs;
        if now < hangs.end && end > hangs.start {
            end += hangs.end - hangs.start.max(now);
        }
        self.at(end, Event::Ends(calls));
    }

    fn exponential(&self) -> f64 {
        -(1.0 - self.random.unit()).ln()
    }
}
