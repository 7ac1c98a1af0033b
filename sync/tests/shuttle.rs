//! Models with more threads than loom can bear, run by shuttle under many random schedules:
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test -p matou-sync --release --test shuttle
//! ```
//!
//! Half of the schedules are random, half by PCT with depth 3. As in `tests/loom.rs` each model has
//! a twin that lacks a step and has to fall. Shuttle does not know weak memory, so that what
//! rests on a fence is loom's.

#![cfg(all(shuttle, not(loom)))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use matou_sync::model::{Sabotage, with_impatience, with_sabotage};
use matou_sync::{Condition, Mutex, Queue};
use shuttle::future::block_on;
use shuttle::{check_pct, check_random, thread};

/// Schedules of each kind for each model.
const SCHEDULES: usize = 50_000;

fn holds(model: fn()) {
    for impatient in [false, true] {
        with_impatience(impatient, || {
            check_random(model, SCHEDULES);
            check_pct(model, SCHEDULES, 3);
        });
    }
}

fn falls_without(step: Sabotage, model: fn()) {
    // A thread of its own: the step is missing on this thread only.
    let crippled = std::thread::spawn(move || {
        with_impatience(true, || {
            with_sabotage(step, || {
                catch_unwind(AssertUnwindSafe(|| check_random(model, 40 * SCHEDULES))).is_err()
            })
        })
    });
    assert!(crippled.join().unwrap_or(true), "the model still holds without {step:?}");
}

fn spawn_all(
    count: usize,
    body: impl Fn(usize) + Clone + Send + 'static,
) -> Vec<thread::JoinHandle<()>> {
    (0..count)
        .map(|index| {
            let body = body.clone();
            thread::spawn(move || body(index))
        })
        .collect()
}

fn join_all(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn four_threads_lock_three_times() {
    let mutex = Arc::new(Mutex::new(0));
    let threads = spawn_all(4, {
        let mutex = mutex.clone();
        move |_| {
            for _ in 0..3 {
                let mut guard = block_on(mutex.lock());
                let before = *guard;
                thread::yield_now();
                *guard = before + 1;
            }
        }
    });
    join_all(threads);
    assert_eq!(mutex.waiters(), 0);
    assert_eq!(*mutex.try_lock().unwrap(), 12);
}

#[test]
fn four_threads_that_lock_three_times_exclude_each_other_and_end() {
    holds(four_threads_lock_three_times);
}

#[test]
fn m1_a_lock_that_does_not_look_again_after_listening_is_found() {
    falls_without(Sabotage::LockWithoutRecheck, four_threads_lock_three_times);
}

/// Two locks wait while a third party comes back for the mutex again and again.
fn two_waiters_are_overtaken() {
    let mutex = Arc::new(Mutex::new(()));
    let threads = spawn_all(2, {
        let mutex = mutex.clone();
        move |_| drop(block_on(mutex.lock()))
    });
    for _ in 0..4 {
        drop(mutex.try_lock());
    }
    join_all(threads);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn m5_two_waiters_that_are_overtaken_both_get_the_lock() {
    holds(two_waiters_are_overtaken);
}

#[test]
fn m5_a_refused_lock_that_calls_nobody_is_found() {
    falls_without(Sabotage::RefusedLockCallsNobody, two_waiters_are_overtaken);
}

/// Each of three waiters takes one of three tokens, which come with one signal each.
fn signals_hand_out_tokens() {
    let shared = Arc::new((Mutex::new(0), Condition::new()));
    let waiting = spawn_all(3, {
        let shared = shared.clone();
        move |_| {
            let (tokens, changed) = &*shared;
            block_on(async {
                let guard = tokens.lock().await;
                *changed.wait_while(guard, |tokens| *tokens == 0).await -= 1;
            });
        }
    });
    let signalling = spawn_all(3, {
        let shared = shared.clone();
        move |_| {
            *block_on(shared.0.lock()) += 1;
            shared.1.signal();
        }
    });
    join_all(waiting);
    join_all(signalling);
    assert_eq!((*shared.0.try_lock().unwrap(), shared.1.waiters()), (0, 0));
}

#[test]
fn each_of_three_signals_ends_a_wait() {
    holds(signals_hand_out_tokens);
}

#[test]
fn a_wait_that_unlocks_before_it_is_in_the_line_is_found() {
    falls_without(Sabotage::UnlockBeforeEnqueue, signals_hand_out_tokens);
}

/// Three pushers and two poppers at a queue with two slots, which is closed after the last push.
fn values_pass_through_a_small_queue() {
    let queue = Arc::new(Queue::bounded(2));
    let popped = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
    let pushing = spawn_all(3, {
        let queue = queue.clone();
        move |index| {
            for number in 0..2 {
                block_on(queue.push(2 * index + number)).unwrap();
            }
        }
    });
    let popping = spawn_all(2, {
        let (queue, popped) = (queue.clone(), popped.clone());
        move |_| {
            while let Ok(number) = block_on(queue.pop()) {
                popped.lock().unwrap().push(number);
            }
        }
    });
    join_all(pushing);
    queue.close();
    join_all(popping);
    let mut popped = popped.lock().unwrap();
    popped.sort_unstable();
    assert_eq!(*popped, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn each_value_passes_through_a_small_queue_once() {
    holds(values_pass_through_a_small_queue);
}

#[test]
fn a_queue_that_does_not_look_again_after_listening_is_found() {
    falls_without(Sabotage::QueueWithoutRecheck, values_pass_through_a_small_queue);
}
