//! What the clients of the application ask for, and what must have come of it.

use std::collections::BTreeMap;

use crate::site::{Call, TENANTS};
use crate::verdict::Entry;

/// The calls of one round, and what those that were kept must have written.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) prefix: String,
    /// For each tenant and text, how many entries there must be.
    expected: BTreeMap<(&'static str, String), usize>,
    bursts: usize,
    switches: usize,
}

/// One posting.
#[derive(Clone, Copy, Default)]
struct Post<'a> {
    accounts: &'a [&'a str],
    count: usize,
    refuse: bool,
    later: bool,
    hold_ms: u32,
}

impl Load {
    /// The load of a round; its accounts are those of no other.
    pub(crate) fn new(round: usize) -> Self {
        Self { prefix: format!("r{round}."), ..Self::default() }
    }

    /// Calls that are sent together: of both tenants, of one key and of several, refused and delayed ones, and some whose handler fails while [`Load::fail`] says so.
    pub(crate) fn burst(&mut self) -> Vec<Call> {
        self.bursts += 1;
        let bad = format!("bad{}", self.bursts);
        let posts = [
            Post { accounts: &["a"], count: 1, ..Post::default() },
            Post { accounts: &["a", "b", "c"], count: 2, ..Post::default() },
            Post { accounts: &["b", "d"], count: 1, refuse: true, ..Post::default() },
            Post { accounts: &["b", "e"], count: 1, later: true, ..Post::default() },
            Post { accounts: &[&bad], count: 2, ..Post::default() },
            Post { accounts: &["a", &bad], count: 1, ..Post::default() },
        ];
        TENANTS
            .iter()
            .flat_map(|tenant| posts.map(|post| (*tenant, post)))
            .enumerate()
            .map(|(at, (tenant, post))| self.post(tenant, at, post))
            .collect()
    }

    /// Writers of the same keys and of others, of which every third takes its time between its numbers and its commit.
    pub(crate) fn slow_burst(&mut self) -> Vec<Call> {
        self.bursts += 1;
        let accounts: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
        let posts = accounts.iter().enumerate().map(|(at, account)| {
            let hold_ms = if at % 3 == 0 { 400 } else { 0 };
            (at, [&**account], hold_ms)
        });
        posts
            .map(|(at, account, hold_ms)| {
                self.post(
                    TENANTS[at % 2],
                    at,
                    Post { accounts: &account, count: 2, hold_ms, ..Post::default() },
                )
            })
            .collect()
    }

    fn post(&mut self, tenant: &'static str, at: usize, post: Post<'_>) -> Call {
        let Post { accounts, count, refuse, later, hold_ms } = post;
        let key = format!("{}{}.{at}", self.prefix, self.bursts);
        let text = format!("{} {key}", if refuse { "refused" } else { "kept" });
        let entries = if refuse { 0 } else { accounts.len() * count };
        self.expected.insert((tenant, text.clone()), entries);
        let accounts: Vec<String> =
            accounts.iter().map(|account| format!("{}{account}", self.prefix)).collect();
        let body = serde_json::json!({
            "accounts": accounts, "text": text, "count": count, "refuse": refuse, "later": later, "holdMs": hold_ms,
        });
        Call {
            tenant,
            path: "/v1/postings",
            key,
            body: body.to_string(),
            status: if refuse { 400 } else { 200 },
        }
    }

    /// Calls that make the mirror's handler fail for the bad accounts of this round, or succeed again.
    pub(crate) fn fail(&mut self, on: bool) -> Vec<Call> {
        let body = serde_json::json!({ "prefix": format!("{}bad", self.prefix), "on": on });
        self.switch("/v1/mirror:fail", &body.to_string())
    }

    /// Calls that have the parked messages of the bad accounts tried again.
    pub(crate) fn replay(&mut self) -> Vec<Call> {
        let body = serde_json::json!({ "prefix": format!("{}bad", self.prefix) });
        self.switch("/v1/mirror:replay", &body.to_string())
    }

    fn switch(&mut self, path: &'static str, body: &str) -> Vec<Call> {
        self.switches += 1;
        let key = format!("{}switch{}", self.prefix, self.switches);
        let call = |tenant: &&'static str| {
            let (key, body) = (key.clone(), body.to_owned());
            Call { tenant, path, key, body, status: 200 }
        };
        TENANTS.iter().map(call).collect()
    }

    /// How many calls of a tenant did not have the effect that was asked for, once.
    pub(crate) fn wrong(&self, tenant: &str, written: &[Entry]) -> usize {
        let of_tenant = self.expected.iter().filter(|((of, _), _)| *of == tenant);
        of_tenant
            .filter(|((_, text), count)| {
                written.iter().filter(|entry| entry.text == *text).count() != **count
            })
            .count()
    }
}
