//! The pages of `docs/layers`, so that `cargo test --doc` compiles their examples. Nothing else sees this file.

macro_rules! pages {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(#[doc = include_str!(concat!("../../../docs/layers/", $file))]
        struct $name;)+
    };
}

pages! {
    Admission = "admission.md",
    Balance = "balance.md",
    Breaker = "breaker.md",
    Bulkhead = "bulkhead.md",
    Coalescing = "coalescing.md",
    Deadline = "deadline.md",
    Fallback = "fallback.md",
    Limit = "limit.md",
    Panic = "panic.md",
    Rate = "rate.md",
    Readme = "README.md",
    Retry = "retry.md",
}
