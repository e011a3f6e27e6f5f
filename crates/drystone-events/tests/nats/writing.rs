//! Writing: in order, once, and by one writer at a time.

use drystone_events::nats::{AppendError, AppendFailure};
use drystone_events::{Data, Envelope};
use drystone_testkit::Nats;

use super::proxy::Proxy;
use super::{broker, event, events, read, tail, until};

#[track_caller]
fn assert_wrong_sequence(result: Result<u64, AppendError>, stored: usize, ends_at: u64) {
    match result {
        Err(AppendError { stored: so_many, why: AppendFailure::WrongSequence { last } }) => {
            assert_eq!((so_many, last), (stored, ends_at));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_appended_as_a_whole_and_in_order() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let began = tail(&writer).await;
    assert_eq!(began.last, 0);
    assert_eq!(writer.append(0, &[]).await.unwrap(), 0);
    assert_eq!(writer.append(0, &events(1..=1000)).await.unwrap(), 1000);
    assert_eq!(writer.append(1000, &events(1001..=1001)).await.unwrap(), 1001);
    let ended = tail(&writer).await;
    assert_eq!((ended.last, &ended.mark), (1001, &began.mark));
    let (mark, messages) = read(&mut broker.reader("orders"), 1, 1001).await;
    assert_eq!(mark, began.mark);
    assert_eq!(messages, events(1..=1001));
    assert_eq!(broker.metrics().written.get(), 1001);
    assert_eq!(broker.metrics().read.get(), 1001);
}

/// The server stores a message as often as it is sent: it is the chain that keeps repeats out, and no memory of the server's.
#[tokio::test]
async fn a_message_may_be_sent_again() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    assert_eq!(writer.append(0, &events(1..=3)).await.unwrap(), 3);
    assert_eq!(writer.append(3, &events(2..=4)).await.unwrap(), 6);
    assert_eq!(writer.append(6, &[event(4), event(4)]).await.unwrap(), 8);
}

#[tokio::test]
async fn those_after_a_lost_message_are_refused() {
    let nats = Nats::start().unwrap();
    let proxy = Proxy::to(nats.address()).await;
    let broker = broker(&proxy.url).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    proxy.lose_after(5);
    assert_wrong_sequence(writer.append(0, &events(1..=10)).await, 5, 5);
    assert_eq!(tail(&writer).await.last, 5);
    assert_eq!(writer.append(5, &events(6..=10)).await.unwrap(), 10);
    assert_eq!(read(&mut broker.reader("orders"), 1, 10).await.1, events(1..=10));
    assert_eq!(broker.metrics().refused.get(), 5);
}

#[tokio::test]
async fn a_writer_that_does_not_know_what_another_wrote_is_refused() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let (stale, fresh) = (broker.writer("orders"), broker.writer("orders"));
    let seen = tail(&stale).await;
    assert_eq!(fresh.append(0, &events(1..=3)).await.unwrap(), 3);
    // Its fourth would stand after the third that is there; but its third is not that one.
    assert_wrong_sequence(stale.append(seen.last, &events(11..=20)).await, 0, 3);
    // Also one that believes the stream to be longer than it is.
    assert_wrong_sequence(stale.append(7, &events(8..=9)).await, 0, 3);
    assert_eq!(tail(&stale).await.last, 3);
    assert_eq!(fresh.append(3, &events(4..=5)).await.unwrap(), 5);
    assert_eq!(read(&mut broker.reader("orders"), 1, 5).await.1, events(1..=5));
}

/// Somebody else's message in the middle of a batch: what stands behind it is not taken either.
#[tokio::test]
async fn a_batch_into_which_another_writes_ends_there() {
    let nats = Nats::start().unwrap();
    let proxy = Proxy::to(nats.address()).await;
    let (slow, quick) = (broker(&proxy.url).await, broker(&nats.url()).await);
    let (slow, quick) = (slow.writer("orders"), quick.writer("orders"));
    tail(&slow).await;
    tail(&quick).await;
    let held = proxy.hold_after(3);
    let batch = events(1..=6);
    let push_in = async {
        // When three of the batch are stored and the fourth is on its way.
        held.await;
        while tail(&quick).await.last < 3 {}
        assert_eq!(quick.append(3, &[event(100)]).await.unwrap(), 4);
        proxy.release();
    };
    let (appended, ()) = tokio::join!(slow.append(0, &batch), push_in);
    assert_wrong_sequence(appended, 3, 4);
    assert_eq!(tail(&slow).await.last, 4);
}

#[tokio::test]
async fn of_writers_that_race_one_stores_its_batch() {
    let nats = Nats::start().unwrap();
    let (one, two) = (broker(&nats.url()).await, broker(&nats.url()).await);
    let (one, two) = (one.writer("orders"), two.writer("orders"));
    tail(&one).await;
    tail(&two).await;
    let batch = events(1..=500);
    let (first, second) = tokio::join!(one.append(0, &batch), two.append(0, &batch));
    let (stored, refused) = if first.is_ok() { (first, second) } else { (second, first) };
    assert_eq!(stored.unwrap(), 500);
    assert_eq!(refused.unwrap_err().stored, 0);
    assert_eq!(tail(&one).await.last, 500);
    let broker = broker(&nats.url()).await;
    assert_eq!(read(&mut broker.reader("orders"), 1, 500).await.1, batch);
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_has_the_rest_when_it_is_back() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let before = tail(&writer).await;
    assert_eq!(writer.append(0, &events(1..=3)).await.unwrap(), 3);
    nats.kill();
    let failed = writer.append(3, &events(4..=5)).await.unwrap_err();
    assert!(matches!(failed, AppendError { stored: 0, why: AppendFailure::Unavailable(_) }), "{failed:?}");
    nats.start_again().unwrap();
    // A killed process loses nothing that its system knows; it is the same stream.
    let after = tail(&writer).await;
    assert_eq!((&after.mark, after.last), (&before.mark, 3));
    assert_eq!(writer.append(3, &events(4..=5)).await.unwrap(), 5);
    assert!(broker.metrics().connections.get() >= 2);
}

/// What was under way when the connection broke is neither lost nor doubled once the writer has looked where the stream ends.
#[tokio::test]
async fn a_batch_that_is_cut_off_goes_on_where_the_stream_ends() {
    let nats = Nats::start().unwrap();
    let proxy = Proxy::to(nats.address()).await;
    let broker = broker(&proxy.url).await;
    let writer = broker.writer("orders");
    let mut last = tail(&writer).await.last;
    let mut cuts = 0;
    while last < 3000 {
        let (batch, after) = (events(last + 1..=3000), last);
        let cut = async {
            if cuts < 5 {
                proxy.cut();
            }
            cuts += 1;
        };
        let (appended, ()) = tokio::join!(biased; writer.append(after, &batch), cut);
        last = match appended {
            Ok(end) => end,
            Err(_) => tail(&writer).await.last,
        };
    }
    assert!(cuts > 1, "no batch was cut off");
    assert_eq!(read(&mut broker.reader("orders"), 1, 3000).await.1, events(1..=3000));
}

#[tokio::test]
async fn a_server_that_lost_everything_has_another_mark() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    let before = tail(&writer).await;
    assert_eq!(writer.append(0, &events(1..=3)).await.unwrap(), 3);
    nats.wipe().unwrap();
    // Nothing is stored in a stream that is not there, and nothing by surprise in one that is made anew.
    let failed = until_reached(&writer, 3).await;
    assert!(matches!(failed.why, AppendFailure::NoStream), "{failed:?}");
    let after = tail(&writer).await;
    assert_ne!(after.mark, before.mark);
    assert_eq!(after.last, 0);
    assert_wrong_sequence(writer.append(3, &events(4..=5)).await, 0, 0);
    assert_eq!(writer.append(0, &events(1..=5)).await.unwrap(), 5);
}

/// The error of an append to a server that is there.
async fn until_reached(writer: &drystone_events::nats::StreamWriter, after: u64) -> AppendError {
    until(async || match writer.append(after, &events(after + 1..=after + 1)).await {
        Err(AppendError { why: AppendFailure::Unavailable(error), .. }) => Err(error),
        Err(error) => Ok(error),
        Ok(last) => panic!("the message was stored as {last}"),
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_and_what_was_before_it_is_stored() {
    let nats = Nats::start_with("max_payload: 64KB").unwrap();
    let broker = broker(&nats.url()).await;
    let writer = broker.writer("orders");
    tail(&writer).await;
    let large = Envelope { data: Data::Protobuf(vec![0; 65_536].into()), ..event(3) };
    let lined = Envelope { key: "a\nb".to_owned(), ..event(3) };
    let spaced = Envelope { event_type: "a b.>".to_owned(), ..event(3) };
    for (at, (unfit, says)) in
        [(large, "max_payload"), (lined, "partitionkey"), (spaced, "a b.>")].into_iter().enumerate()
    {
        let batch = [event(1), event(2), unfit, event(4)];
        let error = writer.append(2 * at as u64, &batch).await.unwrap_err();
        assert_eq!(error.stored, 2);
        let AppendFailure::Refused(error) = error.why else { panic!("{error:?}") };
        assert!(error.message().contains(says), "{error}");
    }
    assert_eq!(tail(&writer).await.last, 6);
    // The largest event that fits is taken.
    let fits = Envelope { data: Data::Protobuf(vec![0; 64_000].into()), ..event(3) };
    assert_eq!(writer.append(6, &[fits]).await.unwrap(), 7);
}

#[tokio::test]
async fn modules_have_streams_of_their_own() {
    let nats = Nats::start().unwrap();
    let broker = broker(&nats.url()).await;
    let (orders, users) = (broker.writer("orders"), broker.writer("users"));
    tail(&orders).await;
    tail(&users).await;
    assert_eq!(orders.append(0, &events(1..=2)).await.unwrap(), 2);
    let other = Envelope { source: "users".to_owned(), ..event(1) };
    assert_eq!(users.append(0, std::slice::from_ref(&other)).await.unwrap(), 1);
    assert_eq!(read(&mut broker.reader("users"), 1, 1).await.1, [other]);
}
