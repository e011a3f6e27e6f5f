//! Makes comments of a `.proto` file fit to be rustdoc.
//!
//! rustdoc runs indented text and unnamed code fences as Rust tests. Here both become text.

use prost_types::source_code_info::Location;

/// Rewrites the comments of one element in place. Detached comments, such as licences, document nothing and go.
pub(crate) fn tidy(location: &mut Location) {
    location.leading_detached_comments.clear();
    for comment in [&mut location.leading_comments, &mut location.trailing_comments].into_iter().flatten() {
        *comment = rustdoc(comment);
    }
}

/// The comment with every block of code marked as text.
fn rustdoc(comment: &str) -> String {
    let mut writer = Writer::default();
    for line in comment.lines() {
        writer.line(line);
    }
    writer.finish()
}

#[derive(Default)]
struct Writer {
    lines: Vec<String>,
    block: Block,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Prose,
    Fenced,
    Indented,
}

impl Writer {
    fn line(&mut self, raw: &str) {
        // One space stands between `//` and the text.
        let text = raw.strip_prefix(' ').unwrap_or(raw).trim_end();
        let is_fence = text.trim_start().starts_with("```");
        let is_indented = text.starts_with("    ") || text.starts_with('\t');
        match self.block {
            Block::Fenced => {
                self.push(text);
                if is_fence {
                    self.block = Block::Prose;
                }
            }
            Block::Indented if text.is_empty() || is_indented => self.push(text),
            Block::Prose | Block::Indented => {
                self.close();
                if is_fence {
                    self.block = Block::Fenced;
                    self.push("```text");
                } else if is_indented && self.after_blank() {
                    self.block = Block::Indented;
                    self.push("```text");
                    self.push(text);
                } else {
                    self.push(text);
                }
            }
        }
    }

    fn after_blank(&self) -> bool {
        self.lines.last().is_none_or(|line| line.trim().is_empty())
    }

    fn push(&mut self, text: &str) {
        self.lines.push(if text.is_empty() { String::new() } else { format!(" {text}") });
    }

    fn close(&mut self) {
        if self.block == Block::Indented {
            // Blank lines at the end of a block stand after it.
            let blank = self.lines.iter().rev().take_while(|line| line.is_empty()).count();
            self.lines.insert(self.lines.len() - blank, " ```".to_owned());
        }
        self.block = Block::Prose;
    }

    fn finish(mut self) -> String {
        if self.block == Block::Fenced {
            self.push("```");
        }
        self.close();
        self.lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::rustdoc;

    #[test]
    fn prose_stays_as_it_is() {
        assert_eq!(rustdoc(" One.\n\n * a\n   b\n Two."), " One.\n\n * a\n   b\n Two.");
        assert_eq!(rustdoc("tight"), " tight");
    }

    #[test]
    fn indented_text_is_no_test() {
        let wanted = " Like\n\n ```text\n     let x = ;\n\n     y\n ```\n\n end";
        assert_eq!(rustdoc(" Like\n\n     let x = ;\n\n     y\n\n end"), wanted);
        assert_eq!(rustdoc("     first"), " ```text\n     first\n ```");
    }

    #[test]
    fn a_continued_line_is_no_block() {
        assert_eq!(rustdoc(" A:\n     b"), " A:\n     b");
    }

    #[test]
    fn fences_become_text_and_are_closed() {
        assert_eq!(rustdoc(" ```\n x\n ```\n end"), " ```text\n x\n ```\n end");
        assert_eq!(rustdoc(" ```rust\n x"), " ```text\n x\n ```");
    }
}
