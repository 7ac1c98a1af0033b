use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_ownership::{Resource, ResourceHandle, Ticket, release};
use matou_runtime::{Direction, IoWait, WaitSite, WakerKey};

use crate::access::AccessMode;
use crate::address::Address;
use crate::backend::DatagramBackend;
use crate::simulated;
use crate::socket::Socket;
use crate::sys::Taking;

/// The handle of a datagram socket, whatever its kind. Dropping it releases the resource.
#[derive(Debug)]
pub(crate) struct DatagramHandle {
    socket: Arc<Socket<simulated::Datagram>>,
}

impl DatagramHandle {
    /// Creates a resource of the current task.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: DatagramBackend) -> DatagramHandle {
        DatagramHandle { socket: Socket::new(ticket, backend) }
    }

    #[inline]
    pub(crate) fn backend(&self) -> &DatagramBackend {
        self.socket.backend()
    }

    /// Removes the waker of a future that is dropped, if it waits.
    pub(super) fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        if key.is_set() {
            self.backend().cancel_wait(direction, key);
        }
    }

    pub(super) fn poll_recv(
        &self,
        mode: AccessMode,
        taking: Taking,
        wait: (&'static Location<'static>, &mut WakerKey),
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, Option<Address>)>> {
        let (at, key) = wait;
        ready!(mode.poll_check(self, at))?;
        let wait = IoWait::new(WaitSite::new("receive", at), Some(key));
        self.backend().poll_recv(taking, buf, wait, cx)
    }

    pub(super) fn poll_send(
        &self,
        mode: AccessMode,
        at: &'static Location<'static>,
        key: &mut WakerKey,
        cx: &mut Context<'_>,
        message: (&[u8], Option<&Address>),
    ) -> Poll<io::Result<usize>> {
        ready!(mode.poll_check(self, at))?;
        let (buf, to) = message;
        let wait = IoWait::new(WaitSite::new("send", at), Some(key));
        self.backend().poll_send(buf, to, wait, cx)
    }
}

impl ResourceHandle for DatagramHandle {
    fn ticket(&self) -> &Ticket {
        self.socket.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.socket.clone()
    }
}

impl Drop for DatagramHandle {
    fn drop(&mut self) {
        release(self);
    }
}
