# Ten recipes; `just` lists them. Each is one line that can be typed as well.

[private]
default:
    @just --list

# Start the shop whole.
run *words:
    cargo run -- {{ words }}

# Start the shop taken apart: inventory, payments and notifications in processes of their own.
split:
    cargo run -- up --topology examples/shop/split.toml

# Run all tests, or those that the words select.
test *words:
    cargo xtask test {{ words }}

# Compile one crate without building it.
check crate:
    cargo check --package {{ crate }} --all-targets

# Lint as the build does.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format everything.
format:
    cargo fmt --all

# Read the API documentation.
docs:
    cargo doc --workspace --no-deps --open

# Start PostgreSQL until Ctrl-C and print its URL.
services:
    cargo xtask services

# Accept the crate graph as it is now.
bless:
    cargo xtask graph --bless

# Run the benchmarks.
bench *words:
    cargo bench --package drystone-benches {{ words }}

# Everything that the build runs, in its order.
ci:
    .ci/run
