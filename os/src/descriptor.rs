//! Descriptors that a task owns.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use matou_ownership::{FinalizeStatus, Resource, ResourceHandle, Ticket, own, release};
use matou_runtime::{Direction, IoSource, WaitSite};

use crate::access::take_ownership;

/// The handle of a descriptor, which is closed when the handle is dropped, and at the latest with
/// the run.
#[derive(Debug)]
pub(crate) struct Descriptor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: IoSource,
    ticket: Ticket,
}

impl Descriptor {
    /// Creates a resource of the current task.
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, source: IoSource) -> Descriptor {
        let shared = Arc::new(Shared { source, ticket });
        // fault: descriptor-without-owner
        own(&(Arc::clone(&shared) as Arc<dyn Resource>));
        Descriptor(shared)
    }

    /// Attempts `operation`, and waits while it would block.
    pub(crate) fn poll<T>(
        &self,
        direction: Direction,
        site: WaitSite,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        take_ownership(self)?;
        self.0.source.poll(direction, site, cx, operation)
    }
}

impl Resource for Shared {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        self.source.close();
        FinalizeStatus::Done
    }
}

impl ResourceHandle for Descriptor {
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.0.clone()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        release(self);
    }
}
