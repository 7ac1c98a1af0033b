use std::collections::VecDeque;
use std::time::Instant;

/// The most bytes of one direction that are in flight or unread.
pub(super) const WINDOW: usize = 64 << 10;

/// One direction of a connection: the bytes that were sent and not read yet. Each segment has an
/// arrival time, before which it is in flight.
#[derive(Default)]
pub(super) struct StreamBuffer {
    segments: VecDeque<Segment>,
    /// The number of bytes in `segments` that are not read.
    len: usize,
    /// The arrival time of the last segment, which later ones must not overtake.
    last_arrival: Option<Instant>,
    /// The arrival time of the end of the stream.
    eof: Option<Instant>,
}

struct Segment {
    arrives: Instant,
    bytes: Vec<u8>,
    read: usize,
}

impl Segment {
    fn unread(&self) -> usize {
        self.bytes.len() - self.read
    }
}

impl StreamBuffer {
    /// Returns how many bytes the window still accepts.
    pub(super) fn room(&self) -> usize {
        WINDOW - self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends a segment. It arrives later than `arrives` if an earlier segment does.
    pub(super) fn send(&mut self, bytes: &[u8], arrives: Instant) {
        let arrives = self.in_order(arrives);
        self.len += bytes.len();
        self.segments.push_back(Segment { arrives, bytes: bytes.to_vec(), read: 0 });
    }

    /// Sends the end of the stream.
    pub(super) fn send_eof(&mut self, arrives: Instant) {
        self.eof = Some(self.in_order(arrives));
    }

    fn in_order(&mut self, arrives: Instant) -> Instant {
        let arrives = self.last_arrival.map_or(arrives, |last| last.max(arrives));
        self.last_arrival = Some(arrives);
        arrives
    }

    /// Returns how many bytes can be read.
    pub(super) fn readable(&self, now: Instant) -> usize {
        let arrived = self.segments.iter().take_while(|segment| segment.arrives <= now);
        arrived.map(Segment::unread).sum()
    }

    /// Fills `buf`, which must not be longer than the [readable](StreamBuffer::readable) bytes.
    /// They stay readable until [`advance`](StreamBuffer::advance).
    pub(super) fn copy(&self, mut buf: &mut [u8]) {
        for segment in &self.segments {
            let rest = &segment.bytes[segment.read..];
            let (part, others) = buf.split_at_mut(rest.len().min(buf.len()));
            part.copy_from_slice(&rest[..part.len()]);
            buf = others;
        }
    }

    /// Removes the first `count` bytes.
    pub(super) fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let segment = self.segments.front_mut().expect("the bytes are readable");
            let part = segment.unread().min(count);
            segment.read += part;
            count -= part;
            if segment.unread() == 0 {
                self.segments.pop_front();
            }
        }
    }

    /// Returns whether the end of the stream has arrived. Unread bytes may precede it.
    pub(super) fn has_eof(&self, now: Instant) -> bool {
        self.eof.is_some_and(|eof| eof <= now)
    }

    /// Returns when the next segment or the end of the stream arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.segments.front().map(|segment| segment.arrives).or(self.eof)
    }

    /// Drops the segments that arrive after `moment`.
    pub(super) fn drop_after(&mut self, moment: Instant) {
        self.segments.retain(|segment| segment.arrives <= moment);
        self.len = self.segments.iter().map(Segment::unread).sum();
        self.eof = self.eof.filter(|&eof| eof <= moment);
    }

    /// Drops all bytes.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.len = 0;
    }
}
