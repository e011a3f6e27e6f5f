//! The module of the suite `overload`: a method that costs a millisecond of processor and holds one of four places for another.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone::prelude::*;
use tokio::sync::Semaphore;

use api::{DoRequest, DoResponse, Work, WorkServer};

mod api {
    //! The contract, generated.

    #![expect(dead_code, unreachable_pub, reason = "generated code is whole, whatever is used of it")]

    drystone_call::include_contract!("bench.work.v1");
}

/// The variable that says how many turns of the wheel are a millisecond of processor here.
pub(crate) const TURNS: &str = "DRYSTONE_BENCH_TURNS";
/// How many calls hold a place at once, as connections of a pool do.
const PLACES: usize = 4;
/// For how long each holds one.
const HELD: Duration = Duration::from_millis(1);
/// Turns without giving others their turn: well below a millisecond, as a handler should.
const STRETCH: u64 = 50_000;

struct WorkService {
    places: Arc<Semaphore>,
    turns: u64,
}

impl Work for WorkService {
    async fn r#do(&self, _: &mut Context, req: DoRequest) -> Result<DoResponse> {
        let (mut sum, mut left) = (req.seed, self.turns);
        while left > 0 {
            let stretch = left.min(STRETCH);
            sum = turn(sum, stretch);
            left -= stretch;
            tokio::task::yield_now().await;
        }
        let place = self.places.acquire().await;
        tokio::time::sleep(HELD).await;
        drop(place);
        Ok(DoResponse { sum })
    }
}

/// Work for the processor alone: each step needs the one before.
fn turn(seed: u64, turns: u64) -> u64 {
    (0..turns).fold(seed | 1, |sum, n| (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

/// How many turns take a millisecond when nothing disturbs: the fastest of many tries.
pub(crate) fn turns_of_a_millisecond() -> u64 {
    const TRY: u64 = 100_000;
    let fastest = (0..200).map(|seed| {
        let began = Instant::now();
        std::hint::black_box(turn(std::hint::black_box(seed), TRY));
        began.elapsed()
    });
    let fastest = fastest.min().unwrap_or_default().as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred thousand")]
    let turns = (TRY as f64 / fastest * 1e-3) as u64;
    turns
}

/// The application, with its data below `data`.
pub(crate) fn app(data: &Path) -> App {
    let module = Module::new("work").wire(|w| {
        let turns = std::env::var(TURNS).ok().and_then(|turns| turns.parse().ok()).unwrap_or_default();
        w.serve(WorkServer::new(WorkService { places: Arc::new(Semaphore::new(PLACES)), turns }));
    });
    App::new("bench").module(module).settings(&format!(
        "[app]\ndata = {:?}\n[tenants]\ncreate = [\"demo\", \"acme\"]\n",
        data.display().to_string()
    ))
}
