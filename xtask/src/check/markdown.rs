//! The parts of a Markdown page that the rules read: code blocks, prose, headings.

/// A fenced block: its language, its lines, and the number of its first line.
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    pub(crate) lines: Vec<&'a str>,
    /// From 1.
    pub(crate) line: usize,
}

/// The fenced blocks of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (at, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(language), false) => {
                found.push(Block { language: language.trim(), lines: Vec::new(), line: at + 2 });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => found.last_mut().into_iter().for_each(|block| block.lines.push(line)),
            (None, false) => {}
        }
    }
    found
}

/// The lines outside fenced blocks, with their numbers from 1.
pub(crate) fn prose(page: &str) -> Vec<(usize, &str)> {
    let mut open = false;
    let mut found = Vec::new();
    for (at, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            open = !open;
        } else if !open {
            found.push((at + 1, line));
        }
    }
    found
}

/// The anchors of a page's headings, as code hosts make them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let headings = prose(page).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# One: `two`!\n\n```sh\n# not a heading\nls\n```\n\ntext\n";

    #[test]
    fn blocks_and_prose_are_apart() {
        let found = blocks(PAGE);
        assert_eq!((found.len(), found[0].language, found[0].line), (1, "sh", 4));
        assert_eq!(found[0].lines, ["# not a heading", "ls"]);
        assert_eq!(prose(PAGE).last(), Some(&(8, "text")));
    }

    #[test]
    fn headings_have_anchors() {
        assert_eq!(anchors(PAGE), ["one-two"]);
    }
}
