//! A call to a module in another process: gRPC over mutual TLS on loopback, with the processor time of both sides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_call::{Channel, Context, ContractClient, Home, Principal, Runner, TenantId};
use drystone_transport::{DevAuthority, GATEWAY, RemoteProcess};
use tokio::task::JoinSet;

use crate::api::PricesClient;
use crate::child::{self, Role, Server};
use crate::cpu::Meter;
use crate::prices::{self, MODULE, said};
use crate::recorder::Recorder;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

const TOPOLOGY: &str = "[processes.prices]\nmodules = [\"prices\"]\nlisten = \"127.0.0.1:0\"\n";
/// How many calls are on their way at once.
const IN_FLIGHT: [usize; 2] = [1, 64];

/// Measures with the callee in a process of its own.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let data = directory()?;
    let topology = data.path().join("topology.toml");
    std::fs::write(&topology, TOPOLOGY)?;
    let mut command = child::command(Role::Prices, Recorder::Lean, data.path())?;
    command.args(["run", "--process", MODULE, "--until-stdin-ends", "--topology"]).arg(&topology);
    let server = Server::start(command, data.path(), MODULE)?;
    let identity =
        DevAuthority::open(data.path().join("certs"))?.issue("bench", "main", &[GATEWAY.to_owned()])?;
    let remote = RemoteProcess::new(server.address("internal")?, &identity).module(MODULE)?;
    let channel = Channel::unbound(Some(GATEWAY), GATEWAY);
    channel.bind(Runner::Remote(Arc::clone(&remote) as Arc<_>));
    let client = PricesClient::from_channel(channel);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Rounds::default();
    runtime.block_on(async {
        storm(&client, 64, plan.time / 4).await?;
        for _ in 0..plan.rounds {
            for in_flight in IN_FLIGHT {
                let meter = Meter::start(&[std::process::id(), server.pid()])?;
                let calls = storm(&client, in_flight, plan.time).await?;
                let taken = meter.stop()?;
                let each = |time: Duration| time.as_secs_f64() * 1e6 / calls;
                rounds.add(format!("rate {in_flight}"), calls / taken.wall.as_secs_f64());
                rounds.add(format!("caller {in_flight}"), each(taken.cpu[0]));
                rounds.add(format!("callee {in_flight}"), each(taken.cpu[1]));
            }
        }
        Ok::<(), Failure>(())
    })?;
    let connections = remote.metrics().connections.load(std::sync::atomic::Ordering::Relaxed);
    let mut table = Table::new(&["in flight", "calls/s", "caller's CPU µs", "callee's CPU µs"]);
    for in_flight in IN_FLIGHT {
        let of = |name: &str| format!("{:.1}", rounds.median(&format!("{name} {in_flight}")));
        let rate = format!("{:.0}", rounds.median(&format!("rate {in_flight}")));
        table.row(&in_flight.to_string(), &[rate, of("caller"), of("callee")]);
    }
    Ok(format!("{}\nConnections made: {connections}.\n", table.into_text()))
}

/// Calls over and over with so many at once for a time, and says how many answers came.
async fn storm(client: &PricesClient, in_flight: usize, time: Duration) -> Result<f64, Failure> {
    let until = Instant::now() + time;
    let home = Home::of_system(GATEWAY);
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let client = client.clone();
        let tenant = TenantId::new("demo").map_err(said)?;
        let cx = Context::mint(Arc::clone(&home), tenant, Principal::ANONYMOUS).with_timeout(time * 10);
        callers.spawn(async move {
            let mut answers = 0.0;
            while Instant::now() < until {
                prices::quoted(&client, &cx).await?;
                answers += 1.0;
            }
            Ok::<f64, Failure>(answers)
        });
    }
    let mut answers = 0.0;
    while let Some(called) = callers.join_next().await {
        answers += called??;
    }
    Ok(answers)
}
