use std::cell::RefCell;
use std::sync::Arc;

use crate::stats::Counters;
use crate::{Limits, Log};

/// The state that a server and its clients share. All of them run on one domain.
pub(crate) struct ServerContext {
    pub(crate) limits: Limits,
    pub(crate) log: Arc<Log>,
    pub(crate) counters: Counters,
    /// The task name of the clients, allocated once.
    pub(crate) client_name: Arc<str>,
    /// The read buffer, which a client borrows during a poll. A client keeps a buffer of its own
    /// only for bytes that could not be sent immediately.
    pub(crate) buffer: RefCell<Box<[u8]>>,
}

impl ServerContext {
    pub(crate) fn new(limits: Limits, log: Arc<Log>) -> ServerContext {
        ServerContext {
            limits,
            log,
            counters: Counters::default(),
            client_name: Arc::from("client"),
            buffer: RefCell::new(vec![0; limits.buffered_bytes_max].into_boxed_slice()),
        }
    }
}
