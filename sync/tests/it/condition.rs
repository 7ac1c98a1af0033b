//! Each signal ends one wait, even if waiters are dropped or wakers panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::{future::Future, pin::Pin};

use futures::FutureExt;
use futures::executor::block_on;
use matou_sync::futures::Wait;
use matou_sync::{Computation, Condition, Mutex};

use crate::support::{Task, with_deadline};

/// Returns a wait that was polled once, so that it is in the list of waiters.
fn enqueued<'a>(changed: &'a Condition, mutex: &'a Mutex<u32>, task: &Task) -> Wait<'a, 'a, u32> {
    let mut wait = changed.wait(mutex.try_lock().expect("the mutex should be free"));
    task.assert_pending(&mut wait);
    wait
}

#[test]
fn signals_end_waits_in_the_order_in_which_they_began() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let tasks: Vec<_> = (0..10).map(|_| Task::new()).collect();
    let waits: Vec<_> = tasks.iter().map(|task| enqueued(&changed, &mutex, task)).collect();
    for (index, (task, wait)) in tasks.iter().zip(waits).enumerate() {
        assert!(changed.signal());
        assert_eq!(tasks.iter().map(Task::wakes).sum::<usize>(), index + 1);
        drop(task.assert_ready(wait));
    }
    assert!(!changed.signal());
}

#[test]
fn a_signal_without_waiters_is_not_stored() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    assert!(!changed.signal());
    assert_eq!(changed.broadcast(), 0);
    let _wait = enqueued(&changed, &mutex, &task);
    assert_eq!(task.wakes(), 0);
}

#[test]
fn a_broadcast_ends_the_waits_that_have_begun_and_no_later_one() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (task, late_task) = (Task::new(), Task::new());
    let (first, second) = (enqueued(&changed, &mutex, &task), enqueued(&changed, &mutex, &task));
    assert_eq!(changed.broadcast(), 2);
    let mut late = enqueued(&changed, &mutex, &late_task);
    drop(task.assert_ready(first));
    drop(task.assert_ready(second));
    late_task.assert_pending(&mut late);
    assert_eq!(late_task.wakes(), 0);
}

#[test]
fn m2_a_signalled_wait_dropped_before_its_poll_passes_the_signal_on() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (first_task, second_task) = (Task::new(), Task::new());
    let first = enqueued(&changed, &mutex, &first_task);
    let second = enqueued(&changed, &mutex, &second_task);
    changed.signal();
    assert_eq!((first_task.wakes(), second_task.wakes()), (1, 0));
    drop(first);
    assert_eq!(second_task.wakes(), 1);
    drop(second_task.assert_ready(second));
}

#[test]
fn m6_a_wait_dropped_before_its_first_poll_unlocks() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let wait = changed.wait(mutex.try_lock().unwrap());
    assert!(mutex.try_lock().is_none(), "the guard is kept until the first poll");
    drop(wait);
    assert!(mutex.try_lock().is_some());
    assert_eq!(changed.waiters(), 0);
}

#[test]
fn m6_a_wait_dropped_among_the_waiters_leaves_no_entry() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut waits: Vec<_> = (0..3).map(|_| enqueued(&changed, &mutex, &task)).collect();
    drop(waits.remove(1));
    assert_eq!(changed.waiters(), 2);
    assert_eq!(changed.broadcast(), 2);
    assert_eq!(task.wakes(), 2);
    drop(waits);
    assert_eq!(changed.waiters(), 0);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m6_a_wait_dropped_while_it_locks_again_passes_the_signal_on() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (first_task, second_task) = (Task::new(), Task::new());
    let mut first = enqueued(&changed, &mutex, &first_task);
    let second = enqueued(&changed, &mutex, &second_task);
    let guard = mutex.try_lock();
    changed.signal();
    first_task.assert_pending(&mut first);
    assert_eq!((mutex.waiters(), second_task.wakes()), (1, 0));
    drop(first);
    assert_eq!((mutex.waiters(), second_task.wakes()), (0, 1));
    drop(guard);
    drop(second_task.assert_ready(second));
}

#[test]
fn m8_the_broadcast_of_a_dropped_wait_wakes_no_later_waiter() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (task, late_task) = (Task::new(), Task::new());
    let first = enqueued(&changed, &mutex, &task);
    changed.broadcast();
    let _late = enqueued(&changed, &mutex, &late_task);
    drop(first);
    assert_eq!(late_task.wakes(), 0);
}

#[test]
fn m8_a_wait_ended_by_a_broadcast_passes_nothing_on_even_if_later_waiters_were_signalled() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (task, late_task) = (Task::new(), Task::new());
    let mut first = enqueued(&changed, &mutex, &task);
    changed.broadcast();
    let _second = enqueued(&changed, &mutex, &task);
    changed.signal();
    let _late = enqueued(&changed, &mutex, &late_task);
    let guard = mutex.try_lock();
    task.assert_pending(&mut first);
    drop(first);
    assert_eq!(late_task.wakes(), 0);
    drop(guard);
}

#[test]
fn m8_a_signal_noticed_late_is_passed_on_even_after_a_broadcast() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (task, late_task) = (Task::new(), Task::new());
    let first = enqueued(&changed, &mutex, &task);
    changed.signal();
    let _second = enqueued(&changed, &mutex, &task);
    changed.broadcast();
    let _late = enqueued(&changed, &mutex, &late_task);
    drop(first);
    assert_eq!(late_task.wakes(), 1);
}

#[test]
fn m13_a_signal_is_not_passed_on_to_a_waiter_with_another_mutex() {
    let (mutex, other, changed) = (Mutex::new(0), Mutex::new(0), Condition::new());
    let (task, other_task) = (Task::new(), Task::new());
    let first = enqueued(&changed, &mutex, &task);
    changed.signal();
    let _second = enqueued(&changed, &other, &other_task);
    drop(first);
    assert_eq!(other_task.wakes(), 0);
}

#[test]
fn m13_waiting_with_two_mutexes_at_the_same_time_panics_and_unlocks() {
    let (mutex, other, changed) = (Mutex::new(0), Mutex::new(0), Condition::new());
    let task = Task::new();
    let wait = enqueued(&changed, &mutex, &task);

    let mut wrong = changed.wait(other.try_lock().unwrap());
    let refused = catch_unwind(AssertUnwindSafe(|| task.poll(&mut wrong).is_ready()));
    assert!(refused.is_err());
    drop(wrong);
    assert!(other.try_lock().is_some());

    // The first wait is unaffected, and after it the other mutex may be used.
    assert!(changed.signal());
    drop(task.assert_ready(wait));
    drop(enqueued(&changed, &other, &task));
}

#[test]
fn wait_while_waits_again_if_its_condition_still_holds() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut wait = changed.wait_while(mutex.try_lock().unwrap(), |number| *number < 2);
    task.assert_pending(&mut wait);
    for number in 1..=2 {
        *mutex.try_lock().unwrap() = number;
        assert!(changed.signal());
        if number < 2 {
            task.assert_pending(&mut wait);
        }
    }
    assert_eq!(*task.assert_ready(wait), 2);
}

#[test]
fn m10_a_panic_of_the_condition_unlocks() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let mut wait =
        changed.wait_while(mutex.try_lock().unwrap(), |_| std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(|| task.poll(&mut wait).is_ready())).is_err());
    drop(wait);
    assert!(mutex.try_lock().is_some());
}

/// A waker that panics.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("waker"));
    }
}

#[test]
fn a_broadcast_wakes_all_even_if_a_waker_panics() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let first = enqueued(&changed, &mutex, &task);
    let mut second = changed.wait(mutex.try_lock().unwrap());
    let waker = Waker::from(Arc::new(Panicking));
    assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
    let third = enqueued(&changed, &mutex, &task);

    assert!(catch_unwind(AssertUnwindSafe(|| changed.broadcast())).is_err());

    assert_eq!(task.wakes(), 2);
    drop((task.assert_ready(first), ()));
    drop(task.assert_ready(second));
    drop(task.assert_ready(third));
}

/// A waker that signals the condition that calls it.
struct Signalling(Arc<Condition>, AtomicUsize);

impl Wake for Signalling {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.signal();
    }
}

#[test]
fn a_waker_may_use_the_condition_that_calls_it() {
    with_deadline(|| {
        let (mutex, changed) = (Mutex::new(0), Arc::new(Condition::new()));
        let signalling = Arc::new(Signalling(changed.clone(), AtomicUsize::new(0)));
        let waker = Waker::from(signalling.clone());
        let mut waits: Vec<_> = (0..2)
            .map(|_| changed.wait(mutex.try_lock().unwrap()))
            .map(|mut wait| {
                assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)).is_pending());
                wait
            })
            .collect();
        assert!(changed.signal());
        assert_eq!(signalling.1.load(Ordering::SeqCst), 2, "the first wake-up caused the second");
        waits.clear();
    });
}

#[test]
fn a_wait_polled_with_another_waker_wakes_the_last_one() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let (old, new) = (Task::new(), Task::new());
    let mut wait = enqueued(&changed, &mutex, &old);
    new.assert_pending(&mut wait);
    changed.signal();
    assert_eq!((old.wakes(), new.wakes()), (0, 1));
}

#[test]
fn threads_take_turns_by_broadcasts() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 500;
    let turns = with_deadline(|| {
        let shared = Arc::new((Mutex::new(0), Condition::new()));
        let threads: Vec<_> = (0..THREADS)
            .map(|own| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let (turn, changed) = &*shared;
                    for _ in 0..ROUNDS {
                        block_on(async {
                            let guard = turn.lock().await;
                            let mut turn =
                                changed.wait_while(guard, |turn| *turn % THREADS != own).await;
                            *turn += 1;
                            changed.broadcast();
                        });
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.1.waiters(), 0);
        *shared.0.try_lock().unwrap()
    });
    assert_eq!(turns, THREADS * ROUNDS);
}

#[test]
fn f10_a_panic_of_a_condition_unlocks_at_once() {
    let (mutex, changed) = (Mutex::new(0), Condition::new());
    let guard = mutex.try_lock().expect("the mutex is unlocked");
    let mut wait = changed.wait_while(guard, |_| resume_unwind(Box::new("the condition")));
    assert!(catch_unwind(AssertUnwindSafe(|| (&mut wait).now_or_never().is_none())).is_err());
    // The future still exists.
    assert!(mutex.try_lock().is_some());
    drop(wait);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_wait_that_its_limit_ends_returns_the_guard_and_takes_no_signal() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let (completer, computation) = Computation::create();
    let limited = changed.wait_until(mutex.try_lock().unwrap(), computation);
    let mut limited = pin!(limited);
    task.assert_pending(&mut limited);
    let mut other = changed.wait(mutex.try_lock().unwrap());
    task.assert_pending(&mut other);
    let holder = mutex.try_lock().unwrap();
    completer.try_return("limit").unwrap();
    // The lock itself has no limit.
    task.assert_pending(&mut limited);
    assert!(changed.signal());
    drop(holder);
    let (guard, ended_by) = task.assert_ready(&mut limited);
    assert_eq!((*guard, ended_by), (0, Some(Ok("limit"))));
    drop(guard);
    drop(task.assert_ready(other));
    assert_eq!(changed.waiters(), 0);
}

#[test]
fn a_signal_ends_a_limited_wait_also_if_its_limit_ends_while_it_locks() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    let (completer, computation) = Computation::create();
    let mut limited = pin!(changed.wait_until(mutex.try_lock().unwrap(), computation));
    task.assert_pending(&mut limited);
    let holder = mutex.try_lock().unwrap();
    assert!(changed.signal());
    task.assert_pending(&mut limited);
    completer.try_return(()).unwrap();
    task.assert_pending(&mut limited);
    drop(holder);
    let (guard, ended_by) = task.assert_ready(&mut limited);
    assert_eq!((*guard, ended_by), (0, None));
}

#[test]
fn a_limited_wait_with_a_predicate_looks_a_last_time() {
    let (mutex, changed, task) = (Mutex::new(0), Condition::new(), Task::new());
    for (value, expected) in [(1, Some(Ok(()))), (2, None)] {
        let (completer, computation) = Computation::create();
        let guard = mutex.try_lock().unwrap();
        let mut limited = pin!(changed.wait_while_until(guard, |value| *value < 2, computation));
        task.assert_pending(&mut limited);
        // Without a signal.
        *mutex.try_lock().unwrap() = value;
        task.assert_pending(&mut limited);
        completer.try_return(()).unwrap();
        let (guard, ended_by) = task.assert_ready(&mut limited);
        assert_eq!((*guard, ended_by), (value, expected));
    }
    assert_eq!(changed.waiters(), 0);
}
