//! What the calling process says of its way to the payments while the load goes on, from its `/metrics`.

use std::time::{Duration, Instant};

use crate::http::{self, Connection};
use crate::suites::Failure;

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(200);
/// The calling module and the methods that it calls.
pub(crate) const METHODS: [&str; 2] = ["Charge", "GetCharge"];

/// The edge from the orders to the payments at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// Since the load began.
    pub(crate) at: Duration,
    /// The state of each method's breaker: 0 closed, 1 half-open, 2 open.
    pub(crate) breakers: [u8; 2],
    /// Attempts of both methods since the process began.
    pub(crate) attempts: f64,
}

/// Looks again and again for a time.
pub(crate) async fn look(address: &str, began: Instant, time: Duration) -> Result<Vec<Look>, Failure> {
    let mut connection = Connection::open(address).await?;
    let request = http::get("/metrics");
    let mut looks = Vec::new();
    while began.elapsed() < time {
        let text = std::str::from_utf8(connection.exchange(request.as_bytes()).await?)?;
        looks.push(Look { at: began.elapsed(), ..read(text) });
        tokio::time::sleep(EVERY).await;
    }
    Ok(looks)
}

fn read(text: &str) -> Look {
    let value = |name: &str, method: &str| -> Option<f64> {
        let line = format!("{name}{{from=\"orders\",method=\"shop.payments.v1.Payments/{method}\"}} ");
        text.lines().find_map(|known| known.strip_prefix(&line)?.trim().parse().ok())
    };
    let sum = |name: &str| METHODS.iter().filter_map(|method| value(name, method)).sum();
    let breakers = METHODS.map(|method| match value("drystone_breaker_state", method) {
        Some(state) if state > 1.5 => 2,
        Some(state) if state > 0.5 => 1,
        _ => 0,
    });
    Look { at: Duration::ZERO, breakers, attempts: sum("drystone_call_attempts_total") }
}

/// Attempts a second, in whole seconds from `from` to `to`: each by the looks that are nearest to its ends.
pub(crate) fn attempts(looks: &[Look], from: u64, to: u64) -> Vec<f64> {
    let at = |second: u64| {
        let after = looks.partition_point(|look| look.at < Duration::from_secs(second));
        looks.get(after).or(looks.last()).copied().unwrap_or_default()
    };
    let rate = |second| {
        let (begin, end) = (at(second), at(second + 1));
        let seconds = (end.at.saturating_sub(begin.at)).as_secs_f64();
        if seconds > 0.0 { (end.attempts - begin.attempts) / seconds } else { 0.0 }
    };
    (from..to).map(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_read_from_the_metrics() {
        let text = "# TYPE drystone_breaker_state gauge\n\
                    drystone_breaker_state{from=\"gateway\",method=\"shop.orders.v1.Orders/GetOrder\"} 1\n\
                    drystone_breaker_state{from=\"orders\",method=\"shop.payments.v1.Payments/Charge\"} 2\n\
                    drystone_call_attempts_total{from=\"orders\",method=\"shop.payments.v1.Payments/Charge\"} 40\n\
                    drystone_call_attempts_total{from=\"orders\",method=\"shop.payments.v1.Payments/GetCharge\"} 2\n";
        assert_eq!(read(text), Look { breakers: [2, 0], attempts: 42.0, ..Look::default() });
    }

    #[test]
    fn attempts_are_counted_by_the_second() {
        let look = |tenths: u64, attempts| Look {
            at: Duration::from_millis(tenths * 100),
            attempts,
            ..Look::default()
        };
        let looks = [look(0, 0.0), look(5, 5.0), look(10, 20.0), look(20, 20.0)];
        assert_eq!(attempts(&looks, 0, 2), [20.0, 0.0]);
    }
}
