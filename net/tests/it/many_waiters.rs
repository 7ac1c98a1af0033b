//! Goal: no number of futures that wait uses the processor while nothing happens, and a future that
//! is dropped leaves no waker behind (scenarios F1 and F3).
//! Method: thousands of futures, each with a waker of its own, whose polls are counted; on threads
//! and in simulated runs.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::AsyncRead;
use matou_net::{TcpListener, TcpStream};
use matou_runtime::test::{Check, check};
use matou_runtime::{MainError, sleep};

use crate::support::*;
use many::{wait_with_many, waiting};

#[path = "../../../runtime/tests/it/support/many.rs"]
mod many;

const WAITERS: usize = 10_000;

async fn readers_and_acceptors() -> Result {
    let listener = TcpListener::bind(any_v4())?;
    let (stream, _peer) = pair().await?;
    let (listener, stream) = (&listener, &stream);
    let by_key = || waiting(async move { stream.shared().read(&mut [0; 1]).await });
    wait_with_many(WAITERS, by_key, async {}).await;
    wait_with_many(WAITERS, || waiting(listener.shared().accept()), async {}).await;
    // The traits of `futures::io` have no future that could be found again.
    let by_trait = || {
        waiting(poll_fn(move |cx| {
            let mut shared = stream;
            Pin::new(&mut shared).poll_read(cx, &mut [0; 1])
        }))
    };
    wait_with_many(WAITERS, by_trait, async {}).await;
    Ok::<_, MainError>(())
}

#[test]
fn f1_ten_thousand_readers_and_acceptors_are_idle() {
    let _shared = shared();
    check(0..2, readers_and_acceptors);
    Check::threaded().run(0..2, readers_and_acceptors);
}

struct Noop;

impl Wake for Noop {
    fn wake(self: Arc<Self>) {}
}

/// Polls a future with a waker of its own, drops it, and returns how many references to the waker
/// are left.
fn references_left(future: impl Future) -> usize {
    let noop = Arc::new(Noop);
    let waker = Waker::from(Arc::clone(&noop));
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(Arc::strong_count(&noop) > 2, "the waker is registered");
    drop((future, waker));
    Arc::strong_count(&noop) - 1
}

async fn dropped_waits() -> Result {
    let (mut client, mut server) = pair().await?;
    assert_eq!(references_left(client.read(&mut [0; 1])), 0);
    let full = loop {
        match futures::poll!(pin!(client.write(&[0; 65_536]))) {
            Poll::Ready(written) => drop(written?),
            Poll::Pending => break [0; 1],
        }
    };
    assert_eq!(references_left(client.write(&full)), 0);
    assert_eq!(references_left(client.write_all(&full)), 0);
    let mut listener = TcpListener::bind(any_v4())?;
    assert_eq!(references_left(listener.accept()), 0);
    // One future that is dropped takes no waker from another.
    let (mut read, mut other) = ([0; 1], [0; 1]);
    let shared = client.shared();
    let woken = Arc::new(Mutex::new(false));
    struct Sets(Arc<Mutex<bool>>);
    impl Wake for Sets {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = true;
        }
    }
    let waker = Waker::from(Arc::new(Sets(Arc::clone(&woken))));
    let mut waiting = pin!(shared.read(&mut read));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(references_left(shared.read(&mut other)), 0);
    server.write_all(b"m").await?;
    while !*woken.lock().unwrap() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(waiting.await?, 1);
    Ok(())
}

#[test]
fn f3_a_dropped_wait_leaves_no_waker_behind() {
    let _shared = shared();
    check(0..10, dropped_waits);
    Check::threaded().run(0..2, dropped_waits);
}

/// The stream is used by another task while the first one's read is set aside.
#[test]
fn f3_a_stream_moves_between_domains_while_it_waits() {
    run_on(2, async {
        let (mut client, mut server) = pair().await?;
        for round in 0..20 {
            // Registers here, and then on the other domain.
            assert!(futures::poll!(pin!(client.read(&mut [0; 1]))).is_pending());
            let moved = matou_runtime::try_call(move || async move {
                let mut buf = [0; 1];
                assert_eq!(client.read(&mut buf).await?, 1);
                matou_runtime::transfer(&client)?;
                Ok::<(u8, TcpStream), MainError>((buf[0], client))
            })?;
            server.write_all(&[round]).await?;
            let (byte, stream) = moved.await.map_err(|error| error.to_string())?;
            assert_eq!(byte, round);
            client = stream;
        }
        Ok(())
    })
    .unwrap();
}
