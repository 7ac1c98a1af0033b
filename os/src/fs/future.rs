use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use matou_runtime::{Promise, Task};

use crate::outcome::{into_result, polled_after_completion};

type Job<T> = Box<dyn FnOnce() -> io::Result<T> + Send>;

/// The future of the functions of this module. Its job starts with the first poll.
#[must_use = "futures do nothing unless polled"]
pub struct FsFuture<T> {
    state: State<T>,
    called_at: &'static Location<'static>,
}

enum State<T> {
    /// The task remembers the line of the call.
    New(Task, Job<T>),
    Running(Promise<T, io::Error>),
    Done,
}

impl<T: Send + 'static> FsFuture<T> {
    #[track_caller]
    pub(super) fn new(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> FsFuture<T> {
        FsFuture::of(Task::new(), job)
    }

    /// Creates the future of a job whose `task` has the line of the call.
    #[track_caller]
    pub(crate) fn of(
        task: Task,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> FsFuture<T> {
        FsFuture { state: State::New(task, Box::new(job)), called_at: Location::caller() }
    }
}

impl<T: Send + 'static> Future for FsFuture<T> {
    type Output = io::Result<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::New(task, job) => {
                    self.state = State::Running(task.try_blocking(move |_| job()));
                }
                State::Running(mut promise) => {
                    return match Pin::new(&mut promise).poll(cx) {
                        Poll::Ready(outcome) => Poll::Ready(into_result(outcome)),
                        Poll::Pending => {
                            self.state = State::Running(promise);
                            Poll::Pending
                        }
                    };
                }
                State::Done => polled_after_completion("`FsFuture`", self.called_at),
            }
        }
    }
}

impl<T> Unpin for FsFuture<T> {}

impl<T> fmt::Debug for FsFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FsFuture(..)")
    }
}
