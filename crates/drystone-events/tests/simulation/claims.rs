//! A worker that stands still for longer than its claim lives finishes nothing: its write changes zero rows.

use std::collections::BTreeSet;

use drystone_testkit::sim::{Database, Fault, Plan, Planned, Route, Seen, run};

/// Two relays and nothing that goes wrong, but that the first stands still for six seconds.
fn paused(seed: u64, route: Route) -> Plan {
    let mut plan = Plan::of(seed);
    plan.database = Database::Postgres;
    plan.route = route;
    (plan.publishers, plan.replicas, plan.writers, plan.transactions) = (2, 2, 2, 30);
    plan.window = 14_000_000;
    plan.planned = vec![(4_000_000, Planned::Pause(1, 6_000_000)), (4_000_000, Planned::Pause(3, 6_000_000))];
    plan.off = Fault::ALL.iter().copied().filter(|fault| *fault != Fault::Pause).collect::<BTreeSet<_>>();
    plan.left_suspended = None;
    plan
}

fn stale_writes_change_nothing(route: Route) {
    let mut stale = 0;
    for seed in 0..20 {
        let outcome = run(&paused(seed, route), true);
        assert_eq!(outcome.violation, None, "seed {seed}");
        stale += outcome.counts.seen.get(&Seen::StaleWrite).copied().unwrap_or(0);
        // The trace says of each write whether it changed a row: none does under an epoch that is not the newest.
        let mut newest = std::collections::BTreeMap::new();
        for line in &outcome.trace {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(epoch), Some(verb)) = (words.iter().position(|word| *word == "epoch"), words.get(3))
            else {
                continue;
            };
            let number =
                |at: usize| words[at].trim_end_matches(':').parse::<i64>().expect("an epoch is a number");
            match *verb {
                "claims" | "reads" => drop(newest.insert(words[4].trim_end_matches(':'), number(epoch + 1))),
                "advances" | "has" => {
                    let pump = if *verb == "has" { words[5] } else { words[4] };
                    let holds = newest.get(pump) == Some(&number(epoch + 1));
                    assert_eq!(words.last() == Some(&"true"), holds, "seed {seed}: {line}");
                }
                _ => {}
            }
        }
    }
    assert!(stale > 0, "no relay came back after its claim had been taken");
}

#[test]
fn a_relay_paused_past_its_claim_moves_no_position() {
    stale_writes_change_nothing(Route::Push);
}

#[test]
fn a_reader_paused_past_its_claim_moves_no_position() {
    stale_writes_change_nothing(Route::Stream);
}
