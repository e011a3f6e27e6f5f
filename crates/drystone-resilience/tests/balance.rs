//! Balancing: who is picked, who is left out, and who never is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_resilience::{
    BalanceConfig, BalanceEvent, Balancer, Ejection, MemberStats, Picked, SeededRandom,
};
use proptest::prelude::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn address(n: usize) -> Arc<str> {
    format!("10.0.0.{n}:7001").into()
}

fn balancer(config: BalanceConfig, members: usize) -> Balancer<usize> {
    let balancer = Balancer::new(config, Arc::new(SeededRandom::new(7)));
    balancer.set((0..members).map(|n| (address(n), n)).collect());
    balancer
}

fn stats(balancer: &Balancer<usize>, now: Instant, n: usize) -> MemberStats {
    let all = balancer.members(now);
    all.into_iter().find(|member| member.address == address(n)).expect("it is a member")
}

/// A call of `n` alone.
fn call(balancer: &Balancer<usize>, now: Instant, n: usize, members: usize) -> Picked<usize> {
    let others = (0..members).filter(|other| *other != n).map(address).collect::<Vec<_>>();
    balancer.pick(now, &others).expect("it is a member")
}

/// Calls one after another, each of which ends before the next; says how many each member got.
fn shares(
    balancer: &Balancer<usize>,
    from: Instant,
    calls: u32,
    took: impl Fn(usize) -> Duration,
) -> HashMap<usize, u32> {
    let mut shares = HashMap::new();
    for n in 0..calls {
        let now = from + MS * 10 * n;
        let picked = balancer.pick(now, &[]).expect("there are members");
        let member = *picked.member();
        *shares.entry(member).or_default() += 1;
        picked.succeeded(now + took(member));
    }
    shares
}

#[test]
fn calls_in_flight_are_spread_evenly() {
    for is_known in [false, true] {
        let balancer = balancer(BalanceConfig::default(), 4);
        let now = Instant::now();
        if is_known {
            (0..4).for_each(|n| call(&balancer, now, n, 4).succeeded(now + MS));
        }
        let picked =
            (0..4000).map(|_| balancer.pick(now, &[]).expect("there are members")).collect::<Vec<_>>();
        for n in 0..4 {
            let share = stats(&balancer, now, n).in_flight;
            // Drawing one at random would spread them by sqrt(4000 * 1/4 * 3/4), about 27.
            assert!((990..=1010).contains(&share), "member {n} has {share} of 4000, {is_known}");
        }
        drop(picked);
        assert!((0..4).all(|n| stats(&balancer, now, n).in_flight == 0), "a call that is dropped is over");
    }
}

#[test]
fn the_time_that_calls_take_jumps_up_and_comes_down_slowly() {
    let balancer = balancer(BalanceConfig::default(), 1);
    let start = Instant::now();
    let after = |ended: Instant, took: Duration| {
        let picked = balancer.pick(ended - took, &[]).expect("there is a member");
        picked.succeeded(ended);
        stats(&balancer, ended, 0).latency.expect("it has answered").as_millis()
    };
    let start = start + SECOND;
    assert_eq!(after(start, 100 * MS), 100);
    assert_eq!(after(start, MS), 100, "one fast call says nothing yet");
    // In ten seconds 1/e of it is left.
    assert_eq!(after(start + 10 * SECOND, MS), 37);
    assert_eq!(after(start + 10 * SECOND, 200 * MS), 200);
}

#[test]
fn who_is_slow_gets_little_and_is_tried_again() {
    let balancer = balancer(BalanceConfig::default(), 3);
    let start = Instant::now();
    let slow = shares(&balancer, start, 3000, |n| if n == 0 { 100 * MS } else { MS });
    let few = slow.get(&0).copied().unwrap_or_default();
    assert!((1..=30).contains(&few), "{slow:?}");
    let again = shares(&balancer, start + 60 * SECOND, 3000, |_| MS);
    assert!(
        again.get(&0).is_some_and(|share| *share > 30),
        "what it was a minute ago is forgotten: {again:?}"
    );
}

#[test]
fn who_is_new_gets_one_call_before_it_has_answered_one() {
    let balancer = balancer(BalanceConfig::default(), 2);
    let now = Instant::now();
    for n in 0..2 {
        call(&balancer, now, n, 2).succeeded(now + MS);
    }
    balancer.set((0..3).map(|n| (address(n), n)).collect());
    let picked = (0..100).map(|_| balancer.pick(now, &[]).expect("there are members")).collect::<Vec<_>>();
    assert_eq!(picked.iter().filter(|picked| *picked.member() == 2).count(), 1);
}

#[test]
fn a_set_keeps_what_is_known_of_those_that_stay() {
    let balancer = balancer(BalanceConfig::default(), 2);
    let now = Instant::now();
    let running = call(&balancer, now, 1, 2);
    call(&balancer, now, 1, 2).succeeded(now + 5 * MS);
    balancer.report_health(&address(1), false);
    let before = stats(&balancer, now, 1);
    assert_eq!((before.in_flight, before.latency, before.calls, before.healthy), (1, Some(5 * MS), 2, false));

    balancer.set(vec![(address(1), 100), (address(2), 200), (address(1), 300)]);
    assert_eq!(stats(&balancer, now, 1), before);
    assert_eq!(balancer.members(now).len(), 2, "an address is one member");
    assert_eq!(balancer.values(), [(address(1), 100), (address(2), 200)]);
    assert_eq!(*running.member(), 1, "a call keeps the member that it was given");
    running.succeeded(now + MS);
    assert_eq!(stats(&balancer, now, 1).in_flight, 0);

    let mut made = Vec::new();
    balancer.set_with(&[address(2), address(3)], |address| {
        made.push(address.clone());
        3
    });
    assert_eq!(made, [address(3)], "only what is new is made");
    assert_eq!(balancer.values(), [(address(2), 200), (address(3), 3)]);
    balancer.set(Vec::new());
    assert!(balancer.pick(now, &[]).is_none());
}

#[test]
fn a_call_in_flight_to_a_member_that_is_gone_is_nobodys() {
    let balancer = balancer(BalanceConfig::default(), 1);
    let now = Instant::now();
    let (first, second) = (call(&balancer, now, 0, 1), call(&balancer, now, 0, 1));
    balancer.set(Vec::new());
    balancer.set(vec![(address(0), 0)]);
    first.failed(now);
    drop(second);
    let stats = stats(&balancer, now, 0);
    assert_eq!((stats.in_flight, stats.failures), (0, 0), "it is another one under the same address");
}

#[test]
fn what_is_unhealthy_or_excepted_is_not_picked_if_it_can_be_helped() {
    let balancer = balancer(BalanceConfig::default(), 3);
    let now = Instant::now();
    balancer.report_health(&address(0), false);
    balancer.report_health("10.9.9.9:1", false);
    for _ in 0..100 {
        assert_ne!(*balancer.pick(now, &[]).expect("two are healthy").member(), 0);
        assert_eq!(*balancer.pick(now, &[address(1)]).expect("one is left").member(), 2);
        assert_eq!(*balancer.pick(now, &[address(1), address(2)]).expect("better than none").member(), 0);
    }
    assert!(balancer.pick(now, &[address(0), address(1), address(2)]).is_none());
    balancer.report_health(&address(0), true);
    assert!((0..100).any(|_| *balancer.pick(now, &[]).expect("three").member() == 0));
}

/// What the balancer told, as it happened.
type Told = Arc<Mutex<Vec<(Arc<str>, Duration, Ejection)>>>;

fn told(config: BalanceConfig, members: usize) -> (Balancer<usize>, Told) {
    let told = Told::default();
    let tell = told.clone();
    let balancer = Balancer::new(config, Arc::new(SeededRandom::new(7))).observe(Arc::new(move |event| {
        let BalanceEvent::Ejected { address, lasts, why } = event else { return };
        tell.lock().expect("nobody panics").push((address.clone(), *lasts, *why));
    }));
    balancer.set((0..members).map(|n| (address(n), n)).collect());
    (balancer, told)
}

#[test]
fn who_fails_in_a_row_is_left_out_for_longer_each_time() {
    let (balancer, told) = told(BalanceConfig::default(), 2);
    let start = Instant::now();
    let fail = |now, times| (0..times).for_each(|_| call(&balancer, now, 0, 2).failed(now));
    fail(start, 4);
    call(&balancer, start, 0, 2).succeeded(start);
    fail(start, 4);
    assert_eq!(stats(&balancer, start, 0).ejected_for, None, "a success between starts the row anew");
    fail(start, 1);
    assert_eq!(stats(&balancer, start, 0).ejected_for, Some(10 * SECOND));
    assert!((0..100).all(|_| *balancer.pick(start + 9 * SECOND, &[]).expect("one is left").member() == 1));

    // It comes back on probation: one call at a time, and one failure is enough.
    let back = start + 10 * SECOND;
    assert_eq!(stats(&balancer, back, 0).ejected_for, None);
    call(&balancer, back, 1, 2).succeeded(back + MS);
    let probes = (0..100).map(|_| balancer.pick(back, &[]).expect("two")).collect::<Vec<_>>();
    let (probes, others): (Vec<_>, Vec<_>) = probes.into_iter().partition(|picked| *picked.member() == 0);
    assert_eq!((probes.len(), others.len()), (1, 99));
    probes.into_iter().for_each(|probe| probe.failed(back));
    assert_eq!(stats(&balancer, back, 0).ejected_for, Some(20 * SECOND));

    // A success ends the probation; and what was long ago is forgiven.
    let later = back + 20 * SECOND;
    call(&balancer, later, 0, 2).succeeded(later);
    fail(later, 4);
    assert_eq!(stats(&balancer, later, 0).ejected_for, None);
    let much_later = later + 30 * SECOND;
    fail(much_later, 1);
    let seen = told.lock().expect("nobody panics").clone();
    let at = address(0);
    let expected = [
        (at.clone(), 10 * SECOND, Ejection::FailuresInRow),
        (at.clone(), 20 * SECOND, Ejection::OnProbation),
        (at, 10 * SECOND, Ejection::FailuresInRow),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn who_fails_far_more_often_than_the_others_is_left_out() {
    let (balancer, told) = told(BalanceConfig { failures_in_row: 0, ..BalanceConfig::default() }, 3);
    let now = Instant::now();
    // Every second call of 0 fails, and every tenth of the others: 40 points apart.
    for n in 0..18 {
        for member in 0..3 {
            let picked = call(&balancer, now, member, 3);
            let fails = if member == 0 { n % 2 == 1 } else { n % 10 == 9 };
            if fails { picked.failed(now) } else { picked.succeeded(now) }
        }
    }
    assert_eq!(told.lock().expect("nobody panics").len(), 0, "18 calls say too little");
    for n in 18..40 {
        for member in [1, 2, 0] {
            let picked = call(&balancer, now, member, 3);
            let fails = if member == 0 { n % 2 == 1 } else { n % 10 == 9 };
            if fails { picked.failed(now) } else { picked.succeeded(now) }
        }
    }
    let seen = told.lock().expect("nobody panics").clone();
    assert_eq!(seen, [(address(0), 10 * SECOND, Ejection::FailureRate)]);
}

#[test]
fn when_all_fail_alike_it_is_not_the_replicas() {
    let (balancer, told) = told(BalanceConfig { failures_in_row: 0, ..BalanceConfig::default() }, 3);
    let now = Instant::now();
    for _ in 0..100 {
        (0..3).for_each(|member| call(&balancer, now, member, 3).failed(now));
    }
    assert_eq!(told.lock().expect("nobody panics").len(), 0);
}

#[test]
fn the_last_that_is_healthy_stays() {
    let (balancer, told) = told(BalanceConfig::default(), 4);
    let now = Instant::now();
    (1..4).for_each(|n| balancer.report_health(&address(n), false));
    (0..20).for_each(|_| call(&balancer, now, 0, 4).failed(now));
    assert_eq!(told.lock().expect("nobody panics").len(), 0);
    balancer.report_health(&address(1), true);
    call(&balancer, now, 0, 4).failed(now);
    assert_eq!(told.lock().expect("nobody panics").len(), 1, "now there is another");
}

#[test]
fn what_was_long_ago_does_not_count() {
    let (balancer, told) = told(BalanceConfig { failures_in_row: 0, ..BalanceConfig::default() }, 2);
    let start = Instant::now();
    (0..30).for_each(|_| call(&balancer, start, 1, 2).succeeded(start));
    let later = start + 25 * SECOND;
    (0..30).for_each(|_| call(&balancer, later, 0, 2).failed(later));
    assert_eq!(told.lock().expect("nobody panics").len(), 0, "nothing is known of the others of late");
    (0..20).for_each(|_| call(&balancer, later, 1, 2).succeeded(later));
    call(&balancer, later, 0, 2).failed(later);
    assert_eq!(told.lock().expect("nobody panics").len(), 1);
}

#[test]
fn a_fast_failure_does_not_look_like_a_fast_answer() {
    let balancer =
        balancer(BalanceConfig { failures_in_row: 0, excess_percent: 101.0, ..BalanceConfig::default() }, 2);
    let mut now = Instant::now();
    for n in 0..2 {
        call(&balancer, now, n, 2).succeeded(now + 10 * MS);
    }
    let mut failed = 0;
    for _ in 0..1000 {
        let picked = balancer.pick(now, &[]).expect("two");
        if *picked.member() == 0 {
            failed += 1;
            picked.failed(now);
        } else {
            now += 10 * MS;
            picked.succeeded(now);
        }
    }
    assert!(failed < 50, "{failed} of 1000 went to the one that fails at once");
}

#[derive(Clone, Debug)]
enum Step {
    Pick { except: Vec<usize> },
    Done { nth: usize, how: Option<bool> },
    Health { member: usize, healthy: bool },
    Set { members: Vec<usize> },
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || proptest::collection::vec(0..6_usize, 0..4);
    let step = prop_oneof![
        6 => some().prop_map(|except| Step::Pick { except }),
        6 => (0..30_usize, proptest::option::weighted(0.8, proptest::bool::weighted(0.7)))
            .prop_map(|(nth, how)| Step::Done { nth, how }),
        1 => (0..6_usize, any::<bool>()).prop_map(|(member, healthy)| Step::Health { member, healthy }),
        1 => proptest::collection::vec(0..6_usize, 0..6).prop_map(|members| Step::Set { members }),
        1 => (0..20_000_u32).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn whatever_happens_the_promises_hold(steps in steps(), seed in any::<u64>()) {
        let config = BalanceConfig { failures_in_row: 2, ..BalanceConfig::default() };
        let balancer = Balancer::new(config, Arc::new(SeededRandom::new(seed)));
        balancer.set((0..4).map(|n| (address(n), n)).collect());
        let mut now = Instant::now();
        let mut running: Vec<Picked<usize>> = Vec::new();
        let mut gone: Vec<Picked<usize>> = Vec::new();
        for step in steps {
            let before = balancer.members(now);
            match step {
                Step::Pick { except } => {
                    let except = except.into_iter().map(address).collect::<Vec<_>>();
                    let open = before.iter().filter(|member| !except.contains(&member.address)).collect::<Vec<_>>();
                    let tier = |member: &MemberStats| if member.healthy { u8::from(member.ejected_for.is_some()) } else { 2 };
                    let Some(picked) = balancer.pick(now, &except) else {
                        prop_assert!(open.is_empty());
                        continue;
                    };
                    let member = open.iter().find(|member| &member.address == picked.address());
                    prop_assert_eq!(member.map(|member| tier(member)), open.iter().map(|member| tier(member)).min());
                    running.push(picked);
                }
                Step::Done { nth, how } if nth < running.len() => {
                    let picked = running.swap_remove(nth);
                    match how {
                        Some(true) => picked.succeeded(now),
                        Some(false) => picked.failed(now),
                        None => drop(picked),
                    }
                    let after = balancer.members(now);
                    let out = |members: &[MemberStats]| members.iter().filter(|member| member.ejected_for.is_some()).count();
                    let available = after.iter().filter(|member| member.healthy && member.ejected_for.is_none()).count();
                    if out(&after) > out(&before) {
                        prop_assert_eq!(how, Some(false));
                        prop_assert!(out(&after) * 2 <= after.len(), "at most half is out");
                        prop_assert!(available > 0, "never the last");
                    }
                }
                Step::Health { member, healthy } => balancer.report_health(&address(member), healthy),
                Step::Set { members } => {
                    balancer.set(members.iter().map(|n| (address(*n), *n)).collect());
                    let stays = |picked: &Picked<usize>| {
                        let known = |all: &[MemberStats]| all.iter().any(|member| &member.address == picked.address());
                        known(&before) && known(&balancer.members(now))
                    };
                    let (stay, go): (Vec<_>, Vec<_>) = running.into_iter().partition(stays);
                    running = stay;
                    gone.extend(go);
                }
                Step::Wait(ms) => now += MS * ms,
                Step::Done { .. } => {}
            }
            for member in balancer.members(now) {
                let in_flight = running.iter().filter(|picked| picked.address() == &member.address).count();
                prop_assert_eq!(usize::try_from(member.in_flight).ok(), Some(in_flight));
            }
        }
    }
}
