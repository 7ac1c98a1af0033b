//! Host names.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::Task;

use crate::backend::Lookup;
use crate::error::polled_after_completion;

/// Looks up the addresses of a host, in the order in which the system prefers them.
///
/// The lookup is a [blocking](matou_runtime::blocking()) job, that is, a child of the task that
/// polls the future first. A name that is an IP address needs no job.
///
/// In a [simulated](matou_runtime::test) run only the names of [`add_host`](crate::test::add_host)
/// and `localhost` exist, and a lookup takes a drawn time.
///
/// # Errors
///
/// If the system cannot look the name up. The error contains the name.
///
/// # Cancel safety
///
/// Dropping the future gives the job up. It cannot be cut off, so the end of the task waits for it,
/// at most for the grace period.
///
/// # Panics
///
/// If the future is polled outside a task.
///
/// # Examples
///
/// ```
/// use matou_net::lookup_host;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     for address in lookup_host("localhost", 80).await? {
///         assert!(address.ip().is_loopback());
///     }
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "getaddrinfo")]
#[doc(alias = "to_socket_addrs")]
#[doc(alias = "dns")]
#[track_caller]
pub fn lookup_host(host: &str, port: u16) -> LookupHost {
    let task = Task::new().name(format!("lookup of {host}"));
    let stage = Stage::New(Box::new(task), port);
    LookupHost { host: host.to_owned(), stage, at: Location::caller() }
}

/// The future of [`lookup_host`].
#[must_use = "futures do nothing unless polled"]
pub struct LookupHost {
    host: String,
    stage: Stage,
    at: &'static Location<'static>,
}

enum Stage {
    New(Box<Task>, u16),
    Running(Lookup),
    Done,
}

impl LookupHost {
    /// Returns whether the lookup is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

impl Future for LookupHost {
    type Output = io::Result<Vec<SocketAddr>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::New(..) = this.stage
            && let Stage::New(task, port) = std::mem::replace(&mut this.stage, Stage::Done)
        {
            this.stage = Stage::Running(Lookup::start(*task, &this.host, port));
        }
        let Stage::Running(lookup) = &mut this.stage else {
            polled_after_completion("`LookupHost`", this.at)
        };
        let addresses = ready!(lookup.poll(cx));
        this.stage = Stage::Done;
        Poll::Ready(addresses.map_err(|error| {
            // The standard library says it too.
            let reason = error.to_string();
            let reason = reason.trim_start_matches("failed to lookup address information: ");
            let text = format!("failed to look up {}: {reason}", this.host);
            io::Error::new(error.kind(), text)
        }))
    }
}

impl fmt::Debug for LookupHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupHost").field("host", &self.host).finish_non_exhaustive()
    }
}
