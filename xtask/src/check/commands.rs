//! The commands that a reader is told to type are typed by the build.
//!
//! A `console` block of the README is a session that `cargo xtask tour` runs; the build must run the tour, and its sessions must parse.
//! A `sh` block on the pages below may hold only lines of `.ci/run`, commands of the sessions, and `.ci/run` itself.

use super::markdown::blocks;
use crate::tour_script::Session;
use crate::tree::Tree;

const CI: &str = ".ci/run";
const README: &str = "README.md";
const PAGES: [&str; 2] = [README, "CONTRIBUTING.md"];
const TOUR: &str = "cargo xtask tour";

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let ci = tree.text(CI).unwrap_or_default();
    let in_sessions = session_commands(tree.text(README).unwrap_or_default());
    let in_ci = |command: &str| ci.lines().any(|line| line.trim_end().ends_with(command));
    let typed = |command: &str| command == CI || in_sessions.contains(&command) || in_ci(command);
    let mut found = Vec::new();
    for page in PAGES {
        for block in blocks(tree.text(page).unwrap_or_default()) {
            let at = |offset: usize| format!("{page}:{}", block.line + offset);
            match block.language {
                "sh" => {
                    let unknown = block.lines.iter().enumerate().filter(|(_, line)| !typed(command_of(line)));
                    found.extend(
                        unknown.map(|(offset, line)| format!("{}: {CI} does not run `{line}`", at(offset))),
                    );
                }
                "console" if page != README => found.push(format!("{}: only {README} has sessions", at(0))),
                "console" if !in_ci(TOUR) => found.push(format!("{}: {CI} does not run `{TOUR}`", at(0))),
                "console" => {
                    found.extend(Session::parse(&block.lines).err().map(|text| format!("{}: {text}", at(0))))
                }
                _ => {}
            }
        }
    }
    found
}

/// The lines that sessions type.
fn session_commands(page: &str) -> Vec<&str> {
    let sessions = blocks(page).into_iter().filter(|block| block.language == "console");
    sessions.flat_map(|block| block.lines).filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// A line without its comment.
fn command_of(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, ci: &str) -> usize {
        findings(&Tree::of(&[(README, page), (CI, ci)])).len()
    }

    #[test]
    fn a_command_that_the_build_runs_is_silent() {
        assert_eq!(
            check("```sh\ncargo xtask test     # all of them\n```\n", "step tests cargo xtask test\n"),
            0
        );
        assert_eq!(check("```console\n$ cargo run\nready\n```\n", "step tour cargo xtask tour\n"), 0);
        assert_eq!(
            check("```sh\ncargo run\n.ci/run\n```\n```console\n$ cargo run\n```\n", "cargo xtask tour\n"),
            0
        );
        assert_eq!(check("```rust\nfn main() {}\n```\n", ""), 0);
    }

    #[test]
    fn a_command_that_nothing_runs_is_found() {
        assert_eq!(check("```sh\ncargo xtask test\ncargo frob\n```\n", "cargo xtask test\n"), 1);
        assert_eq!(check("```console\n$ cargo run\nready\n```\n", "cargo xtask test\n"), 1);
        assert_eq!(check("```console\nno prompt\n```\n", "cargo xtask tour\n"), 1);
    }
}
