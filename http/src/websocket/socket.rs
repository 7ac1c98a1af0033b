//! What the user's function has of a connection.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use matou_sync::{PushError, Queue};

use super::CloseCode;

/// How many messages wait in each direction.
const QUEUE_LEN: usize = 4;

/// The queues between the user's function and the task of the connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) incoming: Queue<Message>,
    pub(super) outgoing: Queue<Message>,
    /// The reason for the close, the first of several.
    reason: Mutex<Option<CloseFrame>>,
}

impl Link {
    pub(super) fn new() -> Arc<Link> {
        let (incoming, outgoing) = (Queue::bounded(QUEUE_LEN), Queue::bounded(QUEUE_LEN));
        Arc::new(Link { incoming, outgoing, reason: Mutex::default() })
    }

    /// Begins the close handshake, after the messages that are queued.
    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        let frame = || CloseFrame { code, reason: Utf8Bytes::from(truncated(reason)) };
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(frame);
        self.outgoing.close();
    }

    pub(super) fn reason(&self) -> Option<CloseFrame> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A close frame has room for 123 bytes.
fn truncated(reason: &str) -> &str {
    // `str::floor_char_boundary` is not stable in the oldest supported version.
    let end = (0..=reason.len().min(123)).rfind(|end| reason.is_char_boundary(*end));
    &reason[..end.unwrap_or(0)]
}

/// A WebSocket connection; see the [module](super).
///
/// Dropping it, as the function's return does, closes the connection with the code 1000.
#[derive(Debug)]
pub struct Socket {
    receiver: SocketReceiver,
    sender: SocketSender,
}

impl Socket {
    pub(super) fn new(link: Arc<Link>) -> Socket {
        let sender = SocketSender { link: Arc::clone(&link) };
        Socket { receiver: SocketReceiver { link }, sender }
    }

    /// Receives the next message, which is a [`Message::Text`] or a [`Message::Binary`]. Returns
    /// `None` after the end of the connection: the client has closed it or vanished, or the server
    /// shuts down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    /// Sends a message, such as `Message::text("purr")` or `"purr"`. It waits while four messages
    /// wait for the client to receive them.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the connection has ended or is being closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message is sent whole or not at all.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Closed> {
        self.sender.send(message).await
    }

    /// Begins to close the connection, after the messages that were sent. The first 123 bytes of
    /// the reason are sent.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.sender.close(code, reason);
    }

    /// Returns two halves, which two tasks can use at the same time.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half of a [`Socket`].
#[derive(Clone, Debug)]
pub struct SocketSender {
    link: Arc<Link>,
}

impl SocketSender {
    /// Sends a message; see [`Socket::send`].
    ///
    /// # Errors
    ///
    /// [`Closed`] if the connection has ended or is being closed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message is sent whole or not at all.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Closed> {
        self.link.outgoing.push(message.into()).await.map_err(|PushError(_)| Closed)
    }

    /// Begins to close the connection; see [`Socket::close`].
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.link.close(code, reason);
    }

    /// Waits until the connection is being closed or has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        self.link.outgoing.closed().await;
    }
}

/// The receiving half of a [`Socket`]. Messages that arrive after it was dropped are discarded.
#[derive(Debug)]
pub struct SocketReceiver {
    link: Arc<Link>,
}

impl SocketReceiver {
    /// Receives the next message; see [`Socket::recv`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Message> {
        self.link.incoming.pop().await.ok()
    }
}

impl Drop for SocketReceiver {
    fn drop(&mut self) {
        // Otherwise the transport would wait for room, and not see the client close.
        self.link.incoming.close();
    }
}

/// The error of [`Socket::send`]: the connection has ended or is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the WebSocket is closed")
    }
}

impl Error for Closed {}

#[cfg(test)]
mod tests {
    use super::truncated;

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(truncated("purr"), "purr");
        assert_eq!(truncated(&"a".repeat(124)).len(), 123);
        assert_eq!(truncated(&"é".repeat(62)).len(), 122);
    }
}
