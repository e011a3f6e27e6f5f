//! Reaching the server, or not: who may, how it is told, and that nothing waits for it that need not.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream;
use drystone_call::{Code, Error};
use drystone_events::nats::{NatsBroker, NatsConfig};
use drystone_testkit::Nats;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{broker, events, read, tail};

const STREAM: &str = "DRYSTONE_SHOP_ORDERS";

fn config(url: &str, retention: Duration) -> NatsConfig {
    NatsConfig { url: url.into(), application: "shop".to_owned(), retention }
}

/// The error of a server that cannot be used.
async fn refusal(url: &str) -> Error {
    let error = broker(url).await.writer("orders").tail().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    error
}

#[tokio::test]
async fn a_server_that_is_not_there_stops_no_start_and_is_named_without_its_password() {
    let nats = Nats::start().unwrap();
    nats.kill();
    let broker = broker(&format!("nats://ada:hunter2@{}", nats.address())).await;
    assert!(!broker.is_connected());
    let (writer, mut reader) = (broker.writer("orders"), broker.reader("orders"));
    for error in [writer.tail().await.unwrap_err(), reader.read(1, 1).await.unwrap_err()] {
        assert_eq!(error.code(), Code::Unavailable);
        let text = format!("{error:?} {broker:?}");
        assert!(text.contains(&nats.address()) && text.contains("see that the server runs"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(broker.metrics().unavailable.get() >= 2);
    nats.start_again().unwrap();
    assert_eq!(tail(&writer).await.last, 0);
    assert!(broker.is_connected());
}

#[tokio::test]
async fn a_login_is_taken_from_the_url() {
    let nats = Nats::start_with(r#"authorization { user: ada, password: "p@ss:w/rd" }"#).unwrap();
    let url = |login: &str| format!("nats://{login}@{}", nats.address());
    let good = broker(&url("ada:p%40ss%3Aw%2Frd")).await;
    assert_eq!(tail(&good.writer("orders")).await.last, 0);
    let wrong = refusal(&url("ada:hunter2")).await;
    assert!(wrong.message().contains("uthorization"), "{wrong}");
    assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
    let nats = Nats::start_with("authorization { token: s3cret }").unwrap();
    let good = broker(&format!("nats://s3cret@{}", nats.address())).await;
    assert_eq!(tail(&good.writer("orders")).await.last, 0);
}

/// A certificate for 127.0.0.1, and the authority that signed it.
fn certificates(to: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    std::fs::write(to.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(to.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(to.join("key.pem"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn tls_is_spoken_with_the_authority_and_the_certificate_of_the_url() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(here.path());
    certificates(elsewhere.path());
    let file = |name: &str| here.path().join(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    );
    let nats = Nats::start_with(&tls).unwrap();
    let url = |ca: &Path| {
        let own = format!("&cert={}&key={}", file("cert.pem"), file("key.pem"));
        format!("tls://{}?ca={}{own}", nats.address(), ca.join("ca.pem").display())
    };
    let broker = broker(&url(here.path())).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    assert_eq!(writer.append(0, &events(1..=2)).await.unwrap(), 2);
    assert_eq!(read(&mut broker.reader("orders"), 1, 2).await.1, events(1..=2));
    // A server that another authority vouches for, a client without a certificate, a file that is not there.
    refusal(&url(elsewhere.path())).await;
    refusal(&format!("tls://{}?ca={}", nats.address(), file("ca.pem"))).await;
    refusal(&url(Path::new("/nowhere"))).await;
}

#[tokio::test]
async fn a_server_and_an_account_without_jetstream_are_told_so() {
    let nats = Nats::start_with("jetstream: disabled").unwrap();
    let error = refusal(&nats.url()).await;
    assert!(error.message().contains("has no JetStream, or none for this login"), "{error}");
    let nats = Nats::start_with("accounts { plain { users: [ { user: ada, password: x } ] } }").unwrap();
    let error = refusal(&format!("nats://ada:x@{}", nats.address())).await;
    assert!(error.message().contains("JetStream not enabled for account"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_a_name_or_a_url_is_refused_at_once() {
    for (url, application) in
        [("nats://h", "my shop"), ("nats://h", ""), ("nats://h", "a.b"), ("http://h", "shop")]
    {
        let config =
            NatsConfig { url: url.into(), application: application.to_owned(), retention: Duration::ZERO };
        assert_eq!(
            NatsBroker::connect(config).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{url} {application}"
        );
    }
}

/// What the server says about the stream's settings.
async fn settings(context: &jetstream::Context) -> Value {
    let info: Value = context.request(format!("STREAM.INFO.{STREAM}"), &()).await.unwrap();
    info["config"].clone()
}

#[tokio::test]
async fn a_stream_keeps_an_hour_longer_than_the_outbox_and_what_an_operator_has_set() {
    let nats = Nats::start().unwrap();
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let hours = |hours: u64| json!(hours * 3_600_000_000_000);
    let day = Duration::from_secs(24 * 3600);
    let tail_with = async |retention: Duration| {
        tail(&NatsBroker::connect(config(&nats.url(), retention)).await.unwrap().writer("orders")).await
    };
    let made = tail_with(day).await;
    let is = settings(&context).await;
    assert_eq!(is["subjects"], json!(["shop.events.orders.>"]));
    assert_eq!((&is["max_age"], &is["storage"], &is["discard"]), (&hours(25), &json!("file"), &json!("old")));
    assert_eq!((&is["retention"], &is["duplicate_window"]), (&json!("limits"), &json!(1_000_000_000)));
    // An operator sets a limit of his own.
    let mut changed = is.clone();
    changed["max_bytes"] = json!(1_000_000);
    changed["description"] = json!("ours");
    let _: Value = context.request(format!("STREAM.UPDATE.{STREAM}"), &changed).await.unwrap();
    assert_eq!(tail_with(2 * day).await, made);
    let is = settings(&context).await;
    assert_eq!(
        (&is["max_age"], &is["max_bytes"], &is["description"]),
        (&hours(49), &json!(1_000_000), &json!("ours"))
    );
    // What is kept longer is left so.
    tail_with(day).await;
    assert_eq!(settings(&context).await["max_age"], hours(49));
}

#[tokio::test]
async fn a_stream_of_that_name_for_something_else_is_left_alone() {
    let nats = Nats::start().unwrap();
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let other = json!({ "name": STREAM, "subjects": ["elsewhere.>"] });
    let _: Value = context.request(format!("STREAM.CREATE.{STREAM}"), &other).await.unwrap();
    let error = broker(&nats.url()).await.writer("orders").tail().await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("elsewhere.>") && error.message().contains(STREAM), "{error}");
}
