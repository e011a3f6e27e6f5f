//! What a handler does with a message: the message says it, so that a run needs no other register of poison.

use drystone_call::{Code, Error};
use drystone_events::Envelope;
use drystone_events::engine::ApplyError;

use super::executor::Process;
use super::fault::Fault;
use super::random::Random;
use super::time::MS;
use super::world::World;

/// A handler that holds its transaction open for longer meets the store's hold limit.
const HOLD_LIMIT: i64 = 1000 * MS;

/// How a message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Fine,
    Fails(u8),
    FailsUntilFixed,
    Undecodable,
    Aborts(u8),
    AbortsUntilFixed,
    /// Takes so many tenths of a second.
    Slow(u8),
}

impl Behaviour {
    pub(crate) fn draw(world: &World, process: Process, random: &mut Random) -> Self {
        let times = 1 + random.below(7) as u8;
        if world.happens(process, Fault::Fails) {
            Self::Fails(times)
        } else if world.happens(process, Fault::FailsUntilFixed) {
            Self::FailsUntilFixed
        } else if world.happens(process, Fault::Undecodable) {
            Self::Undecodable
        } else if world.happens(process, Fault::Aborts) {
            Self::Aborts(times * 2)
        } else if world.happens(process, Fault::AbortsUntilFixed) {
            Self::AbortsUntilFixed
        } else if world.happens(process, Fault::Slow) {
            Self::Slow(times)
        } else {
            Self::Fine
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Fine => vec![0, 0],
            Self::Fails(times) => vec![1, times],
            Self::FailsUntilFixed => vec![2, 0],
            Self::Undecodable => vec![3, 0],
            Self::Aborts(times) => vec![4, times],
            Self::AbortsUntilFixed => vec![5, 0],
            Self::Slow(tenths) => vec![6, tenths],
        }
    }

    pub(crate) fn of(message: &Envelope) -> Self {
        match **message.data.bytes() {
            [0, _] => Self::Fine,
            [1, times] => Self::Fails(times),
            [2, _] => Self::FailsUntilFixed,
            [4, times] => Self::Aborts(times),
            [5, _] => Self::AbortsUntilFixed,
            [6, tenths] => Self::Slow(tenths),
            _ => Self::Undecodable,
        }
    }

    /// Whether the message may be held back while nothing else is wrong.
    pub(crate) fn is_poison(self) -> bool {
        !matches!(self, Self::Fine | Self::Slow(_))
    }
}

/// Runs the handler of a consumer, in a transaction that was begun at `began`.
pub(crate) async fn handle(
    world: &World,
    consumer: &str,
    message: &Envelope,
    began: i64,
) -> Result<(), ApplyError> {
    let behaviour = Behaviour::of(message);
    let takes = match behaviour {
        Behaviour::Undecodable => {
            return Err(ApplyError::Undecodable(Error::invalid_argument("it is no such event")));
        }
        Behaviour::Slow(tenths) => i64::from(tenths) * 100 * MS,
        _ => world.between(20, 400),
    };
    world.time.sleep(takes).await;
    if world.now() - began > HOLD_LIMIT {
        return Err(ApplyError::Handler(Error::aborted("the transaction was open for too long")));
    }
    let (tried, fixed) = {
        let mut state = world.state();
        let tries = state.tries.entry((consumer.to_owned(), message.id)).or_default();
        *tries += 1;
        (*tries, state.fixed)
    };
    let code = match behaviour {
        Behaviour::Fails(times) if tried <= u32::from(times) => Code::Internal,
        Behaviour::Aborts(times) if tried <= u32::from(times) => Code::Aborted,
        Behaviour::FailsUntilFixed if !fixed => Code::Internal,
        Behaviour::AbortsUntilFixed if !fixed => Code::Aborted,
        _ => return Ok(()),
    };
    Err(ApplyError::Handler(Error::new(code, "the handler failed")))
}
