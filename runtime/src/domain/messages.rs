//! Messages from other threads, and how a domain handles each.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, mpsc};

use matou_hooks::Offer;
use matou_ownership::Resource;

use super::{Domain, RemoteHandle};
use crate::diagnostic::Diagnostic;
use crate::panics;
use crate::simulation::EventKind;
use crate::task::raw::{RemoteWake, Unstarted};
use crate::task::{Cancelled, NodeKey, Parent, Slot, SpawnParams, Stage, TaskId};
use crate::timer_queue::TimerKey;

/// A message to a domain.
pub(crate) enum Message {
    /// A task of the receiver was woken on another thread.
    Wake(RemoteWake<RemoteHandle>),
    /// A task starts on the receiver. Not boxed: the box would be allocated on one thread and freed
    /// on another, which is slow in most allocators.
    Spawn(RemoteSpawn),
    /// A child that lives on the receiver is cancelled.
    Cancel { id: TaskId, cancelled: Cancelled },
    /// A child that lives on the receiver is informed of a cancel request from which an ancestor
    /// shields it.
    CancelRequested { id: TaskId, cancelled: Cancelled },
    /// A child that lived on the sender is complete; the promise has its outcome.
    ChildCompleted { proxy: NodeKey, transferred: Vec<Arc<dyn Resource>> },
    /// Finalizers of a task of the receiver are to run before the task ends.
    FinalizersDue { owner: NodeKey },
    /// A promise was dropped on a thread that is not its parent's.
    HandleDropped { entry: NodeKey, abandoned: bool },
    /// The handle of a shield was dropped on a thread that is not its parent's.
    DetachHandle { entry: NodeKey },
    /// A `Sleep` was dropped on a thread that is not its timer's.
    TimerDropped(TimerKey),
    /// A group was dropped on a thread that is not its domain's.
    GroupDropped { group: u32 },
    /// A thread that is running no domain of the run has reported something. To domain 0.
    Diagnostic(Box<Diagnostic>),
    /// A future was submitted to a group of the receiver.
    GroupSubmitted { group: u32 },
    /// All messages that the receiver had when it sent this one to itself are handled. A task waits
    /// for that.
    MessagesHandled { task: NodeKey },
    /// The root task is cancelled. To domain 0.
    CancelRoot(Cancelled),
    /// A synchronization primitive offers something to a task of the receiver. Boxed, because an
    /// offer is larger than the other messages.
    Offer(Box<Offer>),
    /// The handle of a task that was spawned from outside of the run cancels it.
    CancelInGroup { task: NodeKey, cancelled: Cancelled },
    /// A thread asks whether the receiver handles messages. The answer is the number of the domain.
    Probe(mpsc::Sender<usize>),
    /// A signal was delivered: the function starts its handler. To domain 0.
    Signal(StartHandler),
    /// The run is over.
    Stop,
}

/// Starts the handler of a signal on domain 0.
pub(crate) type StartHandler = Box<dyn FnOnce(&Domain) + Send>;

impl Message {
    /// Returns the kind of the message, for the trace of a simulated run.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Message::Wake(_) => "wake",
            Message::Spawn(_) => "spawn",
            Message::Cancel { .. } => "cancel",
            Message::CancelRequested { .. } => "cancel requested",
            Message::ChildCompleted { .. } => "child completed",
            Message::FinalizersDue { .. } => "finalizers due",
            Message::HandleDropped { .. } => "promise dropped",
            Message::DetachHandle { .. } => "shield detached",
            Message::TimerDropped(_) => "timer dropped",
            Message::GroupDropped { .. } => "group dropped",
            Message::Diagnostic(_) => "diagnostic",
            Message::GroupSubmitted { .. } => "submitted to a group",
            Message::MessagesHandled { .. } => "messages handled",
            Message::CancelRoot(_) => "cancel main",
            Message::Offer(_) => "offer",
            Message::CancelInGroup { .. } => "cancel in a group",
            Message::Probe(_) => "probe",
            Message::Signal(_) => "signal",
            Message::Stop => "stop",
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A task that is sent to the domain on which it starts.
pub(crate) struct RemoteSpawn {
    pub(crate) task: Unstarted<RemoteHandle>,
    pub(crate) id: TaskId,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) parent_domain: u16,
    /// The task's proxy on that domain.
    pub(crate) proxy: Slot,
    /// Boxed, since few tasks have any, and each message has room for it.
    pub(crate) params: Option<Box<SpawnParams>>,
}

impl Domain {
    /// Handles the messages that have arrived.
    pub(super) fn drain_mailbox(&self) {
        self.mailbox.drain(|message| self.handle_message(message));
    }

    fn handle_message(&self, message: Message) {
        self.record_event(|_| EventKind::MessageReceived(message.kind()));
        match message {
            // Acknowledge before reading the state of the task, so that a later wake-up sends
            // another message.
            // fault: lost-wake-up
            Message::Wake(wake) => self.wake(wake.acknowledge()),
            Message::Spawn(spawn) => self.start_remote_spawn(spawn),
            Message::Cancel { id, cancelled } => {
                // If the task is not there any more, its completion is on the way to the sender.
                if let Some(slot) = self.remote_children.get(id) {
                    self.request_cancel(slot, &cancelled);
                }
            }
            Message::CancelRequested { id, cancelled } => {
                if let Some(slot) = self.remote_children.get(id) {
                    self.propagate_cancel_request(slot, &cancelled);
                }
            }
            Message::ChildCompleted { proxy, transferred } => {
                let parent = self.tree.get(proxy).map(|node| node.parent.get());
                if let Some(Parent::Local(parent)) = parent {
                    // fault: remote-transfer-lost
                    self.deliver_transfers(parent, transferred);
                    self.complete_entry(proxy.slot);
                }
            }
            Message::FinalizersDue { owner } => self.start_due_finalizers(owner),
            Message::HandleDropped { entry, abandoned } => self.promise_dropped(entry, abandoned),
            Message::DetachHandle { entry } => self.detach_child(entry),
            Message::TimerDropped(timer) => {
                let target = self.timers.remove(timer);
                panics::ignore(|| drop(target));
            }
            Message::GroupDropped { group } => self.groups.remove(group),
            Message::Diagnostic(diagnostic) => self.report(*diagnostic),
            Message::GroupSubmitted { group } => self.start_submitted(group),
            Message::MessagesHandled { task } => self.messages_handled(task),
            Message::CancelRoot(cancelled) => {
                if let Some(root) = self.root() {
                    self.request_cancel(root, &cancelled);
                }
            }
            Message::Offer(offer) => self.receive_offer(*offer),
            Message::CancelInGroup { task, cancelled } => {
                self.cancel_in_group(task, &cancelled);
            }
            Message::Probe(answers) => drop(answers.send(self.index)),
            Message::Signal(start_handler) => start_handler(self),
            Message::Stop => self.stop(),
        }
    }

    /// Adds a task that was spawned on another domain.
    fn start_remote_spawn(&self, spawn: RemoteSpawn) {
        let RemoteSpawn { task, id, spawned_at, parent_domain, proxy, params } = spawn;
        let parent = Parent::Remote { domain: parent_domain, proxy };
        let owner = task.start(self.remote());
        let (entry, node) = self.insert_task(id, spawned_at, parent, owner);
        self.task_count.add_arrived(params.as_ref().is_some_and(|params| params.is_counted));
        if let Some(params) = params {
            node.apply(*params);
        }
        self.remote_children.insert(id, entry.slot);
    }

    pub(crate) fn stage_of(&self, slot: Slot) -> Stage {
        self.tree[slot].stage.get()
    }

    /// Returns the root task, as long as it exists. It has the first slot, as the first task of
    /// domain 0.
    pub(crate) fn root(&self) -> Option<Slot> {
        let key = NodeKey { slot: 0, id: TaskId::ROOT };
        self.tree.get(key).map(|_| key.slot)
    }
}
