//! The primitives that a model checker replaces.

#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
    };
}

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
    };
}
