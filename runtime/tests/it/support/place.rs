//! Where a test runs the children of its main task.

use std::future::Future;

use matou_runtime::{Promise, Task};

use super::MakeFuture;

/// The domain of the children, relative to their parent. Tests of rules that concern children on
/// other domains run in both places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The parent's domain.
    Local,
    /// Another domain.
    Remote,
}

impl Place {
    pub(crate) const BOTH: [Place; 2] = [Place::Local, Place::Remote];

    /// How many domains a run needs.
    pub(crate) fn domains(self) -> usize {
        match self {
            Place::Local => 1,
            Place::Remote => 3,
        }
    }

    #[track_caller]
    pub(crate) fn spawn<M, F>(self, make: M) -> Promise<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_task(Task::new(), make)
    }

    #[track_caller]
    pub(crate) fn spawn_task<M, F>(self, task: Task, make: M) -> Promise<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_boxed(task, Box::new(move || Box::pin(make())))
    }

    #[track_caller]
    fn spawn_boxed<T: Send + 'static>(self, task: Task, make: MakeFuture<T>) -> Promise<T> {
        match self {
            Place::Local => task.spawn(make()),
            Place::Remote => task.call(make).expect("there are several domains"),
        }
    }

    #[track_caller]
    pub(crate) fn try_spawn<M, F, T, E>(self, make: M) -> Promise<T, E>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.try_spawn_boxed(Box::new(move || Box::pin(make())))
    }

    #[track_caller]
    fn try_spawn_boxed<T, E>(self, make: MakeFuture<Result<T, E>>) -> Promise<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        match self {
            Place::Local => Task::new().try_spawn(make()),
            Place::Remote => Task::new().try_call(make).expect("there are several domains"),
        }
    }
}
