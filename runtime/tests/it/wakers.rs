//! Goal: wakers work on any thread and at any time, during their run and after it (scenarios T1 to
//! T3, T15, W12).
//! Method: stress tests keep their threads, which start each round at a barrier, and use more
//! threads than cores. That finds a use after free under AddressSanitizer within seconds; a new
//! thread for each round finds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::process::Output;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use matou_runtime::{Builder, MainError, RunError, await_all, call, spawn, yield_now};

use crate::support::{
    Counter, CountsDrop, Latch, child_output, count_polls, monitored, run_on, run_with, this_test,
    within_deadline,
};

const ROUNDS: usize = 300;

/// More threads than cores, so that a thread is preempted within an operation.
fn threads() -> usize {
    4 * thread::available_parallelism().map_or(2, usize::from)
}

/// State that the threads of a stress test share with the runs.
struct Stress {
    barrier: Barrier,
    latches: Mutex<Vec<Latch>>,
    woken: AtomicUsize,
}

impl Stress {
    /// The body of a foreign thread. In each round it wakes all tasks while the run ends, and again
    /// when the run has returned.
    fn wake_all_rounds(&self) {
        for _ in 0..ROUNDS {
            self.barrier.wait();
            let latches = self.latches.lock().unwrap().clone();
            let wakers: Vec<_> = latches.iter().filter_map(Latch::waker).collect();
            for waker in &wakers {
                waker.wake_by_ref();
                let by_value = waker.clone();
                by_value.wake();
            }
            latches.iter().for_each(Latch::open);
            self.barrier.wait();
            for waker in wakers {
                waker.wake_by_ref();
                waker.wake();
                self.woken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The main task of a round: children on both domains wait while the threads wake them, until
    /// the run ends as `end` says.
    async fn round(self: Arc<Self>, drops: Counter, end: End) -> Result<(), MainError> {
        let latches: Vec<_> = (0..8).map(|_| Latch::new()).collect();
        let children: Vec<_> = latches
            .iter()
            .enumerate()
            .map(|(n, latch)| {
                let (latch, drops) = (latch.clone(), CountsDrop(drops.clone()));
                let body = async move {
                    let _counted = drops;
                    latch.await;
                };
                if n % 2 == 0 { spawn(body) } else { call(move || body).expect("two domains") }
            })
            .collect();
        while latches.iter().any(|latch| latch.waker().is_none()) {
            yield_now().await;
        }
        *self.latches.lock().unwrap() = latches;
        self.barrier.wait();
        match end {
            End::Failed => return Err("on purpose".into()),
            End::Cancelled => {
                for child in children {
                    child.cancel().await;
                }
            }
            End::Awaited => drop(await_all(children).await),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum End {
    Failed,
    Cancelled,
    Awaited,
}

#[test]
fn t1_foreign_threads_wake_tasks_while_their_run_ends_and_afterwards() {
    within_deadline(|| {
        let stress = Arc::new(Stress {
            barrier: Barrier::new(threads() + 1),
            latches: Mutex::default(),
            woken: AtomicUsize::new(0),
        });
        let foreign: Vec<_> = (0..threads())
            .map(|_| {
                let stress = stress.clone();
                thread::spawn(move || stress.wake_all_rounds())
            })
            .collect();
        let drops = Counter::new();
        for round in 0..ROUNDS {
            let end = [End::Failed, End::Cancelled, End::Awaited][round % 3];
            let main = stress.clone().round(drops.clone(), end);
            let result: Result<(), RunError> = Builder::new().domains(2).run(main);
            assert_eq!(result.is_err(), round % 3 == 0, "{result:?}");
            assert_eq!(drops.get(), 8 * (round + 1), "each future is dropped exactly once");
            stress.barrier.wait();
        }
        for thread in foreign {
            thread.join().expect("no waker panics");
        }
        assert!(stress.woken.load(Ordering::Relaxed) > 0, "wakers outlive their runs");
    });
}

/// Wakes its wakers when it is dropped.
#[derive(Default)]
struct WakeOnThreadExit(Vec<Waker>);

impl Drop for WakeOnThreadExit {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake_by_ref();
            drop(waker.clone());
            waker.wake();
        }
    }
}

thread_local! {
    static WAKE_ON_EXIT: RefCell<WakeOnThreadExit> = RefCell::default();
}

fn wake_on_thread_exit(waker: &Waker) {
    WAKE_ON_EXIT.with_borrow_mut(|wakers| wakers.0.push(waker.clone()));
}

#[test]
fn t2_wakes_from_thread_local_destructors_of_domains_do_nothing() {
    let (builder, monitor) = monitored();
    let (polls, drops) = (Counter::new(), Counter::new());
    run_with(builder.domains(2), {
        let (polls, drops) = (polls.clone(), drops.clone());
        move || async move {
            let body = move || {
                let counted_drop = CountsDrop(drops.clone());
                count_polls(&polls, async move {
                    let _counted = counted_drop;
                    poll_fn(|cx| {
                        wake_on_thread_exit(cx.waker());
                        Poll::Ready(())
                    })
                    .await;
                })
            };
            let there = body.clone();
            let (here, there) = (spawn(body()), call(there)?);
            here.await?;
            there.await?;
            Ok(())
        }
    })
    .unwrap();
    // `run_with` has joined the thread of domain 0.
    assert_eq!((polls.get(), drops.get()), (2, 2));
    monitor.assert_freed();
}

#[test]
fn t2_wakes_from_thread_local_destructors_of_foreign_threads_are_safe() {
    let (builder, monitor) = monitored();
    let polls = Counter::new();
    let late = run_with(builder.domains(1), {
        let polls = polls.clone();
        move || async move {
            let latch = Latch::new();
            let child = spawn(count_polls(&polls, latch.clone()));
            yield_now().await;
            let waker = latch.waker().expect("it was polled");
            let during = waker.clone();
            let foreign = thread::spawn(move || wake_on_thread_exit(&during));
            foreign.join().expect("its destructors do not panic");
            while polls.get() < 2 {
                yield_now().await;
            }
            latch.open();
            child.await?;
            Ok(waker)
        }
    })
    .unwrap();
    let polled = polls.get();
    let foreign = thread::spawn(move || wake_on_thread_exit(&late));
    foreign.join().expect("its destructors do not panic");
    assert_eq!(polls.get(), polled);
    monitor.assert_freed();
}

/// The wake consumes the last reference: the task runs, completes and is freed while the waking
/// thread is still inside the wake function of the task.
#[test]
fn t3_a_task_may_be_freed_while_another_thread_is_in_its_wake_function() {
    const TASKS: usize = 2_000;
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    run_with(builder.domains(1), {
        let drops = drops.clone();
        move || async move {
            let latches: Vec<_> = (0..TASKS).map(|_| Latch::new()).collect();
            let children: Vec<_> = latches
                .iter()
                .map(|latch| {
                    let (latch, drops) = (latch.clone(), CountsDrop(drops.clone()));
                    spawn(async move {
                        let _counted = drops;
                        latch.await;
                    })
                })
                .collect();
            yield_now().await;
            let threads: Vec<_> = latches
                .chunks(TASKS / 4)
                .map(|chunk| {
                    let chunk = chunk.to_vec();
                    thread::spawn(move || chunk.iter().for_each(Latch::open))
                })
                .collect();
            assert_eq!(await_all(children).await.len(), TASKS);
            for thread in threads {
                thread.join().expect("no thread panics");
            }
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(drops.get(), TASKS);
    monitor.assert_freed();
}

/// The header of a task contains a reference count in one word, which grows by 8 with each clone on
/// a thread that is not the task's. The test finds the word by that behaviour.
#[test]
fn t15_a_waker_cloned_too_often_aborts_the_process() {
    let Some(output) = child_output(this_test!()) else {
        run_on(1, || async {
            poll_fn(|cx| {
                let waker = cx.waker();
                thread::scope(|scope| {
                    scope.spawn(|| overflow_the_references_of(waker));
                });
                Poll::Ready(())
            })
            .await;
            Ok(())
        })
        .unwrap();
        return;
    };
    let Output { status, stderr, .. } = output;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("one clone below the limit"), "{stderr}");
    assert!(!stderr.contains("one clone above the limit"), "{stderr}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status}");
}

fn overflow_the_references_of(waker: &Waker) {
    const WORDS: usize = 4;
    const ONE: usize = 8;
    let header: *const AtomicUsize = waker.data().cast();
    let read = || -> Vec<usize> {
        // SAFETY: a task's allocation begins with its header, which is longer than four words and
        // has no padding there; the task is alive, since it is being polled.
        (0..WORDS).map(|n| unsafe { (*header.add(n)).load(Ordering::SeqCst) }).collect()
    };
    let before = read();
    std::mem::forget(waker.clone());
    let after = read();
    let grown: Vec<_> = (0..WORDS).filter(|&n| after[n] == before[n] + ONE).collect();
    let &[count] = grown.as_slice() else {
        panic!("the reference count was not found: {before:?}, {after:?}");
    };
    let last = isize::MAX as usize & !(ONE - 1);
    // SAFETY: as above. The process aborts before the wrong count could free the task.
    unsafe { (*header.add(count)).fetch_or(last & !(ONE * 2), Ordering::SeqCst) };
    eprintln!("one clone below the limit");
    for _ in 0..4 {
        std::mem::forget(waker.clone());
    }
    eprintln!("one clone above the limit");
}

/// A domain counts its own clones of its tasks' wakers in a half word of the header.
#[test]
fn t15_a_domain_that_clones_a_waker_too_often_uses_the_shared_counter() {
    const LOCAL_REFS_MAX: u32 = 1 << 25;
    const HALVES: usize = 8;
    run_on(1, || async {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let header: *const AtomicU32 = waker.data().cast();
        let read = || -> Vec<u32> {
            // SAFETY: a task's allocation begins with its header, which is as long as these and has
            // no padding; the waker keeps it.
            (0..HALVES).map(|n| unsafe { (*header.add(n)).load(Ordering::SeqCst) }).collect()
        };
        let before = read();
        let second = waker.clone();
        let after = read();
        let grown: Vec<_> = (0..HALVES).filter(|&n| after[n] == before[n] + 1).collect();
        assert_eq!(grown.len(), 1, "{before:?}, {after:?}");
        // SAFETY: as above.
        let local = unsafe { &*header.add(grown[0]) };
        let missing = LOCAL_REFS_MAX - local.load(Ordering::SeqCst);
        local.fetch_add(missing, Ordering::SeqCst);
        let full = read();
        let third = waker.clone();
        let changed = read().iter().zip(&full).filter(|(now, then)| now != then).count();
        assert_eq!(
            (changed, local.load(Ordering::SeqCst)),
            (1, LOCAL_REFS_MAX),
            "the shared counter"
        );
        drop((second, third));
        assert_eq!(local.fetch_sub(missing, Ordering::SeqCst), LOCAL_REFS_MAX - 2);
        // The task still completes and is freed: the shared counter now has one reference too many
        // and the half word one too few.
        Ok(())
    })
    .unwrap();
}

#[test]
fn w12_a_million_wakes_cause_one_poll() {
    const WAKES: usize = 1_000_000;
    let polls = Counter::new();
    run_on(1, {
        let polls = polls.clone();
        move || async move {
            let latch = Latch::new();
            let child = spawn(count_polls(&polls, latch.clone()));
            yield_now().await;
            assert_eq!(polls.get(), 1);
            let waker = latch.waker().expect("it was polled");
            (0..WAKES).for_each(|_| waker.wake_by_ref());
            yield_now().await;
            yield_now().await;
            assert_eq!(polls.get(), 2, "woken on its own domain");
            // The domain is inside this very poll, so it cannot receive a wake-up in between.
            let foreign = thread::spawn(move || (0..WAKES).for_each(|_| waker.wake_by_ref()));
            foreign.join().expect("it only wakes");
            polls.reaches(3).await;
            for _ in 0..1_000 {
                yield_now().await;
            }
            assert_eq!(polls.get(), 3, "woken from another thread");
            latch.open();
            Ok(child.await?)
        }
    })
    .unwrap();
}
