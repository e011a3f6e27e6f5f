//! Putting a gateway together: what is refused, and who answers what.

use std::convert::Infallible;

use axum::body::Body;
use axum::routing::{get, post};
use axum::{Extension, Router};
use drystone_call::ContractInfo;
use drystone_gateway::{Gateway, GatewayError, Mint, check_listen};
use http::{HeaderMap, Request, Response};
use tower::{ServiceExt as _, service_fn};

use crate::support::{Recorder, builder, contract, library, send};

/// A contract of one method at a route.
fn small(name: &str, route: &str) -> &'static ContractInfo {
    let text = format!(
        "syntax = \"proto3\"; package test.{lower}.v1; import \"google/api/annotations.proto\";
         service {name} {{ rpc Do(DoRequest) returns (DoRequest) {{ option (google.api.http) = {{ {route} }}; }} }}
         message DoRequest {{ string id = 1; }}",
        lower = name.to_lowercase(),
    );
    contract(
        &format!("test/{}.proto", name.to_lowercase()),
        &text,
        &format!("test.{}.v1.{name}", name.to_lowercase()),
    )
}

fn refused(contracts: &[&'static ContractInfo]) -> String {
    let with_all = contracts.iter().fold(builder(), |all, one| all.mount(Recorder::saying(one, "{}")));
    with_all.build().map(|_| ()).unwrap_err().to_string()
}

#[test]
fn two_contracts_on_one_route_are_both_named() {
    let one = small("One", "post: \"/v1/things/{id}:do\" body: \"*\"");
    let two = small("Two", "post: \"/v1/things/*:do\"");
    assert_eq!(
        refused(&[one, two]),
        "/test.one.v1.One/Do and /test.two.v1.Two/Do both claim the route POST /v1/things/*:do; change the path in the \
         (google.api.http) annotation of one of them"
    );
    // Another method, verb or shape is another route.
    for other in
        ["get: \"/v1/things/{id}:do\"", "post: \"/v1/things/{id}\"", "post: \"/v1/things/{id=**}:do\""]
    {
        let other = small("Other", other);
        let both = builder().mount(Recorder::saying(one, "{}")).mount(Recorder::saying(other, "{}"));
        both.build().unwrap();
    }
}

#[test]
fn what_cannot_work_is_refused() {
    assert_eq!(
        refused(&[small("Own", "get: \"/healthz\"")]),
        "/test.own.v1.Own/Do claims /healthz, which the gateway answers itself; choose another path in its (google.api.http) annotation"
    );
    assert_eq!(
        refused(&[library(), library()]),
        "test.library.v1.Library is mounted twice; mount one channel for each contract"
    );
    let broken = ContractInfo {
        package: "x",
        name: "x.Broken",
        methods: &[],
        descriptor_set: b"no",
        descriptor_hash: 0,
    };
    let broken = refused(&[Box::leak(Box::new(broken))]);
    assert!(broken.starts_with("the gateway cannot mount x.Broken: the descriptor set"), "{broken}");
    let known = library();
    let stale =
        ContractInfo { methods: &known.methods[1..], package: known.package, name: known.name, ..*known };
    assert_eq!(
        refused(&[Box::leak(Box::new(stale))]),
        "the gateway cannot mount test.library.v1.Library: its descriptors and its generated code differ at `GetBook`; \
         rebuild the crate of the contract"
    );
    let verb = refused(&[small("Verb", "custom: { kind: \"A B\" path: \"/v1/x\" }")]);
    assert_eq!(
        verb,
        "the gateway cannot mount /test.verb.v1.Verb/Do: `A B` is no HTTP method; correct its (google.api.http) annotation"
    );
    assert!(matches!(Gateway::builder().build(), Err(GatewayError::NoIdentity)));
}

#[test]
fn routes_can_be_listed() {
    let gateway = builder().mount(Recorder::saying(library(), "{}")).build().unwrap();
    let routes: Vec<_> = gateway
        .routes()
        .into_iter()
        .map(|it| format!("{} {} -> {}", it.http_method, it.path, it.method))
        .collect();
    assert_eq!(routes.len(), 13);
    assert_eq!(routes[0], "GET /v1/books -> /test.library.v1.Library/ListBooks");
    assert_eq!(routes[1], "POST /v1/books -> /test.library.v1.Library/CreateBook");
    assert_eq!(routes[12], "GET /v1/{name=shelves/*/books/*} -> /test.library.v1.Library/GetBook");
}

#[tokio::test]
async fn routes_of_modules_stand_beside_the_contracts() {
    let who = |Extension(mint): Extension<Mint>, headers: HeaderMap| async move {
        mint.context(&headers).unwrap().tenant().to_string()
    };
    let gateway = builder()
        .mount(Recorder::saying(library(), "{}"))
        .routes(Router::new().route("/who", get(who)).route("/healthz", get(|| async { "a module" })))
        .routes(Router::new().route("/hook", post(|| async { "hooked" })))
        .routes(Router::new().route("/defect", get(|| async { panic!("a defect") as &str })))
        .build()
        .unwrap();
    assert_eq!(&*send(&gateway, "GET /who", &[("drystone-tenant", "acme")], "").await.body, b"acme");
    assert_eq!(&*send(&gateway, "POST /hook", &[], "").await.body, b"hooked");
    assert_eq!(&*send(&gateway, "GET /healthz", &[], "").await.body, br#"{"status":"ok"}"#);
    assert_eq!(&*send(&gateway, "GET /v1/books/7", &[], "").await.body, b"{}");
    let defect = send(&gateway, "GET /defect", &[], "").await;
    assert_eq!((defect.status.as_u16(), &defect.problem()["reason"]), (500, &"HANDLER_PANICKED".into()));
    let unknown = send(&gateway, "GET /nowhere", &[], "").await;
    assert_eq!((unknown.status.as_u16(), &unknown.problem()["reason"]), (404, &"ROUTE_UNKNOWN".into()));
    let other = send(&gateway, "GET /hook", &[], "").await;
    assert_eq!((other.status.as_u16(), other.header("allow")), (405, Some("POST")));
    assert_eq!(other.problem()["reason"], "METHOD_NOT_ALLOWED");
    let options = send(&gateway, "OPTIONS /hook", &[], "").await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, Some("POST")));
}

#[tokio::test]
async fn grpc_shares_the_port() {
    let grpc = service_fn(|request: Request<Body>| async move {
        Ok::<_, Infallible>(Response::new(format!("gRPC {}", request.uri().path())))
    });
    let gateway = builder().mount(Recorder::saying(library(), "{}")).grpc(grpc).build().unwrap();
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let answer = send(&gateway, "POST /v1/books/special", &[("content-type", kind)], "x").await;
        assert_eq!(&*answer.body, b"gRPC /v1/books/special", "{kind}");
    }
    for kind in ["application/grpc-web", "application/json"] {
        let answer = send(&gateway, "POST /a.B/C", &[("content-type", kind)], "x").await;
        assert_eq!(answer.problem()["reason"], "ROUTE_UNKNOWN", "{kind}");
    }
}

#[tokio::test]
async fn a_gateway_fits_into_an_axum_server() {
    let gateway = builder().mount(Recorder::saying(library(), r#"{"id":"7"}"#)).build().unwrap();
    let host = Router::new().route("/own", get(|| async { "own" })).fallback_service(gateway.into_router());
    for (uri, body) in [("/own", "own"), ("/v1/books/7", r#"{"id":"7"}"#)] {
        let response = host.clone().oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(&*axum::body::to_bytes(response.into_body(), 100).await.unwrap(), body.as_bytes());
    }
}

#[test]
fn development_mode_stays_on_this_machine() {
    for addr in ["127.0.0.1:80", "127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        check_listen(addr.parse().unwrap(), true).unwrap();
    }
    for addr in ["0.0.0.0:80", "[::]:80", "192.168.1.5:80", "[::ffff:10.0.0.1]:80"] {
        assert!(check_listen(addr.parse().unwrap(), true).is_err(), "{addr}");
        check_listen(addr.parse().unwrap(), false).unwrap();
    }
    assert_eq!(
        check_listen("0.0.0.0:8080".parse().unwrap(), true).unwrap_err().to_string(),
        "development mode refuses to listen on 0.0.0.0:8080: every caller may act for every tenant there; \
         listen on 127.0.0.1:8080 or [::1]:8080"
    );
}
