//! Who is refused, and what they are told.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use drystone_call::{Code, Error, PlatformReason};
use drystone_transport::{EdgeSet, GATEWAY, ProcessIdentity, RemoteProcess};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::{ECHO, World, assert_unreachable, channel, context, once, orders_may_echo, request, say};

/// Calls as a module of a process that hosts `hosted`.
async fn call(hosted: &[&str], from: Option<&str>, edges: EdgeSet) -> Result<String, Error> {
    let world = World::new();
    let server = world.serve(edges).await;
    let remote = RemoteProcess::new(&*server.address, &world.process(hosted)).module("echo").unwrap();
    let reply = say(&channel(from, remote), &context(), request("who")).await;
    let ran = server.service.finished.load(SeqCst);
    assert_eq!(ran, u64::from(reply.is_ok()), "a refused call must not reach its handler");
    reply.map(|reply| reply.text)
}

#[track_caller]
fn assert_refused(outcome: Result<String, Error>, names: &[&str]) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    assert!(error.is(PlatformReason::EdgeNotDeclared), "{error}");
    for name in names {
        assert!(error.message().contains(name), "{error} does not name {name}");
    }
}

#[tokio::test]
async fn a_declared_edge_is_accepted_for_every_hosted_module() {
    let text = call(&["users", "orders"], Some("orders"), orders_may_echo()).await.unwrap();
    assert!(text.starts_with("Some(\"orders\")"), "{text}");
}

#[tokio::test]
async fn an_undeclared_edge_is_refused() {
    let edges = EdgeSet::new().allow("orders", "test.other.v1.Other").allow("users", ECHO);
    assert_refused(call(&["orders"], Some("orders"), edges).await, &["\"orders\"", ECHO, "w.client"]);
}

#[tokio::test]
async fn a_module_that_the_certificate_does_not_name_is_refused() {
    let edges = orders_may_echo().allow("payments", ECHO);
    assert_refused(
        call(&["orders"], Some("payments"), edges).await,
        &["\"payments\"", ECHO, "names only orders"],
    );
}

#[tokio::test]
async fn the_gateway_calls_under_its_own_name() {
    let edges = || EdgeSet::new().allow(GATEWAY, ECHO);
    let text = call(&["orders", GATEWAY], None, edges()).await.unwrap();
    assert!(text.starts_with("None"), "{text}");
    assert_refused(call(&["orders"], None, edges()).await, &["\"gateway\"", "names only orders"]);
    assert_refused(call(&[GATEWAY], None, orders_may_echo()).await, &["\"gateway\"", ECHO]);
}

#[tokio::test]
async fn another_app_of_the_same_authority_is_no_peer() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let other = world.authority.issue("other", "orders", &["orders".to_owned(), "echo".to_owned()]).unwrap();
    let remote = RemoteProcess::new(&*server.address, &other).module("echo").unwrap();
    let error = say(&channel(Some("orders"), remote), &context(), request("who")).await.unwrap_err();
    assert_unreachable(&error, &server.address);
    assert!(error.message().contains("of the app other"), "{error}");
}

#[tokio::test]
async fn a_process_that_does_not_host_the_module_is_not_called() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote =
        RemoteProcess::new(&*server.address, &world.process(&["orders"])).module("payments").unwrap();
    let error = say(&channel(Some("orders"), remote), &context(), request("who")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(
        error.message().contains("module payments") && error.message().contains("certificate"),
        "{error}"
    );
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(server.metrics.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_called() {
    let (ours, theirs) = (World::new(), World::new());
    let server = theirs.serve(orders_may_echo()).await;
    let error = say(&channel(Some("orders"), ours.remote(&server.address)), &context(), request("who")).await;
    let error = error.unwrap_err();
    assert_unreachable(&error, &server.address);
    assert!(error.message().contains("UnknownIssuer"), "{error}");
}

/// An identity of `world` that believes the authority of `believed`.
fn believing(world: &World, believed: &World) -> ProcessIdentity {
    world.process(&["orders"]);
    let process = world.dir.path().join("certs/process");
    let from = |name: &str| process.join(name);
    ProcessIdentity::from_files(&from("orders.pem"), &from("orders.key"), &believed.authority.certificate())
        .unwrap()
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let (ours, theirs) = (World::new(), World::new());
    let server = ours.serve(orders_may_echo()).await;
    let remote = RemoteProcess::new(&*server.address, &believing(&theirs, &ours)).module("echo").unwrap();
    let error = once(&*remote, "who").await.unwrap_err();
    assert_unreachable(&error, &server.address);
    assert!(error.message().contains("UnknownCA"), "{error}");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(server.metrics.refused.load(SeqCst), 1);
    assert_eq!(server.metrics.connections.load(SeqCst), 0);
}

/// Shakes hands, with the certificate and key of these files or with none, and waits for what the server says.
async fn knock(address: &str, authority: &Path, shown: Option<&Path>) -> io::Result<usize> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(path) => {
            let chain = CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("echo.module.drystone.internal").unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.read(&mut [0; 64]).await
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let refused = knock(&server.address, &world.authority.certificate(), None).await.unwrap_err();
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(server.metrics.refused.load(SeqCst), 1);
}

#[tokio::test]
async fn a_client_of_another_app_is_refused() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let process = world.dir.path().join("certs/process");
    world.authority.issue("other", "stranger", &["orders".to_owned()]).unwrap();
    world.authority.issue("shop", "friend", &["orders".to_owned()]).unwrap();
    let knock =
        async |name| knock(&server.address, &world.authority.certificate(), Some(&process.join(name))).await;
    assert!(knock("friend.pem").await.unwrap() > 0, "the server greets a friend with its settings");
    let greeting = knock("stranger.pem").await;
    assert!(matches!(greeting, Ok(0) | Err(_)), "{greeting:?}");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(server.metrics.refused.load(SeqCst), 1);
    assert_eq!(server.metrics.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_client_without_tls_is_refused() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    // A TLS alert, or a reset: in either case the connection ends.
    let _ = stream.read_to_end(&mut said).await;
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert_eq!(server.metrics.refused.load(SeqCst), 1);
}

#[tokio::test]
async fn a_readiness_check_says_whether_a_contract_is_served() {
    let world = World::new();
    let server = world.serve(EdgeSet::new()).await;
    let remote = world.remote(&server.address);
    let second = Duration::from_secs(1);
    remote.check(ECHO, second).await.unwrap();
    let missing = remote.check("test.other.v1.Other", second).await.unwrap_err();
    assert_unreachable(&missing, &server.address);
    assert!(missing.message().contains("test.other.v1.Other"), "{missing}");
    let address = server.address.clone();
    server.kill().await;
    assert_unreachable(&remote.check(ECHO, second).await.unwrap_err(), &address);
}
