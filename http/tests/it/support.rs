use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use matou_http::runtime::test::Check;
use matou_http::runtime::{MainError, Promise, Violations, try_spawn};
use matou_http::{HttpService, Serve, Served, serve};
use matou_net::{TcpListener, TcpStream};

pub(crate) type TestResult = Result<(), MainError>;

/// Runs a test in simulated runs. The rules are strict, but a violation ends its task alone, as in
/// a program.
pub(crate) fn check<F>(body: fn() -> F)
where
    F: Future<Output = TestResult> + 'static,
{
    check_seeds(4, body);
}

/// For a test that takes long.
pub(crate) fn check_seeds<F>(seeds: u64, body: fn() -> F)
where
    F: Future<Output = TestResult> + 'static,
{
    Check::simulated().violations(Violations::FailTask).on_report(|_| {}).run(0..seeds, body);
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    promise: Promise<Served, io::Error>,
    events: Rc<RefCell<Vec<String>>>,
}

/// Starts a server, which `set` can change.
pub(crate) fn start<S: HttpService>(
    service: S,
    set: impl FnOnce(Serve<TcpListener, S>) -> Serve<TcpListener, S>,
) -> Server {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let events = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&events);
    let server =
        serve(listener, service).on_event(move |event| log.borrow_mut().push(event.to_string()));
    Server { address, promise: try_spawn(set(server).into_future()), events }
}

impl Server {
    pub(crate) async fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Shuts the server down by the cancellation of its task, and returns the events.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.promise.cancel().await;
        self.events.take()
    }

    /// Waits for the end of the server.
    pub(crate) async fn join(self) -> Served {
        self.promise.await.unwrap()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.events.borrow().clone()
    }
}

/// A client that knows as much of HTTP/1.1 as the tests need.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What was received and not consumed.
    buf: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Client {
        Client { stream, buf: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.response().await
    }

    /// Receives more bytes; `false` at the end of the stream and after a reset.
    pub(crate) async fn receive(&mut self) -> bool {
        let mut buf = [0; 4096];
        let count = self.stream.read(&mut buf).await.unwrap_or(0);
        self.buf.extend_from_slice(&buf[..count]);
        count > 0
    }

    /// Receives the head of a response.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buf.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.buf.drain(..end + 4).collect()).unwrap();
            }
            assert!(
                self.receive().await,
                "no response, but {:?}",
                String::from_utf8_lossy(&self.buf)
            );
        }
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buf.len() < count {
            assert!(self.receive().await, "{} of {count} bytes", self.buf.len());
        }
        self.buf.drain(..count).collect()
    }

    /// Receives this many bytes; `None` if the stream ends before.
    pub(crate) async fn try_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buf.len() < count {
            if !self.receive().await {
                return None;
            }
        }
        Some(self.buf.drain(..count).collect())
    }

    /// Receives a response with a content length: its status and body.
    pub(crate) async fn response(&mut self) -> (u16, String) {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        let body = self.bytes(length).await;
        (status(&head), String::from_utf8(body).unwrap())
    }

    /// Receives everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> String {
        while self.receive().await {}
        String::from_utf8(std::mem::take(&mut self.buf)).unwrap()
    }
}

pub(crate) fn status(head: &str) -> u16 {
    head.strip_prefix("HTTP/1.1 ").expect("a response")[..3].parse().unwrap()
}

pub(crate) fn text(text: impl Into<String>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(text.into()))
}

/// Reads a body to its end.
pub(crate) async fn read_body<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
) -> Result<Vec<u8>, B::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// A body of one chunk that becomes available when a future is ready, and that never ends before.
pub(crate) struct Later {
    pub(crate) first: Option<Bytes>,
    pub(crate) then: Pin<Box<dyn Future<Output = Bytes>>>,
    pub(crate) is_done: bool,
}

impl Later {
    pub(crate) fn new(
        first: &'static str,
        then: impl Future<Output = &'static str> + 'static,
    ) -> Later {
        let then = Box::pin(async { Bytes::from_static(then.await.as_bytes()) });
        Later { first: Some(Bytes::from_static(first.as_bytes())), then, is_done: false }
    }
}

impl Body for Later {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.is_done {
            return Poll::Ready(None);
        }
        self.then.as_mut().poll(cx).map(|bytes| {
            self.is_done = true;
            Some(Ok(Frame::data(bytes)))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Writes to a log when it is dropped.
pub(crate) struct Guard(pub(crate) &'static str, pub(crate) Log);

pub(crate) type Log = Rc<RefCell<Vec<&'static str>>>;

impl Drop for Guard {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}
