use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use crate::domain::Domain;
use crate::driver::{Attempt, Direction, Poller, SourceState, WaitContext, Waiter};
use crate::sys::{self, BorrowedSource, OwnedSource};
use crate::task::{BlockedOn, WaitSite, WaitTarget};
use crate::waker_set::WakerKey;

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
///
/// Any number of futures can wait for a source. A future that keeps a [`WakerKey`] passes it in an
/// [`IoWait`], and must call [`cancel_wait`](IoSource::cancel_wait) when it is dropped while it
/// waits. Without a key, the waker of a future that was dropped stays until the next event.
#[doc(alias = "AsyncFd")]
#[doc(alias = "Async")]
#[derive(Clone)]
pub struct IoSource(Arc<SourceState>);

impl IoSource {
    /// Creates a source from a descriptor, and puts it into non-blocking mode. Nothing is
    /// registered yet.
    ///
    /// The mode belongs to what the descriptor refers to, and so to all descriptors that were
    /// duplicated from it, also in other processes. If one of them changes the mode later, an
    /// operation can block the domain; use operations that do not depend on the mode, such as
    /// `recv` with `MSG_DONTWAIT`, where there are any.
    ///
    /// # Errors
    ///
    /// If the system cannot change the mode.
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
    ///     let source = IoSource::new(ours.into())?;
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
    pub fn new(source: OwnedSource) -> io::Result<IoSource> {
        // fault: blocking-descriptor-accepted
        sys::set_nonblocking(&source)?;
        Ok(IoSource(SourceState::new(source)))
    }

    /// Creates a source from a descriptor that is in non-blocking mode already, which saves the
    /// system calls of [`new`](IoSource::new).
    pub fn from_nonblocking(source: OwnedSource) -> IoSource {
        debug_assert!(sys::is_nonblocking(&source), "the descriptor is in blocking mode");
        IoSource(SourceState::new(source))
    }

    /// Creates a source from a descriptor whose mode must not change, because other processes use
    /// it, too: the standard input, for example.
    ///
    /// The operations must not block in either mode: use `recv` with `MSG_DONTWAIT`, or ask `poll`
    /// first and return `WouldBlock` if the descriptor is not ready.
    pub fn from_shared(source: OwnedSource) -> IoSource {
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
    /// `wait` is a [`WaitSite`], which reports show while the task waits, or an [`IoWait`].
    /// `operation` runs under a lock: it must not block, nor use this source. Each attempt consumes
    /// a part of the task's budget.
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
    #[track_caller]
    pub fn poll<'k, R>(
        &self,
        direction: Direction,
        wait: impl Into<IoWait<'k>>,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(direction, wait.into(), cx, operation, |_| false)
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
    #[track_caller]
    pub fn poll_transfer<'k>(
        &self,
        direction: Direction,
        wait: impl Into<IoWait<'k>>,
        cx: &mut Context<'_>,
        wanted: usize,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let is_short = |&moved: &usize| match direction {
            Direction::Read => 0 < moved && moved < wanted,
            Direction::Write => moved < wanted,
        };
        self.poll_with(direction, wait.into(), cx, operation, is_short)
    }

    #[inline]
    #[track_caller]
    fn poll_with<R>(
        &self,
        direction: Direction,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedSource<'_>) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        Domain::with("a socket", |domain| {
            // A source that is always ready must not starve other tasks.
            ready!(matou_hooks::poll_budget(cx));
            let waiter = Waiter { waker: cx.waker(), key: wait.key };
            match self.0.attempt(direction, domain, waiter, operation, is_short) {
                Attempt::Done(result) => Poll::Ready(result),
                Attempt::Blocked(number) => {
                    let target = WaitTarget::IoSource(number);
                    domain.set_blocked_on(BlockedOn::new(wait.site, target));
                    Poll::Pending
                }
            }
        })
    }

    /// Removes the waker that a future has registered with `key`, because the future is dropped.
    pub fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        self.0.cancel_wait(direction, key);
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

/// How an operation waits for an [`IoSource`]: the line that reports show, and the key of a future
/// that is found again by it.
///
/// # Examples
///
/// A future that leaves no waker behind when it is dropped:
///
/// ```
/// use std::future::Future;
/// use std::io::{self, Write};
/// use std::os::unix::net::UnixStream;
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
/// use matou_runtime::{Direction, IoSource, IoWait, RunError, WaitSite, WakerKey, run};
///
/// struct ReadByte<'a> {
///     source: &'a IoSource,
///     key: WakerKey,
/// }
///
/// impl Future for ReadByte<'_> {
///     type Output = io::Result<u8>;
///
///     fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u8>> {
///         let ReadByte { source, key } = &mut *self;
///         let wait = IoWait::new(WaitSite::here("read"), Some(key));
///         source.poll(Direction::Read, wait, cx, |fd| {
///             let mut byte = [0];
///             rustix::io::read(fd, &mut byte)?;
///             Ok(byte[0])
///         })
///     }
/// }
///
/// impl Drop for ReadByte<'_> {
///     fn drop(&mut self) {
///         self.source.cancel_wait(Direction::Read, &mut self.key);
///     }
/// }
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let (ours, mut theirs) = UnixStream::pair()?;
///     let source = IoSource::new(ours.into())?;
///     theirs.write_all(b"m")?;
///     assert_eq!(ReadByte { source: &source, key: WakerKey::new() }.await?, b'm');
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct IoWait<'k> {
    site: WaitSite,
    key: Option<&'k mut WakerKey>,
}

impl<'k> IoWait<'k> {
    /// Creates a wait, of the future that keeps `key` if there is one.
    #[inline]
    pub fn new(site: WaitSite, key: Option<&'k mut WakerKey>) -> IoWait<'k> {
        IoWait { site, key }
    }

    /// Returns the line that reports show.
    #[inline]
    pub fn site(&self) -> WaitSite {
        self.site
    }

    /// Returns the key of the future, if it keeps one.
    #[inline]
    pub fn key(&mut self) -> Option<&mut WakerKey> {
        self.key.as_deref_mut()
    }
}

impl From<WaitSite> for IoWait<'_> {
    #[inline]
    fn from(site: WaitSite) -> Self {
        IoWait { site, key: None }
    }
}

impl WaitContext for Domain {
    #[inline]
    fn poller(&self) -> Option<&Arc<dyn Poller>> {
        Domain::poller(self)
    }

    #[inline]
    fn is_own(&self, waker: &Waker) -> bool {
        self.is_current_waker(waker)
    }

    fn recent_time(&self) -> Instant {
        Domain::recent_time(self)
    }
}

impl fmt::Debug for IoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
