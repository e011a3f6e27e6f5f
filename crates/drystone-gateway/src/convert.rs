//! Texts from path and query as JSON values of a field's type.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use serde_json::{Number, Value};

/// Whether JSON writes this message as a value of its own kind, so that nothing can be named below it.
pub(crate) fn is_leaf(message: &MessageDescriptor) -> bool {
    message.parent_file().name().starts_with("google/protobuf/")
}

/// Whether a value of this kind has a text form.
pub(crate) fn has_text_form(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => {
            let is_time =
                matches!(message.full_name(), "google.protobuf.Timestamp" | "google.protobuf.Duration");
            is_time || wrapped(message).is_some()
        }
        _ => true,
    }
}

/// The kind inside a message such as `google.protobuf.StringValue`.
pub(crate) fn wrapped(message: &MessageDescriptor) -> Option<Kind> {
    if message.parent_file().name() != "google/protobuf/wrappers.proto" {
        return None;
    }
    message.get_field_by_name("value").map(|field| field.kind())
}

/// The JSON value of a text.
///
/// # Errors
/// A text that says what was expected.
pub(crate) fn from_text(kind: &Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::String => Ok(Value::from(text)),
        Kind::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(expected("true or false", text)),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            parse::<i32>(text, "a 32-bit integer").map(Value::from)
        }
        Kind::Uint32 | Kind::Fixed32 => parse::<u32>(text, "an unsigned 32-bit integer").map(Value::from),
        // Canonical JSON writes 64-bit integers as strings.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            parse::<i64>(text, "a 64-bit integer").map(|number| Value::from(number.to_string()))
        }
        Kind::Uint64 | Kind::Fixed64 => {
            parse::<u64>(text, "an unsigned 64-bit integer").map(|number| Value::from(number.to_string()))
        }
        Kind::Double | Kind::Float => float(text),
        Kind::Bytes => bytes(text),
        Kind::Enum(descriptor) => enumerated(descriptor, text),
        Kind::Message(message) => well_known(message, text),
    }
}

fn expected(what: &str, text: &str) -> String {
    format!("{:?} is not {what}", text.chars().take(80).collect::<String>())
}

fn parse<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| expected(what, text))
}

fn float(text: &str) -> Result<Value, String> {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Ok(Value::from(text));
    }
    let number = parse::<f64>(text, "a number")?;
    Number::from_f64(number).map(Value::Number).ok_or_else(|| expected("a number", text))
}

/// Standard and URL-safe alphabet, with or without padding, as canonical JSON accepts them.
fn bytes(text: &str) -> Result<Value, String> {
    let url_safe: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    let bytes = URL_SAFE_NO_PAD.decode(url_safe).map_err(|_| expected("base64", text))?;
    Ok(Value::from(STANDARD.encode(bytes)))
}

fn enumerated(descriptor: &EnumDescriptor, text: &str) -> Result<Value, String> {
    let named = descriptor.get_value_by_name(text);
    let value = named.or_else(|| text.parse().ok().and_then(|number| descriptor.get_value(number)));
    value.map(|value| Value::from(value.name())).ok_or_else(|| {
        let names: Vec<_> = descriptor.values().take(12).map(|value| value.name().to_owned()).collect();
        expected(&format!("one of {}", names.join(", ")), text)
    })
}

fn well_known(message: &MessageDescriptor, text: &str) -> Result<Value, String> {
    match message.full_name() {
        "google.protobuf.Timestamp" => {
            parse::<prost_types::Timestamp>(text, "a time such as 2026-01-31T12:00:00Z")
                .map(|_| Value::from(text))
        }
        "google.protobuf.Duration" => {
            parse::<prost_types::Duration>(text, "a duration such as 1.5s").map(|_| Value::from(text))
        }
        _ => match wrapped(message) {
            Some(kind) => from_text(&kind, text),
            None => Err(format!("{} has no text form; send it in the body", message.full_name())),
        },
    }
}
