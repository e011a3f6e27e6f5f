//! Who is asking and under which limits, from headers; and what an answer says about it.

use std::time::Duration;

use drystone_call::Error;
use drystone_gateway::{DevMode, Gateway, GatewayError};

use crate::support::{Recorder, Seen, builder, library, send};

async fn seen(request: &str, headers: &[(&str, &str)]) -> Seen {
    let recorder = Recorder::saying(library(), "{}");
    let gateway = builder().mount(recorder.clone()).build().unwrap();
    let answer = send(&gateway, request, headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    recorder.seen.lock().unwrap()[0].clone()
}

#[tokio::test(start_paused = true)]
async fn callers_name_themselves() {
    let nobody = seen("GET /v1/books/7", &[]).await;
    assert_eq!((&*nobody.tenant, &*nobody.principal, nobody.key), ("demo", "anonymous", None));
    let somebody = seen(
        "GET /v1/books/7",
        &[
            ("drystone-tenant", "acme"),
            ("drystone-principal", "user:ada"),
            ("idempotency-key", "\"a-b\""),
            ("baggage", "region=eu"),
        ],
    )
    .await;
    assert_eq!((&*somebody.tenant, &*somebody.principal), ("acme", "user:ada"));
    assert_eq!((somebody.key.as_deref(), &*somebody.baggage), (Some("a-b"), "region=eu"));
}

#[tokio::test(start_paused = true)]
async fn callers_shorten_the_deadline() {
    for (headers, left) in [
        (&[("request-timeout", "1")][..], 1000),
        (&[("request-timeout", "250ms")], 250),
        (&[("grpc-timeout", "30m")], 30),
        (&[("grpc-timeout", "2S"), ("request-timeout", "1s")], 1000),
    ] {
        assert_eq!(
            seen("GET /v1/books/7", headers).await.time_left,
            Duration::from_millis(left),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn malformed_headers_are_refused() {
    let gateway = builder().mount(Recorder::saying(library(), "{}")).build().unwrap();
    for (name, value, reason) in [
        ("drystone-tenant", "../etc", "TENANT_MALFORMED"),
        ("drystone-tenant", "", "TENANT_MALFORMED"),
        ("drystone-principal", "a b", ""),
        ("idempotency-key", "\"open", "IDEMPOTENCY_KEY_MALFORMED"),
        ("request-timeout", "soon", ""),
        ("request-timeout", "0ms", ""),
        ("grpc-timeout", "5", ""),
        ("baggage", "nonsense", ""),
        ("idempotency-key", "caf\u{e9}", ""),
    ] {
        let answer = send(&gateway, "GET /v1/books/7", &[(name, value)], "").await;
        assert_eq!(answer.status, 400, "{name}: {value}");
        assert_eq!(answer.problem()["reason"].as_str().unwrap_or_default(), reason, "{name}: {value}");
    }
}

#[tokio::test]
async fn traces_go_on_and_are_answered() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let recorder = Recorder::failing(library(), || Error::not_found("no such book"));
    let gateway = builder().mount(recorder.clone()).build().unwrap();
    let answer = send(&gateway, "GET /v1/books/7", &[("traceparent", PARENT)], "").await;
    let trace = recorder.seen.lock().unwrap()[0].trace.clone();
    assert_eq!(answer.header("traceresponse"), Some(&*trace));
    assert_eq!(trace[..36], PARENT[..36]);
    assert_ne!(trace, PARENT, "the gateway is a span of its own");
    // A malformed one begins a new trace.
    let answer = send(&gateway, "GET /v1/books/7", &[("traceparent", "nonsense")], "").await;
    assert!(answer.header("traceresponse").unwrap().starts_with("00-"));
}

#[tokio::test]
async fn contexts_can_be_minted_outside_of_requests() {
    let gateway = builder().build().unwrap();
    let headers = [("drystone-tenant", "acme")].into_iter();
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    assert_eq!(gateway.mint_context(&headers).unwrap().tenant().as_str(), "acme");
    assert_eq!(builder().mint().unwrap().context(&headers).unwrap().tenant().as_str(), "acme");
    assert!(matches!(Gateway::builder().mint(), Err(GatewayError::NoIdentity)));
    let other = DevMode { default_tenant: drystone_call::TenantId::new("shop").unwrap() };
    let gateway = Gateway::builder().development_mode(other).build().unwrap();
    assert_eq!(gateway.mint_context(&http::HeaderMap::new()).unwrap().tenant().as_str(), "shop");
}
