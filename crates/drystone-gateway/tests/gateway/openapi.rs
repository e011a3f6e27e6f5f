//! The OpenAPI document: what it says, and that it keeps the rules of OpenAPI 3.1.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Recorder, builder, contract, library, send};

async fn document() -> Value {
    let gateway =
        builder().info("Library", "1.2.3").mount(Recorder::saying(library(), "{}")).build().unwrap();
    let answer = send(&gateway, "GET /openapi.json", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.body, gateway.openapi());
    answer.json()
}

fn parameters<'d>(document: &'d Value, operation: &'d Value) -> Vec<&'d Value> {
    let all = operation["parameters"].as_array().unwrap();
    let resolve = |one: &'d Value| match one["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => one,
    };
    all.iter().map(resolve).collect()
}

fn parameter<'d>(document: &'d Value, operation: &'d Value, name: &str) -> Option<&'d Value> {
    parameters(document, operation).into_iter().find(|it| it["name"] == name)
}

/// Every reference in a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// The rules of OpenAPI 3.1 that a generator can break.
fn check_rules(document: &Value) {
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut all = Vec::new();
    references(document, &mut all);
    assert!(!all.is_empty());
    for reference in all {
        assert!(document.pointer(&reference[1..]).is_some_and(Value::is_object), "{reference} leads nowhere");
    }
    let (mut ids, mut shapes) = (BTreeSet::new(), BTreeSet::new());
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/'));
        let names: BTreeSet<String> =
            path.split('{').skip(1).map(|it| it.split_once('}').unwrap().0.to_owned()).collect();
        assert_eq!(names.len(), path.matches('{').count(), "{path} names one parameter twice");
        let shape = names.iter().fold(path.clone(), |shape, name| shape.replace(name.as_str(), ""));
        assert!(shapes.insert(shape), "{path} differs from another path in names alone");
        for (verb, operation) in item.as_object().unwrap() {
            assert!(["get", "put", "post", "delete", "patch"].contains(&&**verb));
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(tags.contains(operation["tags"][0].as_str().unwrap()));
            let mut seen = BTreeSet::new();
            let mut in_path = BTreeSet::new();
            for parameter in parameters(document, operation) {
                let place = parameter["in"].as_str().unwrap();
                let name = parameter["name"].as_str().unwrap();
                assert!(["path", "query", "header"].contains(&place) && parameter["schema"].is_object());
                assert!(seen.insert((place, name)), "{id}: {name} twice");
                if place == "path" {
                    assert_eq!(parameter["required"], true);
                    in_path.insert(name.to_owned());
                }
            }
            assert_eq!(in_path, names, "{id}: the path's parameters");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") && responses.contains_key("default"));
            for (status, response) in responses {
                assert!(
                    status == "default" || status.parse::<u16>().is_ok_and(|it| (100..600).contains(&it))
                );
                assert!(
                    response["$ref"].is_string() || response["description"].is_string(),
                    "{id}: {status}"
                );
            }
            if let Some(body) = operation.get("requestBody") {
                assert!(body["content"]["application/json"]["schema"].is_object());
            }
        }
    }
    let is_key = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    for group in document["components"].as_object().unwrap().values() {
        assert!(group.as_object().unwrap().keys().all(|name| is_key(name)));
    }
}

#[tokio::test]
async fn the_document_keeps_the_rules() {
    check_rules(&document().await);
    let empty = builder().build().unwrap();
    let empty: Value = serde_json::from_slice(empty.openapi()).unwrap();
    assert_eq!((&empty["openapi"], &empty["paths"]), (&json!("3.1.0"), &json!({})));
}

#[tokio::test]
async fn paths_that_differ_in_names_alone_are_one() {
    let text = "syntax = \"proto3\"; package test.two.v1; import \"google/api/annotations.proto\";
        service Two {
          rpc Get(One) returns (One) { option (google.api.http) = { get: \"/v1/things/{id}\" }; }
          rpc Put(One) returns (One) { option (google.api.http) = { put: \"/v1/things/{other}\" body: \"*\" }; }
          rpc Any(One) returns (One) { option (google.api.http) = { get: \"/v1/*/x/*/{id=a/*}/{other=**}\" }; }
        }
        message One { string id = 1; string other = 2; }";
    let two = contract("test/two.proto", text, "test.two.v1.Two");
    let gateway = builder().mount(Recorder::saying(two, "{}")).build().unwrap();
    let document: Value = serde_json::from_slice(gateway.openapi()).unwrap();
    check_rules(&document);
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/v1/things/{id}", "/v1/{segment_1}/x/{segment_2}/a/{id}/{other}"]);
    let body =
        &document["paths"]["/v1/things/{id}"]["put"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["properties"], json!({ "id": { "type": "string" } }), "the path gives `other`");
}

#[tokio::test]
async fn types_are_those_of_canonical_json() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    let book = &schemas["test.library.v1.Book"];
    assert_eq!(
        book["properties"],
        json!({
            "id": { "type": "string", "description": "The id." },
            "title": { "type": "string", "description": "The title." },
            "authors": { "type": "array", "items": { "type": "string" }, "description": "Who wrote it." },
            "copies": { "type": "string", "format": "int64", "description": "Copies in the world." },
            "acquired": { "type": "string", "format": "date-time", "description": "When it came." },
            "blurbs": {
                "type": "object", "additionalProperties": { "type": "string" }, "description": "Words about it by language.",
            },
            "format": { "$ref": "#/components/schemas/test.library.v1.Format", "description": "How it is made." },
            "parts": {
                "type": "array", "items": { "$ref": "#/components/schemas/test.library.v1.Book" },
                "description": "What it is made of.",
            },
            "shelf": { "type": "string", "description": "The shelf." },
            "reader": { "type": "string", "description": "The reader." },
            "cover": { "type": "string", "format": "byte", "contentEncoding": "base64", "description": "The cover." },
            "oldName": { "type": "string", "description": "An old name.", "deprecated": true },
        })
    );
    assert_eq!(book["description"], "A book.\n\nAt most one of `shelf`, `reader` is set.");
    assert_eq!(
        schemas["test.library.v1.Format"],
        json!({
            "type": "string", "enum": ["FORMAT_UNSPECIFIED", "PRINTED", "ELECTRONIC"],
            "description": "How a book is made.\n\n* `PRINTED`: Paper.\n* `ELECTRONIC`: Bits.",
        })
    );
}

#[tokio::test]
async fn parameters_come_from_path_and_query() {
    let document = document().await;
    let list = &document["paths"]["/v1/books"]["get"];
    assert_eq!(
        (&list["operationId"], &list["summary"]),
        (&json!("test.library.v1.Library.ListBooks"), &json!("Lists books."))
    );
    for (name, schema) in [
        ("pageSize", json!({ "type": "integer", "format": "int32" })),
        ("filter.years.from", json!({ "type": "integer", "format": "int32" })),
        (
            "formats",
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/test.library.v1.Format" } }),
        ),
        ("atLeast", json!({ "type": "string", "format": "int64" })),
        ("since", json!({ "type": "string", "format": "date-time" })),
    ] {
        assert_eq!(parameter(&document, list, name).unwrap()["schema"], schema, "{name}");
    }
    assert_eq!(parameter(&document, list, "pageSize").unwrap()["description"], "How many.");
    for absent in ["labels", "more", "filter", "filter.inner.author"] {
        assert!(parameter(&document, list, absent).is_none(), "{absent}");
    }
    let file = &document["paths"]["/v1/files/{path}"]["get"];
    assert_eq!(parameter(&document, file, "path").unwrap()["description"], "May contain slashes.");
    let shelved = &document["paths"]["/v1/shelves/{name_1}/books/{name_2}"]["get"];
    assert_eq!(
        parameter(&document, shelved, "name_2").unwrap()["description"],
        "The name.\n\nA part of `name` in `/v1/{name=shelves/*/books/*}`."
    );
    let update = &document["paths"]["/v1/books/{book.id}"]["patch"];
    let update = if update.is_null() { &document["paths"]["/v1/books/{name}"]["patch"] } else { update };
    let body = &update["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/test.library.v1.Book");
    assert!(
        parameter(&document, update, "upsert").is_some()
            && parameter(&document, update, "book.title").is_none()
    );
    let report = &document["paths"]["/v1/books"]["report"];
    assert!(report.is_null(), "OpenAPI knows no such method");
    let wait = &document["paths"]["/v1/books/{book_id}/authors"]["get"];
    let answer = &wait["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(*answer, json!({ "type": "array", "items": { "type": "string" } }));
}

#[tokio::test]
async fn keys_and_reasons_are_declared() {
    let document = document().await;
    let paths = &document["paths"];
    let key = |operation: &Value| {
        parameter(&document, operation, "idempotency-key").map(|it| it["required"].clone())
    };
    assert_eq!(key(&paths["/v1/books"]["post"]), Some(json!(true)));
    assert_eq!(key(&paths["/v1/books/special"]["post"]), Some(json!(false)));
    assert_eq!(key(&paths["/v1/books"]["get"]), None);
    assert_eq!(key(&paths["/v1/books/{name}"]["delete"]), None, "keys are ignored there");
    let special = &paths["/v1/books/special"]["post"]["responses"];
    assert_eq!(
        special["409"]["description"],
        "`BOOK_LENT`: Somebody has the book.\n\n`IDEMPOTENCY_KEY_IN_USE`: A call with the same idempotency key is running now."
    );
    assert_eq!(special["429"]["description"], "`SHELF_FULL`: The shelf has no room.");
    let schema = &special["429"]["content"]["application/problem+json"]["schema"]["allOf"];
    assert_eq!(schema[1]["properties"]["reason"]["examples"], json!(["SHELF_FULL"]));
    assert!(special["422"]["description"].as_str().unwrap().contains("IDEMPOTENCY_KEY_REUSED"));
    assert!(special["200"]["headers"]["Idempotency-Replayed"].is_object());
    assert!(paths["/v1/books"]["get"]["responses"]["422"].is_null());
    let says_missing = |path: &str| {
        let description = paths[path]["post"]["responses"]["400"]["description"].as_str().unwrap();
        description.contains("IDEMPOTENCY_KEY_MISSING")
    };
    assert!(says_missing("/v1/books") && !says_missing("/v1/books/special"), "only where a key is required");
}

#[tokio::test]
async fn the_schema_of_problems_is_that_of_problems() {
    let document = document().await;
    let schema = &document["components"]["schemas"]["Problem"];
    let full = drystone_call::Error::unavailable("x")
        .violation("f", "d")
        .with("k", "v")
        .retry_after(std::time::Duration::from_secs(1));
    let plain = serde_json::to_value(drystone_call::Problem::from(&full)).unwrap();
    let reasoned = drystone_call::PlatformReason::KeyInUse.error("x");
    let reasoned = serde_json::to_value(drystone_call::Problem::from(&reasoned)).unwrap();
    let declared: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
    let made: BTreeSet<_> =
        plain.as_object().unwrap().keys().chain(reasoned.as_object().unwrap().keys()).collect();
    assert_eq!(declared, made);
    for required in schema["required"].as_array().unwrap() {
        assert!(plain.get(required.as_str().unwrap()).is_some());
    }
}
