//! What is compared when everything has come to rest: what was written, what was published, and what each consumer applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;

use serde::Deserialize;
use serde_json::Value;

/// An entry, as it was written, published or applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(default)]
    pub(crate) account: String,
    #[serde(default)]
    pub(crate) n: i32,
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) later: bool,
}

/// A list of entries in a document.
pub(crate) fn entries(document: &Value, field: &str) -> Vec<Entry> {
    match document.get(field) {
        Some(list) => serde_json::from_value(list.clone()).expect("a list of entries"),
        None => Vec::new(),
    }
}

/// What was found. All but the first is to be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Messages that were published, times consumers.
    pub(crate) messages: usize,
    /// Entries that were committed and not published.
    pub(crate) unpublished: usize,
    /// Messages of entries that were not committed, and messages published twice.
    pub(crate) ghosts: usize,
    /// Messages that a consumer did not apply.
    pub(crate) lost: usize,
    /// Messages that a consumer applied more than once.
    pub(crate) twice: usize,
    /// Messages that a consumer applied out of the order of their key.
    pub(crate) reordered: usize,
    /// What a consumer applied and nobody published.
    pub(crate) foreign: usize,
    /// Whatever there is of transactions that were refused.
    pub(crate) refused: usize,
    /// Calls whose effect is not what was asked for, once.
    pub(crate) wrong_calls: usize,
    /// Messages that are held back.
    pub(crate) held: usize,
}

impl Verdict {
    /// What one consumer made of what was published.
    pub(crate) fn of(written: &[Entry], published: &[Entry], applied: &[Entry]) -> Self {
        let (committed, sent): (BTreeSet<_>, BTreeSet<_>) =
            (written.iter().collect(), published.iter().collect());
        let mut verdict = Self {
            messages: published.len(),
            unpublished: committed.difference(&sent).count(),
            ghosts: sent.difference(&committed).count() + published.len() - sent.len(),
            foreign: applied.iter().filter(|entry| !sent.contains(entry)).count(),
            refused: [written, published, applied]
                .concat()
                .iter()
                .filter(|e| e.text.starts_with("refused"))
                .count(),
            ..Self::default()
        };
        let (published, applied) = (by_key(published), by_key(applied));
        let nothing = Vec::new();
        for (key, published) in &published {
            let applied = applied.get(key).unwrap_or(&nothing);
            let mut first = BTreeSet::new();
            let once: Vec<_> = applied.iter().filter(|entry| first.insert(**entry)).collect();
            verdict.twice += applied.len() - once.len();
            verdict.lost += published.iter().filter(|entry| !first.contains(*entry)).count();
            let there = published.iter().filter(|entry| first.contains(*entry));
            let known: Vec<_> = once.into_iter().filter(|entry| published.contains(entry)).collect();
            verdict.reordered += there.zip(known).filter(|(expected, found)| expected != found).count();
        }
        verdict
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self { messages: self.messages, ..Self::default() }
    }
}

fn by_key(entries: &[Entry]) -> BTreeMap<&str, Vec<&Entry>> {
    let mut keys: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        keys.entry(&entry.account).or_default().push(entry);
    }
    keys
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.unpublished += more.unpublished;
        self.ghosts += more.ghosts;
        self.lost += more.lost;
        self.twice += more.twice;
        self.reordered += more.reordered;
        self.foreign += more.foreign;
        self.refused += more.refused;
        self.wrong_calls += more.wrong_calls;
        self.held += more.held;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            unpublished,
            ghosts,
            lost,
            twice,
            reordered,
            foreign,
            refused,
            wrong_calls,
            held,
        } = self;
        write!(
            f,
            "{messages} messages: {unpublished} unpublished, {ghosts} ghosts, {lost} lost, {twice} twice, {reordered} reordered, \
             {foreign} foreign, {refused} refused, {wrong_calls} wrong calls, {held} held"
        )
    }
}

#[test]
fn each_fault_is_told_from_the_others() {
    let list = |numbers: &[i32]| -> Vec<Entry> {
        let entry = |n: &i32| Entry { account: "a".into(), n: *n, text: "kept".into(), later: false };
        numbers.iter().map(entry).collect()
    };
    let all = list(&[1, 2, 3]);
    let clean = Verdict { messages: 3, ..Verdict::default() };
    for (written, published, applied, expected) in [
        (&[1, 2, 3][..], &[1, 2, 3][..], &[1, 2, 3][..], clean.clone()),
        (&[1, 2, 3, 4], &[1, 2, 3], &[1, 2, 3], Verdict { unpublished: 1, ..clean.clone() }),
        (&[1, 2], &[1, 2, 3], &[1, 2, 3], Verdict { ghosts: 1, ..clean.clone() }),
        (&[1, 2, 3], &[1, 2, 3], &[1, 3], Verdict { lost: 1, ..clean.clone() }),
        (&[1, 2, 3], &[1, 2, 3], &[1, 2, 3, 1], Verdict { twice: 1, ..clean.clone() }),
        (&[1, 2, 3], &[1, 2, 3], &[1, 3, 2], Verdict { reordered: 2, ..clean.clone() }),
        (&[1, 2, 3], &[1, 2, 3], &[1, 2, 3, 9], Verdict { foreign: 1, ..clean.clone() }),
    ] {
        let found = Verdict::of(&list(written), &list(published), &list(applied));
        assert_eq!(found, expected, "{written:?} {published:?} {applied:?}");
        assert_eq!(found.is_clean(), found == clean);
    }
    let refused = [Entry { text: "refused 1".into(), ..all[0].clone() }];
    assert_eq!(Verdict::of(&refused, &refused, &refused).refused, 3);
}
