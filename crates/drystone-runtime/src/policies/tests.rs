//! Settings of policies, read and laid over each other.

mod layers;
mod mistakes;

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Coalescing, ContractInfo, Effect, KeyPolicy, MethodInfo};

use super::*;
use crate::policies::laid::Shown;

const fn method(index: usize, name: &'static str, path: &'static str, effect: Effect) -> MethodInfo {
    MethodInfo {
        index,
        name,
        path,
        contract: "shop.payments.v1.Payments",
        effect,
        key: KeyPolicy::Honoured,
        timeout: None,
        coalesce: None,
        recursive: false,
    }
}

static PAYMENTS: ContractInfo = ContractInfo {
    package: "shop.payments.v1",
    name: "shop.payments.v1.Payments",
    methods: &[
        MethodInfo {
            timeout: Some(Duration::from_millis(700)),
            ..method(0, "Charge", "/shop.payments.v1.Payments/Charge", Effect::Mutating)
        },
        MethodInfo {
            coalesce: Some(Coalescing { ttl: None }),
            ..method(1, "GetCharge", "/shop.payments.v1.Payments/GetCharge", Effect::NoSideEffects)
        },
    ],
    descriptor_set: &[],
    descriptor_hash: 0,
};

static USERS: ContractInfo = ContractInfo {
    package: "shop.users.v1",
    name: "shop.users.v1.Users",
    methods: &[MethodInfo {
        contract: "shop.users.v1.Users",
        ..method(0, "GetUser", "/shop.users.v1.Users/GetUser", Effect::NoSideEffects)
    }],
    descriptor_set: &[],
    descriptor_hash: 0,
};

fn known() -> Known {
    let name = |name: &str| Arc::<str>::from(name);
    Known {
        contracts: vec![(name("payments"), &PAYMENTS), (name("users"), &USERS)],
        edges: vec![(name("gateway"), &PAYMENTS), (name("gateway"), &USERS), (name("orders"), &PAYMENTS)],
    }
}

fn read_files(files: &[(&str, &str)]) -> Result<Policies, StartError> {
    let mut settings = Settings::default();
    for (name, text) in files {
        settings.layer(text, Some(name))?;
    }
    Policies::read(&settings, &known())
}

fn read(text: &str) -> Result<Policies, StartError> {
    read_files(&[("f", text)])
}

/// A value of a method on an edge, and where it comes from.
fn value(policies: &Policies, from: &str, method: &str, key: &str) -> (String, String) {
    let (contract, method) = method.split_once('/').expect("contract and method");
    let edge = policies.edge(from, contract).expect("an edge");
    let index = edge.contract.methods.iter().position(|known| known.name == method).expect("a method");
    found(&edge.methods[index].values, key)
}

fn found(values: &[Shown], key: &str) -> (String, String) {
    let shown = values.iter().find(|shown| shown.key == key);
    let shown = shown.unwrap_or_else(|| panic!("{key} is not in {values:?}"));
    (shown.value.clone(), shown.from.clone())
}

const CHARGE: &str = "shop.payments.v1.Payments/Charge";
const GET_CHARGE: &str = "shop.payments.v1.Payments/GetCharge";
const GET_USER: &str = "shop.users.v1.Users/GetUser";

fn pair(value: &str, from: &str) -> (String, String) {
    (value.to_owned(), from.to_owned())
}

#[test]
fn without_settings_what_is_built_in_and_what_the_contract_says_holds() {
    let policies = read("").unwrap();
    for (from, methods) in
        [("gateway", &[CHARGE, GET_CHARGE, GET_USER][..]), ("orders", &[CHARGE, GET_CHARGE])]
    {
        for name in methods {
            let (contract, method) = name.split_once('/').unwrap();
            let edge = policies.edge(from, contract).unwrap();
            for (info, effective) in edge.contract.methods.iter().zip(&edge.methods) {
                assert_eq!(effective.policy, Policy::of(info), "{method}");
            }
        }
    }
    let proto = "the method's options in its .proto";
    assert_eq!(value(&policies, "orders", CHARGE, "timeout"), pair("700ms", proto));
    assert_eq!(value(&policies, "orders", GET_CHARGE, "timeout"), pair("2s", "built in"));
    assert_eq!(value(&policies, "orders", GET_CHARGE, "coalesce"), pair("true", proto));
    assert_eq!(value(&policies, "orders", CHARGE, "coalesce"), pair("false", "built in"));
    assert_eq!(value(&policies, "gateway", GET_USER, "retry.attempts"), pair("3", "built in"));
    assert!(
        policies
            .served
            .iter()
            .all(|served| served.methods.iter().all(|m| m.policy == ServePolicy::default()))
    );
}

#[test]
fn the_more_special_level_wins_value_by_value() {
    let levels = [
        "[calls]\ntimeout = \"10s\"\n",
        "[calls.contract.\"shop.payments.v1.Payments\"]\ntimeout = \"20s\"\n",
        "[calls.method.\"shop.payments.v1.Payments/Charge\"]\ntimeout = \"30s\"\n",
        "[calls.edge.\"orders -> shop.payments.v1.Payments\"]\ntimeout = \"40s\"\n",
        "[calls.edge.\"orders->shop.payments.v1.Payments/Charge\"]\ntimeout = \"50s\"\n",
    ];
    // What holds for Charge and GetCharge called by orders, Charge called by the gateway, and GetUser, as levels are added.
    for (so_far, expected) in [
        ["700ms", "10s", "700ms", "10s"],
        ["20s", "20s", "20s", "10s"],
        ["30s", "20s", "30s", "10s"],
        ["40s", "40s", "30s", "10s"],
        ["50s", "40s", "30s", "10s"],
    ]
    .iter()
    .enumerate()
    {
        // The special first: the order of the text says nothing.
        let text: String = levels[..=so_far].iter().rev().copied().collect();
        let policies = read(&text).unwrap();
        let calls = [("orders", CHARGE), ("orders", GET_CHARGE), ("gateway", CHARGE), ("gateway", GET_USER)];
        let timeouts = calls.map(|(from, method)| value(&policies, from, method, "timeout").0);
        assert_eq!(timeouts, *expected, "{text}");
    }
}

#[test]
fn the_values_of_a_part_are_set_one_by_one_and_a_part_that_is_off_keeps_them() {
    let policies = read_files(&[
        ("a", "[calls]\nretry = { attempts = 5, budget = 0.1 }\nbreaker = { timeout = \"3s\", errors = \"40%\", reset = \"30s\" }\n"),
        ("b", "[calls.contract.\"shop.payments.v1.Payments\"]\nretry = false\nbreaker = false\n"),
        ("c", "[calls.edge.\"orders -> shop.payments.v1.Payments\"]\nretry.base = \"7ms\"\nbreaker = true\n"),
    ])
    .unwrap();
    let of = |from, method, key| value(&policies, from, method, key);
    assert_eq!(of("gateway", GET_USER, "retry.attempts"), pair("5", "a:2"));
    assert_eq!(of("gateway", GET_USER, "retry.budget"), pair("10%", "a:2"));
    assert_eq!(of("gateway", GET_USER, "retry.base"), pair("10ms", "built in"));
    assert_eq!(of("gateway", GET_USER, "breaker.timeout"), pair("3s", "a:3"));
    assert_eq!(of("gateway", CHARGE, "retry"), pair("false", "b:2"));
    assert_eq!(of("gateway", CHARGE, "breaker"), pair("false", "b:3"));
    assert_eq!(of("orders", CHARGE, "retry"), pair("true", "c:2"));
    assert_eq!(of("orders", CHARGE, "retry.attempts"), pair("5", "a:2"));
    assert_eq!(of("orders", CHARGE, "retry.base"), pair("7ms", "c:2"));
    assert_eq!(of("orders", CHARGE, "breaker"), pair("true", "c:3"));
    assert_eq!(of("orders", CHARGE, "breaker.errors"), pair("40%", "a:3"));
    let trio =
        drystone_resilience::BreakerConfig::trio(Duration::from_secs(3), 40.0, Duration::from_secs(30));
    assert_eq!(policies.edge("orders", PAYMENTS.name).unwrap().methods[0].policy.breaker, Some(trio));
}

#[test]
fn what_holds_for_all_shares_reads_and_no_writes() {
    let policies = read("[calls]\ncoalesce = { ttl = \"1s\" }\n").unwrap();
    assert_eq!(value(&policies, "gateway", GET_USER, "coalesce.ttl"), pair("1s", "f:2"));
    assert_eq!(value(&policies, "gateway", CHARGE, "coalesce"), pair("false", "built in"));
    // The contract says that reads may be shared while they are under way; how long to keep them it leaves to what holds for all.
    assert_eq!(
        value(&policies, "gateway", GET_CHARGE, "coalesce"),
        pair("true", "the method's options in its .proto")
    );
    let policies =
        read("[calls.method.\"shop.payments.v1.Payments/GetCharge\"]\ncoalesce = false\n").unwrap();
    assert_eq!(value(&policies, "orders", GET_CHARGE, "coalesce"), pair("false", "f:2"));
}

#[test]
fn admission_is_set_for_contracts_and_methods_and_tenants_weigh() {
    let policies = read(
        "[serving]\nlimit = 64\nqueue = { target = \"5ms\" }\ntenants = { acme = 4 }\n\
         [serving.contract.\"shop.payments.v1.Payments\"]\nlimit = { max = 512, initial = 100 }\n\
         [serving.method.\"shop.payments.v1.Payments/Charge\"]\nlimit = false\n",
    )
    .unwrap();
    let of = |contract, index: usize| policies.served(contract).unwrap().methods[index].clone();
    let user = of("shop.users.v1.Users", 0);
    assert_eq!(found(&user.values, "limit"), pair("64", "f:2"));
    assert_eq!(found(&user.values, "queue.target"), pair("5ms", "f:3"));
    assert_eq!(found(&user.values, "tenants.acme"), pair("4", "f:4"));
    let limit = user.policy.admission.unwrap().limit;
    assert_eq!((limit.min, limit.initial, limit.max), (64, 64, 64));
    assert_eq!(user.policy.tenants.values().copied().collect::<Vec<_>>(), [4]);
    let read = of("shop.payments.v1.Payments", 1);
    let limit = read.policy.admission.unwrap().limit;
    assert_eq!((limit.min, limit.initial, limit.max), (64, 100, 512));
    assert_eq!(found(&read.values, "limit.max"), pair("512", "f:6"));
    assert_eq!(found(&read.values, "limit.min"), pair("64", "f:2"));
    let charge = of("shop.payments.v1.Payments", 0);
    assert_eq!((charge.policy.admission, found(&charge.values, "limit")), (None, pair("false", "f:8")));
}

#[test]
fn a_limit_of_which_nobody_said_where_to_begin_begins_within_its_bounds() {
    for (limit, initial) in
        [("{ max = 8 }", 8), ("{ min = 100 }", 100), ("{ min = 10, max = 20 }", 20), ("{ max = 512 }", 64)]
    {
        let policies = read(&format!("[serving]\nlimit = {limit}\n")).unwrap();
        let user = policies.served("shop.users.v1.Users").unwrap().methods[0].clone();
        assert_eq!(user.policy.admission.unwrap().limit.initial, initial, "{limit}");
        assert_eq!(found(&user.values, "limit.initial"), pair(&initial.to_string(), "built in"));
    }
    assert!(read("[serving]\nlimit = { max = 8, initial = 9 }\n").is_err());
}
