//! How long messages are kept.

use std::time::Duration;

/// How long outboxes and inboxes keep their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(Duration);

impl Default for Retention {
    /// 7 days.
    fn default() -> Self {
        Self(Duration::from_hours(7 * 24))
    }
}

impl Retention {
    /// Outboxes keep messages this long, and longer what a consumer does not have yet.
    #[must_use]
    pub const fn new(keep: Duration) -> Self {
        Self(keep)
    }

    /// How long an outbox keeps a message. What is older cannot be sent again.
    #[must_use]
    pub const fn outbox(self) -> Duration {
        self.0
    }

    /// How long an inbox knows a message after it was handled: longer than any outbox can send it again, whatever the clocks of two machines say.
    #[must_use]
    pub fn inbox(self) -> Duration {
        self.0 + Duration::from_hours(1)
    }
}
