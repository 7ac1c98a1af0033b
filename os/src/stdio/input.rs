use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead};
use matou_ownership::Ticket;
use matou_runtime::{Direction, IoSource, WaitSite, poll_proceed, test};

use super::regular::RegularInput;
use crate::descriptor::Descriptor;
use crate::sys::{self, StandardInput};

/// The most bytes that are read at once.
const READ: usize = 8 << 10;
/// The longest line of [`Stdin::next_line`].
const LINE_MAX: usize = 1 << 20;

/// The bytes that earlier handles have read and not returned; `None` while there is a handle.
static UNREAD: Mutex<Option<Vec<u8>>> = Mutex::new(Some(Vec::new()));

/// Opens the standard input of the process. There is one handle at a time.
///
/// # Errors
///
/// - [`ResourceBusy`](io::ErrorKind::ResourceBusy) while another handle exists.
/// - [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
/// - If the descriptor 0 is closed, or cannot be duplicated.
///
/// # Examples
///
/// ```no_run
/// use matou_os::runtime::{RunError, run};
/// use matou_os::stdio::stdin;
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut input = stdin()?;
///     while let Some(line) = input.next_line().await? {
///         println!("{} characters", line.chars().count());
///     }
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn stdin() -> io::Result<Stdin> {
    if test::simulation().is_some() {
        let text = "there is no standard input in a simulated run";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let ticket = Ticket::new("standard input");
    let buffer = Buffer::take().ok_or_else(|| {
        let text = "the standard input has a handle already";
        io::Error::new(io::ErrorKind::ResourceBusy, text)
    })?;
    let polled = |source| Input::Polled(Descriptor::new(ticket, source));
    let input = match sys::standard_input()? {
        StandardInput::File(file) => Input::Regular(RegularInput::new(file)?),
        StandardInput::Own(descriptor) => polled(IoSource::from_nonblocking(descriptor)),
        StandardInput::Shared(descriptor) => polled(IoSource::from_shared(descriptor)),
    };
    Ok(Stdin { input, buffer })
}

/// The standard input; returned by [`stdin`].
///
/// It implements [`AsyncRead`] and [`AsyncBufRead`] of `futures::io`, and has
/// [`next_line`](Stdin::next_line). Of a pipe or a terminal the task that uses it is the owner.
///
/// # Cancel safety
///
/// No read that is given up loses bytes. Bytes that were read ahead when the handle is dropped are
/// returned by the next handle. If the input is a file, the position that it shares with other
/// processes is then behind the last byte that was returned.
pub struct Stdin {
    input: Input,
    buffer: Buffer,
}

enum Input {
    /// A pipe, a terminal or a socket.
    Polled(Descriptor),
    Regular(RegularInput),
}

/// The bytes that were read and not returned: those from `start` on. Its drop keeps them for the
/// next handle.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    /// The bytes before it contain no line feed.
    searched: usize,
}

impl Stdin {
    /// Reads the next line, without the line feed and a carriage return before it. Returns `None`
    /// at the end of the input. The last line need not have a line feed.
    ///
    /// # Errors
    ///
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the line is longer than 1 MiB or not UTF-8.
    ///   It is not consumed.
    /// - The error of the system.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a task.
    #[doc(alias = "read_line")]
    #[doc(alias = "lines")]
    #[track_caller]
    pub fn next_line(&mut self) -> NextLine<'_> {
        NextLine { input: self, at: Location::caller() }
    }

    /// Reads further bytes into the buffer. Returns how many they are: none at the end.
    #[track_caller]
    fn poll_more(&mut self, site: WaitSite, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buffer = &mut self.buffer;
        match &mut self.input {
            Input::Regular(file) => {
                let bytes = ready!(file.poll_read(site, cx))?;
                buffer.bytes_mut().extend_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            Input::Polled(descriptor) => descriptor.poll(Direction::Read, site, cx, |descriptor| {
                let bytes = buffer.bytes_mut();
                let len = bytes.len();
                bytes.resize(len + READ, 0);
                let read = sys::read_if_ready(descriptor, &mut bytes[len..]);
                bytes.truncate(len + *read.as_ref().unwrap_or(&0));
                read
            }),
        }
    }

    /// Reads until there are bytes, or the end.
    #[track_caller]
    fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        ready!(poll_proceed(cx));
        if self.buffer.unread().is_empty() {
            ready!(self.poll_more(WaitSite::here("read of the standard input"), cx))?;
        }
        Poll::Ready(Ok(self.buffer.unread()))
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Input::Regular(file) = &self.input {
            file.give_back(self.buffer.unread().len());
            self.buffer.consume(self.buffer.unread().len());
        }
    }
}

impl AsyncRead for Stdin {
    #[track_caller]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let available = ready!(self.poll_available(cx))?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.buffer.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncBufRead for Stdin {
    #[track_caller]
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_available(cx)
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.buffer.consume(count);
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin(..)")
    }
}

/// The future of [`Stdin::next_line`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct NextLine<'a> {
    input: &'a mut Stdin,
    at: &'static Location<'static>,
}

impl Future for NextLine<'_> {
    type Output = io::Result<Option<String>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let site = WaitSite::new("a line of the standard input", self.at);
        let input = &mut *self.get_mut().input;
        ready!(poll_proceed(cx));
        loop {
            if let Some(line) = input.buffer.line() {
                return Poll::Ready(line.map(Some));
            }
            if input.buffer.unread().len() > LINE_MAX {
                return Poll::Ready(Err(invalid("a line is longer than 1 MiB")));
            }
            if ready!(input.poll_more(site, cx))? == 0 {
                return Poll::Ready(input.buffer.last_line().transpose());
            }
        }
    }
}

impl Buffer {
    /// Takes the bytes that the previous handle has left; `None` while there is one.
    fn take() -> Option<Buffer> {
        let bytes = UNREAD.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Buffer { bytes, start: 0, searched: 0 })
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        self.searched = self.searched.max(self.start);
    }

    /// Returns the bytes, from which those that were returned are removed.
    fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        &mut self.bytes
    }

    /// Returns the first line if its end was read.
    fn line(&mut self) -> Option<io::Result<String>> {
        let found = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
        let Some(offset) = found else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + offset;
        let line = text(&self.bytes[self.start..end]);
        if line.is_ok() {
            self.consume(end + 1 - self.start);
        }
        Some(line)
    }

    /// Returns the bytes behind the last line feed.
    fn last_line(&mut self) -> Option<io::Result<String>> {
        if self.unread().is_empty() {
            return None;
        }
        let line = text(self.unread());
        if line.is_ok() {
            self.consume(self.unread().len());
        }
        Some(line)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.drain(..self.start);
        // fault: unread-input-lost
        let bytes = std::mem::take(&mut self.bytes);
        *UNREAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

fn text(line: &[u8]) -> io::Result<String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line);
    text.map(str::to_owned).map_err(|_| invalid("a line is not UTF-8"))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
