use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_io::AsyncWrite;
use matou_runtime::{Task, WaitSite, WakerKey, cancelled, poll_proceed, test};

use super::queue::Queue;

static STDOUT: Queue = Queue::new(|bytes| write_to(io::stdout().lock(), bytes));
static STDERR: Queue = Queue::new(|bytes| write_to(io::stderr().lock(), bytes));

fn write_to(mut output: impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

/// Returns a handle of the standard output of the process; see [`Stdout`].
///
/// # Examples
///
/// ```
/// use futures::AsyncWriteExt;
/// use matou_os::runtime::{RunError, run};
/// use matou_os::stdio::stdout;
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut output = stdout();
///     output.write_all(b"hello\n").await?;
///     output.flush().await?; // only to see an error here
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "print")]
pub fn stdout() -> Stdout {
    Stdout(Handle::new(&STDOUT))
}

/// Returns a handle of the standard error of the process; see [`Stderr`].
#[doc(alias = "eprint")]
pub fn stderr() -> Stderr {
    Stderr(Handle::new(&STDERR))
}

/// A handle of the standard output; returned by [`stdout`].
///
/// It implements [`AsyncWrite`]. A write accepts all bytes at once, so the output of several tasks
/// mixes between two writes only, in their order. While 64 KiB wait to be written, a write waits.
/// Blocking jobs write, through [`std::io::stdout`]: in order with complete lines of `print!`.
///
/// The end of a task waits until the bytes that it has written are passed to the system, within the
/// grace period of the run. An error is returned by the next call or by `flush`; if the handle is
/// dropped before that, it is the finding
/// [`FailureUnseen`](matou_runtime::Finding::FailureUnseen). A reader that reads no more holds up
/// this task alone, and no domain.
///
/// In a [simulated](matou_runtime::test) run the bytes are written at once.
///
/// # Cancel safety
///
/// A write has accepted all its bytes when it is ready, and none before.
pub struct Stdout(Handle);

/// A handle of the standard error; returned by [`stderr`]. It works as [`Stdout`] does.
pub struct Stderr(Handle);

/// One user of a queue.
struct Handle {
    shared: Arc<Shared>,
    key: WakerKey,
}

struct Shared {
    queue: &'static Queue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The bytes of this handle that are not known to be written lie between these numbers.
    from: u64,
    to: u64,
    /// A task makes sure that they are written.
    has_writer: bool,
    /// The next call returns it.
    error: Option<io::Error>,
    is_dropped: bool,
    /// Wakes the task that reports `error` if no call returns it.
    reporter: Option<Waker>,
}

impl Handle {
    fn new(queue: &'static Queue) -> Handle {
        let shared = Shared { queue, state: Mutex::default() };
        Handle { shared: Arc::new(shared), key: WakerKey::new() }
    }

    #[track_caller]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx));
        let Shared { queue, .. } = *self.shared;
        if test::simulation().is_some() {
            return Poll::Ready(queue.write_now(bytes).map(|()| bytes.len()));
        }
        self.shared.take_error()?;
        let site = WaitSite::here("write to a standard stream");
        let to = ready!(queue.poll_accept(bytes, &mut self.key, site, cx));
        if self.shared.accepted(bytes.len() as u64, to) {
            let shared = Arc::clone(&self.shared);
            // Its outcome is an error that no call has returned: the finding `FailureUnseen`.
            drop(Task::new().name("write to a standard stream").try_shield(Writer(shared).run()));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    #[track_caller]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_written = || {
            let state = self.shared.lock();
            state.from == state.to
        };
        let site = WaitSite::here("flush of a standard stream");
        ready!(self.shared.queue.poll_wait(is_written, &mut self.key, site, cx));
        Poll::Ready(self.shared.take_error())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.cancel_wait(&mut self.key);
        let mut state = self.shared.lock();
        state.is_dropped = true;
        let reporter = state.reporter.take();
        drop(state);
        if let Some(reporter) = reporter {
            reporter.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_error(&self) -> io::Result<()> {
        let mut state = self.lock();
        let Some(error) = state.error.take() else { return Ok(()) };
        let reporter = state.reporter.take();
        drop(state);
        if let Some(reporter) = reporter {
            reporter.wake();
        }
        Err(error)
    }

    /// Notes that `count` bytes were accepted, up to the number `to`. Returns whether the caller
    /// must start a writer.
    fn accepted(&self, count: u64, to: u64) -> bool {
        let mut state = self.lock();
        if state.from == state.to {
            state.from = to - count;
        }
        state.to = to;
        !std::mem::replace(&mut state.has_writer, true)
    }
}

/// The task that has the bytes of a handle written.
struct Writer(Arc<Shared>);

impl Writer {
    async fn run(self) -> io::Result<()> {
        loop {
            let (from, to) = {
                let mut state = self.0.lock();
                if state.from == state.to && state.error.is_none() {
                    // Under the lock under which the handle accepts more.
                    state.has_writer = false;
                    return Ok(());
                }
                (state.from, state.to)
            };
            let written = self.0.queue.write_until(from, to).await;
            self.written(to, written);
            self.unseen_error().await?;
        }
    }

    fn written(&self, to: u64, result: io::Result<()>) {
        let mut state = self.0.lock();
        state.from = to;
        // fault: lost-output-not-reported
        state.error = result.err();
        drop(state);
        self.0.queue.wake_all();
    }

    /// Waits until a call has returned the error, if there is one. Fails with it if the handle was
    /// dropped, or if the task that has written ends.
    async fn unseen_error(&self) -> io::Result<()> {
        let mut cancelled = pin!(cancelled());
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.0.lock();
            let Some(error) = &state.error else { return Poll::Ready(Ok(())) };
            if state.is_dropped {
                return Poll::Ready(Err(copy_of(error)));
            }
            let copy = copy_of(error);
            let previous = state.reporter.replace(waker);
            drop(state);
            drop(previous);
            cancelled.as_mut().poll(cx).map(|_| Err(copy))
        })
        .await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.lock().has_writer = false;
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

macro_rules! implement_traits {
    ($type:ident) => {
        impl AsyncWrite for $type {
            #[track_caller]
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.0.poll_write(cx, bytes)
            }

            #[track_caller]
            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_flush(cx)
            }

            /// Flushes; the stream stays open.
            #[track_caller]
            fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.poll_flush(cx)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(..)"))
            }
        }
    };
}

implement_traits!(Stdout);
implement_traits!(Stderr);
