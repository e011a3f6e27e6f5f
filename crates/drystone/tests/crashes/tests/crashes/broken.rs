//! A check that finds nothing must be able to find something: each thing that a promise rests on is taken away once.

use std::time::Duration;

use crate::load::Load;
use crate::round::{Kill, Rounds};
use crate::site::{By, On, Shape, Side, Site};
use crate::verdict::Verdict;

/// The verdict over a kill of an application that lacks something.
async fn killed(on: On, lacks: &str, point: &'static str) -> Verdict {
    let mut rounds = Rounds::start(Site::new(on, Shape::Whole, By::Call, &[("DRYSTONE_BREAK", lacks)])).await;
    let kill = Kill { point, nth: 2, side: Side::Copies, cold: false, both: false };
    if lacks == "nothing" {
        return rounds.kill(kill).await.expect("the failpoint is reached");
    }
    rounds.kill_briefly(kill).await
}

/// Where messages are handed over and the position is not stored yet.
pub(crate) async fn without_the_inbox_messages_are_applied_twice(on: On) {
    let verdict = killed(on, "no-inbox", "relay.carried").await;
    assert!(verdict.twice > 0, "{verdict}");
    let sound = killed(on, "nothing", "relay.carried").await;
    assert!(sound.is_clean() && sound.messages > 0, "{sound}");
}

/// Where the position is stored already, and nothing is applied.
pub(crate) async fn a_position_before_delivery_loses_messages(on: On) {
    let verdict = killed(on, "ack-first", "handle.applied").await;
    assert!(verdict.lost > 0, "{verdict}");
    let sound = killed(on, "nothing", "handle.applied").await;
    assert!(sound.is_clean() && sound.messages > 0, "{sound}");
}

/// Writers that have their numbers and do not commit yet, beside others that do; nobody is killed.
pub(crate) async fn without_the_fence_messages_are_lost() {
    for (lacks, loses) in [("no-fence", true), ("nothing", false)] {
        let site = Site::new(On::Postgres, Shape::Whole, By::Call, &[("DRYSTONE_BREAK", lacks)]);
        let mut rounds = Rounds::start(site).await;
        let verdict =
            rounds.undisturbed(Load::slow_burst, Duration::from_secs(if loses { 4 } else { 60 })).await;
        assert_eq!(verdict.lost > 0, loses, "{lacks}: {verdict}");
        assert!(verdict.messages > 0 && (loses || verdict.is_clean()), "{lacks}: {verdict}");
    }
}
