//! PostgreSQL fails: restarts, backends that end one by one, a full disk, a line that goes dead.

use std::time::Duration;

use drystone_testkit::{Disk, Postgres, ServerSetup, Stop};

use crate::books::{all_are_told, audit, replays};
use crate::line::Line;
use crate::load::Load;
use crate::pool::{is_whole, usable};
use crate::world::{Server, Shop, until};

/// How long after the database is back orders may take to be placed by every writer again. A stale connection costs no more than its call's deadline.
const RESUMED: Duration = Duration::from_secs(20);

/// A server under load.
struct Case {
    server: Server,
    shop: Shop,
    load: Load,
}

impl Case {
    async fn start(setup: ServerSetup) -> Self {
        let server = Server::start(setup).await;
        let shop = Shop::on(&server.database.url).await;
        Self::on(server, shop).await
    }

    async fn on(server: Server, shop: Shop) -> Self {
        let mut load = Load::start(&shop).await;
        load.goes_on(2).await;
        Self { server, shop, load }
    }

    /// Asserts that orders are placed again, soon enough.
    async fn resumes(&mut self, after: &str) {
        let took = self.load.goes_on(2).await;
        println!("{after}: placed and read again by all after {took:?}");
        assert!(took < RESUMED, "{after}: {took:?}");
    }

    /// Asserts that nothing is lost, doubled or left behind.
    async fn ends_well(self) {
        let users = self.shop.users().await;
        let placed = self.load.stop().await;
        audit(&self.shop.http, &placed).await.unwrap_or_else(|error| panic!("{error}"));
        replays(&self.shop.http, &placed, &users).await;
        all_are_told(&self.shop.http, &placed).await;
        is_whole(&self.shop, &self.server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_restarted_under_load() {
    let mut case = Case::start(ServerSetup::durable()).await;
    for round in 1..=3 {
        for how in [Stop::Fast, Stop::Immediate] {
            case.server.does(|postgres| postgres.restart(how));
            case.resumes(&format!("restart {round}, {how:?}")).await;
        }
    }
    case.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_its_backends_one_by_one() {
    let mut case = Case::start(ServerSetup::durable()).await;
    let mut ended = 0;
    for backend in case.server.does(|postgres| postgres.backends(&case.server.database)) {
        ended += usize::from(case.server.does(|postgres| postgres.terminate(&case.server.database, backend)));
        case.load.goes_on(0).await;
    }
    println!("{ended} connections ended");
    assert!(ended > 4, "{ended}");
    case.resumes("every connection ended").await;
    for round in 1..=2 {
        let before = case.server.does(Postgres::pid);
        let backend = case.server.does(|postgres| postgres.backends(&case.server.database))[0];
        kill(backend);
        // The server ends every other backend and recovers from its log; its first process stays.
        case.resumes(&format!("backend killed, {round}")).await;
        assert_eq!(case.server.does(Postgres::pid), before);
    }
    let recovered = case.server.postgres.log().matches("database system was not properly shut down").count();
    assert_eq!(recovered, 2, "{}", case.server.postgres.log());
    case.ends_well().await;
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.expect("the kill command").success(), "kill -9 {pid}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_has_no_space_for_its_tables() {
    let disk = Disk::new().expect("a C compiler");
    let mut case = Case::start(ServerSetup::durable().on(&disk)).await;
    for round in 1..=2 {
        disk.fill("/base/").expect("a plan");
        let said = case.load.meets(503, "UNAVAILABLE").await;
        assert!(said.contains("disk is full; free space on it"), "{said}");
        // What needs no space goes on.
        let reads = case.load.reads();
        until("reads go on", async || case.load.reads() > reads + 10).await;
        assert!(disk.refused() > 0);
        disk.heal().expect("no plan");
        case.resumes(&format!("space for tables again, {round}")).await;
    }
    case.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_has_no_space_for_its_log() {
    let disk = Disk::new().expect("a C compiler");
    // Small segments, each a new file.
    let setup = ServerSetup::durable().settings("-c wal_recycle=off -c min_wal_size=2MB -c max_wal_size=4MB");
    let mut case = Case::start(setup.init("--wal-segsize=1").on(&disk)).await;
    for round in 1..=2 {
        disk.fill("/pg_wal/").expect("a plan");
        // The server cannot go on without its log: it ends itself, and cannot recover either while there is no space.
        until("the server is gone", async || {
            // Begins a new segment, sooner than the load does; the server may be on its way out.
            let _ = case.server.postgres.query(&case.server.database, "select pg_switch_wal()");
            !case.server.postgres.is_running()
        })
        .await;
        case.load.meets(503, "UNAVAILABLE").await;
        disk.heal().expect("no plan");
        // What its operator does.
        case.server.does(Postgres::start_again);
        case.resumes(&format!("space for the log again, {round}")).await;
    }
    assert!(case.server.postgres.log().contains("PANIC:  could not write to file \"pg_wal"));
    case.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_to_postgres_goes_dead() {
    let server = Server::start(ServerSetup::durable()).await;
    let line = Line::to(&server.database).await;
    let shop = Shop::on(line.url()).await;
    let mut case = Case::on(server, shop).await;
    for round in 1..=2 {
        let opened = line.accepted();
        line.dies();
        case.resumes(&format!("new connections over a dead line, {round}")).await;
        assert!(line.accepted() > opened, "nobody noticed");
    }
    line.buries();
    case.ends_well().await;
}

/// What this suite is worth: a server that acknowledges before it writes loses orders in a crash, and the audit says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_would_show_a_lost_order() {
    let hasty = "-c synchronous_commit=off -c wal_writer_delay=10s -c wal_writer_flush_after=1GB";
    let mut case = Case::start(ServerSetup::durable().settings(hasty)).await;
    case.load.goes_on(2).await;
    let placed = case.load.stop().await;
    audit(&case.shop.http, &placed).await.expect("before the crash all is well");
    case.server.does(|postgres| postgres.restart(Stop::Immediate));
    until("the shop is ready", async || case.shop.http.get("/readyz").await.status == 200).await;
    let lost = audit(&case.shop.http, &placed).await.expect_err("the log was not written");
    assert!(lost.contains("was acknowledged"), "{lost}");
}

/// What this suite is worth: connections that are missing from the pool are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_would_show_a_pool_that_is_not_whole() {
    let server = Server::start(ServerSetup::durable()).await;
    let shop = Shop::on(&server.database.url).await;
    is_whole(&shop, &server).await;
    let role = server.query("select rolname from pg_roles where rolname like '%\\_orders'").join("");
    server.query(&format!("alter role \"{role}\" connection limit 4"));
    server.does(|postgres| postgres.restart(Stop::Fast));
    until("the shop is ready", async || shop.http.get("/readyz").await.status == 200).await;
    assert!(usable(&shop, &server).await <= 4);
}
