//! Handles to tasks of a [`Runtime`](crate::Runtime), for code outside of the run.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::diagnostic::{Finding, TaskInfo};
use crate::domain::{Domain, Message, RemoteHandle};
use crate::locks::{clone_waker, lock};
use crate::outcome::{Outcome, TaskError, discard};
use crate::panics::{self, polled_after_completion};
use crate::task::{CancelKind, CancelReason, Cancelled, Cause, NodeKey, WaitSite};

/// A handle to a task that was spawned from outside of the run, by
/// [`Runtime::spawn`](crate::Runtime::spawn).
///
/// Any executor can await it, on any thread, and a thread that runs no executor can block on it
/// with [`join`](JoinHandle::join). The outcome is there when the task and its descendants have
/// ended. The parent of the task is the root of the runtime, so the handle may be used anywhere; a
/// [`Promise`](crate::Promise) belongs to the parent's task.
///
/// As with a promise, dropping the handle gives the task up: it is cancelled. Keep the handles of
/// background work, or spawn that work inside a task of the runtime.
///
/// # Cancel safety
///
/// If a future that awaits `&mut handle` is dropped, the outcome stays in the handle.
///
/// # Panics
///
/// If it is polled again after it has returned the outcome, and inside a
/// [simulated](crate::test) run.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, Runtime};
///
/// # fn main() -> Result<(), RunError> {
/// let runtime = Runtime::new()?;
/// let first = runtime.spawn(async { 40 });
/// let second = runtime.spawn(async { 2 });
/// // Another executor awaits one of them, and this thread blocks on the other one.
/// let first = futures::executor::block_on(first).unwrap();
/// assert_eq!(first + second.join().unwrap(), 42);
/// runtime.shutdown()
/// # }
/// ```
#[must_use = "dropping the handle cancels the task: await it, or call `join`"]
pub struct JoinHandle<T, E = Infallible> {
    shared: Arc<Shared<T, E>>,
}

/// The state of a task that was spawned from outside, which its handle and the run share.
pub(crate) struct Shared<T, E> {
    /// No foreign code runs under this lock.
    state: Mutex<State<T, E>>,
    spawned_at: &'static Location<'static>,
    /// Drops an outcome that no code receives, and returns the failures in it.
    discard: fn(Outcome<T, E>) -> Vec<Cause>,
}

struct State<T, E> {
    progress: Progress<T, E>,
    /// The waker of the future that awaits the handle.
    waker: Option<Waker>,
    /// The first request to cancel the task.
    cancelled: Option<Cancelled>,
    /// Whether the handle was dropped, so that no code receives the outcome.
    is_given_up: bool,
}

enum Progress<T, E> {
    /// The future is on its way to the domain of the root.
    Submitted,
    Started {
        task: NodeKey,
        remote: Arc<RemoteHandle>,
    },
    Ended {
        outcome: Outcome<T, E>,
        /// Where the task ran; `None` if it never started.
        ran: Option<(NodeKey, Arc<RemoteHandle>)>,
    },
    Taken,
}

impl<T, E> JoinHandle<T, E> {
    /// Creates a handle, and the end of it that belongs to the task.
    pub(crate) fn new(spawned_at: &'static Location<'static>) -> (JoinHandle<T, E>, Delivery<T, E>)
    where
        E: 'static,
    {
        let progress = Progress::Submitted;
        let state = State { progress, waker: None, cancelled: None, is_given_up: false };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), spawned_at, discard: discard::<T, E> });
        (JoinHandle { shared: Arc::clone(&shared) }, Delivery { shared })
    }

    /// Blocks the thread until the task and its descendants have ended, and returns the outcome.
    ///
    /// # Panics
    ///
    /// Inside a task of a run, where it would block a domain. Await the handle there.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, Runtime};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let runtime = Runtime::new()?;
    /// let failed = runtime.try_spawn(async { Err::<(), _>("no disk") }).join();
    /// assert_eq!(failed.unwrap_err().into_failure(), Some("no disk"));
    /// let panicked = runtime.spawn(async { panic!("broken") }).join();
    /// assert!(panicked.unwrap_err().is_panicked());
    /// runtime.shutdown()
    /// # }
    /// ```
    #[doc(alias = "block_on")]
    #[track_caller]
    pub fn join(mut self) -> Outcome<T, E> {
        assert_may_block("`JoinHandle::join`");
        let waker = Waker::from(Arc::new(Unparker(thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut cx) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// Returns whether the task and its descendants have ended: awaiting the handle does not wait
    /// then. Also `true` after the outcome was taken.
    pub fn is_finished(&self) -> bool {
        matches!(lock(&self.shared.state).progress, Progress::Ended { .. } | Progress::Taken)
    }

    /// Cancels the task, without waiting for its end. Await or [`join`](JoinHandle::join) the
    /// handle for that; the outcome of a task that was cut off is
    /// [`TaskError::Cancelled`](crate::TaskError::Cancelled).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use matou_runtime::{RunError, Runtime};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// let runtime = Runtime::new()?;
    /// let endless = runtime.spawn(pending::<()>());
    /// endless.cancel();
    /// assert!(endless.join().unwrap_err().is_cancelled());
    /// runtime.shutdown()
    /// # }
    /// ```
    #[doc(alias = "abort")]
    #[track_caller]
    pub fn cancel(&self) {
        self.shared.request_cancel(CancelKind::Requested, Location::caller());
    }
}

impl<T, E> Shared<T, E> {
    /// Records that the task has started. Returns the cancellation that was requested before.
    pub(crate) fn started(&self, domain: &Domain, task: NodeKey) -> Option<Cancelled> {
        let mut state = lock(&self.state);
        state.progress = Progress::Started { task, remote: Arc::clone(domain.remote()) };
        state.cancelled.clone()
    }

    /// Cancels the task now, or when it arrives on its domain.
    fn request_cancel(&self, kind: CancelKind, at: &'static Location<'static>) {
        let by = None;
        let cancelled = Cancelled::new(CancelReason { kind, by, location: Some(at), text: None });
        let mut state = lock(&self.state);
        if state.cancelled.is_some() {
            return;
        }
        state.cancelled = Some(cancelled.clone());
        if let Progress::Started { task, remote } = &state.progress {
            let (task, remote) = (*task, Arc::clone(remote));
            drop(state);
            // fault: outside-cancel-not-sent
            remote.send(Message::CancelInGroup { task, cancelled });
        }
    }
}

/// Panics on a thread that runs a domain, which `what` would block.
#[track_caller]
pub(crate) fn assert_may_block(what: &str) {
    // fault: domain-may-be-blocked
    assert!(
        !Domain::is_inside(),
        "{what} blocks its thread, and would block a domain of a run here: await a `JoinHandle` \
         instead, or block in a `blocking` job"
    );
}

/// Panics inside a simulated run, which cannot wait for threads that it does not control.
#[track_caller]
pub(crate) fn refuse_in_simulation() {
    let simulated = Domain::try_with(|domain| domain.simulation().is_some());
    assert!(
        simulated != Some(true),
        "a simulated run cannot use a `Runtime`, whose domains are threads: spawn a child instead"
    );
}

impl<T, E> Unpin for JoinHandle<T, E> {}

impl<T, E> Future for JoinHandle<T, E> {
    type Output = Outcome<T, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T, E>> {
        refuse_in_simulation();
        let waker = clone_waker(cx.waker());
        let mut state = lock(&self.shared.state);
        match mem::replace(&mut state.progress, Progress::Taken) {
            Progress::Ended { outcome, ran } => {
                // Its drop may be that of the last reference to a domain's driver.
                drop(state);
                drop(ran);
                Poll::Ready(outcome)
            }
            Progress::Taken => {
                drop(state);
                polled_after_completion("`JoinHandle`", self.shared.spawned_at)
            }
            progress => {
                state.progress = progress;
                let replaced = state.waker.replace(waker);
                drop(state);
                panics::ignore(|| drop(replaced));
                WaitSite::here("a task of a runtime").note();
                Poll::Pending
            }
        }
    }
}

impl<T, E> Drop for JoinHandle<T, E> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.is_given_up = true;
        let waker = state.waker.take();
        let progress = match &state.progress {
            Progress::Ended { .. } => mem::replace(&mut state.progress, Progress::Taken),
            _ => Progress::Taken,
        };
        drop(state);
        panics::ignore(|| drop(waker));
        match progress {
            Progress::Ended { outcome, ran } => {
                let causes = (self.shared.discard)(outcome);
                if let Some((task, remote)) = ran.filter(|_| !causes.is_empty()) {
                    let (index, at) = (remote.index(), self.shared.spawned_at);
                    let task = TaskInfo::unknown(task.id, index, at);
                    remote.report_finding(Finding::FailureUnseen { task, causes });
                }
            }
            _ => self.shared.request_cancel(CancelKind::PromiseDropped, self.shared.spawned_at),
        }
    }
}

impl<T, E> fmt::Debug for JoinHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("spawned_at", &format_args!("{}", self.shared.spawned_at))
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// The waker of a thread that blocks on a handle.
struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The end of a handle that belongs to the task. Dropping it without an outcome says that the task
/// will never start, because its run has ended.
pub(crate) struct Delivery<T, E> {
    shared: Arc<Shared<T, E>>,
}

impl<T, E> Delivery<T, E> {
    /// Returns the state that the task shares with its handle.
    pub(crate) fn shared(&self) -> Arc<Shared<T, E>> {
        Arc::clone(&self.shared)
    }

    /// Hands the outcome to the handle. If that was dropped, the outcome is dropped; this returns
    /// the failures in it.
    pub(crate) fn deliver(self, outcome: Outcome<T, E>) -> Vec<Cause> {
        self.hand_over(outcome).map(self.shared.discard).unwrap_or_default()
    }

    /// Returns the outcome if no code receives it.
    fn hand_over(&self, outcome: Outcome<T, E>) -> Option<Outcome<T, E>> {
        let mut state = lock(&self.shared.state);
        let ran = match mem::replace(&mut state.progress, Progress::Taken) {
            Progress::Started { task, remote } => Some((task, remote)),
            _ => None,
        };
        if state.is_given_up {
            drop(state);
            drop(ran);
            return Some(outcome);
        }
        state.progress = Progress::Ended { outcome, ran };
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            // fault: outside-waker-not-woken
            panics::wake(waker);
        }
        None
    }
}

impl<T, E> Drop for Delivery<T, E> {
    fn drop(&mut self) {
        let is_open = matches!(
            lock(&self.shared.state).progress,
            Progress::Submitted | Progress::Started { .. }
        );
        if is_open {
            let cancelled = Cancelled::new(CancelReason::new(CancelKind::ShutDown));
            // fault: unstarted-outcome-lost
            drop(self.hand_over(Err(TaskError::Cancelled(cancelled))));
        }
    }
}
