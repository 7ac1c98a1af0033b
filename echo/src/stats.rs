use std::cell::Cell;
use std::iter::Sum;

/// What was served.
///
/// # Examples
///
/// ```
/// use matou_echo::Stats;
///
/// let both: Stats = [(1, 10), (2, 20)]
///     .map(|(connections, bytes)| Stats { connections, bytes })
///     .into_iter()
///     .sum();
/// assert_eq!((both.connections, both.bytes), (3, 30));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that were accepted.
    pub connections: u64,
    /// Bytes that were sent back.
    pub bytes: u64,
}

impl Sum for Stats {
    fn sum<I: Iterator<Item = Stats>>(parts: I) -> Stats {
        parts.fold(Stats::default(), |all, part| Stats {
            connections: all.connections + part.connections,
            bytes: all.bytes + part.bytes,
        })
    }
}

/// The counters of one domain, which nobody else touches.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: Cell<u64>,
    bytes: Cell<u64>,
}

impl Counters {
    pub(crate) fn connection(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(crate) fn echoed(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    pub(crate) fn served(&self) -> Stats {
        Stats { connections: self.connections.get(), bytes: self.bytes.get() }
    }
}
