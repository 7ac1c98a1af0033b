//! Futures that wait for one event, each with a waker of its own. The tests of `matou-net` include
//! this file, too.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::sleep;

/// A future that waits. Boxed, so that the executor is compiled once.
pub(crate) type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

pub(crate) fn waiting<'a, T: 'a>(future: impl Future<Output = T> + 'a) -> Waiting<'a> {
    Box::pin(future.map(drop))
}

/// How long no future is polled once they are at rest.
const TIME: Duration = Duration::from_millis(20);

/// Polls `count` futures, each with a waker of its own, until there is a time without any polls,
/// and then until `until` is ready. Futures that wake each other never come to rest.
pub(crate) async fn wait_with_many<'a>(
    count: usize,
    make: impl Fn() -> Waiting<'a>,
    until: impl Future,
) {
    let polls = Rc::new(Cell::new(0));
    let mut futures: FuturesUnordered<_> = (0..count)
        .map(|_| {
            let (mut future, polls) = (make(), Rc::clone(&polls));
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                future.as_mut().poll(cx)
            })
        })
        .collect();
    loop {
        let before = polls.get();
        poll_both(&mut futures, pin!(sleep(TIME))).await;
        if polls.get() == before {
            break;
        }
        // Some polls find the budget spent, and some wakers without a key are evicted once.
        assert!(polls.get() < 20 * count, "they wake each other again and again");
    }
    assert_eq!(futures.len(), count, "all of them wait");
    poll_both(&mut futures, pin!(until)).await;
}

async fn poll_both<S: Future>(futures: &mut FuturesUnordered<S>, mut until: Pin<&mut impl Future>) {
    poll_fn(|cx| {
        while let Poll::Ready(Some(_)) = futures.poll_next_unpin(cx) {}
        until.as_mut().poll(cx).map(drop)
    })
    .await;
}
