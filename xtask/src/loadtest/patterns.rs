//! The manners in which clients talk to the server, as plans of plain numbers.

use std::time::Duration;

use clap::ValueEnum;

/// A manner of talking to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Pattern {
    /// Connect, send a message, compare its echo, close; again and again.
    Churn,
    /// Connections stay; one message after another, each echoed before the next.
    Pingpong,
    /// Connections stay; messages without a pause, several of them on the way at a time.
    Stream,
    /// Many connections that echo once, are silent for the time of the run, and echo once more.
    Idle,
    /// Connections stay; one byte every so often.
    Slow,
}

impl Pattern {
    pub(super) fn name(self) -> &'static str {
        match self {
            Pattern::Churn => "churn",
            Pattern::Pingpong => "pingpong",
            Pattern::Stream => "stream",
            Pattern::Idle => "idle",
            Pattern::Slow => "slow",
        }
    }

    pub(super) fn default_clients(self) -> usize {
        if self == Pattern::Idle { 5_000 } else { 100 }
    }

    pub(super) fn default_size(self) -> usize {
        match self {
            Pattern::Churn | Pattern::Pingpong | Pattern::Idle => 64,
            Pattern::Stream => 16 * 1024,
            Pattern::Slow => 1,
        }
    }

    /// What one operation is: the thing whose rate and server time are told.
    pub(super) fn unit(self) -> &'static str {
        if self == Pattern::Churn { "connection" } else { "message" }
    }

    pub(super) fn plan(self, message_bytes: usize, pause: Duration) -> Plan {
        assert!(message_bytes > 0, "a message has at least one byte");
        let talk = Plan {
            message_bytes: message_bytes as u64,
            window: 1,
            messages: None,
            pause: Duration::ZERO,
            hold: false,
        };
        match self {
            Pattern::Churn => Plan { messages: Some(1), ..talk },
            Pattern::Pingpong => talk,
            Pattern::Stream => Plan { window: 4, ..talk },
            Pattern::Idle => Plan { messages: Some(2), hold: true, ..talk },
            Pattern::Slow => Plan { pause, ..talk },
        }
    }
}

/// What each client does with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) message_bytes: u64,
    /// Messages that may be on the way at a time.
    pub(super) window: u64,
    /// Messages on one connection; none: until the end of the run.
    pub(super) messages: Option<u64>,
    /// The silence between an echo and the next message.
    pub(super) pause: Duration,
    /// Whether clients wait for the second act after their first message, and end after it.
    pub(super) hold: bool,
}

impl Plan {
    /// Whether a client opens connection after connection (rather than to keep the first one).
    pub(super) fn churns(&self) -> bool {
        self.messages == Some(1)
    }

    /// The number of bytes that may have been sent on a connection when `completed` messages came
    /// back whole.
    pub(super) fn allowance(&self, completed: u64, limit: u64) -> u64 {
        (completed + self.window).min(limit) * self.message_bytes
    }

    pub(super) fn limit(&self) -> u64 {
        self.messages.unwrap_or(u64::MAX / self.message_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_what_is_on_the_way() {
        let stream = Pattern::Stream.plan(1_000, Duration::ZERO);
        assert_eq!(stream.allowance(0, stream.limit()), 4_000);
        assert_eq!(stream.allowance(7, stream.limit()), 11_000);
        assert_eq!(stream.allowance(7, 8), 8_000);
    }

    #[test]
    fn an_endless_plan_does_not_overflow() {
        let talk = Pattern::Pingpong.plan(1 << 20, Duration::ZERO);
        assert!(talk.allowance(1 << 40, talk.limit()) > 1 << 40);
    }

    #[test]
    fn only_churn_opens_connection_after_connection() {
        let churns = |pattern: Pattern| pattern.plan(1, Duration::ZERO).churns();
        let all = Pattern::value_variants();
        assert!(all.iter().all(|&p| churns(p) == (p == Pattern::Churn)));
    }
}
