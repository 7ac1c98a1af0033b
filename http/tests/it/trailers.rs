//! Trailers, in both directions and both versions.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::TRAILER;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use matou_http::{BodyError, HttpService, RequestBody, service_fn};

use crate::http2::connect;
use crate::support::{check, start};

/// A body of these frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// Sends the body back, and its trailers as trailers.
fn echo() -> impl HttpService {
    service_fn(|mut request: Request<RequestBody>| async move {
        let mut frames = VecDeque::new();
        while let Some(frame) =
            poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await.transpose()?
        {
            frames.push_back(frame);
        }
        let mut response = Response::new(Frames(frames));
        response.headers_mut().insert(TRAILER, "x-cat".parse().expect("a valid header"));
        Ok::<_, BodyError>(response)
    })
}

#[test]
fn trailers_of_http1_pass_in_both_directions() {
    check(|| async {
        let server = start(echo(), |server| server);
        let mut client = server.connect().await;
        client
            .send(
                "POST / HTTP/1.1\r\nhost: test\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\
                 connection: close\r\ntrailer: x-cat\r\n\r\n4\r\npurr\r\n0\r\nx-cat: Mia\r\n\r\n",
            )
            .await;
        let response = client.rest().await;
        assert!(response.ends_with("\r\n\r\n4\r\npurr\r\n0\r\nx-cat: Mia\r\n\r\n"), "{response:?}");
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}

#[test]
fn trailers_of_http2_pass_in_both_directions() {
    check(|| async {
        let server = start(echo(), |server| server);
        let (mut sender, connection) = connect::<Frames>(&server).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-cat", "Mia".parse()?);
        let frames = [Frame::data(Bytes::from_static(b"purr")), Frame::trailers(trailers.clone())];
        let request = Request::post("http://test/").body(Frames(frames.into()))?;
        let mut response = sender.send_request(request).await?;
        let (mut data, mut received) = (Vec::new(), None);
        while let Some(frame) =
            poll_fn(|cx| Pin::new(response.body_mut()).poll_frame(cx)).await.transpose()?
        {
            match frame.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => received = frame.into_trailers().ok(),
            }
        }
        assert_eq!((data.as_slice(), received), (b"purr".as_slice(), Some(trailers)));
        drop((sender, response));
        connection.await?;
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}
