//! What is not as it should be with events, in sentences that say what, since when and what to do.
//!
//! A relay that runs and a consumer that runs can both be well and get nothing done: so this looks at what was taken and applied, and at what waits, never at who has
//! which role. It is no part of `/readyz`: a process whose consumer stands still answers calls as well as before, and to take it out of service would make an outage of a
//! delay, in every replica at once, since all of them see the same backlog. Who watches runs `events status --check`, or an alert on `drystone_events_still_seconds`.

use super::when::{age, moment};
use crate::module_events::{EventsStatus, PumpLine};

/// What may wait this long, in microseconds, is not worth a word.
const PATIENCE: i64 = 60_000_000;

/// What is wrong with one module's events; `hosted` says whether a process of this machine runs the module.
pub(super) fn findings(app: &str, status: &EventsStatus, hosted: bool) -> Vec<String> {
    let mut found: Vec<String> =
        status.pumps.iter().filter_map(|pump| of_pump(status, pump, hosted)).collect();
    if let Some(fence) = &status.fence
        && let Some(since) = fence.waiting_since.filter(|since| status.now - since > PATIENCE)
    {
        let who =
            fence.blocker.as_ref().map_or_else(|| "an older transaction".to_owned(), ToString::to_string);
        let end = fence
            .blocker
            .as_ref()
            .map(|blocker| format!("; end it, or `select pg_terminate_backend({})`", blocker.pid));
        found.push(format!(
            "{}: nothing new is carried, for since {} ({}) the fence waits for {who}{}",
            status.module,
            moment(since),
            age(since, status.now),
            end.unwrap_or_default()
        ));
    }
    for line in &status.consumers {
        let (consumer, held) = (&line.status.consumer, &line.status);
        if held.parked_keys > 0 {
            found.push(format!(
                "{consumer}: keys that are parked and wait for you: {}; `{app} events list --consumer {consumer} --state parked` shows them",
                held.parked_keys
            ));
        }
        if let Some(due) = held.next_retry.filter(|due| status.now - due > PATIENCE) {
            found.push(format!(
                "{consumer}: a held message was due {} ago, and nobody tries it: does a process run that hosts module {}?",
                age(due, status.now),
                status.module
            ));
        }
    }
    found
}

fn of_pump(status: &EventsStatus, pump: &PumpLine, hosted: bool) -> Option<String> {
    let (module, to, lag) = (&status.module, &pump.status.pump, pump.status.lag);
    let refused: i64 =
        pump.status.tenants.iter().filter(|_| pump.status.position.is_some()).map(|tenant| tenant.lag).sum();
    let oldest = pump.status.oldest.filter(|oldest| lag > refused && status.now - oldest > PATIENCE)?;
    let waiting = format!("{lag} messages wait, the oldest since {}", moment(oldest));
    match pump.counted {
        Some(counted) => {
            let since = counted.still_since.filter(|since| status.now - since > PATIENCE)?;
            let why = match counted.failures {
                0 => "no attempt has failed".to_owned(),
                failures => format!("{failures} attempts have failed, and the log says why"),
            };
            Some(format!(
                "{module} to {to}: nothing was taken for {}, and {waiting}; {why}",
                age(since, status.now)
            ))
        }
        None if hosted => None,
        None => Some(format!("{module} to {to}: {waiting}, and no process on this machine carries them")),
    }
}

#[cfg(test)]
mod tests {
    use drystone_events::operate::{Blocker, ConsumerStatus, FenceStatus, PumpStatus, Stalled};

    use super::*;
    use crate::module_events::{ConsumerLine, PumpCounts};

    const NOW: i64 = 1_767_225_600_000_000;
    const AGO: i64 = NOW - 95_000_000;

    fn status(pump: PumpStatus, counted: Option<PumpCounts>) -> EventsStatus {
        let pump = PumpLine { status: PumpStatus { pump: "mirror".into(), ..pump }, counted };
        EventsStatus { module: "ledger".into(), now: NOW, pumps: vec![pump], ..EventsStatus::default() }
    }

    fn check(status: &EventsStatus, hosted: bool, expected: &[&str]) {
        assert_eq!(findings("shop", status, hosted), expected);
    }

    #[test]
    fn a_pump_that_moves_is_well_however_much_waits() {
        let behind = PumpStatus { lag: 5, oldest: Some(AGO), ..PumpStatus::default() };
        let moves = PumpCounts { still_since: Some(NOW - 1_000_000), ..PumpCounts::default() };
        check(&status(behind.clone(), Some(moves)), true, &[]);
        let stands = PumpCounts { still_since: Some(AGO), failures: 7, ..PumpCounts::default() };
        check(
            &status(behind.clone(), Some(stands)),
            true,
            &[
                "ledger to mirror: nothing was taken for 95 s, and 5 messages wait, the oldest since 2025-12-31T23:58:25Z; 7 attempts have failed, and the log \
               says why",
            ],
        );
        check(
            &status(behind, None),
            false,
            &[
                "ledger to mirror: 5 messages wait, the oldest since 2025-12-31T23:58:25Z, and no process on this machine carries them",
            ],
        );
        let soon = PumpStatus { lag: 5, oldest: Some(NOW - 5_000_000), ..PumpStatus::default() };
        check(&status(soon, None), false, &[]);
    }

    #[test]
    fn what_a_suspended_tenant_has_waiting_is_nobodys_fault() {
        let stalled = Stalled { tenant: "acme".into(), position: 3, lag: 5, oldest: Some(AGO) };
        let refused = PumpStatus {
            position: Some(9),
            lag: 5,
            oldest: Some(AGO),
            tenants: vec![stalled],
            ..PumpStatus::default()
        };
        check(&status(refused, None), false, &[]);
    }

    #[test]
    fn a_blocked_fence_parked_keys_and_overdue_retries_are_told() {
        let mut status = status(PumpStatus::default(), None);
        let blocker = Blocker {
            pid: 77,
            user: Some("shop_orders".into()),
            application: Some("psql".into()),
            state: None,
        };
        status.fence = Some(FenceStatus {
            taken: 9,
            settled: Some(4),
            waiting_since: Some(AGO),
            blocker: Some(blocker),
        });
        let held = ConsumerStatus {
            consumer: "mirror".into(),
            parked_keys: 2,
            next_retry: Some(AGO),
            ..ConsumerStatus::default()
        };
        status.consumers = vec![ConsumerLine { status: held, counted: None }];
        check(
            &status,
            true,
            &[
                "ledger: nothing new is carried, for since 2025-12-31T23:58:25Z (95 s) the fence waits for pid 77, user shop_orders, application psql; end it, or \
                 `select pg_terminate_backend(77)`",
                "mirror: keys that are parked and wait for you: 2; `shop events list --consumer mirror --state parked` shows them",
                "mirror: a held message was due 95 s ago, and nobody tries it: does a process run that hosts module ledger?",
            ],
        );
    }
}
