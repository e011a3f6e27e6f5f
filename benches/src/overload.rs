//! Overload: more calls than can be done, and a tenant that floods, served by the gateway as it comes.
//!
//! The server and the load are processes on a core each, so that what refusing costs shows at the server and the load does not starve it. Requests come whenever they like, whether or not earlier ones were answered.

use std::time::Duration;

use crate::child::{self, Role, Server};
use crate::http;
use crate::open::{Arrivals, Seen, Stream, offer, quantile};
use crate::recorder::Recorder;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};
use crate::work;

/// How much is offered, beside what can be done.
const OFFERED: [f64; 4] = [0.2, 1.0, 2.0, 5.0];
/// How much the tenant that floods offers, and the other one.
const FLOOD: f64 = 4.5;
const STEADY: f64 = 0.3;
/// Callers that wait for their answers, to find what can be done.
const CALLERS: usize = 16;
/// A load begins while the limit still learns: so much of it is not counted.
const WARM: Duration = Duration::from_secs(4);
/// The core of the server; the load has the other one.
const SERVER_CORE: &str = "1";
const LOAD_CORE: &str = "0";
/// The most rounds: each takes about a minute.
const ROUNDS: usize = 5;
/// The settings of a server that takes every call.
const NO_LIMIT: &str = "[serving]\nlimit = false\n";
/// The variable whose settings are tried instead of the defaults, in TOML.
const SETTINGS: &str = "DRYSTONE_BENCH_SERVING";

/// Measures in a process of its own, which is kept to its core.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let rounds = (plan.rounds / 4).clamp(1, ROUNDS);
    let data = directory()?;
    let mut all = Rounds::default();
    for _ in 0..rounds {
        let command = child::command(Role::Overload, Recorder::Lean, data.path())?;
        let mut command = child::pinned(LOAD_CORE, &command);
        command.env(SECONDS, (plan.time.as_secs_f64() * 4.0).to_string());
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        for line in std::str::from_utf8(&output.stdout)?.lines() {
            let (name, value) = line.rsplit_once(' ').ok_or_else(|| format!("not a measurement: {line}"))?;
            all.add(name, value.parse()?);
        }
    }
    Ok(format!("{}\n{}\n{}", levels(&all), tenants(&all), said(&all, rounds)))
}

/// The variable that says how long each load lasts, without its beginning.
const SECONDS: &str = "DRYSTONE_BENCH_SECONDS";

fn levels(all: &Rounds) -> String {
    let columns = [
        "offered",
        "offered/s",
        "done/s",
        "beside the peak",
        "p50 ms",
        "p99 ms",
        "beside 0.2",
        "refused/s",
        "refused p99 ms",
        "with Retry-After",
    ];
    let mut table = Table::new(&columns);
    for offered in OFFERED {
        let name = |what: &str| format!("{what} {offered}");
        let number = |what: &str| all.median(&name(what));
        let cells = [
            format!("{:.0}", number("offered")),
            format!("{:.0}", number("done")),
            format!("{:.0} %", all.ratio(&name("done"), "peak") * 100.0),
            format!("{:.1}", number("p50")),
            format!("{:.1}", number("p99")),
            format!("{:.1}", all.ratio(&name("p99"), &format!("p99 {}", OFFERED[0]))),
            format!("{:.0}", number("refused")),
            format!("{:.1}", number("refused_p99")),
            format!("{:.0} %", number("told") * 100.0),
        ];
        table.row(&format!("{offered} x capacity"), &cells);
    }
    table.into_text()
}

fn tenants(all: &Rounds) -> String {
    let columns =
        ["a tenant that offers 0.3 x capacity", "offered/s", "done/s", "p50 ms", "p99 ms", "refused"];
    let mut table = Table::new(&columns);
    for (case, name) in [("alone", "alone"), ("flood", "while another offers 4.5 x capacity")] {
        let number = |what: &str| all.median(&format!("{what} {case}"));
        let cells = [
            format!("{:.0}", number("offered")),
            format!("{:.0}", number("done")),
            format!("{:.1}", number("p50")),
            format!("{:.1}", number("p99")),
            format!("{:.1} %", number("refused_share") * 100.0),
        ];
        table.row(name, &cells);
    }
    // Of what it offered, since chance does not offer the same twice.
    let share = |case: &str| all.ratio(&format!("done {case}"), &format!("offered {case}"));
    let lost = (1.0 - share("flood") / share("alone")) * 100.0;
    format!("{}\nThroughput that the flood costs the other tenant: {lost:.1} %.\n", table.into_text())
}

fn said(all: &Rounds, rounds: usize) -> String {
    format!(
        "Medians of {rounds} rounds; each load lasted {:.0} s after {} s of beginning. Capacity, by {CALLERS} callers that wait for their answers: {:.0} calls/s. \
         Server on core {SERVER_CORE}, load on core {LOAD_CORE}. Neither done nor refused, of all loads together: {:.0}.\n",
        all.median("seconds"),
        WARM.as_secs(),
        all.median("capacity"),
        OFFERED.iter().map(|offered| all.median(&format!("failed {offered}"))).sum::<f64>(),
    )
}

/// Measures in this process, one round, and prints a line a number.
pub(crate) fn print(data: &std::path::Path) -> Result<(), Failure> {
    let seconds: f64 = std::env::var(SECONDS)?.parse()?;
    let time = Duration::from_secs_f64(seconds);
    let turns = work::turns_of_a_millisecond();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("seconds {seconds}");
    // Without a limit: what the callers wait for is the work alone.
    let capacity = with_server(data, turns, Some(NO_LIMIT), |address| {
        let request = http::get("/v1/work/7");
        runtime.block_on(async {
            http::storm(&address, CALLERS, &request, None, time / 4).await?;
            Ok(http::storm(&address, CALLERS, &request, None, time).await? as f64 / seconds)
        })
    })?;
    println!("capacity {capacity}");
    let mut peak = capacity;
    for offered in OFFERED {
        let seen = with_server(data, turns, None, |address| {
            let streams = vec![Stream::of(capacity * offered, Arrivals::Random, http::get("/v1/work/7"))];
            runtime.block_on(load(&address, streams, time))
        })?;
        let all: Vec<&Seen> = seen.iter().collect();
        let done = report(&all, &offered.to_string(), seconds);
        peak = peak.max(done);
    }
    println!("peak {peak}");
    for (case, flood) in [("alone", 0.0), ("flood", FLOOD)] {
        let seen = with_server(data, turns, None, |address| {
            let of = |tenant: &str| http::get_with("/v1/work/7", &format!("drystone-tenant: {tenant}\r\n"));
            let mut streams = vec![Stream::of(capacity * STEADY, Arrivals::Random, of("acme"))];
            if flood > 0.0 {
                streams.push(Stream::of(capacity * flood, Arrivals::Random, of("demo")));
            }
            runtime.block_on(load(&address, streams, time))
        })?;
        let steady: Vec<&Seen> = seen.iter().filter(|seen| seen.stream == 0).collect();
        report(&steady, case, seconds);
    }
    Ok(())
}

/// Offers a load and leaves its beginning out.
async fn load(address: &str, streams: Vec<Stream>, time: Duration) -> Result<Vec<Seen>, Failure> {
    let told = |answer: &http::Answer<'_>| answer.header("retry-after").is_some();
    let mut seen = offer(address, streams, WARM + time, told).await?;
    seen.retain(|seen| seen.due >= WARM);
    Ok(seen)
}

/// Prints what came of requests, and tells how many a second were done.
fn report(seen: &[&Seen], case: &str, seconds: f64) -> f64 {
    let of = |status: fn(u16) -> bool| seen.iter().copied().filter(move |seen| status(seen.status));
    let (done, refused) = (|| of(|status| status == 200), || of(|status| status == 503 || status == 429));
    let failed = of(|status| ![200, 503, 429].contains(&status)).count();
    let rate = done().count() as f64 / seconds;
    let refusals = refused().count() as f64;
    let told = refused().filter(|seen| seen.marked).count() as f64;
    println!("offered {case} {}", seen.len() as f64 / seconds);
    println!("done {case} {rate}");
    println!("p50 {case} {}", quantile(done(), 0.5));
    println!("p99 {case} {}", quantile(done(), 0.99));
    println!("refused {case} {}", refusals / seconds);
    println!("refused_share {case} {}", refusals / seen.len() as f64);
    println!("refused_p99 {case} {}", quantile(refused(), 0.99));
    println!("told {case} {}", if refusals > 0.0 { told / refusals } else { 1.0 });
    println!("failed {case} {failed}");
    rate
}

/// A server that has learned nothing yet, on its core, with these settings, or those to be tried, or the defaults.
fn with_server<T>(
    data: &std::path::Path,
    turns: u64,
    settings: Option<&str>,
    work: impl FnOnce(String) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let directory = tempfile::TempDir::new_in(data)?;
    let command = child::command(Role::Work, Recorder::Lean, directory.path())?;
    let mut command = child::pinned(SERVER_CORE, &command);
    command.args(["run", "--until-stdin-ends"]).current_dir(directory.path());
    command.env("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0").env("DRYSTONE_LOG", "off");
    command.env(work::TURNS, turns.to_string());
    let settings = settings.map(str::to_owned).or_else(|| std::env::var(SETTINGS).ok());
    if let Some(settings) = settings {
        std::fs::write(directory.path().join("drystone.toml"), settings)?;
    }
    let server = Server::start(command, directory.path(), "main")?;
    work(server.address("gateway")?)
}
