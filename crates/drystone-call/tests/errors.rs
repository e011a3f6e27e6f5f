//! Errors keep everything on both wires: gRPC status with details, and problem documents.

use std::collections::BTreeMap;
use std::time::Duration;

use drystone_call::{Code, Error, MAX_STATUS_BYTES, PlatformReason, Problem};
use proptest::prelude::*;

/// What a caller can see of an error.
#[derive(Debug, PartialEq)]
struct Seen {
    code: Code,
    reason: Option<(String, String)>,
    message: String,
    http: u16,
    violations: Vec<(String, String)>,
    metadata: BTreeMap<String, String>,
    retry: Option<Duration>,
}

fn seen(error: &Error) -> Seen {
    Seen {
        code: error.code(),
        reason: error.reason_info().map(|info| (info.domain().to_owned(), info.name().to_owned())),
        message: error.message().to_owned(),
        http: error.http_status(),
        violations: error.violations().iter().map(|v| (v.field.clone(), v.description.clone())).collect(),
        metadata: error.metadata().clone(),
        retry: error.retry_delay(),
    }
}

fn errors() -> impl Strategy<Value = Error> {
    let reason = prop::option::of(0..PlatformReason::ALL.len());
    let pairs = prop::collection::vec(("[a-z.\\[\\]0-9]{1,12}", ".{0,20}"), 0..4);
    let delay = prop::option::of(0..10_000_000_u64);
    (1..=16_i32, reason, ".{0,60}", pairs.clone(), pairs, delay).prop_map(
        |(code, reason, message, violations, metadata, delay)| {
            let mut error = match reason {
                Some(index) => PlatformReason::ALL[index].error(message),
                None => Error::new(Code::from_number(code), message),
            };
            for (field, description) in violations {
                error = error.violation(field, description);
            }
            for (key, value) in metadata {
                error = error.with(key, value);
            }
            match delay {
                Some(millis) => error.retry_after(Duration::from_millis(millis)),
                None => error,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_status_keeps_everything(error in errors()) {
        let back = Error::from_status_bytes(&error.to_status_bytes());
        prop_assert_eq!(seen(&back), seen(&error));
    }

    #[test]
    fn a_problem_document_keeps_everything(error in errors()) {
        let json = serde_json::to_string(&Problem::from(&error)).unwrap();
        let back = Error::from(serde_json::from_str::<Problem>(&json).unwrap());
        prop_assert_eq!(seen(&back), seen(&error));
    }

    #[test]
    fn bytes_that_are_no_status_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Error::from_status_bytes(&bytes);
    }
}

#[test]
fn what_is_too_long_for_a_wire_is_cut_in_every_runner() {
    let mut error = Error::invalid_argument("é".repeat(4000));
    for index in 0..200 {
        error = error.violation(format!("field[{index}]"), "x".repeat(100));
    }
    let bounded = error.caused_by(std::io::Error::other("disk on fire")).bounded();
    assert!(bounded.to_status_bytes().len() <= MAX_STATUS_BYTES);
    assert!(bounded.message().ends_with('…'));
    assert!(bounded.cause().is_none(), "the cause stays inside the module");
    assert!(!bounded.violations().is_empty(), "what fits is kept");
}

#[test]
fn any_std_error_converts_and_its_text_stays_inside() {
    fn read() -> drystone_call::Result<String> {
        Ok(std::fs::read_to_string("/definitely/not/here")?)
    }
    let error = read().unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert!(!format!("{error}").contains("No such file"), "{error}");
    assert!(format!("{error:?}").contains("No such file"), "the log sees the cause: {error:?}");
}

#[test]
fn classifiers_judge_foreign_errors() {
    drystone_call::register_classifier(|cause| {
        let io = cause.downcast_ref::<std::io::Error>()?;
        (io.kind() == std::io::ErrorKind::AddrInUse).then(|| (Code::AlreadyExists, "taken".into()))
    });
    let error = Error::from(std::io::Error::from(std::io::ErrorKind::AddrInUse));
    assert_eq!((error.code(), error.message()), (Code::AlreadyExists, "taken"));
}
