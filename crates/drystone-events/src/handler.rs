//! Handlers: code that reacts to an event inside an inbox transaction.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use drystone_call::{Error, Event, Result};
use drystone_store::Tx;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::engine::ApplyError;
use crate::{Data, Envelope};

/// What reacts to an event: an `async fn(&mut Tx<'_>, E) -> Result<()>`; one with state is a [`HandlerWith`].
///
/// It is given a transaction and no context, so it cannot call another module: what it writes commits together with the row of the inbox that says so,
/// and happens once however often the message comes. An error rolls both back, and the message is tried again later.
///
/// ```
/// # use drystone_call::{Event, Result};
/// # use drystone_store::Tx;
/// # async fn handler<E: Event + Named>(tx: &mut Tx<'_>, event: E) -> Result<()> {
/// let id = tx.new_id();
/// tx.query("insert into notes (id, what) values ($1, $2)").bind((id, event.name())).queue();
/// Ok(())
/// # }
/// # trait Named { fn name(&self) -> String; }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the event `{E}`",
    label = "not a handler of `{E}`",
    note = "a handler is an `async fn(&mut Tx<'_>, {E}) -> Result<()>`; with state, use `handle_with`"
)]
pub trait Handler<E>: Send + Sync + 'static {
    /// Handles one event.
    fn handle<'a>(&'a self, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>>;
}

/// A function of a transaction and an event.
#[doc(hidden)]
pub trait Function<'a, E>: Send + Sync {
    type Future: Future<Output = Result<()>> + Send + 'a;
    fn call(&self, tx: &'a mut Tx<'static>, event: E) -> Self::Future;
}

impl<'a, E, F, Fut> Function<'a, E> for F
where
    F: Fn(&'a mut Tx<'static>, E) -> Fut + Send + Sync,
    Fut: Future<Output = Result<()>> + Send + 'a,
{
    type Future = Fut;
    fn call(&self, tx: &'a mut Tx<'static>, event: E) -> Fut {
        self(tx, event)
    }
}

impl<E, F> Handler<E> for F
where
    E: Send + 'static,
    F: for<'a> Function<'a, E> + 'static,
{
    fn handle<'a>(&'a self, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(tx, event))
    }
}

/// A [`Handler`] that is also given state, such as settings: an `async fn(&S, &mut Tx<'_>, E) -> Result<()>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the event `{E}` with `{S}`",
    label = "not a handler of `{E}`",
    note = "such a handler is an `async fn(&{S}, &mut Tx<'_>, {E}) -> Result<()>`"
)]
pub trait HandlerWith<S, E>: Send + Sync + 'static {
    /// Handles one event.
    fn handle<'a>(&'a self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>>;
}

/// A function of state, a transaction and an event.
#[doc(hidden)]
pub trait FunctionWith<'a, S, E>: Send + Sync {
    type Future: Future<Output = Result<()>> + Send + 'a;
    fn call(&self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> Self::Future;
}

impl<'a, S, E, F, Fut> FunctionWith<'a, S, E> for F
where
    S: 'a,
    F: Fn(&'a S, &'a mut Tx<'static>, E) -> Fut + Send + Sync,
    Fut: Future<Output = Result<()>> + Send + 'a,
{
    type Future = Fut;
    fn call(&self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> Fut {
        self(state, tx, event)
    }
}

impl<E, S, F> HandlerWith<S, E> for F
where
    E: Send + 'static,
    S: Send + Sync + 'static,
    F: for<'a> FunctionWith<'a, S, E> + 'static,
{
    fn handle<'a>(&'a self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(state, tx, event))
    }
}

/// A handler whose event only it knows.
trait AnyHandler: Send + Sync {
    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx<'static>,
        message: &'a Envelope,
    ) -> BoxFuture<'a, std::result::Result<(), ApplyError>>;

    /// The event in its text form.
    fn to_json(&self, data: &Data) -> Result<serde_json::Value>;

    /// The key and the binary form of an event.
    fn of_json(&self, json: &[u8]) -> Result<(String, Vec<u8>)>;
}

/// A handler of its event; `S` is `()` where there is no state.
struct Of<E, S, H> {
    handler: H,
    state: S,
    event: PhantomData<fn(E)>,
}

/// A handler without state, as one with state.
struct Stateless<H>(H);

impl<E, H: Handler<E>> HandlerOf<(), E> for Stateless<H> {
    fn run<'a>(&'a self, (): &'a (), tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>> {
        self.0.handle(tx, event)
    }
}

struct Stateful<H>(H);

impl<S, E, H: HandlerWith<S, E>> HandlerOf<S, E> for Stateful<H> {
    fn run<'a>(&'a self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>> {
        self.0.handle(state, tx, event)
    }
}

trait HandlerOf<S, E>: Send + Sync + 'static {
    fn run<'a>(&'a self, state: &'a S, tx: &'a mut Tx<'static>, event: E) -> BoxFuture<'a, Result<()>>;
}

impl<E: Event, S: Send + Sync + 'static, H: HandlerOf<S, E>> AnyHandler for Of<E, S, H> {
    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx<'static>,
        message: &'a Envelope,
    ) -> BoxFuture<'a, std::result::Result<(), ApplyError>> {
        Box::pin(async move {
            let event = decode::<E>(&message.data).map_err(ApplyError::Undecodable)?;
            match AssertUnwindSafe(self.handler.run(&self.state, tx, event)).catch_unwind().await {
                Ok(done) => done.map_err(ApplyError::Handler),
                Err(panic) => Err(ApplyError::Handler(panicked(type_name::<H>(), panic.as_ref()))),
            }
        })
    }

    fn to_json(&self, data: &Data) -> Result<serde_json::Value> {
        let event = decode::<E>(data)?;
        serde_json::to_value(&event)
            .map_err(|cause| Error::internal(format!("{} has no JSON form: {cause}", E::TYPE)))
    }

    fn of_json(&self, json: &[u8]) -> Result<(String, Vec<u8>)> {
        let event = decode::<E>(&Data::Json(json.to_vec().into()))?;
        Ok((event.key(), event.encode_to_vec()))
    }
}

/// Durable delivery always decodes, also within one process: what does not survive encoding is found out in the first test.
fn decode<E: Event>(data: &Data) -> Result<E> {
    match data {
        Data::Protobuf(bytes) => E::from_binary(bytes.clone(), E::TYPE),
        Data::Json(bytes) => serde_json::from_slice(bytes).map_err(|cause| {
            Error::invalid_argument(format!("a message is not a {}: {cause}", E::TYPE)).caused_by(cause)
        }),
    }
}

fn panicked(handler: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::internal(format!("the handler {handler} panicked: {said}"))
}

/// The handlers of one consumer, by type of event.
#[derive(Clone, Default)]
pub struct Handlers(BTreeMap<&'static str, Arc<dyn AnyHandler>>);

impl Handlers {
    /// Adds a handler; says whether it is the first of its event.
    pub fn add<E: Event>(&mut self, handler: impl Handler<E>) -> bool {
        let of = Of::<E, _, _> { handler: Stateless(handler), state: (), event: PhantomData };
        self.0.insert(E::TYPE, Arc::new(of)).is_none()
    }

    /// Adds a handler with state; says whether it is the first of its event.
    pub fn add_with<E: Event, S: Send + Sync + 'static>(
        &mut self,
        state: S,
        handler: impl HandlerWith<S, E>,
    ) -> bool {
        let of = Of::<E, _, _> { handler: Stateful(handler), state, event: PhantomData };
        self.0.insert(E::TYPE, Arc::new(of)).is_none()
    }

    /// The types of event that are handled.
    pub fn types(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }

    /// An event in its text form, canonical proto3 JSON, as its handler would read it; `None` if nobody handles its type.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the data is not such an event.
    #[must_use]
    pub fn to_json(&self, event_type: &str, data: &Data) -> Option<Result<serde_json::Value>> {
        Some(self.0.get(event_type)?.to_json(data))
    }

    /// The key and the binary form of an event that is given in its text form; `None` if nobody handles its type.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the text is not such an event.
    #[must_use]
    pub fn of_json(&self, event_type: &str, json: &[u8]) -> Option<Result<(String, Vec<u8>)>> {
        Some(self.0.get(event_type)?.of_json(json))
    }

    /// Runs the handler of a message; one of a type that nobody handles is done with.
    pub(crate) async fn apply(
        &self,
        tx: &mut Tx<'static>,
        message: &Envelope,
    ) -> std::result::Result<(), ApplyError> {
        match self.0.get(&*message.event_type) {
            Some(handler) => handler.apply(tx, message).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.types()).finish()
    }
}
