//! The pages of `docs/layers`, so that `cargo test --doc` compiles their examples. Nothing else sees this file.

macro_rules! pages {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(#[doc = include_str!(concat!("../../../docs/layers/", $file))]
        struct $name;)+
    };
}

pages! {
    Breaker = "breaker.md",
    Deadline = "deadline.md",
    Fallback = "fallback.md",
    Panic = "panic.md",
    Readme = "README.md",
    Retry = "retry.md",
}
