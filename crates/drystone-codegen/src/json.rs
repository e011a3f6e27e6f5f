//! Canonical JSON: what pbjson writes, held to the mapping where it strays.
//!
//! Four things are changed in its text. Absolute paths to pbjson go by way of drystone-call, which a contract crate
//! depends on. Maps that it collects in hash order become ordered, for the same message has the same JSON every time.
//! The number of an enum that has no name yet, because the sender's contract is newer, is written as a number and
//! not refused. And timestamps, which it ends with `+00:00`, end with the `Z` that the mapping asks for.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::compile::Compiled;
use crate::descriptors::closure;
use crate::error::BuildError;
use crate::messages::{WELL_KNOWN, failed};
use crate::names::message_path;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// The `Serialize` and `Deserialize` of every message and enum of the package.
pub(crate) fn generate(
    compiled: &Compiled,
    package: &str,
    externs: &[(String, String)],
) -> Result<String, BuildError> {
    let text = pbjson(compiled, package, externs)?
        .replace("::pbjson::", "::drystone_call::codegen::pbjson::")
        .replace("std::collections::HashMap<_, _>", "std::collections::BTreeMap<_, _>");

    let messages = compiled.files(package).flat_map(|file| file.messages().collect::<Vec<_>>());
    let timed: Vec<Timed> = messages.flat_map(|message| timed_fields(&message)).collect();
    let mut text = timed.iter().fold(text, |text, timed| timed.wrap(&text));
    if !timed.is_empty() {
        text.push_str(ZULU);
    }
    let mut opened = open_enums(&text);
    if opened != text {
        opened.push_str(OPEN);
    }
    Ok(opened)
}

/// Writes numbers that name no variant, where pbjson refuses them.
fn open_enums(text: &str) -> String {
    const REFUSAL: &str = ".map_err(|_| serde::ser::Error::custom(format!(\"Invalid variant {}\", ";
    let open = |line: &str| {
        let (before, after) = line.split_once(REFUSAL)?;
        let (number, rest) = after.split_once(")))")?;
        Some(format!(
            "{before}.map(DryOpen::Known).or_else(|_| Ok::<_, S::Error>(DryOpen::Number({number}))){rest}"
        ))
    };
    text.lines().map(|line| open(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn pbjson(compiled: &Compiled, package: &str, externs: &[(String, String)]) -> Result<String, BuildError> {
    let mut builder = pbjson_build::Builder::new();
    builder.btree_map(["."]).emit_fields().extern_path(".google.protobuf", WELL_KNOWN);
    for (other, path) in externs {
        builder.extern_path(format!(".{other}"), path);
    }
    // Imports too: it looks there whether a type is an enum, a message or an entry of a map.
    for file in closure(&compiled.pool, compiled.files(package)) {
        builder.register_file_descriptor(file.file_descriptor_proto().clone());
    }
    let made = builder.generate(&[format!(".{package}")], |_| Ok(Vec::new()));
    let made = made.map_err(|error| failed(package, &error))?;
    let own = made.into_iter().filter(|(found, _)| found.to_string() == package);
    let bytes: Vec<u8> = own.flat_map(|(_, bytes)| bytes).collect();
    String::from_utf8(bytes).map_err(|error| failed(package, &error))
}

/// A message with fields that hold timestamps.
struct Timed {
    message: String,
    json_names: Vec<String>,
}

/// The message and those nested in it, as far as they hold timestamps.
fn timed_fields(message: &MessageDescriptor) -> Vec<Timed> {
    let nested = message.child_messages().filter(|inner| !inner.is_map_entry());
    let mut found: Vec<Timed> = nested.flat_map(|inner| timed_fields(&inner)).collect();
    let fields = message.fields().filter(holds_timestamps);
    let json_names: Vec<String> = fields.map(|field| field.json_name().to_owned()).collect();
    if !json_names.is_empty() {
        found.push(Timed { message: message_path(message), json_names });
    }
    found
}

fn holds_timestamps(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => is_timestamp(&entry.map_entry_value_field().kind()),
        kind => is_timestamp(&kind),
    }
}

fn is_timestamp(kind: &Kind) -> bool {
    kind.as_message().is_some_and(|message| message.full_name() == TIMESTAMP)
}

impl Timed {
    /// Wraps what this message's `Serialize` hands to the serializer for a timestamp.
    fn wrap(&self, text: &str) -> String {
        let start = format!("impl serde::Serialize for {} {{", self.message);
        let lines = text.lines().scan(false, |inside, line| {
            if line.starts_with("impl") {
                *inside = line == start;
            }
            Some(if *inside { self.wrap_line(line) } else { line.to_owned() } + "\n")
        });
        lines.collect()
    }

    fn wrap_line(&self, line: &str) -> String {
        for name in &self.json_names {
            let call = format!("serialize_field(\"{name}\", ");
            if let Some((before, after)) = line.split_once(&call)
                && let Some(value) = after.strip_suffix(")?;")
            {
                return format!("{before}{call}&DryZulu({value}))?;");
            }
        }
        line.to_owned()
    }
}

const ZULU: &str = include_str!("../templates/zulu.txt");
const OPEN: &str = include_str!("../templates/open.txt");
