//! Every setting can be set, and every mistake is named with its place and what would be right.

use super::super::calling::Calling;
use super::super::draft::Draft;
use super::super::serving::Serving;
use super::*;

/// A setting that fits, and what the policy then shows.
const CALLS: &[(&str, &str, &str)] = &[
    ("timeout", "\"1m\"", "1m"),
    ("deadline.margin", "\"0ms\"", "0ms"),
    ("deadline.floor", "\"3ms\"", "3ms"),
    ("retry", "true", "true"),
    ("retry.attempts", "2", "2"),
    ("retry.base", "\"20ms\"", "20ms"),
    ("retry.cap", "\"1s\"", "1s"),
    ("retry.budget", "\"12.5%\"", "12.5%"),
    ("retry.floor", "0", "0"),
    ("breaker", "true", "true"),
    ("breaker.timeout", "\"3s\"", "3s"),
    ("breaker.errors", "0.25", "25%"),
    ("breaker.reset", "\"30s\"", "30s"),
    ("breaker.window", "100", "100"),
    ("breaker.minimum", "7", "7"),
    ("breaker.slow", "\"1s\"", "1s"),
    ("breaker.probes", "1", "1"),
    ("bulkhead", "8", "8"),
    ("rate.per_second", "2.5", "2.5"),
    ("coalesce", "true", "true"),
    ("coalesce.ttl", "\"60s\"", "1m"),
];

#[test]
fn every_setting_takes_effect_and_shows_where_it_comes_from() {
    for (key, text, shown) in CALLS {
        let policies = read(&format!("[calls.contract.\"shop.users.v1.Users\"]\n{key} = {text}\n")).unwrap();
        assert_eq!(value(&policies, "gateway", GET_USER, key), pair(shown, "f:2"), "{key}");
    }
    // These say something only beside another.
    for (key, text, shown, beside) in [
        ("rate", "true", "true", "[calls]\nrate.per_second = 1\n"),
        ("rate.burst", "3", "3", "[calls]\nrate.per_second = 1\n"),
        ("rate.by", "\"principal\"", "principal", "[calls]\nrate.per_second = 1\n"),
        ("breaker.slow_calls", "\"5%\"", "5%", "[calls]\nbreaker.slow = \"1s\"\n"),
    ] {
        let text = format!("{beside}[calls.contract.\"shop.users.v1.Users\"]\n{key} = {text}\n");
        assert_eq!(value(&read(&text).unwrap(), "gateway", GET_USER, key).0, shown, "{key}");
    }
    let tried =
        CALLS.iter().map(|(key, ..)| *key).chain(["rate", "rate.burst", "rate.by", "breaker.slow_calls"]);
    let mut tried: Vec<&str> = tried.collect();
    let mut keys = Calling::KEYS.to_vec();
    tried.sort_unstable();
    keys.sort_unstable();
    assert_eq!(tried, keys, "each setting has a case");
}

#[test]
fn what_turns_off_turns_off() {
    let policies = read("[calls]\nretry = false\nbreaker = false\nrate = false\ncoalesce = false\n").unwrap();
    let policy = &policies.edge("gateway", USERS.name).unwrap().methods[0].policy;
    assert!(
        policy.retry.is_none()
            && policy.breaker.is_none()
            && policy.rate.is_none()
            && policy.coalesce.is_none()
    );
    let slow = "[calls]\nbreaker = { slow = \"1s\", timeout = \"2s\" }\n[calls.contract.\"shop.users.v1.Users\"]\nbreaker = { slow = false, timeout = false }\n";
    let policies = read(slow).unwrap();
    let breaker =
        |contract| policies.edge("gateway", contract).unwrap().methods[0].policy.breaker.clone().unwrap();
    assert!(breaker(PAYMENTS.name).slow.is_some() && breaker(PAYMENTS.name).timeout.is_some());
    assert!(breaker(USERS.name).slow.is_none() && breaker(USERS.name).timeout.is_none());
}

#[test]
fn every_setting_of_serving_is_known() {
    for key in Serving::KEYS {
        let value = match *key {
            "limit.min" => "10".to_owned(),
            key if key.starts_with("limit") || key == "queue.length" => "300".to_owned(),
            _ => "\"30ms\"".to_owned(),
        };
        let policies = read(&format!("[serving]\n{key} = {value}\n")).unwrap();
        let shown = found(&policies.served(USERS.name).unwrap().methods[0].values, key);
        assert_eq!(shown, pair(value.trim_matches('"'), "f:2"), "{key}");
    }
}

/// A mistake in the second line of a file, and what is said of it.
fn check(text: &str, expected: &[&str]) {
    let error = read(&format!("# settings\n{text}\n")).map(drop).unwrap_err().to_string();
    for expected in expected.iter().copied().chain(["error[DRY-R001]: f:"]) {
        assert!(error.contains(expected), "{text}\n{error}\nhas no {expected:?}");
    }
}

#[test]
fn names_that_are_not_known_are_refused_with_the_nearest_known() {
    check("calls.timout = \"1s\"", &["f:2", "calls.timout", "did you mean timeout?"]);
    check("calls.retry.atempts = 2", &["calls.retry.atempts", "did you mean retry.attempts?"]);
    check("calls.hedge = true", &["calls.hedge", "the settings are timeout, "]);
    check(
        "calls.contract.\"shop.paymnts.v1.Payments\".timeout = \"1s\"",
        &[
            "calls.contract.\"shop.paymnts.v1.Payments\".timeout",
            "no module serves",
            "did you mean shop.payments.v1.Payments?",
        ],
    );
    check(
        "calls.contract.\"x\".timeout = \"1s\"",
        &["the contracts are shop.payments.v1.Payments, shop.users.v1.Users"],
    );
    check("calls.method.\"shop.payments.v1.Payments\".timeout = \"1s\"", &["write it as contract/Method"]);
    check(
        "calls.method.\"shop.payments.v1.Payments/Charges\".timeout = \"1s\"",
        &["no method Charges", "did you mean Charge?"],
    );
    check("calls.edge.\"orders\".timeout = \"1s\"", &["is no edge; write it as module -> contract"]);
    check(
        "calls.edge.\"order -> shop.payments.v1.Payments\".timeout = \"1s\"",
        &["order calls nobody", "did you mean orders?"],
    );
    check(
        "calls.edge.\"orders -> shop.users.v1.Users\".timeout = \"1s\"",
        &["orders does not call shop.users.v1.Users", "it calls shop.payments.v1.Payments"],
    );
    check(
        "calls.contract.shop.users.v1.Users.timeout = \"1s\"",
        &["a name with dots is quoted; write contract.\"shop.users.v1.Users\""],
    );
    check("calls.contract = 5", &["calls.contract"]);
    check("calls.contract.\"shop.users.v1.Users\" = 5", &["calls.contract.\"shop.users.v1.Users\""]);
    check("calls.contract.\"shop.users.v1.Users\".runner = \"direct\"", &["set calls.runner"]);
    check("serving.edge.\"orders -> shop.payments.v1.Payments\".limit = 5", &["to all its callers alike"]);
    check("serving.contract.\"shop.users.v1.Users\".tenants.acme = 5", &["[serving.tenants]"]);
    check("serving.limits = 5", &["did you mean limit?"]);
}

#[test]
fn values_that_do_not_fit_are_refused_with_what_would() {
    check("calls.timeout = 2", &["calls.timeout: 2 is not a time", "\"500ms\""]);
    check("calls.timeout = \"0s\"", &["no time at all"]);
    check("calls.retry = 3", &["true, false or a table"]);
    check("calls.retry.attempts = 0", &["from 1 to"]);
    check("calls.retry.budget = 20", &["\"50%\""]);
    check("calls.rate.by = \"user\"", &["none of \"edge\", \"tenant\", \"principal\""]);
    check("calls.coalesce.ttl = \"61s\"", &["write 1m at most"]);
    check("calls.breaker.window = \"ten\"", &["is not a time"]);
    check("serving.tenants.acme = 0", &["from 1 to"]);
    check("serving.tenants.\"a b\" = 1", &["serving.tenants.\"a b\""]);
    check(
        "calls.method.\"shop.payments.v1.Payments/Charge\".coalesce = true",
        &["Charge has side effects", "remove the setting"],
    );
}

#[test]
fn values_that_do_not_go_together_are_refused_with_all_their_places() {
    check("calls.retry.base = \"1s\"", &["f:2", "retry of gateway -> ", "set cap to 1s"]);
    check("calls.breaker = { window = 5, minimum = 9 }", &["never has the 9 of `minimum`"]);
    check("calls.rate.by = \"edge\"", &["set rate.per_second"]);
    check("serving.limit = { min = 9, max = 5 }", &["do not rise"]);
    let error = read_files(&[
        ("a", "[calls]\nretry.base = \"400ms\"\n"),
        ("b", "[calls.contract.\"shop.users.v1.Users\"]\nretry.cap = \"300ms\"\n"),
    ]);
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.contains("a:2, b:2: retry of gateway -> shop.users.v1.Users/GetUser"), "{error}");
}
