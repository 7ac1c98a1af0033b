//! Signals of the system, handled by tasks.
//!
//! The crate `signal-hook` watches for them on one thread of the process, which is started when
//! a signal is first asked for and stays. (Why not `ctrlc`? It does not tell SIGINT from SIGTERM,
//! and cannot give a signal its default behaviour back.)

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::domain::{Domain, Message};
use crate::panics;
use crate::run::Run;
use crate::spawn::spawn_signal_handler;
use crate::sys::{self, SignalWatcher};
use crate::task::{TaskMeta, WaitSite};

/// A signal that a program can handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C at the terminal.
    Interrupt,
    /// SIGTERM: the polite request to end.
    Terminate,
}

/// All of them, in the order of their numbers in tables.
const ALL: [Signal; 2] = [Signal::Interrupt, Signal::Terminate];

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Interrupt => sys::INTERRUPT,
            Signal::Terminate => sys::TERMINATE,
        }
    }

    fn from_number(number: i32) -> Option<Signal> {
        ALL.into_iter().find(|signal| signal.number() == number)
    }
}

/// Handles a signal by a task: `handler` makes a child of the root on domain 0, held to the same
/// rules as any other.
///
/// Both signals mean "end". The first one of the run, whichever it is, is handled; a second one
/// ends the process at once, as if nobody handled it, so that a shutdown that hangs can be cut
/// short. (A program that wants every one of them takes a [`stream`].) A later call for the same
/// signal replaces the handler. When the run is over, the signals behave as by default again.
///
/// A handler that still runs when the root ends is cancelled. One that panics fails the run.
///
/// # Errors
///
/// When the system refuses to watch for the signal.
///
/// # Panics
///
/// Outside a run.
///
/// # Examples
///
/// ```no_run
/// use std::future::pending;
/// use matou_runtime::{RunError, run, signal, signal::Signal};
///
/// fn main() -> Result<(), RunError> {
///     run(async {
///         signal::on(Signal::Interrupt, || async { println!("ending ..") })?;
///         pending().await
///     })
/// }
/// ```
#[track_caller]
pub fn on<H, F>(signal: Signal, handler: H) -> io::Result<()>
where
    H: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let about = TaskMeta::named(Location::caller(), Arc::from("signal handler"));
    let handler: Handler = Arc::new(move || Box::pin(handler()));
    Domain::with("`signal::on`", |domain| {
        let old = domain.run.signals.table().row(signal).handler.replace((handler, about));
        // What it captured may ask for signals when it is dropped: not under the lock.
        drop(old);
        watch(domain, signal)
    })
}

/// Returns a stream of the occurrences of a signal. While it lives, the signal ends nothing by
/// itself, however often it comes.
///
/// # Errors
///
/// When the system refuses to watch for the signal.
///
/// # Panics
///
/// Outside a run.
pub fn stream(signal: Signal) -> io::Result<Signals> {
    let occurrences = Arc::new(Mutex::new(Occurrences::default()));
    Domain::with("`signal::stream`", |domain| {
        let mut table = domain.run.signals.table();
        let streams = &mut table.row(signal).streams;
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&occurrences));
        drop(table);
        watch(domain, signal)
    })?;
    Ok(Signals { signal, occurrences })
}

/// The occurrences of a signal since its making; made by [`stream`].
#[derive(Debug)]
pub struct Signals {
    signal: Signal,
    occurrences: Arc<Mutex<Occurrences>>,
}

#[derive(Debug, Default)]
struct Occurrences {
    count: u64,
    waker: Option<Waker>,
}

impl Signals {
    /// Returns which signal it is.
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
        NextSignal { signals: self, at: Location::caller() }
    }
}

/// The future of [`Signals::next`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextSignal<'a> {
    signals: &'a mut Signals,
    at: &'static Location<'static>,
}

impl Future for NextSignal<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut occurrences = lock(&self.signals.occurrences);
        if occurrences.count > 0 {
            occurrences.count -= 1;
            return Poll::Ready(());
        }
        let old = occurrences.waker.replace(cx.waker().clone());
        drop(occurrences);
        drop(old);
        WaitSite::new("signal", self.at).note();
        Poll::Pending
    }
}

pub(crate) type Handler = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// What a run does about signals.
#[derive(Default)]
pub(crate) struct Registry {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    rows: [Row; ALL.len()],
    /// A handler was started: the next signal for a handler ends the process.
    begun: bool,
    /// The watcher knows this run.
    watched: bool,
}

#[derive(Default)]
struct Row {
    handler: Option<(Handler, TaskMeta)>,
    streams: Vec<Weak<Mutex<Occurrences>>>,
}

/// What a run wants done about a signal.
enum Answer {
    /// It does not care.
    Nothing,
    /// It has been told.
    Told,
    /// It is being shut down already.
    EndNow,
}

impl Table {
    fn row(&mut self, signal: Signal) -> &mut Row {
        &mut self.rows[signal as usize]
    }
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Forgets what was wanted: the run is over, and the signals behave as by default again.
    ///
    /// That does not wait for the run's memory, which a waker may keep; and a handler may hold
    /// such a waker.
    pub(crate) fn close(&self) {
        let rows = std::mem::take(&mut self.table().rows);
        // Handlers are the program's, and so are their drops: not under the lock.
        panics::ignore(|| drop(rows));
    }

    /// Returns how to make the task that handles `signal`.
    pub(crate) fn handler(&self, signal: Signal) -> Option<(Handler, TaskMeta)> {
        self.table().row(signal).handler.clone()
    }

    /// Tells the streams of a signal, and finds out what else is to be done.
    fn deliver(&self, signal: Signal) -> (Answer, bool) {
        let mut wakers = Vec::new();
        let mut table = self.table();
        let row = table.row(signal);
        row.streams.retain(|stream| {
            let Some(stream) = stream.upgrade() else {
                return false;
            };
            let mut occurrences = lock(&stream);
            occurrences.count += 1;
            wakers.extend(occurrences.waker.take());
            true
        });
        let (streamed, handled) = (!row.streams.is_empty(), row.handler.is_some());
        let begun = table.begun;
        table.begun |= handled;
        drop(table);
        wakers.into_iter().for_each(panics::wake);
        match (handled, begun, streamed) {
            // fault: second-signal-swallowed
            (true, true, false) => (Answer::EndNow, false),
            (true, false, _) => (Answer::Told, true),
            (_, _, true) => (Answer::Told, false),
            (false, _, false) => (Answer::Nothing, false),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
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
    if domain.world().is_some() {
        // A simulated run gets its signals from `test::send_signal` only.
        return Ok(());
    }
    let run = &domain.run;
    let mut watcher = lock(&WATCHER);
    let watcher = match &mut *watcher {
        Some(watcher) => watcher,
        none => {
            let watcher = SignalWatcher::start(signal.number(), deliver_number)?;
            none.insert(Watcher { watcher, runs: Vec::new() })
        }
    };
    watcher.watcher.add(signal.number())?;
    watcher.runs.retain(|run| run.strong_count() > 0);
    if !std::mem::replace(&mut run.signals.table().watched, true) {
        watcher.runs.push(Arc::downgrade(run));
    }
    Ok(())
}

fn deliver_number(number: i32) {
    if let Some(signal) = Signal::from_number(number) {
        deliver(signal);
    }
}

fn deliver(signal: Signal) {
    let runs: Vec<Arc<Run>> = match &*lock(&WATCHER) {
        Some(watcher) => watcher.runs.iter().filter_map(Weak::upgrade).collect(),
        None => Vec::new(),
    };
    let mut told = false;
    let mut end_now = false;
    for run in &runs {
        let (answer, handle) = run.signals.deliver(signal);
        if handle {
            send_start(run, signal);
        }
        told |= matches!(answer, Answer::Told);
        end_now |= matches!(answer, Answer::EndNow);
    }
    // fault: default-signal-not-restored
    if end_now || !told {
        // The default of both signals is to terminate the process, so this does not return.
        sys::terminate_by(signal.number());
    }
}

/// Has domain 0 start the handler of a signal.
fn send_start(run: &Run, signal: Signal) {
    let start = move |domain: &Domain| {
        spawn_signal_handler(domain, || {
            let (handler, meta) = domain.run.signals.handler(signal)?;
            Some((move || handler(), meta))
        });
    };
    run.remote(0).send(Message::Signal(Box::new(start)));
}

/// Sends a signal to a run past the system. Returns whether the run did something about it; if not,
/// the system would have ended the process.
pub(crate) fn raise(run: &Run, signal: Signal) -> bool {
    let (answer, handle) = run.signals.deliver(signal);
    if handle {
        send_start(run, signal);
    }
    matches!(answer, Answer::Told)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
