//! What each part of `drystone-resilience` costs alone: one thread, nothing to wait for, nanoseconds and allocations an operation.
//!
//! `benches/run.sh` builds and starts it; the suite `layers` of the benchmarks reads what it prints, a line a measurement:
//! `<group>\t<name>\tns\t<number>` once a round, and `<group>\t<name>\tallocations\t<number>` once.

mod breakers;
mod cores;
mod meter;
mod stacked;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [rounds] = &words[..] else {
        eprintln!("usage: layers ROUNDS");
        return ExitCode::FAILURE;
    };
    let Ok(rounds) = rounds.parse() else {
        eprintln!("{rounds:?} is not a number of rounds");
        return ExitCode::FAILURE;
    };
    cores::run(rounds);
    stacked::run(rounds);
    breakers::run(rounds);
    ExitCode::SUCCESS
}
