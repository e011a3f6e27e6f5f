//! Every failpoint in turn, at several passings each.

use std::collections::BTreeMap;
use std::time::Instant;

use drystone_events::FAILPOINTS;

use crate::round::{Kill, Rounds};
use crate::site::{By, On, Shape, Side, Site};
use crate::verdict::Verdict;

/// At which passings a process is killed: the first, when it comes by in recovering from another kill; the second, when in a split application the other process is
/// killed as well; and one in the midst of work.
const PASSINGS: [u32; 3] = [1, 2, 5];

/// Who comes by a failpoint. With an outside broker there is a pump at either end.
fn sides_of(point: &str, by: By) -> &'static [Side] {
    match (point.split_once('.').expect("a failpoint's name has two parts"), by) {
        (("relay", _), By::Nats) => &[Side::Ledger, Side::Copies],
        (("link", _), By::Nats) => &[Side::Copies],
        (("publish" | "schedule" | "relay" | "link", _) | (_, "appended"), _) => &[Side::Ledger],
        _ => &[Side::Copies],
    }
}

/// Why nobody comes by a failpoint here, if that is so.
fn why_not(point: &str, shape: Shape, by: By) -> Option<&'static str> {
    match point {
        "stream.appended" | "stream.read" | "stream.advanced" if by == By::Call => {
            Some("belongs to an outside broker")
        }
        "delivery.answered" if by == By::Nats || shape == Shape::Whole => {
            Some("belongs to the push between processes")
        }
        _ => None,
    }
}

/// The kills at one failpoint.
fn kills(point: &'static str, on: On, shape: Shape, by: By) -> Vec<Kill> {
    let mut kills = Vec::new();
    for side in sides_of(point, by) {
        let passings = match (point, on, by) {
            // Pumps claim when the process begins: one a consumer or broker, and on SQLite those of the ledger one a tenant.
            ("relay.claimed", On::Sqlite, By::Call) => &[1, 2, 4][..],
            ("relay.claimed", On::Postgres, By::Nats) if *side == Side::Ledger => &[1],
            ("relay.claimed", ..) => &[1, 2],
            _ => &PASSINGS,
        };
        kills.extend(passings.iter().map(|nth| Kill {
            point,
            nth: *nth,
            side: *side,
            cold: *nth == 1 || point == "relay.claimed",
            both: *nth == 2 && shape == Shape::Split,
        }));
    }
    kills
}

/// Kills at every failpoint, and says what came of it.
pub(crate) async fn every_failpoint(on: On, shape: Shape, by: By) {
    let began = Instant::now();
    let mut rounds = Rounds::start(Site::new(on, shape, by, &[])).await;
    let (mut all, mut wrong, mut report, mut count) = (Verdict::default(), Vec::new(), BTreeMap::new(), 0);
    for point in FAILPOINTS {
        if let Some(why) = why_not(point, shape, by) {
            report.insert(point, format!("{why}: not here"));
            continue;
        }
        let mut passings = Vec::new();
        for kill in kills(point, on, shape, by) {
            let Some(verdict) = rounds.kill(kill).await else {
                panic!(
                    "nobody comes by {point} for the {}. time: {kill:?}\n{}",
                    kill.nth,
                    rounds.site.said()
                );
            };
            if !verdict.is_clean() {
                wrong.push(format!("{kill:?}: {verdict}"));
            }
            all += verdict;
            count += 1;
            passings.push(kill.nth.to_string());
        }
        report.insert(point, format!("killed at passing {}", passings.join(", ")));
    }
    for (point, line) in &report {
        println!("{point:20} {line}");
    }
    let whole = rounds.compared("").await;
    println!("{on:?}, {shape:?}, {by:?}: {count} kills in {:?}; in rounds {all}", began.elapsed());
    println!("over the whole run {whole}; {} repeats seen by inboxes", rounds.repeats);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(whole.is_clean() && whole.messages >= all.messages && all.messages > 0, "{whole}");
    assert!(rounds.repeats > 0, "no inbox was sent anything twice: the run proves nothing");
}
