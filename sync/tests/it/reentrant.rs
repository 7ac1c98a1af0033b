//! Foreign code is called while no lock of a primitive is held: a waker may use the primitive that
//! clones, drops or wakes it, and may panic.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use matou_sync::{Barrier, Computation, Condition, Mutex, Queue, RwLock, Semaphore, Trigger};

use crate::support::{Task, with_deadline};

type Hook = dyn Fn() + Send + Sync;

/// Creates a waker that calls `hook` whenever it is cloned, woken or dropped.
fn calling(hook: impl Fn() + Send + Sync + 'static) -> Waker {
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

    /// # Safety
    ///
    /// `data` comes from `into_raw` below.
    unsafe fn borrow(data: *const ()) -> Arc<Box<Hook>> {
        // SAFETY: the caller has one count, which stays as it is, and the clone gets another one.
        unsafe {
            Arc::increment_strong_count(data.cast::<Box<Hook>>());
            Arc::from_raw(data.cast())
        }
    }
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: see `borrow`.
        let hook = unsafe { borrow(data) };
        hook();
        RawWaker::new(Arc::into_raw(hook).cast(), &VTABLE)
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: the count of this waker is taken over.
        let hook: Arc<Box<Hook>> = unsafe { Arc::from_raw(data.cast()) };
        hook();
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: see `borrow`.
        let hook = unsafe { borrow(data) };
        hook();
    }
    unsafe fn drop_waker(data: *const ()) {
        // SAFETY: the count of this waker is taken over.
        unsafe { wake(data) };
    }

    let hook: Arc<Box<Hook>> = Arc::new(Box::new(hook));
    // SAFETY: the functions of the table treat the pointer as a counted reference of this type,
    // which is `Send` and `Sync`.
    unsafe { Waker::new(Arc::into_raw(hook).cast(), &VTABLE) }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn f07_a_waker_may_use_the_mutex_that_clones_drops_or_wakes_it() {
    with_deadline(|| {
        let mutex = Arc::new(Mutex::new(0));
        let user = mutex.clone();
        let waker = calling(move || {
            // Also enqueues and leaves, which needs the lock of the list.
            drop(user.try_lock());
            let _ = Task::new().poll(&mut user.lock());
        });
        let guard = mutex.try_lock();
        let (mut first, mut second) = (mutex.lock(), mutex.lock());
        assert!(poll(&mut first, &waker).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
        // Another waker replaces the first, which is dropped.
        assert!(poll(&mut first, &calling(|| ())).is_pending());
        assert!(poll(&mut first, &waker).is_pending());
        drop(guard);
        drop(first);
        drop(second);
        assert_eq!(mutex.waiters(), 0);
    });
}

#[test]
fn f07_a_waker_may_use_the_queue_that_clones_drops_or_wakes_it() {
    with_deadline(|| {
        let queue = Arc::new(Queue::bounded(1));
        let user = queue.clone();
        let waker = calling(move || {
            let _ = Task::new().poll(&mut user.pop());
            let _ = Task::new().poll(&mut user.push(7));
        });
        for _ in 0..3 {
            let mut pop = queue.pop();
            let _ = poll(&mut pop, &waker);
            let _ = queue.try_push(1);
            let mut push = queue.push(2);
            let _ = poll(&mut push, &waker);
            let _ = queue.try_pop();
        }
        assert!(queue.len() <= 1);
        queue.close();
    });
}

#[test]
fn f07_a_waker_may_use_the_condition_that_clones_drops_or_wakes_it() {
    with_deadline(|| {
        let shared = Arc::new((Mutex::new(0), Condition::new()));
        let user = shared.clone();
        let waker = calling(move || {
            if let Some(guard) = user.0.try_lock() {
                let _ = Task::new().poll(&mut user.1.wait(guard));
            }
        });
        let (mutex, changed) = &*shared;
        let mut waits = [(); 3].map(|()| {
            let mut wait = changed.wait(mutex.try_lock().expect("the mutex is free"));
            assert!(poll(&mut wait, &waker).is_pending());
            wait
        });
        assert!(poll(&mut waits[0], &calling(|| ())).is_pending());
        assert!(changed.signal());
        drop(waits);
        assert_eq!(changed.waiters(), 0);
    });
}

#[test]
fn f07_a_waker_may_use_all_other_primitives() {
    with_deadline(|| {
        let all = (Semaphore::new(0), RwLock::new(0), Trigger::counted(1), Barrier::new(3));
        let all = Arc::new(all);
        let user = all.clone();
        let waker = calling(move || {
            let ((semaphore, lock, trigger, barrier), task) = (&*user, Task::new());
            let _ = task.poll(&mut semaphore.acquire());
            let _ = task.poll(&mut lock.write());
            let _ = task.poll(&mut lock.read());
            let _ = task.poll(&mut trigger.wait());
            let _ = task.poll(&mut barrier.wait());
        });
        let (semaphore, lock, trigger, barrier) = &*all;
        let guard = lock.try_write();
        let mut acquire = semaphore.acquire();
        let (mut read, mut wait, mut arrive) = (lock.read(), trigger.wait(), barrier.wait());
        for waker in [&waker, &calling(|| ()), &waker] {
            assert!(poll(&mut acquire, waker).is_pending());
            assert!(poll(&mut read, waker).is_pending());
            assert!(poll(&mut wait, waker).is_pending());
            assert!(poll(&mut arrive, waker).is_pending());
        }
        semaphore.add_permits(1);
        trigger.signal();
        drop(guard);
        drop((acquire, read, wait, arrive));
        assert_eq!((semaphore.waiters(), lock.waiters(), trigger.waiters()), (0, 0, 0));
    });
}

/// Panics if it is woken.
fn panicking() -> Waker {
    struct Panicking;
    impl std::task::Wake for Panicking {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("waker"));
        }
    }
    Arc::new(Panicking).into()
}

#[test]
fn f08_a_waker_that_panics_keeps_neither_an_unlock_nor_a_value() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let mut waiter = mutex.lock();
    assert!(poll(&mut waiter, &panicking()).is_pending());
    let unlocked = catch_unwind(AssertUnwindSafe(|| drop(guard)));
    assert!(unlocked.is_ok(), "a guard is dropped without a panic");
    assert!(Task::new().poll(&mut waiter).is_ready());

    let queue = Queue::bounded(1);
    queue.try_push(1).unwrap();
    let mut push = queue.push(2);
    assert!(poll(&mut push, &panicking()).is_pending());
    let popped = catch_unwind(AssertUnwindSafe(|| queue.try_pop()));
    assert_eq!(popped.expect("no panic"), Ok(1));
}

#[test]
fn f08_a_waker_that_panics_keeps_neither_the_end_of_a_queue_nor_a_result() {
    let (queue, task) = (Queue::<u8>::unbounded(), Task::new());
    let (mut first, mut second) = (queue.pop(), queue.pop());
    assert!(poll(&mut first, &panicking()).is_pending());
    task.assert_pending(&mut second);
    let closed = catch_unwind(AssertUnwindSafe(|| queue.close()));
    assert_eq!((closed.ok(), task.wakes()), (Some(true), 1));

    let (completer, mut computation) = Computation::create();
    assert!(poll(&mut computation, &panicking()).is_pending());
    let returned = catch_unwind(AssertUnwindSafe(|| completer.try_return(7)));
    assert_eq!(returned.ok(), Some(Ok(())));
    assert_eq!(task.assert_ready(computation), Ok(7));
}

#[test]
fn f10_a_panic_of_the_condition_of_a_wait_unlocks_at_once() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut wait =
        changed.wait_while(mutex.try_lock().unwrap(), |_| std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(|| task.poll(&mut wait).is_ready())).is_err());
    assert!(mutex.try_lock().is_some(), "the future still exists");
    drop(wait);

    // The same after a wake-up.
    let panics = std::cell::Cell::new(false);
    let mut wait = changed.wait_while(mutex.try_lock().unwrap(), |_| {
        assert!(!panics.get(), "the condition panics");
        true
    });
    task.assert_pending(&mut wait);
    panics.set(true);
    changed.signal();
    assert!(catch_unwind(AssertUnwindSafe(|| task.poll(&mut wait).is_ready())).is_err());
    assert!(mutex.try_lock().is_some());
    assert_eq!(changed.waiters(), 0);
}

/// A waker whose drop panics.
struct PanicsOnDrop;

impl std::task::Wake for PanicsOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("a waker whose drop panics");
    }
}

/// Polls a future once with a waker of its own whose drop panics.
fn poll_with_panicking_waker<F: Future + Unpin>(future: &mut F) {
    let waker = Waker::from(Arc::new(PanicsOnDrop));
    assert!(poll(future, &waker).is_pending());
}

#[test]
fn f07_wakers_that_panic_when_they_are_dropped_with_their_primitive_do_not_abort() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    for _ in 0..3 {
        let mut lock = mutex.lock();
        poll_with_panicking_waker(&mut lock);
        std::mem::forget(lock);
    }
    drop(guard);
    drop(mutex);
}

#[test]
fn f07_a_waker_that_panics_when_it_is_dropped_keeps_no_lock() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let (mut first, mut second) = (mutex.lock(), mutex.lock());
    assert!(Task::new().poll(&mut first).is_pending());
    poll_with_panicking_waker(&mut second);
    drop(guard);
    // It takes the lock that was offered to the first one, and its waker is dropped.
    assert!(Task::new().poll(&mut second).is_ready());
    assert!(mutex.try_lock().is_some());
    drop(first);
}

#[test]
fn f07_futures_whose_wakers_panic_can_be_dropped_together() {
    let mutex = Mutex::new(0);
    let guard = mutex.try_lock();
    let mut locks = [(); 3].map(|()| mutex.lock());
    locks.iter_mut().for_each(poll_with_panicking_waker);
    drop(locks);
    drop(guard);
    assert_eq!(mutex.waiters(), 0);
}

/// Completes a future, polls it once more, and expects a panic that names the line that created it.
fn poll_again<F: Future + Unpin>(name: &str, mut future: F) {
    let task = Task::new();
    assert!(task.poll(&mut future).is_ready());
    let again = catch_unwind(AssertUnwindSafe(|| task.poll(&mut future).is_ready()));
    let payload = again.expect_err("it has completed");
    let message = payload.downcast_ref::<String>().expect("a message");
    let expected = format!("`{name}` polled after completion; created at {}:", file!());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_future_polled_after_completion_panics_with_the_line_that_created_it() {
    let (mutex, changed, queue) = (Mutex::new(0), Condition::new(), Queue::bounded(1));
    poll_again("Lock", mutex.lock());
    poll_again("Push", queue.push(1));
    poll_again("Pop", queue.pop());
    poll_again("Acquire", Semaphore::new(1).acquire());
    let (completer, computation) = Computation::create();
    completer.try_return(1).expect("it runs");
    poll_again("Computation", computation);
    poll_again("BarrierWait", Barrier::new(1).wait());
    poll_again("LockArc", Arc::new(Mutex::new(0)).lock_arc());
    let mut wait = changed.wait(mutex.try_lock().expect("it is free"));
    assert!(Task::new().poll(&mut wait).is_pending());
    changed.signal();
    poll_again("Wait", wait);
    assert!(mutex.try_lock().is_some());
}
