//! The bytes that clients send, and the comparison with what comes back.

/// Length of the repeating part. It is prime, so no power-of-two buffer size is a multiple of it: a
/// block echoed from the wrong offset differs from the right one.
const PERIOD: u64 = 65_521;

/// Largest slice that a payload returns.
pub(crate) const SLICE_MAX: usize = 64 * 1024;

/// A fixed sequence of pseudo-random bytes; each connection reads it from its own start.
///
/// Sending is a copy and comparing is a `memcmp`, so the generator costs little. Different clients
/// and different connections of one client start at different places, so a buffer that was sent to
/// the wrong connection is detected.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    pub(crate) fn new() -> Payload {
        let mut state = 0x6d61_746f_7521_u64;
        let period = (0..PERIOD).map(|_| (splitmix(&mut state) >> 32) as u8);
        let mut bytes: Vec<u8> = period.collect();
        // Repeat the beginning after the end, so that every slice is contiguous.
        let repeated: Vec<u8> = bytes.iter().cycle().take(SLICE_MAX).copied().collect();
        bytes.extend(repeated);
        Payload { bytes }
    }

    /// Returns `length` bytes (at most [`SLICE_MAX`]) of a connection, from `offset` on.
    pub(crate) fn slice(&self, start: u64, offset: u64, length: usize) -> &[u8] {
        assert!(length <= SLICE_MAX);
        let position = ((start + offset) % PERIOD) as usize;
        &self.bytes[position..position + length]
    }

    /// Returns the index of the first byte of `received` that differs from what was sent.
    pub(crate) fn mismatch(&self, start: u64, offset: u64, received: &[u8]) -> Option<usize> {
        let sent = self.slice(start, offset, received.len());
        if sent == received {
            return None;
        }
        sent.iter().zip(received).position(|(sent, received)| sent != received)
    }
}

/// Where the connection number `connection` of a client starts. Both factors are coprime to the
/// period.
pub(crate) fn start(client: u64, connection: u64) -> u64 {
    (client.wrapping_mul(7_919).wrapping_add(connection.wrapping_mul(104_729))) % PERIOD
}

/// SplitMix64 by Sebastiano Vigna.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_contiguous_across_the_period() {
        let payload = Payload::new();
        for offset in [0, 1, PERIOD - 1, PERIOD, 10 * PERIOD + 7] {
            assert_eq!(payload.slice(3, offset, SLICE_MAX).len(), SLICE_MAX);
        }
        let whole = payload.slice(0, PERIOD - 100, 200).to_vec();
        assert_eq!(&whole[150..], payload.slice(0, PERIOD + 50, 50));
    }

    #[test]
    fn a_changed_byte_is_found() {
        let payload = Payload::new();
        let mut received = payload.slice(5, 1_000, 64).to_vec();
        assert_eq!(payload.mismatch(5, 1_000, &received), None);
        received[17] ^= 1;
        assert_eq!(payload.mismatch(5, 1_000, &received), Some(17));
    }

    #[test]
    fn no_connection_is_mistaken_for_another() {
        let payload = Payload::new();
        for other in 1..5_000 {
            for start in [start(other, 0), start(0, other)] {
                let received = payload.slice(start, 0, 64);
                assert!(payload.mismatch(super::start(0, 0), 0, received).is_some(), "{other}");
            }
        }
    }
}
