//! One turn of a domain: messages, timers, a quantum of polls, one waiting system call.

use std::sync::Arc;
use std::time::Instant;

use matou_ownership::Ledger;

use super::children::label_of;
use super::shield::inherited_deadline;
use super::{BUDGET, Domain, Message, RemoteSpawn, TimerTarget};
use crate::driver::ParkTimeout;
use crate::task::raw::{OwnerRef, PollResult, WakerId};
use crate::task::{NIL, Node, Parent, RunState, Slot, Stage, panics, spawn_signal_handler};
use crate::test::Happening;

impl Domain {
    /// Does one round of work and then waits: not at all if tasks are ready, otherwise until
    /// something happens.
    pub(crate) fn tick(&self) {
        // fault: tasks-starve-messages
        let _entered = self.enter();
        self.drain_mailbox();
        self.fire_timers();
        self.run_ready();
        if !self.stopped.get() {
            self.wait();
        }
    }

    fn run_ready(&self) {
        self.run_queue.borrow_mut().begin_tick();
        let quantum = self.quantum();
        if self.world.is_some() {
            return self.poll_ready(quantum, None);
        }
        let started = self.time_slice.begin(|| self.now());
        self.poll_ready(quantum, started);
        if self.run_queue.borrow().is_empty() {
            self.time_slice.end_drained();
        } else {
            self.time_slice.end_preempted(started, || self.now());
        }
    }

    fn poll_ready(&self, polls_max: usize, started: Option<Instant>) {
        // fault: tasks-starve-events
        for polls in 1..=polls_max {
            let Some(next) = self.run_queue.borrow_mut().pop(&self.random) else {
                return;
            };
            self.poll_task(next.slot);
            if self.time_slice.exhausted(started, polls, next.yielded, || self.now()) {
                break;
            }
        }
        let overlooked = self.run_queue.borrow_mut().pop_starved_yielded();
        if let Some(slot) = overlooked {
            self.poll_task(slot);
        }
    }

    /// How many polls this turn may make. A simulated run draws that: mostly few, so that the
    /// domains take turns often.
    fn quantum(&self) -> usize {
        let quantum = self.run.config.quantum;
        match self.world {
            None => quantum,
            Some(_) => quantum.min(1 + self.random.below(4)),
        }
    }

    /// Polls one task: the only place where user code of a task runs.
    fn poll_task(&self, slot: Slot) {
        let node = &self.tree[slot];
        self.witness(|_| Happening::Polled(node.id.get()));
        let (own, ledger) = self.begin_poll(slot, node);
        let is_new = ledger.is_none();
        let entered = matou_ownership::enter(ledger);
        // A panic cannot come out: every call of user code inside is caught.
        let polled = own.poll(self);
        let ledger = entered.leave();
        // Nothing is looked at without need: that would be a line of the cache for each poll.
        if let Some(ledger) = &ledger
            && (is_new || matou_ownership::take_not_owner_flag())
        {
            self.check_ledger(slot, ledger);
        }
        match polled {
            PollResult::Pending(own) => self.suspend(slot, node, own, ledger),
            PollResult::Complete => self.finish_task(slot, node, ledger),
            PollResult::Detached(own) => self.finish_detached(slot, node, own, ledger),
        }
    }

    /// Makes a task the current one, and takes out what it is polled by and what it owns.
    #[inline]
    fn begin_poll(&self, slot: Slot, node: &Node) -> (OwnerRef, Option<Arc<Ledger>>) {
        self.current.set(slot);
        self.budget.set(BUDGET);
        if node.cold.is_some() {
            self.check_cancel_deadline(node);
            self.replace_deadline(inherited_deadline(node));
        }
        node.run_state.set(RunState::Polling);
        node.blocked_on.clear();
        self.current_cancelled.set(node.cancel.is_some());
        let own = node.owner_ref.take().expect("a task in the queue is neither running nor over");
        self.current_waker.set(own.waker_id());
        (own, node.ledger.take())
    }

    /// No task is the current one any more.
    #[inline]
    pub(super) fn end_poll(&self) {
        self.current.set(NIL);
        self.current_waker.set(WakerId::NONE);
        if self.deadline().is_some() {
            self.replace_deadline(None);
        }
    }

    /// Looks whether a task that has just run did wrong with what it owns.
    fn check_ledger(&self, slot: Slot, ledger: &Ledger) {
        if ledger.owner().is_none() {
            ledger.set_owner(label_of(self.current_node()));
        }
        if self.raise_fault(ledger.take_not_owner()) {
            // It is to notice that it is ended.
            self.wake(slot);
        }
    }

    /// Puts a task that goes on back to its node, and into the queue if it was woken meanwhile.
    #[inline]
    fn suspend(&self, slot: Slot, node: &Node, own: OwnerRef, ledger: Option<Arc<Ledger>>) {
        node.owner_ref.put(own);
        if let Some(ledger) = ledger {
            node.ledger.put(ledger);
        }
        // It may also have been told to end during this very poll, in its own name.
        let told = node.cancel.is_some() && !self.current_cancelled.get();
        let woken = told || node.run_state.get() == RunState::Woken;
        node.run_state.set(if woken { RunState::Queued } else { RunState::Idle });
        if node.cold.is_some() {
            self.arm_cancel_timer(slot, node);
        }
        if woken {
            self.enqueue(slot);
        }
        self.end_poll();
    }

    /// Drops the outcome of a task that is over and that nobody asks about. If something was in it
    /// that has to be finalized, the task has a further step to do, for which it comes back.
    #[cold]
    fn finish_detached(
        &self,
        slot: Slot,
        node: &Node,
        mut own: OwnerRef,
        ledger: Option<Arc<Ledger>>,
    ) {
        // The ledger that was settled is closed. Another one takes over what it has for the parent.
        let ledger = ledger.map(|settled| {
            let ledger = Ledger::new();
            ledger.receive(settled.take_transferred());
            ledger.transfer_all();
            ledger
        });
        let entered = matou_ownership::enter(ledger);
        own.drop_outcome();
        let ledger = entered.leave();
        // fault: outcome-finalizers-lost
        let Some(left) = ledger.as_ref().filter(|ledger| !ledger.is_empty()) else {
            own.complete_detached();
            return self.finish_task(slot, node, ledger);
        };
        left.set_owner(label_of(node));
        node.stage.set(Stage::Finalizing);
        self.wake(slot);
        self.suspend(slot, node, own, ledger);
    }

    /// Fires the timers that are due, all of them, but none that is set meanwhile.
    fn fire_timers(&self) {
        let Some(first) = self.timers.borrow().next_deadline() else {
            return;
        };
        // The clock may be a user's driver: it is not asked while they are borrowed.
        let now = self.now();
        if first > now {
            return;
        }
        let mut expired = self.expired.take();
        self.timers.borrow_mut().expire(now, &mut expired);
        self.witness(|_| Happening::TimersFired(expired.len()));
        for target in expired.drain(..) {
            match target {
                TimerTarget::Task(key) => self.wake_key(key),
                TimerTarget::Waker(waker) => panics::wake(waker),
            }
        }
        self.expired.replace(expired);
    }

    fn wait(&self) {
        let busy = !self.run_queue.borrow().is_empty()
            || self.spin_for_messages()
            || !self.remote().prepare_park();
        let waited = if busy {
            self.driver.park(ParkTimeout::Immediate)
        } else {
            let deadline = self.timers.borrow().next_deadline();
            let waited =
                self.driver.park(deadline.map_or(ParkTimeout::Forever, ParkTimeout::Deadline));
            self.remote().end_park();
            waited
        };
        if let Err(error) = waited {
            self.driver_failed(error);
        }
    }

    /// Whether a message comes so soon that it does not pay to sleep.
    fn spin_for_messages(&self) -> bool {
        self.world.is_none() && self.spin.spin_until(|| !self.remote().is_empty())
    }

    /// Reads the messages that are there, but none that comes meanwhile: a flood from another
    /// domain must not keep the tasks of this one from running.
    fn drain_mailbox(&self) {
        if self.remote().is_empty() {
            return;
        }
        let mut more = self.drained.take();
        if let Some(first) = self.remote().take(&mut more) {
            self.handle_message(first);
        }
        for message in more.drain(..) {
            self.handle_message(message);
        }
        self.drained.replace(more);
    }

    fn handle_message(&self, message: Message) {
        self.witness(|_| Happening::Received(message.kind()));
        match message {
            // fault: lost-wake-up
            Message::Wake(woken) => self.wake(woken.ack()),
            Message::Spawn(spawn) => self.start_remote_spawn(spawn),
            Message::Cancel { id, cancelled } => {
                let slot = self.remote_children.borrow().get(&id).copied();
                if let Some(slot) = slot {
                    self.request_cancel(slot, &cancelled);
                }
            }
            Message::CancelRequested { id, cancelled } => {
                let slot = self.remote_children.borrow().get(&id).copied();
                if let Some(slot) = slot {
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
            Message::HandleDropped { entry, abandoned } => self.promise_dropped(entry, abandoned),
            Message::DetachHandle { entry } => self.detach_child(entry),
            Message::TimerDropped(timer) => {
                let target = self.timers.borrow_mut().remove(timer);
                panics::ignore(|| drop(target));
            }
            Message::GroupDropped { group } => {
                let collector = self.groups.borrow_mut().try_remove(group as usize);
                panics::ignore(|| drop(collector));
            }
            Message::CancelRoot(cancelled) => {
                if let Some(root_slot) = self.root_slot() {
                    self.request_cancel(root_slot, &cancelled);
                }
            }
            Message::Signal(signal) => self.handle_signal(signal),
            Message::Stop => self.stop(),
        }
    }

    /// A task that another domain called begins its life here.
    fn start_remote_spawn(&self, spawn: RemoteSpawn) {
        let RemoteSpawn { unstarted, id, spawned_at, parent_domain: domain, proxy, params } = spawn;
        let parent = Parent::Remote { domain, proxy };
        let own = unstarted.start(self.remote());
        let (entry, node) = self.insert_task(id, spawned_at, parent, own);
        if let Some(params) = params {
            node.apply(*params);
        }
        self.remote_children.borrow_mut().insert(id, entry.slot);
    }

    /// The root's slot, as long as the root is there: it was the first to enter.
    fn root_slot(&self) -> Option<Slot> {
        let key = crate::task::NodeKey { slot: 0, id: crate::task::TaskId::ROOT };
        self.tree.get(key).map(|_| key.slot)
    }

    /// Starts the program's handler of a signal as a child of the root (R12).
    fn handle_signal(&self, signal: crate::signal::Signal) {
        let living = |root_slot: &Slot| self.tree[*root_slot].stage.get() == Stage::Running;
        let Some(root_slot) = self.root_slot().filter(living) else {
            return;
        };
        let Some((handler, about)) = self.run.signals.handler(signal) else {
            return;
        };
        spawn_signal_handler(self, root_slot, about, move || handler());
    }
}
