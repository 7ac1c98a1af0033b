use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::OnceCell;
use crate::primitives::const_fn;

/// A value that is initialized when it is first wanted, by a function that may await.
///
/// If the initializer fails, panics or is dropped with its future, it is called again, by the task
/// that has waited longest. So it is a function that can be called several times.
///
/// Consider [`std::sync::LazyLock`] if the initializer does not await.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use matou_sync::Lazy;
///
/// // The default type of the initializer is a function that returns a boxed future.
/// static NAMES: Lazy<Vec<&str>> = Lazy::new(|| Box::pin(async { vec!["matou"] }));
///
/// assert_eq!(block_on(NAMES.force()).len(), 1);
/// ```
#[doc(alias = "LazyLock")]
#[doc(alias = "AsyncLazy")]
pub struct Lazy<T, F = fn() -> Pin<Box<dyn Future<Output = T> + Send>>> {
    cell: OnceCell<T>,
    init: F,
}

impl<T, F> Lazy<T, F> {
    const_fn! {
        /// Creates a value that `init` will initialize.
        ///
        /// # Examples
        ///
        /// ```
        /// let lazy = matou_sync::Lazy::new(|| async { 7 });
        /// assert_eq!(lazy.get(), None);
        /// assert_eq!(futures::executor::block_on(lazy.force()), &7);
        /// ```
        #[doc(alias = "from_fun")]
        pub fn new(init: F) -> Self {
            Self { cell: OnceCell::new(), init }
        }
    }

    /// Returns the value, if it is initialized.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Lazy::<i32, _>::new(|| async { 7 }).get(), None);
    /// ```
    pub fn get(&self) -> Option<&T> {
        self.cell.get()
    }

    /// Returns the value, which is initialized if that was not done before.
    ///
    /// # Panics
    ///
    /// If the initializer panics, the panic continues in the task that runs it.
    ///
    /// # Cancel safety
    ///
    /// As for [`OnceCell::get_or_init`].
    ///
    /// # Examples
    ///
    /// ```
    /// let lazy = matou_sync::Lazy::new(|| async { 7 });
    /// assert_eq!(futures::executor::block_on(lazy.force()), &7);
    /// ```
    #[track_caller]
    pub fn force<Fut>(&self) -> impl Future<Output = &T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = T>,
    {
        self.cell.get_or_init(&self.init)
    }

    /// Returns the value. If it is not initialized, calls the initializer, which may fail.
    ///
    /// # Errors
    ///
    /// Returns the error of the initializer. The next task that wants the value calls it again.
    ///
    /// # Panics
    ///
    /// As [`force`](Self::force).
    ///
    /// # Examples
    ///
    /// ```
    /// let lazy = matou_sync::Lazy::new(|| async { "7".parse::<i32>() });
    /// assert_eq!(futures::executor::block_on(lazy.try_force()), Ok(&7));
    /// ```
    #[track_caller]
    pub fn try_force<Fut, E>(&self) -> impl Future<Output = Result<&T, E>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.cell.get_or_try_init(&self.init)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.get()).finish()
    }
}
