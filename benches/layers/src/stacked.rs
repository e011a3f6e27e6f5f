//! Each tower layer over a service that is ready and answers at once, beside that service alone.
//!
//! A layer's future is boxed and its clock read, as in any tower stack: that is the price of being usable in one. Drystone's own call stack composes the cores.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use drystone_resilience::{
    AdmissionConfig, AdmissionLayer, Balance, BalanceConfig, Balancer, BreakerConfig, BreakerLayer,
    BulkheadLayer, Cloned, CoalesceLayer, DeadlineLayer, FallbackLayer, FlightsConfig, LimitConfig,
    LimitLayer, PanicLayer, RateConfig, RateLayer, RetryConfig, RetryLayer, SeededRandom, Verdict,
};
use http::Request;
use tower::{Service, ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use crate::meter::Group;

/// What every service here answers with.
type Answer = Ready<Result<u32, Infallible>>;

fn answer(n: u32) -> Answer {
    ready(Ok(black_box(n)))
}

pub(crate) fn run(rounds: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without a driver for sockets needs nothing from the machine");
    let mut group = Group::new("layer");
    add(&mut group, &runtime, "the service alone", service_fn(answer));
    let layer = DeadlineLayer::new(Duration::from_secs(2));
    add(&mut group, &runtime, "deadline", layer.layer(service_fn(answer)));
    let layer = BreakerLayer::new(BreakerConfig::default());
    add(&mut group, &runtime, "breaker", layer.layer(service_fn(answer)));
    add(&mut group, &runtime, "bulkhead", BulkheadLayer::new(1024).layer(service_fn(answer)));
    let rate = RateConfig { per_second: 1e9, burst: u32::MAX };
    let layer = RateLayer::new(rate, |request: &u32| request % 1000);
    add(&mut group, &runtime, "rate, 1,000 keys", layer.layer(service_fn(answer)));
    let layer = LimitLayer::new(LimitConfig::default());
    add(&mut group, &runtime, "adaptive limit", layer.layer(service_fn(answer)));
    let layer = AdmissionLayer::new(AdmissionConfig::default(), |request: &u32| request % 1000);
    add(&mut group, &runtime, "admission", layer.layer(service_fn(answer)));
    let judge = |result: &Result<u32, Infallible>| match result {
        Ok(_) => Verdict::Done,
        Err(never) => match *never {},
    };
    let layer = RetryLayer::new(RetryConfig::default(), Cloned(judge));
    add(&mut group, &runtime, "retry", layer.layer(service_fn(answer)));
    let layer = FallbackLayer::new(
        |request: &u32| *request,
        |_: &Infallible| true,
        |_, error| ready(Err::<u32, _>(error)),
    );
    add(&mut group, &runtime, "fallback", layer.layer(service_fn(answer)));
    add(&mut group, &runtime, "panic barrier", PanicLayer::default().layer(service_fn(answer)));
    let layer = CoalesceLayer::new(FlightsConfig::default(), |request: &u32| Some((*request, None)));
    add(&mut group, &runtime, "coalescing, nothing to share", layer.layer(service_fn(answer)));
    let balancer = Balancer::new(BalanceConfig::default(), Arc::new(SeededRandom::new(7)));
    balancer.set(
        (0..3)
            .map(|n| (format!("10.0.0.{n}:7001").into(), service_fn(answer as fn(u32) -> Answer)))
            .collect(),
    );
    add(&mut group, &runtime, "balancing, 3 replicas", Balance::new(balancer));
    grpc(&mut group, &runtime);
    group.run(rounds);
}

/// Adds calls of a service, one after the other, each once it is ready.
fn add<'r, S>(group: &mut Group<'r>, runtime: &'r tokio::runtime::Runtime, name: &'static str, mut service: S)
where
    S: Service<u32> + 'r,
{
    group.batch(name, move |count| {
        runtime.block_on(async {
            for n in 0..count {
                let Ok(ready) = service.ready().await else { continue };
                let _ = black_box(ready.call(black_box(n)).await.is_ok());
            }
        });
    });
}

/// The deadline of an HTTP request, read from its header and written to it.
fn grpc<'r>(group: &mut Group<'r>, runtime: &'r tokio::runtime::Runtime) {
    let inner = service_fn(|request: Request<u32>| answer(*request.body()));
    let layer = DeadlineLayer::grpc(Duration::from_secs(2));
    let mut service = layer.layer(inner);
    group.batch("deadline by grpc-timeout, the request built too", move |count| {
        runtime.block_on(async {
            for n in 0..count {
                let request = Request::builder().header("grpc-timeout", "900m").body(n);
                let request = request.expect("a header of ASCII makes a request");
                let Ok(ready) = service.ready().await else { continue };
                let _ = black_box(ready.call(request).await.is_ok());
            }
        });
    });
}
