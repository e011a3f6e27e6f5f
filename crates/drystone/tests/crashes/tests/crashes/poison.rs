//! A message whose handler always fails parks its key, the others flow, and a replay after the fix restores the order, whatever is killed in between.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::process::pause;
use crate::round::{Rounds, number};
use crate::site::{By, On, Shape, Side, Site, TENANTS};

/// How long a key may take to be parked, or to be free again.
const PATIENCE: Duration = Duration::from_secs(40);

impl Rounds {
    /// Waits until each tenant has so many messages held back, and so many of them parked.
    async fn held(&mut self, messages: i64, parked: i64) {
        let began = Instant::now();
        for tenant in TENANTS {
            loop {
                let held = self.site.get(tenant, "/v1/held").await;
                let now = (number(&held, "messages"), number(&held, "parked"));
                if now == (messages, parked) {
                    break;
                }
                assert!(
                    began.elapsed() < PATIENCE,
                    "{tenant}: {now:?} are held and parked\n{}",
                    self.site.said()
                );
                pause().await;
            }
        }
    }

    /// Kills the process that hosts the copies when it comes by a failpoint, and starts it again, with the next if there is one.
    async fn killed_at(&mut self, point: &str, next: Option<&str>) {
        let host = self.site.host_of(Side::Copies);
        self.site.process(host).says(&format!("failpoint {point} reached")).await;
        self.site.kill(host);
        self.site.start(host, next);
    }
}

/// With three attempts a message.
pub(crate) async fn a_poison_message_parks_its_key_and_a_replay_restores_the_order(on: On, shape: Shape) {
    let settings = [("DRYSTONE__EVENTS__ATTEMPTS", "3")];
    let mut rounds = Rounds::start(Site::new(on, shape, By::Call, &settings)).await;
    let mut load = Load::new(1);
    let (calls, failing) = (load.burst(), load.fail(true));
    for call in failing {
        call.settle(&mut rounds.site).await;
    }
    // Killed as the first message is stored as held back.
    rounds.arm(Side::Copies, "hold.stored", 1).await;
    let unknown = rounds.send(calls).await;
    rounds.killed_at("hold.stored", None).await;
    for call in unknown.await {
        call.settle(&mut rounds.site).await;
    }
    // One key a tenant: a message that was tried three times, and two behind it. Everything else has arrived.
    rounds.held(3, 1).await;
    let began = Instant::now();
    while !rounds.site.is_drained(false).await {
        assert!(began.elapsed() < PATIENCE, "not everything else has arrived\n{}", rounds.site.said());
        pause().await;
    }
    let parked = rounds.compared(&load.prefix).await;
    assert_eq!((parked.lost, parked.twice, parked.reordered), (2 * 3, 0, 0), "{parked}");

    // Mended and replayed; killed while what was behind it follows, before and after a commit.
    for call in load.fail(false).into_iter().chain(load.replay()) {
        call.settle(&mut rounds.site).await;
    }
    let host = rounds.site.host_of(Side::Copies);
    rounds.site.kill(host);
    rounds.site.start(host, Some("retry.applied:1"));
    rounds.killed_at("retry.applied", Some("retry.committed:1")).await;
    rounds.killed_at("retry.committed", None).await;
    rounds.held(0, 0).await;
    let after = rounds.compared(&load.prefix).await;
    assert!(after.is_clean() && after.messages == parked.messages, "{after}");
}
