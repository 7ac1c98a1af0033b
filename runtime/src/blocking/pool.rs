use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use async_task::Runnable;
use concurrent_queue::ConcurrentQueue;

/// How long a thread waits for a job before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// The threads of a run that run its blocking jobs. They are started when there are jobs for them.
pub(crate) struct Pool {
    queue: ConcurrentQueue<Runnable>,
    threads: Mutex<Threads>,
    /// Notified with `Threads::notified` or `Threads::closed`.
    job_added: Condvar,
    limit: usize,
    idle: Duration,
}

#[derive(Default)]
struct Threads {
    /// The threads that have not ended, and possibly a few that have.
    handles: HashMap<ThreadId, JoinHandle<()>>,
    live: usize,
    idle: usize,
    /// The idle threads that were notified and have not woken up yet.
    notified: usize,
    /// The threads whose current job was left behind.
    left_behind: HashSet<ThreadId>,
    /// The run is over.
    closed: bool,
}

impl Pool {
    /// Creates a pool of at most `limit` threads. None is started yet.
    pub(crate) fn new(limit: usize) -> Arc<Pool> {
        Pool::with_idle(limit, IDLE)
    }

    fn with_idle(limit: usize, idle: Duration) -> Arc<Pool> {
        Arc::new(Pool {
            queue: ConcurrentQueue::unbounded(),
            threads: Mutex::default(),
            job_added: Condvar::new(),
            limit,
            idle,
        })
    }

    // Not `locks::lock`, whose guard does not work with a condition variable. No foreign code runs
    // under this lock.
    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, and makes sure that a thread takes it.
    ///
    /// # Errors
    ///
    /// If there is no thread and none can be started. The job is not queued then.
    pub(super) fn push(self: &Arc<Self>, job: Runnable) -> io::Result<()> {
        let mut threads = self.lock();
        if threads.idle > threads.notified {
            threads.notified += 1;
            self.job_added.notify_one();
        } else if threads.live < self.limit {
            // A thread that cannot be started is no error while another one can take the job.
            match self.start_thread(&mut threads) {
                Err(error) if threads.live == 0 => return Err(error),
                _ => {}
            }
        }
        // Under the lock, under which a thread looks for the last time before it waits or ends.
        let pushed = self.queue.push(job);
        drop(threads);
        pushed.map_err(|_| io::Error::other("the queue of blocking jobs is closed"))
    }

    fn start_thread(self: &Arc<Self>, threads: &mut Threads) -> io::Result<()> {
        threads.handles.retain(|_, thread| !thread.is_finished());
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name("matou-blocking".to_owned());
        let thread = thread.spawn(move || pool.run_jobs())?;
        threads.live += 1;
        threads.handles.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// Runs jobs until there were none for a while, or the run is over.
    fn run_jobs(&self) {
        while let Some(job) = self.next_job() {
            // Panics of jobs are caught inside.
            job.run();
            self.lock().left_behind.remove(&thread::current().id());
        }
    }

    /// Waits for a job. Without one the current thread counts as ended.
    fn next_job(&self) -> Option<Runnable> {
        if let Ok(job) = self.queue.pop() {
            return Some(job);
        }
        let mut threads = self.lock();
        loop {
            if let Ok(job) = self.queue.pop() {
                return Some(job);
            }
            if threads.closed {
                break;
            }
            threads.idle += 1;
            let waited = self.job_added.wait_timeout(threads, self.idle);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            threads = guard;
            threads.idle -= 1;
            if threads.notified > 0 {
                threads.notified -= 1;
            } else if timeout.timed_out() {
                break;
            }
        }
        threads.live -= 1;
        None
    }

    /// Marks that the job of `thread` was left behind: the end of the run does not wait for it.
    pub(super) fn leave_behind(&self, thread: ThreadId) {
        self.lock().left_behind.insert(thread);
    }

    /// Ends the threads, except those whose job was left behind, and waits for them. The tasks of
    /// the run have completed.
    pub(crate) fn close(&self) {
        let mut threads = self.lock();
        // fault: pool-outlives-run
        threads.closed = true;
        let left_behind = std::mem::take(&mut threads.left_behind);
        let handles = std::mem::take(&mut threads.handles);
        drop(threads);
        self.job_added.notify_all();
        for (id, handle) in handles {
            if !left_behind.contains(&id) {
                // It does not panic: panics of jobs are caught.
                let _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Queues a job that runs `f`.
    fn push(pool: &Arc<Pool>, f: impl FnOnce() + Send + 'static) {
        let (runnable, task) = async_task::spawn(async move { f() }, drop);
        pool.push(runnable).unwrap();
        task.detach();
    }

    #[test]
    fn idle_threads_end_and_new_ones_start() {
        let pool = Pool::with_idle(4, Duration::from_millis(1));
        for _ in 0..3 {
            let (sender, receiver) = mpsc::channel();
            push(&pool, move || sender.send(()).unwrap());
            receiver.recv().unwrap();
            while pool.lock().live > 0 {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn every_job_that_a_thread_is_free_for_runs() {
        // Each job waits for the others, so each needs a thread of its own.
        let pool = Pool::new(8);
        for _ in 0..20 {
            let barrier = Arc::new(std::sync::Barrier::new(9));
            for _ in 0..8 {
                let barrier = barrier.clone();
                push(&pool, move || _ = barrier.wait());
            }
            barrier.wait();
        }
        assert!(pool.lock().live <= 8);
        pool.close();
        assert_eq!(pool.lock().live, 0);
    }
}
