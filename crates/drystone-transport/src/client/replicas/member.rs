//! One replica, and the task that asks it how it is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use drystone_resilience::Random;
use tokio::sync::Notify;

use crate::RemoteModule;

/// Between two questions, on average. Each pause is drawn anew, so that no two callers ask in step.
const EVERY: Duration = Duration::from_secs(3);
/// The pause after the first question that failed; it doubles up to [`EVERY`].
const SOON: Duration = Duration::from_millis(100);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// One replica.
pub(super) struct Member {
    pub(super) remote: RemoteModule,
    /// Whether it is believed to be there.
    there: AtomicBool,
    /// A call found it gone: ask at once.
    look: Notify,
}

impl Member {
    pub(super) fn new(remote: RemoteModule) -> Self {
        Self { remote, there: AtomicBool::new(true), look: Notify::new() }
    }

    pub(super) fn is_there(&self) {
        self.there.store(true, SeqCst);
    }

    /// Notes that its connection is gone, upon which it is asked at once; says whether that is news.
    pub(super) fn is_gone(&self) -> bool {
        let news = self.there.swap(false, SeqCst);
        if news {
            self.look.notify_one();
        }
        news
    }

    /// Asks whether it serves, over its connection, which is made where there is none; and tells what it says.
    ///
    /// The question is about the process: TLS has shown that it hosts the module.
    pub(super) async fn keep_asking(self: Arc<Self>, random: Arc<dyn Random>, tell: impl Fn(bool)) {
        let (mut soon, mut known) = (SOON, true);
        loop {
            let answer = self.remote.check("", ANSWER).await;
            let serves = answer.is_ok();
            self.there.store(serves, SeqCst);
            tell(serves);
            if serves != std::mem::replace(&mut known, serves) {
                let (module, address) = (self.remote.module(), self.remote.address());
                match answer {
                    Ok(()) => {
                        tracing::info!(target: "drystone::transport", module, address, "a replica is back")
                    }
                    Err(error) => {
                        tracing::warn!(target: "drystone::transport", module, address, %error, "a replica is away");
                    }
                }
            }
            let longest = if serves { EVERY } else { soon };
            soon = if serves { SOON } else { (soon * 2).min(EVERY) };
            tokio::select! {
                () = tokio::time::sleep(longest / 2 + random.within(longest)) => {}
                () = self.look.notified() => {}
            }
        }
    }
}
