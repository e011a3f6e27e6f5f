//! One round: a load, a kill at a failpoint, recovery, and the verdict.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::load::Load;
use crate::process::{Said, pause};
use crate::site::{Call, Side, Site, TENANTS};
use crate::verdict::{Verdict, entries};

/// How long a failpoint may take to be reached, and recovery to be complete.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which process is killed, and where it stands then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// The failpoint.
    pub(crate) point: &'static str,
    /// At which passing.
    pub(crate) nth: u32,
    /// Who comes by there.
    pub(crate) side: Side,
    /// Whether the process is killed before as well, in the middle of its work, and comes by there when it recovers.
    pub(crate) cold: bool,
    /// Whether the other process is killed too.
    pub(crate) both: bool,
}

/// The application through rounds.
pub(crate) struct Rounds {
    pub(crate) site: Site,
    rounds: usize,
    /// Messages that inboxes had already, over all rounds.
    pub(crate) repeats: usize,
    /// How many of them the process of the copies has counted that runs now.
    repeats_of_process: usize,
    /// How long recovery may take.
    patience: Duration,
}

/// A round until its kill.
struct Drive<'r> {
    site: &'r mut Site,
    /// What the process says that is to be killed.
    said: Said,
    mark: String,
    going: Vec<JoinHandle<(Call, bool)>>,
    unknown: Vec<Call>,
}

impl Rounds {
    pub(crate) async fn start(mut site: Site) -> Self {
        site.start_all().await;
        Self { site, rounds: 0, repeats: 0, repeats_of_process: 0, patience: PATIENCE }
    }

    /// As [`Rounds::kill`], of an application that is known to be broken: what is lost or held there never comes, and is not waited for as long.
    pub(crate) async fn kill_briefly(&mut self, kill: Kill) -> Verdict {
        self.patience = Duration::from_secs(4);
        self.kill(kill).await.expect("the failpoint is reached")
    }

    /// Drives load until the failpoint is reached, kills, recovers, and compares; `None` if it is not reached.
    pub(crate) async fn kill(&mut self, kill: Kill) -> Option<Verdict> {
        self.rounds += 1;
        let mut load = Load::new(self.rounds);
        let host = self.site.host_of(kill.side);
        let mut unknown = Vec::new();
        if kill.cold {
            unknown = self.interrupt(host, &mut load).await;
            self.site.start(host, Some(&format!("{}:{}", kill.point, kill.nth)));
        } else {
            self.arm(kill.side, kill.point, kill.nth).await;
        }
        let said = self.site.process(host).said().clone();
        let mark = format!("failpoint {} reached", kill.point);
        let mut drive = Drive { site: &mut self.site, said, mark, going: Vec::new(), unknown };
        let reached = drive.until_reached(&mut load).await;
        if !reached {
            return None;
        }
        let mut killed = vec![host];
        killed.extend(drive.site.sides().iter().filter(|side| kill.both && **side != host));
        for side in &killed {
            drive.site.kill(*side);
        }
        let unknown = drive.gather().await;
        if killed.contains(&self.site.host_of(Side::Copies)) {
            self.repeats_of_process = 0;
        }
        for side in killed {
            self.site.start(side, None);
        }
        self.site.wait_for_all().await;
        Some(self.recover(&mut load, unknown).await)
    }

    /// A load without a kill.
    pub(crate) async fn undisturbed(
        &mut self,
        calls: impl FnOnce(&mut Load) -> Vec<Call>,
        patience: Duration,
    ) -> Verdict {
        self.rounds += 1;
        let mut load = Load::new(self.rounds);
        self.patience = patience;
        let unknown = self.send(calls(&mut load)).await.await;
        self.recover(&mut load, unknown).await
    }

    /// Sends calls once each; the future gives those whose outcome nobody knows.
    pub(crate) async fn send(&mut self, calls: Vec<Call>) -> impl Future<Output = Vec<Call>> + use<> {
        outcomes(start(&self.site.http().await, calls))
    }

    /// Kills a process in the middle of its work, and gives the calls whose outcome nobody knows.
    async fn interrupt(&mut self, host: Side, load: &mut Load) -> Vec<Call> {
        let mut calls = load.fail(true);
        calls.extend(load.burst());
        let going = start(&self.site.http().await, calls);
        // Half of them have their answers.
        while going.iter().filter(|call| call.is_finished()).count() < going.len() / 2 {
            pause().await;
        }
        self.site.kill(host);
        outcomes(going).await
    }

    /// Makes a process stand still when it comes by a failpoint for the n-th time from now.
    pub(crate) async fn arm(&mut self, side: Side, point: &str, nth: u32) {
        let path = if side == Side::Ledger { "/v1/ledger:arm" } else { "/v1/mirror:arm" };
        let body = serde_json::json!({ "name": point, "nth": nth }).to_string();
        let headers = [("drystone-tenant", TENANTS[0])];
        let answer = self.site.http().await.send("POST", path, &headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Repeats what has no outcome, lets everything come to rest, and compares.
    async fn recover(&mut self, load: &mut Load, unknown: Vec<Call>) -> Verdict {
        for call in unknown.into_iter().chain(load.fail(false)) {
            call.settle(&mut self.site).await;
        }
        let began = Instant::now();
        while !self.site.is_drained(true).await && began.elapsed() < self.patience {
            pause().await;
            pause().await;
        }
        let verdict = self.verdict(load).await;
        if !verdict.is_clean() {
            eprintln!("{verdict}\n{}", self.site.said());
        }
        verdict
    }

    async fn verdict(&mut self, load: &Load) -> Verdict {
        let mut all = self.compared(&load.prefix).await;
        for tenant in TENANTS {
            let books = self.site.get(tenant, &format!("/v1/books?prefix={}", load.prefix)).await;
            all.wrong_calls += load.wrong(tenant, &entries(&books, "entries"));
            let held = self.site.get(tenant, "/v1/held").await;
            all.held += usize::try_from(number(&held, "messages")).expect("a count");
        }
        let held = self.site.get(TENANTS[0], "/v1/held").await;
        let repeats = usize::try_from(number(&held, "repeats")).expect("a count");
        self.repeats += repeats - std::mem::replace(&mut self.repeats_of_process, repeats);
        all
    }

    /// What the consumers made of the accounts whose names begin like this; of all, if the prefix is empty.
    pub(crate) async fn compared(&mut self, prefix: &str) -> Verdict {
        let mut all = Verdict::default();
        for tenant in TENANTS {
            let books = self.site.get(tenant, &format!("/v1/books?prefix={prefix}")).await;
            let (written, published) = (entries(&books, "entries"), entries(&books, "published"));
            for copy in ["mirror", "audit"] {
                let copies = self.site.get(tenant, &format!("/v1/{copy}?prefix={prefix}")).await;
                all += Verdict::of(&written, &published, &entries(&copies, "applied"));
            }
        }
        all
    }
}

impl Drive<'_> {
    fn is_reached(&self) -> bool {
        self.said.after(&self.mark).is_some()
    }

    /// Load after load, until the failpoint is reached.
    async fn until_reached(&mut self, load: &mut Load) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.perform(load.fail(true)).await || self.perform(load.burst()).await {
                return true;
            }
            // Everything is carried, and stored as carried; then what was held back is tried with success.
            if self.come_to_rest(false).await
                || self.perform(load.fail(false)).await
                || self.come_to_rest(true).await
            {
                return true;
            }
        }
        false
    }

    /// Sends calls until each has its outcome; true if the failpoint was reached.
    async fn perform(&mut self, mut calls: Vec<Call>) -> bool {
        while !calls.is_empty() {
            let Some(http) = self.http().await else {
                self.unknown.extend(calls);
                return true;
            };
            self.going = start(&http, calls);
            while self.going.iter().any(|call| !call.is_finished()) {
                if self.is_reached() {
                    return true;
                }
                pause().await;
            }
            calls = outcomes(std::mem::take(&mut self.going)).await;
        }
        self.is_reached()
    }

    /// The way in, unless the failpoint is reached before there is one.
    async fn http(&mut self) -> Option<drystone_testkit::Http> {
        let (said, mark) = (self.said.clone(), self.mark.clone());
        tokio::select! {
            biased;
            () = reached(&said, &mark) => None,
            http = self.site.http() => Some(http),
        }
    }

    /// Waits until nothing is on its way; true if the failpoint was reached.
    async fn come_to_rest(&mut self, nothing_held: bool) -> bool {
        let (said, mark) = (self.said.clone(), self.mark.clone());
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            tokio::select! {
                biased;
                () = reached(&said, &mark) => return true,
                drained = self.site.is_drained(nothing_held) => if drained { return false },
            }
            pause().await;
        }
        panic!("the application does not come to rest\n{}", self.site.said());
    }

    /// The calls whose outcome nobody knows.
    async fn gather(self) -> Vec<Call> {
        let mut unknown = self.unknown;
        unknown.extend(outcomes(self.going).await);
        unknown
    }
}

async fn reached(said: &Said, mark: &str) {
    while said.after(mark).is_none() {
        pause().await;
    }
}

fn start(http: &drystone_testkit::Http, calls: Vec<Call>) -> Vec<JoinHandle<(Call, bool)>> {
    let send = |call: Call| {
        let http = http.clone();
        tokio::spawn(async move {
            let known = call.send(&http).await;
            (call, known)
        })
    };
    calls.into_iter().map(send).collect()
}

/// The calls that have none.
async fn outcomes(going: Vec<JoinHandle<(Call, bool)>>) -> Vec<Call> {
    let mut unknown = Vec::new();
    for call in going {
        let (call, known) = call.await.expect("no answer was wrong");
        unknown.extend((!known).then_some(call));
    }
    unknown
}

impl Site {
    /// Whether everything that was published is carried and stored as carried, and has arrived; with `nothing_held` also whether nothing is held back. One look.
    pub(crate) async fn is_drained(&mut self, nothing_held: bool) -> bool {
        for tenant in TENANTS {
            let Some(lag) = self.look(tenant, "/v1/lag").await else { return false };
            let position = |name: &&str| {
                let pumps = lag.get("pumps").and_then(Value::as_array);
                let pump = pumps.into_iter().flatten().find(|pump| pump["name"] == **name);
                pump.map_or(0, |pump| number(pump, "position"))
            };
            let carried = self.pumps().iter().all(|name| position(name) >= number(&lag, "last"));
            if !carried || number(&lag, "scheduled") > 0 {
                return false;
            }
            let Some(held) = self.look(tenant, "/v1/held").await else { return false };
            let Some(audit) = self.look(tenant, "/v1/audit?prefix=none").await else { return false };
            let arrived = [number(&held, "total") + number(&held, "messages"), number(&audit, "total")];
            if arrived.iter().any(|arrived| *arrived < number(&lag, "messages")) {
                return false;
            }
            if nothing_held && number(&held, "messages") > 0 {
                return false;
            }
        }
        true
    }

    async fn look(&mut self, tenant: &str, path: &str) -> Option<Value> {
        let http = self.http().await;
        let answer = http.try_send("GET", path, &[("drystone-tenant", tenant)], "").await?;
        (answer.status == 200).then(|| answer.json())
    }
}

/// A number of a document; zero where it is left out.
pub(crate) fn number(document: &Value, field: &str) -> i64 {
    document.get(field).and_then(Value::as_i64).unwrap_or(0)
}
