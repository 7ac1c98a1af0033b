use std::fmt;

use matou_sync::{Condition, Mutex};

/// A flag that stops all servers, and stays set.
///
/// A bare condition variable would lose a signal that arrives while no server waits. The flag is
/// set under the mutex, so a server that waits later returns immediately.
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
///     shutdown.wait().await; // returns immediately
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
    /// Creates a flag that is not set.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Sets the flag and wakes all waiting servers. Further calls have no effect.
    pub async fn begin(&self) {
        *self.begun.lock().await = true;
        self.condition.broadcast();
    }

    /// Waits until the flag is set.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
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
