//! Random settings at random levels: the value that holds is the most special one.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// The scopes around orders -> Charge, and one beside it for each that must change nothing.
const SCOPES: [(&str, bool); 8] = [
    ("calls", true),
    ("calls.contract.\"shop.payments.v1.Payments\"", true),
    ("calls.method.\"shop.payments.v1.Payments/Charge\"", true),
    ("calls.edge.\"orders -> shop.payments.v1.Payments\"", true),
    ("calls.edge.\"orders -> shop.payments.v1.Payments/Charge\"", true),
    ("calls.contract.\"shop.users.v1.Users\"", false),
    ("calls.method.\"shop.payments.v1.Payments/GetCharge\"", false),
    ("calls.edge.\"gateway -> shop.payments.v1.Payments/Charge\"", false),
];

/// What one file says in one scope.
#[derive(Clone, Debug)]
struct Said {
    timeout: Option<u32>,
    bulkhead: Option<u32>,
    errors: Option<u32>,
    retry: Retry,
}

#[derive(Clone, Debug)]
enum Retry {
    Nothing,
    Switch(bool),
    Attempts(u32),
}

fn said() -> impl Strategy<Value = Said> {
    let number = || proptest::option::weighted(0.3, 1..=99_u32);
    let retry = prop_oneof![
        4 => Just(Retry::Nothing),
        1 => any::<bool>().prop_map(Retry::Switch),
        2 => (1..=99_u32).prop_map(Retry::Attempts),
    ];
    (number(), number(), number(), retry).prop_map(|(timeout, bulkhead, errors, retry)| Said {
        timeout,
        bulkhead,
        errors,
        retry,
    })
}

fn text(file: &[Said]) -> String {
    let mut text = String::new();
    for ((scope, _), said) in SCOPES.iter().zip(file) {
        let _ = writeln!(text, "[{scope}]");
        let _ = said.timeout.iter().try_for_each(|n| writeln!(text, "timeout = \"{n}ms\""));
        let _ = said.bulkhead.iter().try_for_each(|n| writeln!(text, "bulkhead = {n}"));
        let _ = said.errors.iter().try_for_each(|n| writeln!(text, "breaker.errors = \"{n}%\""));
        let _ = match said.retry {
            Retry::Nothing => Ok(()),
            Retry::Switch(on) => writeln!(text, "retry = {on}"),
            Retry::Attempts(n) => writeln!(text, "retry.attempts = {n}"),
        };
    }
    text
}

/// The last of the files that says something in a scope.
fn later<T>(files: &[Vec<Said>], scope: usize, get: impl Fn(&Said) -> Option<T>) -> Option<T> {
    files.iter().rev().find_map(|file| get(&file[scope]))
}

/// What the most special scope says, with what the contract says behind the first.
fn special<T>(files: &[Vec<Said>], declared: Option<T>, get: impl Fn(&Said) -> Option<T>) -> Option<T> {
    let around = SCOPES.iter().enumerate().filter(|(_, (_, around))| *around).map(|(scope, _)| scope);
    let (first, others): (Vec<usize>, Vec<usize>) = around.partition(|scope| *scope == 0);
    let most = others.into_iter().rev().find_map(|scope| later(files, scope, &get));
    most.or(declared).or_else(|| first.into_iter().find_map(|scope| later(files, scope, &get)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_most_special_and_the_latest_wins(files in proptest::collection::vec(proptest::collection::vec(said(), SCOPES.len()), 1..4)) {
        let texts: Vec<String> = files.iter().map(|file| text(file)).collect();
        let named: Vec<(&str, &str)> = ["a", "b", "c"].into_iter().zip(texts.iter().map(String::as_str)).collect();
        let policies = read_files(&named).unwrap();
        let policy = &policies.edge("orders", PAYMENTS.name).unwrap().methods[0].policy;

        let timeout = special(&files, Some(700), |said| said.timeout).unwrap();
        prop_assert_eq!(policy.timeout, Duration::from_millis(timeout.into()));
        prop_assert_eq!(policy.bulkhead, special(&files, None, |said| said.bulkhead).unwrap_or(Policy::BULKHEAD));
        let errors = special(&files, None, |said| said.errors).map_or(50.0, f64::from);
        let breaker = policy.breaker.as_ref().unwrap();
        prop_assert!((breaker.errors_percent - errors).abs() < 1e-9);

        // Whether there are attempts says the most special scope that speaks of them, as its last file does; how many, the most special that says so
        // and was not overwritten by a later file in the same scope.
        let on = special(&files, None, |said| match said.retry {
            Retry::Nothing => None,
            Retry::Switch(on) => Some(on),
            Retry::Attempts(_) => Some(true),
        });
        prop_assert_eq!(policy.retry.is_some(), on.unwrap_or(true));
        let attempts = special(&files, None, |said| match said.retry {
            Retry::Nothing => None,
            Retry::Switch(_) => Some(None),
            Retry::Attempts(n) => Some(Some(n)),
        });
        if let (Some(retry), Some(Some(attempts))) = (&policy.retry, attempts) {
            prop_assert_eq!(retry.attempts, attempts);
        }
    }
}
