use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::ServerConfig;

use super::TlsStream;
use crate::listener::{Listener, PeerAddr};

/// A [`Listener`] whose connections speak TLS.
///
/// The handshake is a part of the first read or write of a connection. So it runs in the
/// connection's task, a slow one keeps no other client waiting, and under [`serve`](crate::serve)
/// the time limit for the first head includes it. One that fails is the event
/// [`Unreadable`](crate::Event::Unreadable).
pub struct TlsListener<L> {
    listener: L,
    acceptor: TlsAcceptor,
}

impl<L: Listener> TlsListener<L> {
    /// Wraps a listener.
    pub fn new(listener: L, config: impl Into<Arc<ServerConfig>>) -> TlsListener<L> {
        TlsListener { listener, acceptor: TlsAcceptor::from(config.into()) }
    }

    /// Returns the listener below.
    pub fn get_ref(&self) -> &L {
        &self.listener
    }

    /// Returns the listener below, for example to ask for its address.
    pub fn get_mut(&mut self) -> &mut L {
        &mut self.listener
    }
}

impl<L: Listener> Listener for TlsListener<L> {
    type Stream = TlsStream<L::Stream>;

    #[track_caller]
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, PeerAddr)>> {
        let (stream, peer) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok((TlsStream::accepting(self.acceptor.accept(stream)), peer)))
    }
}

impl<L: std::fmt::Debug> std::fmt::Debug for TlsListener<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener").field("listener", &self.listener).finish_non_exhaustive()
    }
}
