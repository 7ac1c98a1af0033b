use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_ownership::{Resource, ResourceHandle, Ticket, release};
use matou_runtime::{Direction, IoWait, WaitSite, WakerKey, poll_proceed};

use crate::access::AccessMode;
use crate::backend::StreamBackend;
use crate::simulated;
use crate::socket::{Finalizer, Socket};

/// The handle of a stream, or of one of its halves, whatever its kind. Dropping it releases the
/// resource.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    socket: Arc<Socket<simulated::Endpoint>>,
}

impl StreamHandle {
    /// Creates a resource of the current task.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: StreamBackend) -> StreamHandle {
        StreamHandle { socket: Socket::new(ticket, backend) }
    }

    /// Creates a resource that is a part of a socket: `finalizer` runs in place of the close.
    #[track_caller]
    pub(super) fn part(
        ticket: Ticket,
        backend: StreamBackend,
        finalizer: Finalizer<simulated::Endpoint>,
    ) -> StreamHandle {
        StreamHandle { socket: Socket::with_finalizer(ticket, backend, finalizer) }
    }

    #[inline]
    pub(crate) fn backend(&self) -> &StreamBackend {
        self.socket.backend()
    }

    /// Removes the waker of a future that is dropped, if it waits.
    #[inline]
    pub(super) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        if key.is_set() {
            self.backend().cancel_wait(direction, key);
        }
    }

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

impl ResourceHandle for StreamHandle {
    fn ticket(&self) -> &Ticket {
        self.socket.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.socket.clone()
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        release(self);
    }
}
