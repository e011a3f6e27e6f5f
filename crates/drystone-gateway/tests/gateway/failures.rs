//! Every failure is a problem document with the right status and headers.

use std::time::Duration;

use axum::body::Body;
use drystone_call::{Code, Error, MAX_MESSAGE_BYTES};
use drystone_gateway::Gateway;
use futures_util::{FutureExt as _, stream};
use serde_json::json;

use crate::support::{Answered, Recorder, builder, library, send};

const JSON: (&str, &str) = ("content-type", "application/json");

fn gateway() -> Gateway {
    builder().mount(Recorder::saying(library(), r#"{"id":"7"}"#)).build().unwrap()
}

async fn check(request: &str, headers: &[(&str, &str)], body: &str, status: u16, reason: &str) -> Answered {
    let answer = send(&gateway(), request, headers, body.to_owned()).await;
    assert_eq!(answer.status, status, "{request}: {answer:?}");
    let problem = answer.problem();
    assert_eq!(problem["reason"].as_str().unwrap_or_default(), reason, "{request}");
    answer
}

#[tokio::test]
async fn unknown_paths_are_404() {
    for request in [
        "GET /",
        "GET /v2/books",
        "GET /v1/books/",
        "GET /v1/books/7/",
        "GET /v1",
        "OPTIONS /nope",
        "HEAD /nope",
    ] {
        let answer = send(&gateway(), request, &[], "").await;
        assert_eq!(answer.status, 404, "{request}");
    }
    let answer = check("GET /v2/books", &[], "", 404, "ROUTE_UNKNOWN").await;
    assert_eq!(answer.problem()["detail"], "nothing answers GET /v2/books; /openapi.json lists the routes");
}

#[tokio::test]
async fn known_paths_say_what_they_answer() {
    for (request, allow) in [
        ("PUT /v1/books", "GET, HEAD, OPTIONS, POST, REPORT"),
        ("PUT /v1/books/7", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET /v1/volumes/1/2", "OPTIONS, PUT"),
        ("DELETE /healthz", "GET, HEAD, OPTIONS"),
    ] {
        let answer = check(request, &[], "", 405, "METHOD_NOT_ALLOWED").await;
        assert_eq!(answer.header("allow"), Some(allow), "{request}");
    }
    for (request, allow) in [
        ("OPTIONS /v1/books", "GET, HEAD, OPTIONS, POST, REPORT"),
        // What the method alone would find at a less specific path counts too.
        ("OPTIONS /v1/books/special", "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("OPTIONS /openapi.json", "GET, HEAD, OPTIONS"),
    ] {
        let answer = send(&gateway(), request, &[], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow"), &*answer.body),
            (204, Some(allow), &b""[..])
        );
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let head = send(&gateway(), "HEAD /v1/books/7", &[], "").await;
    assert_eq!(
        (head.status.as_u16(), &*head.body, head.header("content-length")),
        (200, &b""[..], Some("10"))
    );
    let head = send(&gateway(), "HEAD /v1/books?nope=1", &[], "").await;
    assert_eq!((head.status.as_u16(), head.header("content-type")), (400, Some("application/problem+json")));
}

#[tokio::test]
async fn bodies_are_json_by_declaration() {
    let post = "POST /v1/books/special";
    for kind in
        ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\"; x=y"]
    {
        let answer = send(&gateway(), post, &[("content-type", kind)], "{}").await;
        assert_eq!(answer.status, 200, "{kind}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "application/jsonx",
    ] {
        check(post, &[("content-type", kind)], "{}", 415, "MEDIA_TYPE_NOT_SUPPORTED").await;
    }
    check(post, &[], "{}", 415, "MEDIA_TYPE_NOT_SUPPORTED").await;
    check(post, &[JSON, ("content-encoding", "gzip")], "x", 415, "MEDIA_TYPE_NOT_SUPPORTED").await;
    // Without a body there is nothing to declare.
    let answer = send(&gateway(), post, &[("content-type", "text/plain")], "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn malformed_json_is_located() {
    let answer = check("POST /v1/books/7:move", &[JSON], "{\n \"toShelf\": }", 400, "").await;
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "the request's body does not fit: expected value at line 2 column 13");
    let answer = check("POST /v1/books/7:move", &[JSON], "[1]", 400, "").await;
    assert!(answer.problem()["detail"].as_str().unwrap().contains("invalid type: sequence"), "{answer:?}");
    check("POST /v1/books/7:move", &[JSON], "\u{0}", 400, "").await;
}

#[tokio::test]
async fn a_route_without_body_takes_none() {
    let answer = check("DELETE /v1/books/7", &[JSON], "{}", 400, "").await;
    assert_eq!(answer.problem()["detail"], "DELETE /v1/books/{book_id} takes no body");
}

#[tokio::test]
async fn large_bodies_are_413() {
    let text = format!("{{\"title\":\"{}\"}}", "x".repeat(MAX_MESSAGE_BYTES));
    check("POST /v1/books/special", &[JSON], &text, 413, "MESSAGE_TOO_LARGE").await;
    // The same without an announced length.
    let chunks =
        stream::iter((0..=MAX_MESSAGE_BYTES / 65536).map(|_| Ok::<_, std::io::Error>(vec![b' '; 65536])));
    let answer = send(&gateway(), "POST /v1/books/special", &[JSON], Body::from_stream(chunks)).await;
    assert_eq!(answer.problem()["reason"], "MESSAGE_TOO_LARGE");
    // At the limit it passes.
    let fits = format!("{}{{}}", " ".repeat(MAX_MESSAGE_BYTES - 2));
    assert_eq!(send(&gateway(), "POST /v1/books/special", &[JSON], fits).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let began = tokio::time::Instant::now();
    let answer = send(&gateway(), "POST /v1/books/special", &[JSON], never).await;
    assert_eq!((answer.status.as_u16(), &answer.problem()["code"]), (504, &json!("DEADLINE_EXCEEDED")));
    assert_eq!(began.elapsed().as_secs(), 2);
    let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let began = tokio::time::Instant::now();
    let hurried = [JSON, ("request-timeout", "300ms")];
    let answer = send(&gateway(), "POST /v1/books/special", &hurried, never).await;
    assert_eq!(
        (answer.status.as_u16(), began.elapsed().as_millis()),
        (504, 300),
        "the caller's limit is shorter"
    );
    let broken = Body::from_stream(stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("gone"))]));
    let answer = send(&gateway(), "POST /v1/books/special", &[JSON], broken).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.problem()["detail"]),
        (400, &json!("the request's body broke off"))
    );
}

#[tokio::test]
async fn refusals_of_contracts_keep_everything() {
    let failing =
        |error: fn() -> Error| builder().mount(Recorder::failing(library(), error)).build().unwrap();
    let gateway = failing(|| {
        Error::unavailable("come back later")
            .violation("shelf", "is full")
            .with("shelf", "sf")
            .retry_after(Duration::from_millis(1001))
    });
    let answer = send(&gateway, "GET /v1/books/7", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("2")));
    let problem: drystone_call::Problem = serde_json::from_slice(&answer.body).unwrap();
    let back = Error::from(problem);
    assert_eq!((back.code(), back.message()), (Code::Unavailable, "come back later"));
    assert_eq!(back.violations()[0].field, "shelf");
    assert_eq!(back.metadata()["shelf"], "sf");
    assert_eq!(back.retry_delay(), Some(Duration::from_millis(1001)));
    let gateway = failing(|| Error::new(Code::Cancelled, "gone"));
    assert_eq!(send(&gateway, "GET /v1/books/7", &[], "").await.status, 499);
}

#[tokio::test]
async fn dropping_a_request_drops_the_call() {
    struct Told(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().map(|told| told.send(()));
        }
    }
    let (dropped, was_dropped) = tokio::sync::oneshot::channel();
    let dropped = std::sync::Mutex::new(Some(dropped));
    let recorder = Recorder::answering(library(), move || {
        let told = Told(dropped.lock().unwrap().take());
        async move {
            let _told = told;
            std::future::pending().await
        }
        .boxed()
    });
    let gateway = builder().mount(recorder).build().unwrap();
    let request = send(&gateway, "GET /v1/books/7", &[], "");
    assert!(request.now_or_never().is_none());
    was_dropped.await.unwrap();
}
