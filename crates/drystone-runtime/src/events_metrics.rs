//! The counters of events in the Prometheus text format. Nothing here asks a store: gauges are what the loops of relays and consumers saw last.

use std::fmt::{Display, Write as _};

use drystone_call::Home;
use drystone_events::{Consumer, ConsumerMetrics, PumpMetrics, Relay, Subscription};

/// Name, kind and meaning.
type Family = (&'static str, &'static str, &'static str);

type ConsumerValue = fn(&ConsumerMetrics) -> i64;
type PumpValue = fn(&PumpMetrics, i64) -> f64;

const CONSUMERS: [(Family, ConsumerValue); 7] = [
    (("applied_total", "counter", "Messages whose handler ran and committed."), |m| whole(m.applied.get())),
    (("repeated_total", "counter", "Messages that had arrived before and were left out."), |m| {
        whole(m.repeated.get())
    }),
    (("held_total", "counter", "Messages that were held back when they arrived."), |m| whole(m.held.get())),
    (("retried_total", "counter", "Attempts at messages that were held back."), |m| whole(m.retried.get())),
    (("parked_total", "counter", "Keys that were parked."), |m| whole(m.parked.get())),
    (("malformed_total", "counter", "Messages of a broker that were no events and were left out."), |m| {
        whole(m.malformed.get())
    }),
    (("parked_keys", "gauge", "Keys that are parked now and wait for an operator."), |m| m.parked_keys.get()),
];

const PUMPS: [(Family, PumpValue); 6] = [
    (("carried_total", "counter", "Messages that the target has taken."), |m, _| {
        float(whole(m.carried.get()))
    }),
    (("pump_failures_total", "counter", "Attempts to carry that failed."), |m, _| {
        float(whole(m.failures.get()))
    }),
    (("forgotten_total", "counter", "Messages that a broker had acknowledged and lost."), |m, _| {
        float(whole(m.forgotten.get()))
    }),
    (("lag_messages", "gauge", "Messages that are not with the target, at most."), |m, _| {
        float(m.behind.messages())
    }),
    (
        ("oldest_unsent_seconds", "gauge", "Age of the oldest message that is not with the target."),
        |m, now| seconds(m.behind.oldest(), now),
    ),
    (
        ("still_seconds", "gauge", "How long the target has taken nothing although messages wait."),
        |m, now| seconds(m.behind.still_since(), now),
    ),
];

const FENCE_LAG: Family =
    ("fence_lag_seconds", "gauge", "How long the fence has waited for an older transaction.");
const FENCE_BLOCKER: Family =
    ("fence_blocker_pid", "gauge", "Process id of the session that the fence waits for; 0 if none is known.");

/// Renders what the relays and consumers of a process have counted.
pub(crate) fn prometheus(
    home: &Home,
    relays: &[Relay],
    consumers: &[Consumer],
    streams: &[Subscription],
) -> String {
    let now = micros(home);
    let mut text = String::new();
    for (family, value) in CONSUMERS {
        head(&mut text, family, !consumers.is_empty());
        for consumer in consumers {
            let labels = format!("module=\"{}\",consumer=\"{}\"", consumer.module(), consumer.name());
            line(&mut text, family, &labels, value(consumer.metrics()));
        }
    }
    let pumps = pumps(relays, streams);
    for (family, value) in PUMPS {
        head(&mut text, family, !pumps.is_empty());
        for (labels, metrics) in &pumps {
            line(&mut text, family, labels, value(metrics, now));
        }
    }
    for family in [FENCE_LAG, FENCE_BLOCKER] {
        head(&mut text, family, !relays.is_empty());
        for relay in relays {
            let fence = relay.fence();
            let labels = format!("module=\"{}\"", relay.module());
            if family == FENCE_LAG {
                line(
                    &mut text,
                    family,
                    &labels,
                    seconds(Some(fence.waiting_since.get()).filter(|since| *since > 0), now),
                );
            } else {
                line(&mut text, family, &labels, fence.blocker.get());
            }
        }
    }
    text
}

/// What carries, with its labels: out of an outbox, and out of a broker's stream.
fn pumps<'m>(relays: &'m [Relay], streams: &'m [Subscription]) -> Vec<(String, &'m PumpMetrics)> {
    let labels = |module: &str, pump: &str| format!("module=\"{module}\",pump=\"{pump}\"");
    let mut pumps = Vec::new();
    for relay in relays {
        pumps.extend(relay.pumps().iter().map(|(pump, metrics)| (labels(relay.module(), pump), &**metrics)));
    }
    pumps.extend(streams.iter().map(|one| (labels(one.consumer.module(), &one.name()), &*one.metrics)));
    pumps
}

fn head(text: &mut String, (name, kind, help): Family, has_any: bool) {
    if has_any {
        let _ = writeln!(text, "# HELP drystone_events_{name} {help}\n# TYPE drystone_events_{name} {kind}");
    }
}

fn line(text: &mut String, (name, ..): Family, labels: &str, value: impl Display) {
    let _ = writeln!(text, "drystone_events_{name}{{{labels}}} {value}");
}

/// The home's time in microseconds since 1970.
pub(crate) fn micros(home: &Home) -> i64 {
    let since = home.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus reads floats; counts beyond 2^53 are not reached")]
fn float(number: i64) -> f64 {
    number as f64
}

fn seconds(since: Option<i64>, now: i64) -> f64 {
    since.map_or(0.0, |since| float(now.saturating_sub(since).max(0)) / 1e6)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drystone_events::{Handlers, RelayConfig, Retention, Schedule, Target, Way};
    use drystone_store::Store;

    use super::*;

    #[test]
    fn every_family_has_its_line_and_none_stands_without_one() {
        let home = Home::of_system("mirror");
        assert_eq!(prometheus(&home, &[], &[], &[]), "");
        let store = Store::unopened("mirror");
        let (schedule, retention) = (Schedule::default(), Retention::default());
        let consumer = Consumer::new(
            "mirror",
            Handlers::default(),
            store.clone(),
            Arc::clone(&home),
            schedule,
            retention,
        );
        let way = Way::Push(Arc::new(consumer.clone()));
        let targets = vec![Target { name: "mirror".to_owned(), types: None, way }];
        let config = RelayConfig { store, home: Arc::clone(&home), targets, retention, owner: "test".into() };
        let text = prometheus(&home, &[Relay::new(config)], &[consumer], &[]);
        for line in [
            "drystone_events_applied_total{module=\"mirror\",consumer=\"mirror\"} 0",
            "drystone_events_parked_keys{module=\"mirror\",consumer=\"mirror\"} 0",
            "drystone_events_carried_total{module=\"mirror\",pump=\"mirror\"} 0",
            "drystone_events_oldest_unsent_seconds{module=\"mirror\",pump=\"mirror\"} 0",
            "drystone_events_fence_lag_seconds{module=\"mirror\"} 0",
            "drystone_events_fence_blocker_pid{module=\"mirror\"} 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let kinds = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        let values = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((kinds, values), (15, 15), "{text}");
    }

    #[test]
    fn ages_are_seconds_and_never_negative() {
        assert_eq!(seconds(None, 5_000_000), 0.0);
        assert_eq!(seconds(Some(1_500_000), 5_000_000), 3.5);
        assert_eq!(seconds(Some(6_000_000), 5_000_000), 0.0);
    }
}
