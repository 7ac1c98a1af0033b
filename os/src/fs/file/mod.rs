mod io_traits;
mod open;
mod shared;

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use matou_ownership::{Resource, ResourceHandle, Ticket, own, release};
use matou_runtime::{Task, WaitSite};

pub use open::{OpenFile, OpenOptions};

use super::FsFuture;
use crate::access::take_ownership;
use crate::boxed::Boxed;
use shared::{Activity, Shared, closed};

/// The name of the resource in reports.
const KIND: &str = "file";

/// An open file, owned by a task.
///
/// It implements the traits of `futures::io`: [`AsyncRead`](futures_io::AsyncRead),
/// [`AsyncWrite`](futures_io::AsyncWrite) and [`AsyncSeek`](futures_io::AsyncSeek). No call of the
/// file system runs on a domain: blocking jobs transfer up to 256 KiB each, so small reads and
/// writes cost a copy, and not a job.
///
/// **Reading** is ahead of the program. Seeking and writing begin at the position of the program,
/// as if nothing had been read ahead.
///
/// **Writing** is behind the program. A write accepts bytes, up to 256 KiB in all, and a job
/// writes them in order, whether or not the task goes on. An error of the job is returned by the
/// next call, or by `flush` or `close`. If the file is dropped before that, the error is the
/// finding [`FailureUnseen`](matou_runtime::Finding::FailureUnseen). The end of a task waits for
/// the jobs that it has started. So bytes that were accepted are written or their loss is reported.
///
/// The task that opens a file owns it, and a task to which it moves becomes the owner with its
/// first use. The file is closed when it is dropped, and at the latest with the run. One job at a
/// time uses it.
///
/// It is for files on disks. A read of a pipe or a terminal may block for any time, and a job
/// cannot be interrupted.
///
/// # Cancel safety
///
/// A read, write or seek that is given up loses no bytes: the next read returns the bytes that were
/// read, and a write has accepted its bytes when it is ready, or none. A seek may have taken place.
///
/// # Examples
///
/// ```
/// use futures::io::BufReader;
/// use futures::{AsyncBufReadExt, AsyncSeekExt, AsyncWriteExt, TryStreamExt};
/// use matou_os::fs::{self, File};
/// use matou_os::runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let path = std::env::temp_dir().join(format!("matou-{}.txt", std::process::id()));
///     let mut file = File::options().read(true).write(true).create(true).open(&path).await?;
///     file.write_all(b"one\ntwo\n").await?;
///     file.seek(std::io::SeekFrom::Start(0)).await?;
///     let lines: Vec<String> = BufReader::new(file).lines().try_collect().await?;
///     assert_eq!(lines, ["one", "two"]);
///     fs::remove_file(&path).await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct File {
    shared: Arc<Shared>,
}

impl File {
    #[track_caller]
    fn new(ticket: Ticket, file: fs::File) -> File {
        let shared = Arc::new(Shared::new(ticket, file));
        own(&(Arc::clone(&shared) as Arc<dyn Resource>));
        File { shared }
    }

    /// Opens a file for reading. As [`std::fs::File::open`].
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> OpenFile {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing; it is created, or its contents are removed. As
    /// [`std::fs::File::create`].
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    #[track_caller]
    pub fn create(path: impl AsRef<Path>) -> OpenFile {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Returns options that are all off.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes a file of the standard library. Other handles of the same file, made by
    /// [`try_clone`](std::fs::File::try_clone) for example, share its position.
    #[track_caller]
    pub fn from_std(file: fs::File) -> File {
        File::new(Ticket::new(KIND), file)
    }

    /// Converts the file into one of the standard library, which no task owns. Its position is that
    /// of the program.
    ///
    /// # Errors
    ///
    /// An error of an earlier write, after which the file is closed; errors of the system.
    #[track_caller]
    pub fn into_std(self) -> FileFuture<'static, fs::File> {
        let (mut file, task) = (self, Task::new());
        FileFuture(Boxed::new(async move {
            // The job moves the position back over the bytes that were read ahead.
            file.with(task, |_| Ok(())).await?;
            let taken = file.shared.take_file().ok_or_else(closed)?;
            Arc::try_unwrap(taken).or_else(|shared| shared.try_clone())
        }))
    }

    /// Waits until the contents and the properties of the file are on the disk. As
    /// [`std::fs::File::sync_all`].
    ///
    /// # Errors
    ///
    /// An error of an earlier write, or of the system. (As with all methods of a file.)
    ///
    /// # Cancel safety
    ///
    /// As [`File`].
    #[doc(alias = "fsync")]
    #[track_caller]
    pub fn sync_all(&mut self) -> FileFuture<'_, ()> {
        self.run(|file| file.sync_all())
    }

    /// Waits until the contents of the file are on the disk. As [`std::fs::File::sync_data`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    #[doc(alias = "fdatasync")]
    #[track_caller]
    pub fn sync_data(&mut self) -> FileFuture<'_, ()> {
        self.run(|file| file.sync_data())
    }

    /// Truncates or extends the file. As [`std::fs::File::set_len`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    #[doc(alias = "truncate")]
    #[track_caller]
    pub fn set_len(&mut self, len: u64) -> FileFuture<'_, ()> {
        self.run(move |file| file.set_len(len))
    }

    /// Returns the properties of the file, in which everything written counts. As
    /// [`std::fs::File::metadata`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    #[doc(alias = "stat")]
    #[track_caller]
    pub fn metadata(&mut self) -> FileFuture<'_, Metadata> {
        self.run(|file| file.metadata())
    }

    /// Changes the permissions of the file. As [`std::fs::File::set_permissions`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    #[track_caller]
    pub fn set_permissions(&mut self, permissions: Permissions) -> FileFuture<'_, ()> {
        self.run(move |file| file.set_permissions(permissions))
    }

    /// Reads at an offset, without moving the position. As
    /// [`std::os::unix::fs::FileExt::read_at`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    #[doc(alias = "pread")]
    #[track_caller]
    pub fn read_at<'a>(&'a mut self, buffer: &'a mut [u8], offset: u64) -> FileFuture<'a, usize> {
        let (task, len) = (Task::new(), buffer.len());
        FileFuture(Boxed::new(async move {
            let read = self.with(task, move |file| {
                let mut bytes = vec![0; len];
                let count = file.read_at(&mut bytes, offset)?;
                bytes.truncate(count);
                Ok(bytes)
            });
            let bytes = read.await?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }))
    }

    /// Writes at an offset, without moving the position. As
    /// [`std::os::unix::fs::FileExt::write_at`].
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the bytes may have been written or not.
    #[doc(alias = "pwrite")]
    #[track_caller]
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> FileFuture<'_, usize> {
        let bytes = bytes.to_vec();
        self.run(move |file| file.write_at(&bytes, offset))
    }

    /// Runs `f` as a job, after the current one.
    #[track_caller]
    fn run<T: Send + 'static>(
        &mut self,
        f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> FileFuture<'_, T> {
        FileFuture(Boxed::new(self.with(Task::new(), f)))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        task: Task,
        f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        take_ownership(self)?;
        let site = WaitSite::here("an earlier job of a file");
        poll_fn(|cx| self.shared.poll_idle(site, cx)).await?;
        let job = self.shared.begin(Activity::Awaited)?;
        FsFuture::of(task, move || job.with(f)).await
    }
}

/// The future of the methods of a [`File`].
#[must_use = "futures do nothing unless polled"]
pub struct FileFuture<'a, T>(Boxed<'a, T>);

impl<T> Future for FileFuture<'_, T> {
    type Output = io::Result<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll("`FileFuture`", cx)
    }
}

impl<T> fmt::Debug for FileFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileFuture(..)")
    }
}

impl From<OwnedFd> for File {
    #[track_caller]
    fn from(descriptor: OwnedFd) -> File {
        File::from_std(descriptor.into())
    }
}

impl ResourceHandle for File {
    fn ticket(&self) -> &Ticket {
        self.shared.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.shared.clone()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        release(self);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("ticket", self.ticket()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::io::{AsyncWriteExt, copy};
    use matou_runtime::{RunError, run};

    use super::shared::CHUNK;
    use super::*;

    #[test]
    fn a_copy_of_a_large_file_takes_few_jobs() {
        let result: Result<(), RunError> = run(async {
            let name = format!("matou-os-{}-copy", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, vec![b'x'; 16 * CHUNK])?;
            let mut source = File::open(&path).await?;
            fs::remove_file(&path)?;
            let mut target = File::options().write(true).create_new(true).open(&path).await?;
            fs::remove_file(&path)?;
            // It copies 8 KiB at a time.
            assert_eq!(copy(&mut source, &mut target).await?, 16 * CHUNK as u64);
            target.close().await?;
            let jobs = (source.shared.jobs(), target.shared.jobs());
            assert!(jobs.0 <= 24 && jobs.1 <= 48, "{jobs:?}");
            Ok(())
        });
        result.unwrap();
    }
}
