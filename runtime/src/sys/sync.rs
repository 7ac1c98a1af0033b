//! The synchronization primitives that loom replaces in its models.

#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
    };
}

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
    };
}

#[cfg(not(loom))]
pub(crate) mod lock {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

#[cfg(loom)]
pub(crate) mod lock {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}
