use std::cell::Cell;
use std::iter::Sum;

/// The numbers of connections and bytes that a server has served.
///
/// # Examples
///
/// ```
/// use matou_echo::Stats;
///
/// let total: Stats = [(1, 10), (2, 20)]
///     .map(|(connections, bytes)| Stats { connections, bytes })
///     .into_iter()
///     .sum();
/// assert_eq!((total.connections, total.bytes), (3, 30));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number of accepted connections.
    pub connections: u64,
    /// The number of bytes that were sent back.
    pub bytes: u64,
}

impl Sum for Stats {
    fn sum<I: Iterator<Item = Stats>>(parts: I) -> Stats {
        parts.fold(Stats::default(), |total, part| Stats {
            connections: total.connections + part.connections,
            bytes: total.bytes + part.bytes,
        })
    }
}

/// The counters of one server, which are used on its domain only.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: Cell<u64>,
    bytes: Cell<u64>,
}

impl Counters {
    pub(crate) fn add_connection(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(crate) fn add_bytes(&self, count: usize) {
        self.bytes.set(self.bytes.get() + count as u64);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { connections: self.connections.get(), bytes: self.bytes.get() }
    }
}
