use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;

use crate::Ticket;

/// What a ledger needs of a thing: its ticket, and how to finalize it.
///
/// It is implemented by the shared inner part of a handle, so that the ledger can finalize the
/// thing while the handle still lies in a `static`, in a cycle of `Arc`s, or was forgotten.
///
/// # Examples
///
/// ```
/// use matou_ownership::{FinalizeStatus, ResourceHandle, Resource, Ticket, own, release};
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
    /// Returns the ticket that was made for this resource. Must always be the same one.
    fn ticket(&self) -> &Ticket;

    /// Finalizes the resource.
    ///
    /// This crate calls it at most once over the resource's life, never under one of its locks,
    /// from whoever comes first: an explicit release, the drop of the handle, or the owner's
    /// settlement.
    fn finalize(&self) -> FinalizeStatus;

    /// Tells whether [`finalize`](Resource::finalize) answers [`FinalizeStatus::Pending`].
    ///
    /// It is asked before, since such a finalizer has to be made where it will be polled.
    fn is_async(&self) -> bool {
        false
    }
}

/// How far a call of [`Resource::finalize`] came.
pub enum FinalizeStatus {
    /// The resource is finalized.
    Done,
    /// The rest is this future. It need not be `Send`: it is made and polled in the owner's place.
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

/// A user's handle on a resource, such as [`Owned`](crate::Owned) or a socket.
///
/// A handle in an `Arc` and a reference to a handle are handles too. See [`Resource`] for an
/// example.
pub trait ResourceHandle {
    /// Returns the resource's ticket, without counting a reference.
    fn ticket(&self) -> &Ticket;

    /// Returns the shared part, which the ledger keeps.
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

/// The shared part itself will do for a handle, for those who keep nothing else, such as runtimes.
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

/// What a report says about a resource.
///
/// # Examples
///
/// ```
/// let info = matou_ownership::Ticket::new("tcp stream").info();
/// assert!(info.to_string().starts_with(&format!("tcp stream #{} made at ", info.id)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The number of the resource, unique within its [id source](crate::replace_id_source).
    pub id: u64,
    /// What it is, in words that a report can use.
    pub kind: &'static str,
    /// The line that made it.
    pub made_at: &'static Location<'static>,
}

impl fmt::Display for ResourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{} made at {}", self.kind, self.id, self.made_at)
    }
}
