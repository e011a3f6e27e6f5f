//! When a fallback answers.

use std::sync::{Arc, Mutex};

use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;

#[tokio::test]
async fn it_answers_for_the_errors_that_it_is_meant_for_and_for_no_other() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let layer = FallbackLayer::new(
        |request: &(u32, &'static str)| request.0,
        |error: &String| error.starts_with("busy"),
        |kept: u32, error: String| async move {
            if kept == 0 { Err(format!("nothing kept for it: {error}")) } else { Ok(kept * 100) }
        },
    )
    .observe(Arc::new(move |event| telling.lock().expect("is whole").push(*event)));
    let service = layer.layer(service_fn(|(number, fails): (u32, &'static str)| async move {
        if fails.is_empty() { Ok(number) } else { Err(fails.to_owned()) }
    }));
    let call = |number, fails| service.clone().oneshot((number, fails));
    assert_eq!(call(7, "").await, Ok(7));
    assert_eq!(call(7, "not found").await, Err("not found".to_owned()));
    assert!(told.lock().expect("is whole").is_empty(), "the fallback was not asked");
    assert_eq!(call(7, "busy").await, Ok(700));
    assert_eq!(call(0, "busy").await, Err("nothing kept for it: busy".to_owned()));
    assert_eq!(*told.lock().expect("is whole"), [FallbackEvent::Answered, FallbackEvent::Failed]);
}

#[tokio::test]
async fn it_answers_for_what_a_breaker_refuses() {
    use crate::{BreakerConfig, BreakerError, BreakerLayer};
    let config = BreakerConfig { minimum_calls: 1, ..BreakerConfig::default() };
    let broken = BreakerLayer::new(config).layer(service_fn(|(): ()| async { Err::<&str, _>("down") }));
    let layer = FallbackLayer::new(
        |(): &()| (),
        |error: &BreakerError<&str>| matches!(error, BreakerError::Open(_)),
        |(), _| async { Ok("the last known answer") },
    );
    let service = layer.layer(broken);
    assert_eq!(service.clone().oneshot(()).await, Err(BreakerError::Inner("down")));
    assert_eq!(service.oneshot(()).await, Ok("the last known answer"));
}
