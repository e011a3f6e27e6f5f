//! The fence: which messages of an outbox on PostgreSQL are settled, so that none with a smaller number can still appear.
//!
//! Numbers are taken when rows are written and rows appear when their transactions commit, in another order. A reader that goes on from the last number it
//! saw loses what commits late; one that orders by transaction id reorders, for the id is taken at a transaction's first write and the number when the event is
//! published. So: look at the greatest number taken, H, and *then* take a transaction id, N. Every transaction that had taken a number up to H by then has an id
//! below N (the statement that publishes takes its id before its number). Once a later snapshot's xmin has reached N, all of them are over, and what is
//! not visible up to H never will be. The scan itself must be a statement after that.
//!
//! N is an id that was allocated, never a snapshot's xmax: that counts only the ids that were *completed*, and a running transaction may have a greater one.
//! One thing more: `nextval` is written down 32 numbers at a time, and a transaction that rolls back flushes nothing. After a crash of the server such numbers are
//! given out once more, so what rests on a number that nobody committed waits until the log is on the disk up to there.
//!
//! Nothing of this is ever stored: ids mean nothing after a dump and restore.

/// One look at the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The greatest number that was taken from the sequence.
    pub high: i64,
    /// A transaction id that was allocated after that.
    pub next: i64,
}

/// What is settled, and what is on its way to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    settled: i64,
    pending: Option<Look>,
    /// Where the server's log was when the pending look was taken.
    written: i64,
}

impl Fence {
    /// A fence behind which nothing is known to be settled.
    #[must_use]
    pub const fn new() -> Self {
        Self { settled: 0, pending: None, written: 0 }
    }

    /// All messages up to this number are visible to a statement that begins now, or never will be.
    #[must_use]
    pub const fn settled(&self) -> i64 {
        self.settled
    }

    /// The look that waits for older transactions to end.
    #[must_use]
    pub const fn pending(&self) -> Option<Look> {
        self.pending
    }

    /// Whether a look is worth its transaction id: nothing is on its way, and `high` is new.
    #[must_use]
    pub const fn wants(&self, high: i64) -> bool {
        self.pending.is_none() && high > self.settled
    }

    /// A look was taken. It counts only if none is on its way: an older one settles sooner.
    pub fn look(&mut self, look: Look) {
        if self.wants(look.high) {
            self.pending = Some(look);
        }
    }

    /// As [`Fence::look`], where the server's log had come to `written` after that: a crash takes nothing of it back once it is flushed up to there.
    pub(crate) fn look_at(&mut self, look: Look, written: i64) {
        if self.wants(look.high) {
            self.written = written;
        }
        self.look(look);
    }

    /// Whether what the pending look rests on is on the server's disk, where the log is flushed up to `flushed`.
    pub(crate) const fn is_durable(&self, flushed: i64) -> bool {
        flushed >= self.written
    }

    /// A later snapshot has this xmin: every transaction with a smaller id is over. Says whether more is settled now.
    pub fn observe(&mut self, xmin: i64) -> bool {
        match self.pending {
            Some(look) if xmin >= look.next => {
                self.settled = self.settled.max(look.high);
                self.pending = None;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_settles_when_older_transactions_are_over() {
        let mut fence = Fence::new();
        assert!(!fence.wants(0), "an empty outbox costs no transaction id");
        assert!(fence.wants(5));
        fence.look(Look { high: 5, next: 100 });
        assert!(!fence.observe(99) && fence.settled() == 0);
        assert!(fence.observe(100));
        assert_eq!((fence.settled(), fence.pending()), (5, None));
    }

    #[test]
    fn a_second_look_does_not_delay_the_first() {
        let mut fence = Fence::new();
        fence.look(Look { high: 5, next: 100 });
        fence.look(Look { high: 9, next: 200 });
        assert!(fence.observe(150));
        assert_eq!(fence.settled(), 5);
        assert!(fence.wants(9));
    }
}
