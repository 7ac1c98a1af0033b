mod init;
mod lazy;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::OnceLock;

use matou_hooks::{Target, Wait};

use self::init::Initialize;
pub use self::lazy::Lazy;
use crate::holder::HolderNote;
use crate::primitives::const_fn;
use crate::semaphore::raw::RawSemaphore;

/// A value that is set once, by an initializer that may await.
///
/// The first task that wants the value runs its initializer, and the others wait. If the
/// initializer fails, panics or is dropped with its future, the task that has waited longest runs
/// its own.
///
/// An initializer must not want the value of its own cell, since it would wait for itself.
/// `matou-runtime` reports that, and other circles through cells.
///
/// Consider [`std::sync::OnceLock`] if the initializer does not await.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use matou_sync::OnceCell;
///
/// static ADDRESS: OnceCell<String> = OnceCell::new();
///
/// async fn address() -> &'static str {
///     ADDRESS.get_or_init(|| async { "localhost".to_owned() }).await
/// }
///
/// assert_eq!(block_on(address()), "localhost");
/// assert!(ADDRESS.get().is_some());
/// ```
pub struct OnceCell<T> {
    /// The one permit is the initializer's. Closed when the value is set.
    raw: RawSemaphore,
    /// The task that runs its initializer.
    holder: HolderNote,
    value: OnceLock<T>,
}

impl<T> OnceCell<T> {
    const_fn! {
        /// Creates a cell without a value.
        ///
        /// # Examples
        ///
        /// ```
        /// static CELL: matou_sync::OnceCell<u32> = matou_sync::OnceCell::new();
        /// assert_eq!(CELL.get(), None);
        /// ```
        pub fn new() -> Self {
            Self {
                raw: RawSemaphore::new(1),
                holder: HolderNote::new(),
                value: OnceLock::new(),
            }
        }
    }

    /// Returns the value, if it is set.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::OnceCell::from(7).get(), Some(&7));
    /// ```
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Returns a mutable reference to the value, if it is set.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = matou_sync::OnceCell::from(7);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.into_inner(), Some(8));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Consumes the cell and returns its value.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::OnceCell::<i32>::new().into_inner(), None);
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Returns the value if there is one already, or if a task runs its initializer or is next.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = matou_sync::OnceCell::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        match self.raw.try_acquire(1) {
            Ok(_) => {
                self.complete(value);
                Ok(())
            }
            Err(_) => Err(value),
        }
    }

    /// Returns the value. If there is none, runs `init`, or waits for the initializer of another
    /// task.
    ///
    /// # Panics
    ///
    /// If `init` panics, the panic continues in this task.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the initializer that it runs. The next waiter then runs its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let cell = matou_sync::OnceCell::new();
    /// assert_eq!(*cell.get_or_init(|| async { 1 }).await, 1);
    /// assert_eq!(*cell.get_or_init(|| async { 2 }).await, 1);
    /// # });
    /// ```
    #[track_caller]
    pub fn get_or_init<F, Fut>(&self, init: F) -> impl Future<Output = &T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        let called_at = Location::caller();
        async move {
            if let Some(value) = self.get_initialized() {
                return value;
            }
            let init = move || async move { Ok::<T, Infallible>(init().await) };
            let Ok(value) = self.initialize(init, called_at).await;
            value
        }
    }

    /// Returns the value. If there is none, runs `init`, or waits for the initializer of another
    /// task.
    ///
    /// # Errors
    ///
    /// Returns the error of `init`. The next waiter then runs its own initializer.
    ///
    /// # Panics
    ///
    /// If `init` panics, the panic continues in this task.
    ///
    /// # Cancel safety
    ///
    /// As for [`get_or_init`](Self::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let cell = matou_sync::OnceCell::new();
    /// assert_eq!(cell.get_or_try_init(|| async { Err("no") }).await, Err("no"));
    /// assert_eq!(cell.get_or_try_init(|| async { Ok::<_, ()>(2) }).await, Ok(&2));
    /// # });
    /// ```
    #[track_caller]
    pub fn get_or_try_init<F, Fut, E>(&self, init: F) -> impl Future<Output = Result<&T, E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let called_at = Location::caller();
        async move {
            match self.get_initialized() {
                Some(value) => Ok(value),
                None => self.initialize(init, called_at).await,
            }
        }
    }

    /// Returns the value, if it is set. That is no operation that waits: with a place in the line
    /// and a future around it, a value costs six times as much.
    #[inline]
    fn get_initialized(&self) -> Option<&T> {
        // The state is read first, so that the models see the access.
        if self.raw.is_closed() { self.get() } else { None }
    }

    async fn initialize<F, Fut, E>(
        &self,
        init: F,
        called_at: &'static Location<'static>,
    ) -> Result<&T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if let Some(guard) = Initialize::new(self, called_at).await {
            let value = init().await?;
            guard.complete(value);
        }
        Ok(self.get().expect("the cell is closed when its value is set"))
    }

    /// Sets the value and ends all waits. The caller must have the permit, and keeps it.
    fn complete(&self, value: T) {
        let is_first = self.value.set(value).is_ok();
        debug_assert!(is_first, "there is one permit");
        // After the value: a waiter that finds the cell closed takes the value.
        // fault: once-cell-wakes-no-waiter
        self.raw.close();
    }

    fn target(&self) -> Target {
        Target::new("lock", (&raw const *self).cast::<()>().addr())
    }

    /// Completes the report of a wait.
    fn describe(&self, wait: Wait) -> Wait {
        let wait = wait.on(self.target());
        self.holder.get().map_or(wait, |holder| wait.held_by(holder))
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = Self { value: OnceLock::from(value), ..Self::new() };
        cell.raw.close();
        cell
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}
