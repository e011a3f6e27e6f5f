//! The shop's own binary, all four modules, with one tenant and with a thousand.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::orders::millis;
use super::{TENANTS, TIMES, name};
use crate::child::Server;
use crate::cpu::megabytes;
use crate::http::{Connection, get, post};
use crate::memory;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

const HOW_MANY: [usize; 2] = [1, TENANTS];
/// Time in which what was begun at the start ends.
const IDLE: Duration = Duration::from_secs(1);

/// Makes the tenants in every module and starts the shop several times.
pub(super) fn measure(plan: &Plan, rounds: &mut Rounds) -> Result<(), Failure> {
    let program = memory::program()?;
    let data = directory()?;
    let places = HOW_MANY.map(|tenants| data.path().join(tenants.to_string()));
    for (place, tenants) in places.iter().zip(HOW_MANY) {
        std::fs::create_dir(place)?;
        make(&program, place, tenants)?;
    }
    for _ in 0..plan.rounds.min(TIMES) {
        for (place, tenants) in places.iter().zip(HOW_MANY) {
            let (server, took) = start(&program, place)?;
            rounds.add(format!("{tenants} ready"), millis(took));
            std::thread::sleep(IDLE);
            rounds.add(format!("{tenants} resident"), megabytes(server.pid(), "status", "VmRSS")?);
            rounds.add(format!("{tenants} share"), megabytes(server.pid(), "smaps_rollup", "Pss")?);
            rounds.add(format!("{tenants} descriptors"), descriptors(server.pid())?);
        }
    }
    Ok(())
}

/// Starts the shop and says after how long it served.
fn start(program: &Path, place: &Path) -> Result<(Server, Duration), Failure> {
    // The file of the last process would be taken for this one's.
    let _ = std::fs::remove_file(place.join("run/main.json"));
    let mut command: Command = memory::command(program, place);
    command.env("DRYSTONE__TENANTS__ON_FIRST_USE", "true");
    let began = Instant::now();
    let server = Server::start(command, place, "main")?;
    Ok((server, began.elapsed()))
}

fn descriptors(pid: u32) -> Result<f64, Failure> {
    let count = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(f64::from(u32::try_from(count)?))
}

/// Has every module keep something of every tenant.
fn make(program: &Path, place: &Path, tenants: usize) -> Result<(), Failure> {
    let (server, _) = start(program, place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(&server.address("gateway")?).await?;
        for tenant in 0..tenants {
            let tenant = name(tenant);
            for request in requests(&tenant) {
                connection.exchange(request.as_bytes()).await?;
            }
        }
        Ok::<_, Failure>(())
    })?;
    for module in ["users", "inventory", "orders", "payments"] {
        let files = std::fs::read_dir(place.join("modules").join(module).join("tenants"))?;
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let kept = names.filter(|file| file.starts_with("tenant-") && file.ends_with(".db")).count();
        if kept != tenants {
            return Err(format!("{module} has {kept} of {tenants} tenants").into());
        }
    }
    Ok(())
}

/// One of each module, as a tenant's.
fn requests(tenant: &str) -> [String; 4] {
    let header = format!("drystone-tenant: {tenant}\r\n");
    let with = |request: String| request.replacen("host: bench\r\n", &format!("host: bench\r\n{header}"), 1);
    let charge = format!(
        r#"{{"chargeId":"{tenant}","orderId":"1","amount":{{"currencyCode":"EUR","minorUnits":"1000"}},"cardToken":"tok_visa"}}"#
    );
    [
        with(get("/v1/users")),
        with(get("/v1/items")),
        with(get("/v1/orders?userId=ada")),
        with(post("/v1/charges", &charge, &format!("idempotency-key: \"{tenant}\"\r\n"))),
    ]
}

/// With one tenant and with all.
pub(super) fn table(rounds: &Rounds) -> String {
    let mut table = Table::new(&["the shop, four modules", "1 tenant", "1,000 tenants"]);
    for (text, name, decimals) in [
        ("from start to ready, ms", "ready", 0),
        ("resident, idle, MB", "resident", 1),
        ("proportional share, idle, MB", "share", 1),
        ("file descriptors", "descriptors", 0),
    ] {
        let cells =
            HOW_MANY.map(|tenants| format!("{:.decimals$}", rounds.median(&format!("{tenants} {name}"))));
        table.row(text, &cells);
    }
    table.into_text()
}
