use std::collections::VecDeque;
use std::time::Instant;

/// How many bytes may be on their way and unread.
pub(super) const WINDOW: usize = 64 << 10;

/// One direction of a connection: what was sent and is not read yet, some of it still on its way.
#[derive(Default)]
pub(super) struct Pipe {
    segments: VecDeque<Segment>,
    held: usize,
    /// When the last of it arrives: nothing overtakes.
    last: Option<Instant>,
    /// When the end of the stream arrives.
    end: Option<Instant>,
}

struct Segment {
    arrives: Instant,
    bytes: Vec<u8>,
    read: usize,
}

impl Pipe {
    pub(super) fn room(&self) -> usize {
        WINDOW - self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    pub(super) fn send(&mut self, bytes: &[u8], arrives: Instant) {
        let arrives = self.in_order(arrives);
        self.held += bytes.len();
        self.segments.push_back(Segment { arrives, bytes: bytes.to_vec(), read: 0 });
    }

    pub(super) fn finish(&mut self, arrives: Instant) {
        self.end = Some(self.in_order(arrives));
    }

    fn in_order(&mut self, arrives: Instant) -> Instant {
        let arrives = self.last.map_or(arrives, |last| last.max(arrives));
        self.last = Some(arrives);
        arrives
    }

    /// How many bytes have arrived.
    pub(super) fn arrived(&self, now: Instant) -> usize {
        let here = self.segments.iter().take_while(|segment| segment.arrives <= now);
        here.map(|segment| segment.bytes.len() - segment.read).sum()
    }

    /// Reads bytes that have arrived: `buf` is not longer than they are.
    pub(super) fn take(&mut self, mut buf: &mut [u8]) {
        self.held -= buf.len();
        while !buf.is_empty() {
            let segment = self.segments.front_mut().expect("so many have arrived");
            let rest = &segment.bytes[segment.read..];
            let count = rest.len().min(buf.len());
            buf[..count].copy_from_slice(&rest[..count]);
            buf = &mut buf[count..];
            segment.read += count;
            if segment.read == segment.bytes.len() {
                self.segments.pop_front();
            }
        }
    }

    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    /// When the next thing arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|segment| segment.arrives).or(self.end)
    }

    /// Loses what has not arrived by then.
    pub(super) fn lose_after(&mut self, moment: Instant) {
        self.segments.retain(|segment| segment.arrives <= moment);
        self.held = self.segments.iter().map(|segment| segment.bytes.len() - segment.read).sum();
        self.end = self.end.filter(|&end| end <= moment);
    }

    /// Loses everything.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.held = 0;
    }
}
