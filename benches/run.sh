#!/bin/sh
# Measures everything and rewrites the tables of RESULTS.md. Arguments go to the program: `--quick`, or names of suites.
#
# Needs Linux, for /proc, and a machine with nothing else to do; takes about fifteen minutes beside the release build.
set -eu
cd "$(dirname "$0")/.."

cargo build --release -p shop
cargo bench -p drystone-benches -- --write "$@"
if [ $# -eq 0 ]; then
    cargo bench -p drystone-benches -- --write build
fi
