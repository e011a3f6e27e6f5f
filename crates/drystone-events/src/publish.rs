//! Publishing: an event in the transaction of its effect.

use std::time::{SystemTime, UNIX_EPOCH};

use drystone_call::{Error, Event, Result};
use drystone_store::{Dialect, Tx};
use uuid::Uuid;

use crate::cloudevents::check_text;
use crate::failpoint::failpoint;

/// The largest event, in bytes: it has to pass through brokers with its headers.
pub const LARGEST_EVENT: usize = 960 * 1024;
/// The longest key, in bytes.
pub const LONGEST_KEY: usize = 1024;

/// The transaction has its id before the message has its number, which the fence rests on: `nextval` alone takes none.
const PUBLISH_POSTGRES: &str = "insert into drystone_outbox (seq, id, type, key, data, created, trace)
    select nextval('drystone_outbox_seq_seq'), $1::uuid, $2::text, $3::text, $4::bytea, $5::bigint, $6::text
    from (select pg_current_xact_id() as xid offset 0) this where this.xid is not null";
const PUBLISH_SQLITE: &str =
    "insert into drystone_outbox (id, type, key, data, created, trace) values ($1, $2, $3, $4, $5, $6)";
const SCHEDULE: &str = "insert into drystone_scheduled (id, type, key, data, created, trace, due)
    values ($1, $2, $3, $4, $5, $6, $7)";

/// Publishes events from a transaction.
///
/// ```ignore
/// let mut tx = store.begin(cx).await?;
/// tx.query("insert into orders ..").execute().await?;
/// tx.publish(OrderPlaced { order_id })?;
/// tx.commit_with(order).await  // the order, the event and the record of the call: one commit
/// ```
pub trait Publish {
    /// Publishes an event with this transaction: it is delivered if and only if the transaction commits.
    ///
    /// Costs no round trip of its own: it is written with the commit. Returns the message's id.
    ///
    /// # Errors
    /// `INTERNAL` if the module does not declare that it publishes events of this type; `INVALID_ARGUMENT` if the event is larger than [`LARGEST_EVENT`], or its
    /// key longer than [`LONGEST_KEY`] or with characters that no broker carries, such as a line's end.
    fn publish<E: Event>(&mut self, event: E) -> Result<Uuid>;

    /// As [`Publish::publish`], to be delivered at `due` and not before; among the messages of its key it takes its place then.
    ///
    /// # Errors
    /// As [`Publish::publish`].
    fn publish_at<E: Event>(&mut self, event: E, due: SystemTime) -> Result<Uuid>;
}

impl Publish for Tx<'_> {
    fn publish<E: Event>(&mut self, event: E) -> Result<Uuid> {
        let Message { id, key, data, created, trace } = Message::of(self, &event)?;
        let sql = match self.dialect() {
            Dialect::Postgres => PUBLISH_POSTGRES,
            Dialect::Sqlite => PUBLISH_SQLITE,
        };
        self.query(sql).bind((id, E::TYPE, key, data, created, trace)).queue();
        self.announce();
        failpoint("publish.queued");
        Ok(id)
    }

    fn publish_at<E: Event>(&mut self, event: E, due: SystemTime) -> Result<Uuid> {
        let Message { id, key, data, created, trace } = Message::of(self, &event)?;
        self.query(SCHEDULE).bind((id, E::TYPE, key, data, created, trace, micros(due))).queue();
        self.announce();
        failpoint("schedule.queued");
        Ok(id)
    }
}

struct Message {
    id: Uuid,
    key: String,
    data: Vec<u8>,
    created: i64,
    trace: Option<String>,
}

impl Message {
    fn of<E: Event>(tx: &Tx<'_>, event: &E) -> Result<Self> {
        if !tx.may_publish(E::TYPE) {
            let module = tx.caller().module();
            return Err(Error::internal(format!(
                "module {module} publishes {0} and does not say so: add `w.publishes::<..>()` for {0} to its wiring",
                E::TYPE
            )));
        }
        let (data, key) = (event.encode_to_vec(), event.key());
        for (what, size, most) in [("event", data.len(), LARGEST_EVENT), ("key", key.len(), LONGEST_KEY)] {
            if size > most {
                return Err(Error::invalid_argument(format!(
                    "the {what} of {} has {size} bytes, of {most} at most: publish what identifies the fact and let readers ask for the rest",
                    E::TYPE
                )));
            }
        }
        check_text("its key", &key).map_err(|problem| {
            let problem = format!("the key of {} cannot be carried: {}", E::TYPE, problem.why);
            Error::invalid_argument(problem)
        })?;
        let trace = Some(tx.caller().trace().to_string());
        let now = tx.caller().now();
        Ok(Self { id: message_id(now), key, data, created: micros(now), trace })
    }
}

/// A version 7 UUID of chance, whatever seed the application has: a seed begins anew with each process, and of two messages with one id an inbox takes one.
fn message_id(now: SystemTime) -> Uuid {
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut random = [0; 10];
    random.copy_from_slice(&drystone_call::chance().to_be_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(u64::MAX), &random).into_uuid()
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_where_the_clock_stands_still() {
        let at = UNIX_EPOCH + std::time::Duration::from_millis(1_767_225_600_000);
        let (one, other) = (message_id(at), message_id(at));
        assert_ne!(one, other);
        assert_eq!((one.get_version_num(), &one.to_string()[..13]), (7, &other.to_string()[..13]));
    }
}
