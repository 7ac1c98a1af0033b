//! The task-local values of the current task.
//!
//! They are in the task's cold state, where its children find them. So code without such values
//! pays nothing.

use std::any::Any;
use std::sync::Arc;

use super::Domain;
use crate::task::{Locals, NIL};

impl Domain {
    /// Returns the value of a key in the current task.
    pub(crate) fn task_local(&self, key: usize) -> Option<Arc<dyn Any + Send + Sync>> {
        self.locals()?.get(key).cloned()
    }

    /// Returns the values of the current task; `None` if it has none, and if no task is running.
    pub(crate) fn locals(&self) -> Option<Locals> {
        if self.scheduler.current() == NIL {
            return None;
        }
        self.current_node().cold.peek(|cold| cold.and_then(|cold| cold.locals.clone()))
    }

    /// Replaces the values of the current task, which must exist, and returns the previous ones.
    pub(crate) fn replace_locals(&self, locals: Option<Locals>) -> Option<Locals> {
        self.current_node().with_cold(|cold| std::mem::replace(&mut cold.locals, locals))
    }
}
