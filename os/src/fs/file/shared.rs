//! The state that a file shares with its jobs.

use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use matou_ownership::{FinalizeStatus, Resource, Ticket};
use matou_runtime::{Task, WaitSite, cancelled, try_blocking};

use crate::outcome::into_result;

/// The most bytes that one job reads, and that wait to be written.
pub(super) const CHUNK: usize = 256 << 10;
/// The most bytes that the first job of a sequence reads; each further one reads twice as many.
const FIRST_CHUNK: usize = 32 << 10;

/// A file, shared by its handle, its jobs and the ledger of its owner.
pub(super) struct Shared {
    ticket: Ticket,
    state: Mutex<State>,
}

pub(super) struct State {
    /// `None` once the file is closed. A job that has begun keeps a reference of its own.
    file: Option<Arc<fs::File>>,
    activity: Activity,
    /// Bytes that were accepted and that no job has taken yet.
    pending: Vec<u8>,
    /// Bytes that were read and not returned yet. The position of the descriptor is behind them.
    ahead: Ahead,
    /// How many bytes the next job reads.
    chunk: usize,
    /// The result of a job that has read nothing: an error, or the end of the file.
    read_nothing: Option<io::Result<usize>>,
    sought: Option<(SeekFrom, io::Result<u64>)>,
    /// A failed write, or a job that was refused. The next call returns it.
    error: Option<io::Error>,
    /// Wakes the task whose call waits for a job.
    caller: Option<Waker>,
    /// Wakes the task that reports `error` if no call returns it.
    reporter: Option<Waker>,
    #[cfg(test)]
    jobs: usize,
}

/// What the current job does; there is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Idle,
    /// Takes what is pending until there is nothing left.
    Writing,
    /// Reads ahead, or moves the position.
    Positioning,
    /// A job whose result the current call awaits.
    Awaited,
}

#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    start: usize,
}

impl Ahead {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }
}

impl Shared {
    pub(super) fn new(ticket: Ticket, file: fs::File) -> Shared {
        let state = State {
            file: Some(Arc::new(file)),
            activity: Activity::Idle,
            pending: Vec::new(),
            ahead: Ahead::default(),
            chunk: FIRST_CHUNK,
            read_nothing: None,
            sought: None,
            error: None,
            caller: None,
            reporter: None,
            #[cfg(test)]
            jobs: 0,
        };
        Shared { ticket, state: Mutex::new(state) }
    }

    /// No foreign code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn jobs(&self) -> usize {
        self.lock().jobs
    }

    /// Waits for the end of the current job, and returns the error that is left of earlier ones.
    pub(super) fn poll_idle(&self, site: WaitSite, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_busy = |state: &State| state.activity != Activity::Idle;
        if is_busy(&self.lock()) && self.wait_while(is_busy, site, cx) {
            return Poll::Pending;
        }
        Poll::Ready(self.take_error())
    }

    /// Registers the waker of the current call if `busy` still holds. Returns whether it does.
    fn wait_while(
        &self,
        busy: impl Fn(&State) -> bool,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> bool {
        // Wakers are cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if !busy(&state) {
            return false;
        }
        let previous = state.caller.replace(waker);
        drop(state);
        drop(previous);
        site.note();
        true
    }

    fn take_error(&self) -> io::Result<()> {
        let mut state = self.lock();
        let Some(error) = state.error.take() else { return Ok(()) };
        let reporter = state.reporter.take();
        drop(state);
        wake(reporter);
        Err(error)
    }

    /// Moves bytes that were read ahead into `buffer`, or returns the result of a job that has read
    /// nothing. `None` if a job must read. The file is idle.
    pub(super) fn take_read(&self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let mut state = self.lock();
        let ahead = &mut state.ahead;
        if ahead.len() == 0 {
            return state.read_nothing.take();
        }
        let count = ahead.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ahead.bytes[ahead.start..ahead.start + count]);
        ahead.start += count;
        Some(Ok(count))
    }

    /// Accepts bytes to write and makes sure that a job takes them. Waits while there are too many.
    #[track_caller]
    pub(super) fn poll_accept(
        self: &Arc<Self>,
        bytes: &[u8],
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // A failed write has left no job.
        self.take_error()?;
        let is_full = |state: &State| match state.activity {
            Activity::Idle => false,
            Activity::Writing => state.pending.len() >= CHUNK,
            Activity::Positioning | Activity::Awaited => true,
        };
        if is_full(&self.lock()) && self.wait_while(is_full, site, cx) {
            return Poll::Pending;
        }
        let mut state = self.lock();
        let count = bytes.len().min(CHUNK - state.pending.len());
        state.pending.extend_from_slice(&bytes[..count]);
        if state.activity == Activity::Idle {
            drop(state);
            self.start("write of a file", Activity::Writing, Job::write_pending)?;
        }
        Poll::Ready(Ok(count))
    }

    /// Starts a job that reads the next bytes. The file is idle.
    #[track_caller]
    pub(super) fn start_read(self: &Arc<Self>) -> io::Result<()> {
        self.start("read of a file", Activity::Positioning, Job::read)
    }

    /// Returns the result of a job that has moved the position to `target`.
    pub(super) fn take_sought(&self, target: SeekFrom) -> Option<io::Result<u64>> {
        let (sought, result) = self.lock().sought.take()?;
        // Another call may have been dropped before it took its result.
        (sought == target).then_some(result)
    }

    /// Starts a job that moves the position. The file is idle.
    #[track_caller]
    pub(super) fn start_seek(self: &Arc<Self>, target: SeekFrom) -> io::Result<()> {
        self.start("seek of a file", Activity::Positioning, move |job| job.seek(target))
    }

    /// Runs a job in a child of the current task that is not cancelled with it: bytes that were
    /// accepted are written.
    #[track_caller]
    fn start(
        self: &Arc<Self>,
        name: &'static str,
        activity: Activity,
        run: impl FnOnce(Job) + Send + 'static,
    ) -> io::Result<()> {
        let job = self.begin(activity)?;
        let shared = Arc::clone(self);
        let child = Task::new().name(name).try_shield(async move {
            let job = try_blocking(move |_| {
                run(job);
                Ok(())
            });
            into_result(job.await)?;
            shared.unseen_error().await
        });
        // Its outcome is an error that no call has returned: the finding `FailureUnseen`.
        drop(child);
        Ok(())
    }

    /// Reserves the file for a job.
    pub(super) fn begin(self: &Arc<Self>, activity: Activity) -> io::Result<Job> {
        let mut state = self.lock();
        let file = state.file.clone().ok_or_else(closed)?;
        state.activity = activity;
        if activity != Activity::Writing {
            state.sought = None;
        }
        #[cfg(test)]
        {
            state.jobs += 1;
        }
        drop(state);
        Ok(Job { file, shared: Arc::clone(self), has_ended: false })
    }

    /// Waits until there is no error that a call could return. Fails with the error if the file was
    /// closed, or if the task that has started the job ends.
    async fn unseen_error(&self) -> io::Result<()> {
        let mut cancelled = pin!(cancelled());
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.lock();
            let Some(error) = &state.error else { return Poll::Ready(Ok(())) };
            // The next call returns it, too, if there is one.
            let copy = io::Error::new(error.kind(), error.to_string());
            if state.file.is_none() {
                state.error = None;
                return Poll::Ready(Err(copy));
            }
            let previous = state.reporter.replace(waker);
            drop(state);
            drop(previous);
            cancelled.as_mut().poll(cx).map(|_| Err(copy))
        })
        .await
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().file.is_none()
    }

    /// Takes the descriptor, without what was read ahead. The file is idle.
    pub(super) fn take_file(&self) -> Option<Arc<fs::File>> {
        self.lock().file.take()
    }
}

impl Resource for Shared {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Closes the file. A job that has begun finishes its work first: the last reference closes.
    fn finalize(&self) -> FinalizeStatus {
        let mut state = self.lock();
        let file = state.file.take();
        let wakers = (state.caller.take(), state.reporter.take());
        drop(state);
        drop(file);
        wake(wakers.0);
        wake(wakers.1);
        FinalizeStatus::Done
    }
}

/// The right to use the descriptor, until it is dropped.
pub(super) struct Job {
    file: Arc<fs::File>,
    shared: Arc<Shared>,
    has_ended: bool,
}

impl Job {
    /// Stores the result of the job, and makes the file idle.
    fn end(mut self, update: impl FnOnce(&mut State)) {
        self.has_ended = true;
        let mut state = self.shared.lock();
        update(&mut state);
        make_idle(state);
    }

    /// Calls `f` with the descriptor at the position of the file.
    pub(super) fn with<T>(self, f: impl FnOnce(&fs::File) -> io::Result<T>) -> io::Result<T> {
        let result = self.rewind().and_then(|()| f(&self.file));
        self.end(|_| ());
        result
    }

    /// Moves the position of the descriptor back to that of the file, in front of the bytes that
    /// were read ahead.
    fn rewind(&self) -> io::Result<()> {
        let ahead = self.shared.lock().ahead.len();
        if ahead == 0 {
            return Ok(());
        }
        // fault: write-behind-what-was-read-ahead
        match (&*self.file).seek(SeekFrom::Current(-(ahead as i64))) {
            Ok(_) => self.shared.lock().ahead.clear(),
            // A pipe or a terminal: the bytes are still to be returned.
            Err(error) if error.kind() == ErrorKind::NotSeekable => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes until nothing is pending.
    fn write_pending(mut self) {
        let mut written = self.rewind();
        let mut bytes = Vec::new();
        loop {
            let mut state = self.shared.lock();
            if written.is_err() || state.pending.is_empty() {
                // Under the same lock, so that the next call starts another job.
                self.has_ended = true;
                state.pending.clear();
                // fault: failed-write-lost
                state.error = written.err();
                return make_idle(state);
            }
            bytes.clear();
            std::mem::swap(&mut bytes, &mut state.pending);
            let caller = state.caller.take();
            drop(state);
            wake(caller);
            written = (&*self.file).write_all(&bytes);
        }
    }

    fn read(self) {
        let mut state = self.shared.lock();
        let (mut bytes, size) = (std::mem::take(&mut state.ahead.bytes), state.chunk);
        drop(state);
        bytes.resize(size, 0);
        let result = loop {
            match (&*self.file).read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        bytes.truncate(*result.as_ref().unwrap_or(&0));
        self.end(|state| {
            state.chunk = (size * 2).min(CHUNK);
            state.ahead = Ahead { bytes, start: 0 };
            state.read_nothing = match result {
                Ok(1..) => None,
                nothing => Some(nothing),
            };
        });
    }

    fn seek(self, target: SeekFrom) {
        let ahead = self.shared.lock().ahead.len() as i64;
        let result = match target {
            // fault: seek-behind-what-was-read-ahead
            SeekFrom::Current(offset) => (&*self.file).seek(SeekFrom::Current(offset - ahead)),
            absolute => (&*self.file).seek(absolute),
        };
        self.end(|state| {
            if result.is_ok() {
                state.ahead.clear();
                state.read_nothing = None;
                state.chunk = FIRST_CHUNK;
            }
            state.sought = Some((target, result));
        });
    }
}

impl Drop for Job {
    /// A job that was dropped before it began: the task that has started it is ending.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut state = self.shared.lock();
        if state.activity != Activity::Awaited {
            state.pending.clear();
            let text = "the job of a file was cancelled before it began";
            state.error = Some(io::Error::other(text));
        }
        make_idle(state);
    }
}

/// Ends the activity, and wakes the tasks that wait for the end.
fn make_idle(mut state: MutexGuard<'_, State>) {
    state.activity = Activity::Idle;
    let caller = state.caller.take();
    drop(state);
    wake(caller);
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

pub(super) fn closed() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "the file is closed")
}
