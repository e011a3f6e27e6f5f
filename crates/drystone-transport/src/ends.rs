//! A task that ends with its owner.

use tokio::task::JoinHandle;

/// Aborts its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Ends(JoinHandle<()>);

impl Ends {
    /// Lets a task live as long as this.
    pub(crate) fn with_owner(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
