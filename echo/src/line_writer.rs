use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most lines that wait to be written. Further ones are dropped and counted.
const LINES_MAX: usize = 1024;
/// The pause before a stream in non-blocking mode is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Writes lines to a stream that may block, such as a pipe whose reader is slow, without blocking
/// the caller.
///
/// The lines wait in a bounded queue for a thread that writes them. If the queue is full, further
/// lines are dropped, and a line with their number follows when the queue is empty. Clones share
/// the queue. The thread starts with the first line, and ends when the queue is empty and the last
/// clone is dropped.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_echo::LineWriter;
///
/// let output = LineWriter::new("example", std::io::sink());
/// output.line("listening on 127.0.0.1:3000".to_owned());
/// assert!(output.flush(Duration::from_secs(60)));
/// ```
#[derive(Clone, Debug)]
pub struct LineWriter {
    owner: Arc<Owner>,
}

/// Shared by the clones of a writer, but not with its thread.
#[derive(Debug)]
struct Owner {
    thread_name: &'static str,
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    /// Notified when the state changes.
    changed: Condvar,
    /// Locked by the thread as long as it runs.
    stream: Mutex<Box<dyn Write + Send>>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// The number of lines that were dropped and not reported yet.
    dropped: u64,
    /// The thread writes a line that is not in the queue any more.
    is_writing: bool,
    is_started: bool,
    /// The last clone of the writer is dropped.
    is_closed: bool,
}

impl LineWriter {
    /// Creates a writer of lines to `stream`, with this name for its thread.
    pub fn new(thread_name: &'static str, stream: impl Write + Send + 'static) -> LineWriter {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            stream: Mutex::new(Box::new(stream)),
        });
        LineWriter { owner: Arc::new(Owner { thread_name, queue }) }
    }

    /// Queues a line, which is given without its end. The stream is not waited for: if the queue is
    /// full, or if the system has no thread, the line is dropped.
    pub fn line(&self, text: String) {
        let queue = &self.owner.queue;
        let mut state = queue.lock();
        if state.lines.len() == LINES_MAX || !self.owner.start(&mut state) {
            state.dropped += 1;
            return;
        }
        state.lines.push_back(text);
        drop(state);
        queue.changed.notify_all();
    }

    /// Waits until all lines are written, but no longer than `limit`. Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let queue = &self.owner.queue;
        let deadline = Instant::now().checked_add(limit);
        let mut state = queue.lock();
        while !state.is_idle() && state.is_started {
            let left = deadline.map_or(limit, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            let waited = queue.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_idle()
    }
}

impl Owner {
    /// Starts the thread, unless it runs already. Returns whether it runs.
    fn start(&self, state: &mut State) -> bool {
        if !state.is_started {
            let queue = Arc::clone(&self.queue);
            let thread = thread::Builder::new().name(self.thread_name.to_owned());
            state.is_started = thread.spawn(move || queue.write_lines()).is_ok();
        }
        state.is_started
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes lines until the queue is empty and closed.
    fn write_lines(&self) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut line) = self.next_line() {
            line.push('\n');
            // If the stream is closed, there is nowhere to report that.
            let _ = write_fully(&mut **stream, line.as_bytes());
        }
    }

    /// Waits for the next line; `None` at the end.
    fn next_line(&self) -> Option<String> {
        let mut state = self.lock();
        state.is_writing = false;
        loop {
            if let Some(line) = state.take() {
                state.is_writing = true;
                return Some(line);
            }
            // The queue is empty: `flush` may return.
            self.changed.notify_all();
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && !self.is_writing
    }

    /// Takes the next line, or a line about dropped ones.
    fn take(&mut self) -> Option<String> {
        if let Some(line) = self.lines.pop_front() {
            return Some(line);
        }
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| format!("warn: {dropped} lines were dropped, the reader is too slow"))
    }
}

/// Writes all bytes, also to a stream that another process has put into non-blocking mode.
fn write_fully(stream: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_DELAY),
            Err(error) => return Err(error),
        }
    }
    stream.flush()
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A stream whose writes wait until the test permits them; it sends what was written.
    struct Gate {
        permits: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.written.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn e12_lines_for_a_blocked_stream_are_dropped_and_counted() {
        let (permit, permits) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let output = LineWriter::new("test", Gate { permits, written: sender });
        output.line("first".to_owned());
        // The thread has taken the first line when the flush fails for the first time with an empty
        // queue; from then on the queue has room for a known number of lines.
        while !output.owner.queue.lock().is_writing {
            thread::yield_now();
        }
        for number in 0..LINES_MAX + 7 {
            output.line(number.to_string());
        }
        assert!(!output.flush(Duration::from_millis(1)), "the stream is blocked");
        for _ in 0..LINES_MAX + 2 {
            permit.send(()).unwrap();
        }
        assert!(output.flush(LIMIT));
        let lines: Vec<String> = written.try_iter().collect();
        assert_eq!(lines.len(), LINES_MAX + 2);
        assert_eq!((&*lines[0], &*lines[1], &*lines[LINES_MAX]), ("first\n", "0\n", "1023\n"));
        assert!(lines[LINES_MAX + 1].starts_with("warn: 7 lines were dropped"), "{lines:?}");
        drop(output);
        assert!(written.recv_timeout(LIMIT).is_err(), "the thread has ended");
    }

    #[test]
    fn e12_a_stream_in_non_blocking_mode_gets_every_byte() {
        struct Trickle(mpsc::Sender<u8>, bool);
        impl Write for Trickle {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                match self.1 {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => self.0.send(bytes[0]).map(|()| 1).map_err(io::Error::other),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, bytes) = mpsc::channel();
        let output = LineWriter::new("test", Trickle(sender, false));
        output.line("purr".to_owned());
        assert!(output.flush(LIMIT));
        assert_eq!(bytes.try_iter().collect::<Vec<u8>>(), b"purr\n");
    }
}
