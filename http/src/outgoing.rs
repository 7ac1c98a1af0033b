//! The parts of bodies that are being sent.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::connection_state::InProgress;

/// Records that a response of HTTP/2 waits for the client, until it is dropped. Until then the
/// request is in progress.
pub(crate) struct Claim {
    in_progress: InProgress,
    response: u64,
}

impl Claim {
    /// Returns `None` in HTTP/1.
    pub(crate) fn new(in_progress: &InProgress, response: u64) -> Option<Claim> {
        in_progress.connection().sending.get()?.claim(response);
        Some(Claim { in_progress: in_progress.clone(), response })
    }

    fn record_progress(&self) {
        if let Some(sending) = self.in_progress.connection().sending.get() {
            sending.record_progress(self.response);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(sending) = self.in_progress.connection().sending.get() {
            sending.release(self.response);
        }
    }
}

/// A part of a body that is being sent.
pub(crate) struct Outgoing<D> {
    pub(crate) data: D,
    /// `None` in HTTP/1, where the write timeout of the connection suffices.
    pub(crate) claim: Option<Claim>,
}

impl<D: Buf> Buf for Outgoing<D> {
    #[inline]
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        if let Some(claim) = &self.claim {
            claim.record_progress();
        }
    }

    #[inline]
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        self.data.copy_to_bytes(len)
    }
}
