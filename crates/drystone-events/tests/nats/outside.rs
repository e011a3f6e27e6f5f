//! Producers and consumers outside the application, in another language: Python's own client of NATS and its own SDK of CloudEvents.

use drystone_events::Data;
use drystone_events::nats::Arrival;
use drystone_testkit::Nats;
use serde_json::{Value, json};

use super::python::Python;
use super::{broker, events, some, tail};

const SCRIPT: &str = "tests/nats/outside.py";

#[tokio::test]
async fn what_python_publishes_is_read_in_each_form() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let mut reader = broker.outside_reader();
    // Makes the stream; nobody publishes into nothing.
    while reader.read(1, 1).await.is_err() {}
    Python::ready().run(&[SCRIPT, "publish", &nats.url()], "");
    let mut arrivals = Vec::new();
    while arrivals.len() < 5 {
        arrivals.extend(some(&mut reader, arrivals.len() as u64 + 1, 10).await.messages);
    }
    // Structured, in parts, and as a bare document; then one without a time, and one that says to be a module.
    for (number, arrival) in &arrivals[..3] {
        let Arrival::Event(event) = arrival else { panic!("{number}: {arrival:?}") };
        assert_eq!(event.source, "https://erp.example.com/billing");
        assert_eq!(event.event_type, "erp.billing.v1.Invoiced");
        assert_eq!((event.tenant.as_str(), event.key.as_str()), ("acme", "Straße 7"));
        assert_eq!(event.time, 1_795_346_400_123_456);
        let Data::Json(data) = &event.data else { panic!("{event:?}") };
        assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), json!({ "amount": "12.50" }));
        let Arrival::Event(first) = &arrivals[0].1 else { panic!() };
        assert_eq!(event.id, first.id, "the same source and id are the same event");
    }
    let (4, Arrival::Event(untimed)) = &arrivals[3] else { panic!("{arrivals:?}") };
    assert!(untimed.time > 1_700_000_000_000_000, "the server's time stands in: {untimed:?}");
    let (5, Arrival::Malformed(forged)) = &arrivals[4] else { panic!("{arrivals:?}") };
    assert_eq!(forged.why.attribute, "source");
}

#[tokio::test]
async fn what_is_published_here_is_read_by_python() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    let mut batch = events(1..=3);
    batch[1].key = "Straße 100% \"7\"".to_owned();
    batch[2].data = Data::Json(b"{\"amount\": 5}"[..].into());
    writer.append(0, &batch).await.unwrap();
    let said = Python::ready().run(&[SCRIPT, "read", &nats.url(), "shop.events.orders.acme.>", "3"], "");
    let read: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (event, read) in batch.iter().zip(&read) {
        assert_eq!(read["subject"], "shop.events.orders.acme.shop.orders.v1.OrderPlaced");
        assert_eq!(read["id"], event.id.to_string());
        assert_eq!(read["source"], "/shop/orders");
        assert_eq!(read["type"], event.event_type);
        assert_eq!(read["tenantid"], "acme");
        assert_eq!(read["partitionkey"], event.key);
        assert_eq!(read["sequence"], format!("{:020}", event.seq));
        assert_eq!(read["time"], "2026-11-22T11:20:00.123456+00:00");
    }
    assert_eq!((&read[0]["data"], &read[1]["data"]), (&json!("event 1"), &json!("event 2")));
    assert_eq!(
        (&read[2]["data"], &read[2]["datacontenttype"]),
        (&json!({ "amount": 5 }), &json!("application/json"))
    );
}
