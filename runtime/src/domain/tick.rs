//! One iteration of a domain's loop: messages, timers, polls of ready tasks, and the driver.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use matou_ownership::Ledger;

use super::completion::owner_info_of;
use super::forgotten::LastPoll;
use super::scheduler::PollKind;
use super::shield::inherited_deadline;
use super::{Domain, Node, OwnerRef, TimerTarget, driver_panicked};
use crate::diagnostic::Finding;
use crate::driver::ParkTimeout;
use crate::outcome::Panic;
use crate::panics;
use crate::simulation::EventKind;
use crate::task::raw::PollResult;
use crate::task::{ColdState, NIL, RunState, Slot, Stage};

/// How late a timer must be for the driver to be polled before it fires. The driver was polled just
/// before, so a timer is later only if something has kept this thread from running.
const LATE: Duration = Duration::from_millis(1);

/// The steps of a tick.
impl Domain {
    /// Runs one iteration and then waits for events: not at all if tasks are ready, otherwise until
    /// something happens.
    pub(crate) fn tick(&self) {
        let _entered = self.enter();
        // fault: tasks-starve-messages
        self.drain_mailbox();
        self.fire_timers();
        self.call_tick_hooks();
        self.flush_diagnostics();
        self.run_ready();
        self.remote().current_poll().end();
        self.publish_task_count();
        if !self.stopped.get() {
            self.park();
        }
    }

    /// Fires all timers that are due, but none that is set during the call.
    fn fire_timers(&self) {
        let Some(first) = self.timers.next_deadline() else {
            return;
        };
        // The clock may be a user's driver, so it is read while the timers are not borrowed.
        let mut now = self.tick_time();
        if first > now {
            return;
        }
        // fault: late-timers-first
        if now - first >= LATE {
            // The process was stopped, or its wait was interrupted. Events that arrived in the
            // meantime are looked at before any time limit elapses.
            self.park_immediately();
            now = self.read_clock();
        }
        let record = |count| self.record_event(|_| EventKind::TimersFired(count));
        self.timers.expire(now, record, |target| match target {
            TimerTarget::Task(key) => self.wake_key(key),
            TimerTarget::Waker(waker) => panics::wake(waker),
            TimerTarget::Watch(domain) => self.end_watch(domain),
        });
    }

    /// Polls ready tasks: at most a quantum of them, and fewer if they are slow.
    fn run_ready(&self) {
        self.scheduler.begin_tick();
        let mut slice = self.begin_slice();
        let (mut polls, mut last) = (0, NIL);
        // fault: tasks-starve-events
        for _ in 0..self.quantum() {
            let Some(next) = self.scheduler.pop(&self.random) else {
                return self.end_slice(&mut slice, polls, last);
            };
            self.poll_task(next.slot);
            if self.is_forked() {
                // The task has forked the process, and the other tasks belong to the parent.
                return;
            }
            polls += 1;
            last = next.slot;
            if slice.is_due(polls, next.yielded) && self.is_preempted(&mut slice, polls, next) {
                break;
            }
        }
        // Tasks that yield come after all others, but each tick polls at least one of them.
        if let Some(slot) = self.scheduler.pop_starved_yielded() {
            self.poll_task(slot);
            (polls, last) = (polls + 1, slot);
        }
        self.end_slice(&mut slice, polls, last);
    }

    /// Returns how many polls this tick may make. A simulated run draws the number, mostly a small
    /// one, so that the domains alternate often.
    fn quantum(&self) -> usize {
        let quantum = self.run.config.quantum;
        match self.simulation {
            None => quantum,
            Some(_) => quantum.min(1 + self.random.below(4)),
        }
    }

    /// Parks in the driver: not at all if there is work, otherwise until a deadline, an event, or a
    /// message.
    fn park(&self) {
        if self.is_forked() {
            // The driver, the other domains and all sockets are the parent's.
            return self.stop();
        }
        let is_busy = self.scheduler.has_ready()
            || self.spin_for_messages()
            // From here on senders unpark this domain; see `parker`.
            || !self.remote().prepare_park();
        let parked = if is_busy {
            self.park_driver(ParkTimeout::Immediate)
        } else {
            self.close_window();
            let deadline = self.timers.next_deadline();
            let timeout = deadline.map_or(ParkTimeout::Forever, ParkTimeout::Deadline);
            let parked = self.park_driver(timeout);
            self.remote().end_park();
            self.read_clock();
            parked
        };
        if let Err(error) = parked {
            self.driver_failed(error);
        }
    }

    /// Waits in the driver, which may be a user's. A panic there is an error of the driver.
    fn park_driver(&self, timeout: ParkTimeout) -> io::Result<()> {
        // fault: driver-panic-unwinds
        Panic::catch(|| self.driver.park(timeout))
            .unwrap_or_else(|panic| Err(driver_panicked(panic)))
    }

    /// Looks for events without waiting.
    #[cold]
    fn park_immediately(&self) {
        if let Err(error) = self.park_driver(ParkTimeout::Immediate) {
            self.driver_failed(error);
        }
    }

    fn spin_for_messages(&self) -> bool {
        self.simulation.is_none() && self.mailbox.spin()
    }
}

/// The steps of a poll.
impl Domain {
    /// Polls one task. All user code of tasks runs in here.
    fn poll_task(&self, slot: Slot) {
        let node = &self.tree[slot];
        self.record_event(|_| EventKind::TaskPolled(node.id.get()));
        let (owner, ledger) = self.begin_poll(slot, node);
        let had_ledger = ledger.is_some();
        let entered = matou_ownership::enter(ledger);
        // This does not unwind: each call of user code inside catches panics.
        let result = owner.poll(self);
        let ledger = entered.leave();
        // The ledger is examined only if that can matter: it would cost each poll a cache miss.
        if let Some(ledger) = &ledger
            && (!had_ledger || matou_ownership::take_ledger_flag())
        {
            self.check_ledger(slot, ledger);
        }
        match result {
            PollResult::Pending(owner) => self.suspend(slot, node, owner, ledger),
            PollResult::Complete => self.finish_task(slot, node, ledger),
            PollResult::Detached(owner) => self.finish_detached(slot, node, owner, ledger),
        }
        // fault: report-during-poll
        self.flush_diagnostics();
    }

    /// Makes a task the current one. Takes the reference by which it is polled and its ledger out
    /// of its node.
    #[inline]
    fn begin_poll(&self, slot: Slot, node: &Node) -> (OwnerRef, Option<Arc<Ledger>>) {
        let mut kind = PollKind::Usual;
        if node.cold.is_some() {
            kind = self.begin_poll_with_cold_state(node);
        }
        self.remote().current_poll().begin(node.id.get(), node.spawned_at.get());
        node.run_state.set(RunState::Polling);
        node.blocked_on.clear();
        let owner =
            node.owner_ref.take().expect("a task in the queue is neither polled nor complete");
        self.task_count.begin_poll();
        if node.cancel.is_some() {
            kind = PollKind::Cancelled;
        }
        let task = self.keys.key(slot, node.id.get());
        self.scheduler.begin_poll(slot, task, owner.waker_id(), kind);
        (owner, node.ledger.take())
    }

    #[inline]
    fn begin_poll_with_cold_state(&self, node: &Node) -> PollKind {
        let is_special = node.cold.update(|cold| cold.as_mut().is_some_and(|it| it.begin_poll()));
        if is_special { self.begin_special_poll(node) } else { PollKind::Usual }
    }

    /// Begins the poll of a task that has a deadline or may wait in a circle.
    #[cold]
    fn begin_special_poll(&self, node: &Node) -> PollKind {
        self.check_cancel_deadline(node);
        self.cancel.replace_deadline(inherited_deadline(node));
        if self.begin_probe(node) { PollKind::Probe } else { PollKind::Usual }
    }

    /// No task is the current one any more.
    #[inline]
    pub(super) fn end_poll(&self) {
        self.scheduler.end_poll();
        if self.cancel.deadline().is_some() {
            self.cancel.replace_deadline(None);
        }
    }

    /// Examines the ledger of a task that was just polled.
    fn check_ledger(&self, slot: Slot, ledger: &Ledger) {
        if ledger.owner().is_none() {
            ledger.set_owner(owner_info_of(self.current_node()));
        }
        self.serve_finalizers(slot, ledger);
        if self.raise_not_owner(ledger.take_not_owner()) {
            // The task is polled once more, to notice that the violation has cancelled it.
            self.wake(slot);
        }
    }

    /// Puts a pending task back into its node, and into the run queue if it was woken during the
    /// poll.
    // Always inlined: a call would save and restore nearly all registers, in each poll.
    #[inline(always)]
    fn suspend(&self, slot: Slot, node: &Node, owner: OwnerRef, ledger: Option<Arc<Ledger>>) {
        node.owner_ref.put(owner);
        if let Some(ledger) = ledger {
            node.ledger.put(ledger);
        }
        self.report_forgotten(LastPoll::No);
        // A task that was cancelled during this poll, possibly by itself, must notice it.
        let newly_cancelled = node.cancel.is_some() && !self.current_cancelled();
        let is_woken = newly_cancelled || node.run_state.get() == RunState::Woken;
        node.run_state.set(if is_woken { RunState::Queued } else { RunState::Idle });
        if node.cold.is_some() {
            return self.suspend_with_cold_state(slot, node, is_woken);
        }
        if is_woken {
            // While it is the current task: the queue treats a task that woke itself as yielding.
            self.scheduler.enqueue(slot);
        }
        self.end_poll();
    }

    /// The last steps of [`suspend`](Domain::suspend) for a task with cold state.
    fn suspend_with_cold_state(&self, slot: Slot, node: &Node, is_woken: bool) {
        let end = |cold: Option<&Box<ColdState>>| cold.map(|cold| cold.end_poll());
        let (needs_timer, offers_seen) = node.cold.peek(end).unwrap_or_default();
        if needs_timer {
            self.arm_cancel_timer(slot, node);
        }
        if self.scheduler.poll_kind() == PollKind::Probe {
            self.end_probe(slot, node);
        }
        if is_woken {
            // As above.
            self.scheduler.enqueue(slot);
        }
        self.end_poll();
        if offers_seen > 0 {
            // No task is the current one: declining wakes other tasks.
            self.decline_unused_offers(slot, node, offers_seen);
        }
    }

    /// Drops the outcome of a task for which no promise waits. If a resource in it has to be
    /// finalized, the task is polled once more for that.
    #[cold]
    fn finish_detached(
        &self,
        slot: Slot,
        node: &Node,
        mut owner: OwnerRef,
        ledger: Option<Arc<Ledger>>,
    ) {
        // The finalized ledger is closed. A new one takes over the resources that the parent
        // receives: some of their handles may be in the outcome.
        let ledger = ledger.map(|finalized| {
            let ledger = Ledger::new();
            ledger.receive(finalized.take_transferred());
            ledger
        });
        // The destructor of the outcome runs in a task that is ending.
        node.stage.set(Stage::Finalizing);
        let entered = matou_ownership::enter(ledger);
        let causes = owner.drop_outcome();
        // The drop is code of this task, so its violations are reported, although no parent
        // receives them.
        // fault: outcome-drop-unchecked
        self.raise_recorded_not_owner();
        let ledger = entered.leave();
        if let Some(ledger) = &ledger {
            ledger.leave_to_parent();
        }
        if !causes.is_empty() {
            self.report_finding(Finding::FailureUnseen { task: self.current_info(), causes });
        }
        // fault: outcome-finalizers-lost
        let unfinalized = ledger.as_ref().filter(|ledger| !ledger.is_empty());
        if unfinalized.is_none() && node.live_children.get() == 0 {
            owner.complete_detached();
            return self.finish_task(slot, node, ledger);
        }
        if let Some(unfinalized) = unfinalized {
            unfinalized.set_owner(owner_info_of(node));
        }
        self.wake(slot);
        self.suspend(slot, node, owner, ledger);
    }
}
