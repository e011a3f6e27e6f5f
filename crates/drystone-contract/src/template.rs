//! Path templates of `google.api.http`, parsed into a flat shape that a router can match segment by segment.
//!
//! ```text
//! Template = "/" Segments [ ":" Literal ]
//! Segments = Segment { "/" Segment }
//! Segment  = "*" | "**" | Literal | "{" Field { "." Field } [ "=" Segments ] "}"
//! ```
//!
//! Variables cannot nest, so the tree that the grammar suggests is kept flat: a list of [`Part`]s, and for each
//! variable the range of parts that it spans.

use std::fmt;
use std::ops::Range;

/// One segment of a path, between two slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Exactly this text.
    Literal(String),
    /// `*`: any one segment.
    Any,
    /// `**`: all that is left, none or more segments. Only ever the last part.
    Rest,
}

/// A request field that takes its value from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The names from the request message down to the field.
    pub field_path: Vec<String>,
    /// Which of [`PathTemplate::parts`] it spans.
    pub parts: Range<usize>,
}

impl Variable {
    /// The field path with dots, as in `order.id`.
    #[must_use]
    pub fn name(&self) -> String {
        self.field_path.join(".")
    }
}

/// A parsed path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    parts: Vec<Part>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

/// Why a text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {position} of `{text}`")]
pub struct TemplateError {
    text: String,
    position: usize,
    problem: String,
}

impl PathTemplate {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// When the text does not follow the grammar, when `**` is not the last segment, or when a variable
    /// occurs twice.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { text, position: 0, parts: Vec::new(), variables: Vec::new() };
        parser.expect('/', "a path template starts with `/`")?;
        parser.segments(false)?;
        let verb = if parser.eat(':') { Some(parser.literal("a verb after `:`")?) } else { None };
        if parser.peek().is_some() {
            return Err(parser.error("a character that is not allowed here"));
        }
        if parser.parts.iter().rev().skip(1).any(|part| *part == Part::Rest) {
            return Err(parser.error("`**` is not the last segment, which ends"));
        }
        Ok(Self { text: text.to_owned(), parts: parser.parts, variables: parser.variables, verb })
    }

    /// The text that was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments, variables dissolved into what they match.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The variables, in order of appearance.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The custom verb after the last colon, as in `/v1/orders/{id}:cancel`.
    #[must_use]
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// What the template matches, names of variables forgotten: two templates with one shape are one route.
    #[must_use]
    pub fn shape(&self) -> String {
        let mut shape = String::new();
        for part in &self.parts {
            shape.push('/');
            shape.push_str(match part {
                Part::Literal(text) => text,
                Part::Any => "*",
                Part::Rest => "**",
            });
        }
        if let Some(verb) = &self.verb {
            shape.push(':');
            shape.push_str(verb);
        }
        shape
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
    parts: Vec<Part>,
    variables: Vec<Variable>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char, problem: &str) -> Result<(), TemplateError> {
        if self.eat(wanted) { Ok(()) } else { Err(self.error(&format!("{problem}; it does not"))) }
    }

    fn error(&self, problem: &str) -> TemplateError {
        TemplateError {
            text: self.text.to_owned(),
            position: self.text[..self.position].chars().count() + 1,
            problem: problem.to_owned(),
        }
    }

    fn segments(&mut self, inside_variable: bool) -> Result<(), TemplateError> {
        loop {
            self.segment(inside_variable)?;
            if !self.eat('/') {
                return Ok(());
            }
        }
    }

    fn segment(&mut self, inside_variable: bool) -> Result<(), TemplateError> {
        if self.eat('*') {
            let part = if self.eat('*') { Part::Rest } else { Part::Any };
            self.parts.push(part);
        } else if self.peek() == Some('{') {
            if inside_variable {
                return Err(self.error("a variable inside a variable"));
            }
            self.variable()?;
        } else {
            let text = self.literal("a segment")?;
            self.parts.push(Part::Literal(text));
        }
        Ok(())
    }

    fn variable(&mut self) -> Result<(), TemplateError> {
        self.expect('{', "a variable starts with `{`")?;
        let start = self.parts.len();
        let mut field_path = vec![self.identifier()?];
        while self.eat('.') {
            field_path.push(self.identifier()?);
        }
        if self.variables.iter().any(|known| known.field_path == field_path) {
            return Err(self.error(&format!("`{}` a second time", field_path.join("."))));
        }
        if self.eat('=') {
            self.segments(true)?;
        } else {
            self.parts.push(Part::Any);
        }
        self.expect('}', "a variable ends with `}`")?;
        self.variables.push(Variable { field_path, parts: start..self.parts.len() });
        Ok(())
    }

    fn identifier(&mut self) -> Result<String, TemplateError> {
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.error("no field name"));
        }
        Ok(name)
    }

    fn literal(&mut self, wanted: &str) -> Result<String, TemplateError> {
        let text = self.take(|c| c.is_ascii_alphanumeric() || "-_.~$&'()+,;@!".contains(c));
        if text.is_empty() { Err(self.error(&format!("no text for {wanted}"))) } else { Ok(text) }
    }

    fn take(&mut self, allowed: impl Fn(char) -> bool) -> String {
        let rest = &self.text[self.position..];
        let end = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        self.position += end;
        rest[..end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PathTemplate {
        PathTemplate::parse(text).expect("the test gives a correct template")
    }

    fn check(text: &str, shape: &str, variables: &[(&str, Range<usize>)]) {
        let template = parse(text);
        assert_eq!(template.shape(), shape, "{text}");
        let found: Vec<_> = template.variables().iter().map(|v| (v.name(), v.parts.clone())).collect();
        let wanted: Vec<_> =
            variables.iter().map(|(name, parts)| ((*name).to_owned(), parts.clone())).collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn templates_flatten_into_parts_and_ranges() {
        check("/v1/orders", "/v1/orders", &[]);
        check("/v1/orders/{order_id}", "/v1/orders/*", &[("order_id", 2..3)]);
        check("/v1/orders/{order_id}:cancel", "/v1/orders/*:cancel", &[("order_id", 2..3)]);
        check("/v1/{name=shelves/*/books/*}", "/v1/shelves/*/books/*", &[("name", 1..5)]);
        check("/v1/{a.b.c}/x/{d=**}", "/v1/*/x/**", &[("a.b.c", 1..2), ("d", 3..4)]);
        check("/v1/*/{file=logs/**}:read", "/v1/*/logs/**:read", &[("file", 2..4)]);
    }

    #[test]
    fn the_verb_is_apart_from_the_last_segment() {
        assert_eq!(parse("/v1/stock/{sku}:add").verb(), Some("add"));
        assert_eq!(parse("/v1/stock:add").parts().len(), 2);
        assert_eq!(parse("/v1/stock").verb(), None);
    }

    #[test]
    fn wrong_templates_say_what_and_where() {
        for (text, message) in [
            ("v1/orders", "a path template starts with `/`; it does not at character 1 of `v1/orders`"),
            ("/v1/{id", "a variable ends with `}`; it does not at character 8 of `/v1/{id`"),
            ("/v1/{}", "no field name at character 6 of `/v1/{}`"),
            ("/v1//x", "no text for a segment at character 5 of `/v1//x`"),
            ("/v1/{a={b}}", "a variable inside a variable at character 8 of `/v1/{a={b}}`"),
            ("/v1/{a}/{a}", "`a` a second time at character 11 of `/v1/{a}/{a}`"),
            ("/v1/**/x", "`**` is not the last segment, which ends at character 9 of `/v1/**/x`"),
            ("/v1/a?b", "a character that is not allowed here at character 6 of `/v1/a?b`"),
            ("/v1/a:", "no text for a verb after `:` at character 7 of `/v1/a:`"),
        ] {
            assert_eq!(PathTemplate::parse(text).expect_err(text).to_string(), message);
        }
    }
}
