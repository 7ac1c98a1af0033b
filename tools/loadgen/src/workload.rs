//! The plans of clients for their connections, as plain numbers.

use std::time::Duration;

use clap::ValueEnum;

/// The kinds of load that the load test offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Connect, send a message, compare its echo, close; repeatedly.
    Churn,
    /// Persistent connections; each message is echoed before the next one is sent.
    Pingpong,
    /// Persistent connections with several messages in flight.
    Stream,
    /// Many connections that echo once, are silent for the whole run, and echo once more.
    Idle,
    /// Persistent connections; one byte at a time, with pauses.
    Slow,
}

impl Pattern {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        ["churn", "pingpong", "stream", "idle", "slow"][self as usize]
    }

    /// Number of clients unless another is given.
    pub fn default_clients(self) -> usize {
        if self == Pattern::Idle { 5_000 } else { 100 }
    }

    /// Bytes per message unless another number is given.
    pub fn default_size(self) -> usize {
        match self {
            Pattern::Churn | Pattern::Pingpong | Pattern::Idle => 64,
            Pattern::Stream => 16 * 1024,
            Pattern::Slow => 1,
        }
    }

    /// The plan of this pattern for messages of `bytes`, with `pause` between those of slow
    /// clients.
    pub fn plan(self, bytes: usize, pause: Duration) -> Plan {
        let plan = Plan::pingpong(bytes);
        match self {
            Pattern::Churn => Plan { messages: Some(1), early_fin: true, ..plan },
            Pattern::Pingpong => plan,
            Pattern::Stream => Plan { window: 4, ..plan },
            Pattern::Idle => Plan { messages: Some(2), hold: true, ..plan },
            Pattern::Slow => Plan { pause, ..plan },
        }
    }
}

/// The plan of each client for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes per message.
    pub message_bytes: u64,
    /// Messages in flight at a time.
    pub window: u64,
    /// Messages per connection. `None`: until the load is stopped.
    pub messages: Option<u64>,
    /// The silence between an echo and the next message.
    pub pause: Duration,
    /// Whether clients are silent after their first echo, until they are released.
    pub hold: bool,
    /// Whether every second connection sends its FIN right behind its last byte (as
    /// `netcat -q0` does) instead of after the echo. Only for one message per connection.
    pub early_fin: bool,
}

impl Plan {
    /// Messages of `bytes` on a persistent connection, each echoed before the next is sent.
    ///
    /// # Panics
    ///
    /// If `bytes` is zero.
    pub fn pingpong(bytes: usize) -> Plan {
        assert!(bytes > 0, "a message has at least one byte");
        Plan {
            message_bytes: bytes as u64,
            window: 1,
            messages: None,
            pause: Duration::ZERO,
            hold: false,
            early_fin: false,
        }
    }

    /// Whether a client opens connection after connection.
    pub(crate) fn reconnects(&self) -> bool {
        self.messages == Some(1)
    }

    /// Number of bytes that may have been sent on a connection once `completed` messages were
    /// echoed.
    pub(crate) fn allowance(&self, completed: u64, limit: u64) -> u64 {
        (completed + self.window).min(limit) * self.message_bytes
    }

    pub(crate) fn limit(&self) -> u64 {
        self.messages.unwrap_or(u64::MAX / self.message_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_limits_the_bytes_in_flight() {
        let stream = Pattern::Stream.plan(1_000, Duration::ZERO);
        assert_eq!(stream.allowance(0, stream.limit()), 4_000);
        assert_eq!(stream.allowance(7, stream.limit()), 11_000);
        assert_eq!(stream.allowance(7, 8), 8_000);
    }

    #[test]
    fn an_unlimited_plan_does_not_overflow() {
        let plan = Plan::pingpong(1 << 20);
        assert!(plan.allowance(1 << 40, plan.limit()) > 1 << 40);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for pattern in Pattern::value_variants() {
            let value = pattern.to_possible_value().expect("no pattern is hidden");
            assert_eq!(value.get_name(), pattern.name());
        }
    }
}
