//! A wire of a test: carries bytes to a service in this process, and does what the test says on the way.

#![allow(dead_code, reason = "each test binary that shares this file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use drystone_call::codegen::BoxFuture;
use drystone_call::{
    Channel, Dispatch, Error, MethodInfo, Mounted, PlatformReason, Remote, Reply, Result, Runner,
};
use http::HeaderMap;

use crate::support::EchoDyn;

/// What happens to an attempt on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTheWay {
    /// It arrives, and its answer too.
    Nothing,
    /// It never arrives, and the caller is told so.
    Lost,
    /// It arrives; its answer does not.
    AnswerLost,
}

type Script = Box<dyn Fn(usize, &HeaderMap) -> OnTheWay + Send + Sync>;

/// A wire to a service, which asks `script` about each attempt by its number.
pub(crate) struct Wire {
    to: Arc<dyn Dispatch>,
    script: Script,
    attempts: AtomicUsize,
}

impl Wire {
    pub(crate) fn new(
        to: Arc<dyn Dispatch>,
        script: impl Fn(usize, &HeaderMap) -> OnTheWay + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { to, script: Box::new(script), attempts: AtomicUsize::new(0) })
    }

    /// The attempts that were handed over so far.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

impl Remote for Wire {
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let number = self.attempts.fetch_add(1, Ordering::SeqCst);
            let on_the_way = (self.script)(number, &headers);
            if on_the_way == OnTheWay::Lost {
                return Err(lost());
            }
            let answer =
                self.to.dispatch(method.index, &headers, body).expect("a method of the contract").await;
            if on_the_way == OnTheWay::AnswerLost { Err(lost()) } else { answer }
        })
    }
}

fn lost() -> Error {
    PlatformReason::PeerUnreachable.error("the wire broke")
}

/// A channel of module `caller` over a wire to `mounted`.
pub(crate) fn channel_over(
    mounted: &Arc<Mounted<dyn EchoDyn>>,
    script: impl Fn(usize, &HeaderMap) -> OnTheWay + Send + Sync + 'static,
) -> (Channel<dyn EchoDyn>, Arc<Wire>) {
    let wire = Wire::new(Arc::clone(mounted) as _, script);
    let channel = Channel::unbound(Some("caller"), "caller");
    channel.bind(Runner::Remote(Arc::clone(&wire) as _));
    (channel, wire)
}
