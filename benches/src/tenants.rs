//! A thousand tenants on SQLite, a file each: how long it takes to make them and to start with them, what they keep in memory and open, and what an
//! order costs when every order may be another tenant's.

mod orders;
mod resident;
mod shop;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone::store::{Location, Store, StoreConfig};
use drystone::{Context, Principal, TenantId};
use drystone_call::Home;

use crate::prices::{self, MIGRATIONS, MODULE, order_request, said};
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

pub(crate) use resident::print;

/// How many there are.
const TENANTS: usize = 1000;
/// How many work at once.
const WRITERS: usize = 64;
/// How many files the store keeps open: as it comes, and enough for every tenant.
const OPEN_FILES: [usize; 2] = [256, 2000];
/// What is slow and scatters little is done less often than the plan says.
const TIMES: usize = 3;
/// Rounds of orders.
const ROUNDS: usize = 11;

/// Measures everything, one after another.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let plan = &plan.at_most(ROUNDS);
    let data = directory()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Rounds::default();
    let places = OPEN_FILES.map(|limit| data.path().join(limit.to_string()));
    let benches = runtime.block_on(async {
        let mut benches = Vec::new();
        for (place, limit) in places.iter().zip(OPEN_FILES) {
            benches.push(Arc::new(Bench::open(place, limit).await?));
        }
        // On one the first orders make them, on the other they are there before.
        orders::make(&benches[0], &mut rounds).await?;
        orders::create(&benches[1], &mut rounds).await?;
        Ok::<_, Failure>(benches)
    })?;
    runtime.block_on(orders::measure(&benches, plan, &mut rounds))?;
    runtime.block_on(async {
        for bench in &benches {
            bench.store.close().await.map_err(said)?;
        }
        Ok::<_, Failure>(())
    })?;
    drop(benches);
    resident::measure(&places, plan, &mut rounds)?;
    shop::measure(plan, &mut rounds)?;
    Ok(format!(
        "{}\n{}\n\n{}\n{}\n{}",
        orders::table(&rounds),
        plan.said(),
        orders::costs(&rounds),
        resident::table(&rounds),
        shop::table(&rounds)
    ))
}

/// A store with its files at a place.
struct Bench {
    store: Store,
    home: Arc<Home>,
    opened: Duration,
}

impl Bench {
    async fn open(place: &Path, open_files: usize) -> Result<Self, Failure> {
        let home = Home::of_system(MODULE);
        let location = Location::Sqlite { dir: place.to_owned() };
        let mut config = StoreConfig::new(location, MIGRATIONS, Arc::clone(&home));
        config.max_open_files = open_files;
        let store = Store::unopened(MODULE);
        let began = Instant::now();
        store.open(config).await.map_err(said)?;
        Ok(Self { store, home, opened: began.elapsed() })
    }

    /// One order of a tenant.
    async fn order(&self, tenant: usize) -> Result<(), Failure> {
        let tenant = TenantId::new(&name(tenant)).map_err(said)?;
        let principal = Principal::new("user:bench").map_err(said)?;
        let cx = Context::mint(Arc::clone(&self.home), tenant, principal);
        let mut cx = cx.with_timeout(Duration::from_secs(60));
        let req = order_request(self.home.new_id().to_string());
        prices::order(&self.store, &mut cx, req).await.map(drop).map_err(said)
    }
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant:04}")
}
