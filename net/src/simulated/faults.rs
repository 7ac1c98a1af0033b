use std::time::Duration;

/// What the network of a simulated run does to its connections; set by
/// [`set_faults`](super::set_faults).
///
/// The chances are in thousandths. By default there is only what every network does: bytes come in
/// pieces, and late.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_net::test::Faults;
///
/// let rough = Faults::default().delay(Duration::from_millis(200)).resets(50);
/// assert_ne!(rough, Faults::none());
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
}

impl Faults {
    /// A network without faults: what is written is there at once.
    pub fn none() -> Faults {
        Faults {
            segmentation: false,
            delay_max: Duration::ZERO,
            refusals: 0,
            resets: 0,
            stalls: 0,
            accept_errors: 0,
        }
    }

    /// Everything that can go wrong, often enough that a run with a hundred connections sees it.
    pub fn all() -> Faults {
        Faults::default().refusals(30).resets(100).stalls(10).accept_errors(30)
    }

    /// Sets whether reads and writes are cut at any byte. Default: yes.
    pub fn segmentation(mut self, cut: bool) -> Faults {
        self.segmentation = cut;
        self
    }

    /// Sets how long a segment travels at most. Default: 20 ms.
    pub fn delay(mut self, longest: Duration) -> Faults {
        self.delay_max = longest;
        self
    }

    /// Sets how many of a thousand attempts to connect are refused. Default: none.
    pub fn refusals(mut self, per_mille: u32) -> Faults {
        self.refusals = per_mille;
        self
    }

    /// Sets how many of a thousand connections break, after at most 16 KiB. Default: none.
    pub fn resets(mut self, per_mille: u32) -> Faults {
        self.resets = per_mille;
        self
    }

    /// Sets after how many of a thousand writes the direction takes nothing for up to a second.
    /// Default: none.
    pub fn stalls(mut self, per_mille: u32) -> Faults {
        self.stalls = per_mille;
        self
    }

    /// Sets how many of a thousand attempts to accept fail, because descriptors or memory run out
    /// or the peer has left. Default: none.
    pub fn accept_errors(mut self, per_mille: u32) -> Faults {
        self.accept_errors = per_mille;
        self
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none().segmentation(true).delay(Duration::from_millis(20))
    }
}

/// What the network of a simulated run did so far; returned by [`counters`](super::counters).
///
/// A test that wants to survive faults should ask whether there were any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that were made.
    pub connections: u64,
    /// Attempts to connect that were refused, be it by a fault or because nobody listens there.
    pub refusals: u64,
    /// Connections that a fault broke.
    pub resets: u64,
    /// Writes after which a direction stalled.
    pub stalls: u64,
    /// Attempts to accept that a fault made fail.
    pub accept_errors: u64,
    /// Those of them that cost the connection.
    pub accepts_aborted: u64,
    /// Segments that were sent.
    pub segments: u64,
    /// Bytes that were sent.
    pub bytes: u64,
}
