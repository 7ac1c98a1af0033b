use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use super::{Pool, Stop, run_job};
use crate::locks::lock;
use crate::outcome::Panic;
use crate::panics;

/// A job that a thread of the pool runs. If the handle is dropped, a running job goes on.
pub(crate) struct PooledJob<F, T> {
    shared: Arc<Shared<F>>,
    pool: Arc<Pool>,
    task: async_task::Task<Delivery<T>>,
}

struct Shared<F> {
    state: Mutex<State<F>>,
    stop: Stop,
}

enum State<F> {
    Queued(F),
    Running(ThreadId),
    /// The job has ended, or will never begin.
    Ended,
}

/// The result of a job on its way to the domain; `None` if the job was withdrawn. A panic of the
/// drop goes no further: the result of a job that was left behind is dropped by any thread.
struct Delivery<T>(Option<Result<T, Panic>>);

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let result = self.0.take();
        panics::ignore(|| drop(result));
    }
}

impl<F, T> PooledJob<F, T>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
{
    /// Queues a job.
    ///
    /// # Errors
    ///
    /// If no thread can be started. The job is dropped.
    pub(crate) fn start(pool: &Arc<Pool>, stop: Stop, job: F) -> io::Result<PooledJob<F, T>> {
        let shared = Arc::new(Shared { state: Mutex::new(State::Queued(job)), stop });
        let running = Arc::clone(&shared);
        // It never waits, so it is scheduled once, by this function.
        let (runnable, task) = async_task::spawn(async move { running.run() }, drop);
        match pool.push(runnable) {
            Ok(()) => Ok(PooledJob { shared, pool: Arc::clone(pool), task }),
            Err(error) => {
                drop(shared.take_queued());
                Err(error)
            }
        }
    }

    /// Waits for the result.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Panic>> {
        Pin::new(&mut self.task)
            .poll(cx)
            .map(|mut delivery| delivery.0.take().expect("a job that was withdrawn is not polled"))
    }

    /// Takes the job back if no thread has begun it.
    pub(crate) fn withdraw(&self) -> Option<F> {
        self.shared.take_queued()
    }

    /// Leaves the job behind if it is running. Returns whether it is.
    pub(crate) fn leave_behind(&self) -> bool {
        // Under the lock under which the thread marks the end of the job.
        match *lock(&self.shared.state) {
            State::Running(thread) => self.pool.leave_behind(thread),
            State::Queued(_) | State::Ended => return false,
        }
        true
    }
}

impl<F> Shared<F> {
    fn take_queued(&self) -> Option<F> {
        let mut state = lock(&self.state);
        match mem::replace(&mut *state, State::Ended) {
            State::Queued(job) => Some(job),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Runs the job on the current thread, unless it was withdrawn.
    fn run<T>(&self) -> Delivery<T>
    where
        F: FnOnce(Stop) -> T,
    {
        let running = State::Running(thread::current().id());
        let mut state = lock(&self.state);
        let job = match mem::replace(&mut *state, running) {
            State::Queued(job) => job,
            other => {
                *state = other;
                return Delivery(None);
            }
        };
        drop(state);
        let stop = self.stop.clone();
        let result = run_job(move || job(stop));
        *lock(&self.state) = State::Ended;
        Delivery(Some(result))
    }
}
