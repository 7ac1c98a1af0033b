//! Models with more threads and longer schedules than loom can explore, run by shuttle under many
//! random schedules:
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test -p matou-sync --release --test shuttle
//! ```
//!
//! Half of the schedules are random, half are PCT with depth 3. Shuttle switches threads at its own
//! types only, that is, at each access to the state word of a mutex and to the list of waiters; and
//! it does not model weak memory. Loom does.

#![cfg(all(shuttle, not(loom)))]

use std::sync::Arc;

use matou_sync::{Condition, Mutex};
use shuttle::future::block_on;
use shuttle::{check_pct, check_random, thread};

/// Schedules of each kind for each model.
const SCHEDULES: usize = 50_000;

fn explore(model: fn()) {
    check_random(model, SCHEDULES);
    check_pct(model, SCHEDULES, 3);
}

fn spawn_all(
    count: usize,
    body: impl Fn() + Clone + Send + 'static,
) -> Vec<thread::JoinHandle<()>> {
    (0..count).map(|_| thread::spawn(body.clone())).collect()
}

fn join_all(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn four_threads_that_lock_three_times_exclude_each_other_and_end() {
    explore(|| {
        let mutex = Arc::new(Mutex::new(0));
        let threads = spawn_all(4, {
            let mutex = mutex.clone();
            move || {
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
    });
}

/// Three waiters take one token each; each token is announced by a signal.
#[test]
fn each_of_three_signals_ends_a_wait() {
    explore(|| {
        let shared = Arc::new((Mutex::new(0), Condition::new()));
        let waiting = spawn_all(3, {
            let shared = shared.clone();
            move || {
                let (tokens, changed) = &*shared;
                block_on(async {
                    let guard = tokens.lock().await;
                    *changed.wait_while(guard, |tokens| *tokens == 0).await -= 1;
                });
            }
        });
        let signalling = spawn_all(3, {
            let shared = shared.clone();
            move || {
                *block_on(shared.0.lock()) += 1;
                shared.1.signal();
            }
        });
        join_all(waiting);
        join_all(signalling);
        assert_eq!((*shared.0.try_lock().unwrap(), shared.1.waiters()), (0, 0));
    });
}
