//! Values that a task's descendants inherit.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::domain::Domain;
use crate::panics::polled_after_completion;
use crate::task::Locals;

/// The key of a value that code in a task can read, and that all tasks inherit which this code
/// spawns: the id of a request, a user, a trace.
///
/// The value is set for the duration of a future, by [`scope`](TaskLocal::scope), or of a closure,
/// by [`sync_scope`](TaskLocal::sync_scope). A child has the values that its parent had when it was
/// spawned, also on another domain and in a [`shield`](crate::shield). A child that a
/// [`spawner`](crate::Orphans::spawner) puts into a group has those that the owner of the group has
/// inherited. A value is never changed; tasks share it, hence the bounds of its type. For
/// a value that changes, use an atomic number or a lock.
///
/// A task without such values pays nothing for them.
///
/// # Examples
///
/// ```
/// use matou_runtime::{Builder, MainError, RunError, TaskLocal, call};
///
/// static REQUEST: TaskLocal<u64> = TaskLocal::new();
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(2).run(async {
///     let handled = REQUEST.scope(7, async {
///         let child = call(|| async { REQUEST.get() })?;
///         Ok::<_, MainError>(child.await?)
///     });
///     assert_eq!(handled.await?, Some(7));
///     assert_eq!(REQUEST.get(), None);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "task_local")]
#[doc(alias = "thread_local")]
#[doc(alias = "ScopedValue")]
#[doc(alias = "LocalKey")]
pub struct TaskLocal<T: 'static> {
    /// Gives each key an address of its own.
    _address: AtomicU8,
    value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> TaskLocal<T> {
    /// Creates a key, for a `static`.
    #[expect(clippy::new_without_default, reason = "a key is a static, which needs a constant")]
    pub const fn new() -> TaskLocal<T> {
        TaskLocal { _address: AtomicU8::new(0), value: PhantomData }
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Calls `f` with the value; `None` if none is set, and outside a task.
    pub fn with<R>(&'static self, f: impl FnOnce(Option<&T>) -> R) -> R {
        let value = Domain::try_with(|domain| domain.task_local(self.key())).flatten();
        f(value.as_deref().and_then(<dyn Any + Send + Sync>::downcast_ref))
    }

    /// Returns a copy of the value; `None` if none is set, and outside a task.
    pub fn get(&'static self) -> Option<T>
    where
        T: Clone,
    {
        self.with(|value| value.cloned())
    }

    /// Returns a future that runs `future` with this value: in its own code, in its destructors,
    /// and in the tasks that it spawns.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`.
    ///
    /// # Panics
    ///
    /// If it is polled outside a task, or after it completed.
    #[track_caller]
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> LocalScope<F> {
        let (key, value) = (self.key(), Arc::new(value));
        LocalScope { future: Some(future), key, value, at: Location::caller() }
    }

    /// Calls `f` with this value: for example to spawn a child that inherits it.
    ///
    /// # Panics
    ///
    /// Outside a task.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{RunError, TaskLocal, run, spawn};
    ///
    /// static USER: TaskLocal<&str> = TaskLocal::new();
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let child = USER.sync_scope("cat", || spawn(async { USER.get() }));
    ///     assert_eq!(child.await?, Some("cat"));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        let is_set = set_during(self.key(), &value, f);
        match is_set {
            Ok(result) => result,
            Err(_) => panic!("a task-local value is set inside a task of a run"),
        }
    }
}

impl<T> fmt::Debug for TaskLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLocal").finish_non_exhaustive()
    }
}

/// Calls `f` while the current task has a value. Returns `f` if there is no current task.
fn set_during<F: FnOnce() -> R, R>(
    key: usize,
    value: &Arc<dyn Any + Send + Sync>,
    f: F,
) -> Result<R, F> {
    /// Restores the values of the surrounding code, also if `f` panics.
    struct Restore(Option<Locals>);
    impl Drop for Restore {
        fn drop(&mut self) {
            // The task of the scope is still the current one: `f` has returned in it.
            let inner = Domain::try_with(|domain| domain.replace_locals(self.0.take()));
            drop(inner);
        }
    }
    let enter = |domain: &Domain| {
        let outer = domain.has_current().then(|| domain.locals())?;
        let inner = Locals::with(outer.as_ref(), key, Arc::clone(value));
        Some(domain.replace_locals(Some(inner)))
    };
    let Some(outer) = Domain::try_with(enter).flatten() else { return Err(f) };
    let restore = Restore(outer);
    let result = f();
    drop(restore);
    Ok(result)
}

pin_project! {
    /// The future of [`TaskLocal::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct LocalScope<F> {
        // None after it has completed.
        #[pin]
        future: Option<F>,
        key: usize,
        value: Arc<dyn Any + Send + Sync>,
        at: &'static Location<'static>,
    }

    impl<F> PinnedDrop for LocalScope<F> {
        fn drop(this: Pin<&mut Self>) {
            this.drop_future();
        }
    }
}

impl<F> LocalScope<F> {
    /// Drops the future, whose destructors may read the value.
    fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.future.is_some() {
            // Outside a task they cannot.
            if let Err(drop_future) = set_during(*this.key, this.value, || this.future.set(None)) {
                drop_future();
            }
        }
    }
}

impl<F: Future> Future for LocalScope<F> {
    type Output = F::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else {
            polled_after_completion("`LocalScope`", this.at)
        };
        let Ok(poll) = set_during(*this.key, this.value, || future.poll(cx)) else {
            panic!("a task-local value is set inside a task of a run")
        };
        if poll.is_ready() {
            self.drop_future();
        }
        poll
    }
}

impl<F: fmt::Debug> fmt::Debug for LocalScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalScope").field("future", &self.future).finish_non_exhaustive()
    }
}
