//! The macro [`select!`](crate::select!) and the future that it awaits.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::domain::Domain;
use crate::either::Either;
use crate::panics::polled_after_completion;

/// Waits for the first of several futures, drops the others, and runs the handler of the winner.
///
/// Each branch is `pattern = future => handler`, with an optional condition: `pattern = future, if
/// condition => handler`. The futures may have different types. They are polled in the current
/// task, so they can borrow local variables. When a future completes and its output matches the
/// pattern, all futures are dropped, and the value of the handler is that of the macro. Handlers
/// may use `?`, `break`, `return` and `.await`, and what the futures have borrowed.
///
/// - By default the run's seed decides with which branch each poll begins, so no branch starves.
///   After `biased;` in the first line the branches are polled from top to bottom.
/// - If the output does not match its pattern, the branch is disabled, and the others go on.
/// - If a condition is false, the future is not created, and the branch is disabled.
/// - If all branches are disabled, the handler of a last branch `else => handler` runs.
///
/// The losing branches are given up by the rules of this crate, as by [`race`](crate::race): the
/// promises that they hold are cancelled without a report, and the task does not complete before
/// those children have completed. Pass a branch `&mut promise` to keep the child.
///
/// # Futures that are set aside
///
/// A branch `_ = &mut future` borrows a future that exists outside, and the handler of another
/// branch may wait while that future is not polled. If the future has been queued for a lock, a
/// semaphore or a queue, and is now handed what it waits for, no other task can use that, and the
/// program stops if the handler waits for such a task. Oxide's RFD 609 describes this deadlock as
/// *futurelock*. With the primitives of `matou-sync` it cannot happen: an offer is good for one
/// poll of the task (rule R13, in `docs/rules.md` of the repository), and if the future does not
/// take it, the runtime passes it to the next waiter and reports the finding
/// [`DeclinedOffer`](crate::Finding::DeclinedOffer), which names both lines. With primitives of
/// other crates, do not wait in a handler while a borrowed future is queued: let the branches own
/// their futures, or spawn a child and select on `&mut promise`, which is polled as a task.
///
/// # Cancel safety
///
/// The losing futures are dropped at the point that they have reached. In a loop use futures that
/// lose nothing then, as the section "Cancel safety" of each says, or keep a future outside of the
/// loop and pass `&mut future`.
///
/// # Panics
///
/// If all branches are disabled and there is no `else` branch.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_runtime::{Orphans, RunError, Task, run, select, sleep};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let workers = Orphans::new();
///     for number in 1..=3 {
///         Task::new().orphans(&workers).try_spawn(async move {
///             if number == 2 { Err("no disk") } else { Ok(number) }
///         })?;
///     }
///     let (mut sum, mut failures) = (0, 0);
///     loop {
///         select! {
///             Some(outcome) = workers.next() => match outcome {
///                 Ok(number) => sum += number,
///                 Err(_) => failures += 1,
///             },
///             () = sleep(Duration::from_secs(60)), if failures == 0 => break,
///             else => break,
///         }
///     }
///     assert_eq!((sum, failures), (4, 1));
///     Ok(())
/// })
/// # }
/// ```
///
/// Without a condition on the timer, that loop would wait for it at the end: `else` needs all
/// branches disabled. With `biased;` the first branch has precedence:
///
/// ```
/// use matou_runtime::{RunError, run, select};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let winner = select! {
///         biased;
///         value = async { "first" } => value,
///         value = async { "second" } => value,
///     };
///     assert_eq!(winner, "first");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "race")]
#[doc(alias = "select_biased")]
#[doc(alias = "futurelock")]
#[macro_export]
macro_rules! select {
    // Reading the branches: `[order] (those read) rest`.
    (@read [$order:expr] ($($read:tt)*) else => $handler:expr $(,)?) => {
        $crate::select!(@expand [$order] ($($read)*) ($handler))
    };
    (@read [$order:expr] ($($read:tt)*)) => {
        $crate::select!(@expand [$order] ($($read)*) ($crate::__macros::no_branch_left()))
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr, if $condition:expr => $handler:block, $($rest:tt)*
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) (if $condition; $future) ($handler) }) $($rest)*)
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr, if $condition:expr => $handler:block $($rest:tt)*
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) (if $condition; $future) ($handler) }) $($rest)*)
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr, if $condition:expr => $handler:expr $(, $($rest:tt)*)?
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) (if $condition; $future) ($handler) }) $($($rest)*)?)
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr => $handler:block, $($rest:tt)*
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) ($future) ($handler) }) $($rest)*)
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr => $handler:block $($rest:tt)*
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) ($future) ($handler) }) $($rest)*)
    };
    (@read [$order:expr] ($($read:tt)*)
        $pattern:pat = $future:expr => $handler:expr $(, $($rest:tt)*)?
    ) => {
        $crate::select!(@read [$order]
            ($($read)* { ($pattern) ($future) ($handler) }) $($($rest)*)?)
    };

    (@expand [$order:expr] ($($branch:tt)*) ($otherwise:expr)) => {{
        let output = $crate::__macros::select(
            $order,
            $crate::select!(@branches $($branch)*),
        )
        .await;
        $crate::select!(@handlers output, ($otherwise) $($branch)*)
    }};

    (@branches) => { $crate::__macros::NoBranch };
    (@branches { ($pattern:pat) $future:tt $handler:tt } $($rest:tt)*) => {
        $crate::__macros::branch(
            $crate::select!(@future $future),
            |output| {
                let matches = ::core::cell::Cell::new(false);
                // The guard is never true, so the value stays where it is.
                #[allow(unused_variables, unused_mut, unreachable_code, clippy::all)]
                match output {
                    $pattern if { matches.set(true); false } => ::core::unreachable!(),
                    _ => {}
                }
                if matches.get() {
                    ::core::result::Result::Ok(output)
                } else {
                    ::core::result::Result::Err(output)
                }
            },
            $crate::select!(@branches $($rest)*),
        )
    };
    (@future (if $condition:expr; $future:expr)) => {
        if $condition {
            ::core::option::Option::Some($future)
        } else {
            ::core::option::Option::None
        }
    };
    (@future ($future:expr)) => { ::core::option::Option::Some($future) };

    (@handlers $output:ident, ($otherwise:expr)) => {{
        let $crate::__macros::NoBranch = $output;
        $otherwise
    }};
    (@handlers $output:ident, $otherwise:tt
        { ($pattern:pat) $future:tt ($handler:expr) } $($rest:tt)*
    ) => {
        match $output {
            $crate::Either::Left(output) => {
                #[allow(unreachable_patterns)]
                match output {
                    $pattern => $handler,
                    _ => ::core::unreachable!("the output matches the pattern"),
                }
            }
            $crate::Either::Right(output) => {
                $crate::select!(@handlers output, $otherwise $($rest)*)
            }
        }
    };

    (biased; $($branches:tt)+) => {
        $crate::select!(@read [$crate::__macros::Order::Biased] () $($branches)+)
    };
    ($($branches:tt)+) => {
        $crate::select!(@read [$crate::__macros::Order::Fair] () $($branches)+)
    };
}

/// With which branch a poll begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// With the first one.
    Biased,
    /// With a random one.
    Fair,
}

/// The end of a list of branches; as an output, that all branches are disabled.
#[derive(Debug)]
pub struct NoBranch;

pin_project! {
    /// A branch, and the branches after it.
    #[derive(Debug)]
    pub struct Branch<F, C, R> {
        // None if the branch is disabled.
        #[pin]
        future: Option<F>,
        matches: C,
        #[pin]
        rest: R,
    }
}

/// Adds a branch to the front of a list. `matches` returns the output as an error if it does not
/// match the pattern.
pub fn branch<F, C, R>(future: Option<F>, matches: C, rest: R) -> Branch<F, C, R>
where
    F: Future,
    C: FnMut(F::Output) -> Result<F::Output, F::Output>,
{
    Branch { future, matches, rest }
}

/// The result of polling one branch.
#[derive(Debug)]
pub enum BranchPoll<T> {
    /// The branch takes part no more.
    Disabled,
    /// The future is not ready.
    Pending,
    /// The future is ready, and the output matches the pattern.
    Ready(T),
}

impl<T> BranchPoll<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> BranchPoll<U> {
        match self {
            BranchPoll::Disabled => BranchPoll::Disabled,
            BranchPoll::Pending => BranchPoll::Pending,
            BranchPoll::Ready(value) => BranchPoll::Ready(f(value)),
        }
    }
}

/// A list of branches.
pub trait Branches {
    /// Which branch has won, and its output.
    type Output;

    /// The number of branches.
    const COUNT: usize;

    /// Polls the branch at `index`. `at` is the line of the macro.
    fn poll_branch(
        self: Pin<&mut Self>,
        index: usize,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> BranchPoll<Self::Output>;

    /// Drops all futures.
    fn clear(self: Pin<&mut Self>);

    /// Returns the output that says that all branches are disabled.
    fn none() -> Self::Output;
}

impl Branches for NoBranch {
    type Output = NoBranch;

    const COUNT: usize = 0;

    fn poll_branch(
        self: Pin<&mut Self>,
        _: usize,
        _: &'static Location<'static>,
        _: &mut Context<'_>,
    ) -> BranchPoll<NoBranch> {
        unreachable!("the list has no further branch")
    }

    fn clear(self: Pin<&mut Self>) {}

    fn none() -> NoBranch {
        NoBranch
    }
}

impl<F, C, R> Branches for Branch<F, C, R>
where
    F: Future,
    C: FnMut(F::Output) -> Result<F::Output, F::Output>,
    R: Branches,
{
    type Output = Either<F::Output, R::Output>;

    const COUNT: usize = 1 + R::COUNT;

    #[track_caller]
    fn poll_branch(
        self: Pin<&mut Self>,
        index: usize,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> BranchPoll<Self::Output> {
        let mut this = self.project();
        if index > 0 {
            return this.rest.poll_branch(index - 1, at, cx).map(Either::Right);
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return BranchPoll::Disabled;
        };
        let Poll::Ready(output) = future.poll(cx) else {
            return BranchPoll::Pending;
        };
        match (this.matches)(output) {
            Ok(output) => BranchPoll::Ready(Either::Left(output)),
            Err(_) => {
                Domain::abandon_branch(at, || this.future.set(None));
                BranchPoll::Disabled
            }
        }
    }

    fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.future.set(None);
        this.rest.clear();
    }

    fn none() -> Self::Output {
        Either::Right(R::none())
    }
}

/// Returns the future of [`select!`](crate::select!).
#[track_caller]
pub fn select<B: Branches>(order: Order, branches: B) -> Select<B> {
    Select { branches, order, is_done: false, location: Location::caller() }
}

pin_project! {
    /// The future of [`select!`](crate::select!).
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Select<B> {
        #[pin]
        branches: B,
        order: Order,
        is_done: bool,
        location: &'static Location<'static>,
    }
}

impl<B: Branches> Select<B> {
    #[track_caller]
    fn poll_branches(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        let mut this = self.project();
        let first = match *this.order {
            Order::Biased => 0,
            Order::Fair => {
                let draw = |domain: &Domain| domain.random().below(B::COUNT);
                Domain::try_with(draw).unwrap_or(0)
            }
        };
        let mut is_disabled = true;
        for index in (first..B::COUNT).chain(0..first) {
            match this.branches.as_mut().poll_branch(index, this.location, cx) {
                BranchPoll::Ready(output) => return Poll::Ready(output),
                BranchPoll::Pending => is_disabled = false,
                BranchPoll::Disabled => {}
            }
        }
        if is_disabled { Poll::Ready(B::none()) } else { Poll::Pending }
    }
}

impl<B: Branches> Future for Select<B> {
    type Output = B::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<B::Output> {
        if self.is_done {
            polled_after_completion("`select!`", self.location);
        }
        let output = ready!(self.as_mut().poll_branches(cx));
        let this = self.project();
        *this.is_done = true;
        // fault: select-forgets-losers
        Domain::abandon_branch(this.location, || this.branches.clear());
        Poll::Ready(output)
    }
}

/// The `else` branch of a [`select!`](crate::select!) without one.
#[track_caller]
pub fn no_branch_left() -> ! {
    panic!("all branches of `select!` are disabled, and it has no `else` branch")
}
