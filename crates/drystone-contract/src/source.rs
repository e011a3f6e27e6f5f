//! Where in a `.proto` file something stands, and what its comment says.

use prost_types::FileDescriptorProto;
use prost_types::source_code_info::Location;

/// A position in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The place of the element with this descriptor path, or of the nearest element around it that has one.
pub(crate) fn place(file: &FileDescriptorProto, path: &[i32]) -> Place {
    let (line, column) = span(file, path).unwrap_or((1, 1));
    Place { file: file.name().to_owned(), line, column }
}

fn span(file: &FileDescriptorProto, path: &[i32]) -> Option<(u32, u32)> {
    let start = |location: &Location| match location.span[..] {
        [line, column, ..] => Some((u32::try_from(line).ok()? + 1, u32::try_from(column).ok()? + 1)),
        _ => None,
    };
    (1..=path.len()).rev().find_map(|length| {
        let wanted = &path[..length];
        // An option written field by field has locations only below its own path.
        let exact = locations(file).find(|location| location.path == wanted);
        exact.or_else(|| locations(file).find(|location| location.path.starts_with(wanted))).and_then(start)
    })
}

/// How many characters the element takes, if it stands on one line.
pub(crate) fn width(file: &FileDescriptorProto, path: &[i32]) -> Option<usize> {
    match locations(file).find(|location| location.path == path)?.span[..] {
        [_, start, end] => usize::try_from(end - start).ok(),
        _ => None,
    }
}

/// The comment above the element, or behind it when there is none above; empty when there is neither.
pub(crate) fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let Some(location) = locations(file).find(|location| location.path == path) else {
        return String::new();
    };
    let leading = location.leading_comments.as_deref().map(clean).unwrap_or_default();
    if leading.is_empty() {
        location.trailing_comments.as_deref().map(clean).unwrap_or_default()
    } else {
        leading
    }
}

fn locations(file: &FileDescriptorProto) -> impl Iterator<Item = &Location> {
    file.source_code_info.iter().flat_map(|info| &info.location)
}

/// Drops the one space that stands between `//` and the text, and empty lines at both ends.
fn clean(raw: &str) -> String {
    let lines: Vec<&str> =
        raw.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}
