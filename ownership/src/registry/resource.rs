use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::ticket::Ticket;

/// An object that a task can own and that has a finalizer.
///
/// Implement it for the inner, reference-counted part of a handle. The ledger keeps a reference to
/// that part, so it can finalize the resource while the handle is still stored in a `static`, is
/// part of a cycle of `Arc`s, or was forgotten.
///
/// # Examples
///
/// ```
/// use matou_ownership::{FinalizeStatus, Resource, ResourceHandle, Ticket, own, release};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// struct Door { ticket: Ticket, open: AtomicBool }
///
/// impl Resource for Door {
///     fn ticket(&self) -> &Ticket { &self.ticket }
///     fn finalize(&self) -> FinalizeStatus {
///         self.open.store(false, Ordering::SeqCst);
///         FinalizeStatus::Done
///     }
/// }
///
/// struct DoorHandle(Arc<Door>);
///
/// impl ResourceHandle for DoorHandle {
///     fn ticket(&self) -> &Ticket { &self.0.ticket }
///     fn resource(&self) -> Arc<dyn Resource> { self.0.clone() }
/// }
///
/// impl Drop for DoorHandle {
///     fn drop(&mut self) { release(self); }
/// }
///
/// let door = Arc::new(Door { ticket: Ticket::new("door"), open: AtomicBool::new(true) });
/// let handle = DoorHandle(door.clone());
/// own(&handle.resource());
/// drop(handle);
/// assert!(!door.open.load(Ordering::SeqCst));
/// ```
pub trait Resource: Send + Sync + 'static {
    /// Returns the ticket of this resource. Every call must return the same ticket.
    fn ticket(&self) -> &Ticket;

    /// Finalizes the resource.
    ///
    /// This crate calls it at most once per resource, and holds none of its locks during the call.
    /// The caller is whichever comes first: an explicit release, the drop of the handle, or the
    /// end of the owner.
    fn finalize(&self) -> FinalizeStatus;

    /// Returns `true` if [`finalize`](Resource::finalize) may return [`FinalizeStatus::Pending`].
    ///
    /// This crate calls it first, because such a finalizer must be created on the thread that polls
    /// it.
    fn is_async(&self) -> bool {
        false
    }
}

/// The result of [`Resource::finalize`].
pub enum FinalizeStatus {
    /// The resource is finalized.
    Done,
    /// The resource is finalized when this future completes. The future need not be `Send`: the
    /// thread that called [`finalize`](Resource::finalize) polls it.
    Pending(Pin<Box<dyn Future<Output = ()>>>),
}

impl fmt::Debug for FinalizeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FinalizeStatus::Done => f.write_str("Done"),
            FinalizeStatus::Pending(_) => f.write_str("Pending(..)"),
        }
    }
}

/// A user's handle to a [`Resource`], such as [`Owned`](crate::Owned) or a socket.
///
/// References to a handle and `Arc`s of a handle are handles too. See [`Resource`] for an example.
pub trait ResourceHandle {
    /// Returns the ticket of the resource, without cloning an `Arc`.
    fn ticket(&self) -> &Ticket;

    /// Returns the resource itself, which its owner's ledger keeps.
    fn resource(&self) -> Arc<dyn Resource>;
}

impl<H: ResourceHandle + ?Sized> ResourceHandle for Arc<H> {
    fn ticket(&self) -> &Ticket {
        (**self).ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        (**self).resource()
    }
}

/// The resource itself is a handle too, for code that keeps no other, such as a runtime.
impl ResourceHandle for Arc<dyn Resource> {
    fn ticket(&self) -> &Ticket {
        (**self).ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        Arc::clone(self)
    }
}

impl<H: ResourceHandle + ?Sized> ResourceHandle for &H {
    fn ticket(&self) -> &Ticket {
        (**self).ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        (**self).resource()
    }
}

impl<H: ResourceHandle + ?Sized> ResourceHandle for &mut H {
    fn ticket(&self) -> &Ticket {
        (**self).ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        (**self).resource()
    }
}
