//! Reading, writing and seeking.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};
use matou_ownership::release;
use matou_runtime::{WaitSite, poll_proceed};

use super::File;
use crate::access::take_ownership;

impl AsyncRead for File {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        take_ownership(&*self)?;
        ready!(poll_proceed(cx));
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let site = WaitSite::here("read of a file");
        loop {
            ready!(self.shared.poll_idle(site, cx))?;
            if let Some(result) = self.shared.take_read(buffer) {
                return Poll::Ready(result);
            }
            self.shared.start_read()?;
        }
    }
}

impl AsyncWrite for File {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        take_ownership(&*self)?;
        ready!(poll_proceed(cx));
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.shared.poll_accept(bytes, WaitSite::here("write of a file"), cx)
    }

    /// Waits until the system has all bytes. (They are on the disk after
    /// [`sync_all`](File::sync_all).)
    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        take_ownership(&*self)?;
        self.shared.poll_idle(WaitSite::here("flush of a file"), cx)
    }

    /// Waits as [`poll_flush`](AsyncWrite::poll_flush) does, and closes the file. To close a closed
    /// file again is a success.
    #[track_caller]
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.is_closed() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(self.as_mut().poll_flush(cx));
        release(&*self);
        Poll::Ready(flushed)
    }
}

impl AsyncSeek for File {
    #[track_caller]
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        take_ownership(&*self)?;
        ready!(poll_proceed(cx));
        loop {
            ready!(self.shared.poll_idle(WaitSite::here("seek of a file"), cx))?;
            if let Some(result) = self.shared.take_sought(target) {
                return Poll::Ready(result);
            }
            self.shared.start_seek(target)?;
        }
    }
}
