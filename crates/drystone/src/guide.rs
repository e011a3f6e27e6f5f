//! The pages of the guide and the README, so that `cargo test --doc` compiles their examples. Nothing else sees this file.

macro_rules! pages {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(#[doc = include_str!(concat!("../../../docs/guide/", $file))]
        struct $name;)+
    };
}

pages! {
    Brokers = "brokers.md",
    Calls = "calls.md",
    Client = "client.md",
    Context = "context.md",
    Contract = "contract.md",
    Errors = "errors.md",
    Events = "events.md",
    Gateway = "gateway.md",
    Migrations = "migrations.md",
    Module = "module.md",
    Operations = "operations.md",
    Readme = "../../README.md",
    Rehearsal = "rehearsal.md",
    Store = "store.md",
    Tenants = "tenants.md",
    Testing = "testing.md",
    Topology = "topology.md",
    Transport = "transport.md",
}
