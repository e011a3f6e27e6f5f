//! A call between modules of one process: direct and encoded, beside the bare call of the same boxed trait.
//!
//! Which subscriber is there is a property of a process, so each recorder is measured in a process of its own.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone::{Context, Running};

use crate::api::{PricesClient, PricesDyn};
use crate::child::{self, Role};
use crate::prices::{self, PricesService, request, said};
use crate::recorder::Recorder;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

/// Calls of one batch: about a millisecond, shorter than a turn on the processor.
const BATCH: u32 = 1000;
/// Batches of each kind that one process measures.
const BATCHES: usize = 300;

const BARE: &str = "bare";
const RUNNERS: [&str; 2] = ["direct", "encoded"];

/// Measures under every recorder.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds {
        for recorder in Recorder::ALL {
            let data = directory()?;
            let output = child::command(Role::Calls, recorder, data.path())?.output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            for line in std::str::from_utf8(&output.stdout)?.lines() {
                let (name, value) =
                    line.split_once(' ').ok_or_else(|| format!("not a measurement: {line}"))?;
                rounds.add(format!("{name} {}", recorder.name()), value.parse()?);
            }
        }
    }
    let mut table = Table::new(&[
        "subscriber",
        "bare ns",
        "direct ns",
        "above bare",
        "allocations",
        "encoded ns",
        "above bare",
        "allocations",
    ]);
    for recorder in Recorder::ALL {
        let name = |kind: &str| format!("{kind} {}", recorder.name());
        let mut cells = vec![format!("{:.0}", rounds.median(&name(BARE)))];
        for runner in RUNNERS {
            cells.push(format!("{:.0}", rounds.median(&name(runner))));
            cells.push(format!("{:.0}", rounds.difference(&name(runner), &name(BARE))));
            let allocations = |kind: &str| name(&format!("{kind}-allocations"));
            // Without the sign that rounding leaves on nothing.
            let more = rounds.difference(&allocations(runner), &allocations(BARE)).round() + 0.0;
            cells.push(format!("+{more:.0}"));
        }
        table.row(recorder.name(), &cells);
    }
    Ok(table.into_text())
}

/// Measures in this process and prints one line a batch: the kind and the nanoseconds a call.
pub(crate) fn print(data: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = runtime.block_on(async {
        let bench = Bench::start(data).await?;
        for batch in 0..BATCHES + 20 {
            let measured = [
                (BARE, bench.bare().await?),
                ("direct", bench.direct().await?),
                ("encoded", bench.encoded().await?),
            ];
            // The first ones warm caches up.
            for (name, took) in measured.into_iter().filter(|_| batch >= 20) {
                println!("{name} {:.1}", took.as_secs_f64() * 1e9 / f64::from(BATCH));
            }
        }
        Ok::<Bench, Failure>(bench)
    })?;
    // Counted apart, so that looking at them is in no time; the counter wants to drive the work itself.
    for (name, kind) in [(BARE, Kind::Bare), ("direct", Kind::Direct), ("encoded", Kind::Encoded)] {
        let mut outcome = Ok(Duration::ZERO);
        let counted = allocation_counter::measure(|| outcome = runtime.block_on(bench.batch(kind)));
        outcome?;
        println!("{name}-allocations {:.3}", counted.count_total as f64 / f64::from(BATCH));
    }
    runtime.block_on(bench.stop());
    Ok(())
}

/// A way to the service.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bare,
    Direct,
    Encoded,
}

/// The three ways to the same service.
pub(crate) struct Bench {
    service: Arc<dyn PricesDyn>,
    direct: (Running, PricesClient, Context),
    encoded: (Running, PricesClient, Context),
}

impl Bench {
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        Ok(Self {
            service: Arc::new(PricesService::without_store()),
            direct: start(data, "direct").await?,
            encoded: start(data, "encoded").await?,
        })
    }

    async fn batch(&self, kind: Kind) -> Result<Duration, Failure> {
        match kind {
            Kind::Bare => self.bare().await,
            Kind::Direct => self.direct().await,
            Kind::Encoded => self.encoded().await,
        }
    }

    async fn bare(&self) -> Result<Duration, Failure> {
        let mut cx = self.direct.0.context("demo", "user:bench").map_err(said)?;
        let began = Instant::now();
        for _ in 0..BATCH {
            let answer = self.service.quote(&mut cx, black_box(request())).await.map_err(said)?;
            prices::right(black_box(&answer))?;
        }
        Ok(began.elapsed())
    }

    pub(crate) async fn direct(&self) -> Result<Duration, Failure> {
        batch(&self.direct.1, &self.direct.2).await
    }

    async fn encoded(&self) -> Result<Duration, Failure> {
        batch(&self.encoded.1, &self.encoded.2).await
    }

    pub(crate) async fn stop(self) {
        self.direct.0.stop().await;
        self.encoded.0.stop().await;
    }
}

async fn start(data: &Path, runner: &str) -> Result<(Running, PricesClient, Context), Failure> {
    let app = prices::app(&data.join(runner)).settings(&format!("[calls]\nrunner = {runner:?}\n"));
    let running = app.start().await?;
    let client = running.client::<PricesClient>().map_err(said)?;
    let cx = running.context("demo", "user:bench").map_err(said)?.with_timeout(Duration::from_secs(3600));
    Ok((running, client, cx))
}

async fn batch(client: &PricesClient, cx: &Context) -> Result<Duration, Failure> {
    let began = Instant::now();
    for _ in 0..BATCH {
        let answer = client.quote(cx, black_box(request())).await.map_err(said)?;
        prices::right(black_box(&answer))?;
    }
    Ok(began.elapsed())
}
