//! Messages, enums and fields as JSON Schema.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use crate::convert;

/// The schemas that operations refer to, by full name.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    pub(super) done: BTreeMap<String, Value>,
    pub(super) comments: Comments,
}

impl Schemas {
    /// A reference to a message's schema, which is made if there is none yet.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        if !self.done.contains_key(name) {
            // Stands for the schema while it is made, for a message may contain itself.
            self.done.insert(name.to_owned(), Value::Null);
            let schema = self.object(message, &[]);
            self.done.insert(name.to_owned(), schema);
        }
        reference(name)
    }

    /// The schema of a message without some of its fields.
    pub(super) fn object(&mut self, message: &MessageDescriptor, without: &[FieldDescriptor]) -> Value {
        let mut properties = Map::new();
        for field in message.fields().filter(|field| !without.contains(field)) {
            properties.insert(field.json_name().to_owned(), self.described_field(&field));
        }
        let mut description = self.comments.message(message);
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let names: Vec<_> = oneof.fields().map(|field| format!("`{}`", field.json_name())).collect();
            paragraph(&mut description, &format!("At most one of {} is set.", names.join(", ")));
        }
        let schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        described(schema, description)
    }

    /// The schema of a field, with its comment.
    pub(super) fn described_field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = described(self.field(field), self.comments.field(field));
        if field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()) {
            schema["deprecated"] = Value::Bool(true);
        }
        schema
    }

    /// The schema of a field.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        let kind = field.kind();
        if let (true, Some(entry)) = (field.is_map(), kind.as_message()) {
            let value = self.kind(&entry.map_entry_value_field().kind());
            return json!({ "type": "object", "additionalProperties": value });
        }
        let schema = self.kind(&kind);
        if field.is_list() { json!({ "type": "array", "items": schema }) } else { schema }
    }

    /// The schema of one value.
    pub(super) fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => {
                json!({ "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX })
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte", "contentEncoding": "base64" }),
            Kind::Enum(descriptor) => self.enumeration(descriptor),
            Kind::Message(message) => self.well_known(message).unwrap_or_else(|| self.message(message)),
        }
    }

    /// The schema of a message that JSON writes as a value of another kind.
    fn well_known(&mut self, message: &MessageDescriptor) -> Option<Value> {
        if let Some(kind) = convert::wrapped(message) {
            let mut schema = self.kind(&kind);
            schema["type"] = json!([schema["type"], "null"]);
            return Some(schema);
        }
        Some(match message.full_name() {
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => {
                json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" })
            }
            _ => return None,
        })
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor) -> Value {
        let name = descriptor.full_name();
        if !self.done.contains_key(name) {
            let mut names = Vec::new();
            let mut description = self.comments.enumeration(descriptor);
            let mut list = String::new();
            for value in descriptor.values() {
                let comment = self.comments.value(&value).replace('\n', " ");
                if !comment.is_empty() {
                    list.push_str(&format!("* `{}`: {comment}\n", value.name()));
                }
                names.push(value.name().to_owned());
            }
            paragraph(&mut description, list.trim_end());
            self.done
                .insert(name.to_owned(), described(json!({ "type": "string", "enum": names }), description));
        }
        reference(name)
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schema with a description, unless there is nothing to say.
pub(super) fn described(mut schema: Value, description: String) -> Value {
    if !description.is_empty() {
        schema["description"] = Value::String(description);
    }
    schema
}

/// Adds a paragraph to a text.
pub(super) fn paragraph(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}
