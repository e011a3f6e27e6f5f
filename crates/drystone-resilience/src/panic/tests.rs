//! What a barrier catches.

use std::sync::{Arc, Mutex};

use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::*;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[tokio::test]
async fn a_panic_is_an_error_with_its_text() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let layer = PanicLayer::new().observe(Arc::new(move |PanicEvent(panicked)| {
        telling.lock().expect("is whole").push(panicked.message().to_owned())
    }));
    let service = layer.layer(service_fn(|what: &'static str| {
        assert_ne!(what, "at once", "no future was made");
        async move {
            match what {
                "text" => panic!("just text"),
                "formatted" => panic!("number {}", 7),
                "value" => std::panic::panic_any(7_u32),
                "drop" => {
                    let _bomb = Bomb;
                    Ok(())
                }
                "error" => Err("its own"),
                _ => Ok(()),
            }
        }
    }));
    for (what, message) in [
        ("text", "just text"),
        ("formatted", "number 7"),
        ("value", "a value that is not text"),
        ("drop", "in a destructor"),
    ] {
        let Err(PanicError::Panicked(panicked)) = service.clone().oneshot(what).await else {
            panic!("{what}")
        };
        assert_eq!(panicked.message(), message);
    }
    let error = service.clone().oneshot("at once").await.expect_err("panics");
    assert!(matches!(error, PanicError::Panicked(_)));
    assert_eq!(service.clone().oneshot("error").await, Err(PanicError::Inner("its own")));
    assert_eq!(service.oneshot("nothing").await, Ok(()), "and the service goes on");
    assert_eq!(told.lock().expect("is whole").len(), 5, "each is told");
}

#[tokio::test]
async fn the_drop_of_a_call_that_has_ended_is_inside_the_barrier() {
    // Lives as long as the future itself, longer than its body.
    struct Ends(Bomb);
    impl Future for Ends {
        type Output = ();
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            std::task::Poll::Ready(())
        }
    }
    let panicked = catch_panic(Ends(Bomb)).await.expect_err("its destructor panics");
    assert_eq!(panicked.to_string(), "the call panicked: in a destructor");
    assert_eq!(catch_panic(async { 7 }).await, Ok(7));
}

#[tokio::test]
async fn readiness_is_behind_the_barrier_too() {
    #[derive(Clone)]
    struct Broken;
    impl tower::Service<()> for Broken {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            panic!("not even ready")
        }

        fn call(&mut self, (): ()) -> Self::Future {
            std::future::ready(Ok(()))
        }
    }
    let mut service = PanicLayer::new().layer(Broken);
    let Err(PanicError::Panicked(panicked)) = service.ready().await.map(drop) else { panic!("is not ready") };
    assert_eq!(panicked.message(), "not even ready");
    assert_eq!(service.call(()).await, Ok(()));
}
