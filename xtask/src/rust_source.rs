//! Just enough of Rust's grammar to count lines: literals and comments, test code, functions.
//!
//! Not a parser. A parser would be the heaviest dependency of the workspace's lightest crate, for two numbers per file.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    /// Lines from the word `fn` to the closing brace.
    pub(crate) length: usize,
}

/// A source file prepared for counting.
pub(crate) struct Source {
    /// The text with comments, literals and test code blanked; the same length in characters and lines.
    bare: Vec<char>,
    /// Lines that are not test code.
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn of(text: &str) -> Self {
        let mut bare = blank_literals(text);
        let hidden = blank_tests(&mut bare);
        Self { bare, lines: text.lines().count().saturating_sub(hidden) }
    }

    /// The lines, from 1, in which code names `word`.
    pub(crate) fn lines_with(&self, word: &str) -> impl Iterator<Item = usize> {
        let text: String = self.bare.iter().collect();
        let lines: Vec<usize> =
            text.lines().enumerate().filter(|(_, line)| line.contains(word)).map(|(at, _)| at + 1).collect();
        lines.into_iter()
    }

    /// The functions, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let text = &self.bare;
        let mut found = Vec::new();
        let mut line = 1;
        for at in 0..text.len() {
            if text[at] == '\n' {
                line += 1;
            }
            if let Some((name, after)) = function_name(text, at)
                && let Some(open) = body_start(text, after)
            {
                let end = matching_brace(text, open);
                let length = 1 + text[at..end].iter().filter(|c| **c == '\n').count();
                found.push(Function { name, line, length });
            }
        }
        found
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name after the word `fn` at `at`, and where it ends.
fn function_name(text: &[char], at: usize) -> Option<(String, usize)> {
    let starts = text[at..].starts_with(&['f', 'n', ' ']) && (at == 0 || !is_word(text[at - 1]));
    let name: String = text.get(at + 3..)?.iter().take_while(|c| is_word(**c)).collect();
    (starts && !name.is_empty()).then(|| (name.clone(), at + 3 + name.chars().count()))
}

/// Where the body's brace opens, unless a semicolon ends the declaration first.
fn body_start(text: &[char], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in text.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The place of the brace that closes the one at `open`, or the end of the text.
fn matching_brace(text: &[char], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in text.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Blanks every item behind a `#[cfg(test)]` and says how many lines they had.
fn blank_tests(text: &mut [char]) -> usize {
    let mut hidden = 0;
    for marker in ["#[cfg(test)]", "#[cfg(all(test"] {
        let marker: Vec<char> = marker.chars().collect();
        while let Some(at) = text.windows(marker.len()).position(|window| *window == *marker) {
            let end = item_end(text, at);
            hidden += 1;
            for c in &mut text[at..end] {
                hidden += usize::from(*c == '\n');
                *c = if *c == '\n' { '\n' } else { ' ' };
            }
        }
    }
    hidden
}

/// The end of the item that the attribute at `at` belongs to: its closing brace or its semicolon.
fn item_end(text: &[char], at: usize) -> usize {
    let attribute = text[at..].iter().position(|c| *c == ']').map_or(text.len(), |end| at + end + 1);
    let end = text[attribute..].iter().position(|c| matches!(c, '{' | ';')).map(|end| attribute + end);
    match end {
        Some(end) if text[end] == '{' => (matching_brace(text, end) + 1).min(text.len()),
        Some(end) => end + 1,
        None => text.len(),
    }
}

/// Replaces the characters of comments and literals by blanks.
fn blank_literals(text: &str) -> Vec<char> {
    let text: Vec<char> = text.chars().collect();
    let mut bare = Vec::with_capacity(text.len());
    while bare.len() < text.len() {
        let at = bare.len();
        let end = literal_end(&text, at).min(text.len());
        if end <= at {
            bare.push(text[at]);
        } else {
            bare.extend(text[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        }
    }
    bare
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(text: &[char], at: usize) -> usize {
    let rest = &text[at..];
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + block_comment(rest),
        ['"', ..] => at + quoted(rest, '"'),
        ['\'', '\\', ..] => at + quoted(rest, '\''),
        ['\'', _, '\'', ..] => at + 3,
        ['r', ..] if at == 0 || !is_word(text[at - 1]) || matches!(text[at - 1], 'b' | 'c') => {
            at + raw_string(rest)
        }
        _ => at,
    }
}

fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quoted(text: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string(text: &[char]) -> usize {
    let hashes = text[1..].iter().take_while(|c| **c == '#').count();
    if text.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    let body = 2 + hashes;
    let end = text[body..].windows(close.len()).position(|window| window == close.as_slice());
    end.map_or(text.len(), |end| body + end + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(text: &str) -> Vec<(String, usize, usize)> {
        Source::of(text).functions().into_iter().map(|f| (f.name, f.line, f.length)).collect()
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let text = "fn a() {}\n\npub(crate) async fn b<T>(x: [u8; 2]) -> T\nwhere\n    T: Copy,\n{\n    fn c() {}\n}\n";
        let expect = [("a".to_owned(), 1, 1), ("b".to_owned(), 3, 6), ("c".to_owned(), 7, 1)];
        assert_eq!(functions(text), expect);
    }

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        for text in [
            "fn a() { let _ = \"}\\\"{\"; }",
            "fn a() { let _ = '{'; let _ = '\\''; }",
            "fn a<'x>(_: &'x str) { /* { /* } */ */ }",
            "fn a() { // {\n}",
            "fn a() { let _ = r#\"{\"}\"#; }",
            "fn a() { let _ = br\"{\"; }",
        ] {
            let found = functions(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].2, text.lines().count(), "{text}");
        }
    }

    #[test]
    fn a_declaration_has_no_length() {
        assert_eq!(functions("trait T { fn a(&self); fn b(f: fn(u8) -> u8) -> u8; }"), []);
    }

    #[test]
    fn test_code_is_not_counted() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\n#[cfg(test)]\nmod more;\nfn c() {}\n";
        assert_eq!(functions(text), [("a".to_owned(), 1, 1), ("c".to_owned(), 9, 1)]);
        assert_eq!(Source::of(text).lines, 2);
    }
}
