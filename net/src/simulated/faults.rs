use std::time::Duration;

/// The faults of a simulated run's network; set by [`set_faults`](super::set_faults).
///
/// Probabilities are in thousandths. By default there are only the effects that every network has:
/// bytes arrive late and in pieces.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_net::test::Faults;
///
/// let faults = Faults::default().delay(Duration::from_millis(200)).resets(50);
/// assert_ne!(faults, Faults::none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "faults do nothing until they are set"]
pub struct Faults {
    pub(super) segmentation: bool,
    pub(super) delay_max: Duration,
    pub(super) refusals: u32,
    pub(super) resets: u32,
    pub(super) stalls: u32,
    pub(super) accept_errors: u32,
    pub(super) loss: u32,
    pub(super) duplication: u32,
    pub(super) reordering: u32,
}

impl Faults {
    /// Returns a network without faults: written bytes arrive immediately and in one piece.
    pub fn none() -> Faults {
        Faults {
            segmentation: false,
            delay_max: Duration::ZERO,
            refusals: 0,
            resets: 0,
            stalls: 0,
            accept_errors: 0,
            loss: 0,
            duplication: 0,
            reordering: 0,
        }
    }

    /// Returns a network with every kind of fault, so frequent that a run with a hundred
    /// connections observes each of them.
    pub fn all() -> Faults {
        let streams = Faults::default().refusals(30).resets(100).stalls(10).accept_errors(30);
        streams.loss(50).duplication(30).reordering(50)
    }

    /// Sets whether reads and writes transfer fewer bytes than possible, split at any byte.
    /// Default: `true`.
    pub fn segmentation(mut self, split: bool) -> Faults {
        self.segmentation = split;
        self
    }

    /// Sets the longest time that a segment travels. Default: 20 ms.
    pub fn delay(mut self, longest: Duration) -> Faults {
        self.delay_max = longest;
        self
    }

    /// Sets how many of 1,000 attempts to connect are refused. Default: 0.
    pub fn refusals(mut self, per_mille: u32) -> Faults {
        self.refusals = per_mille;
        self
    }

    /// Sets how many of 1,000 connections are reset, each after at most 16 KiB. Default: 0.
    pub fn resets(mut self, per_mille: u32) -> Faults {
        self.resets = per_mille;
        self
    }

    /// Sets after how many of 1,000 writes the direction accepts no bytes for up to a second.
    /// Default: 0.
    pub fn stalls(mut self, per_mille: u32) -> Faults {
        self.stalls = per_mille;
        self
    }

    /// Sets how many of 1,000 attempts to accept fail, because the system is out of descriptors or
    /// memory or the peer has closed the connection. Default: 0.
    pub fn accept_errors(mut self, per_mille: u32) -> Faults {
        self.accept_errors = per_mille;
        self
    }

    /// Sets how many of 1,000 UDP datagrams are lost. Default: 0. A datagram is also lost if the
    /// receiver's buffer is full, which holds 208 KiB.
    pub fn loss(mut self, per_mille: u32) -> Faults {
        self.loss = per_mille;
        self
    }

    /// Sets how many of 1,000 UDP datagrams arrive twice. Default: 0.
    pub fn duplication(mut self, per_mille: u32) -> Faults {
        self.duplication = per_mille;
        self
    }

    /// Sets how many of 1,000 UDP datagrams are late by up to 50 ms, so that others overtake them.
    /// Default: 0.
    pub fn reordering(mut self, per_mille: u32) -> Faults {
        self.reordering = per_mille;
        self
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none().segmentation(true).delay(Duration::from_millis(20))
    }
}

/// The event counts of a simulated run's network; returned by [`counters`](super::counters).
///
/// A test whose body tolerates faults should check that some occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Established connections.
    pub connections: u64,
    /// Refused attempts to connect, by a fault or because no socket listens on the address.
    pub refusals: u64,
    /// Connections that a fault reset.
    pub resets: u64,
    /// Writes after which the direction stalled.
    pub stalls: u64,
    /// Attempts to accept that failed by a fault.
    pub accept_errors: u64,
    /// Those of the failed attempts that lost the connection.
    pub accepts_aborted: u64,
    /// Segments that were sent.
    pub segments: u64,
    /// Bytes that were sent in segments.
    pub bytes: u64,
    /// UDP datagrams that were sent to a socket.
    pub datagrams: u64,
    /// Those of them that were lost, by a fault or because the receiver's buffer was full.
    pub datagrams_lost: u64,
    /// Datagrams that a fault duplicated.
    pub datagrams_duplicated: u64,
    /// Datagrams that a fault made late.
    pub datagrams_reordered: u64,
}
