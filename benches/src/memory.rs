//! Memory of the shop, whole and idle, release build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::Server;
use crate::cpu::megabytes;
use crate::http::{Connection, get, post};
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, build_directory, directory};

/// Time in which what was begun ends, so that what is measured is idle.
const IDLE: Duration = Duration::from_secs(2);
/// How often it is started at most: memory does not scatter as time does.
const STARTS: usize = 5;
const ORDER: &str = r#"{"userId":"ada","sku":"tea-assam","quantity":2,"cardToken":"tok_visa"}"#;
/// What is read: the file below `/proc/<pid>/`, the name there, and what it means.
const VALUES: [(&str, &str, &str); 4] = [
    ("status", "VmRSS", "resident"),
    ("smaps_rollup", "Pss", "proportional share"),
    ("status", "RssAnon", "of the resident: its own data"),
    ("status", "RssFile", "of the resident: pages of the program and of files"),
];

/// Starts the shop, orders, and looks at it idle.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let program = program()?;
    let size = std::fs::metadata(&program)?.len();
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds.min(STARTS) {
        let data = directory()?;
        let server = Server::start(command(&program, data.path()), data.path(), "main")?;
        std::thread::sleep(IDLE);
        look(&server, "at start", &mut rounds)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(shop(&server.address("gateway")?, 1))?;
        std::thread::sleep(IDLE);
        look(&server, "after 3 requests", &mut rounds)?;
        runtime.block_on(shop(&server.address("gateway")?, 1000))?;
        std::thread::sleep(IDLE);
        look(&server, "after 3000 requests", &mut rounds)?;
    }
    let when = ["at start", "after 3 requests", "after 3000 requests"];
    let mut table = Table::new(&["MB, idle", when[0], when[1], when[2]]);
    for (_, name, meaning) in VALUES {
        let cells = when.map(|when| format!("{:.1}", rounds.median(&format!("{name} {when}"))));
        table.row(&format!("{name}: {meaning}"), &cells);
    }
    let size = f64::from(u32::try_from(size)?) / 1e6;
    Ok(format!("{}\nThe program's file has {size:.1} MB.\n", table.into_text()))
}

/// The shop's binary.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    let program = build_directory()?.join("shop");
    if program.exists() {
        return Ok(program);
    }
    Err(format!("{} is not there: run `cargo build --release -p shop` first", program.display()).into())
}

/// A command that starts it with its data at a place.
pub(crate) fn command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--until-stdin-ends"]).current_dir(data);
    command.env("DRYSTONE__APP__DATA", data).env("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0");
    command.env("DRYSTONE_LOG", "warn");
    command
}

fn look(server: &Server, when: &str, rounds: &mut Rounds) -> Result<(), Failure> {
    for (file, name, _) in VALUES {
        rounds.add(format!("{name} {when}"), megabytes(server.pid(), file, name)?);
    }
    Ok(())
}

/// Orders, reads the orders, reads the stock, so many times.
async fn shop(address: &str, times: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(address).await?;
    // One order, however often it is sent: stock is left for the next round.
    let order = post("/v1/orders", ORDER, "idempotency-key: \"first\"\r\n");
    for _ in 0..times {
        for request in [order.clone(), get("/v1/orders?userId=ada"), get("/v1/stock/tea-assam")] {
            connection.exchange(request.as_bytes()).await?;
        }
    }
    Ok(())
}
