//! The bodies of requests and responses.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;

use super::error::ClientError;
use super::error::ClientErrorKind::{Body as Incomplete, TimedOut, TooLong};
use super::pool::Lease;
use crate::error::BoxError;

/// The content of a request: nothing, bytes, text, or a stream.
pub struct RequestContent(Content);

enum Content {
    Bytes(Option<Bytes>),
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl RequestContent {
    /// No content.
    pub fn empty() -> RequestContent {
        RequestContent(Content::Bytes(None))
    }

    /// A body whose parts are produced while it is sent. A request with one is repeated only if
    /// nothing of it was sent.
    pub fn stream<B>(body: B) -> RequestContent
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        RequestContent(Content::Stream(Box::pin(WithBoxError(Box::pin(body)))))
    }

    /// Returns a copy, unless the content is a stream.
    pub(super) fn copy(&self) -> Option<RequestContent> {
        match &self.0 {
            Content::Bytes(bytes) => Some(RequestContent(Content::Bytes(bytes.clone()))),
            Content::Stream(_) => None,
        }
    }
}

macro_rules! from_bytes {
    ($($form:ty),*) => {
        $(
            impl From<$form> for RequestContent {
                fn from(content: $form) -> RequestContent {
                    let bytes = Bytes::from(content);
                    RequestContent(Content::Bytes((!bytes.is_empty()).then_some(bytes)))
                }
            }
        )*
    };
}

from_bytes!(Bytes, String, Vec<u8>, &'static str, &'static [u8]);

impl From<()> for RequestContent {
    fn from((): ()) -> RequestContent {
        RequestContent::empty()
    }
}

impl Body for RequestContent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Content::Bytes(bytes) => Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it)))),
            Content::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Bytes(bytes) => bytes.is_none(),
            Content::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Bytes(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestContent").field(&self.size_hint()).finish()
    }
}

/// A body with boxed errors.
struct WithBoxError<B>(Pin<Box<B>>);

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for WithBoxError<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The body of a response.
///
/// When it was read to its end, its connection serves the next request. If it is dropped earlier,
/// the rest is given up.
pub struct ClientBody {
    incoming: Incoming,
    limit: Duration,
    /// The timer of the current wait.
    waiting: Option<Sleep>,
    /// The use of the connection; `None` once the body has ended.
    lease: Option<Lease>,
}

impl ClientBody {
    pub(super) fn new(incoming: Incoming, limit: Duration, lease: Lease) -> ClientBody {
        let mut body = ClientBody { incoming, limit, waiting: None, lease: Some(lease) };
        body.end_if_complete();
        body
    }

    /// Gives the connection back if the body has ended.
    fn end_if_complete(&mut self) {
        // fault: unread-body-goes-to-the-pool
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`TooLong`](super::ClientErrorKind::TooLong) beyond the limit,
    /// [`Body`](super::ClientErrorKind::Body) and [`TimedOut`](super::ClientErrorKind::TimedOut) if
    /// the body is not complete.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the request up.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > limit - bytes.len() {
                return Err(ClientError::new(TooLong, format!("more than {limit} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// Reads the whole body as text, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`collect`](ClientBody::collect); [`Body`](super::ClientErrorKind::Body) if the text is
    /// not UTF-8.
    ///
    /// # Cancel safety
    ///
    /// As [`collect`](ClientBody::collect).
    pub async fn text(self, limit: usize) -> Result<String, ClientError> {
        let bytes = self.collect(limit).await?;
        String::from_utf8(bytes).map_err(|error| ClientError::new(Incomplete, error))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.waiting = None;
            match &frame {
                Some(Ok(_)) => this.end_if_complete(),
                Some(Err(_)) => this.lease = None,
                None => {
                    if let Some(lease) = this.lease.take() {
                        lease.give_back();
                    }
                }
            }
            let incomplete = |error| ClientError::new(Incomplete, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(incomplete)));
        }
        let waiting = this.waiting.get_or_insert_with(|| sleep(this.limit));
        ready!(Pin::new(waiting).poll(cx));
        this.lease = None;
        let text = format!("nothing for {:?}", this.limit);
        Poll::Ready(Some(Err(ClientError::new(TimedOut, text))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
