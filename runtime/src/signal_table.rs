//! The handlers and streams of a run for each signal.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use crate::locks::{clone_waker, lock};
use crate::panics;
use crate::sys;
use crate::task::TaskMeta;

/// A signal that a program can handle.
///
/// Two values are equal if their numbers are: `Signal::Number(15)` is [`Signal::Terminate`] on most
/// systems.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C at the terminal.
    Interrupt,
    /// SIGTERM: a request to terminate.
    Terminate,
    /// SIGHUP: the terminal is gone; for daemons by convention a request to load the configuration
    /// again.
    Hangup,
    /// SIGQUIT: Ctrl-\ at the terminal.
    Quit,
    /// SIGUSR1, without a meaning of its own.
    User1,
    /// SIGUSR2, without a meaning of its own.
    User2,
    /// SIGCHLD: a child process has ended or stopped.
    Child,
    /// SIGWINCH: the size of the terminal has changed.
    WindowChange,
    /// Any signal, by its number on this system.
    Number(i32),
}

impl Signal {
    /// Returns the number of the signal on this system.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::signal::Signal;
    ///
    /// assert_eq!(Signal::Hangup.number(), 1);
    /// assert_eq!(Signal::Number(1), Signal::Hangup);
    /// ```
    pub fn number(self) -> i32 {
        match self {
            Signal::Interrupt => sys::INTERRUPT,
            Signal::Terminate => sys::TERMINATE,
            Signal::Hangup => sys::HANGUP,
            Signal::Quit => sys::QUIT,
            Signal::User1 => sys::USER1,
            Signal::User2 => sys::USER2,
            Signal::Child => sys::CHILD,
            Signal::WindowChange => sys::WINDOW_CHANGE,
            Signal::Number(number) => number,
        }
    }

    /// Returns whether the signal asks the program to terminate, so that a second one must end a
    /// shutdown that hangs.
    fn asks_to_terminate(self) -> bool {
        [Signal::Interrupt, Signal::Terminate, Signal::Quit].contains(&self)
    }
}

impl PartialEq for Signal {
    fn eq(&self, other: &Signal) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Signal {}

impl Hash for Signal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

/// Creates the future of a signal handler.
pub(crate) type Handler = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>> + Send + Sync>;

/// The handlers and streams of a run.
#[derive(Default)]
pub(crate) struct SignalTable {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By the numbers of the signals.
    entries: BTreeMap<i32, Entry>,
    /// A handler was started: the next signal for a handler terminates the process.
    handler_started: bool,
}

#[derive(Default)]
struct Entry {
    handler: Option<(Handler, TaskMeta)>,
    /// The signal has no effect.
    ignored: bool,
    streams: Vec<Weak<StreamState>>,
    /// The process received the signal, and domain 0 has not started the handler yet.
    is_starting: bool,
}

/// The source of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalSource {
    /// The process received it.
    System,
    /// A test sent it, to one run.
    Test,
}

/// How the process must react to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The run has neither a handler nor a stream for it.
    Unhandled,
    /// A stream was notified, or the run ignores the signal.
    Notified,
    /// The handler must be started.
    StartHandler,
    /// The signal has come a second time: terminate.
    Terminate,
}

impl Disposition {
    /// Returns whether the run handles the signal.
    pub(crate) fn is_handled(self) -> bool {
        matches!(self, Disposition::Notified | Disposition::StartHandler)
    }
}

/// The signals that a stream has not returned yet.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    count: u64,
    waker: Option<Waker>,
    /// The run is over: no signal will be counted any more.
    closed: bool,
}

/// The run of a stream is over, and the stream has returned all its signals.
#[derive(Debug)]
pub(crate) struct StreamClosed;

impl StreamState {
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamClosed>> {
        // A foreign waker may run any code when it is cloned or dropped: not under the lock.
        let waker = clone_waker(cx.waker());
        let mut pending = lock(&self.pending);
        let (poll, unused) = if pending.count > 0 {
            pending.count -= 1;
            (Poll::Ready(Ok(())), Some(waker))
        } else if pending.closed {
            (Poll::Ready(Err(StreamClosed)), Some(waker))
        } else {
            (Poll::Pending, pending.waker.replace(waker))
        };
        drop(pending);
        // A panic would lose the signal.
        panics::ignore(|| drop(unused));
        poll
    }

    /// Counts a signal, and returns the waker to wake.
    fn push(&self) -> Option<Waker> {
        let mut pending = lock(&self.pending);
        pending.count += 1;
        pending.waker.take()
    }

    /// Marks the end of the run, and returns the waker to wake.
    fn close(&self) -> Option<Waker> {
        let mut pending = lock(&self.pending);
        pending.closed = true;
        pending.waker.take()
    }
}

impl SignalTable {
    /// Sets the handler of a signal.
    pub(crate) fn set_handler(&self, signal: Signal, handler: Handler, meta: TaskMeta) {
        let mut table = lock(&self.table);
        let entry = table.entry(signal);
        entry.ignored = false;
        let old = entry.handler.replace((handler, meta));
        drop(table);
        // Its captured values may use the table when they are dropped: not under the lock.
        drop(old);
    }

    /// Returns the handler of a signal.
    pub(crate) fn handler(&self, signal: Signal) -> Option<(Handler, TaskMeta)> {
        lock(&self.table).entry(signal).handler.clone()
    }

    /// Removes the handler of a signal. From now on it has no effect, or its default behaviour.
    pub(crate) fn remove_handler(&self, signal: Signal, ignored: bool) {
        let mut table = lock(&self.table);
        let entry = table.entry(signal);
        entry.ignored = ignored;
        let old = entry.handler.take();
        drop(table);
        drop(old);
    }

    /// Adds a stream. Its entry is removed after its state is dropped.
    pub(crate) fn add_stream(&self, signal: Signal, stream: &Arc<StreamState>) {
        let mut table = lock(&self.table);
        let streams = &mut table.entry(signal).streams;
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(stream));
    }

    /// Returns whether the run has a handler or a stream for a signal.
    pub(crate) fn handles(&self, signal: Signal) -> bool {
        let mut table = lock(&self.table);
        let entry = table.entry(signal);
        entry.handler.is_some()
            || entry.ignored
            || entry.streams.iter().any(|stream| stream.strong_count() > 0)
    }

    /// Marks that the handler of a signal has started.
    pub(crate) fn handler_started(&self, signal: Signal) {
        lock(&self.table).entry(signal).is_starting = false;
    }

    /// Removes all handlers and streams at the end of the run: signals have their default behaviour
    /// again. Returns the signals that the process received and whose handlers never started.
    ///
    /// The run's memory may stay, because a waker may refer to it, and a handler may hold such a
    /// waker.
    pub(crate) fn close(&self) -> Vec<Signal> {
        let entries = mem::take(&mut lock(&self.table).entries);
        let unhandled = entries.iter().filter(|(_, entry)| entry.is_starting);
        let unhandled = unhandled.map(|(number, _)| Signal::Number(*number)).collect();
        for stream in entries.values().flat_map(|entry| &entry.streams).filter_map(Weak::upgrade) {
            // fault: stream-of-a-past-run-hangs
            stream.close().into_iter().for_each(panics::wake);
        }
        // Handlers belong to the program, which may use the table when they are dropped.
        panics::drop_each(entries.into_values());
        unhandled
    }

    /// Notifies the streams of a signal, and returns how the process must react.
    pub(crate) fn deliver(&self, signal: Signal, source: SignalSource) -> Disposition {
        let mut table = lock(&self.table);
        let entry = table.entry(signal);
        let mut streams: Vec<_> = entry.streams.iter().filter_map(Weak::upgrade).collect();
        entry.streams.retain(|stream| stream.strong_count() > 0);
        let (has_stream, has_handler) = (!streams.is_empty(), entry.handler.is_some());
        let ignored = entry.ignored;
        // Only a signal that asks for the end of the program ends it by coming twice.
        // fault: second-reload-terminates
        let has_final_handler = has_handler && signal.asks_to_terminate();
        let was_started = has_final_handler && table.handler_started;
        table.handler_started |= has_final_handler;
        if has_final_handler && !was_started && source == SignalSource::System {
            // fault: unstarted-handler-swallows-signal
            table.entry(signal).is_starting = true;
        }
        drop(table);
        // Not under the lock: if the last reference to a stream is dropped here, so is its waker.
        streams.drain(..).for_each(|stream| {
            stream.push().into_iter().for_each(panics::wake);
            panics::ignore(|| drop(stream));
        });
        match (has_handler, was_started, has_stream) {
            // fault: second-signal-swallowed
            (true, true, false) => Disposition::Terminate,
            (true, false, _) => Disposition::StartHandler,
            (_, _, true) => Disposition::Notified,
            (false, _, false) if ignored => Disposition::Notified,
            (false, _, false) => Disposition::Unhandled,
        }
    }
}

impl Table {
    fn entry(&mut self, signal: Signal) -> &mut Entry {
        self.entries.entry(signal.number()).or_default()
    }
}

impl fmt::Debug for SignalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalTable").finish_non_exhaustive()
    }
}
