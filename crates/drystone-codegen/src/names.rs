//! Rust names for proto names, exactly as prost makes them.

use heck::{ToShoutySnakeCase, ToSnakeCase, ToUpperCamelCase};
use prost_reflect::MessageDescriptor;

/// Words that need `r#` to be names.
const RAW: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else",
    "enum", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try",
    "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Words that cannot be names even so.
const NEVER: &[&str] = &["_", "super", "self", "Self", "extern", "crate"];

/// The name of a type.
pub(crate) fn type_name(proto: &str) -> String {
    identifier(proto.to_upper_camel_case())
}

/// The name of a field or a module.
pub(crate) fn field_name(proto: &str) -> String {
    identifier(proto.to_snake_case())
}

/// The first part of the name of a constant.
pub(crate) fn constant_name(proto: &str) -> String {
    proto.to_shouty_snake_case()
}

/// The path of a message from the module of its package, as in `order::Line`.
pub(crate) fn message_path(message: &MessageDescriptor) -> String {
    let mut path = type_name(message.name());
    let mut outer = message.parent_message();
    while let Some(parent) = outer {
        path = format!("{}::{path}", field_name(parent.name()));
        outer = parent.parent_message();
    }
    path
}

fn identifier(name: String) -> String {
    if RAW.contains(&name.as_str()) {
        format!("r#{name}")
    } else if NEVER.contains(&name.as_str()) {
        format!("{name}_")
    } else {
        name
    }
}
