use std::fmt;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_ownership::Ticket;

use super::{File, KIND};
use crate::fs::FsFuture;

/// How a [`File`] is opened; as [`std::fs::OpenOptions`].
///
/// # Examples
///
/// ```
/// use futures::AsyncWriteExt;
/// use matou_os::fs::{self, File};
/// use matou_os::runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let path = std::env::temp_dir().join(format!("matou-{}.log", std::process::id()));
///     let mut log = File::options().append(true).create(true).open(&path).await?;
///     log.write_all(b"started\n").await?;
///     log.close().await?;
///     assert_eq!(fs::read_to_string(&path).await?, "started\n");
///     fs::remove_file(&path).await?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Creates options that are all off, as [`std::fs::OpenOptions::new`].
    #[expect(clippy::new_without_default, reason = "as in the standard library")]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// Sets whether the file can be read.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// Sets whether the file can be written.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// Sets whether each write goes to the end of the file.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// Sets whether the contents of an existing file are removed.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// Sets whether a file is created if there is none.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// Sets whether the file must be a new one.
    #[doc(alias = "O_EXCL")]
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.0.create_new(create_new);
        self
    }

    /// Sets the permissions of a file that is created, minus the `umask` of the process. Default:
    /// `0o666`.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    /// Sets further flags of the system call `open`.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }

    /// Opens a file. The task that polls the future to its end owns it.
    ///
    /// # Errors
    ///
    /// As [`std::fs::OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the file. It may have been created.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a task.
    #[track_caller]
    pub fn open(&self, path: impl AsRef<Path>) -> OpenFile {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        let ticket = Some(Ticket::new(KIND));
        OpenFile { ticket, opened: FsFuture::new(move || options.open(path)) }
    }
}

/// The future of [`File::open`], [`File::create`] and [`OpenOptions::open`].
#[must_use = "futures do nothing unless polled"]
pub struct OpenFile {
    /// Has the line of the call; `None` after the end.
    ticket: Option<Ticket>,
    opened: FsFuture<fs::File>,
}

impl Future for OpenFile {
    type Output = io::Result<File>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let file = ready!(Pin::new(&mut self.opened).poll(cx))?;
        let ticket = self.ticket.take().expect("`opened` is ready once");
        Poll::Ready(Ok(File::new(ticket, file)))
    }
}

impl Unpin for OpenFile {}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenFile(..)")
    }
}
