//! Children that run blocking code on a thread of the pool.

use std::future::Ready;
use std::io;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::Task;
use super::simulated_job::SimulatedJob;
use super::task_future::{IntoOutcome, MayFail, NeverFails, TaskFuture, failed, panicked};
use crate::blocking::{PooledJob, Stop};
use crate::diagnostic::Finding;
use crate::domain::{Domain, Timer, assert_parent};
use crate::join::Promise;
use crate::outcome::{Outcome, Panic};
use crate::task::raw::{OutcomeTo, TaskBody, allocate};
use crate::task::{BlockedOn, Cause, Slot, WaitSite, WaitTarget};

/// Runs blocking code as a child of the current task: `job` is called on a thread that runs no
/// domain.
///
/// For calls of the system that may take long, of libraries that are not asynchronous, and for long
/// computations. The threads belong to the run: they are started when they are needed, up to
/// [`Builder::blocking_threads`](crate::Builder::blocking_threads), and end when they are idle.
/// Further jobs wait in a queue.
///
/// A job is a child like any other, with a parent, a line, an outcome and a panic. But it cannot be
/// cut off. Cancelling the child sets the [`Stop`] flag and waits for the job. A job that no thread
/// has begun is dropped. A job that ends after the request has the outcome that it returned. A job
/// that goes on for longer than [`Builder::grace`](crate::Builder::grace) after the request is left
/// behind: its outcome is [`TaskError::Unfinished`](crate::TaskError::Unfinished), and it is the
/// finding [`JobUnfinished`](crate::Finding::JobUnfinished). This is the one
/// exception of rule R3: the thread goes on until the job returns or the process ends.
///
/// A job is outside of the run: [`spawn`](crate::spawn()), [`sleep`](crate::sleep) and the like
/// panic in it. It can send to queues and channels, and wake tasks.
///
/// In a [simulated](crate::test) run the job begins at a drawn moment, and the run stands still
/// while it runs, except where it looks at its stop flag.
///
/// # Panics
///
/// Outside a task.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, blocking, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let sum = blocking(|stop| (1..=1_000_u64).take_while(|_| !stop.is_set()).sum::<u64>());
///     assert_eq!(sum.await?, 500_500);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "spawn_blocking")]
#[doc(alias = "unblock")]
#[doc(alias = "block_in_place")]
#[doc(alias = "asyncify")]
#[track_caller]
pub fn blocking<F, T>(job: F) -> Promise<T>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
{
    Task::new().blocking(job)
}

/// Runs blocking code that may fail as a child of the current task; see [`blocking`].
///
/// An error that a job returns after its task was cancelled is received by
/// [`Promise::cancel`](crate::Promise::cancel) only; otherwise the task counts as cancelled.
///
/// # Panics
///
/// Outside a task.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, TaskError, run, try_blocking};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let text = try_blocking(|_| std::fs::read_to_string("/no/such/file")).await;
///     assert!(matches!(text, Err(TaskError::Failed { .. })));
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn try_blocking<F, T, E>(job: F) -> Promise<T, E>
where
    F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    Task::new().try_blocking(job)
}

impl Task {
    /// Runs blocking code as a child. See [`blocking`](crate::blocking()).
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn blocking<F, T>(self, job: F) -> Promise<T>
    where
        F: FnOnce(Stop) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_job::<F, T, NeverFails>(job)
    }

    /// Runs blocking code that may fail as a child. See [`try_blocking`](crate::try_blocking).
    ///
    /// # Panics
    ///
    /// Outside a task.
    #[track_caller]
    pub fn try_blocking<F, T, E>(self, job: F) -> Promise<T, E>
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.spawn_job::<F, Result<T, E>, MayFail>(job)
    }

    #[track_caller]
    fn spawn_job<F, T, K>(self, job: F) -> Promise<K::Value, K::Error>
    where
        F: FnOnce(Stop) -> T + Send + 'static,
        T: Send + 'static,
        K: IntoOutcome<T> + 'static,
    {
        let parent = Domain::with("`blocking`", Domain::spawn_parent);
        assert_parent(parent);
        Domain::with("`blocking`", |domain| {
            let promise = JobTask::<F, T, K>::spawn_under(self, domain, parent, job);
            if !domain.may_start_children(parent) {
                domain.refuse_child(parent, promise.child().entry.slot);
            }
            promise
        })
    }
}

/// The body of a task that waits for a job.
pub(super) struct JobTask<F, T, K>
where
    K: IntoOutcome<T>,
{
    /// `None` once the job has ended or was left behind.
    waiting: Option<Waiting<F, T>>,
    /// The steps after that, which are those of any task.
    end: TaskFuture<fn() -> Ready<T>, Ready<T>, K>,
}

/// A job that has not ended.
struct Waiting<F, T> {
    job: Job<F, T>,
    stop: Stop,
    /// The time that is left to the job; set when the task is cancelled.
    grace: Option<Timer>,
    /// The line that spawned the task.
    at: &'static Location<'static>,
}

enum Job<F, T> {
    /// The task was not polled yet.
    New(F),
    Pooled(PooledJob<F, T>),
    Simulated(SimulatedJob<F, T>),
    /// No thread could be started, or the job was taken.
    Gone,
}

/// How a job ended.
pub(super) enum JobEnd<T> {
    Returned(Result<T, Panic>),
    /// It had not begun when the task was cancelled.
    Withdrawn,
    LeftBehind,
}

impl<F, T, K> JobTask<F, T, K>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
    K: IntoOutcome<T>,
{
    fn new(job: F, at: &'static Location<'static>) -> Self {
        let waiting = Waiting { job: Job::New(job), stop: Stop::new(), grace: None, at };
        JobTask { waiting: Some(waiting), end: TaskFuture::finishing(None) }
    }

    /// Spawns the task of a job as a child of the task at `parent`.
    pub(super) fn spawn_under(
        task: Task,
        domain: &Domain,
        parent: Slot,
        job: F,
    ) -> Promise<K::Value, K::Error>
    where
        K: 'static,
    {
        let (id, at) = (domain.next_task_id(), task.line());
        let (owner, outcome) = allocate(Arc::clone(domain.remote()), || Self::new(job, at));
        Promise::new(outcome, task.insert(domain, id, parent, owner))
    }

    fn outcome(domain: &Domain, end: JobEnd<T>) -> Outcome<K::Value, K::Error> {
        match end {
            JobEnd::Returned(Ok(output)) => {
                let outcome = K::into_outcome(output).map_err(failed);
                // An error because of the request is no failure that a task should have seen.
                // fault: stopped-job-fails
                if outcome.is_err() && domain.current_cancelled() && !domain.is_awaited_by_cancel()
                {
                    return match Panic::catch(|| drop(outcome)) {
                        Ok(()) => domain.cancelled_outcome(),
                        Err(panic) => Err(panicked(panic)),
                    };
                }
                outcome
            }
            JobEnd::Returned(Err(panic)) => Err(panicked(panic)),
            JobEnd::Withdrawn => domain.cancelled_outcome(),
            JobEnd::LeftBehind => {
                let (task, grace) = (domain.current_info(), domain.run.config.grace);
                domain.report_finding(Finding::JobUnfinished { task, grace });
                domain.unfinished_outcome()
            }
        }
    }
}

impl<F, T> Waiting<F, T>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
{
    /// Starts the job, asks it to stop if the task is cancelled, and waits for its end.
    fn poll(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Poll<JobEnd<T>> {
        let cancelled = domain.current_cancelled();
        if matches!(self.job, Job::New(_))
            && !cancelled
            && let Err(error) = self.start(domain)
        {
            let text = format!("no thread could be started for a blocking job: {error}");
            return Poll::Ready(JobEnd::Returned(Err(Panic::from_message(text))));
        }
        if cancelled && self.grace.is_none() {
            self.stop.set();
            // fault: job-waits-forever
            self.grace = Some(Timer::after(domain, domain.run.config.grace));
            if let Some(end) = self.withdraw(domain) {
                return Poll::Ready(end);
            }
        }
        let polled = match &mut self.job {
            Job::Pooled(job) => job.poll(cx),
            Job::Simulated(job) => job.poll(domain, cx),
            Job::New(_) | Job::Gone => unreachable!("the job was started"),
        };
        if let Poll::Ready(result) = polled {
            return Poll::Ready(JobEnd::Returned(result));
        }
        if let Some(grace) = &mut self.grace
            && grace.poll(domain, cx).is_ready()
            && self.leave_behind()
        {
            return Poll::Ready(JobEnd::LeftBehind);
        }
        let site = WaitSite::new("a blocking job", self.at);
        domain.set_blocked_on(BlockedOn::new(site, WaitTarget::Unknown));
        Poll::Pending
    }

    fn start(&mut self, domain: &Domain) -> io::Result<()> {
        let Job::New(job) = mem::replace(&mut self.job, Job::Gone) else { return Ok(()) };
        let stop = self.stop.clone();
        self.job = match domain.simulation() {
            Some(_) => Job::Simulated(SimulatedJob::new(domain, stop, job)),
            None => Job::Pooled(PooledJob::start(domain.run.pool(), stop, job)?),
        };
        Ok(())
    }

    /// Takes the job back if it has not begun, and drops it: on its own domain, as any body.
    fn withdraw(&mut self, domain: &Domain) -> Option<JobEnd<T>> {
        let job = match &mut self.job {
            Job::Pooled(job) => job.withdraw(),
            Job::Simulated(job) => job.withdraw(domain),
            Job::New(_) => match mem::replace(&mut self.job, Job::Gone) {
                Job::New(job) => Some(job),
                _ => None,
            },
            Job::Gone => None,
        };
        let job = job?;
        Some(match Panic::catch(|| drop(job)) {
            Ok(()) => JobEnd::Withdrawn,
            Err(panic) => JobEnd::Returned(Err(panic)),
        })
    }

    /// Leaves the job behind, unless it has just ended.
    fn leave_behind(&self) -> bool {
        match &self.job {
            Job::Pooled(job) => job.leave_behind(),
            Job::New(_) | Job::Simulated(_) | Job::Gone => true,
        }
    }
}

impl<F, T, K> TaskBody<Domain> for JobTask<F, T, K>
where
    F: FnOnce(Stop) -> T + Send + 'static,
    T: Send + 'static,
    K: IntoOutcome<T>,
{
    type Output = Outcome<K::Value, K::Error>;

    fn poll(self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo> {
        let this = self.get_mut();
        if let Some(waiting) = &mut this.waiting {
            let end = ready!(waiting.poll(domain, cx));
            // Before the task completes, because then its body counts as empty.
            this.waiting = None;
            this.end = TaskFuture::finishing(Some(Self::outcome(domain, end)));
        }
        Pin::new(&mut this.end).poll(domain, cx)
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Output> {
        Pin::new(&mut self.get_mut().end).take()
    }

    fn discard(self: Pin<&mut Self>) -> Vec<Cause> {
        Pin::new(&mut self.get_mut().end).discard()
    }
}

/// Nothing in it is pinned.
impl<F, T, K> Unpin for JobTask<F, T, K> where K: IntoOutcome<T> {}
