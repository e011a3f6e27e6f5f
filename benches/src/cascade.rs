//! Cascade: the shop taken apart, under steady load, while the payments become slow, die, and come back.
//!
//! What must stay where it happens: who needs no payment must not notice. Four real processes on SQLite, arrivals that do not wait for answers. The payments are made slow by
//! a wire between them and their callers, which delivers late what they answer; they die by `kill -9`, while nobody listens at the wire's near end, and come back as a new process.
//! No other process is touched: what recovers does so by itself.

mod plot;
mod watch;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::http::{self, Connection};
use crate::memory::{command, program};
use crate::open::{Arrivals, Seen, Stream, offer, quantile};
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};
use watch::Look;
use wire::{State, Wire};

/// How late the payments answer while they are slow.
const SLOW: Duration = Duration::from_secs(2);
/// The phases, and when each begins and ends, in seconds.
pub(crate) const PHASES: [(&str, u64, u64); 4] =
    [("calm", 0, 10), ("slow", 10, 20), ("dead", 20, 30), ("recovered", 30, 45)];
/// The endpoints and how often each is called in a second. The last three need no payment.
pub(crate) const ENDPOINTS: [(&str, f64); 5] =
    [("place order", 20.0), ("receipt", 20.0), ("order", 120.0), ("stock", 120.0), ("users", 120.0)];
const RECEIPT: usize = 1;
const UNRELATED: std::ops::Range<usize> = 2..5;
/// How long after the first order is placed again some may still be refused: the breaker tries one, then a few.
const SETTLED: Duration = Duration::from_secs(1);
/// How long there is load before it counts.
const WARM: Duration = Duration::from_secs(10);
/// The most runs; the plot shows the one in the middle, by the p99 of who needs no payment.
const RUNS: usize = 5;
/// Orders that are there before the load, to be read.
const PLACED: usize = 40;
/// How a receipt says that the payments were not asked.
const FALLBACK: &[u8] = b"NOT_KNOWN_NOW";

/// What one run saw.
pub(crate) struct Run {
    pub(crate) seen: Vec<Seen>,
    pub(crate) looks: Vec<Look>,
}

impl Run {
    fn of<'r>(&'r self, endpoints: &'r [usize], phase: usize) -> impl Iterator<Item = &'r Seen> + Clone {
        let (_, from, to) = PHASES[phase];
        let during = move |seen: &&Seen| (from..to).contains(&seen.due.as_secs());
        self.seen.iter().filter(move |seen| endpoints.contains(&seen.stream)).filter(during)
    }

    /// The p99 of who needs no payment in the worst phase, beside that when all is well.
    fn worst(&self) -> f64 {
        let p99 = |phase| quantile(self.of(&KNOWN[UNRELATED], phase), 0.99);
        (1..PHASES.len()).map(p99).fold(f64::NAN, f64::max) / p99(0)
    }

    /// When the first order was placed after the payments were back, since the load began.
    fn first_order(&self) -> Option<Duration> {
        let placed = self.of(&KNOWN[..1], 3).filter(|seen| seen.status == 200);
        placed.map(|seen| seen.due + seen.took).min()
    }

    /// Orders that were due a second or more after that and were not placed; each is printed.
    fn refused_late(&self) -> usize {
        let from = self.first_order().map_or(Duration::MAX, |first| first + SETTLED);
        let late = self.of(&KNOWN[..1], 3).filter(|seen| seen.due >= from && seen.status != 200);
        late.inspect(|seen| eprintln!("cascade: an order was not placed after the recovery: {seen:?}"))
            .count()
    }

    /// Attempts a second at the payments, in every second of a phase.
    pub(crate) fn attempts(&self, phase: usize) -> Vec<f64> {
        let (_, from, to) = PHASES[phase];
        watch::attempts(&self.looks, from, to)
    }
}

/// Runs the shop through all phases.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let runs = (plan.rounds / 4).clamp(1, RUNS);
    let mut rounds = Rounds::default();
    let mut all = Vec::new();
    for _ in 0..runs {
        let run = one()?;
        count(&run, &mut rounds);
        all.push(run);
    }
    all.sort_by(|one, other| one.worst().total_cmp(&other.worst()));
    let plot = plot::svg(&all[runs / 2]);
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("plots/cascade.svg"), plot)?;
    Ok(tables(&rounds, runs))
}

/// Adds the numbers of a run.
fn count(run: &Run, rounds: &mut Rounds) {
    for (phase, (name, ..)) in PHASES.iter().enumerate() {
        for (endpoint, (what, _)) in ENDPOINTS.iter().enumerate() {
            let seen = || run.of(std::slice::from_ref(&KNOWN[endpoint]), phase);
            rounds.add(format!("p50 {what} {name}"), quantile(seen(), 0.5));
            rounds.add(format!("p99 {what} {name}"), quantile(seen(), 0.99));
            rounds.add(format!("errors {what} {name}"), share(seen(), |seen| seen.status != 200));
        }
        rounds.add(format!("unrelated {name}"), quantile(run.of(&KNOWN[UNRELATED], phase), 0.99));
        let receipts = run.of(&KNOWN[RECEIPT..=RECEIPT], phase);
        rounds.add(format!("fallback {name}"), share(receipts, |seen| seen.marked));
        let attempts = run.attempts(phase);
        let most = attempts.iter().copied().fold(0.0, f64::max);
        rounds.add(format!("attempts {name}"), attempts.iter().sum::<f64>() / attempts.len() as f64);
        rounds.add(format!("most {name}"), most);
    }
    let (_, back, _) = PHASES[3];
    rounds.add("first order", run.first_order().map_or(f64::NAN, |at| at.as_secs_f64() - back as f64));
    rounds.add("refused late", run.refused_late() as f64);
    let slow = Duration::from_secs(PHASES[1].1);
    let opened = run.looks.iter().find(|look| look.at >= slow && look.breakers[0] == 2);
    rounds.add("opened", opened.map_or(f64::NAN, |look| (look.at - slow).as_secs_f64()));
}

/// The places of the endpoints, to take slices of.
const KNOWN: [usize; ENDPOINTS.len()] = [0, 1, 2, 3, 4];

fn share<'s>(seen: impl Iterator<Item = &'s Seen> + Clone, is: fn(&Seen) -> bool) -> f64 {
    let all = seen.clone().count().max(1) as f64;
    seen.filter(|seen| is(seen)).count() as f64 / all
}

fn tables(rounds: &Rounds, runs: usize) -> String {
    let mut columns = vec!["p50 / p99 ms, errors".to_owned()];
    columns.extend(PHASES.map(|(name, from, to)| format!("{name}, {} s", to - from)));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new(&columns);
    for (what, per_second) in ENDPOINTS {
        let cells = PHASES.map(|(name, ..)| {
            let number = |kind: &str| rounds.median(&format!("{kind} {what} {name}"));
            let errors = number("errors") * 100.0;
            format!("{:.1} / {:.1}, {errors:.0} %", number("p50"), number("p99"))
        });
        table.row(&format!("{what}, {per_second}/s"), &cells);
    }
    let row = |table: &mut Table, name: &str, cell: &dyn Fn(&str) -> String| {
        table.row(name, &PHASES.map(|(phase, ..)| cell(phase)));
    };
    row(&mut table, "order, stock and users together: p99 ms", &|phase| {
        format!("{:.1}", rounds.median(&format!("unrelated {phase}")))
    });
    row(&mut table, "the same beside calm", &|phase| {
        format!("{:.2}", rounds.ratio(&format!("unrelated {phase}"), "unrelated calm"))
    });
    row(&mut table, "receipts by fallback", &|phase| {
        format!("{:.0} %", rounds.median(&format!("fallback {phase}")) * 100.0)
    });
    row(&mut table, "attempts/s at the payments, mean / most", &|phase| {
        let number = |kind: &str| rounds.median(&format!("{kind} {phase}"));
        format!("{:.0} / {:.0}", number("attempts"), number("most"))
    });
    row(&mut table, "the most beside the mean when calm", &|phase| {
        format!("{:.2}", rounds.ratio(&format!("most {phase}"), "attempts calm"))
    });
    let (opened, first) = (rounds.median("opened"), rounds.median("first order"));
    let late = rounds.sum("refused late");
    format!(
        "{}\nThe breaker of `Charge` opened {opened:.1} s after the payments became slow; the first order was placed {first:.1} s after they were back, and of those \
         that were due a second after that, {late} were not, in all runs. Otherwise medians of {runs} runs.\n",
        table.into_text()
    )
}

/// The shop, taken apart, with a wire before the payments.
struct Shop {
    data: tempfile::TempDir,
    program: PathBuf,
    listen: SocketAddr,
    wire: Wire,
    payments: Option<Server>,
    others: Vec<Server>,
}

impl Shop {
    fn start() -> Result<Self, Failure> {
        let (data, program) = (directory()?, program()?);
        let (listen, near) = (free_address()?, free_address()?);
        let topology = format!(
            "[processes.inventory]\nmodules = [\"inventory\"]\nlisten = \"{}\"\n\
             [processes.notifications]\nmodules = [\"notifications\"]\nlisten = \"{}\"\n\
             [processes.payments]\nmodules = [\"payments\"]\nlisten = \"{listen}\"\nreach = [\"{near}\"]\n",
            free_address()?,
            free_address()?
        );
        std::fs::write(data.path().join("topology.toml"), topology)?;
        let wire = Wire::lay(near, listen)?;
        let mut shop = Self { data, program, listen, wire, payments: None, others: Vec::new() };
        shop.payments = Some(shop.process("payments")?);
        for name in ["inventory", "notifications", "main"] {
            let process = shop.process(name)?;
            shop.others.push(process);
        }
        Ok(shop)
    }

    fn process(&self, name: &'static str) -> Result<Server, Failure> {
        let mut command = command(&self.program, self.data.path());
        // That the payments cannot be reached is not worth a line each time.
        command.env("DRYSTONE_LOG", "error");
        command.args(["--process", name, "--topology"]).arg(self.data.path().join("topology.toml"));
        // The file of one that was killed is not the new one's.
        let _ = std::fs::remove_file(self.data.path().join(format!("run/{name}.json")));
        Server::start(command, self.data.path(), name)
    }

    fn gateway(&self) -> Result<String, Failure> {
        self.others.last().ok_or("the shop has no main process")?.address("gateway")
    }

    /// Kills the payments; nobody listens where they were.
    fn kill_payments(&mut self) {
        self.wire.set(State::Cut);
        drop(self.payments.take());
    }

    /// A new process for them.
    fn restart_payments(&mut self) -> Result<(), Failure> {
        self.payments = Some(self.process("payments")?);
        while std::net::TcpStream::connect(self.listen).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.wire.set(State::Late(Duration::ZERO));
        Ok(())
    }

    /// Leads the payments through the phases.
    fn lead(mut self, began: Instant) -> Result<Self, Failure> {
        let until = |second: u64| {
            std::thread::sleep(
                (began + Duration::from_secs(second)).saturating_duration_since(Instant::now()),
            );
        };
        until(PHASES[1].1);
        self.wire.set(State::Late(SLOW));
        until(PHASES[2].1);
        self.kill_payments();
        until(PHASES[3].1);
        self.restart_payments()?;
        until(PHASES[3].2);
        Ok(self)
    }
}

/// One run of the load through all phases.
fn one() -> Result<Run, Failure> {
    let shop = Shop::start()?;
    let address = shop.gateway()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let orders: Arc<[String]> = prepare(&address).await?.into();
        let time = Duration::from_secs(PHASES[3].2);
        // Before anything counts: connections, prepared statements, and what the first seconds of a process cost.
        offer(&address, streams("warm", &orders), WARM, marked).await?;
        let began = Instant::now();
        let lead = tokio::task::spawn_blocking(move || shop.lead(began));
        let (seen, looks) = tokio::join!(
            offer(&address, streams("order", &orders), time, marked),
            watch::look(&address, began, time)
        );
        drop(lead.await??);
        Ok(Run { seen: seen?, looks: looks? })
    })
}

fn marked(answer: &http::Answer<'_>) -> bool {
    answer.body.windows(FALLBACK.len()).any(|bytes| bytes == FALLBACK)
}

/// Fills the stock and places orders to read; their ids.
async fn prepare(address: &str) -> Result<Vec<String>, Failure> {
    let mut connection = Connection::open(address).await?;
    let more =
        http::post("/v1/stock/tea-assam:add", r#"{"quantity":100000}"#, "idempotency-key: \"stock\"\r\n");
    connection.exchange(more.as_bytes()).await?;
    let mut ids = Vec::new();
    for number in 0..PLACED {
        let answer = connection.exchange(order("first", number as u64).as_bytes()).await?;
        let order: serde_json::Value = serde_json::from_slice(answer)?;
        ids.push(order["id"].as_str().ok_or_else(|| format!("an order without an id: {order}"))?.to_owned());
    }
    Ok(ids)
}

fn order(kind: &str, number: u64) -> String {
    let body = r#"{"userId":"ada","sku":"tea-assam","quantity":2,"cardToken":"tok_visa"}"#;
    http::post("/v1/orders", body, &format!("idempotency-key: \"{kind}-{number}\"\r\n"))
}

/// The requests of every endpoint, in the order of [`ENDPOINTS`].
fn streams(kind: &'static str, orders: &Arc<[String]>) -> Vec<Stream> {
    let read = |tail: &'static str| {
        let orders = Arc::clone(orders);
        move |number: u64| {
            let place = usize::try_from(number).unwrap_or_default() % orders.len();
            http::get(&format!("/v1/orders/{}{tail}", orders[place]))
        }
    };
    let requests: [Box<dyn Fn(u64) -> String + Send>; ENDPOINTS.len()] = [
        Box::new(move |number| order(kind, number)),
        Box::new(read("/receipt")),
        Box::new(read("")),
        Box::new(|_| http::get("/v1/stock/tea-assam")),
        Box::new(|_| http::get("/v1/users")),
    ];
    ENDPOINTS
        .into_iter()
        .zip(requests)
        .map(|((_, per_second), request)| Stream { per_second, arrivals: Arrivals::Even, request })
        .collect()
}

/// An address of loopback at which nobody listens.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
