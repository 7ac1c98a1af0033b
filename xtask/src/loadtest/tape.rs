//! The bytes that clients send, and the check of what comes back.

/// Length of the repeating part. A prime, so that no power-of-two buffer size lines up with it: a
/// block that is echoed from the wrong place differs from the right one.
const TAPE_BYTES: u64 = 65_521;

/// The largest slice that the tape hands out.
pub(super) const SLICE_BYTES_MAX: usize = 64 * 1024;

/// A fixed sequence of pseudo-random bytes from which each connection reads at its own position.
///
/// Sending is then a copy and comparing is a `memcmp`, which costs the generator next to nothing.
/// Two clients in the same round, and two rounds of one client, read at different positions, so
/// that a buffer which crosses over to another connection is seen at once.
#[derive(Debug)]
pub(super) struct Tape {
    bytes: Vec<u8>,
}

impl Tape {
    pub(super) fn new() -> Tape {
        let mut state = 0x6d61_746f_7521_u64;
        let mut bytes: Vec<u8> =
            (0..TAPE_BYTES).map(|_| (splitmix(&mut state) >> 32) as u8).collect();
        // The head once more behind the end, so that every slice is in one piece.
        bytes.extend_from_within(..SLICE_BYTES_MAX.min(TAPE_BYTES as usize));
        bytes.extend_from_within(..SLICE_BYTES_MAX.saturating_sub(TAPE_BYTES as usize));
        Tape { bytes }
    }

    /// Returns `length` bytes (at most [`SLICE_BYTES_MAX`]) of a connection from `offset` on.
    pub(super) fn slice(&self, start: u64, offset: u64, length: usize) -> &[u8] {
        assert!(length <= SLICE_BYTES_MAX);
        let position = ((start + offset) % TAPE_BYTES) as usize;
        &self.bytes[position..position + length]
    }

    /// Finds the first byte of `got` that differs from what the connection sent at `offset`.
    pub(super) fn first_difference(&self, start: u64, offset: u64, got: &[u8]) -> Option<Wrong> {
        let sent = self.slice(start, offset, got.len());
        if sent == got {
            return None;
        }
        let at = sent.iter().zip(got).position(|(a, b)| a != b)?;
        Some(Wrong { offset: offset + at as u64, expected: sent[at], got: got[at] })
    }
}

/// A byte that came back other than it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) offset: u64,
    pub(super) expected: u8,
    pub(super) got: u8,
}

/// Where on the tape a client reads in a round. Both factors are coprime to the tape's length.
pub(super) fn start(client: u64, round: u64) -> u64 {
    (client.wrapping_mul(7_919).wrapping_add(round.wrapping_mul(104_729))) % TAPE_BYTES
}

/// SplitMix64 by Sebastiano Vigna: one step of a small generator that passes the usual tests.
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
    fn every_slice_of_full_length_is_in_one_piece() {
        let tape = Tape::new();
        for offset in [0, 1, TAPE_BYTES - 1, TAPE_BYTES, 10 * TAPE_BYTES + 7] {
            assert_eq!(tape.slice(3, offset, SLICE_BYTES_MAX).len(), SLICE_BYTES_MAX);
        }
    }

    #[test]
    fn slices_that_overlap_agree_across_the_end_of_the_tape() {
        let tape = Tape::new();
        let whole = tape.slice(0, TAPE_BYTES - 100, 200).to_vec();
        assert_eq!(&whole[150..], tape.slice(0, TAPE_BYTES + 50, 50));
    }

    #[test]
    fn a_changed_byte_is_found_at_its_offset() {
        let tape = Tape::new();
        let mut got = tape.slice(5, 1_000, 64).to_vec();
        assert_eq!(tape.first_difference(5, 1_000, &got), None);
        got[17] ^= 1;
        let wrong = tape.first_difference(5, 1_000, &got).expect("a byte was changed");
        assert_eq!((wrong.offset, wrong.expected ^ wrong.got), (1_017, 1));
    }

    #[test]
    fn clients_and_rounds_read_at_different_places() {
        let starts: std::collections::HashSet<u64> = (0..10_000).map(|c| start(c, 3)).collect();
        assert_eq!(starts.len(), 10_000);
        let rounds: std::collections::HashSet<u64> = (0..10_000).map(|r| start(3, r)).collect();
        assert_eq!(rounds.len(), 10_000);
    }

    #[test]
    fn a_block_of_another_connection_is_never_taken_for_the_right_one() {
        let tape = Tape::new();
        for client in 1..5_000 {
            let other = tape.slice(start(client, 0), 0, 64);
            assert!(tape.first_difference(start(0, 0), 0, other).is_some(), "client {client}");
        }
    }
}
