//! The steps that wait for locks, queues and conditions.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use matou_runtime::{sleep, timeout, yield_now};
use matou_sync::futures::{Acquire, Lock};

use super::environment::{AcquisitionGuard, Held, HeldPermits, WaitGuard};
use super::interpreter::Interpreter;
use super::{Child, Then};
use crate::event::{Event, Target};

/// For how long a job waits for a queue after it has set the future aside.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(150);

impl Interpreter<'_> {
    pub(super) async fn hold_lock(&self, lock: usize, millis: u64) {
        let _held = self.acquire(lock, self.environment.lock(lock).lock()).await;
        sleep(Duration::from_millis(millis)).await;
    }

    /// Holds one lock while it waits for another one, or for the same.
    pub(super) async fn hold_both(&self, first: usize, second: usize, millis: u64) {
        let _held = self.acquire(first, self.environment.lock(first).lock()).await;
        sleep(Duration::from_millis(millis)).await;
        drop(self.acquire(second, self.environment.lock(second).lock()).await);
    }

    /// Holds a lock while it waits for a child.
    pub(super) async fn hold_and_await(&mut self, lock: usize, child: &Child) {
        let (job, environment) = (self.job.id, self.environment);
        let locked = environment.lock(lock).lock().await;
        let held = Held::new(job, lock, environment, locked);
        let promise = self.spawn(child);
        self.record(Event::ChildAwaited { job, child: child.job.id });
        let outcome = promise.await;
        drop(held);
        self.joined(child.job.id, outcome);
    }

    pub(super) async fn push(&self, queue: usize, value: usize, millis: u64) {
        let push = self.push_to(queue, value, self.environment.queue(queue).push(value));
        let _ = timeout(Duration::from_millis(millis), push).await;
    }

    pub(super) async fn pop(&self, queue: usize, millis: u64) {
        let pop = self.pop_from(queue, self.environment.queue(queue).pop());
        let _ = timeout(Duration::from_millis(millis), pop).await;
    }

    /// Waits for a push. From here on it is polled whenever the job is.
    async fn push_to<F: Future>(&self, queue: usize, value: usize, push: F) {
        self.wait_for(Target::Slot(queue), push).await;
        self.record(Event::Pushed { job: self.job.id, queue, value });
    }

    /// Waits for a pop. From here on it is polled whenever the job is.
    async fn pop_from<F, E>(&self, queue: usize, pop: F)
    where
        F: Future<Output = Result<usize, E>>,
    {
        if let Ok(value) = self.wait_for(Target::Value(queue), pop).await {
            self.record(Event::Popped { job: self.job.id, queue, value });
        }
    }

    pub(super) async fn set_lock_aside(&self, lock: usize, polls: u32, millis: u64, then: Then) {
        let (job, target) = (self.job.id, Target::Lock(lock));
        let mut acquisition = self.environment.lock(lock).lock();
        if let Some(locked) = self.set_aside(target, &mut acquisition, polls, millis).await {
            return drop(Held::new(job, lock, self.environment, locked));
        }
        if then == Then::Again {
            self.hold_lock(lock, 0).await;
        }
        self.record(Event::SetAsideEnded { job, target });
        if then != Then::Drop {
            drop(self.acquire(lock, acquisition).await);
        }
    }

    pub(super) async fn set_push_aside(
        &self,
        (queue, value): (usize, usize),
        polls: u32,
        millis: u64,
        then: Then,
    ) {
        let (job, target) = (self.job.id, Target::Slot(queue));
        let mut push = self.environment.queue(queue).push(value);
        if self.set_aside(target, &mut push, polls, millis).await.is_some() {
            return self.record(Event::Pushed { job, queue, value });
        }
        self.record(Event::SetAsideEnded { job, target });
        if then != Then::Drop {
            let _ = timeout(QUEUE_TIMEOUT, self.push_to(queue, value, push)).await;
        }
    }

    pub(super) async fn set_pop_aside(&self, queue: usize, polls: u32, millis: u64, then: Then) {
        let (job, target) = (self.job.id, Target::Value(queue));
        let mut pop = self.environment.queue(queue).pop();
        if let Some(popped) = self.set_aside(target, &mut pop, polls, millis).await {
            let value = popped.expect("the queue is open");
            return self.record(Event::Popped { job, queue, value });
        }
        if then == Then::Again {
            self.pop(queue, millis).await;
        }
        self.record(Event::SetAsideEnded { job, target });
        if then != Then::Drop {
            let _ = timeout(QUEUE_TIMEOUT, self.pop_from(queue, pop)).await;
        }
    }

    pub(super) async fn try_hold_permits(&self, amount: usize, millis: u64, limit: u64) {
        let request = self.environment.semaphore().acquire_many(amount);
        let permits = self.acquire_permits(amount, request);
        if let Ok(_permits) = timeout(Duration::from_millis(limit), permits).await {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    pub(super) async fn set_request_aside(
        &self,
        amount: usize,
        polls: u32,
        millis: u64,
        then: Then,
    ) {
        let (job, target) = (self.job.id, Target::Permits(amount));
        let mut request = self.environment.semaphore().acquire_many(amount);
        if let Some(permits) = self.set_aside(target, &mut request, polls, millis).await {
            let permits = permits.expect("the semaphore is open");
            return drop(HeldPermits::new(job, permits, self.environment));
        }
        if then == Then::Again {
            self.try_hold_permits(1, 0, 100).await;
        }
        self.record(Event::SetAsideEnded { job, target });
        if then != Then::Drop {
            drop(self.acquire_permits(amount, request).await);
        }
    }

    /// Waits for a request for permits. From here on it is polled whenever the job is.
    async fn acquire_permits<'a>(&'a self, amount: usize, request: Acquire<'a>) -> HeldPermits<'a> {
        let permits = self.wait_for(Target::Permits(amount), request).await;
        let permits = permits.expect("the semaphore is open");
        HeldPermits::new(self.job.id, permits, self.environment)
    }

    /// Polls the future a few times, and then sleeps without polling it. The caller records the end
    /// of that time.
    pub(super) async fn set_aside<F: Future + Unpin>(
        &self,
        target: Target,
        future: &mut F,
        polls: u32,
        millis: u64,
    ) -> Option<F::Output> {
        for poll in 0..polls {
            if poll > 0 {
                yield_now().await;
            }
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await;
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
        }
        self.record(Event::SetAside { job: self.job.id, target });
        sleep(Duration::from_millis(millis)).await;
        None
    }

    /// Waits for an acquisition of a lock. From here on it is polled whenever the job is.
    async fn acquire<'a>(&'a self, lock: usize, acquisition: Lock<'a, ()>) -> Held<'a> {
        let locked = self.wait_for(Target::Lock(lock), acquisition).await;
        Held::new(self.job.id, lock, self.environment, locked)
    }

    /// Records that the job waits for a target. When it has it, the caller records that.
    pub(super) async fn wait_for<F: Future>(&self, target: Target, future: F) -> F::Output {
        let waiting = AcquisitionGuard::new(self.job.id, target, self.environment);
        let output = future.await;
        waiting.acquired();
        output
    }

    pub(super) async fn wait(&self, lock: usize, millis: u64) {
        let (job, environment) = (self.job.id, self.environment);
        let wait = async {
            let Held { guard, locked } = self.acquire(lock, environment.lock(lock).lock()).await;
            // Records the release before it happens, in the first poll of the wait. That poll
            // follows immediately, so no event can come between.
            drop(guard);
            let guard = WaitGuard::new(job, lock, environment);
            let locked = environment.condition(lock).wait(locked).await;
            guard.woken();
            let _held = Held::new(job, lock, environment, locked);
            yield_now().await;
        };
        if timeout(Duration::from_millis(millis), wait).await.is_err() {
            self.record(Event::WaitTimedOut { job, lock });
        }
    }
}
