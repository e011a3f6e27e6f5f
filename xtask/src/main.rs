//! `cargo xtask`: the project's own commands.
//!
//! What a shell script would do, in the language that every contributor here reads. Depends on the standard library and on
//! `serde_json` alone, so that `cargo xtask` is built in seconds on a machine that has built nothing yet.
//!
//! A check is a pure function from what it judges (a [`tree::Tree`] of files, a list of [`metadata::Package`]s) to findings, so that
//! its tests show it a broken fixture; reading the disk and running cargo happen at the edge.

mod check;
mod deps;
mod graph;
mod licences;
mod metadata;
mod needs;
mod rust_source;
mod services;
mod suite;
mod tour;
mod tour_script;
mod tree;

use std::process::ExitCode;

/// A result whose error is the text for the person at the terminal.
type Result<T = ()> = std::result::Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask <command>

  test               set up what the tests need, then run all of them; words after it go to the runner
  services           start PostgreSQL and NATS on free ports until Ctrl-C and print their URLs
  graph              print the graph of the workspace's own crates
  graph --check      compare it with crate-graph.txt and check its invariants
  graph --bless      write crate-graph.txt anew
  deps               check licences, bans and sources of the dependencies
  check              check the prose: headers, error pages, links, commands, versions, lengths
  tour               run the console sessions of README.md and compare what they print
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{}", text.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result {
    match words {
        ["test", rest @ ..] => suite::run(rest),
        ["services"] => services::run(),
        ["graph"] => graph::print(),
        ["graph", "--check"] => graph::check(),
        ["graph", "--bless"] => graph::bless(),
        ["deps"] => deps::run(),
        ["check"] => check::run(),
        ["tour"] => tour::run(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("`cargo xtask {}` is not a command\n\n{USAGE}", other.join(" "))),
    }
}

/// Ends a check: silence and success, or all findings and how many there are.
fn conclude(name: &str, findings: &[String]) -> Result {
    if findings.is_empty() {
        println!("{name}: ok");
        return Ok(());
    }
    Err(format!("{}\n{name}: {} found", findings.join("\n"), findings.len()))
}
