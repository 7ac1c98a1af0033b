//! What other threads may touch of a domain.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use matou_ownership::Resource;

use super::message_queue::MessageQueue;
use super::parker::Parker;
use crate::driver::Unpark;
use crate::run::Run;
use crate::signal::Signal;
use crate::task::raw::{RemoteWake, Unstarted};
use crate::task::{Cancelled, NodeKey, Slot, SpawnParams, TaskId};
use crate::timer_queue::TimerKey;

/// The outside of a domain: its inbox and its bell. Everything else of a domain belongs to its
/// thread alone.
///
/// Each task of the domain holds it, so that a waker finds it after the run as well. Why not the
/// run? All domains would count their tasks in one and the same word.
pub(crate) struct RemoteHandle {
    run: Weak<Run>,
    queue: MessageQueue,
    parker: Parker,
    unparker: OnceLock<Arc<dyn Unpark>>,
}

/// What one domain says to another.
pub(crate) enum Message {
    /// A task of the receiver was woken.
    Wake(RemoteWake),
    /// A task begins its life on the receiver. Not boxed: the box would be made on one thread and
    /// freed on another, which allocators dislike.
    Spawn(RemoteSpawn),
    /// A child that lives on the receiver is to end.
    Cancel { id: TaskId, cancelled: Cancelled },
    /// The end of a child that lives on the receiver was asked for, but an ancestor is shielded.
    CancelRequested { id: TaskId, cancelled: Cancelled },
    /// A child that lived elsewhere has ended; its outcome lies with its promise.
    ChildCompleted { proxy: NodeKey, transferred: Vec<Arc<dyn Resource>> },
    /// A promise was dropped on a thread that is not its parent's.
    HandleDropped { entry: NodeKey, abandoned: bool },
    /// The handle of a shield was dropped on a thread that is not its parent's.
    DetachHandle { entry: NodeKey },
    /// A `Sleep` was dropped on a thread that is not its timer's.
    TimerDropped(TimerKey),
    /// A collector was dropped on a thread that is not its domain's.
    GroupDropped { group: u32 },
    /// The root is to end.
    CancelRoot(Cancelled),
    /// The system sent a signal; for domain 0.
    Signal(Signal),
    /// The run is over.
    Stop,
}

impl Message {
    /// What it is, in a word, for the trace of a simulated run.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Message::Wake(_) => "wake",
            Message::Spawn(_) => "spawn",
            Message::Cancel { .. } => "cancel",
            Message::CancelRequested { .. } => "cancel requested",
            Message::ChildCompleted { .. } => "child completed",
            Message::HandleDropped { .. } => "promise dropped",
            Message::DetachHandle { .. } => "handle detached",
            Message::TimerDropped(_) => "timer dropped",
            Message::GroupDropped { .. } => "group dropped",
            Message::CancelRoot(_) => "cancel main",
            Message::Signal(_) => "signal",
            Message::Stop => "stop",
        }
    }
}

/// A task that begins its life on the receiver of a `Start`, and what must be known of it.
pub(crate) struct RemoteSpawn {
    pub(crate) unstarted: Unstarted,
    pub(crate) id: TaskId,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) parent_domain: u16,
    pub(crate) proxy: Slot,
    /// Boxed, since few tasks have one, and each message has room for it.
    pub(crate) params: Option<Box<SpawnParams>>,
}

impl RemoteHandle {
    pub(crate) fn new(run: Weak<Run>, queue: MessageQueue) -> RemoteHandle {
        RemoteHandle { run, queue, parker: Parker::new(), unparker: OnceLock::new() }
    }

    /// Whether the domain is one of `run`'s.
    #[inline]
    pub(crate) fn belongs_to(&self, run: &Arc<Run>) -> bool {
        std::ptr::eq(self.run.as_ptr(), Arc::as_ptr(run))
    }

    /// Sends a message to a domain of the same run, unless the run is gone.
    pub(crate) fn send_to(&self, domain: usize, message: Message) {
        if let Some(run) = self.run.upgrade() {
            run.remote(domain).send(message);
        }
    }

    /// Called once by the domain, before it looks into its inbox for the first time.
    pub(crate) fn connect(&self, unparker: Arc<dyn Unpark>) {
        assert!(self.unparker.set(unparker).is_ok(), "a port belongs to one domain");
    }

    /// Puts a message into the inbox and wakes the domain if it sleeps.
    ///
    /// After the run nobody reads the inbox any more, and a message is forgotten: it may hold a
    /// future that only the domain's own thread could drop. (There is none by then: a run ends
    /// after its last task.)
    pub(crate) fn send(&self, message: Message) {
        let notify = match self.queue.push(message) {
            Ok(notify) => notify,
            // It holds a task's memory, and nothing of its life.
            Err(Message::Wake(woken)) => return drop(woken),
            Err(message) => return std::mem::forget(message),
        };
        if notify && self.parker.notify() {
            // A domain that has not connected yet has not slept yet either.
            if let Some(unparker) = self.unparker.get() {
                unparker.unpark();
            }
        }
    }

    /// Whether no message has arrived.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the messages that have arrived: the first one, and the others into an empty list.
    pub(crate) fn take(&self, more: &mut Vec<Message>) -> Option<Message> {
        self.queue.take(more)
    }

    /// When the next message arrives, in a run that draws that from its seed.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.queue.next_arrival()
    }

    pub(crate) fn prepare_park(&self) -> bool {
        self.parker.prepare_park(|| self.is_empty())
    }

    pub(crate) fn end_park(&self) {
        self.parker.end_park();
    }

    /// Called by the domain's thread when it leaves.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle")
            .field("empty", &self.is_empty())
            .field("parker", &self.parker)
            .finish_non_exhaustive()
    }
}
