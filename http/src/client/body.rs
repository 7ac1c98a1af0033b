//! The bodies of requests and responses.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use matou_runtime::futures::Sleep;

use super::error::{ClientError, ClientErrorKind};
use super::lease::Lease;
use crate::error::BoxError;

/// The body of a request of any type.
pub(super) struct OutgoingBody {
    /// `None` if it is empty.
    body: Option<Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>>,
    /// Set when the whole body was taken.
    is_sent: Rc<Cell<bool>>,
}

impl OutgoingBody {
    pub(super) fn new<B>(body: B) -> OutgoingBody
    where
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return OutgoingBody::empty();
        }
        OutgoingBody { body: Some(Box::pin(AnyError(Box::pin(body)))), is_sent: Rc::default() }
    }

    pub(super) fn empty() -> OutgoingBody {
        OutgoingBody { body: None, is_sent: Rc::new(Cell::new(true)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub(super) fn sent_flag(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.is_sent)
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let poll = body.as_mut().poll_frame(cx);
        match &poll {
            Poll::Ready(None) => this.is_sent.set(true),
            Poll::Ready(Some(Ok(_))) if body.is_end_stream() => this.is_sent.set(true),
            Poll::Ready(Some(_)) | Poll::Pending => {}
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

/// A body whose errors are boxed.
struct AnyError<B>(Pin<Box<B>>);

impl<B> Body for AnyError<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
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
/// Its connection serves no other request of HTTP/1 before the end of the body. To drop the body
/// before its end closes a connection of HTTP/1, and resets the stream of HTTP/2.
pub struct ResponseBody {
    incoming: Incoming,
    /// `None` at the end of the body.
    lease: Option<Lease>,
    /// The time limit of the exchange.
    limit: Option<Sleep>,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, limit: Option<Sleep>) -> ResponseBody {
        let mut body = ResponseBody { incoming, lease: Some(lease), limit };
        body.finish_at_end();
        body
    }

    /// Reads the body to its end, and returns its bytes without the trailers.
    ///
    /// # Errors
    ///
    /// [`ClientErrorKind::BodyTooLarge`] if there are more than `limit` bytes; otherwise as to poll
    /// the body.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the body.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let too_large = || Err(ClientErrorKind::BodyTooLarge.into());
        if self.incoming.size_hint().lower() > limit as u64 {
            return too_large();
        }
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > limit - bytes.len() {
                return too_large();
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// Makes the connection available if this is the end of the body.
    fn finish_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let limit = this.limit.as_mut().filter(|_| this.lease.is_some());
                let Some(limit) = limit else { return Poll::Pending };
                if Pin::new(limit).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.lease = None;
                return Poll::Ready(Some(Err(ClientErrorKind::TimedOut.into())));
            }
        };
        match frame {
            Some(Ok(frame)) => {
                this.finish_at_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let kind = match this.lease.take() {
                    Some(lease) => lease.error_kind(ClientErrorKind::Body),
                    None => ClientErrorKind::Body,
                };
                Poll::Ready(Some(Err(ClientError::new(kind, error))))
            }
            None => {
                if let Some(lease) = this.lease.take() {
                    lease.finish();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}
