//! Goal: user code that panics while the runtime calls it, a waker or an operation, disturbs no
//! other task (scenarios T12 and T22).
//! Method: wakers that panic when they are woken, beside wakers that count.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use matou_runtime::{
    Direction, IoSource, Orphans, WaitSite, WakerKey, WakerSet, call, now, sleep_until, spawn,
    yield_now,
};

use crate::support::{
    Counter, Latch, PanicsOnDrop, PanicsOnWake, WakeCounter, io_pair, leak, poll_read_byte, run_on,
};

/// Polls `future` with `waker`, and expects it to be pending.
fn poll_pending<F: Future>(future: Pin<&mut F>, waker: &Waker) {
    assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
}

/// Waits until the waker that `make` returns is woken.
async fn is_woken(make: impl FnOnce(&Waker) -> Arc<WakeCounter>) {
    let mut make = Some(make);
    let mut counter = None;
    poll_fn(|cx| match &counter {
        None => {
            counter = make.take().map(|make| make(cx.waker()));
            Poll::Pending
        }
        Some(counter) if counter.wakes.get() == 0 => Poll::Pending,
        Some(_) => Poll::Ready(()),
    })
    .await;
}

#[test]
fn t12_a_waker_that_panics_does_not_stop_other_timers() {
    run_on(1, || async {
        let soon = now() + Duration::from_millis(1);
        let [mut broken, mut good] = [(), ()].map(|()| Box::pin(sleep_until(soon)));
        is_woken(|waker| {
            let counter = WakeCounter::forwarding_to(waker);
            poll_pending(broken.as_mut(), &PanicsOnWake::waker());
            poll_pending(good.as_mut(), &counter.clone().into());
            counter
        })
        .await;
        good.await;
        broken.await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn t12_a_waker_that_panics_does_not_hide_the_completion_of_a_child() {
    run_on(2, || async {
        let latches = [Latch::new(), Latch::new()];
        let there = latches[1].clone();
        let mut children = [spawn(latches[0].clone()), call(move || there)?];
        for (child, latch) in children.iter_mut().zip(&latches) {
            poll_pending(Pin::new(child), &PanicsOnWake::waker());
            latch.open();
        }
        // The completions wake the panicking wakers, unless these are replaced before.
        let ended = Latch::new();
        let after = spawn(ended.clone());
        yield_now().await;
        ended.open();
        after.await?;
        for child in children {
            child.await?;
        }
        Ok(())
    })
    .unwrap();
}

fn read_with(io: &IoSource, waker: &Waker) -> Poll<io::Result<u8>> {
    poll_read_byte(io, &mut Context::from_waker(waker))
}

fn poll_read_pending(io: &IoSource, waker: &Waker) {
    assert!(read_with(io, waker).is_pending());
}

#[test]
fn t12_a_waker_that_panics_does_not_stop_other_readers() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let inside = io.clone();
        is_woken(|waker| {
            let counter = WakeCounter::forwarding_to(waker);
            poll_read_pending(&inside, &PanicsOnWake::waker());
            poll_read_pending(&inside, &counter.clone().into());
            peer.write_all(b"m").expect("there is room");
            counter
        })
        .await;
        assert!(matches!(read_with(&io, Waker::noop()), Poll::Ready(Ok(b'm'))));
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

#[test]
fn t12_a_waker_that_panics_does_not_hide_a_close_from_other_readers() {
    run_on(1, || async {
        let (io, _peer) = io_pair();
        let counter = WakeCounter::new();
        poll_read_pending(&io, &PanicsOnWake::waker());
        poll_read_pending(&io, &counter.clone().into());
        assert!(io.close());
        assert_eq!(counter.wakes.get(), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn t12_a_waker_that_panics_does_not_disturb_the_end_of_the_run() {
    let (io, _peer) = io_pair();
    let counter = WakeCounter::new();
    run_on(1, {
        let (io, counter) = (io.clone(), counter.clone());
        move || async move {
            poll_read_pending(&io, &PanicsOnWake::waker());
            poll_read_pending(&io, &counter.into());
            // The source stays registered when the reactor is dropped.
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(counter.wakes.get(), 1);
    assert!(io.close());
}

#[test]
fn t22_an_operation_that_panics_under_the_lock_of_an_io_source_poisons_nothing() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let inside = io.clone();
        let broken = spawn(poll_fn(move |cx| -> Poll<io::Result<()>> {
            inside.poll(Direction::Read, WaitSite::here("read"), cx, |_| {
                panic!("an operation that panics")
            })
        }));
        assert!(broken.await.unwrap_err().is_panicked());
        peer.write_all(b"m")?;
        let reader = io.clone();
        let byte = spawn(poll_fn(move |cx| read_with(&reader, cx.waker()))).await??;
        assert_eq!(byte, b'm');
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

/// A waker that panics, once for each waker, when it is woken or dropped. Both are counted.
struct Panics(Counter);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.add();
        // Its drop during the panic would be a second one.
        leak(self);
        panic!("a waker that panics");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.0.add();
        panic!("a waker whose drop panics");
    }
}

impl Panics {
    fn waker(count: &Counter) -> Waker {
        Arc::new(Panics(count.clone())).into()
    }
}

/// Returns a set of six wakers that panic, half of them without a key.
fn panicking_set(count: &Counter) -> WakerSet {
    let mut set = WakerSet::new();
    for _ in 0..3 {
        assert!(set.register(&mut WakerKey::new(), Panics::waker(count)).is_none());
        assert!(set.insert_unkeyed(Panics::waker(count), Instant::now).is_empty());
    }
    set
}

#[test]
fn t12_a_set_drops_all_its_wakers_although_each_of_them_panics() {
    let count = Counter::default();
    drop(panicking_set(&count));
    assert_eq!(count.get(), 6);
}

#[test]
fn t12_a_set_wakes_all_its_wakers_although_each_of_them_panics() {
    let count = Counter::default();
    panicking_set(&count).wake_all();
    assert_eq!(count.get(), 6);
}

#[test]
fn t12_timers_whose_wakers_panic_when_dropped_can_be_dropped_together() {
    let count = Counter::default();
    let dropped = count.clone();
    run_on(1, || async move {
        let later = now() + Duration::from_secs(3600);
        let mut timers = [(); 3].map(|()| Box::pin(sleep_until(later)));
        for timer in &mut timers {
            poll_pending(timer.as_mut(), &Panics::waker(&count));
        }
        drop(timers);
        Ok(())
    })
    .unwrap();
    assert_eq!(dropped.get(), 3);
}

#[test]
fn t12_submitted_futures_whose_drops_panic_can_be_dropped_together() {
    run_on(1, || async {
        let group = Orphans::<()>::new();
        let spawner = group.send_spawner();
        for _ in 0..3 {
            let value = PanicsOnDrop;
            let future = async move { drop(value) };
            assert!(spawner.spawn(future).is_ok(), "the group is open");
        }
        // On another thread, which cannot start them.
        std::thread::spawn(|| drop(group)).join().expect("no panic reaches the thread");
        Ok(())
    })
    .unwrap();
}
