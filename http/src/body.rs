//! The bodies of requests and responses.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;
use pin_project_lite::pin_project;

use crate::connection_state::InProgress;
use crate::outgoing::{Claim, Outgoing};
use crate::sending::Sending;

/// The body of a request.
///
/// A server sends `100 Continue` to a client that expects it when the body is polled first. If the
/// handler drops the body before its end, a connection of HTTP/1 ends after the response.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    /// How long the next part may take.
    limit: Duration,
    /// The timer of the current wait.
    waiting: Option<Sleep>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: Duration) -> RequestBody {
        RequestBody { incoming, limit, waiting: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Incomplete)));
        }
        let waiting = this.waiting.get_or_insert_with(|| sleep(this.limit));
        // fault: slow-bodies-not-limited
        ready!(Pin::new(waiting).poll(cx));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The error of a [`RequestBody`].
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// The client has sent nothing for longer than
    /// [`body_timeout`](crate::Limits::body_timeout).
    TimedOut,
    /// The connection ended before the body did, or the body is malformed.
    Incomplete(hyper::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::TimedOut => "the client sends no more of the body",
            BodyError::Incomplete(_) => "failed to read the body",
        })
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BodyError::TimedOut => None,
            BodyError::Incomplete(error) => Some(error),
        }
    }
}

pin_project! {
    /// The body of a response: the request is in progress until it is dropped.
    pub(crate) struct ResponseBody<B> {
        // None for a response of the server itself, whose body is empty.
        #[pin]
        body: Option<B>,
        in_progress: Option<InProgress>,
        // Identifies the response in HTTP/2.
        response: u64,
        // Held in HTTP/2 while hyper does not poll the body, because the client receives nothing.
        claim: Option<Claim>,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(body: Option<B>, in_progress: Option<InProgress>) -> ResponseBody<B> {
        let sending = in_progress.as_ref().and_then(|it| it.connection().sending.get());
        let response = sending.map_or(0, Sending::next_response);
        let claim = in_progress.as_ref().and_then(|it| Claim::new(it, response));
        ResponseBody { body, in_progress, response, claim }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Outgoing<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        drop(this.claim.take());
        let Some(frame) = ready!(body.poll_frame(cx)) else { return Poll::Ready(None) };
        let (in_progress, response) = (this.in_progress.as_ref(), *this.response);
        let claim = || in_progress.and_then(|it| Claim::new(it, response));
        *this.claim = claim();
        let frame = frame.map(|it| it.map_data(|data| Outgoing { data, claim: claim() }));
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
