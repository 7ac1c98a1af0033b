use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::domain::Domain;
use crate::driver::{Attempt, Direction, SourceState};
use crate::sys::{BorrowedSource, OwnedSource};
use crate::task::{BlockedOn, WaitSite, WaitTarget};

/// A non-blocking source of I/O that tasks can wait for, such as a socket or a pipe.
///
/// An operation is attempted first. Only if it would block does the source register with the
/// [poller](crate::Poller) of the current domain. It stays registered until it is closed, or until
/// it has to wait on another domain, and moves there. So a socket that is accepted on one domain
/// and handed to another is never registered with the first. A source is meant to be used on one
/// domain at a time: two domains that wait for it at once take it from each other.
///
/// Clones refer to the same source. The owner must [`close`](IoSource::close) it: while it is
/// registered, the poller keeps it open. It is deregistered before it is closed, and no operation
/// borrows the descriptor beyond its call, so the descriptor is never closed while it is in use.
#[doc(alias = "AsyncFd")]
#[doc(alias = "Async")]
#[derive(Clone)]
pub struct IoSource(Arc<SourceState>);

impl IoSource {
    /// Creates a source from a descriptor, which must be in non-blocking mode. Nothing is
    /// registered yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use matou_runtime::{Direction, IoSource, RunError, WaitSite, run, spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     ours.set_nonblocking(true)?;
    ///     let source = IoSource::new(ours.into());
    ///     let site = WaitSite::here("read");
    ///     let reader = spawn(poll_fn({
    ///         let source = source.clone();
    ///         move |cx| {
    ///             source.poll(Direction::Read, site, cx, |fd| {
    ///                 let mut byte = [0];
    ///                 rustix::io::read(fd, &mut byte)?;
    ///                 Ok(byte[0])
    ///             })
    ///         }
    ///     }));
    ///     theirs.write_all(b"m")?;
    ///     assert_eq!(reader.await??, b'm');
    ///     source.close();
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn new(source: OwnedSource) -> IoSource {
        IoSource(SourceState::new(source))
    }

    /// Calls `f` with the descriptor, whether or not it is ready.
    ///
    /// `f` runs under a lock: it must not block, nor use this source.
    ///
    /// # Errors
    ///
    /// The error of `f`, or [`NotConnected`](io::ErrorKind::NotConnected) if the source is closed.
    pub fn with<R>(&self, f: impl FnOnce(BorrowedSource<'_>) -> io::Result<R>) -> io::Result<R> {
        self.0.with(f)
    }

    /// Attempts `operation`, and waits for the source while it would block.
    ///
    /// Reports show `site` while the task waits. `operation` runs under a lock: it must not block,
    /// nor use this source. Each attempt consumes a part of the task's budget.
    ///
    /// # Errors
    ///
    /// - The error of `operation`, other than `WouldBlock` and `Interrupted`.
    /// - [`NotConnected`](io::ErrorKind::NotConnected) if the source is closed.
    /// - [`Unsupported`](io::ErrorKind::Unsupported) if the operation has to wait and the driver of
    ///   the domain has no poller.
    /// - The error of the system if it cannot register the source.
    ///
    /// # Panics
    ///
    /// Panics outside a run.
    pub fn poll<R>(
        &self,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(direction, site, cx, operation, |_| false)
    }

    /// Transfers up to `wanted` bytes of a stream by `operation`, and waits as
    /// [`poll`](IoSource::poll) does.
    ///
    /// In addition, a transfer of fewer bytes than `wanted` is taken as a sign that the next one
    /// would block, which then waits at once: this saves a system call. It does not apply when the
    /// peer has closed, because the end of a stream is not announced twice, nor when no byte was
    /// read, because that is the end. Use [`poll`](IoSource::poll) for datagrams, where a short
    /// transfer is no such sign.
    ///
    /// # Errors
    ///
    /// As [`poll`](IoSource::poll).
    ///
    /// # Panics
    ///
    /// Panics outside a run.
    #[inline]
    pub fn poll_transfer(
        &self,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        wanted: usize,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let is_short = |&moved: &usize| match direction {
            Direction::Read => 0 < moved && moved < wanted,
            Direction::Write => moved < wanted,
        };
        self.poll_with(direction, site, cx, operation, is_short)
    }

    #[inline]
    fn poll_with<R>(
        &self,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: impl FnOnce(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        Domain::with("a socket", |domain| {
            // A source that is always ready must not starve other tasks.
            ready!(domain.spend_budget(cx));
            let waker = cx.waker();
            match self.0.attempt(direction, domain.poller(), waker, operation, is_short) {
                Attempt::Done(result) => Poll::Ready(result),
                Attempt::Blocked(number) => {
                    domain.set_blocked_on(BlockedOn::new(site, WaitTarget::IoSource(number)));
                    Poll::Pending
                }
            }
        })
    }

    /// Deregisters and closes the source. Operations that wait for it are woken, and fail. Returns
    /// whether it was open.
    pub fn close(&self) -> bool {
        self.0.take().is_some()
    }

    /// Deregisters the source and returns its descriptor; `None` if it is closed. Operations that
    /// wait for it are woken, and fail.
    pub fn take(&self) -> Option<OwnedSource> {
        self.0.take()
    }
}

impl fmt::Debug for IoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
