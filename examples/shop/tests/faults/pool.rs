//! The shop's connections after a fault: as many as there may be, all of them of use, none of them holding anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drystone_testkit::Http;

use crate::world::{Server, Shop, until};

/// Connections that work at once, of each module: `StoreConfig::max_connections`.
const POOL: usize = 10;
/// Connections of a module beside those: its keys' and its lease's.
const BESIDE: usize = 2;
/// How long the server may keep a connection that was given up.
const GONE: Duration = Duration::from_secs(30);

/// What the server says of the connections that are at rest: how many each module has, open transactions, advisory locks.
const HELD: &str = "
select 'transaction ' || usename || ' ' || state || ' ' || left(query, 60) from pg_stat_activity
where datname = current_database() and usename <> 'postgres' and (xact_start is not null or state like 'idle in%')
union all select 'lock ' || usename from pg_locks l join pg_stat_activity a using (pid)
where locktype = 'advisory' and datname = current_database()
union all select 'prepared ' || gid from pg_prepared_xacts";

/// Every connection, for people.
const OPEN: &str =
    "select usename, application_name, state, backend_start, state_change, wait_event, left(query, 60)
from pg_stat_activity where datname = current_database() order by usename, backend_start";

/// How many readers of orders wait for a lock.
const WAITING: &str = "select count(*) from pg_stat_activity
where datname = current_database() and usename like '%\\_orders' and wait_event_type = 'Lock'";

/// Asserts that the shop's connections are whole; for when no call runs.
pub(crate) async fn is_whole(shop: &Shop, server: &Server) {
    until("no transaction is open, no lock is held", async || server.query(HELD).is_empty()).await;
    until("the gauges are at zero", async || gauges(&shop.http).await.values().all(|value| *value == 0))
        .await;
    let usable = usable(shop, server).await;
    assert!(usable >= POOL, "only {usable} connections work at once");
    // One that is given up while it is busy is closed by the server a little later.
    let too_many = async || connections(server).values().any(|count| *count > POOL + BESIDE);
    let began = Instant::now();
    while too_many().await {
        assert!(began.elapsed() < GONE, "too many connections: {:?}", server.query(OPEN));
        tokio::task::yield_now().await;
    }
    until("no transaction is open, no lock is held", async || server.query(HELD).is_empty()).await;
}

/// How many connections each module's role has.
fn connections(server: &Server) -> BTreeMap<String, usize> {
    let sql = "select usename || '|' || count(*) from pg_stat_activity \
               where datname = current_database() and usename <> 'postgres' group by usename";
    let rows = server.query(sql);
    let split = |row: &String| {
        let (role, count) = row.split_once('|').expect("two columns");
        (role.to_owned(), count.parse().expect("a number"))
    };
    rows.iter().map(split).collect()
}

/// How many calls the module `orders` can have at the database at once: all who read wait there for a lock until they are counted.
pub(crate) async fn usable(shop: &Shop, server: &Server) -> usize {
    let mut most = 0;
    // A round ends when its calls' deadlines pass, which on a busy machine can be before all of them are at the database.
    for _ in 0..5 {
        let lock = "begin; lock table orders.orders in access exclusive mode";
        let held = server.does(|postgres| postgres.hold(&server.database, lock));
        let calls: Vec<_> = (0..3 * POOL).map(|_| tokio::spawn(list(shop.http.clone()))).collect();
        while most < POOL && !calls.iter().all(tokio::task::JoinHandle::is_finished) {
            most = most.max(server.query(WAITING).join("").parse().expect("a number"));
        }
        drop(held);
        for call in calls {
            let status = call.await.expect("no panic");
            assert!([200, 503, 504].contains(&status), "{status}");
        }
        if most >= POOL {
            break;
        }
    }
    most
}

async fn list(http: Http) -> u16 {
    http.get("/v1/orders?pageSize=1").await.status
}

/// The gauges of what calls hold, over all modules.
pub(crate) async fn gauges(http: &Http) -> BTreeMap<String, u64> {
    let metrics = http.get("/metrics").await.body;
    let names = [
        "drystone_store_open_transactions{",
        "drystone_store_keys_claimed{",
        "drystone_store_writers_waiting{",
    ];
    let read = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let found: BTreeMap<_, _> = metrics
        .lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .filter_map(read)
        .collect();
    assert!(found.len() >= names.len(), "{metrics}");
    found
}
