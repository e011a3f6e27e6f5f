//! Tables, on standard output and in `RESULTS.md`.

use std::path::{Path, PathBuf};

use crate::suites::Failure;

/// A table of a suite in Markdown.
pub(crate) struct Table {
    text: String,
}

impl Table {
    /// A table with these columns; the first holds names, the others numbers.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let rule: Vec<_> =
            columns.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "---:" }).collect();
        let mut table = Self { text: String::new() };
        table.line(columns);
        table.line(&rule);
        table
    }

    fn line<S: AsRef<str>>(&mut self, cells: &[S]) {
        for cell in cells {
            self.text.push_str("| ");
            self.text.push_str(cell.as_ref());
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, name: &str, cells: &[String]) {
        let all: Vec<&str> = std::iter::once(name).chain(cells.iter().map(String::as_str)).collect();
        self.line(&all);
    }

    /// The text of the table.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Prints a suite's tables, and puts them into `RESULTS.md` if asked to.
pub(crate) fn publish(suite: &str, text: &str, write: bool) -> Result<(), Failure> {
    println!("\n## {suite}\n\n{text}");
    if !write {
        return Ok(());
    }
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
    let old = std::fs::read_to_string(&path)?;
    let new = replaced(&old, suite, text)
        .ok_or_else(|| format!("{} has no place for `{suite}`: {}", path.display(), begin(suite)))?;
    Ok(std::fs::write(&path, new)?)
}

fn begin(suite: &str) -> String {
    format!("<!-- measured: {suite} -->\n")
}

const END: &str = "<!-- end -->\n";

/// The page with other text between a suite's marks.
fn replaced(page: &str, suite: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&begin(suite))?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{}{}\n{END}{after}", begin(suite), text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_replaces_its_own_part_only() {
        let page =
            "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\nkept\n<!-- end -->\n";
        let new = replaced(page, "x", "new\n\n").unwrap();
        assert_eq!(new, page.replace("old", "new"));
        assert_eq!(replaced(page, "z", "new"), None);
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["what", "ns"]);
        table.row("call", &["7".to_owned()]);
        assert_eq!(table.into_text(), "| what | ns |\n| --- | ---: |\n| call | 7 |\n");
    }
}
