//! A group of children that fails as one.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::blocking::Stop;
use crate::domain::{Domain, GivenUp};
use crate::join::{Orphans, WhenEmpty};
use crate::outcome::{Outcome, TaskError};
use crate::panics::polled_after_completion;
use crate::spawn::{Spawner, failed};
use crate::task::WaitSite;
use crate::waker_set::WakerKey;

/// Runs `body` in the current task together with children that fail as one.
///
/// The body receives a [`ScopeSpawner`], which spawns the children. The future is ready when the
/// body and all children have completed, and returns the value of the body. The first failure of a
/// child, an error or a panic, ends the scope: the body is dropped at whatever point it waits, the
/// other children are cancelled, and the failure is returned after all of them have ended. An error
/// of the body does the same. So no child outlives the scope, and no failure waits until its child
/// happens to be joined.
///
/// Trio's nursery, Kotlin's `coroutineScope` and Java's `StructuredTaskScope` do this.
/// [`task_scope_with`] takes a policy and returns the values of the children. To run children in
/// the background and to receive each outcome, use [`Orphans`].
///
/// # Errors
///
/// The error of the first child that did not return a value, or that of the body as
/// [`TaskError::Failed`]. A further child that fails before it notices its cancellation is the
/// finding [`FailureUnseen`](crate::Finding::FailureUnseen).
///
/// # Cancel safety
///
/// Dropping the future drops the body and cancels the children, as dropping a
/// [`Promise`](crate::Promise) does.
///
/// # Panics
///
/// If the future is polled outside a task, and after it completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, live_tasks, run, task_scope};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let result = task_scope(|group| async move {
///         group.try_spawn(pending()); // a server
///         group.try_spawn(async { Err("the database is gone") });
///         pending::<()>().await; // woken by the failure
///         Ok(())
///     });
///     assert_eq!(result.await.unwrap_err().into_failure(), Some("the database is gone"));
///     assert_eq!(live_tasks(), 1);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "coroutineScope")]
#[doc(alias = "nursery")]
#[doc(alias = "StructuredTaskScope")]
#[doc(alias = "TaskGroup")]
#[doc(alias = "errgroup")]
#[doc(alias = "try_join_all")]
#[track_caller]
pub fn task_scope<M, B, R, E>(body: M) -> TaskScope<M, B, R, E>
where
    M: FnOnce(ScopeSpawner<(), E>) -> B,
    B: Future<Output = Result<R, E>>,
    E: 'static,
{
    TaskScope { scope: Scope::new(AllSucceed::new(), body) }
}

/// As [`task_scope`], with a policy that decides when the scope ends and what it returns.
///
/// The policies of this crate are [`AllSucceed`], [`FirstSuccess`] and [`Collect`]; implement
/// [`ScopePolicy`] for one of your own. An error of the body ends the scope whatever the policy is.
///
/// # Errors
///
/// As the policy decides, and the error of the body as [`TaskError::Failed`].
///
/// # Cancel safety
///
/// As [`task_scope`].
///
/// # Panics
///
/// As [`task_scope`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{FirstSuccess, RunError, run, sleep, task_scope_with};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     // Asks three mirrors. The first answer cancels the other requests.
///     let answer = task_scope_with(FirstSuccess::new(), |group| async move {
///         for mirror in 1..=3 {
///             group.try_spawn(async move {
///                 sleep(Duration::from_millis(mirror)).await;
///                 if mirror == 1 { Err("refused") } else { Ok(mirror) }
///             });
///         }
///         Ok(())
///     });
///     assert_eq!(answer.await?, Some(2));
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "StructuredTaskScope")]
#[doc(alias = "select_ok")]
#[track_caller]
pub fn task_scope_with<P, M, B, T, E>(policy: P, body: M) -> TaskScopeWith<P, M, B, T, E>
where
    P: ScopePolicy<T, E>,
    M: FnOnce(ScopeSpawner<T, E>) -> B,
    B: Future<Output = Result<(), E>>,
    T: 'static,
    E: 'static,
{
    TaskScopeWith { scope: Scope::new(policy, body) }
}

/// Spawns the children of a [`task_scope`]. Clones may be passed to the children.
///
/// The child's parent is the task that runs the scope, whichever task calls `spawn`. If the scope
/// has ended, or has failed and cancels its children, the future is dropped without being polled.
pub struct ScopeSpawner<T = (), E = Infallible> {
    spawner: Spawner<T, E>,
}

impl<T: 'static, E: 'static> ScopeSpawner<T, E> {
    /// Spawns a child into the scope.
    #[track_caller]
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = T> + 'static,
    {
        self.try_spawn(async { Ok(future.await) });
    }

    /// Spawns a child that may fail into the scope.
    #[track_caller]
    pub fn try_spawn<F>(&self, future: F)
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        drop(self.spawner.spawn_or_submit(future));
    }

    /// Runs blocking code as a child in the scope; see [`blocking`](crate::blocking()).
    #[doc(alias = "spawn_blocking")]
    #[track_caller]
    pub fn blocking<F>(&self, job: F)
    where
        F: FnOnce(Stop) -> T + Send + 'static,
        T: Send,
        E: Send,
    {
        self.try_blocking(|stop| Ok(job(stop)));
    }

    /// Runs blocking code that may fail as a child in the scope.
    #[track_caller]
    pub fn try_blocking<F>(&self, job: F)
    where
        F: FnOnce(Stop) -> Result<T, E> + Send + 'static,
        T: Send,
        E: Send,
    {
        drop(self.spawner.block_or_submit(job));
    }
}

impl<T, E> Clone for ScopeSpawner<T, E> {
    fn clone(&self) -> Self {
        ScopeSpawner { spawner: self.spawner.clone() }
    }
}

impl<T, E> fmt::Debug for ScopeSpawner<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeSpawner").finish_non_exhaustive()
    }
}

/// Decides when a scope ends, and what it returns. See [`task_scope_with`].
pub trait ScopePolicy<T, E> {
    /// The value of the scope.
    type Output;

    /// Receives the outcome of a child, in the order of completion. [`ControlFlow::Break`] ends the
    /// scope: the body and the other children are cancelled.
    fn child_ended(&mut self, outcome: Outcome<T, E>) -> ControlFlow<()>;

    /// Returns the result of the scope, after all children have ended or when it was ended.
    ///
    /// # Errors
    ///
    /// As the policy decides.
    fn finish(self) -> Result<Self::Output, TaskError<E>>;
}

/// All children must succeed: the first failure ends the scope. The values are returned in the
/// order of completion.
#[derive(Debug)]
pub struct AllSucceed<T, E> {
    values: Vec<T>,
    failure: Option<TaskError<E>>,
}

/// The first value ends the scope and is returned. If all children fail, the scope returns the
/// first failure; `None` if there was no child.
#[doc(alias = "anySuccessfulResultOrThrow")]
#[derive(Debug)]
pub struct FirstSuccess<T, E> {
    value: Option<T>,
    failure: Option<TaskError<E>>,
}

/// All outcomes are returned, in the order of completion. No failure ends the scope.
#[doc(alias = "supervisorScope")]
#[derive(Debug)]
pub struct Collect<T, E> {
    outcomes: Vec<Outcome<T, E>>,
}

impl<T, E> AllSucceed<T, E> {
    /// Creates the policy.
    pub const fn new() -> Self {
        AllSucceed { values: Vec::new(), failure: None }
    }
}

impl<T, E> FirstSuccess<T, E> {
    /// Creates the policy.
    pub const fn new() -> Self {
        FirstSuccess { value: None, failure: None }
    }
}

impl<T, E> Collect<T, E> {
    /// Creates the policy.
    pub const fn new() -> Self {
        Collect { outcomes: Vec::new() }
    }
}

impl<T, E> Default for AllSucceed<T, E> {
    fn default() -> Self {
        AllSucceed::new()
    }
}

impl<T, E> Default for FirstSuccess<T, E> {
    fn default() -> Self {
        FirstSuccess::new()
    }
}

impl<T, E> Default for Collect<T, E> {
    fn default() -> Self {
        Collect::new()
    }
}

impl<T, E> ScopePolicy<T, E> for AllSucceed<T, E> {
    type Output = Vec<T>;

    fn child_ended(&mut self, outcome: Outcome<T, E>) -> ControlFlow<()> {
        match outcome {
            Ok(value) => {
                self.values.push(value);
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.failure = Some(error);
                // fault: scope-outlives-failure
                ControlFlow::Break(())
            }
        }
    }

    fn finish(self) -> Result<Vec<T>, TaskError<E>> {
        self.failure.map_or(Ok(self.values), Err)
    }
}

impl<T, E> ScopePolicy<T, E> for FirstSuccess<T, E> {
    type Output = Option<T>;

    fn child_ended(&mut self, outcome: Outcome<T, E>) -> ControlFlow<()> {
        match outcome {
            Ok(value) => {
                self.value = Some(value);
                ControlFlow::Break(())
            }
            Err(error) => {
                self.failure.get_or_insert(error);
                ControlFlow::Continue(())
            }
        }
    }

    fn finish(self) -> Result<Option<T>, TaskError<E>> {
        match (self.value, self.failure) {
            (None, Some(failure)) => Err(failure),
            (value, _) => Ok(value),
        }
    }
}

impl<T, E> ScopePolicy<T, E> for Collect<T, E> {
    type Output = Vec<Outcome<T, E>>;

    fn child_ended(&mut self, outcome: Outcome<T, E>) -> ControlFlow<()> {
        self.outcomes.push(outcome);
        ControlFlow::Continue(())
    }

    fn finish(self) -> Result<Self::Output, TaskError<E>> {
        Ok(self.outcomes)
    }
}

pin_project! {
    /// The future of [`task_scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TaskScope<M, B, R, E> {
        #[pin]
        scope: Scope<AllSucceed<(), E>, M, B, R, (), E>,
    }
}

impl<M, B, R, E> Future for TaskScope<M, B, R, E>
where
    M: FnOnce(ScopeSpawner<(), E>) -> B,
    B: Future<Output = Result<R, E>>,
    E: 'static,
{
    type Output = Result<R, TaskError<E>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (value, result) = ready!(self.project().scope.poll_scope(cx));
        // Only a failure ends this scope before its body has returned.
        Poll::Ready(result.map(|_| value.expect("the body has returned")))
    }
}

pin_project! {
    /// The future of [`task_scope_with`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TaskScopeWith<P, M, B, T, E> {
        #[pin]
        scope: Scope<P, M, B, (), T, E>,
    }
}

impl<P, M, B, T, E> Future for TaskScopeWith<P, M, B, T, E>
where
    P: ScopePolicy<T, E>,
    M: FnOnce(ScopeSpawner<T, E>) -> B,
    B: Future<Output = Result<(), E>>,
    T: 'static,
    E: 'static,
{
    type Output = Result<P::Output, TaskError<E>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().scope.poll_scope(cx).map(|(_, result)| result)
    }
}

impl<M, B, R, E> fmt::Debug for TaskScope<M, B, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskScope").field("children", &self.scope.children()).finish()
    }
}

impl<P, M, B, T, E> fmt::Debug for TaskScopeWith<P, M, B, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskScopeWith").field("children", &self.scope.children()).finish()
    }
}

pin_project! {
    /// A scope. `R` is the value of its body, `T` that of its children.
    struct Scope<P, M, B, R, T, E> {
        // None once the scope has begun.
        make: Option<M>,
        // None before the scope has begun, and once the body has returned or is cancelled.
        #[pin]
        body: Option<B>,
        value: Option<R>,
        // None before the scope has begun, and once the children are cancelled.
        group: Option<Orphans<T, E>>,
        waiter: WakerKey,
        // None once the scope is ending.
        policy: Option<P>,
        // The error of the body.
        error: Option<E>,
        ending: Option<GivenUp>,
        location: &'static Location<'static>,
    }

    impl<P, M, B, R, T, E> PinnedDrop for Scope<P, M, B, R, T, E> {
        fn drop(this: Pin<&mut Self>) {
            let at = this.location;
            Domain::abandon_branch(at, || this.cancel_all());
        }
    }
}

impl<P, M, B, R, T, E> Scope<P, M, B, R, T, E> {
    #[track_caller]
    fn new(policy: P, make: M) -> Self {
        Scope {
            make: Some(make),
            body: None,
            value: None,
            group: None,
            waiter: WakerKey::new(),
            policy: Some(policy),
            error: None,
            ending: None,
            location: Location::caller(),
        }
    }

    fn children(&self) -> usize {
        self.group.as_ref().map_or(0, Orphans::len)
    }

    /// Drops the body, and cancels the children.
    fn cancel_all(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.body.set(None);
        if let Some(group) = this.group.take() {
            group.cancel_wait(this.waiter);
        }
    }
}

impl<P, M, B, R, T, E> Scope<P, M, B, R, T, E>
where
    P: ScopePolicy<T, E>,
    M: FnOnce(ScopeSpawner<T, E>) -> B,
    B: Future<Output = Result<R, E>>,
    T: 'static,
    E: 'static,
{
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "the two halves of the results of a scope")]
    fn poll_scope(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<(Option<R>, Result<P::Output, TaskError<E>>)> {
        if self.ending.is_none() {
            self.as_mut().begin();
            ready!(self.as_mut().poll_running(cx));
            let at = self.location;
            let given_up = GivenUp::by(at, || self.as_mut().cancel_all());
            *self.as_mut().project().ending = Some(given_up);
        }
        let this = self.project();
        let site = WaitSite::new("the end of a scope", this.location);
        let ending = this.ending.as_mut().expect("the scope is ending");
        // fault: scope-does-not-wait
        ready!(ending.poll_ends(site, cx));
        let Some(policy) = this.policy.take() else {
            polled_after_completion("`TaskScope`", this.location)
        };
        let result = match this.error.take() {
            Some(error) => Err(failed(error)),
            None => policy.finish(),
        };
        Poll::Ready((this.value.take(), result))
    }

    /// Creates the group and the body, in the first poll.
    #[track_caller]
    fn begin(self: Pin<&mut Self>) {
        let mut this = self.project();
        if let Some(make) = this.make.take() {
            let group = this.group.insert(Orphans::new());
            let spawner = group.spawner();
            this.body.set(Some(make(ScopeSpawner { spawner })));
        }
    }

    /// Waits until the body and all children have completed, or until the scope is to end before.
    #[track_caller]
    fn poll_running(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Failures first: the body of a scope that has failed is not polled any more.
            if self.as_mut().poll_children(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut this = self.as_mut().project();
            let Some(body) = this.body.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            match ready!(body.poll(cx)) {
                Ok(value) => *this.value = Some(value),
                Err(error) => {
                    *this.error = Some(error);
                    return Poll::Ready(());
                }
            }
            let at = *this.location;
            Domain::abandon_branch(at, || this.body.set(None));
        }
    }

    /// Receives the outcomes of children until the policy ends the scope, or until the body has
    /// returned and no child is left.
    #[track_caller]
    fn poll_children(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let when_empty = match this.body.is_some() {
            true => WhenEmpty::StayPending,
            false => WhenEmpty::ReturnNone,
        };
        let group = this.group.as_ref().expect("the scope is running");
        let policy = this.policy.as_mut().expect("the scope is running");
        while let Some(outcome) =
            ready!(group.poll_outcome(this.waiter, this.location, when_empty, cx))
        {
            if policy.child_ended(outcome).is_break() {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    }
}
