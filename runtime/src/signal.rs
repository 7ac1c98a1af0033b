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

use crate::domain::{Domain, Message, Run};
use crate::locks::{Guard, lock};
use crate::panics;
use crate::signal_table::{Disposition, Handler, SignalSource, StreamClosed, StreamState};
use crate::spawn::spawn_signal_handler;
use crate::sys::{self, SignalWatcher};
use crate::task::{TaskMeta, WaitSite};

pub use crate::signal_table::Signal;

/// Handles a signal by a task: `handler` creates a child of the root on domain 0, which obeys the
/// same rules as any other task.
///
/// Both signals ask the program to terminate. The first signal of the run starts its handler; the
/// second one, of either kind, terminates the process at once, as if there was no handler, so that
/// a shutdown that hangs can be cut short. (A program that wants every signal uses a [`stream`].) A
/// later call for the same signal replaces the handler. After the run, signals have their default
/// behaviour again.
///
/// A handler that is still running when the root completes is cancelled. If the handler has not
/// started yet when the run ends, the signal has its default behaviour, so that it is not lost. A
/// handler that panics fails the run.
///
/// Process 1 (of a container, for example) has no default behaviour: where the signal would
/// terminate any other process, it exits with status 128 plus the number of the signal.
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
/// ```no_run
/// use std::future::pending;
/// use matou_runtime::{RunError, run, signal, signal::Signal};
///
/// fn main() -> Result<(), RunError> {
///     run(async {
///         signal::on(Signal::Interrupt, || async { println!("shutting down ..") })?;
///         pending().await
///     })
/// }
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
        domain.run.signals.add_stream(signal, &state);
        watch(domain, signal)
    })?;
    Ok(Signals { signal, state })
}

/// The occurrences of a signal since its creation; returned by [`stream`].
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
    let Some(signal) = Signal::from_number(number) else { return };
    // Deliver without the lock: a waker may watch for another signal.
    let runs = watched_runs();
    let deliver = |run: &Arc<Run>| deliver(run, signal, SignalSource::System);
    let dispositions: Vec<_> = runs.iter().map(deliver).collect();
    let is_handled = dispositions.iter().any(|disposition| disposition.is_handled());
    let terminate = dispositions.contains(&Disposition::Terminate);
    // fault: default-signal-not-restored
    if terminate || !is_handled {
        // The default of both signals is to terminate the process.
        sys::terminate_by(signal.number());
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
