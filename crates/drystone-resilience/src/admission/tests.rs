//! The queue beside a model: turns by weight, nobody lost, nobody twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::queue::{Arrival, Queue, Rules};
use super::waiter::Waiter;

const MS: Duration = Duration::from_millis(1);

fn rules(length: u32) -> Rules {
    Rules { target: 20 * MS, interval: 250 * MS, length, standing: length }
}

fn weight(key: u8) -> u32 {
    u32::from(key) + 1
}

#[test]
fn a_key_that_was_empty_comes_first_once_and_then_in_turn() {
    let now = Instant::now();
    let mut queue = Queue::new();
    let mut names = BTreeMap::new();
    let mut join = |queue: &mut Queue<u8>, key: u8, name: &'static str| {
        let joined = queue.join(&Arrival { key: &key, weight: 1, now }, rules(100)).expect("there is room");
        names.insert(joined.waiter.number, name);
    };
    for name in ["a1", "a2", "a3", "a4"] {
        join(&mut queue, 0, name);
    }
    let mut served = vec![queue.next(now)];
    join(&mut queue, 1, "b1");
    served.push(queue.next(now));
    // It comes again as soon as it was served, and has no precedence now.
    join(&mut queue, 1, "b2");
    served.extend([queue.next(now), queue.next(now)]);
    join(&mut queue, 1, "b3");
    served.extend([queue.next(now), queue.next(now), queue.next(now)]);
    let served: Vec<_> = served.into_iter().flatten().map(|(waiter, _)| names[&waiter.number]).collect();
    assert_eq!(served, ["a1", "b1", "a2", "b2", "a3", "b3", "a4"]);
}

#[test]
fn a_line_that_does_not_move_keeps_no_keys_of_those_that_left() {
    let now = Instant::now();
    let mut queue = Queue::new();
    let stays = queue.join(&Arrival { key: &u32::MAX, weight: 1, now }, rules(100)).expect("there is room");
    for key in 0..10_000 {
        let joined = queue.join(&Arrival { key: &key, weight: 1, now }, rules(100)).expect("there is room");
        assert!(queue.remove(&joined.waiter, now).is_some());
        assert!(queue.lanes() <= 70, "{} lanes", queue.lanes());
    }
    assert_eq!(queue.next(now).map(|(waiter, _)| waiter.number), Some(stays.waiter.number));
}

#[test]
fn a_queue_that_stands_takes_no_more_than_it_may_but_of_a_modest_key() {
    let (now, rules) = (Instant::now(), Rules { standing: 8, ..rules(100) });
    let mut queue = Queue::new();
    let join =
        |queue: &mut Queue<u8>, key: u8, now| queue.join(&Arrival { key: &key, weight: 1, now }, rules);
    for _ in 0..12 {
        assert!(join(&mut queue, 0, now).is_ok(), "a burst");
    }
    let later = now + 250 * MS;
    assert!(join(&mut queue, 0, later).is_err(), "what came before it has not been served yet");
    let joined = join(&mut queue, 1, later).expect("others make it stand");
    assert!(joined.displaced.is_none());
    for _ in 0..6 {
        assert!(queue.next(later).is_some());
    }
    assert!(join(&mut queue, 0, later).is_ok());
    assert_eq!(queue.waiting(), 8);
    assert!(join(&mut queue, 0, later).is_err());
}

#[test]
fn what_is_ahead_follows_from_the_share() {
    let now = Instant::now();
    let mut queue = Queue::new();
    let join = |queue: &mut Queue<u8>, key: u8| {
        queue.join(&Arrival { key: &key, weight: weight(key), now }, rules(9))
    };
    for _ in 0..8 {
        assert!(join(&mut queue, 0).is_ok());
    }
    assert_eq!((queue.ahead(&0, 1), queue.ahead(&1, 2)), (9, 1));
    assert!(join(&mut queue, 1).is_ok());
    // Two of every three turns are the second key's.
    assert_eq!((queue.ahead(&0, 1), queue.ahead(&1, 2)), (10, 3));
    assert_eq!(join(&mut queue, 0).map(|_| ()).map_err(|full| full.ahead), Err(10));
}

proptest! {
    /// Whatever comes, is served and leaves: each that joined is served once, removed once or displaced once; of its key the oldest, or the newest if it came to a
    /// queue that stands; the queue keeps its length; and nobody has more than its share of a full queue while another is refused below its own.
    #[test]
    fn it_loses_nobody_and_keeps_the_order_of_a_key(
        length in 1..12_u32,
        steps in proptest::collection::vec((0..4_u8, 0..5_u8, 0..40_u32), 1..300),
    ) {
        let mut now = Instant::now();
        let mut queue = Queue::new();
        let mut model: BTreeMap<u8, Vec<Arc<Waiter>>> = BTreeMap::new();
        let mut stands = BTreeSet::new();
        for (what, key, amount) in steps {
            match what {
                0 | 1 => {
                    let own = model.get(&key).map_or(0, Vec::len) as u32;
                    let active: u32 = model.iter().filter(|(other, lane)| **other == key || !lane.is_empty()).map(|(k, _)| weight(*k)).sum();
                    let active = if model.contains_key(&key) { active } else { active + weight(key) };
                    match queue.join(&Arrival { key: &key, weight: weight(key), now }, rules(length)) {
                        Ok(joined) => {
                            if let Some((displaced, _)) = joined.displaced {
                                let (_, lane) = model.iter_mut().find(|(_, lane)| lane.last().is_some_and(|last| last.number == displaced.number)).expect("the newest of its key");
                                lane.pop();
                                prop_assert!(own * active < length * weight(key));
                            }
                            prop_assert!((now + 20 * MS..=now + 250 * MS).contains(&joined.until));
                            if joined.until == now + 20 * MS {
                                stands.insert(joined.waiter.number);
                            }
                            model.entry(key).or_default().push(joined.waiter);
                        }
                        Err(_) => {
                            prop_assert_eq!(queue.waiting(), length);
                            let more = model.iter().any(|(k, lane)| lane.len() as u32 * weight(key) > (own + 1) * weight(*k));
                            prop_assert!(own * active >= length * weight(key) || !more);
                        }
                    }
                }
                2 => {
                    now += amount * MS;
                    if let Some((waiter, _)) = queue.next(now) {
                        let next = |lane: &Vec<Arc<Waiter>>| {
                            let newest = lane.len().checked_sub(1)?;
                            let place = if stands.contains(&lane[newest].number) { newest } else { 0 };
                            (lane[place].number == waiter.number).then_some(place)
                        };
                        let lane = model.values_mut().find_map(|lane| Some((next(lane)?, lane)));
                        prop_assert!(lane.is_some(), "the one of its key whose turn it is");
                        let (place, lane) = lane.expect("it is there");
                        lane.remove(place);
                    } else {
                        prop_assert!(model.values().all(Vec::is_empty));
                    }
                }
                _ => if let Some(lane) = model.get_mut(&key).filter(|lane| !lane.is_empty()) {
                    let gone = lane.remove(amount as usize % lane.len());
                    prop_assert!(queue.remove(&gone, now).is_some());
                    prop_assert!(queue.remove(&gone, now).is_none(), "only once");
                },
            }
            prop_assert_eq!(queue.waiting() as usize, model.values().map(Vec::len).sum::<usize>());
            prop_assert!(queue.waiting() <= length);
        }
    }

    /// While all wait, turns are given by weight, exact to one round.
    #[test]
    fn turns_follow_the_weights(keys in 2..5_u8, rounds in 1..6_u32) {
        let now = Instant::now();
        let mut queue = Queue::new();
        let mut owner = BTreeMap::new();
        for number in 0..200_u32 {
            let key = (number % u32::from(keys)) as u8;
            let joined = queue.join(&Arrival { key: &key, weight: weight(key), now }, rules(1000)).expect("there is room");
            owner.insert(joined.waiter.number, key);
        }
        let round: u32 = (0..keys).map(weight).sum();
        let mut served = BTreeMap::new();
        for _ in 0..round * rounds {
            let (waiter, expired) = queue.next(now).expect("they wait");
            prop_assert!(!expired);
            *served.entry(owner[&waiter.number]).or_insert(0) += 1;
        }
        for (key, served) in served {
            prop_assert_eq!(served, weight(key) * rounds);
        }
    }
}
