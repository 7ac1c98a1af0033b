//! What the clients send: bytes that tell their place, so that none is lost, doubled or swapped
//! unnoticed.

/// A prime, so that no power of two brings the same bytes again.
const PERIOD: usize = 251;

/// The bytes of a stream without end, any piece of which can be had.
pub(super) struct Pattern {
    bytes: Vec<u8>,
    /// So that two clients send different bytes.
    shift: usize,
}

impl Pattern {
    /// A stream of which pieces of up to `piece_max` bytes are wanted.
    pub(super) fn new(client: usize, piece_max: usize) -> Pattern {
        let bytes = (0..PERIOD + piece_max).map(|index| (index % PERIOD) as u8).collect();
        Pattern { bytes, shift: client * 31 }
    }

    pub(super) fn piece(&self, offset: u64, length: usize) -> &[u8] {
        let begin = ((offset + self.shift as u64) % PERIOD as u64) as usize;
        &self.bytes[begin..begin + length]
    }
}
