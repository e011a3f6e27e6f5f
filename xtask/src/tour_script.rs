//! The README's console sessions as data: commands, what they print, and how the two are compared.
//!
//! ```text
//! $ cargo run                      a server: started, and waited for until it has printed these lines, among others
//! listening on http://...          `...` stands for any text of one line
//! $ curl http://127.0.0.1:8080/x   a command: run to its end; it must print exactly these lines
//! {"id":"..."}
//! ```

/// One `console` block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) steps: Vec<Step>,
}

/// A command and what it prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) expect: Vec<String>,
}

impl Session {
    /// The session of a block's lines.
    pub(crate) fn parse(lines: &[&str]) -> Result<Self, String> {
        let mut steps: Vec<Step> = Vec::new();
        let mut goes_on = false;
        for line in lines {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (None, Some(step)) if goes_on => step.command.push_str(line.trim()),
                (Some(command), _) => {
                    steps.push(Step { command: command.trim().to_owned(), expect: Vec::new() })
                }
                (None, Some(step)) => {
                    step.expect.push((*line).to_owned());
                    continue;
                }
                (None, None) => {
                    return Err(format!("a session begins with `$ ` and a command, not with `{line}`"));
                }
            }
            let Some(step) = steps.last_mut() else { continue };
            goes_on = step.command.ends_with('\\');
            if goes_on {
                step.command.pop();
            }
        }
        if steps.is_empty() { Err("a session has no command".to_owned()) } else { Ok(Self { steps }) }
    }
}

impl Step {
    /// Whether the command runs until it is stopped: `cargo run` of the shop, whole or taken apart.
    pub(crate) fn is_server(&self) -> bool {
        let mut words = self.command.split_whitespace();
        let is_shop = (words.next(), words.next()) == (Some("cargo"), Some("run"));
        let first = words.find(|word| *word != "--" && !word.starts_with('-'));
        is_shop && first.is_none_or(|word| matches!(word, "run" | "up"))
    }

    /// Whether the command is a read over HTTP, which may be repeated.
    pub(crate) fn only_reads(&self) -> bool {
        let mut words = self.command.split_whitespace();
        words.next() == Some("curl") && !words.any(|word| matches!(word, "-X" | "-d"))
    }

    /// What differs between these lines and the expected ones.
    pub(crate) fn compare(&self, printed: &str) -> Result<(), String> {
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let same = lines.len() == self.expect.len()
            && self.expect.iter().zip(&lines).all(|(expect, line)| matches(expect, line));
        if same {
            return Ok(());
        }
        let (command, expect) = (&self.command, self.expect.join("\n"));
        Err(format!("$ {command}\n--- should print\n{expect}\n--- printed\n{}", printed.trim_end()))
    }
}

/// Whether a line is as expected; `...` stands for any text.
pub(crate) fn matches(expect: &str, line: &str) -> bool {
    let mut parts = expect.trim_end().split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_commands_and_what_they_print() {
        let lines = ["$ cargo run", "ready", "$ curl -X POST \\", "    http://x", "{}", "", "$ true"];
        let steps = Session::parse(&lines).unwrap().steps;
        let seen: Vec<(&str, usize)> = steps.iter().map(|s| (s.command.as_str(), s.expect.len())).collect();
        assert_eq!(seen, [("cargo run", 1), ("curl -X POST http://x", 2), ("true", 0)]);
        assert!(Session::parse(&["ready"]).is_err());
        assert!(Session::parse(&[]).is_err());
    }

    #[test]
    fn servers_are_known_by_their_command() {
        let is_server = |command: &str| Step { command: command.to_owned(), expect: Vec::new() }.is_server();
        for command in ["cargo run", "cargo run -- up --topology x.toml", "cargo run --release -- run"] {
            assert!(is_server(command), "{command}");
        }
        for command in ["cargo run -- graph", "curl run", "cargo xtask test"] {
            assert!(!is_server(command), "{command}");
        }
    }

    #[test]
    fn reads_are_known_by_their_command() {
        let only_reads =
            |command: &str| Step { command: command.to_owned(), expect: Vec::new() }.only_reads();
        assert!(only_reads("curl -s 'http://127.0.0.1:8080/v1/notifications?userId=ada'"));
        for command in ["curl -s -X POST http://x", "curl -d '{}' http://x", "cargo run -- graph", "rm curl"]
        {
            assert!(!only_reads(command), "{command}");
        }
    }

    #[test]
    fn dots_stand_for_any_text() {
        for (expect, line) in [
            ("a", "a"),
            ("a...c", "abc"),
            ("...", ""),
            ("{\"id\":\"...\",\"n\":...}", "{\"id\":\"7\",\"n\":1}"),
        ] {
            assert!(matches(expect, line), "{expect} {line}");
        }
        for (expect, line) in
            [("a", "ab"), ("a...c", "ab"), ("a...b...c", "acb"), ("", "x"), ("ab...bc", "abc")]
        {
            assert!(!matches(expect, line), "{expect} {line}");
        }
    }

    #[test]
    fn every_printed_line_counts() {
        let step = Step { command: "c".to_owned(), expect: vec!["a".to_owned(), "b...".to_owned()] };
        assert_eq!(step.compare("a\nbc\n"), Ok(()));
        for printed in ["a\n", "a\nb\nc\n", "a\nx\n", ""] {
            assert!(step.compare(printed).unwrap_err().contains("--- printed"), "{printed:?}");
        }
    }
}
