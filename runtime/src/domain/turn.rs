//! One turn of a domain: messages, timers, a quantum of polls, one waiting system call.

use std::sync::Arc;

use async_task::Runnable;
use matou_ownership::Ledger;
#[cfg(planted)]
use matou_ownership::planted::{Bug, is_planted};

use super::kin::label_of;
use super::{BUDGET, Birth, Domain, Message};
use crate::driver::Until;
use crate::task::address::Address;
use crate::task::{NONE, Node, Parent, Slot, Stage, panics, spawn_service};
use crate::test::Happening;

impl Domain {
    /// Does one round of work and then waits: not at all if tasks are ready, otherwise until
    /// something happens.
    pub(crate) fn turn(&self) {
        let _entered = self.enter();
        self.receive();
        self.fire_timers();
        self.run_quantum();
        if !self.stopped.get() {
            self.wait();
        }
    }

    fn run_quantum(&self) {
        for _ in 0..self.quantum() {
            let Some(runnable) = self.ready.borrow_mut().pop(&self.random) else {
                return;
            };
            self.poll_task(runnable);
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
    fn poll_task(&self, runnable: Runnable<Address>) {
        let slot = runnable.metadata().slot();
        self.witness(|domain| Happening::Polled(domain.tree.borrow()[slot].id));
        let ledger = self.begin_step(slot);
        let owned_before = ledger.is_some();
        let entered = matou_ownership::enter(ledger);
        // A panic cannot come out: every call of user code inside is caught.
        runnable.run();
        let ledger = entered.leave();
        if let Some(ledger) = &ledger {
            if !owned_before {
                ledger.set_label(self.with_current(|node| label_of(node)));
            }
            if self.raise_fault(Some(ledger)) {
                self.wake_again(slot);
            }
        }
        self.current.set(NONE);
        if self.deadline().is_some() {
            self.replace_deadline(None);
        }
        let ended = {
            let mut tree = self.tree.borrow_mut();
            let node = &mut tree[slot];
            node.ledger = ledger;
            node.ended()
        };
        if ended {
            self.finish(slot);
        }
    }

    /// Makes a task the current one, and takes out what it owns.
    fn begin_step(&self, slot: Slot) -> Option<Arc<Ledger>> {
        let rare = self.tree.borrow()[slot].rare.is_some();
        if rare {
            self.check_end_by(slot);
            self.replace_deadline(self.born_with(slot));
        }
        self.current.set(slot);
        self.budget.set(BUDGET);
        let mut tree = self.tree.borrow_mut();
        let node = &mut tree[slot];
        node.wait = crate::wait::Wait::NOTHING;
        self.current_cancelled.set(node.cancel.is_some());
        node.ledger.take()
    }

    /// Lets a task that was found guilty after its poll notice that it is to end.
    fn wake_again(&self, slot: Slot) {
        let waker = self.tree.borrow()[slot].waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Fires the timers that are due, all of them, but none that is set meanwhile.
    fn fire_timers(&self) {
        let Some(first) = self.port().timers().next_deadline() else {
            return;
        };
        // The clock may be a user's driver: it is not asked under the lock.
        let now = self.now();
        if first > now {
            return;
        }
        let mut expired = self.expired.take();
        self.port().timers().expire(now, &mut expired);
        self.witness(|_| Happening::TimersFired(expired.len()));
        for waker in expired.drain(..) {
            panics::wake(waker);
        }
        self.expired.replace(expired);
    }

    fn wait(&self) {
        let busy = !self.ready.borrow().is_empty() || self.soon_busy() || !self.port().lie_down();
        let waited = if busy {
            self.driver.wait(Until::Now)
        } else {
            let deadline = self.port().timers().next_deadline();
            let waited = self.driver.wait(deadline.map_or(Until::Forever, Until::Deadline));
            self.port().get_up();
            waited
        };
        if let Err(error) = waited {
            self.wait_failed(error);
        }
    }

    /// Whether a message comes so soon that it does not pay to sleep.
    fn soon_busy(&self) -> bool {
        self.world.is_none() && self.spin.sees(|| self.port().pending() > 0)
    }

    /// Reads the messages that are there, but none that comes meanwhile: a flood from another
    /// domain must not keep the tasks of this one from running.
    fn receive(&self) {
        for _ in 0..self.port().pending() {
            let Some(message) = self.port().receive() else {
                return;
            };
            self.handle(message);
        }
    }

    fn handle(&self, message: Message) {
        self.witness(|_| Happening::Received(message.kind()));
        match message {
            #[cfg(planted)]
            Message::Wake(runnable) if is_planted(Bug::LostWakeUp) && self.is_busy() => {
                std::mem::forget(runnable);
            }
            Message::Wake(runnable) => self.make_ready(runnable),
            Message::Start { runnable, birth } => self.start(runnable, *birth),
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
                let parent = self.tree.borrow().get(proxy).map(|node| node.parent);
                if let Some(Parent::Here(parent)) = parent {
                    self.deliver(parent, bequest);
                    self.end_entry(proxy.slot);
                }
            }
            Message::Dropped { entry, abandoned } => self.promise_dropped(entry, abandoned),
            Message::LetGo { entry } => self.let_go(entry),
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

    #[cfg(planted)]
    fn is_busy(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// A task that another domain called begins its life here.
    fn start(&self, runnable: Runnable<Address>, birth: Birth) {
        let parent = Parent::There { domain: birth.parent_domain, proxy: birth.proxy };
        let mut node = Node::new(birth.id, birth.about, parent);
        node.ledger = birth.ledger;
        node.inherit = birth.inherit;
        node.rare = birth.rare;
        let slot = self.tree.borrow_mut().insert(node);
        self.called.borrow_mut().insert(birth.id, slot);
        runnable.metadata().settle_at(slot);
        self.make_ready(runnable);
    }

    /// The root's slot, as long as the root is there: it was the first to enter.
    fn root(&self) -> Option<Slot> {
        let tree = self.tree.borrow();
        let key = crate::task::Key { slot: 0, id: crate::task::TaskId::ROOT };
        tree.get(key).map(|_| key.slot)
    }

    /// Starts the program's handler of a signal as a child of the root (R12).
    fn handle_signal(&self, signal: crate::signal::Signal) {
        let living = |root: &Slot| self.tree.borrow()[*root].stage == Stage::Living;
        let Some(root) = self.root().filter(living) else {
            return;
        };
        let Some((handler, about)) = self.run.signals.handler(signal) else {
            return;
        };
        spawn_service(self, root, about, move || handler());
    }
}
