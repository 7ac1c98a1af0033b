//! One turn of a domain: messages, timers, a quantum of polls, one waiting system call.

use std::sync::Arc;
use std::time::Instant;

use matou_ownership::Ledger;

use super::kin::label_of;
use super::protection::born_with;
use super::{BUDGET, Birth, Domain, Message};
use crate::driver::ParkTimeout;
use crate::task::cell::{Identity, Own, Polled};
use crate::task::{NONE, Node, Parent, Sched, Slot, Stage, panics, spawn_service};
use crate::test::Happening;
use crate::time::Sleeper;

impl Domain {
    /// Does one round of work and then waits: not at all if tasks are ready, otherwise until
    /// something happens.
    pub(crate) fn turn(&self) {
        // fault: tasks-starve-messages
        let _entered = self.enter();
        self.receive();
        self.fire_timers();
        self.run_quantum();
        if !self.stopped.get() {
            self.wait();
        }
    }

    fn run_quantum(&self) {
        self.ready.borrow_mut().begin_turn();
        let quantum = self.quantum();
        if self.world.is_some() {
            return self.poll_some(quantum, None);
        }
        let begun = self.pace.begin(|| self.now());
        self.poll_some(quantum, begun);
        if self.ready.borrow().is_empty() {
            self.pace.end_idle();
        } else {
            self.pace.end_cut(begun, || self.now());
        }
    }

    fn poll_some(&self, polls_max: usize, begun: Option<Instant>) {
        // fault: tasks-starve-events
        for polls in 1..=polls_max {
            let Some(next) = self.ready.borrow_mut().pop(&self.random) else {
                return;
            };
            self.poll_task(next.slot);
            if self.pace.is_over(begun, polls, next.yielded, || self.now()) {
                break;
            }
        }
        let overlooked = self.ready.borrow_mut().pop_overlooked();
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
        let (own, ledger) = self.begin_step(slot, node);
        let is_new = ledger.is_none();
        let entered = matou_ownership::enter(ledger);
        // A panic cannot come out: every call of user code inside is caught.
        let polled = own.poll(self);
        let ledger = entered.leave();
        // Nothing is looked at without need: that would be a line of the cache for each poll.
        if let Some(ledger) = &ledger
            && (is_new || matou_ownership::take_not_owner_flag())
        {
            self.look_into(slot, ledger);
        }
        match polled {
            Polled::Pending(own) => self.pause(slot, node, own, ledger),
            Polled::Over => self.finish(slot, node, ledger),
            Polled::Unseen(own) => self.finish_unseen(slot, node, own, ledger),
        }
    }

    /// Makes a task the current one, and takes out what it is polled by and what it owns.
    #[inline]
    fn begin_step(&self, slot: Slot, node: &Node) -> (Own, Option<Arc<Ledger>>) {
        self.current.set(slot);
        self.budget.set(BUDGET);
        if node.rare.is_full() {
            self.check_end_by(node);
            self.replace_deadline(born_with(node));
        }
        node.sched.set(Sched::Running);
        node.wait.clear();
        self.current_cancelled.set(node.cancel.is_full());
        let own = node.own.take().expect("a task in the queue is neither running nor over");
        self.current_waker.set(own.identity());
        (own, node.ledger.take())
    }

    /// No task is the current one any more.
    #[inline]
    pub(super) fn end_step(&self) {
        self.current.set(NONE);
        self.current_waker.set(Identity::NOBODY);
        if self.deadline().is_some() {
            self.replace_deadline(None);
        }
    }

    /// Looks whether a task that has just run did wrong with what it owns.
    fn look_into(&self, slot: Slot, ledger: &Ledger) {
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
    fn pause(&self, slot: Slot, node: &Node, own: Own, ledger: Option<Arc<Ledger>>) {
        node.own.fill(own);
        if let Some(ledger) = ledger {
            node.ledger.fill(ledger);
        }
        // It may also have been told to end during this very poll, in its own name.
        let told = node.cancel.is_full() && !self.current_cancelled.get();
        let woken = told || node.sched.get() == Sched::Woken;
        node.sched.set(if woken { Sched::Queued } else { Sched::Idle });
        if node.rare.is_full() {
            self.set_end_timer(slot, node);
        }
        if woken {
            self.make_ready(slot);
        }
        self.end_step();
    }

    /// Drops the outcome of a task that is over and that nobody asks about. If something was in it
    /// that has to be finalized, the task has a further step to do, for which it comes back.
    #[cold]
    fn finish_unseen(&self, slot: Slot, node: &Node, mut own: Own, ledger: Option<Arc<Ledger>>) {
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
            own.end_unseen();
            return self.finish(slot, node, ledger);
        };
        left.set_owner(label_of(node));
        node.stage.set(Stage::Settling);
        self.wake(slot);
        self.pause(slot, node, own, ledger);
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
        for sleeper in expired.drain(..) {
            match sleeper {
                Sleeper::Task(key) => self.wake_known(key),
                Sleeper::Other(waker) => panics::wake(waker),
            }
        }
        self.expired.replace(expired);
    }

    fn wait(&self) {
        let busy = !self.ready.borrow().is_empty() || self.soon_busy() || !self.port().lie_down();
        let waited = if busy {
            self.driver.park(ParkTimeout::Immediate)
        } else {
            let deadline = self.timers.borrow().next_deadline();
            let waited =
                self.driver.park(deadline.map_or(ParkTimeout::Forever, ParkTimeout::Deadline));
            self.port().get_up();
            waited
        };
        if let Err(error) = waited {
            self.wait_failed(error);
        }
    }

    /// Whether a message comes so soon that it does not pay to sleep.
    fn soon_busy(&self) -> bool {
        self.world.is_none() && self.spin.sees(|| !self.port().is_empty())
    }

    /// Reads the messages that are there, but none that comes meanwhile: a flood from another
    /// domain must not keep the tasks of this one from running.
    fn receive(&self) {
        if self.port().is_empty() {
            return;
        }
        let mut more = self.letters.take();
        if let Some(first) = self.port().take(&mut more) {
            self.handle(first);
        }
        for message in more.drain(..) {
            self.handle(message);
        }
        self.letters.replace(more);
    }

    fn handle(&self, message: Message) {
        self.witness(|_| Happening::Received(message.kind()));
        match message {
            // fault: lost-wake-up
            Message::Wake(woken) => self.wake(woken.hear()),
            Message::Start(birth) => self.start(birth),
            Message::Cancel { id, cancelled } => {
                let slot = self.called.borrow().get(&id).copied();
                if let Some(slot) = slot {
                    self.request_cancel(slot, &cancelled);
                }
            }
            Message::Ask { id, cancelled } => {
                let slot = self.called.borrow().get(&id).copied();
                if let Some(slot) = slot {
                    self.tell_asked(slot, &cancelled);
                }
            }
            Message::Ended { proxy, bequest } => {
                let parent = self.tree.get(proxy).map(|node| node.parent.get());
                if let Some(Parent::Here(parent)) = parent {
                    // fault: remote-transfer-lost
                    self.deliver(parent, bequest);
                    self.end_entry(proxy.slot);
                }
            }
            Message::Dropped { entry, abandoned } => self.promise_dropped(entry, abandoned),
            Message::LetGo { entry } => self.waive(entry),
            Message::TimerDropped(timer) => {
                let sleeper = self.timers.borrow_mut().remove(timer);
                panics::ignore(|| drop(sleeper));
            }
            Message::CollectorDropped { collector } => {
                let collector = self.collectors.borrow_mut().try_remove(collector as usize);
                panics::ignore(|| drop(collector));
            }
            Message::CancelRoot(cancelled) => {
                if let Some(root) = self.root() {
                    self.request_cancel(root, &cancelled);
                }
            }
            Message::Signal(signal) => self.handle_signal(signal),
            Message::Stop => self.stop(),
        }
    }

    /// A task that another domain called begins its life here.
    fn start(&self, birth: Birth) {
        let Birth { newborn, id, spawned_at, parent_domain: domain, proxy, dowry } = birth;
        let parent = Parent::There { domain, proxy };
        let own = newborn.arrive(self.port());
        let (entry, node) = self.begin_life(id, spawned_at, parent, own);
        if let Some(dowry) = dowry {
            node.endow(*dowry);
        }
        self.called.borrow_mut().insert(id, entry.slot);
    }

    /// The root's slot, as long as the root is there: it was the first to enter.
    fn root(&self) -> Option<Slot> {
        let key = crate::task::Key { slot: 0, id: crate::task::TaskId::ROOT };
        self.tree.get(key).map(|_| key.slot)
    }

    /// Starts the program's handler of a signal as a child of the root (R12).
    fn handle_signal(&self, signal: crate::signal::Signal) {
        let living = |root: &Slot| self.tree[*root].stage.get() == Stage::Living;
        let Some(root) = self.root().filter(living) else {
            return;
        };
        let Some((handler, about)) = self.run.signals.handler(signal) else {
            return;
        };
        spawn_service(self, root, about, move || handler());
    }
}
