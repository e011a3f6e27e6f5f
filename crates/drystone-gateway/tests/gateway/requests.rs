//! What a contract gets of a request: path, query and body as one document.

use drystone_gateway::Gateway;
use serde_json::{Value, json};

use crate::support::{Recorder, Seen, builder, library, send};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends a request and gives what the contract saw of it.
async fn seen(request: &str, body: &str) -> Seen {
    let recorder = Recorder::saying(library(), "{}");
    let gateway: Gateway = builder().mount(recorder.clone()).build().unwrap();
    let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
    let answer = send(&gateway, request, headers, body.to_owned()).await;
    assert_eq!(answer.status, 200, "{request}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let seen = recorder.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    seen[0].clone()
}

async fn check(request: &str, body: &str, method: &str, expect: Value) {
    let seen = seen(request, body).await;
    assert_eq!((seen.method, &seen.json), (method, &expect), "{request}");
}

/// Sends a request that must be refused with 400, and gives field and description of the violation.
async fn check_refused(request: &str, body: &str, field: &str, description: &str) {
    let recorder = Recorder::saying(library(), "{}");
    let gateway = builder().mount(recorder.clone()).build().unwrap();
    let headers: &[_] = if body.is_empty() { &[] } else { &[JSON] };
    let answer = send(&gateway, request, headers, body.to_owned()).await;
    assert_eq!(answer.status, 400, "{request}: {answer:?}");
    let problem = answer.problem();
    assert_eq!(problem["code"], "INVALID_ARGUMENT");
    assert_eq!(problem["violations"], json!([{ "field": field, "description": description }]), "{request}");
    assert!(recorder.seen.lock().unwrap().is_empty(), "{request} reached the contract");
}

#[tokio::test]
async fn paths_fill_fields() {
    check("GET /v1/books/dune", "", "GetBook", json!({ "name": "dune" })).await;
    check("GET /v1/shelves/sf/books/dune", "", "GetBook", json!({ "name": "shelves/sf/books/dune" })).await;
    check("GET /v1/files/", "", "ReadFile", json!({ "path": "" })).await;
    check("GET /v1/files", "", "ReadFile", json!({ "path": "" })).await;
    check("GET /v1/files/a/b.txt", "", "ReadFile", json!({ "path": "a/b.txt" })).await;
    check("GET /v1/files/a//b/", "", "ReadFile", json!({ "path": "a//b/" })).await;
    check("DELETE /v1/books/x:y", "", "DeleteBook", json!({ "bookId": "x:y" })).await;
    check(
        "PUT /v1/volumes/-7/ELECTRONIC",
        "",
        "SetVolume",
        json!({ "volume": "-7", "format": "ELECTRONIC" }),
    )
    .await;
    check("PUT /v1/volumes/7/2", "", "SetVolume", json!({ "volume": "7", "format": "ELECTRONIC" })).await;
}

#[tokio::test]
async fn percent_encoding_follows_the_number_of_segments() {
    check("GET /v1/books/a%2Fb%20%C3%A9", "", "GetBook", json!({ "name": "a/b é" })).await;
    check("GET /v1/books/a+b", "", "GetBook", json!({ "name": "a+b" })).await;
    check("GET /v1/shelves/s%2Ff/books/%20", "", "GetBook", json!({ "name": "shelves/s%2Ff/books/ " })).await;
    check("GET /v1/files/a%2fb/c%3A", "", "ReadFile", json!({ "path": "a%2fb/c:" })).await;
    check("GET /v1/%62ooks/a", "", "GetBook", json!({ "name": "a" })).await;
    check_refused("GET /v1/books/%ff", "", "name", "it is not percent-encoded UTF-8").await;
}

#[tokio::test]
async fn the_most_specific_route_of_the_method_wins() {
    check("POST /v1/books/special", "{}", "CreateSpecial", json!({})).await;
    check("GET /v1/books/special", "", "GetBook", json!({ "name": "special" })).await;
    check("POST /v1/books/special:move", "{}", "MoveBook", json!({ "bookId": "special" })).await;
    check("POST /v1/books/a%3Amove:move", "{}", "MoveBook", json!({ "bookId": "a:move" })).await;
    check("REPORT /v1/books", "", "Report", json!({})).await;
}

#[tokio::test]
async fn the_whole_body_goes_through_as_text() {
    let book = json!({ "title": "Dune", "copies": "12", "authors": ["Frank Herbert"] });
    let text = seen("POST /v1/books/special", &book.to_string()).await;
    assert!(text.as_text);
    assert_eq!(text.json, book);
    // With a part of the request in the path, it cannot.
    let put_together = seen("POST /v1/books/7:move", r#"{"toShelf":"b"}"#).await;
    assert!(!put_together.as_text);
    assert_eq!(put_together.json, json!({ "bookId": "7", "toShelf": "b" }));
}

#[tokio::test]
async fn bodies_meet_the_path() {
    check("POST /v1/books/7:move", r#"{"bookId":"7"}"#, "MoveBook", json!({ "bookId": "7" })).await;
    check("POST /v1/books/7:move", r#"{"book_id":"7"}"#, "MoveBook", json!({ "book_id": "7" })).await;
    check(
        "PUT /v1/volumes/7/2",
        r#"{"volume":7,"note":"n"}"#,
        "SetVolume",
        json!({
            "volume": "7", "note": "n", "format": "ELECTRONIC"
        }),
    )
    .await;
    check_refused("POST /v1/books/7:move", r#"{"bookId":"8"}"#, "book_id", "the body says \"8\"").await;
    check(
        "PATCH /v1/books/7",
        r#"{"title":"T"}"#,
        "UpdateBook",
        json!({ "book": { "id": "7", "title": "T" } }),
    )
    .await;
    check("PATCH /v1/books/7", "", "UpdateBook", json!({ "book": { "id": "7" } })).await;
    check(
        "PATCH /v1/books/7?upsert=true&mask=title&mask=id",
        r#"{"title":"T"}"#,
        "UpdateBook",
        json!({
            "book": { "id": "7", "title": "T" }, "upsert": true, "mask": ["title", "id"]
        }),
    )
    .await;
    check_refused("PATCH /v1/books/7?book.title=T", "{}", "book.title", "the body gives this field").await;
    check_refused("PATCH /v1/books/7", "[]", "book.id", "`book` is not an object").await;
}

#[tokio::test]
async fn an_empty_body_is_an_empty_request() {
    check("POST /v1/books/special", "", "CreateSpecial", json!({})).await;
    check("POST /v1/books/7:move", "", "MoveBook", json!({ "bookId": "7" })).await;
}

#[tokio::test]
async fn query_parameters_of_every_type() {
    for (query, expect) in [
        ("page_size=5", json!({ "pageSize": 5 })),
        ("pageSize=5", json!({ "pageSize": 5 })),
        ("filter.author=a+b%26c", json!({ "filter": { "author": "a b&c" } })),
        (
            "filter.inner.years.from=1&filter.years.to=2",
            json!({
                "filter": { "inner": { "years": { "from": 1 } }, "years": { "to": 2 } }
            }),
        ),
        ("formats=PRINTED&formats=2", json!({ "formats": ["PRINTED", "ELECTRONIC"] })),
        ("ids=1&ids=-9223372036854775808", json!({ "ids": ["1", "-9223372036854775808"] })),
        ("lent=false", json!({ "lent": false })),
        ("cursor=-_8", json!({ "cursor": "+/8=" })),
        ("cursor=%2B%2F8%3D", json!({ "cursor": "+/8=" })),
        ("since=2026-01-31T12:00:00.5Z", json!({ "since": "2026-01-31T12:00:00.5Z" })),
        ("within=1.5s", json!({ "within": "1.5s" })),
        ("at_least=7&rare=true", json!({ "atLeast": "7", "rare": true })),
        ("weight=1.25", json!({ "weight": 1.25 })),
        ("weight=-Infinity", json!({ "weight": "-Infinity" })),
        (
            "stamp=18446744073709551615&small=4294967295",
            json!({ "stamp": "18446744073709551615", "small": 4294967295u32 }),
        ),
        ("&page_size=1&&", json!({ "pageSize": 1 })),
        ("filter.author", json!({ "filter": { "author": "" } })),
    ] {
        check(&format!("GET /v1/books?{query}"), "", "ListBooks", expect).await;
    }
}

#[tokio::test]
async fn query_parameters_that_do_not_fit_are_named() {
    for (query, field, description) in [
        ("nope=1", "nope", "ListBooksRequest has no field `nope`"),
        ("filter.nope=1", "filter.nope", "Filter has no field `nope`"),
        ("page_size.x=1", "page_size.x", "`x` is asked of a field that has none"),
        ("since.seconds=1", "since.seconds", "`seconds` is asked of a field that has none"),
        ("page_size=x", "page_size", "\"x\" is not a 32-bit integer"),
        ("page_size=2147483648", "page_size", "\"2147483648\" is not a 32-bit integer"),
        ("small=-1", "small", "\"-1\" is not an unsigned 32-bit integer"),
        ("page_size=1&page_size=2", "page_size", "it is given more than once"),
        ("lent=yes", "lent", "\"yes\" is not true or false"),
        ("formats=GOLD", "formats", "\"GOLD\" is not one of FORMAT_UNSPECIFIED, PRINTED, ELECTRONIC"),
        ("formats=9", "formats", "\"9\" is not one of FORMAT_UNSPECIFIED, PRINTED, ELECTRONIC"),
        ("cursor=!", "cursor", "\"!\" is not base64"),
        ("since=yesterday", "since", "\"yesterday\" is not a time such as 2026-01-31T12:00:00Z"),
        ("within=5", "within", "\"5\" is not a duration such as 1.5s"),
        ("at_least=x", "at_least", "\"x\" is not a 64-bit integer"),
        ("weight=1e999", "weight", "\"1e999\" is not a number"),
        ("page_size=%zz", "page_size", "the value is not percent-encoded UTF-8"),
        ("%zz=1", "%zz", "the name is not percent-encoded UTF-8"),
        (
            "filter=a",
            "filter",
            "a field of this type cannot stand in a query; name a field below it, as in a.b=1",
        ),
        (
            "labels=a",
            "labels",
            "a field of this type cannot stand in a query; name a field below it, as in a.b=1",
        ),
        ("more.author=a", "more.author", "`author` is asked of a field that has none"),
    ] {
        check_refused(&format!("GET /v1/books?{query}"), "", field, description).await;
    }
    check_refused("GET /v1/books/7/authors?book_id=8", "", "book_id", "the path gives this field").await;
    check_refused(
        "POST /v1/books/special?title=T",
        "{}",
        "title",
        "this route takes no query; put the field into the body",
    )
    .await;
    check_refused("PUT /v1/volumes/x/1", "{}", "volume", "\"x\" is not a 64-bit integer").await;
}

#[tokio::test]
async fn every_wrong_parameter_is_named_at_once() {
    let gateway = builder().mount(Recorder::saying(library(), "{}")).build().unwrap();
    let answer = send(&gateway, "GET /v1/books?nope=1&lent=2&page_size=3", &[], "").await;
    let problem = answer.problem();
    let fields: Vec<_> =
        problem["violations"].as_array().unwrap().iter().map(|it| it["field"].clone()).collect();
    assert_eq!(fields, ["nope", "lent"]);
}

#[tokio::test]
async fn one_field_can_be_the_answer() {
    for (answer, expect) in
        [(r#"{"id":"7","authors":["b", "a"],"title":"T"}"#, r#"["b", "a"]"#), (r#"{"id":"7"}"#, "[]")]
    {
        let gateway = builder().mount(Recorder::saying(library(), answer)).build().unwrap();
        let answer = send(&gateway, "GET /v1/books/7/authors", &[], "").await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, expect.as_bytes()));
    }
}
