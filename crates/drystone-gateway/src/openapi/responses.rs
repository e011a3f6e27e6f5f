//! What an operation answers: its response, and each reason that its contract declares, by HTTP status.

use std::collections::BTreeMap;

use drystone_call::{PlatformReason, Reason as _};
use drystone_contract::{Contract, Effect, HttpBinding, KeyPolicy, Method};
use serde_json::{Map, Value, json};

use super::schemas::{Schemas, described, paragraph};
use crate::fields;

/// Whether a method has an effect that a key can make happen once.
pub(super) fn is_keyed(method: &Method) -> bool {
    method.key != KeyPolicy::Ignored && method.effect != Effect::NoSideEffects
}

/// Every response of a binding.
pub(super) fn of(
    contract: &Contract,
    method: &Method,
    binding: &HttpBinding,
    has_body: bool,
    schemas: &mut Schemas,
) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("200".to_owned(), success(method, binding, schemas));
    for (status, reasons) in reasons(contract, method, has_body) {
        all.insert(status.to_string(), refusal(&reasons));
    }
    all.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    all
}

fn success(method: &Method, binding: &HttpBinding, schemas: &mut Schemas) -> Value {
    let part = binding.response_body.as_deref().and_then(|name| fields::field(&method.output, name));
    let schema = match part {
        Some(field) => schemas.field(&field),
        None => schemas.message(&method.output),
    };
    let comment = schemas.comments.message(&method.output);
    let description = if comment.is_empty() { method.output.name().to_owned() } else { comment };
    let mut response = json!({ "content": { "application/json": { "schema": schema } } });
    if is_keyed(method) {
        response["headers"] =
            json!({ "Idempotency-Replayed": { "$ref": "#/components/headers/IdempotencyReplayed" } });
    }
    described(response, description)
}

/// Name and meaning of each reason, by status.
fn reasons(contract: &Contract, method: &Method, has_body: bool) -> BTreeMap<u16, Vec<(String, String)>> {
    let mut all: BTreeMap<u16, Vec<(String, String)>> = BTreeMap::new();
    for reason in &contract.reasons {
        all.entry(reason.http).or_default().push((reason.name.clone(), reason.comment.replace('\n', " ")));
    }
    let mut platform = |reason: PlatformReason, meaning: &str| {
        all.entry(reason.http()).or_default().push((reason.name().to_owned(), meaning.to_owned()));
    };
    if is_keyed(method) {
        platform(PlatformReason::KeyReused, "The idempotency key was used before with another payload.");
        platform(PlatformReason::KeyInUse, "A call with the same idempotency key is running now.");
        platform(PlatformReason::KeyMalformed, "The idempotency key is not one.");
        if method.key == KeyPolicy::Required {
            platform(PlatformReason::KeyMissing, "The method requires an idempotency key.");
        }
    }
    if has_body {
        platform(PlatformReason::MessageTooLarge, "The request is larger than the limit.");
        platform(PlatformReason::MediaTypeNotSupported, "The body is not declared to be `application/json`.");
    }
    all
}

fn refusal(reasons: &[(String, String)]) -> Value {
    let mut description = String::new();
    for (name, meaning) in reasons {
        let line = if meaning.is_empty() { format!("`{name}`") } else { format!("`{name}`: {meaning}") };
        paragraph(&mut description, &line);
    }
    let names: Vec<&str> = reasons.iter().map(|(name, _)| name.as_str()).collect();
    // A status is not a reason's alone: a plain INVALID_ARGUMENT is a 400 without one.
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "reason": { "type": "string", "examples": names } } },
        ],
    });
    described(json!({ "content": { "application/problem+json": { "schema": schema } } }), description)
}

/// Responses and headers that operations refer to.
pub(super) fn components() -> Map<String, Value> {
    let responses = json!({
        "Problem": {
            "description": "Any other failure, as an RFC 9457 problem document.",
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        },
    });
    let headers = json!({
        "IdempotencyReplayed": {
            "description": "`true` on an answer that comes from the record of an earlier call with the same key.",
            "schema": { "type": "string", "enum": ["true"] },
        },
    });
    Map::from_iter([("responses".to_owned(), responses), ("headers".to_owned(), headers)])
}

/// The schema of [`drystone_call::Problem`].
pub(super) fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "description": "A failure (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": text("`urn:drystone:reason:<domain>:<name>`, or `about:blank` where the code says all there is to say."),
            "title": text("The reason or the code in words."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": text("The message for the caller."),
            "code": text("The canonical gRPC code, such as `FAILED_PRECONDITION`."),
            "reason": text("The name of the reason."),
            "domain": text("The proto package that declares the reason; `drystone` for the platform's own."),
            "violations": {
                "type": "array",
                "description": "The fields of the request that are wrong.",
                "items": {
                    "type": "object",
                    "required": ["field", "description"],
                    "properties": { "field": text("The path of the field."), "description": text("What is wrong with it.") },
                },
            },
            "metadata": {
                "type": "object",
                "description": "Facts for machines to read.",
                "additionalProperties": { "type": "string" },
            },
            "retryAfterMs": {
                "type": "integer",
                "description": "How long to wait before trying again, in milliseconds.",
            },
        },
    })
}
