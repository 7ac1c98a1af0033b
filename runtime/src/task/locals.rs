//! The task-local values of a task.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The values that a task has inherited or set, each with the address of its key. Immutable and
/// shared by all tasks that inherit the same values.
#[derive(Clone)]
pub(crate) struct Locals {
    values: Arc<[Local]>,
}

#[derive(Clone)]
struct Local {
    key: usize,
    value: Arc<dyn Any + Send + Sync>,
}

impl Locals {
    /// Returns the value of a key.
    pub(crate) fn get(&self, key: usize) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.values.iter().find(|local| local.key == key).map(|local| &local.value)
    }

    /// Returns these values with another one for a key. There are as many values as the program
    /// has keys at most, so they are copied.
    pub(crate) fn with(
        outer: Option<&Locals>,
        key: usize,
        value: Arc<dyn Any + Send + Sync>,
    ) -> Locals {
        let outer = outer.map_or(&[][..], |outer| &outer.values);
        let others = outer.iter().filter(|local| local.key != key).cloned();
        Locals { values: others.chain([Local { key, value }]).collect() }
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locals").field("len", &self.values.len()).finish()
    }
}
