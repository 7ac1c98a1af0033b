use std::io;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use matou_ownership::{Resource, ResourceHandle, Ticket, release};
use matou_runtime::{Direction, IoSource, WaitSite};

use crate::descriptor::Descriptor;

macro_rules! pipe {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        ///
        /// The task that starts the process owns the pipe, and a task to which it moves becomes the
        /// owner with its first use. It is closed when it is dropped.
        #[derive(Debug)]
        pub struct $type(Descriptor);

        impl $type {
            /// Takes our end of a pipe, which the line `at` has made.
            pub(super) fn new(
                descriptor: OwnedFd,
                at: &'static Location<'static>,
            ) -> io::Result<$type> {
                // The mode belongs to our end only: the ends of a pipe do not share it.
                let source = IoSource::new(descriptor)?;
                Ok($type(Descriptor::new(Ticket::new_at($kind, at), source)))
            }
        }

        impl ResourceHandle for $type {
            fn ticket(&self) -> &Ticket {
                self.0.ticket()
            }

            fn resource(&self) -> Arc<dyn Resource> {
                self.0.resource()
            }
        }
    };
}

pipe! {
    /// The standard input of a child process. Dropping it closes the pipe, which is the end of the
    /// input for the process.
    ChildStdin, "process input"
}
pipe! {
    /// The standard output of a child process.
    ChildStdout, "process output"
}
pipe! {
    /// The standard error of a child process.
    ChildStderr, "process error output"
}

#[track_caller]
fn poll_read(
    pipe: &Descriptor,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let site = WaitSite::here("read of a pipe");
    // Not `poll_transfer`: a short read of a pipe says nothing about its end.
    pipe.poll(Direction::Read, site, cx, |pipe| Ok(rustix::io::read(pipe, &mut *buffer)?))
}

impl AsyncWrite for ChildStdin {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let site = WaitSite::here("write to a pipe");
        self.0.poll(Direction::Write, site, cx, |pipe| Ok(rustix::io::write(pipe, bytes)?))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        release(&self.0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ChildStdout {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        poll_read(&self.0, cx, buffer)
    }
}

impl AsyncRead for ChildStderr {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        poll_read(&self.0, cx, buffer)
    }
}
