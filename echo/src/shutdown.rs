use std::fmt;

use matou_sync::{Condition, Mutex};

/// Tells every server that it is over: the seed's condition, with the predicate that it lacks.
///
/// The seed's servers wait for the bare condition, so a signal that comes while none of them waits
/// is lost. Here it is remembered under the mutex.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use matou_echo::Shutdown;
/// use matou_runtime::{RunError, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let shutdown = Arc::new(Shutdown::new());
///     let server = spawn({
///         let shutdown = Arc::clone(&shutdown);
///         async move { shutdown.wait().await }
///     });
///     shutdown.begin().await;
///     server.await?;
///     shutdown.wait().await; // it stays so
///     Ok(())
/// })
/// # }
/// ```
#[derive(Default)]
pub struct Shutdown {
    begun: Mutex<bool>,
    condition: Condition,
}

impl Shutdown {
    /// Makes one that has not begun.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Begins the shutdown. To begin it twice is the same as once.
    pub async fn begin(&self) {
        *self.begun.lock().await = true;
        self.condition.broadcast();
    }

    /// Waits until the shutdown begins.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn wait(&self) {
        let begun = self.begun.lock().await;
        drop(self.condition.wait_while(begun, |begun| !*begun).await);
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").finish_non_exhaustive()
    }
}
