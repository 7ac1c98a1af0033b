//! A standard input that is a file on a disk.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use matou_runtime::{Task, WaitSite, try_blocking};

use crate::outcome::into_result;

/// The most bytes that a job reads.
const CHUNK: usize = 64 << 10;

/// Reads a file by jobs, each at an offset: the result of one that is not awaited is not missed.
#[derive(Debug)]
pub(super) struct RegularInput {
    file: Arc<File>,
    /// Where the next job reads.
    offset: u64,
    job: Option<Arc<Mutex<Reading>>>,
}

#[derive(Debug, Default)]
struct Reading {
    result: Option<io::Result<Vec<u8>>>,
    waker: Option<Waker>,
}

impl RegularInput {
    /// Begins at the position of the descriptor, which it shares with other processes.
    pub(super) fn new(mut file: File) -> io::Result<RegularInput> {
        let offset = file.stream_position()?;
        Ok(RegularInput { file: Arc::new(file), offset, job: None })
    }

    /// Reads the next bytes; none at the end.
    #[track_caller]
    pub(super) fn poll_read(
        &mut self,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Vec<u8>>> {
        let job = match &self.job {
            Some(job) => job,
            None => self.job.insert(read(Arc::clone(&self.file), self.offset)),
        };
        let waker = cx.waker().clone();
        let mut reading = job.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(result) = reading.result.take() else {
            let previous = reading.waker.replace(waker);
            drop(reading);
            drop(previous);
            site.note();
            return Poll::Pending;
        };
        drop(reading);
        self.job = None;
        Poll::Ready(result.inspect(|bytes| self.offset += bytes.len() as u64))
    }

    /// Moves the position of the descriptor behind what the program has read: `unread` bytes were
    /// read ahead. Then the next reader, in this process or another one, continues there.
    pub(super) fn give_back(&self, unread: usize) {
        // The system call changes a number and does not block. An error changes nothing.
        let _ = (&*self.file).seek(SeekFrom::Start(self.offset - unread as u64));
    }
}

/// Starts a job. The end of the current task waits for it.
#[track_caller]
fn read(file: Arc<File>, offset: u64) -> Arc<Mutex<Reading>> {
    let job = Job(Arc::default());
    let reading = Arc::clone(&job.0);
    let child = Task::new().name("read of the standard input").shield(async move {
        let read = try_blocking(move |_| {
            let mut bytes = vec![0; CHUNK];
            let count = loop {
                match file.read_at(&mut bytes, offset) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            bytes.truncate(count);
            Ok(bytes)
        });
        job.end(into_result(read.await));
    });
    drop(child);
    reading
}

/// Ends the reading also if the job is dropped before it has begun.
struct Job(Arc<Mutex<Reading>>);

impl Job {
    fn end(&self, result: io::Result<Vec<u8>>) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.result.get_or_insert(result);
        let waker = reading.waker.take();
        drop(reading);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end(Err(io::Error::other("a job was cancelled before it began")));
    }
}
