//! The commit thread: COMMIT and its fsync, away from the tasks that run statements.
//!
//! The flush belongs to the store: a caller's future may be gone by then. One thread serves all files of a module, so two tenants' commits follow one
//! another; they share one disk anyway.
//!
//! A rehearsal has no such thread: there the work is done at once, where it comes up, so that a run repeats.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::queue::Queue;
use super::writer::Writer;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the commit thread. The thread ends when the last way to it is gone.
#[derive(Clone)]
pub(crate) enum Committer {
    /// Jobs are done by a thread of their own.
    Thread(Sender<Job>),
    /// Jobs are done by whoever has one.
    InPlace,
}

impl Committer {
    /// Starts the thread of a module.
    pub(crate) fn start(module: &str) -> std::io::Result<Self> {
        let (sender, jobs): (Sender<Job>, Receiver<Job>) = channel();
        std::thread::Builder::new().name(format!("commit-{module}")).spawn(move || {
            for job in jobs {
                job();
            }
        })?;
        Ok(Self::Thread(sender))
    }

    /// Commits the writer's group, tells its members, and gives the writer back to its queue.
    pub(crate) fn flush(&self, queue: &Arc<Queue>, mut writer: Box<Writer>) {
        let queue = Arc::clone(queue);
        self.later(Box::new(move || {
            writer.commit();
            queue.release(writer);
        }));
    }

    /// Runs something that may touch the disk on the thread.
    pub(crate) fn later(&self, job: Job) {
        match self {
            Self::Thread(jobs) => {
                if let Err(unsent) = jobs.send(job) {
                    // The thread ended by a panic; the work must not be lost with it.
                    (unsent.0)();
                }
            }
            Self::InPlace => job(),
        }
    }
}
