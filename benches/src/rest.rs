//! REST to module to REST through the gateway, beside a bare axum route doing the same work: processor time a request.

use std::time::Duration;

use crate::child::{self, Role, Server};
use crate::cpu::Meter;
use crate::http;
use crate::recorder::Recorder;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

const CONNECTIONS: usize = 32;
const BODY: &str = r#"{"sku":"tea-assam","quantity":3,"currencyCode":"EUR"}"#;
const ANSWER: &[u8] =
    br#"{"sku":"tea-assam","quantity":3,"total":{"currencyCode":"EUR","minorUnits":"1485"},"available":true}"#;

/// The requests by name.
pub(crate) fn requests() -> [(&'static str, String); 2] {
    [
        ("POST, JSON body", http::post("/v1/quotes", BODY, "")),
        ("GET, path and query", http::get("/v1/quotes/tea-assam?quantity=3&currencyCode=EUR")),
    ]
}

const BARE: &str = "bare axum";

/// Measures the gateway under every recorder and the bare route.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let data = directory()?;
    let bare = data.path().join("bare");
    let mut servers = vec![(BARE.to_owned(), {
        Server::start(child::command(Role::Bare, Recorder::Off, &bare)?, &bare, "bare")?
    })];
    for recorder in Recorder::ALL {
        servers.push((
            format!("gateway, {}", recorder.name()),
            platform(recorder, &data.path().join(recorder.name()))?,
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rounds = Rounds::default();
    // The first round warms up and is not kept.
    for round in 0..=plan.rounds {
        for (kind, request) in requests() {
            for (name, server) in &servers {
                let time = if round == 0 { plan.time / 4 } else { plan.time };
                let meter = Meter::start(&[server.pid()])?;
                let answers = runtime.block_on(send(server, &request, time))?;
                let taken = meter.stop()?;
                if round > 0 {
                    rounds.add(format!("rate {kind} {name}"), answers / taken.wall.as_secs_f64());
                    rounds.add(format!("cpu {kind} {name}"), taken.cpu[0].as_secs_f64() * 1e6 / answers);
                }
            }
        }
    }
    let mut table = Table::new(&["request and server", "requests/s", "server's CPU µs", "CPU beside bare"]);
    for (kind, _) in requests() {
        for (name, _) in &servers {
            let cpu = format!("cpu {kind} {name}");
            let cells = [
                format!("{:.0}", rounds.median(&format!("rate {kind} {name}"))),
                format!("{:.1}", rounds.median(&cpu)),
                format!("{:.2}", rounds.ratio(&cpu, &format!("cpu {kind} {BARE}"))),
            ];
            table.row(&format!("{kind}: {name}"), &cells);
        }
    }
    Ok(table.into_text())
}

/// The platform's server, as its own command line starts it.
pub(crate) fn platform(recorder: Recorder, data: &std::path::Path) -> Result<Server, Failure> {
    let mut command = child::command(Role::Prices, recorder, data)?;
    command.args(["run", "--until-stdin-ends"]);
    command.env("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0").env("DRYSTONE_LOG", "off");
    Server::start(command, data, "main")
}

async fn send(server: &Server, request: &str, time: Duration) -> Result<f64, Failure> {
    let answers = http::storm(&server.address("gateway")?, CONNECTIONS, request, Some(ANSWER), time).await?;
    Ok(u32::try_from(answers)?.into())
}

/// Sends the POST for a time, for a profiler that looks at the server.
pub(crate) fn load(server: &Server, time: Duration) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let [(_, post), _] = requests();
    runtime.block_on(send(server, &post, time))
}
