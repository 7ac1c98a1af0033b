use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Output};
use std::task::{Context, Poll};

use futures_io::AsyncRead;

use super::Spawn;
use crate::boxed::Boxed;

/// The most bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// The future of [`Command::output`](super::Command::output).
#[must_use = "dropping it cancels the process"]
pub struct OutputFuture(Boxed<'static, Output>);

/// The future of [`Command::status`](super::Command::status).
#[must_use = "dropping it cancels the process"]
pub struct StatusFuture(Boxed<'static, ExitStatus>);

impl OutputFuture {
    #[track_caller]
    pub(super) fn new(child: Spawn, limit: usize) -> OutputFuture {
        OutputFuture(Boxed::new(async move {
            let mut child = child.await?;
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            match read_both(stdout, stderr, limit).await {
                Ok((stdout, stderr)) => Ok(Output { status: child.wait().await?, stdout, stderr }),
                Err(error) => {
                    // The process is gone when the error is returned.
                    child.cancel().await;
                    Err(error)
                }
            }
        }))
    }
}

impl StatusFuture {
    #[track_caller]
    pub(super) fn new(child: Spawn) -> StatusFuture {
        StatusFuture(Boxed::new(async move { child.await?.wait().await }))
    }
}

impl Future for OutputFuture {
    type Output = io::Result<Output>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll("`OutputFuture`", cx)
    }
}

impl Future for StatusFuture {
    type Output = io::Result<ExitStatus>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll("`StatusFuture`", cx)
    }
}

impl fmt::Debug for OutputFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputFuture(..)")
    }
}

impl fmt::Debug for StatusFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusFuture(..)")
    }
}

/// Reads two streams to their ends, at the same time: a process that fills one pipe must not wait
/// for the end of the other.
async fn read_both(
    first: Option<impl AsyncRead + Unpin>,
    second: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut first, mut second) = (pin!(read(first, limit)), pin!(read(second, limit)));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        for (future, bytes) in [
            (first.as_mut() as Pin<&mut dyn Future<Output = io::Result<Vec<u8>>>>, &mut a),
            (second.as_mut(), &mut b),
        ] {
            if bytes.is_none()
                && let Poll::Ready(read) = future.poll(cx)?
            {
                *bytes = Some(read);
            }
        }
        match (&mut a, &mut b) {
            (Some(a), Some(b)) => Poll::Ready(Ok((std::mem::take(a), std::mem::take(b)))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Reads a stream to its end, and drops it.
async fn read(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut stream) = stream else { return Ok(bytes) };
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut chunk)).await?;
        if count == 0 {
            return Ok(bytes);
        }
        // fault: output-unlimited
        if bytes.len() + count > limit {
            let text = format!("the process wrote more than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}
