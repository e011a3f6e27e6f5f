//! The settings of `[calls]`: how one method is called on one edge.

use std::time::Duration;

use drystone_call::policy::{Policy, RateBy, RatePolicy, RetryPolicy};
use drystone_call::{Coalescing, Effect, KeyPolicy, MethodInfo};
use drystone_resilience::{BreakerConfig, DeadlineConfig, RateConfig, SlowCalls, Window};
use toml::Value;

use super::draft::{Draft, Part};
use super::value::{
    Read, count, maybe_time, per_second, share, shown_share, shown_time, some_time, time, word,
};

/// The longest time for which answers of coalesced calls may be kept: for longer nobody remembers who wrote when.
const LONGEST_TTL: Duration = Duration::from_secs(60);

/// What counts the calls of a rate together.
const BY: [(&str, RateBy); 3] =
    [("edge", RateBy::Edge), ("tenant", RateBy::Tenant), ("principal", RateBy::Principal)];

/// A method of which its contract says nothing.
static NOTHING_SAID: MethodInfo = MethodInfo {
    index: 0,
    name: "",
    path: "/",
    contract: "",
    effect: Effect::Mutating,
    key: KeyPolicy::Honoured,
    timeout: None,
    coalesce: None,
    recursive: false,
};

/// The policy of one method on one edge, in the making.
#[derive(Clone, Debug)]
pub(super) struct Calling {
    timeout: Duration,
    deadline: DeadlineConfig,
    retry: Part<RetryPolicy>,
    breaker: Part<BreakerConfig>,
    slow: SlowDraft,
    bulkhead: u32,
    rate: Part<RateDraft>,
    coalesce: Part<Coalescing>,
}

/// The slow calls of a breaker.
#[derive(Clone, Debug)]
struct SlowDraft {
    after: Option<Duration>,
    /// From 0 to 1.
    calls: f64,
}

/// A rate that does not know yet how many.
#[derive(Clone, Debug)]
struct RateDraft {
    per_second: Option<f64>,
    burst: Option<u32>,
    by: RateBy,
}

impl Default for Calling {
    /// What holds for a method whose contract says nothing.
    fn default() -> Self {
        let Policy { timeout, deadline, retry, breaker, bulkhead, rate: _, coalesce: _ } =
            Policy::of(&NOTHING_SAID);
        Self {
            timeout,
            deadline,
            retry: part_of(retry),
            breaker: part_of(breaker),
            slow: SlowDraft { after: None, calls: 0.5 },
            bulkhead,
            rate: Part::off(RateDraft { per_second: None, burst: None, by: RateBy::default() }),
            coalesce: Part::off(Coalescing::default()),
        }
    }
}

impl Calling {
    /// Takes what the contract says of the method, and tells which settings that are.
    pub(super) fn declare(&mut self, method: &MethodInfo) -> Vec<&'static str> {
        let mut declared = Vec::new();
        if let Some(timeout) = method.timeout {
            self.timeout = timeout;
            declared.push("timeout");
        }
        if let Some(coalesce) = method.coalesce {
            self.coalesce = Part::on(coalesce);
            declared.extend(["coalesce", "coalesce.ttl"]);
        }
        declared
    }

    /// Lets no two calls be one: for methods that are no reads.
    pub(super) fn share_nothing(&mut self) {
        self.coalesce = Part::off(Coalescing::default());
    }

    fn set_breaker(&mut self, key: &str, value: &Value) -> Option<Read<()>> {
        let breaker = &mut self.breaker;
        Some(match key {
            "timeout" => breaker.put(maybe_time(value), |breaker, timeout| breaker.timeout = timeout),
            "errors" => breaker.put(share(value), |breaker, errors| breaker.errors_percent = errors * 100.0),
            "reset" => breaker.put(some_time(value), |breaker, reset| breaker.reset = reset),
            "window" => breaker.put(window(value), |breaker, window| breaker.window = window),
            "minimum" => breaker.put(count(value, 1), |breaker, minimum| breaker.minimum_calls = minimum),
            "slow" => breaker.put(maybe_time(value), |_, after| self.slow.after = after),
            "slow_calls" => breaker.put(share(value), |_, calls| self.slow.calls = calls),
            "probes" => breaker.put(count(value, 1), |breaker, probes| breaker.probes = probes),
            _ => return None,
        })
    }

    fn breaker(&self) -> Result<Option<BreakerConfig>, String> {
        let Some(breaker) = self.breaker.get() else { return Ok(None) };
        if let Window::Calls(calls) = breaker.window
            && calls < breaker.minimum_calls
        {
            return Err(format!(
                "a window of {calls} calls never has the {} of `minimum`; set minimum to {calls} at most",
                breaker.minimum_calls
            ));
        }
        let percent = self.slow.calls * 100.0;
        let slow = self.slow.after.map(|after| SlowCalls { after, percent });
        Ok(Some(BreakerConfig { slow, ..breaker.clone() }))
    }

    fn shown_breaker(&self, all: &mut Vec<(&'static str, String)>) {
        let Some(breaker) = self.breaker.get() else {
            all.push(("breaker", "false".to_owned()));
            return;
        };
        all.push(("breaker", "true".to_owned()));
        all.push(("breaker.errors", shown_share(breaker.errors_percent / 100.0)));
        all.push(("breaker.minimum", breaker.minimum_calls.to_string()));
        all.push((
            "breaker.window",
            match breaker.window {
                Window::Calls(calls) => calls.to_string(),
                Window::Time(time) => shown_time(time),
            },
        ));
        all.push(("breaker.reset", shown_time(breaker.reset)));
        all.push(("breaker.probes", breaker.probes.to_string()));
        all.extend(breaker.timeout.map(|timeout| ("breaker.timeout", shown_time(timeout))));
        if let Some(after) = self.slow.after {
            all.push(("breaker.slow", shown_time(after)));
            all.push(("breaker.slow_calls", shown_share(self.slow.calls)));
        }
    }
}

fn part_of<T: Default>(value: Option<T>) -> Part<T> {
    value.map_or_else(|| Part::off(T::default()), Part::on)
}

fn window(value: &Value) -> Read<Window> {
    if value.is_integer() { count(value, 1).map(Window::Calls) } else { some_time(value).map(Window::Time) }
}

impl Draft for Calling {
    type Policy = Policy;

    const KEYS: &'static [&'static str] = &[
        "timeout",
        "deadline.margin",
        "deadline.floor",
        "retry",
        "retry.attempts",
        "retry.base",
        "retry.cap",
        "retry.budget",
        "retry.floor",
        "breaker",
        "breaker.timeout",
        "breaker.errors",
        "breaker.reset",
        "breaker.window",
        "breaker.minimum",
        "breaker.slow",
        "breaker.slow_calls",
        "breaker.probes",
        "bulkhead",
        "rate",
        "rate.per_second",
        "rate.burst",
        "rate.by",
        "coalesce",
        "coalesce.ttl",
    ];

    fn set(&mut self, key: &str, value: &Value) -> Option<Read<()>> {
        if let Some(key) = key.strip_prefix("breaker.") {
            return self.set_breaker(key, value);
        }
        let (retry, rate) = (&mut self.retry, &mut self.rate);
        Some(match key {
            "timeout" => some_time(value).map(|timeout| self.timeout = timeout),
            "deadline.margin" => time(value).map(|margin| self.deadline.margin = margin),
            "deadline.floor" => time(value).map(|floor| self.deadline.floor = floor),
            "retry" => retry.turn(value),
            "retry.attempts" => retry.put(count(value, 1), |retry, attempts| retry.attempts = attempts),
            "retry.base" => retry.put(some_time(value), |retry, base| retry.backoff.base = base),
            "retry.cap" => retry.put(some_time(value), |retry, cap| retry.backoff.cap = cap),
            "retry.budget" => retry.put(share(value), |retry, budget| retry.budget.ratio = budget),
            "retry.floor" => retry.put(count(value, 0), |retry, floor| retry.budget.floor = floor),
            "breaker" => self.breaker.turn(value),
            "bulkhead" => count(value, 1).map(|bulkhead| self.bulkhead = bulkhead),
            "rate" => rate.turn(value),
            "rate.per_second" => rate.put(per_second(value), |rate, many| rate.per_second = Some(many)),
            "rate.burst" => rate.put(count(value, 1), |rate, burst| rate.burst = Some(burst)),
            "rate.by" => rate.put(word(value, &BY), |rate, by| rate.by = by),
            "coalesce" => self.coalesce.turn(value),
            "coalesce.ttl" => self.coalesce.put(ttl(value), |coalesce, ttl| coalesce.ttl = ttl),
            _ => return None,
        })
    }

    fn covers(_: &str, _: &Value) -> &'static [&'static str] {
        &[]
    }

    fn shown(&self) -> Vec<(&'static str, String)> {
        let (on, off) = (|| "true".to_owned(), || "false".to_owned());
        let mut all = vec![("timeout", shown_time(self.timeout))];
        match self.retry.get() {
            Some(retry) => all.extend([
                ("retry", on()),
                ("retry.attempts", retry.attempts.to_string()),
                ("retry.base", shown_time(retry.backoff.base)),
                ("retry.cap", shown_time(retry.backoff.cap)),
                ("retry.budget", shown_share(retry.budget.ratio)),
                ("retry.floor", retry.budget.floor.to_string()),
            ]),
            None => all.push(("retry", off())),
        }
        self.shown_breaker(&mut all);
        all.push(("bulkhead", self.bulkhead.to_string()));
        match self.rate.get() {
            Some(rate) => {
                all.push(("rate", on()));
                all.extend(rate.per_second.map(|many| ("rate.per_second", many.to_string())));
                all.extend(rate.config().map(|config| ("rate.burst", config.burst.to_string())));
                let by = BY.iter().find(|(_, by)| *by == rate.by).map(|(word, _)| *word);
                all.extend(by.map(|by| ("rate.by", by.to_owned())));
            }
            None => all.push(("rate", off())),
        }
        match self.coalesce.get() {
            Some(coalesce) => {
                all.push(("coalesce", on()));
                all.extend(coalesce.ttl.map(|ttl| ("coalesce.ttl", shown_time(ttl))));
            }
            None => all.push(("coalesce", off())),
        }
        all.push(("deadline.margin", shown_time(self.deadline.margin)));
        all.push(("deadline.floor", shown_time(self.deadline.floor)));
        all
    }

    fn policy(&self) -> Result<Policy, (&'static str, String)> {
        let retry = self.retry.get().cloned();
        if let Some(retry) = &retry
            && retry.backoff.base > retry.backoff.cap
        {
            let (base, cap) = (shown_time(retry.backoff.base), shown_time(retry.backoff.cap));
            return Err((
                "retry",
                format!(
                    "the pause begins at {base}, beyond the longest of {cap}; set cap to {base} at least"
                ),
            ));
        }
        let rate = self.rate.get().map(|rate| {
            let config = rate.config().ok_or_else(|| {
                (
                    "rate",
                    "a rate says how many calls a second; set rate.per_second, or rate = false".to_owned(),
                )
            })?;
            Ok(RatePolicy { config, by: rate.by })
        });
        Ok(Policy {
            timeout: self.timeout,
            deadline: self.deadline,
            retry,
            breaker: self.breaker().map_err(|problem| ("breaker", problem))?,
            bulkhead: self.bulkhead,
            rate: rate.transpose()?,
            coalesce: self.coalesce.get().copied(),
        })
    }
}

impl RateDraft {
    /// The rate; calls of one second may come at once unless that is set too.
    fn config(&self) -> Option<RateConfig> {
        let per_second = self.per_second?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float's cast stops at the bounds"
        )]
        let burst = self.burst.unwrap_or((per_second.ceil() as u32).max(1));
        Some(RateConfig { per_second, burst })
    }
}

fn ttl(value: &Value) -> Read<Option<Duration>> {
    match maybe_time(value)? {
        Some(ttl) if ttl > LONGEST_TTL => {
            Err(format!("{value} is longer than answers are kept; write {} at most", shown_time(LONGEST_TTL)))
        }
        ttl => Ok(ttl),
    }
}
