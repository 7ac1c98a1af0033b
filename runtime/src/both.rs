//! Polling several futures in the current task until all of them have completed.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::GivenUp;
use crate::panics::polled_after_completion;
use crate::task::WaitSite;

/// Polls two futures in the current task until both have completed, and returns both outputs.
///
/// For two promises of unlike types it does the same as [`await_all`](crate::await_all) for
/// promises of one type. [`join!`](crate::join!) takes any number of futures, and
/// [`try_join!`](crate::try_join!) cancels the others on the first error.
///
/// # Cancel safety
///
/// Dropping the future drops both futures, and the output of one that has completed.
///
/// # Panics
///
/// The future panics when it is polled after it completed.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, both, run, spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let (number, text) = both(spawn(async { 7 }), async { "seven" }).await;
///     assert_eq!((number?, text), (7, "seven"));
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "join")]
#[doc(alias = "zip")]
#[track_caller]
pub fn both<A: Future, B: Future>(left: A, right: B) -> Both<A, B> {
    Both { branches: join(part(left, part(right, End))) }
}

pin_project! {
    /// The future of [`both`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Both<A: Future, B: Future> {
        #[pin]
        branches: Join<Part<A, Part<B, End>>>,
    }
}

impl<A: Future, B: Future> Future for Both<A, B> {
    type Output = (A::Output, B::Output);

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().branches.poll(cx).map(|(left, (right, End))| (left, right))
    }
}

impl<A: Future, B: Future> std::fmt::Debug for Both<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Both").finish_non_exhaustive()
    }
}

/// Polls futures in the current task until all of them have completed, and returns their outputs as
/// a tuple. The futures may have different types, and may borrow local variables.
///
/// # Cancel safety
///
/// Dropping the future drops all futures, and the outputs of those that have completed.
///
/// # Examples
///
/// ```
/// use matou_runtime::{RunError, join, run, spawn, yield_now};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let words = vec!["one", "two"];
///     let (count, (), seven) =
///         join!(async { words.len() }, yield_now(), spawn(async { 7 }));
///     assert_eq!((count, seven?), (2, 7));
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "join_all")]
#[macro_export]
macro_rules! join {
    (@parts) => { $crate::__macros::End };
    (@parts $future:expr, $($rest:tt)*) => {
        $crate::__macros::part($future, $crate::join!(@parts $($rest)*))
    };
    // Each step names one more output; the names differ by hygiene.
    (@tuple $outputs:ident ($($value:ident)*)) => {{
        let $crate::__macros::End = $outputs;
        ($($value,)*)
    }};
    (@tuple $outputs:ident ($($value:ident)*) $future:expr, $($rest:tt)*) => {{
        let (value, rest) = $outputs;
        $crate::join!(@tuple rest ($($value)* value) $($rest)*)
    }};
    ($($future:expr),+ $(,)?) => {{
        let outputs = $crate::__macros::join($crate::join!(@parts $($future,)+)).await;
        $crate::join!(@tuple outputs () $($future,)+)
    }};
}

/// Polls futures that return a `Result` until all of them have returned a value, or until the first
/// error. The values are returned as a tuple.
///
/// On the first error the other futures are dropped, and the promises in them cancelled. The error
/// is returned after those children have ended: none of them runs on beside the code that handles
/// the error. (A [`shield`](crate::shield) goes on; the end of the task waits for it.)
///
/// The futures may have different types, but have one error type. A [`Promise`](crate::Promise) is
/// such a future; its error is a [`TaskError`](crate::TaskError).
///
/// # Cancel safety
///
/// Dropping the future drops all futures, and the outputs of those that have completed.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use matou_runtime::{RunError, live_tasks, run, try_join, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let (a, b) = try_join!(async { Ok::<_, String>(1) }, async { Ok("b") })?;
///     assert_eq!((a, b), (1, "b"));
///
///     let endless = try_spawn(pending::<Result<(), &str>>());
///     let failed = try_join!(endless, try_spawn(async { Err::<(), _>("no disk") }));
///     assert_eq!(failed.unwrap_err().into_failure(), Some("no disk"));
///     assert_eq!(live_tasks(), 1);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "try_join_all")]
#[macro_export]
macro_rules! try_join {
    ($($future:expr),+ $(,)?) => {
        match $crate::__macros::try_join($crate::join!(@parts $($future,)+)).await {
            ::core::result::Result::Ok(outputs) => {
                ::core::result::Result::Ok($crate::join!(@tuple outputs () $($future,)+))
            }
            ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
        }
    };
}

/// The end of a list of futures, and of their outputs.
#[derive(Debug)]
pub struct End;

pin_project! {
    /// A future, and the futures after it.
    pub struct Part<F: Future, R> {
        // None after the future has completed.
        #[pin]
        future: Option<F>,
        output: Option<F::Output>,
        #[pin]
        rest: R,
    }
}

impl<F: Future, R> std::fmt::Debug for Part<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("is_complete", &self.output.is_some()).finish_non_exhaustive()
    }
}

/// Adds a future to the front of a list.
pub fn part<F: Future, R>(future: F, rest: R) -> Part<F, R> {
    Part { future: Some(future), output: None, rest }
}

/// A list of futures.
pub trait Parts {
    /// The outputs, as nested pairs.
    type Outputs;

    /// Polls those futures that have not completed.
    fn poll_all(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes the outputs of the futures, which have all completed.
    fn take(self: Pin<&mut Self>) -> Self::Outputs;

    /// Drops the futures and their outputs.
    fn clear(self: Pin<&mut Self>);
}

/// A list of futures that may fail.
pub trait TryParts<E>: Parts {
    /// The values, as nested pairs.
    type Values;

    /// Polls those futures that have not completed, until one fails.
    fn try_poll_all(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>>;

    /// Takes the values of the futures, none of which has failed.
    fn take_values(self: Pin<&mut Self>) -> Self::Values;
}

impl Parts for End {
    type Outputs = End;

    fn poll_all(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn take(self: Pin<&mut Self>) -> End {
        End
    }

    fn clear(self: Pin<&mut Self>) {}
}

impl<E> TryParts<E> for End {
    type Values = End;

    fn try_poll_all(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn take_values(self: Pin<&mut Self>) -> End {
        End
    }
}

impl<F: Future, R> Part<F, R> {
    /// Polls the first future, unless it has completed.
    #[track_caller]
    fn poll_first(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            *this.output = Some(ready!(future.poll(cx)));
            this.future.set(None);
        }
        Poll::Ready(())
    }
}

const COMPLETE: &str = "all futures have completed";

impl<F: Future, R: Parts> Parts for Part<F, R> {
    type Outputs = (F::Output, R::Outputs);

    #[track_caller]
    fn poll_all(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let first = self.as_mut().poll_first(cx);
        let rest = self.project().rest.poll_all(cx);
        if first.is_ready() { rest } else { Poll::Pending }
    }

    fn take(self: Pin<&mut Self>) -> Self::Outputs {
        let this = self.project();
        (this.output.take().expect(COMPLETE), this.rest.take())
    }

    fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.future.set(None);
        *this.output = None;
        this.rest.clear();
    }
}

impl<F, R, T, E> TryParts<E> for Part<F, R>
where
    F: Future<Output = Result<T, E>>,
    R: TryParts<E>,
{
    type Values = (T, R::Values);

    #[track_caller]
    fn try_poll_all(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let first = self.as_mut().poll_first(cx);
        let this = self.project();
        if let Some(Err(_)) = this.output
            && let Some(Err(error)) = this.output.take()
        {
            return Poll::Ready(Err(error));
        }
        match this.rest.try_poll_all(cx) {
            Poll::Ready(Ok(())) if first.is_pending() => Poll::Pending,
            rest => rest,
        }
    }

    fn take_values(self: Pin<&mut Self>) -> Self::Values {
        let this = self.project();
        let Some(Ok(value)) = this.output.take() else { unreachable!("{COMPLETE}") };
        (value, this.rest.take_values())
    }
}

/// Returns the future of [`join!`](crate::join!).
#[track_caller]
pub fn join<P: Parts>(parts: P) -> Join<P> {
    Join { parts, is_done: false, location: Location::caller() }
}

pin_project! {
    /// The future of [`join!`](crate::join!).
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Join<P> {
        #[pin]
        parts: P,
        is_done: bool,
        location: &'static Location<'static>,
    }
}

impl<P: Parts> Future for Join<P> {
    type Output = P::Outputs;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Outputs> {
        let mut this = self.project();
        if *this.is_done {
            polled_after_completion("`Join`", this.location);
        }
        ready!(this.parts.as_mut().poll_all(cx));
        *this.is_done = true;
        Poll::Ready(this.parts.take())
    }
}

/// Returns the future of [`try_join!`](crate::try_join!).
#[track_caller]
pub fn try_join<P: TryParts<E>, E>(parts: P) -> TryJoin<P, E> {
    TryJoin { parts, state: State::Running, location: Location::caller() }
}

pin_project! {
    /// The future of [`try_join!`](crate::try_join!).
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct TryJoin<P, E> {
        #[pin]
        parts: P,
        state: State<E>,
        location: &'static Location<'static>,
    }
}

#[derive(Debug)]
enum State<E> {
    Running,
    /// A future has failed. The others are dropped, and these children are awaited.
    Failed {
        error: Option<E>,
        given_up: GivenUp,
    },
    Done,
}

impl<P: TryParts<E>, E> Future for TryJoin<P, E> {
    type Output = Result<P::Values, E>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let State::Running = this.state {
            match ready!(this.parts.as_mut().try_poll_all(cx)) {
                Ok(()) => {
                    *this.state = State::Done;
                    return Poll::Ready(Ok(this.parts.take_values()));
                }
                Err(error) => {
                    let given_up = GivenUp::by(this.location, || this.parts.clear());
                    *this.state = State::Failed { error: Some(error), given_up };
                }
            }
        }
        let State::Failed { error, given_up } = this.state else {
            polled_after_completion("`TryJoin`", this.location)
        };
        // fault: try-join-does-not-wait
        ready!(given_up.poll_ends(WaitSite::new("the end of cancelled tasks", this.location), cx));
        let error = error.take();
        *this.state = State::Done;
        Poll::Ready(Err(error.expect("it is returned once")))
    }
}
