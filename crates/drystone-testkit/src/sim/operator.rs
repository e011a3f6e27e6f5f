//! Nature and the operator: faults at their planned moments, replay, drop and redrive, and the two ends of a run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use drystone_events::engine::{Held, HeldState, Hold, Inbox as _, InboxTx as _};

use super::check::{self, Violation};
use super::executor::Spawner;
use super::fault::Fault;
use super::handling::Behaviour;
use super::inbox::SimInbox;
use super::plan::{Planned, Route};
use super::processes::consumer;
use super::time::MS;
use super::world::{Side, World};

/// How long everything may take to drain once nothing goes wrong any more.
const DRAIN: i64 = 120_000 * MS;
/// How long calls that are still on their way may take to arrive.
const SETTLE: i64 = 5500 * MS;

/// How a run ended.
pub(crate) type Verdict = Rc<RefCell<Option<Violation>>>;

/// Runs nature and the operator until the run is over.
pub(crate) async fn reign(world: World, spawner: Spawner, verdict: Verdict, over: Rc<Cell<bool>>) {
    for (at, planned) in world.plan.planned.clone() {
        spawner.spawn(strike(world.clone(), at, planned));
    }
    spawner.spawn(tend(world.clone()));
    world.time.sleep_until(world.plan.window).await;
    let found = finish(&world).await;
    *verdict.borrow_mut() = found.err();
    over.set(true);
}

async fn finish(world: &World) -> Result<(), Violation> {
    let exempt = world.plan.left_suspended.map(|number| world.tenant(number));
    heal(world).await;
    if let Some(tenant) = &exempt {
        world.state().suspended.insert(tenant.clone());
    }
    world.note(0, format_args!("nothing goes wrong any more"));
    drain(world, |world| check::is_drained(world, exempt.as_ref())).await;
    world.time.sleep(SETTLE).await;
    check::check(world, exempt.as_ref())?;
    world.state().suspended.clear();
    world.state().fixed = true;
    world.note(0, format_args!("handlers are mended, parked keys are replayed"));
    let until = world.now() + DRAIN;
    while world.now() < until && !(world.inbox().held.is_empty() && check::is_drained(world, None)) {
        if let Some((consumer, held)) = parked(world, None) {
            let drops = Behaviour::of(&held.message) == Behaviour::Undecodable;
            operate(world, &consumer, &held, drops).await;
        }
        world.time.sleep(150 * MS).await;
    }
    world.time.sleep(1000 * MS).await;
    check::check(world, None)?;
    check::nothing_is_held(world)
}

async fn drain(world: &World, drained: impl Fn(&World) -> bool) {
    let until = world.now() + DRAIN;
    while world.now() < until && !drained(world) {
        world.time.sleep(250 * MS).await;
    }
}

/// Ends every fault that lasts.
async fn heal(world: &World) {
    world.heal();
    {
        let mut state = world.state();
        state.out.clear();
        state.suspended.clear();
    }
    for one in 1..=world.plan.processes() {
        world.time.resume(one);
        for other in one..=world.plan.processes() {
            world.network().cut(one, other, false);
        }
    }
    // Sessions without clients, and commits that come late, come to their ends.
    world.time.sleep(4100 * MS).await;
}

fn kind(planned: Planned) -> Fault {
    match planned {
        Planned::Crash(..) => Fault::Crash,
        Planned::Pause(..) => Fault::Pause,
        Planned::Cut(..) => Fault::Cut,
        Planned::Outage(..) => Fault::Outage,
        Planned::ForgetTail(_) => Fault::ForgetTail,
        Planned::ForgetAll => Fault::ForgetAll,
        Planned::Suspend(..) => Fault::Suspend,
        Planned::Redrive(..) => Fault::Redrive,
    }
}

async fn strike(world: World, at: i64, planned: Planned) {
    world.time.sleep_until(at).await;
    if world.plan.off.contains(&kind(planned)) {
        return;
    }
    world.note(0, format_args!("{planned:?}"));
    world.count(0, kind(planned));
    let lasts = |length: i64| world.time.sleep_until((at + length).min(world.plan.window));
    match planned {
        Planned::Crash(process, down) => world.kill(process, down),
        Planned::Pause(process, length) => {
            world.time.pause(process);
            lasts(length).await;
            world.time.resume(process);
        }
        Planned::Cut(one, other, length) => {
            world.network().cut(one, other, true);
            lasts(length).await;
            world.network().cut(one, other, false);
        }
        Planned::Outage(publisher, length) => {
            let side = if publisher { Side::Publisher } else { Side::Consumer };
            world.state().out.insert(side);
            lasts(length).await;
            world.state().out.remove(&side);
        }
        Planned::ForgetTail(count) => world.stream().forget_tail(count),
        Planned::ForgetAll => world.stream().forget_all(),
        Planned::Suspend(number, length) => {
            let tenant = world.tenant(number);
            world.state().suspended.insert(tenant.clone());
            lasts(length).await;
            if world.now() < world.plan.window {
                world.state().suspended.remove(&tenant);
            }
        }
        Planned::Redrive(number, rows) => redrive(&world, number, rows),
    }
}

/// Sets a pump back, in every lane.
fn redrive(world: &World, number: usize, rows: u64) {
    let pump = if world.plan.route == Route::Stream { "stream".to_owned() } else { consumer(number) };
    for lane in 0..world.lanes() {
        let mut db = world.outbox(lane);
        let position = db.back(i64::MAX, rows);
        db.pumps.set_back(&pump, position);
    }
}

/// A parked message, the one that `roll` chooses, or the first.
fn parked(world: &World, roll: Option<u64>) -> Option<(String, Held)> {
    let db = world.inbox();
    let all: Vec<_> = db.held.values().filter(|row| row.held.hold.state == HeldState::Parked).collect();
    if all.is_empty() {
        return None;
    }
    let at = roll.map_or(0, |roll| usize::try_from(roll % all.len() as u64).unwrap_or(0));
    Some((all[at].consumer.clone(), all[at].held.clone()))
}

/// Looks after parked keys while faults happen.
async fn tend(world: World) {
    while world.now() < world.plan.window {
        let wait = world.between(700 * MS, 2500 * MS);
        world.time.sleep(wait).await;
        let roll = world.roll();
        let Some((consumer, held)) = parked(&world, Some(roll)) else { continue };
        if world.now() < world.plan.window {
            operate(&world, &consumer, &held, roll.is_multiple_of(5)).await;
        }
    }
}

/// Drops a parked message, or replays its key from it; what fails is not tried again here.
async fn operate(world: &World, consumer: &str, held: &Held, drops: bool) {
    let fault = if drops { Fault::Drop } else { Fault::Replay };
    if world.plan.off.contains(&fault) && world.now() < world.plan.window {
        return;
    }
    let inbox = SimInbox::new(world, 0, consumer);
    let Ok(mut tx) = inbox.begin(&held.message.tenant).await else { return };
    let (source, key) = (&held.message.source, &held.message.key);
    match tx.first(source, key).await {
        Ok(Some(first)) if first.place == held.place && first.hold.state == HeldState::Parked => {}
        _ => return,
    }
    world.count(0, fault);
    world.note(0, format_args!("operator: {fault:?} {} of {consumer}", held.message.id.as_u128()));
    let done = if drops {
        tx.drops(held).await
    } else {
        let hold = Hold { state: HeldState::Retrying, attempts: 0, due: world.now(), reason: String::new() };
        tx.change(held.place, &hold).await
    };
    if done.is_ok() {
        drop(tx.commit().await);
    }
}
