//! Bytes that wait to be written to a standard stream.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use matou_runtime::{WaitSite, WakerKey, WakerSet, try_blocking};

use crate::outcome::into_result;

/// How many bytes may wait to be written before a write waits.
const PENDING_MAX: usize = 64 << 10;

/// What all handles of an output of the process share. Bytes have numbers, in the order in which
/// they were accepted, and one job at a time writes all that are pending.
pub(super) struct Queue {
    state: Mutex<State>,
    write: fn(&[u8]) -> io::Result<()>,
}

struct State {
    pending: Vec<u8>,
    /// How many bytes were accepted, in all.
    accepted: u64,
    /// How many of them were written or lost.
    done: u64,
    /// A job has taken the bytes from `done` on that are not pending.
    is_writing: bool,
    /// The bytes of the last job that failed, and its error.
    failed: Option<(Range<u64>, io::ErrorKind, String)>,
    /// The handles and writers that wait for a job.
    wakers: WakerSet,
}

impl Queue {
    pub(super) const fn new(write: fn(&[u8]) -> io::Result<()>) -> Queue {
        let state = State {
            pending: Vec::new(),
            accepted: 0,
            done: 0,
            is_writing: false,
            failed: None,
            wakers: WakerSet::new(),
        };
        Queue { state: Mutex::new(state), write }
    }

    /// No foreign code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes without the queue.
    pub(super) fn write_now(&self, bytes: &[u8]) -> io::Result<()> {
        (self.write)(bytes)
    }

    /// Accepts all bytes, or waits while too many are pending. Returns the number behind the last.
    pub(super) fn poll_accept(
        &self,
        bytes: &[u8],
        key: &mut WakerKey,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<u64> {
        loop {
            let mut state = self.lock();
            if state.pending.len() < PENDING_MAX {
                state.pending.extend_from_slice(bytes);
                state.accepted += bytes.len() as u64;
                return Poll::Ready(state.accepted);
            }
            drop(state);
            let has_room = || self.lock().pending.len() < PENDING_MAX;
            if self.poll_wait(has_room, key, site, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Waits until `is_over`, which is examined again when a job or a writer has ended.
    pub(super) fn poll_wait(
        &self,
        is_over: impl Fn() -> bool,
        key: &mut WakerKey,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if is_over() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let previous = self.lock().wakers.register(key, waker);
        drop(previous);
        // It may have happened before the waker was registered.
        if is_over() {
            return Poll::Ready(());
        }
        site.note();
        Poll::Pending
    }

    pub(super) fn cancel_wait(&self, key: &mut WakerKey) {
        let waker = self.lock().wakers.remove(key);
        drop(waker);
    }

    pub(super) fn wake_all(&self) {
        let wakers = self.lock().wakers.take();
        wakers.wake_all();
    }

    /// Has the bytes up to the number `to` written, by a child of the current task or by another
    /// writer. Fails if some of them from the number `from` on were lost.
    pub(super) async fn write_until(&'static self, from: u64, to: u64) -> io::Result<()> {
        while self.lock().done < to {
            match self.begin() {
                Some(burst) => into_result(try_blocking(move |_| burst.write()).await)?,
                None => self.wait_for_job().await,
            }
        }
        match &self.lock().failed {
            Some((lost, kind, text)) if lost.start < to && from < lost.end => {
                Err(io::Error::new(*kind, text.clone()))
            }
            _ => Ok(()),
        }
    }

    async fn wait_for_job(&self) {
        let mut wait = Wait { queue: self, key: WakerKey::new() };
        let Wait { queue, key } = &mut wait;
        let is_over = || !queue.lock().is_writing;
        let site = WaitSite::here("another write to a standard stream");
        poll_fn(|cx| queue.poll_wait(is_over, key, site, cx)).await;
    }

    /// Takes what is pending; `None` while a job writes.
    fn begin(&'static self) -> Option<Burst> {
        let mut state = self.lock();
        if state.is_writing {
            return None;
        }
        state.is_writing = true;
        let bytes = std::mem::take(&mut state.pending);
        Some(Burst { queue: self, bytes, result: Err(io::Error::other("it was not written")) })
    }
}

/// Removes its waker when it is dropped.
struct Wait<'a> {
    queue: &'a Queue,
    key: WakerKey,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.queue.cancel_wait(&mut self.key);
    }
}

/// The bytes of one job. Its drop ends the job.
struct Burst {
    queue: &'static Queue,
    bytes: Vec<u8>,
    result: io::Result<()>,
}

impl Burst {
    /// Writes the bytes. The error is kept in the queue, for the handles whose bytes these are.
    fn write(mut self) -> io::Result<()> {
        self.result = (self.queue.write)(&self.bytes);
        Ok(())
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.is_writing = false;
        let first = state.done;
        state.done += self.bytes.len() as u64;
        if let Err(error) = &self.result {
            state.failed = Some((first..state.done, error.kind(), error.to_string()));
        }
        let wakers = state.wakers.take();
        drop(state);
        wakers.wake_all();
    }
}
