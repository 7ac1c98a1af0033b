//! Signals of the operating system, handled by tasks.
//!
//! One thread of the process waits for signals and delivers them to all runs. It is started when a
//! run first handles a signal, and never stops. In a [simulated](crate::test) run, signals come
//! from [`test::send_signal`](crate::test::send_signal) only.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use crate::domain::{Domain, Message, Run};
use crate::signal_table::{Disposition, Handler, StreamState};
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
/// A handler that is still running when the root completes is cancelled. A handler that panics
/// fails the run.
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = self.signals.state.poll_next(cx);
        if poll.is_pending() {
            WaitSite::new("signal", self.location).note();
        }
        poll
    }
}

/// The signal thread of the process, and the runs that it delivers to.
struct Watcher {
    watcher: SignalWatcher,
    runs: Vec<Weak<Run>>,
}

static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

/// Has the signal thread deliver `signal` to the run of `domain`.
fn watch(domain: &Domain, signal: Signal) -> io::Result<()> {
    if domain.simulation().is_some() {
        return Ok(());
    }
    let run = &domain.run;
    let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
    let watcher = match &mut *watcher {
        Some(watcher) => watcher,
        none => {
            let watcher = SignalWatcher::start(signal.number(), on_signal)?;
            none.insert(Watcher { watcher, runs: Vec::new() })
        }
    };
    watcher.watcher.add(signal.number())?;
    watcher.runs.retain(|run| run.strong_count() > 0);
    if !run.signals.set_watched() {
        watcher.runs.push(Arc::downgrade(run));
    }
    Ok(())
}

/// Called by the signal thread.
fn on_signal(number: i32) {
    let Some(signal) = Signal::from_number(number) else { return };
    // Deliver without the lock: a handler or a waker may watch for another signal.
    let runs: Vec<Arc<Run>> = match &*WATCHER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(watcher) => watcher.runs.iter().filter_map(Weak::upgrade).collect(),
        None => Vec::new(),
    };
    let dispositions: Vec<_> = runs.iter().map(|run| deliver(run, signal)).collect();
    let is_handled = dispositions.iter().any(|disposition| disposition.is_handled());
    let terminate = dispositions.contains(&Disposition::Terminate);
    // fault: default-signal-not-restored
    if terminate || !is_handled {
        // The default of both signals is to terminate the process, so this does not return.
        sys::terminate_by(signal.number());
    }
}

/// Delivers a signal to a run, and has domain 0 start the handler.
fn deliver(run: &Run, signal: Signal) -> Disposition {
    let disposition = run.signals.deliver(signal);
    if disposition == Disposition::StartHandler {
        // The handler is looked up when it starts, because it may have been replaced in the
        // meantime.
        let start = move |domain: &Domain| {
            spawn_signal_handler(domain, || {
                let (handler, meta) = domain.run.signals.handler(signal)?;
                Some((move || handler(), meta))
            });
        };
        run.remote(0).send(Message::Signal(Box::new(start)));
    }
    disposition
}

/// Delivers a signal to one run, without the operating system. Returns whether the run handles it;
/// if not, the system would have terminated the process.
pub(crate) fn send(run: &Run, signal: Signal) -> bool {
    deliver(run, signal).is_handled()
}
