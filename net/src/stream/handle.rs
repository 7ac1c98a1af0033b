use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::panic::Location;
use std::task::{Context, Poll, ready};

use matou_runtime::{IoWait, WaitSite, WakerKey, poll_proceed};

use crate::access::AccessMode;
use crate::simulated;
use crate::socket::Handle;

/// The handle of a stream, or of one of its halves, whatever its kind.
pub(crate) type StreamHandle = Handle<simulated::Endpoint>;

impl StreamHandle {
    pub(super) fn poll_recv(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        key: Option<&mut WakerKey>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        if buf.is_empty() {
            return poll_empty(cx);
        }
        self.backend().poll_recv(buf, IoWait::new(WaitSite::new("read", at), key), cx)
    }

    pub(super) fn poll_recv_uninit(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        if buf.is_empty() {
            return poll_empty(cx);
        }
        self.backend().poll_recv_uninit(buf, WaitSite::new("read", at).into(), cx)
    }

    pub(super) fn poll_send(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        key: Option<&mut WakerKey>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        if buf.is_empty() {
            return poll_empty(cx);
        }
        self.backend().poll_send(buf, IoWait::new(WaitSite::new("write", at), key), cx)
    }

    pub(super) fn poll_recv_vectored(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        if bufs.iter().all(|buf| buf.is_empty()) {
            return poll_empty(cx);
        }
        self.backend().poll_recv_vectored(bufs, WaitSite::new("read", at).into(), cx)
    }

    pub(super) fn poll_send_vectored(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        if bufs.iter().all(|buf| buf.is_empty()) {
            return poll_empty(cx);
        }
        self.backend().poll_send_vectored(bufs, WaitSite::new("write", at).into(), cx)
    }
}

/// Completes the transfer of an empty buffer without a system call. It spends budget, so that a
/// loop of such transfers yields.
fn poll_empty(cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    ready!(poll_proceed(cx));
    Poll::Ready(Ok(0))
}
