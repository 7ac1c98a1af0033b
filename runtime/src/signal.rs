//! Signals of the operating system, handled by tasks.
//!
//! One thread of the process waits for signals and delivers them to all runs. It is started when a
//! run first handles a signal, and never stops. In a [simulated](crate::test) run, signals come
//! from [`test::send_signal`](crate::test::send_signal) only.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::domain::{Domain, Message, Run};
use crate::locks::{Guard, lock};
use crate::panics;
use crate::signal_table::{Disposition, Handler, SignalSource, StreamClosed, StreamState};
use crate::spawn::spawn_signal_handler;
use crate::sys::{self, SignalWatcher};
use crate::task::{TaskMeta, WaitSite};

mod termination;

pub use crate::signal_table::Signal;
pub use termination::{Termination, termination};

/// Handles a signal by a task: `handler` creates a child of the root on domain 0, which obeys the
/// same rules as any other task.
///
/// [`Signal::Interrupt`], [`Signal::Terminate`] and [`Signal::Quit`] ask the program to terminate.
/// The first such signal of the run starts its handler; the second one, of any of these kinds,
/// terminates the process at once, as if there was no handler, so that a shutdown that hangs can be
/// cut short. (A program that wants every signal uses a [`stream`], and one that only waits for the
/// first one uses [`termination`].) If the handler has not started yet when the run ends, the
/// signal has its default behaviour, so that it is not lost.
///
/// Each occurrence of any other signal starts a handler of its own.
///
/// A later call for the same signal replaces the handler. After the run, signals have their default
/// behaviour again. A handler that is still running when the root completes is cancelled. A handler
/// that panics fails the run.
///
/// Process 1 (of a container, for example) has no default behaviour: where the signal would
/// terminate any other process, it exits with status 128 plus the number of the signal.
///
/// # Errors
///
/// When the system cannot watch for the signal: SIGKILL, SIGSTOP, SIGSEGV, SIGILL and SIGFPE cannot
/// be handled.
///
/// # Panics
///
/// Panics outside a run.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use matou_runtime::test::{check, send_signal};
/// use matou_runtime::{signal, signal::Signal};
/// use matou_sync::Queue;
///
/// check(0..3, || async {
///     let shutdown = Arc::new(Queue::bounded(1));
///     let sender = Arc::clone(&shutdown);
///     signal::on(Signal::Interrupt, move || {
///         let sender = Arc::clone(&sender);
///         async move { drop(sender.push("Ctrl-C").await) }
///     })?;
///     assert!(send_signal(Signal::Interrupt)); // a real program is sent it by the system
///     assert_eq!(shutdown.pop().await.ok(), Some("Ctrl-C"));
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[doc(alias = "ctrl_c")]
#[track_caller]
pub fn on<H, F>(signal: Signal, handler: H) -> io::Result<()>
where
    H: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let meta = TaskMeta::named(Location::caller(), Arc::from("signal handler"));
    let handler: Handler = Arc::new(move || Box::pin(handler()));
    Domain::with("`signal::on`", |domain| {
        sys::check_signal(signal.number())?;
        domain.run.signals.set_handler(signal, handler, meta);
        watch(domain, signal)
    })
}

/// Returns a stream of the occurrences of a signal. While it exists, the signal does not terminate
/// the process, however often it occurs.
///
/// # Errors
///
/// When the system cannot watch for the signal.
///
/// # Panics
///
/// Panics outside a run.
///
/// # Examples
///
/// ```
/// use matou_runtime::signal::{self, Signal};
/// use matou_runtime::test::{check, send_signal};
///
/// check(0..3, || async {
///     let mut signals = signal::stream(Signal::Terminate)?;
///     assert!(send_signal(Signal::Terminate));
///     signals.next().await;
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[doc(alias = "ctrl_c")]
#[track_caller]
pub fn stream(signal: Signal) -> io::Result<Signals> {
    let state = Arc::new(StreamState::default());
    Domain::with("`signal::stream`", |domain| {
        sys::check_signal(signal.number())?;
        domain.run.signals.add_stream(signal, &state);
        watch(domain, signal)
    })?;
    Ok(Signals { signal, state })
}

/// Ignores a signal: from now on it has no effect, instead of the handler that it may have. A
/// [`stream`] still receives it.
///
/// The signal is caught and dropped rather than ignored by the system, so processes that the
/// program starts have the default behaviour.
///
/// # Errors
///
/// As [`on`].
///
/// # Panics
///
/// Panics outside a run.
///
/// # Examples
///
/// ```
/// use matou_runtime::test::{check, send_signal};
/// use matou_runtime::{signal, signal::Signal};
///
/// check(0..3, || async {
///     signal::ignore(Signal::Hangup)?;
///     assert!(send_signal(Signal::Hangup)); // the program goes on
///     signal::default(Signal::Hangup)?;
///     assert!(!send_signal(Signal::Hangup)); // the system would have terminated it
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[track_caller]
pub fn ignore(signal: Signal) -> io::Result<()> {
    Domain::with("`signal::ignore`", |domain| {
        sys::check_signal(signal.number())?;
        domain.run.signals.remove_handler(signal, true);
        watch(domain, signal)
    })
}

/// Restores the default behaviour of a signal in this run, which has a handler for it or
/// [ignores](ignore) it. While there is a [`stream`] of it, the signal goes there only.
///
/// # Errors
///
/// As [`on`].
///
/// # Panics
///
/// Panics outside a run.
#[track_caller]
pub fn default(signal: Signal) -> io::Result<()> {
    Domain::with("`signal::default`", |domain| {
        sys::check_signal(signal.number())?;
        domain.run.signals.remove_handler(signal, false);
        Ok(())
    })
}

/// The occurrences of a signal since its creation; returned by [`stream`].
///
/// It is also a [`Stream`] of `()`, for combinators, which ends with the run.
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
/// use matou_runtime::signal::{self, Signal};
/// use matou_runtime::test::{check, send_signal};
///
/// check(0..3, || async {
///     let hangups = signal::stream(Signal::Hangup)?.map(|()| "load the configuration");
///     let users = signal::stream(Signal::User1)?.map(|()| "print statistics");
///     let mut commands = futures::stream::select(hangups, users);
///     assert!(send_signal(Signal::User1));
///     assert_eq!(commands.next().await, Some("print statistics"));
///     Ok::<_, std::io::Error>(())
/// });
/// ```
#[derive(Debug)]
pub struct Signals {
    signal: Signal,
    state: Arc<StreamState>,
}

impl Signals {
    /// Returns the signal.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Waits for the next occurrence.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no occurrence.
    ///
    /// # Panics
    ///
    /// The future panics if the run that created the stream is over and all occurrences were
    /// returned: there will be no further one.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "it returns a future, as streams do")]
    pub fn next(&mut self) -> NextSignal<'_> {
        NextSignal { signals: self, location: Location::caller() }
    }
}

impl Stream for Signals {
    type Item = ();

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let next = self.state.poll_next(cx).map(Result::ok);
        if next.is_pending() {
            WaitSite::here("signal").note();
        }
        next
    }
}

/// The future of [`Signals::next`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextSignal<'a> {
    signals: &'a mut Signals,
    location: &'static Location<'static>,
}

impl Future for NextSignal<'_> {
    type Output = ();

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.signals.state.poll_next(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(StreamClosed)) => panic!(
                "`Signals::next`, called at {}, waits for a signal after the end of the run that \
                 created the stream: call `signal::stream` in the current run",
                self.location
            ),
            Poll::Pending => {
                WaitSite::new("signal", self.location).note();
                Poll::Pending
            }
        }
    }
}

/// The signal thread of the process, and the runs that it delivers to.
struct Watcher {
    thread: SignalWatcher,
    runs: Vec<Weak<Run>>,
}

static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

/// Has the signal thread deliver `signal` to the run of `domain`.
fn watch(domain: &Domain, signal: Signal) -> io::Result<()> {
    if domain.simulation().is_some() {
        return Ok(());
    }
    let run = &domain.run;
    let mut watcher = lock_watcher();
    // A forked process has the state of its parent, but not the thread.
    if !watcher.as_ref().is_some_and(|watcher| watcher.thread.is_alive()) {
        let thread = SignalWatcher::start(signal.number(), on_signal)?;
        *watcher = Some(Watcher { thread, runs: Vec::new() });
    }
    let watcher = watcher.as_mut().expect("it was set above");
    watcher.thread.add(signal.number())?;
    watcher.runs.retain(|run| run.strong_count() > 0);
    if !watcher.runs.iter().any(|known| known.as_ptr() == Arc::as_ptr(run)) {
        watcher.runs.push(Arc::downgrade(run));
    }
    Ok(())
}

fn lock_watcher() -> Guard<'static, Option<Watcher>> {
    lock(&WATCHER)
}

/// Returns the runs that signals are delivered to.
fn watched_runs() -> Vec<Arc<Run>> {
    match &*lock_watcher() {
        Some(watcher) => watcher.runs.iter().filter_map(Weak::upgrade).collect(),
        None => Vec::new(),
    }
}

/// Called by the signal thread.
fn on_signal(number: i32) {
    let signal = Signal::Number(number);
    // Deliver without the lock: a waker may watch for another signal.
    let runs = watched_runs();
    let deliver = |run: &Arc<Run>| deliver(run, signal, SignalSource::System);
    let dispositions: Vec<_> = runs.iter().map(deliver).collect();
    let is_handled = dispositions.iter().any(|disposition| disposition.is_handled());
    let terminate = dispositions.contains(&Disposition::Terminate);
    // fault: default-signal-not-restored
    if terminate || !is_handled {
        sys::default_action(signal.number());
    }
    // The last reference to a run drops values of the program.
    panics::ignore(|| drop(runs));
}

/// Delivers a signal to a run, and has domain 0 start the handler.
fn deliver(run: &Run, signal: Signal, source: SignalSource) -> Disposition {
    let disposition = run.signals.deliver(signal, source);
    if disposition == Disposition::StartHandler {
        // The handler is looked up when it starts, because it may have been replaced in the
        // meantime.
        let start = move |domain: &Domain| {
            spawn_signal_handler(domain, || {
                let (handler, meta) = domain.run.signals.handler(signal)?;
                let run = Arc::clone(&domain.run);
                let start = move || {
                    run.signals.handler_started(signal);
                    handler()
                };
                Some((start, meta))
            });
        };
        run.remote(0).send(Message::Signal(Box::new(start)));
    }
    disposition
}

/// Delivers a signal to one run, without the operating system. Returns whether the run handles it;
/// if not, the system would have terminated the process.
pub(crate) fn send(run: &Run, signal: Signal) -> bool {
    deliver(run, signal, SignalSource::Test).is_handled()
}

/// Ends the handling of signals by a run that is over. A signal that the process has received, and
/// whose handler has not started, terminates the process, unless another run handles it as well.
pub(crate) fn end_run(run: &Arc<Run>) {
    for signal in run.signals.close() {
        let is_handled = watched_runs().iter().any(|run| run.signals.handles(signal));
        if !is_handled {
            sys::terminate_by(signal.number());
        }
    }
}
