//! The domains of a run, as its program sees them.

use std::marker::PhantomData;

use crate::domain::Domain;

/// Returns the number of the domain that runs the current code; `None` outside a run.
///
/// Domain 0 is the thread that called [`run`](crate::run).
///
/// # Examples
///
/// ```
/// use matou_runtime::{Builder, RunError, Task, current_domain, domain_count, domain_load};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(2).run(async {
///     assert_eq!((current_domain(), domain_count()), (Some(0), 2));
///     let child = Task::new().pin(1).call(|| async { current_domain() })?;
///     assert_eq!(child.await?, Some(1));
///     assert_eq!(domain_load(0), Some(1)); // the main task
///     Ok(())
/// })?;
/// assert_eq!((current_domain(), domain_count()), (None, 0));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "worker_index")]
#[doc(alias = "thread_id")]
pub fn current_domain() -> Option<usize> {
    Domain::try_with(Domain::index)
}

/// Returns the number of domains of the current run, domain 0 included; 0 outside a run.
#[doc(alias = "num_workers")]
#[doc(alias = "available_parallelism")]
pub fn domain_count() -> usize {
    Domain::try_with(|domain| domain.run.domains()).unwrap_or(0)
}

/// Returns how many tasks live on a domain of the current run; `None` if there is no such domain,
/// and outside a run.
///
/// The number is exact for the current domain. Another domain publishes its number once in each
/// tick. [`Task::least_loaded`](crate::Task::least_loaded) uses it.
#[doc(alias = "num_alive_tasks")]
#[doc(alias = "RuntimeMetrics")]
pub fn domain_load(domain: usize) -> Option<usize> {
    Domain::try_with(|current| current.load(domain)).flatten()
}

/// Calls `hook` on the current domain in each tick, after messages and timers and before ready
/// tasks are polled, until the returned value is dropped.
///
/// A tick is one iteration of a domain's loop: while tasks are ready it polls some of them and
/// looks for events, and an idle domain waits for the next event in between. The hook must be
/// quick, and runs outside any task. A panic in it is ignored. For metrics of all domains, add a
/// hook on each.
///
/// Miou calls this `Hook.add`.
///
/// # Panics
///
/// Outside a run.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use matou_runtime::{RunError, run, tick_hook, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let ticks = Rc::new(Cell::new(0));
///     let count = Rc::clone(&ticks);
///     let hook = tick_hook(move || count.set(count.get() + 1));
///     while ticks.get() < 10 {
///         yield_now().await;
///     }
///     drop(hook);
///     assert_eq!(Rc::strong_count(&ticks), 1);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "Hook")]
#[doc(alias = "on_before_task_poll")]
#[track_caller]
pub fn tick_hook(hook: impl FnMut() + 'static) -> TickHook {
    Domain::with("`tick_hook`", |domain| TickHook {
        run: domain.run.number(),
        domain: domain.index(),
        key: domain.add_tick_hook(Box::new(hook)),
        on_its_thread: PhantomData,
    })
}

/// A hook of [`tick_hook`]. Dropping it removes the hook.
#[derive(Debug)]
#[must_use = "dropping it removes the hook"]
pub struct TickHook {
    run: u64,
    domain: usize,
    key: usize,
    /// The hook need not be `Send`.
    on_its_thread: PhantomData<*const ()>,
}

impl Drop for TickHook {
    fn drop(&mut self) {
        Domain::try_with(|domain| {
            // A simulated run has all its domains on one thread, and another run may have begun.
            if (domain.run.number(), domain.index()) == (self.run, self.domain) {
                domain.remove_tick_hook(self.key);
            }
        });
    }
}
