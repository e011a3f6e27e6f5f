//! What may know what. Each rule here is an "Architecture Invariant" of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use super::edges;
use crate::metadata::{Kind, Package};
use crate::rust_source::Source;
use crate::tree::Tree;

/// The members that a crate may reach, directly or through others. A crate that is not listed may reach all of the platform.
const REACH: [(&str, &[&str]); 10] = [
    ("drystone-contract", &[]),
    ("drystone-derive", &[]),
    ("drystone-resilience", &[]),
    ("drystone-codegen", &["drystone-contract"]),
    ("drystone-call", &["drystone-contract", "drystone-resilience"]),
    ("drystone-store", &["drystone-call", "drystone-contract", "drystone-derive", "drystone-resilience"]),
    (
        "drystone-events",
        &[
            "drystone-call",
            "drystone-codegen",
            "drystone-contract",
            "drystone-derive",
            "drystone-resilience",
            "drystone-store",
        ],
    ),
    ("drystone-transport", &["drystone-call", "drystone-contract", "drystone-resilience"]),
    ("drystone-gateway", &["drystone-call", "drystone-contract", "drystone-resilience"]),
    ("drystone-telemetry", &["drystone-call", "drystone-contract", "drystone-resilience"]),
];

/// The crates that read descriptors. To all others `drystone-contract` is its vocabulary alone, without a feature and so without reflection.
const READERS: [&str; 3] = ["drystone-codegen", "drystone-gateway", "drystone-runtime"];

/// Crates from outside that a member may not name, since they are what it must not know.
const OUTSIDE: [(&str, &[&str]); 5] = [
    ("drystone-contract", &["axum", "http", "hyper", "rustls", "tokio", "tonic", "tower"]),
    ("drystone-call", &["axum", "hyper", "rusqlite", "rustls", "tokio-postgres", "tonic"]),
    // tokio-postgres is a database's client, and rustls encrypts its connection; the store knows no other network and serves none.
    ("drystone-store", &["axum", "hyper", "hyper-util", "tonic", "tower"]),
    // The broker's client is its only network: what goes to another process goes by the call.
    ("drystone-events", &["axum", "hyper", "hyper-util", "rusqlite", "tokio-postgres", "tonic", "tower"]),
    ("drystone-gateway", &["rusqlite", "rustls", "tokio-postgres", "tonic"]),
];

/// Paths of the standard library and of tokio that a crate's source may not name.
const REACHING_OUT: [(&str, &[&str]); 3] = [
    ("crates/drystone-contract/src/", &["std::env", "std::fs", "std::net", "std::process"]),
    ("crates/drystone-call/src/", &["std::fs", "std::net", "std::process", "tokio::net", "tokio::process"]),
    ("crates/drystone-store/src/", &["std::net", "std::process::Command", "tokio::net", "tokio::process"]),
];

/// What a crate is, by where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `crates/*`.
    Platform,
    /// `.../api`: a contract as Rust.
    Contract,
    /// A module's code, in an example or in `modules/`.
    Module,
    /// `examples/*`: an application's binary.
    Application,
    /// The project's own: `xtask`, `benches`.
    Tool,
}

fn role(directory: &str) -> Role {
    let parts: Vec<&str> = directory.split('/').collect();
    match parts.as_slice() {
        ["crates", _] => Role::Platform,
        ["examples", _] => Role::Application,
        [.., "api"] => Role::Contract,
        ["examples" | "modules", ..] => Role::Module,
        _ => Role::Tool,
    }
}

/// Every edge of the workspace that breaks a rule.
pub(super) fn breaches(members: &[Package]) -> Vec<String> {
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let roles: BTreeMap<&str, Role> =
        members.iter().map(|package| (package.name.as_str(), role(&package.directory))).collect();
    let graph: BTreeMap<&str, BTreeSet<(&str, Kind)>> =
        members.iter().map(|package| (package.name.as_str(), edges(package, &names))).collect();
    let mut findings = Vec::new();
    for package in members {
        findings.extend(beyond_reach(package, &graph));
        findings.extend(known_outside(package));
        findings.extend(reads_contracts(package));
        findings.extend(by_role(package, &graph[package.name.as_str()], &roles));
    }
    findings
}

/// Members reached that [`REACH`] does not allow.
fn beyond_reach(package: &Package, graph: &BTreeMap<&str, BTreeSet<(&str, Kind)>>) -> Vec<String> {
    let Some((name, allowed)) = REACH.iter().find(|(name, _)| *name == package.name) else {
        return Vec::new();
    };
    let beyond = reached(package, graph).into_iter().filter(|other| !allowed.contains(other));
    beyond.map(|other| format!("{name} -> {other}: {name} may know {}", list(allowed))).collect()
}

/// The members that a package reaches, directly or through others.
fn reached<'a>(package: &Package, graph: &BTreeMap<&str, BTreeSet<(&'a str, Kind)>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![package.name.as_str()];
    while let Some(name) = open.pop() {
        for (next, _) in graph.get(name).into_iter().flatten() {
            if found.insert(*next) {
                open.push(next);
            }
        }
    }
    found
}

/// Crates named that [`OUTSIDE`] forbids.
fn known_outside(package: &Package) -> Vec<String> {
    let Some((name, banned)) = OUTSIDE.iter().find(|(name, _)| *name == package.name) else {
        return Vec::new();
    };
    let named = package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let named = named.filter(|dependency| banned.contains(&dependency.name.as_str()));
    named.map(|dependency| format!("{name} -> {}: {name} must not know it", dependency.name)).collect()
}

/// A dependency on the reading half of `drystone-contract` by a crate that is none of the [`READERS`].
fn reads_contracts(package: &Package) -> Vec<String> {
    if READERS.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let shipped = package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let reading = shipped
        .filter(|dependency| dependency.name == "drystone-contract" && !dependency.features.is_empty());
    let text = "without features only; reflection over messages is for those who read descriptors";
    reading.map(|dependency| format!("{} -> {}: {text}", package.name, dependency.name)).collect()
}

/// Edges that the role of the package forbids.
fn by_role(package: &Package, edges: &BTreeSet<(&str, Kind)>, roles: &BTreeMap<&str, Role>) -> Vec<String> {
    let own = role(&package.directory);
    let mut findings = Vec::new();
    for (other, kind) in edges {
        let text = match (own, roles[other]) {
            (Role::Contract, _) if !contract_may(other, *kind) => {
                "a contract crate needs `drystone-call`, and `drystone-codegen` to be built"
            }
            (Role::Module, Role::Platform) if *other != "drystone" => {
                "a module names `drystone` alone of the platform"
            }
            (Role::Module, Role::Module) => {
                "a module knows other modules by their contract crates (.../api) only"
            }
            (Role::Platform, Role::Contract | Role::Module) => "the platform knows no module",
            (Role::Application, _) => continue,
            (_, Role::Application) => "nothing depends on an example",
            _ => continue,
        };
        findings.push(format!("{} -> {other}: {text}", package.name));
    }
    if own == Role::Contract {
        findings.extend(contract_outside(package));
    }
    findings
}

fn contract_may(other: &str, kind: Kind) -> bool {
    matches!((other, kind), ("drystone-call", Kind::Normal) | ("drystone-codegen", Kind::Build))
}

/// What a contract crate takes from outside beyond prost.
fn contract_outside(package: &Package) -> Vec<String> {
    let named = package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let named =
        named.filter(|dependency| !dependency.name.starts_with("drystone") && dependency.name != "prost");
    let text = "a contract crate takes only prost from outside, so that a plain gRPC program can use it";
    named.map(|dependency| format!("{} -> {}: {text}", package.name, dependency.name)).collect()
}

/// Source files that name what [`REACHING_OUT`] forbids them.
pub(super) fn reaching_out(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (directory, banned) in REACHING_OUT {
        for (path, text) in tree.under(directory).filter(|(path, _)| path.ends_with(".rs")) {
            let source = Source::of(text);
            for name in banned {
                let lines = source.lines_with(name);
                findings.extend(lines.map(|line| format!("{path}:{line}: {directory} must not use {name}")));
            }
        }
    }
    findings
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "no other crate of the workspace".to_owned()
    } else {
        format!("only {}", names.join(", "))
    }
}

/// A package as tests write it: directory, name, dependencies.
#[cfg(test)]
pub(super) type Sketch<'a> = (&'a str, &'a str, &'a [(&'a str, Kind)]);

/// Packages of these sketches.
#[cfg(test)]
pub(super) fn fixture(packages: &[Sketch<'_>]) -> Vec<Package> {
    let dependency = |(name, kind): &(&str, Kind)| crate::metadata::Dependency {
        name: (*name).to_owned(),
        kind: *kind,
        features: Vec::new(),
    };
    let package = |(directory, name, dependencies): &Sketch<'_>| Package {
        name: (*name).to_owned(),
        directory: (*directory).to_owned(),
        dependencies: dependencies.iter().map(dependency).collect(),
        ..Package::default()
    };
    packages.iter().map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace that keeps every rule, with the edges of one more package or of one that is there.
    fn with(directory: &str, name: &str, dependencies: &[(&str, Kind)]) -> Vec<String> {
        let mut all: Vec<Sketch<'_>> = vec![
            ("crates/drystone-contract", "drystone-contract", &[]),
            ("crates/drystone-codegen", "drystone-codegen", &[("drystone-contract", Kind::Normal)]),
            ("crates/drystone-call", "drystone-call", &[]),
            ("crates/drystone-store", "drystone-store", &[("drystone-call", Kind::Normal)]),
            ("crates/drystone-transport", "drystone-transport", &[("drystone-call", Kind::Normal)]),
            ("crates/drystone-gateway", "drystone-gateway", &[("drystone-call", Kind::Normal)]),
            ("crates/drystone", "drystone", &[("drystone-store", Kind::Normal)]),
            (
                "examples/shop/orders/api",
                "orders-api",
                &[
                    ("drystone-call", Kind::Normal),
                    ("drystone-codegen", Kind::Build),
                    ("prost", Kind::Normal),
                ],
            ),
            ("examples/shop/orders", "orders", &[("drystone", Kind::Normal), ("orders-api", Kind::Normal)]),
            ("examples/shop", "shop", &[("drystone", Kind::Normal), ("orders", Kind::Normal)]),
        ];
        all.retain(|(_, known, _)| *known != name);
        all.push((directory, name, dependencies));
        breaches(&fixture(&all))
    }

    fn caught(directory: &str, name: &str, dependency: &str, kind: Kind) {
        let findings = with(directory, name, &[(dependency, kind)]);
        assert_eq!(findings.len(), 1, "{name} -> {dependency}: {findings:?}");
        assert!(findings[0].starts_with(&format!("{name} -> {dependency}: ")), "{findings:?}");
    }

    #[test]
    fn what_is_allowed_is_silent() {
        assert_eq!(with("xtask", "xtask", &[("serde_json", Kind::Normal)]), [""; 0]);
        assert_eq!(
            with("modules/audit", "audit", &[("drystone", Kind::Normal), ("orders-api", Kind::Normal)]),
            [""; 0]
        );
        assert_eq!(with("modules/audit", "audit", &[("drystone-store", Kind::Dev)]), [""; 0]);
    }

    #[test]
    fn the_platform_is_layered() {
        for (name, dependency) in [
            ("drystone-contract", "drystone-call"),
            ("drystone-codegen", "drystone-store"),
            ("drystone-call", "drystone-codegen"),
            ("drystone-store", "drystone-transport"),
            ("drystone-gateway", "drystone-transport"),
            ("drystone-transport", "drystone-store"),
        ] {
            let findings = with(&format!("crates/{name}"), name, &[(dependency, Kind::Normal)]);
            assert!(
                findings.iter().any(|text| text.starts_with(&format!("{name} -> {dependency}: "))),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn a_path_through_another_crate_counts() {
        let findings = with("crates/drystone-call", "drystone-call", &[("drystone-codegen", Kind::Normal)]);
        assert!(
            findings.iter().any(|text| text.starts_with("drystone-gateway -> drystone-codegen")),
            "{findings:?}"
        );
    }

    #[test]
    fn the_call_takes_the_vocabulary_and_not_the_reader() {
        let mut packages =
            fixture(&[("crates/drystone-call", "drystone-call", &[("drystone-contract", Kind::Normal)])]);
        assert_eq!(breaches(&packages), [""; 0]);
        packages[0].dependencies[0].features = vec!["model".to_owned()];
        let findings = breaches(&packages);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("drystone-call -> drystone-contract: without features"),
            "{findings:?}"
        );
    }

    #[test]
    fn crates_know_nothing_of_what_lies_outside_their_wall() {
        caught("crates/drystone-contract", "drystone-contract", "tonic", Kind::Normal);
        caught("crates/drystone-store", "drystone-store", "hyper", Kind::Normal);
        caught("crates/drystone-gateway", "drystone-gateway", "rusqlite", Kind::Normal);
        assert_eq!(
            with("crates/drystone-store", "drystone-store", &[("tokio-postgres", Kind::Normal)]),
            [""; 0]
        );
    }

    #[test]
    fn a_contract_crate_is_small() {
        caught("examples/shop/orders/api", "orders-api", "drystone-store", Kind::Normal);
        caught("examples/shop/orders/api", "orders-api", "drystone-codegen", Kind::Normal);
        caught("examples/shop/orders/api", "orders-api", "tonic", Kind::Normal);
    }

    #[test]
    fn a_module_knows_drystone_and_contracts() {
        caught("examples/shop/users", "users", "drystone-store", Kind::Normal);
        caught("examples/shop/users", "users", "orders", Kind::Normal);
    }

    #[test]
    fn nothing_depends_on_an_example_and_the_platform_on_no_module() {
        caught("benches", "benches", "shop", Kind::Normal);
        caught("modules/audit", "audit", "shop", Kind::Normal);
        caught("crates/drystone-testkit", "drystone-testkit", "orders", Kind::Normal);
        caught("crates/drystone-testkit", "drystone-testkit", "orders-api", Kind::Normal);
    }

    #[test]
    fn a_wall_is_kept_in_the_source_too() {
        let path = "crates/drystone-store/src/x.rs";
        let found = |text| reaching_out(&Tree::of(&[(path, text)]));
        assert_eq!(found("//! Not std::net.\nfn a() {}\n"), [""; 0]);
        assert_eq!(found("//! X.\nuse std::net::TcpStream;\n").len(), 1);
        assert!(
            found("\n\nuse tokio::net::TcpListener;\n")[0].starts_with("crates/drystone-store/src/x.rs:3: ")
        );
    }
}
