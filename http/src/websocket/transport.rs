//! The task of a WebSocket connection.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Bytes, Message};
use async_tungstenite::{WebSocketReceiver, WebSocketSender, WebSocketStream};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use matou_runtime::{Either, Outcome, Task, cancelled, now, race, race_either, sleep, timeout};

use super::CloseCode;
use super::socket::{Link, Socket};
use crate::connection_state::ConnectionState;
use crate::current::InConnection;
use crate::error::BoxError;
use crate::events::Event;
use crate::upgraded::Upgraded;

/// How long the client may take to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// How long the user's function may go on after the end of the connection.
const HANDLER_TIME: Duration = Duration::from_secs(5);

/// How long the end of a connection waits for the client's end of it.
const FINISH_TIME: Duration = Duration::from_secs(1);

const BUFFER_SIZE: usize = 8 << 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) message_bytes_max: usize,
    pub(super) ping_interval: Duration,
}

/// Runs `handler` with a connection, and performs the protocol until both have ended.
pub(super) async fn run<P, F>(
    io: Upgraded,
    settings: Settings,
    name: Arc<str>,
    connection: Rc<ConnectionState>,
    handler: P,
) where
    P: FnOnce(Socket) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_SIZE)
        .write_buffer_size(BUFFER_SIZE)
        .max_message_size(Some(settings.message_bytes_max))
        .max_frame_size(Some(settings.message_bytes_max));
    let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let link = Link::new();
    let socket = Socket::new(Arc::clone(&link));
    let run = InConnection::new(Rc::clone(&connection), async move {
        handler(socket).await;
        Ok::<(), BoxError>(())
    });
    let mut handler = Task::new().name(Arc::clone(&name)).try_spawn(run);
    let mut transported = pin!(transport(stream, &link, settings.ping_interval));
    match race_either(&mut handler, transported.as_mut()).await {
        Either::Left(outcome) => {
            let code = report(&outcome, &name, &connection);
            link.incoming.close();
            link.close(code, "");
            transported.await;
        }
        Either::Right(()) => match timeout(HANDLER_TIME, &mut handler).await {
            Ok(outcome) => drop(report(&outcome, &name, &connection)),
            Err(_) => drop(handler.cancel_because("the WebSocket connection has ended").await),
        },
    }
}

/// Performs the protocol until the connection has ended.
async fn transport(stream: WebSocketStream<Upgraded>, link: &Link, ping_interval: Duration) {
    let (mut sender, mut receiver) = stream.split();
    let input = Input::new();
    let read = read(&mut receiver, link, &input);
    race(read, write(&mut sender, link, &input, ping_interval)).await;
    // The handler still receives the messages that have arrived.
    link.incoming.close();
    link.outgoing.close();
    if let Ok(stream) = WebSocketStream::reunite(sender, receiver) {
        finish(stream.into_inner()).await;
    }
}

/// Reports a handler that has failed, and returns the code for the client.
fn report(outcome: &Outcome<(), BoxError>, name: &str, connection: &ConnectionState) -> CloseCode {
    let Err(error) = outcome else { return CloseCode::Normal };
    connection.server.count(|served| served.failed += 1);
    connection.server.reporter.report(&Event::HandlerFailed { request: name, error });
    CloseCode::Error
}

/// What the reading side has to say to the writing side.
struct Input {
    /// When the last bytes of a frame arrived.
    last: Cell<Instant>,
    /// Whether the handler does not take the messages, so that nothing is read.
    is_waiting: Cell<bool>,
    /// Whether nothing more can be read.
    has_failed: Cell<bool>,
}

impl Input {
    fn new() -> Input {
        Input { last: Cell::new(now()), is_waiting: Cell::new(false), has_failed: Cell::new(false) }
    }
}

/// Receives messages until the connection ends.
async fn read(receiver: &mut WebSocketReceiver<Upgraded>, link: &Link, input: &Input) {
    loop {
        let received = poll_fn(|cx| Pin::new(&mut *receiver).poll_next(cx)).await;
        input.last.set(now());
        match received {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                input.is_waiting.set(true);
                // A handler that is over receives nothing, but the close handshake goes on.
                drop(link.incoming.push(message).await);
                input.is_waiting.set(false);
            }
            // tungstenite answers pings and close frames.
            Some(Ok(_)) => {}
            Some(Err(error)) => match close_code(&error) {
                Some(code) => {
                    input.has_failed.set(true);
                    link.close(code, &error.to_string());
                    // Until the writing side has sent that.
                    return pending().await;
                }
                None => return,
            },
            None => return,
        }
    }
}

/// Returns the code for a client that violates the protocol; `None` if it has left.
fn close_code(error: &WsError) -> Option<CloseCode> {
    match error {
        WsError::Capacity(_) => Some(CloseCode::Size),
        WsError::Utf8(_) => Some(CloseCode::Invalid),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        WsError::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

enum Step {
    Send(Message),
    Ping,
    ShutDown,
    Close,
}

/// Sends messages and pings, and then the close frame.
async fn write(
    sender: &mut WebSocketSender<Upgraded>,
    link: &Link,
    input: &Input,
    ping_interval: Duration,
) {
    let mut shutdown = Some(cancelled());
    let mut ping = sleep(ping_interval);
    let mut pinged_at: Option<Instant> = None;
    loop {
        let mut popped = pin!(link.outgoing.pop());
        let step = poll_fn(|cx| {
            if let Some(shutdown) = &mut shutdown
                && Pin::new(shutdown).poll(cx).is_ready()
            {
                return Poll::Ready(Step::ShutDown);
            }
            if let Poll::Ready(message) = popped.as_mut().poll(cx) {
                return Poll::Ready(message.map_or(Step::Close, Step::Send));
            }
            ready!(Pin::new(&mut ping).poll(cx));
            Poll::Ready(Step::Ping)
        })
        .await;
        let sent = match step {
            Step::Send(message) => sender.send(message).await,
            Step::Ping => {
                if !input.is_waiting.get() && pinged_at.is_some_and(|at| input.last.get() < at) {
                    return;
                }
                pinged_at = Some(now());
                ping = sleep(ping_interval);
                sender.send(Message::Ping(Bytes::new())).await
            }
            Step::ShutDown => {
                shutdown = None;
                link.close(CloseCode::Away, "the server shuts down");
                Ok(())
            }
            Step::Close => break,
        };
        if sent.is_err() {
            return;
        }
    }
    if sender.close(link.reason()).await.is_ok() && !input.has_failed.get() {
        // The reading side ends this when the client has answered.
        sleep(CLOSE_TIME).await;
    }
}

/// Ends the stream, and discards what the client still sends: the system would reset the connection
/// otherwise, and the client might not receive the close frame.
async fn finish(mut io: Upgraded) {
    let finished = async {
        if poll_fn(|cx| Pin::new(&mut io).poll_close(cx)).await.is_err() {
            return;
        }
        let mut buf = [0; 512];
        while let Ok(1..) = poll_fn(|cx| Pin::new(&mut io).poll_read(cx, &mut buf)).await {}
    };
    let _ = timeout(FINISH_TIME, finished).await;
}
