//! Parameters of operations: from the path, from the query, and the headers that every operation shares.

use drystone_contract::{HttpBinding, KeyPolicy, Method, Part};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use super::path::{variable_at, wildcards};
use super::schemas::{Schemas, described, paragraph};
use crate::convert;
use crate::fields::FieldPath;

/// The headers that operations refer to.
pub(super) fn components() -> Value {
    let header = |name: &str, required: bool, description: &str| {
        json!({ "name": name, "in": "header", "required": required, "description": description,
                "schema": { "type": "string" } })
    };
    let key = "The key under which the call happens once, however often it is sent: a quoted string (RFC 8941) or a bare \
               token, best a UUID. The same key with another payload is refused with 422.";
    json!({
        "Tenant": header("drystone-tenant", false, "The tenant for whom the call is made (development mode)."),
        "Principal": header("drystone-principal", false, "Who acts, as in `user:ada` (development mode)."),
        "RequestTimeout": header(
            "request-timeout", false, "The time that the caller has, such as `500ms` or `2s`; it can only shorten the method's own.",
        ),
        "IdempotencyKey": header("idempotency-key", false, key),
        "IdempotencyKeyRequired": header("idempotency-key", true, key),
    })
}

/// References to the headers of a method.
pub(super) fn headers(method: &Method) -> Vec<Value> {
    let mut names = vec!["Tenant", "Principal", "RequestTimeout"];
    if super::responses::is_keyed(method) {
        names.push(if method.key == KeyPolicy::Required {
            "IdempotencyKeyRequired"
        } else {
            "IdempotencyKey"
        });
    }
    names.into_iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// The wildcards of the path, under their names there.
pub(super) fn of_path(
    method: &Method,
    binding: &HttpBinding,
    names: &[String],
    schemas: &mut Schemas,
) -> Vec<Value> {
    let template = &binding.template;
    let parameter = |((index, part), name): ((usize, &Part), &String)| {
        let variable = variable_at(template, index);
        let path = variable
            .and_then(|it| FieldPath::resolve(&method.input, it.field_path.iter().map(String::as_str)).ok());
        let is_whole = variable.is_some_and(|variable| variable.parts.len() == 1);
        let mut schema = match &path {
            Some(path) if is_whole => schemas.kind(&path.field().kind()),
            _ => json!({ "type": "string" }),
        };
        let mut description = path.map(|path| schemas.comments.field(path.field())).unwrap_or_default();
        if let (false, Some(variable)) = (is_whole, variable) {
            paragraph(&mut description, &format!("A part of `{}` in `{template}`.", variable.name()));
        }
        if *part == Part::Rest {
            paragraph(&mut description, "May contain slashes.");
        } else if schema == json!({ "type": "string" }) {
            schema["minLength"] = json!(1);
        }
        described(json!({ "name": name, "in": "path", "required": true, "schema": schema }), description)
    };
    wildcards(template).zip(names).map(parameter).collect()
}

/// The fields that come from the query: all but those in `elsewhere`.
pub(super) fn of_query(
    input: &MessageDescriptor,
    elsewhere: &[FieldPath],
    schemas: &mut Schemas,
) -> Vec<Value> {
    let mut found = Vec::new();
    Query { input, elsewhere, schemas, found: &mut found }.visit(input, &mut Vec::new());
    found
}

struct Query<'a> {
    input: &'a MessageDescriptor,
    elsewhere: &'a [FieldPath],
    schemas: &'a mut Schemas,
    found: &'a mut Vec<Value>,
}

impl Query<'_> {
    fn visit(&mut self, message: &MessageDescriptor, above: &mut Vec<FieldDescriptor>) {
        for field in message.fields() {
            let kind = field.kind();
            above.push(field.clone());
            let path = FieldPath::resolve(self.input, above.iter().map(FieldDescriptor::name));
            if !path.is_ok_and(|path| self.elsewhere.iter().any(|other| path.is_within(other))) {
                match &kind {
                    _ if field.is_map() => {}
                    kind if convert::has_text_form(kind) => self.parameter(&field, kind, above),
                    Kind::Message(inner)
                        if !field.is_list() && !convert::is_leaf(inner) && !is_above(inner, above) =>
                    {
                        self.visit(inner, above);
                    }
                    _ => {}
                }
            }
            above.pop();
        }
    }

    fn parameter(&mut self, field: &FieldDescriptor, kind: &Kind, above: &[FieldDescriptor]) {
        let text = match kind {
            Kind::Message(message) => match convert::wrapped(message) {
                Some(inner) => self.schemas.kind(&inner),
                None => self.schemas.kind(kind),
            },
            _ => self.schemas.kind(kind),
        };
        let schema = if field.is_list() { json!({ "type": "array", "items": text }) } else { text };
        let name = above.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>().join(".");
        let description = self.schemas.comments.field(field);
        self.found.push(described(json!({ "name": name, "in": "query", "schema": schema }), description));
    }
}

/// Whether a message contains itself along this way, which would have no end.
fn is_above(message: &MessageDescriptor, above: &[FieldDescriptor]) -> bool {
    above.iter().any(|field| field.parent_message() == message)
}
