//! Futures of one call, whose types have a name.

use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::outcome::polled_after_completion;

/// A boxed future, with the line of the call that created it.
pub(crate) struct Boxed<'a, T> {
    /// `None` once it has completed.
    future: Option<Pin<Box<dyn Future<Output = io::Result<T>> + 'a>>>,
    called_at: &'static Location<'static>,
}

impl<'a, T> Boxed<'a, T> {
    #[track_caller]
    pub(crate) fn new(future: impl Future<Output = io::Result<T>> + 'a) -> Boxed<'a, T> {
        Boxed { future: Some(Box::pin(future)), called_at: Location::caller() }
    }

    /// `name` is that of the type, for the panic.
    #[track_caller]
    pub(crate) fn poll(&mut self, name: &str, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Some(future) = &mut self.future else { polled_after_completion(name, self.called_at) };
        let result = ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(result)
    }
}
