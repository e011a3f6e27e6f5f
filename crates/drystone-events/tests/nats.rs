//! The broker on a real server: what is written is read in order, and what is lost is noticed.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "nats/outside.rs"]
mod outside;
#[path = "nats/proxy.rs"]
mod proxy;
#[path = "cloudevents/python.rs"]
mod python;
#[path = "nats/reaching.rs"]
mod reaching;
#[path = "nats/reading.rs"]
mod reading;
#[path = "nats/writing.rs"]
mod writing;

use std::time::{Duration, Instant};

use bytes::Bytes;
use drystone_call::{Code, Result, TenantId};
use drystone_events::nats::{Arrival, Batch, NatsBroker, NatsConfig, StreamReader, StreamWriter, Tail};
use drystone_events::{Data, Envelope};
use uuid::Uuid;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn broker(url: &str) -> NatsBroker {
    let config = NatsConfig {
        url: url.into(),
        application: "shop".to_owned(),
        retention: Duration::from_secs(7 * 24 * 3600),
    };
    NatsBroker::connect(config).await.unwrap()
}

/// The event of a number.
fn event(number: u64) -> Envelope {
    Envelope {
        id: Uuid::from_u128(u128::from(number) | 0x7000_8000_0000_0000_0000),
        source: "orders".to_owned(),
        event_type: "shop.orders.v1.OrderPlaced".to_owned(),
        tenant: TenantId::new("acme").unwrap(),
        key: format!("order {}", number % 7),
        seq: i64::try_from(number).unwrap(),
        time: 1_795_346_400_123_456,
        trace: None,
        data: Data::Protobuf(Bytes::from(format!("event {number}"))),
    }
}

fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
    numbers.map(event).collect()
}

/// Does something until the server is there to do it.
async fn until<T, F: Future<Output = Result<T>>>(mut run: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        match run().await {
            Ok(done) => return done,
            Err(error) if error.code() == Code::Unavailable && began.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn tail(writer: &StreamWriter) -> Tail {
    until(|| writer.tail()).await
}

/// Reads until something comes.
async fn some(reader: &mut StreamReader, from: u64, limit: usize) -> Batch {
    let began = Instant::now();
    loop {
        match reader.read(from, limit).await {
            Ok(batch) if !batch.messages.is_empty() => return batch,
            Err(error) if error.code() != Code::Unavailable => panic!("{error}"),
            _ => assert!(began.elapsed() < PATIENCE, "nothing comes"),
        }
    }
}

/// Reads so many events, and gives the mark under which the last came.
async fn read(reader: &mut StreamReader, from: u64, count: usize) -> (String, Vec<Envelope>) {
    let (mut next, mut read) = (from, Vec::new());
    loop {
        let batch = some(reader, next, count - read.len()).await;
        for (number, arrival) in batch.messages {
            assert_eq!(number, next, "the log has a gap");
            next += 1;
            let Arrival::Event(event) = arrival else { panic!("{arrival:?}") };
            read.push(event);
        }
        if read.len() >= count {
            return (batch.mark, read);
        }
    }
}
