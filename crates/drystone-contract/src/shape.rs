//! Questions about the shape of messages: fields along a path, cycles, top-level elements of a package.

use std::collections::HashSet;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

/// Where a field path stops to name anything.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathProblem {
    /// `message` has no field `name`.
    NoField { message: String, name: String },
    /// `name` is no single message, so that nothing can be named below it.
    NotAMessage { name: String },
}

/// Follows `path` from `message` down to a field.
pub(crate) fn field_at(message: &MessageDescriptor, path: &[String]) -> Result<FieldDescriptor, PathProblem> {
    let mut message = message.clone();
    let mut names = path.iter().peekable();
    loop {
        let name = names.next().map(String::as_str).unwrap_or_default();
        let Some(field) = message.get_field_by_name(name) else {
            return Err(PathProblem::NoField {
                message: message.full_name().to_owned(),
                name: name.to_owned(),
            });
        };
        if names.peek().is_none() {
            return Ok(field);
        }
        message = match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() => inner,
            _ => return Err(PathProblem::NotAMessage { name: name.to_owned() }),
        };
    }
}

/// Whether the field holds one value that is no message.
pub(crate) fn is_scalar(field: &FieldDescriptor) -> bool {
    !field.is_list() && !field.is_map() && !matches!(field.kind(), Kind::Message(_))
}

/// The names of a message's fields, for a remedy; at most eight.
pub(crate) fn field_names(message: &MessageDescriptor) -> String {
    let names: Vec<String> = message.fields().take(8).map(|field| format!("`{}`", field.name())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether some message can be reached from itself in the graph of types below `message`.
///
/// Such a message can nest without end, so that a limit on depth has to be checked by walking it.
#[must_use]
pub fn is_recursive(message: &MessageDescriptor) -> bool {
    visit(message, &mut HashSet::new(), &mut HashSet::new())
}

fn visit(message: &MessageDescriptor, open: &mut HashSet<String>, done: &mut HashSet<String>) -> bool {
    let name = message.full_name().to_owned();
    if done.contains(&name) {
        return false;
    }
    if !open.insert(name.clone()) {
        return true;
    }
    let found = message.fields().any(|field| match field.kind() {
        Kind::Message(inner) => visit(&inner, open, done),
        _ => false,
    });
    open.remove(&name);
    done.insert(name);
    found
}

/// The message and all messages declared inside it, entries of maps left out.
pub(crate) fn with_nested(message: MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut all: Vec<_> =
        message.child_messages().filter(|inner| !inner.is_map_entry()).flat_map(with_nested).collect();
    all.insert(0, message);
    all
}

/// The enums declared inside the message or inside its nested messages.
pub(crate) fn nested_enums(message: &MessageDescriptor) -> Vec<EnumDescriptor> {
    with_nested(message.clone()).iter().flat_map(|inner| inner.child_enums().collect::<Vec<_>>()).collect()
}
