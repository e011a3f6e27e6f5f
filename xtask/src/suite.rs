//! `cargo xtask test`: everything that the tests need, then all of them.
//!
//! Documentation tests run first, so that the last lines on the screen are the test runner's own. With words after it (`cargo xtask test
//! -p drystone-store`) it runs only what the runner selects by them.

use std::process::Command;

use crate::{Result, needs, tree};

/// The runner's steps and, before them, the documentation tests.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    words: Vec<String>,
}

/// Runs the suite.
pub(crate) fn run(rest: &[&str]) -> Result {
    needs::ensure(&[needs::COMPILER, needs::POSTGRES, needs::NATS, needs::PYTHON])?;
    let has_nextest = needs::succeeds("cargo", &["nextest", "--version"]);
    for Step { words } in steps(has_nextest, rest) {
        let line = format!("cargo {}", words.join(" "));
        eprintln!("$ {line}");
        let status = Command::new("cargo").args(&words).current_dir(tree::root()).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("`{line}` failed: {status}")),
            Err(error) => return Err(format!("`{line}` cannot be run: {error}")),
        }
    }
    Ok(())
}

/// Benches are left out: they measure, and a busy machine measures nothing.
fn steps(has_nextest: bool, rest: &[&str]) -> Vec<Step> {
    let step = |words: &[&str]| Step { words: words.iter().map(|word| (*word).to_owned()).collect() };
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test"] };
    if !rest.is_empty() {
        return vec![step(&[runner, rest].concat())];
    }
    let targets = ["--workspace", "--lib", "--bins", "--tests", "--examples"];
    // An application that is built with places to be killed at, for which nothing else may be built.
    let crashes = ["--package", "drystone-crashes", "--features", "failpoints"];
    // The shop with a defect, for its rehearsal to find.
    let broken = ["--package", "shop", "--features", "defects", "--test", "rehearsal_broken"];
    vec![
        step(&["test", "--quiet", "--workspace", "--doc"]),
        step(&[runner, &crashes].concat()),
        step(&[runner, &broken].concat()),
        step(&[runner, &targets].concat()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(has_nextest: bool, rest: &[&str]) -> Vec<String> {
        steps(has_nextest, rest).into_iter().map(|step| step.words.join(" ")).collect()
    }

    #[test]
    fn the_runner_has_the_last_word() {
        for (has_nextest, last) in [(true, "nextest run --workspace"), (false, "test --workspace")] {
            let lines = lines(has_nextest, &[]);
            assert!(lines[0].ends_with("--doc"), "{lines:?}");
            assert!(lines[3].starts_with(last) && !lines[3].contains("bench"), "{lines:?}");
            assert!(lines[1].contains("drystone-crashes") && !lines[3].contains("failpoints"), "{lines:?}");
            assert!(lines[2].contains("rehearsal_broken") && !lines[3].contains("defects"), "{lines:?}");
        }
    }

    #[test]
    fn words_go_to_the_runner() {
        assert_eq!(lines(true, &["-p", "drystone-store"]), ["nextest run -p drystone-store"]);
    }
}
