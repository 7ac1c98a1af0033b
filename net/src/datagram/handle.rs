use std::io;
use std::panic::Location;
use std::task::{Context, Poll, ready};

use matou_runtime::{IoWait, WaitSite, WakerKey};

use crate::access::AccessMode;
use crate::address::Address;
use crate::simulated;
use crate::socket::Handle;
use crate::sys::Taking;

/// The handle of a datagram socket, whatever its kind.
pub(crate) type DatagramHandle = Handle<simulated::Datagram>;

impl DatagramHandle {
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
