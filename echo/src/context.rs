use std::cell::RefCell;
use std::sync::Arc;

use matou_net::TcpStream;
use matou_runtime::disown;

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
    pub(crate) streams_of_cancelled: StreamsOfCancelled,
}

/// The streams of the clients that the end of the shutdown has cancelled, for the server to close.
#[derive(Default)]
pub(crate) struct StreamsOfCancelled {
    /// `None` before the cancellations.
    streams: RefCell<Option<Vec<TcpStream>>>,
}

impl StreamsOfCancelled {
    /// From now on the streams of clients are kept.
    pub(crate) fn start(&self) {
        *self.streams.borrow_mut() = Some(Vec::new());
    }

    /// Called by the end of a client: keeps its stream, or closes it.
    pub(crate) fn add(&self, stream: TcpStream) {
        if let Some(streams) = &mut *self.streams.borrow_mut() {
            // The client's task ends before the server uses the stream.
            if disown(&stream).is_ok() {
                streams.push(stream);
            }
        }
    }

    pub(crate) fn take(&self) -> Vec<TcpStream> {
        self.streams.take().unwrap_or_default()
    }
}

impl ServerContext {
    pub(crate) fn new(limits: Limits, log: Arc<Log>) -> ServerContext {
        ServerContext {
            limits,
            log,
            counters: Counters::default(),
            client_name: Arc::from("client"),
            buffer: RefCell::new(vec![0; limits.buffered_bytes_max].into_boxed_slice()),
            streams_of_cancelled: StreamsOfCancelled::default(),
        }
    }
}
