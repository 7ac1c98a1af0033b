//! Lookups of host names.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::futures::Sleep;
use matou_runtime::{Promise, Task, TaskError, sleep};

use crate::simulated::network;

/// A lookup that has started.
pub(crate) enum Lookup {
    Job(Promise<Vec<SocketAddr>, io::Error>),
    /// The result is known when the time is over.
    InMemory(Sleep, io::Result<Vec<SocketAddr>>),
    Literal(SocketAddr),
}

impl Lookup {
    pub(crate) fn start(task: Task, host: &str, port: u16) -> Lookup {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Lookup::Literal(SocketAddr::new(ip, port));
        }
        if let Some(network) = network() {
            let (delay, found) = network.resolve(host);
            let with_port = |ip| SocketAddr::new(ip, port);
            let addresses = found.map(|ips| ips.into_iter().map(with_port).collect());
            return Lookup::InMemory(sleep(delay), addresses);
        }
        let host = host.to_owned();
        let job = task.try_blocking(move |_| {
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        });
        Lookup::Job(job)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        Poll::Ready(match self {
            Lookup::Job(job) => ready!(Pin::new(job).poll(cx)).map_err(|error| match error {
                TaskError::Failed { error, .. } => error,
                // This task has not cancelled the job: it has panicked, or the run ends.
                error => io::Error::other(error.to_string()),
            }),
            Lookup::InMemory(delay, addresses) => {
                ready!(Pin::new(delay).poll(cx));
                std::mem::replace(addresses, Ok(Vec::new()))
            }
            Lookup::Literal(address) => Ok(vec![*address]),
        })
    }
}
