//! The right to initialize a cell.

use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::Holder;

use super::OnceCell;
use crate::semaphore::raw::Acquiring;

/// Waits until the cell has a value, which is `None`, or until the task may initialize it.
#[derive(Debug)]
pub(super) struct Initialize<'a, T> {
    cell: &'a OnceCell<T>,
    acquiring: Acquiring,
}

impl<'a, T> Initialize<'a, T> {
    pub(super) fn new(cell: &'a OnceCell<T>, called_at: &'static Location<'static>) -> Self {
        Self { cell, acquiring: Acquiring::new(1, called_at) }
    }
}

impl<'a, T> Future for Initialize<'a, T> {
    type Output = Option<Initializing<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cell, acquiring } = &mut *self;
        let report = ("once-cell", |wait| cell.describe(wait));
        let Ok(acquired) = ready!(acquiring.poll(&cell.raw, cx, report)) else {
            return Poll::Ready(None);
        };
        let guard = Initializing { cell };
        let holder = Holder::new(acquired.task, acquiring.called_at());
        cell.holder.set(holder);
        if cell.raw.may_have_waiters() {
            matou_hooks::on_acquire(cell.target(), holder);
        }
        Poll::Ready(Some(guard))
    }
}

impl<T> Drop for Initialize<'_, T> {
    fn drop(&mut self) {
        self.acquiring.cancel(&self.cell.raw);
    }
}

/// The permit to initialize a cell. If it is dropped, the next waiter gets it.
pub(super) struct Initializing<'a, T> {
    cell: &'a OnceCell<T>,
}

impl<T> Initializing<'_, T> {
    pub(super) fn complete(self, value: T) {
        self.clear_record();
        self.cell.complete(value);
        mem::forget(self);
    }

    fn clear_record(&self) {
        if self.cell.raw.may_have_waiters() {
            matou_hooks::on_release(self.cell.target());
        }
        self.cell.holder.clear();
    }
}

impl<T> Drop for Initializing<'_, T> {
    fn drop(&mut self) {
        self.clear_record();
        // fault: failed-initializer-keeps-cell
        self.cell.raw.release(1);
    }
}
