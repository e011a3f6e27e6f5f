//! What is cut at each of its commits: a call of many short transactions, and a call of one.

use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, settled};

/// A call that is tried again and again, each time under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// An order: five commits in three modules, resumed by a retry.
    Order,
    /// An addition to the stock: one commit, and nothing but the record tells a retry that it happened.
    Addition,
}

/// How far a trial is.
pub(crate) struct Progress {
    pub(crate) trial: Trial,
    /// The commit that is to be cut next, the first being 1.
    pub(crate) commit: usize,
    calls: usize,
    replays: Vec<bool>,
}

/// More calls than a trial needs.
const MOST: usize = 40;

impl Trial {
    /// The call of this number.
    fn ask(self, number: usize) -> Ask {
        match self {
            Self::Order => Ask::order(&format!("order-{number}"), 1, "tok_visa"),
            Self::Addition => Ask::stock(&format!("addition-{number}"), 1),
        }
    }

    /// Makes the first call, so that what a tenant's first call makes is there before the first cut.
    pub(crate) async fn begin(self, site: &Site) -> Progress {
        settled(Door::Rest, &site.address, &self.ask(0)).await;
        Progress { trial: self, commit: 1, calls: 0, replays: Vec::new() }
    }
}

impl Progress {
    /// The next call, by one door and the other in turn.
    pub(crate) fn next(&mut self) -> (Door, Ask) {
        self.calls += 1;
        assert!(self.calls <= MOST, "{:?} has no end: {:?}", self.trial, self.replays);
        let door = if self.calls.is_multiple_of(2) { Door::Rest } else { Door::Grpc };
        (door, self.trial.ask(self.calls))
    }

    /// Asks again until the call has its outcome, and asserts that it happened once and is stored. Says whether the trial is over.
    ///
    /// `cut` says whether the answer was cut off at a commit of the call. It was not if the call has no more commits; or if the cut met a commit of the store's
    /// own, such as that of its cleaning, and then the same is tried again.
    pub(crate) async fn heals(&mut self, site: &Site, door: Door, ask: &Ask, cut: Option<bool>) -> bool {
        let (bytes, replayed) = settled(door, &site.address, ask).await;
        self.happened(site).await;
        let once_more = door.ask(&site.address, ask).await;
        assert_eq!(once_more, Outcome::Own { bytes, replayed: true }, "the answer is stored");
        match cut {
            Some(true) => {
                self.replays.push(replayed);
                self.commit += 1;
            }
            Some(false) => {}
            None if self.is_complete() => return true,
            None => self.commit = self.commit.saturating_sub(1).max(1),
        }
        false
    }

    /// Asserts that each call so far has happened once.
    async fn happened(&self, site: &Site) {
        let calls = self.calls + 1;
        let units = i64::try_from(calls).expect("few");
        match self.trial {
            Trial::Order => site.stands(calls, units).await,
            Trial::Addition => assert_eq!(site.stock("demo", "tea-sencha").await, (40 + units, 0)),
        }
    }

    /// Whether every commit was cut: a retry found the first without a record and the last with one.
    fn is_complete(&self) -> bool {
        let commits = match self.trial {
            Trial::Order => 5,
            Trial::Addition => 1,
        };
        let ends = (self.replays.first(), self.replays.last());
        self.replays.len() >= commits && ends.1 == Some(&true) && (commits == 1 || ends.0 == Some(&false))
    }
}
