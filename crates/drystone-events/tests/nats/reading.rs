//! Reading: everything, in order, from any number on, whatever becomes of the server.

use async_nats::jetstream;
use bytes::Bytes;
use drystone_call::Code;
use drystone_events::nats::{AppendFailure, Arrival};
use drystone_events::{Data, Envelope};
use drystone_testkit::{Nats, poll_and_drop};

use super::proxy::Proxy;
use super::{broker, event, events, read, some, tail};

const STREAM: &str = "DRYSTONE_SHOP_ORDERS";

#[tokio::test]
async fn a_log_is_read_from_any_number_on_and_as_much_as_is_asked_for() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let mark = tail(&writer).await.mark;
    writer.append(0, &events(1..=100)).await.unwrap();
    let mut reader = broker.reader("orders");
    assert_eq!(reader.stream(), STREAM);
    for (from, limit) in [(1, 10), (11, 10), (11, 3), (50, 1), (51, 1), (95, 1000), (1, 1)] {
        let batch = some(&mut reader, from, limit).await;
        let numbers: Vec<u64> = batch.messages.iter().map(|(number, _)| *number).collect();
        let last = (from + limit as u64 - 1).min(100);
        assert_eq!(numbers, (from..=last).collect::<Vec<_>>());
        assert_eq!(batch.mark, mark);
    }
    // Number 0 is before the first.
    assert_eq!(read(&mut broker.reader("orders"), 1, 100).await.1, events(1..=100));
    assert_eq!(some(&mut reader, 0, 1).await.messages[0].0, 1);
}

#[tokio::test]
async fn a_read_waits_for_a_first_message_and_gives_up() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    let mut reader = broker.reader("orders");
    let batch = reader.read(1, 10).await.unwrap();
    assert!(batch.messages.is_empty());
    assert_eq!(batch.mark, tail(&writer).await.mark);
    let first = events(1..=1);
    let (batch, appended) = tokio::join!(some(&mut reader, 1, 10), writer.append(0, &first));
    appended.unwrap();
    assert_eq!(batch.messages, [(1, Arrival::Event(event(1)))]);
    // The same consumer as before: what was agreed with the server holds.
    assert_eq!(broker.metrics().attached.get(), 1);
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_nothing() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    writer.append(0, &events(1..=300)).await.unwrap();
    let mut reader = broker.reader("orders");
    let mut next = 1;
    for polls in 0.. {
        // Dropped at each of its awaits in turn, and then done.
        let mut done = None;
        poll_and_drop(async { done = Some(reader.read(next, 50).await) }, polls % 20).await;
        let Some(batch) = done else { continue };
        for (number, arrival) in batch.unwrap().messages {
            assert_eq!((number, arrival), (next, Arrival::Event(event(next))));
            next += 1;
        }
        if next > 300 {
            break;
        }
    }
}

#[tokio::test]
async fn a_reader_goes_on_when_the_server_is_back() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let mark = tail(&writer).await.mark;
    writer.append(0, &events(1..=100)).await.unwrap();
    let mut reader = broker.reader("orders");
    assert_eq!(read(&mut reader, 1, 40).await.1, events(1..=40));
    nats.kill();
    let error = loop {
        // What had been on its way may still be given.
        match reader.read(41, 10).await {
            Ok(batch) => assert!(batch.messages.iter().all(|(number, _)| *number > 40)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::Unavailable);
    nats.start_again().unwrap();
    let (same, rest) = read(&mut reader, 41, 60).await;
    assert_eq!((same, rest), (mark, events(41..=100)));
}

#[tokio::test]
async fn a_stream_that_was_made_anew_has_another_mark() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let mark = tail(&writer).await.mark;
    writer.append(0, &events(1..=10)).await.unwrap();
    let mut reader = broker.reader("orders");
    read(&mut reader, 1, 10).await;
    nats.wipe().unwrap();
    let second = tail(&writer).await.mark;
    writer.append(0, &events(1..=20)).await.unwrap();
    let batch = some(&mut reader, 11, 100).await;
    assert_eq!(batch.mark, second);
    assert_ne!(mark, second);
    // Without the server being away: somebody removes the stream and makes it again.
    let client = async_nats::connect(nats.url()).await.unwrap();
    jetstream::new(client).delete_stream(STREAM).await.unwrap();
    let third = tail(&writer).await.mark;
    writer.append(0, &events(1..=30)).await.unwrap();
    let batch = some(&mut reader, 21, 100).await;
    assert_eq!((batch.mark.as_str(), batch.messages[0].0), (third.as_str(), 21));
    assert_ne!(second, third);
}

/// As after a power failure: what the server had acknowledged and not synced is gone, and the stream is the same.
#[tokio::test]
async fn a_stream_that_lost_its_end_is_the_same_and_shorter() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let mark = tail(&writer).await.mark;
    writer.append(0, &events(1..=10)).await.unwrap();
    let earlier = nats.snapshot().unwrap();
    let after = tail(&writer).await.last;
    writer.append(after, &events(11..=20)).await.unwrap();
    let mut reader = broker.reader("orders");
    assert_eq!(read(&mut reader, 1, 20).await.1, events(1..=20));
    nats.go_back(&earlier).unwrap();
    let shorter = tail(&writer).await;
    assert_eq!((shorter.mark, shorter.last), (mark, 10));
    // A writer that believes in what was acknowledged is refused; one that looked goes on.
    let refused = writer.append(20, &events(21..=21)).await.unwrap_err();
    assert!(matches!(refused.why, AppendFailure::WrongSequence { last: 10 }), "{refused:?}");
    writer.append(10, &events(11..=25)).await.unwrap();
    // A reader that was further is given what is new from the stream's end on: it may know some of that.
    let batch = some(&mut reader, 21, 100).await;
    assert!(batch.messages.first().unwrap().0 <= 21, "{batch:?}");
    assert_eq!(batch.messages.last().unwrap(), &(25, Arrival::Event(event(25))));
}

#[tokio::test]
async fn a_consumer_that_the_server_forgot_is_made_again() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    writer.append(0, &events(1..=100)).await.unwrap();
    let mut reader = broker.reader("orders");
    assert_eq!(read(&mut reader, 1, 10).await.1, events(1..=10));
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let names: serde_json::Value = context.request(format!("CONSUMER.NAMES.{STREAM}"), &()).await.unwrap();
    let name = names["consumers"][0].as_str().unwrap();
    context.delete_consumer_from_stream(name, STREAM).await.unwrap();
    assert_eq!(read(&mut reader, 11, 90).await.1, events(11..=100));
    assert_eq!(broker.metrics().attached.get(), 2);
}

#[tokio::test]
async fn a_message_that_is_lost_on_the_way_is_given_again() {
    let nats = Nats::start().unwrap();
    let proxy = Proxy::to(nats.address()).await;
    let broker = broker(&proxy.url).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    writer.append(0, &events(1..=100)).await.unwrap();
    proxy.lose_given_after(30);
    assert_eq!(read(&mut broker.reader("orders"), 1, 100).await.1, events(1..=100));
    assert!(proxy.has_lost_given());
    assert_eq!(broker.metrics().attached.get(), 2);
}

#[tokio::test]
async fn what_is_no_event_is_given_with_its_bytes_and_stops_nothing() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    writer.append(0, &events(1..=1)).await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = jetstream::new(client);
    let subject = "shop.events.orders.acme.shop.orders.v1.OrderPlaced";
    context.publish(subject, Bytes::from_static(b"garbage")).await.unwrap().await.unwrap();
    // A good event of another module, in this one's stream.
    let mut headers = async_nats::HeaderMap::new();
    let forged = Envelope { source: "users".to_owned(), ..event(3) };
    let binary = drystone_events::cloudevents::Codec::new("shop").to_binary(&forged).unwrap();
    binary.headers.iter().for_each(|(name, value)| headers.insert(*name, value.as_str()));
    context.publish_with_headers(subject, headers, binary.body).await.unwrap().await.unwrap();
    writer.append(3, &events(4..=4)).await.unwrap();
    let mut reader = broker.reader("orders");
    let mut arrivals = Vec::new();
    while arrivals.len() < 4 {
        arrivals.extend(some(&mut reader, arrivals.len() as u64 + 1, 10).await.messages);
    }
    assert_eq!(arrivals[0], (1, Arrival::Event(event(1))));
    assert_eq!(arrivals[3], (4, Arrival::Event(event(4))));
    let (2, Arrival::Malformed(garbage)) = &arrivals[1] else { panic!("{arrivals:?}") };
    assert_eq!((garbage.bytes.as_ref(), garbage.subject.as_str()), (&b"garbage"[..], subject));
    assert_eq!(garbage.why.attribute, "event");
    let (3, Arrival::Malformed(forged)) = &arrivals[2] else { panic!("{arrivals:?}") };
    assert_eq!(forged.why.attribute, "source");
    assert!(
        forged.headers.iter().any(|(name, value)| name == "ce-tenantid" && value == "acme"),
        "{forged:?}"
    );
    assert_eq!(broker.metrics().malformed.get(), 2);
}

#[tokio::test]
async fn many_bytes_come_in_parts_and_one_large_message_comes_too() {
    let nats = Nats::start_with("max_payload: 10MB").unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    let large = |number| Envelope { data: Data::Protobuf(vec![7; 1_000_000].into()), ..event(number) };
    let batch: Vec<_> = (1..=20).map(large).collect();
    writer.append(0, &batch).await.unwrap();
    let mut reader = broker.reader("orders");
    let first = some(&mut reader, 1, 1000).await;
    assert!(first.messages.len() < 20, "all of it came at once");
    assert_eq!(read(&mut reader, 1, 20).await.1, batch);
    // More than is asked for at once, and more than an event may have.
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let huge = Bytes::from(vec![b'x'; 9_000_000]);
    context.publish("shop.events.orders.acme.x", huge.clone()).await.unwrap().await.unwrap();
    writer.append(21, &events(22..=22)).await.unwrap();
    let batch = some(&mut reader, 21, 10).await;
    let (21, Arrival::Malformed(read)) = &batch.messages[0] else { panic!("{:?}", batch.messages.len()) };
    assert!(read.bytes == huge);
    assert_eq!(some(&mut reader, 22, 10).await.messages, [(22, Arrival::Event(event(22)))]);
}
