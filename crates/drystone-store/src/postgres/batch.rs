//! Several messages to the server in one go: one round trip for all of them.
//!
//! The server works through them in order and does not stop at a failure, so what comes last must be harmless where something ahead of it failed: a
//! statement after a failed `begin` meets a session that does not write, and `commit` after a failed statement is a rollback. What fails while it
//! is encoded is never sent and leaves no trace in the transaction: then nothing that follows is sent either.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error as PgError, Row, Statement};

/// Something whose reply is only judged. It is sent when it is first polled.
pub(crate) type Ahead<'c> = Pin<Box<dyn Future<Output = Result<(), PgError>> + Send + 'c>>;

/// What became of a batch.
pub(crate) struct Sent<R> {
    /// The first failure of what went ahead, and its place.
    pub(crate) ahead: Option<(usize, PgError)>,
    /// The outcome of the last message; none if it was not sent.
    pub(crate) last: Option<Result<R, PgError>>,
}

/// Sends everything in order and waits for all replies. They come in that order, so only the next one is looked at, however many are awaited.
pub(crate) async fn in_one_go<R>(
    mut ahead: Vec<Ahead<'_>>,
    last: impl Future<Output = Result<R, PgError>>,
) -> Sent<R> {
    let mut waiting = vec![true; ahead.len()];
    let mut sent = Sent { ahead: None, last: None };
    let (mut first_pass, mut stopped) = (true, false);
    let mut last = pin!(last);
    poll_fn(|cx| {
        let mut all = true;
        for (at, step) in ahead.iter_mut().enumerate() {
            if !waiting[at] || (first_pass && stopped) {
                continue;
            }
            match step.as_mut().poll(cx) {
                Poll::Pending => {
                    all = false;
                    if !first_pass {
                        break;
                    }
                }
                Poll::Ready(done) => {
                    waiting[at] = false;
                    if let Err(cause) = done {
                        stopped |= first_pass;
                        keep_first(&mut sent.ahead, at, cause);
                    }
                }
            }
        }
        if first_pass && stopped {
            // What was not sent must not be polled later either.
            let from = sent.ahead.as_ref().map_or(0, |(at, _)| *at);
            waiting[from..].fill(false);
        }
        let is_next = first_pass || all;
        first_pass = false;
        if sent.last.is_none() && !stopped && is_next {
            match last.as_mut().poll(cx) {
                Poll::Pending => all = false,
                Poll::Ready(done) => sent.last = Some(done),
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    sent
}

fn keep_first(kept: &mut Option<(usize, PgError)>, at: usize, cause: PgError) {
    if kept.as_ref().is_none_or(|(before, _)| at < *before) {
        *kept = Some((at, cause));
    }
}

/// What the server answered to a statement.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// How many rows it changed or gave.
    pub(crate) count: u64,
}

/// Runs a prepared statement. It is sent at the first poll.
pub(crate) async fn ask(
    client: &Client,
    statement: &Statement,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Answer, PgError> {
    let mut stream = pin!(client.query_raw(statement, values.iter().copied()).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Answer { rows, count: stream.rows_affected().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outcome: Poll<Result<(), PgError>>) -> Ahead<'static> {
        match outcome {
            Poll::Ready(done) => Box::pin(std::future::ready(done)),
            Poll::Pending => Box::pin(async {
                tokio::task::yield_now().await;
                Ok(())
            }),
        }
    }

    fn failure() -> PgError {
        PgError::__private_api_timeout()
    }

    #[tokio::test]
    async fn what_cannot_be_sent_keeps_the_rest_from_being_sent() {
        let after: Ahead<'_> = Box::pin(async { panic!("sent after what was not") });
        let ahead = vec![step(Poll::Pending), step(Poll::Ready(Err(failure()))), after];
        let sent = in_one_go(ahead, async { Ok::<_, PgError>(()) }).await;
        assert_eq!(sent.ahead.map(|(at, _)| at), Some(1));
        assert!(sent.last.is_none());
    }

    #[tokio::test]
    async fn a_failed_reply_is_kept_and_the_rest_is_awaited() {
        let late: Ahead<'_> = Box::pin(async {
            tokio::task::yield_now().await;
            Err(failure())
        });
        let sent = in_one_go(vec![step(Poll::Pending), late], async { Ok(7) }).await;
        assert_eq!(sent.ahead.map(|(at, _)| at), Some(1));
        assert_eq!(sent.last.and_then(Result::ok), Some(7));
    }
}
