//! What wakers survive: SCENARIOS.md 5.1, the rows about who wakes whom, when and from where.
//!
//! The stress tests keep their threads and let them start each round at a barrier, with more
//! threads than cores: that is what finds a use after free within seconds under ASan, where a
//! thread for each round finds none.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::process::Output;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use matou_runtime::{
    Builder, Direction, IoSource, MainError, RunError, WaitSite, await_all, call, now, sleep_until,
    spawn, yield_now,
};

use crate::support::{
    Counter, CountsDrop, Latch, PanicsOnWake, WakeCounter, child_output, count_polls, monitored,
    run_on, run_with, this_test, within_deadline,
};

const ROUNDS: usize = 300;

/// More than there are cores: a thread must be preempted in the middle of things.
fn threads() -> usize {
    4 * thread::available_parallelism().map_or(2, usize::from)
}

/// What the threads of a stress test share with the runs.
struct Stress {
    barrier: Barrier,
    latches: Mutex<Vec<Latch>>,
    woken: AtomicUsize,
}

impl Stress {
    /// One of the foreign threads. In each round it wakes what it can get while the run ends, and
    /// again when the run is gone.
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

    /// The body of a round's main task: children here and elsewhere wait while the threads wake
    /// them, and the run ends as `end` says.
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
            End::Failed => return Err("the end of a round".into()),
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
fn t1_foreign_threads_wake_tasks_while_their_run_ends_and_after() {
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
        assert!(stress.woken.load(Ordering::Relaxed) > 0, "the wakers outlived their runs");
    });
}

/// Wakes everything that it holds when its thread ends.
#[derive(Default)]
struct LastWords(Vec<Waker>);

impl Drop for LastWords {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake_by_ref();
            drop(waker.clone());
            waker.wake();
        }
    }
}

thread_local! {
    static LAST_WORDS: RefCell<LastWords> = RefCell::default();
}

fn leave_to_the_end_of_the_thread(waker: &Waker) {
    LAST_WORDS.with_borrow_mut(|words| words.0.push(waker.clone()));
}

#[test]
fn t2_wakes_from_the_last_words_of_the_domains_own_threads_do_nothing() {
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
                        leave_to_the_end_of_the_thread(cx.waker());
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
    // `run_with` has joined the thread that was domain 0.
    assert_eq!((polls.get(), drops.get()), (2, 2));
    monitor.assert_freed();
}

#[test]
fn t2_wakes_from_the_last_words_of_foreign_threads_come_during_and_after_the_run() {
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
            let foreign = thread::spawn(move || leave_to_the_end_of_the_thread(&during));
            foreign.join().expect("its last words do not panic");
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
    let foreign = thread::spawn(move || leave_to_the_end_of_the_thread(&late));
    foreign.join().expect("its last words do not panic");
    assert_eq!(polls.get(), polled);
    monitor.assert_freed();
}

/// The last reference goes with the wake, so the task is run, over and freed while the thread that
/// woke it is still inside the task's own schedule function.
#[test]
fn t3_a_task_may_be_freed_while_its_schedule_function_runs() {
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

/// Polls `future` with `waker`, which has to be too early.
fn poll_early<F: Future>(future: Pin<&mut F>, waker: &Waker) {
    assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
}

/// Waits, as a task, until a waker made for it was woken.
async fn woken(make: impl FnOnce(&Waker) -> Arc<WakeCounter>) {
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
fn t12_a_waker_that_panics_keeps_no_other_timer_from_firing() {
    run_on(1, || async {
        let soon = now() + Duration::from_millis(1);
        let [mut broken, mut good] = [(), ()].map(|()| Box::pin(sleep_until(soon)));
        woken(|waker| {
            let counter = WakeCounter::forwarding_to(waker);
            poll_early(broken.as_mut(), &PanicsOnWake::waker());
            poll_early(good.as_mut(), &counter.clone().into());
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
fn t12_a_waker_that_panics_keeps_no_parent_from_hearing_of_a_child() {
    run_on(2, || async {
        let latches = [Latch::new(), Latch::new()];
        let there = latches[1].clone();
        let mut children = [spawn(latches[0].clone()), call(move || there)?];
        for (child, latch) in children.iter_mut().zip(&latches) {
            poll_early(Pin::new(child), &PanicsOnWake::waker());
            latch.open();
        }
        // Their ends are told to the broken wakers, unless these are replaced before.
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

fn pair() -> (Arc<IoSource>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("non-blocking mode");
    (IoSource::new(OwnedFd::from(ours)), theirs)
}

fn read_with(io: &Arc<IoSource>, waker: &Waker) -> Poll<std::io::Result<u8>> {
    let mut cx = Context::from_waker(waker);
    io.poll(Direction::Read, WaitSite::here("read"), &mut cx, |fd| {
        let mut byte = [0];
        rustix::io::read(fd, &mut byte)?;
        Ok(byte[0])
    })
}

fn wait_to_read(io: &Arc<IoSource>, waker: &Waker) {
    assert!(read_with(io, waker).is_pending());
}

#[test]
fn t12_a_waker_that_panics_keeps_no_other_reader_from_being_woken() {
    run_on(1, || async {
        let (io, mut theirs) = pair();
        let inside = io.clone();
        woken(|waker| {
            let counter = WakeCounter::forwarding_to(waker);
            wait_to_read(&inside, &PanicsOnWake::waker());
            wait_to_read(&inside, &counter.clone().into());
            theirs.write_all(b"m").expect("there is room");
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
fn t12_a_waker_that_panics_keeps_no_other_reader_from_hearing_of_the_close() {
    run_on(1, || async {
        let (io, _theirs) = pair();
        let counter = WakeCounter::new();
        wait_to_read(&io, &PanicsOnWake::waker());
        wait_to_read(&io, &counter.clone().into());
        assert!(io.close());
        assert_eq!(counter.wakes.get(), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn t12_a_waker_that_panics_does_not_spoil_the_end_of_the_run() {
    let (io, _theirs) = pair();
    let counter = WakeCounter::new();
    run_on(1, {
        let (io, counter) = (io.clone(), counter.clone());
        move || async move {
            wait_to_read(&io, &PanicsOnWake::waker());
            wait_to_read(&io, &counter.into());
            // It stays registered, and its reactor goes.
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(counter.wakes.get(), 1);
    assert!(io.close());
}

/// Polls `future` with three wakers one after the other, and says which of them are still held.
fn held_after_three_wakers<F: Future>(
    mut future: Pin<&mut F>,
) -> (Vec<Weak<WakeCounter>>, Arc<WakeCounter>) {
    let mut early = Vec::new();
    for _ in 0..2 {
        let counter = WakeCounter::new();
        early.push(Arc::downgrade(&counter));
        poll_early(future.as_mut(), &counter.into());
    }
    let last = WakeCounter::new();
    poll_early(future, &last.clone().into());
    (early, last)
}

#[test]
fn t14_the_last_of_many_wakers_is_woken_and_the_others_are_let_go() {
    run_on(1, || async {
        let latch = Latch::new();
        let mut child = spawn(latch.clone());
        yield_now().await;
        let (early, last) = held_after_three_wakers(Pin::new(&mut child));
        assert!(early.iter().all(|counter| counter.strong_count() == 0));
        latch.open();
        last.wakes.reaches(1).await;
        child.await?;

        let mut sleep = pin!(sleep_until(now() + Duration::from_millis(1)));
        let (early, last) = held_after_three_wakers(sleep.as_mut());
        assert!(early.iter().all(|counter| counter.strong_count() == 0));
        last.wakes.reaches(1).await;
        sleep.await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn t14_a_descriptor_wakes_the_last_of_many_wakers() {
    run_on(1, || async {
        let (io, mut theirs) = pair();
        let counters: Vec<_> = (0..10).map(|_| WakeCounter::new()).collect();
        for counter in &counters {
            wait_to_read(&io, &counter.clone().into());
        }
        theirs.write_all(b"m")?;
        counters[9].wakes.reaches(1).await;
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

/// The reference count lies in the header of its cell, one word of which grows by 8 with each
/// clone on a thread that is not the task's. Where that word is, its own behaviour tells.
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
    assert!(stderr.contains("one clone before the end"), "{stderr}");
    assert!(!stderr.contains("one clone too many"), "{stderr}");
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
    // SAFETY: as above. The process is going to end; nobody frees the task because of the count.
    unsafe { (*header.add(count)).fetch_or(last & !(ONE * 2), Ordering::SeqCst) };
    eprintln!("one clone before the end");
    for _ in 0..4 {
        std::mem::forget(waker.clone());
    }
    eprintln!("one clone too many");
}

/// A domain counts what it clones of its own tasks' wakers in a half word apart.
#[test]
fn t15_a_domain_that_clones_too_often_counts_where_the_others_do() {
    const APART_MAX: u32 = 1 << 25;
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
        let apart = unsafe { &*header.add(grown[0]) };
        let missing = APART_MAX - apart.load(Ordering::SeqCst);
        apart.fetch_add(missing, Ordering::SeqCst);
        let full = read();
        let third = waker.clone();
        let changed = read().iter().zip(&full).filter(|(now, then)| now != then).count();
        assert_eq!((changed, apart.load(Ordering::SeqCst)), (1, APART_MAX), "counted elsewhere");
        drop((second, third));
        assert_eq!(apart.fetch_sub(missing, Ordering::SeqCst), APART_MAX - 2);
        // The task still ends, and is freed, with the one reference that the shared word now has
        // too many and the half word too few.
        Ok(())
    })
    .unwrap();
}

#[test]
fn t22_an_operation_that_panics_under_the_descriptors_lock_poisons_nothing() {
    run_on(1, || async {
        let (io, mut theirs) = pair();
        let inside = io.clone();
        let broken = spawn(poll_fn(move |cx| -> Poll<std::io::Result<()>> {
            inside.poll(Direction::Read, WaitSite::here("read"), cx, |_| {
                panic!("an operation that panics")
            })
        }));
        assert!(broken.await.unwrap_err().is_panicked());
        theirs.write_all(b"m")?;
        let reader = io.clone();
        let byte = spawn(poll_fn(move |cx| read_with(&reader, cx.waker()))).await??;
        assert_eq!(byte, b'm');
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

#[test]
fn w12_a_million_wakes_make_one_poll() {
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
            // Meanwhile the domain is stuck in this very poll, so nothing can be taken in between.
            let foreign = thread::spawn(move || (0..WAKES).for_each(|_| waker.wake_by_ref()));
            foreign.join().expect("it only wakes");
            polls.reaches(3).await;
            for _ in 0..1_000 {
                yield_now().await;
            }
            assert_eq!(polls.get(), 3, "woken from elsewhere");
            latch.open();
            Ok(child.await?)
        }
    })
    .unwrap();
}
