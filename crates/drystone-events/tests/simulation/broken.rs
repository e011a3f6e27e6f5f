//! Worlds that are broken on purpose: the checker finds each of them, within few seeds, or the promise would rest on nothing.

use drystone_testkit::sim::{Broken, Database, Plan, Planned, Promise, Route, run, shrink};

/// Seeds from here on are not those of the thousand.
const FIRST: u64 = 1 << 32;
/// So many at most are tried.
const MOST: u64 = 400;

/// Runs plans with a broken world until one breaks one of these promises; the same plan without the breakage keeps them all.
fn caught(broken: Broken, promises: &[Promise], shape: impl Fn(&mut Plan)) -> Plan {
    for seed in FIRST..FIRST + MOST {
        let mut plan = Plan::of(seed);
        shape(&mut plan);
        let bad = plan.clone().broken(broken);
        if let Some(violation) = run(&bad, false).violation
            && promises.contains(&violation.promise)
        {
            println!("{broken:?} is caught by seed {seed}: {violation}");
            let whole = run(&plan, false).violation;
            assert_eq!(whole, None, "the world that is not broken keeps every promise");
            return bad;
        }
    }
    panic!("{broken:?} was not caught by {MOST} seeds");
}

fn postgres(plan: &mut Plan) {
    plan.database = Database::Postgres;
    plan.publishers = 2;
}

fn stream(plan: &mut Plan) {
    plan.route = Route::Stream;
}

#[test]
fn an_inbox_that_does_not_record_applies_twice() {
    caught(Broken::InboxForgets, &[Promise::NoneTwice], |_| {});
}

#[test]
fn a_fence_that_settles_at_once_loses() {
    caught(Broken::FenceSettlesAtOnce, &[Promise::NoneLost], postgres);
}

#[test]
fn the_order_of_transactions_reorders() {
    caught(Broken::OrderByTransaction, &[Promise::NoneReordered], postgres);
}

#[test]
fn a_position_that_runs_ahead_of_delivery_loses() {
    caught(Broken::AnswersBeforeDelivery, &[Promise::NoneLost], |_| {});
}

#[test]
fn a_position_written_under_an_old_claim_is_seen() {
    caught(Broken::EpochIgnored, &[Promise::NewestClaimOnly], postgres);
}

#[test]
fn a_held_key_that_does_not_hold_reorders() {
    caught(Broken::HeldKeyDoesNotHold, &[Promise::NoneReordered], |_| {});
}

/// With less than serializable transactions two retriers apply the same message, or a message is put behind another that is released in the same moment, and
/// nobody goes back to it.
#[test]
fn held_keys_need_serializable_transactions() {
    let promises = [Promise::NoneTwice, Promise::NoneStranded, Promise::NoneReordered];
    caught(Broken::HeldKeysReadCommitted, &promises, |plan| {
        postgres(plan);
        plan.replicas = 3;
    });
}

/// The stream forgets its tail and grows again while the reader does not look: the number is there, and another message has it.
#[test]
fn a_reader_that_goes_by_the_number_alone_loses() {
    caught(Broken::ReaderGoesByNumber, &[Promise::NoneLost, Promise::NoneReordered], stream);
}

/// Numbers of the old stream mean nothing in the new one, also those of tenants that were left behind.
#[test]
fn a_reader_that_begins_anew_without_its_refused_tenants_loses() {
    caught(Broken::ReaderKeepsRefusedTenants, &[Promise::NoneLost, Promise::NoneReordered], |plan| {
        stream(plan);
        (plan.publishers, plan.replicas, plan.tenants, plan.window) = (1, 1, 3, 14_000_000);
        plan.left_suspended = None;
        plan.off.clear();
        plan.planned = vec![
            (2_500_000, Planned::Redrive(0, 30)),
            (4_000_000, Planned::Suspend(0, 9_000_000)),
            (6_000_000, Planned::ForgetAll),
            (9_000_000, Planned::Crash(2, 200_000)),
        ];
    });
}

/// Lanes share a stream: what one appends hides from the other that its own messages are gone.
#[test]
fn a_lane_that_goes_by_the_number_alone_loses() {
    caught(Broken::PumpGoesByNumber, &[Promise::NoneLost, Promise::NoneReordered], |plan| {
        stream(plan);
        plan.database = Database::Sqlite;
        plan.publishers = 1;
        plan.replicas = plan.replicas.min(1);
        plan.tenants = 3;
    });
}

/// What is printed when a seed fails is small: few messages, and no fault without which the promise would be kept.
#[test]
fn a_failing_plan_shrinks() {
    let plan = caught(Broken::InboxForgets, &[Promise::NoneTwice], postgres);
    let small = shrink(&plan);
    let (before, after) = (run(&plan, true), run(&small, true));
    assert_eq!(after.violation.expect("the small plan fails too").promise, Promise::NoneTwice);
    assert!(small.planned.len() <= plan.planned.len() && small.off.len() >= plan.off.len());
    assert!(small.writers * small.transactions * small.publishers <= 4, "{small:#?}");
    assert!(
        after.trace.len() * 2 < before.trace.len(),
        "{} of {} lines",
        after.trace.len(),
        before.trace.len()
    );
}
