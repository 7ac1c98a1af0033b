//! Lines of a stream, none of which is longer than a limit.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::AsyncRead;

/// How many bytes one read receives at most.
const READ: usize = 4096;

/// Reads lines from a stream, and fails if one is longer than a limit.
///
/// Use it for every peer that is not trusted: `AsyncBufReadExt::lines` of `futures` keeps a line of
/// any length in memory.
///
/// # Examples
///
/// ```
/// use matou_net::{LineReader, TcpListener, TcpStream};
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (stream, _) = listener.accept().await?;
///     client.write_all(b"HELO cat\r\nQUIT\r\n").await?;
///     client.close();
///
///     let (reader, mut writer) = stream.into_split();
///     let mut lines = LineReader::new(reader, 512);
///     while let Some(line) = lines.next_line().await? {
///         if line == "QUIT" {
///             writer.write_all(b"221 bye\r\n").await?;
///         }
///     }
///     Ok(())
/// })
/// # }
/// ```
pub struct LineReader<R> {
    reader: R,
    /// Bytes that were read and not returned, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// The bytes before it contain no line feed.
    searched: usize,
    limit: usize,
    eof: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Creates a reader of lines of at most `limit` bytes, the end of the line not counted.
    pub fn new(reader: R, limit: usize) -> LineReader<R> {
        LineReader { reader, buffer: Vec::new(), start: 0, searched: 0, limit, eof: false }
    }

    /// Reads the next line, without the line feed and a carriage return before it. Returns `None`
    /// at the end of the stream. The last line need not have a line feed.
    ///
    /// # Errors
    ///
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the line is longer than the limit, or not
    ///   UTF-8. Every later call returns the same error, because the line is not consumed.
    /// - The error of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes: the next one continues with them.
    pub fn next_line(&mut self) -> NextLine<'_, R> {
        NextLine { lines: self }
    }

    /// Returns the stream.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Returns the stream, and the bytes that were read and are not part of a returned line.
    pub fn into_inner(mut self) -> (R, Vec<u8>) {
        let rest = self.buffer.split_off(self.start);
        (self.reader, rest)
    }

    fn poll_next_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<String>>> {
        loop {
            let found = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            if let Some(offset) = found {
                let end = self.searched + offset;
                let line = self.line(end)?;
                (self.start, self.searched) = (end + 1, end + 1);
                return Poll::Ready(Ok(Some(line)));
            }
            self.searched = self.buffer.len();
            // A carriage return may belong to the end of the line.
            // fault: line-without-end-unlimited
            if self.searched - self.start > self.limit + 1 {
                return Poll::Ready(Err(self.too_long()));
            }
            if self.eof {
                return Poll::Ready(self.last_line().transpose());
            }
            ready!(self.poll_read(cx))?;
        }
    }

    /// Reads further bytes.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + READ, 0);
        let read = Pin::new(&mut self.reader).poll_read(cx, &mut self.buffer[len..]);
        let count = if let Poll::Ready(Ok(count)) = read { count } else { 0 };
        self.buffer.truncate(len + count);
        self.eof = ready!(read)? == 0;
        Poll::Ready(Ok(()))
    }

    fn last_line(&mut self) -> Option<io::Result<String>> {
        let end = self.buffer.len();
        if self.start == end {
            return None;
        }
        let line = self.line(end);
        if line.is_ok() {
            self.start = end;
        }
        Some(line)
    }

    /// Returns the line that ends before `end`.
    fn line(&self, end: usize) -> io::Result<String> {
        let line = &self.buffer[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.limit {
            return Err(self.too_long());
        }
        let text = std::str::from_utf8(line);
        text.map(str::to_owned).map_err(|_| invalid("a line is not UTF-8".into()))
    }

    fn too_long(&self) -> io::Error {
        invalid(format!("a line is longer than {} bytes", self.limit))
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The future of [`LineReader::next_line`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct NextLine<'a, R> {
    lines: &'a mut LineReader<R>,
}

impl<R: AsyncRead + Unpin> Future for NextLine<'_, R> {
    type Output = io::Result<Option<String>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().lines.poll_next_line(cx)
    }
}

impl<R> fmt::Debug for LineReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader").field("limit", &self.limit).finish_non_exhaustive()
    }
}
