//! Fallback as a layer.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use crate::observe::{Observe, tell};

/// What a fallback layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackEvent {
    /// The fallback answered in the service's place.
    Answered,
    /// It was asked, and failed too.
    Failed,
}

/// Answers for a service that fails: `keep` takes from the request what the fallback needs, `when` says which errors it stands in for, `answer` is the fallback.
#[derive(Clone)]
pub struct FallbackLayer<K, W, A> {
    keep: K,
    when: W,
    answer: A,
    observe: Option<Observe<FallbackEvent>>,
}

impl<K, W, A> FallbackLayer<K, W, A> {
    /// `keep: Fn(&R) -> X`, `when: Fn(&E) -> bool`, `answer: Fn(X, E) -> impl Future<Output = Result<T, E>>`.
    #[must_use]
    pub fn new<R, X, E, T, F>(keep: K, when: W, answer: A) -> Self
    where
        K: Fn(&R) -> X,
        W: Fn(&E) -> bool,
        A: Fn(X, E) -> F,
        F: Future<Output = Result<T, E>>,
    {
        Self { keep, when, answer, observe: None }
    }

    /// Tells `observe` whenever the fallback was asked.
    #[must_use]
    pub fn observe(mut self, observe: Observe<FallbackEvent>) -> Self {
        self.observe = Some(observe);
        self
    }
}

impl<K, W, A> fmt::Debug for FallbackLayer<K, W, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").finish_non_exhaustive()
    }
}

impl<S, K: Clone, W: Clone, A: Clone> Layer<S> for FallbackLayer<K, W, A> {
    type Service = FallbackService<S, K, W, A>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, shared: self.clone() }
    }
}

/// A service with a fallback.
#[derive(Clone, Debug)]
pub struct FallbackService<S, K, W, A> {
    inner: S,
    shared: FallbackLayer<K, W, A>,
}

impl<S, R, K, X, W, A, F> Service<R> for FallbackService<S, K, W, A>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
    K: Fn(&R) -> X,
    X: Send + 'static,
    W: Fn(&S::Error) -> bool + Clone + Send + 'static,
    A: Fn(X, S::Error) -> F + Clone + Send + 'static,
    F: Future<Output = Result<S::Response, S::Error>> + Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    /// Waits for the inner service; its failure here is handed out, since there is no request yet to answer.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let kept = (self.shared.keep)(&request);
        let call = self.inner.call(request);
        let (when, answer, observe) =
            (self.shared.when.clone(), self.shared.answer.clone(), self.shared.observe.clone());
        Box::pin(async move {
            let error = match call.await {
                Err(error) if when(&error) => error,
                result => return result,
            };
            let result = answer(kept, error).await;
            let event = if result.is_ok() { FallbackEvent::Answered } else { FallbackEvent::Failed };
            tell(observe.as_ref(), &event);
            result
        })
    }
}
