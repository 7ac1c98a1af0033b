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
use std::panic::Location;
use std::pin::{Pin, pin};
use std::process::Output;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use matou_runtime::{
    Builder, Direction, IoSource, MainError, RunError, await_all, call, now, sleep_until, spawn,
    yield_now,
};

use super::doubles::{Bell, Broken, CountsDrop, Gate, watched};
use super::support::{Counter, counted, in_child_process, in_time, run_on, run_with, this_test};

const ROUNDS: usize = 300;

/// More than there are cores: a thread must be preempted in the middle of things.
fn threads() -> usize {
    4 * thread::available_parallelism().map_or(2, usize::from)
}

/// What the threads of a stress test share with the runs.
struct Stress {
    barrier: Barrier,
    gates: Mutex<Vec<Gate>>,
    woken: AtomicUsize,
}

impl Stress {
    /// One of the foreign threads. In each round it wakes what it can get while the run ends, and
    /// again when the run is gone.
    fn wake_all_rounds(&self) {
        for _ in 0..ROUNDS {
            self.barrier.wait();
            let gates = self.gates.lock().unwrap().clone();
            let wakers: Vec<_> = gates.iter().filter_map(Gate::waker).collect();
            for waker in &wakers {
                waker.wake_by_ref();
                let by_value = waker.clone();
                by_value.wake();
            }
            gates.iter().for_each(Gate::open);
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
        let gates: Vec<_> = (0..8).map(|_| Gate::new()).collect();
        let children: Vec<_> = gates
            .iter()
            .enumerate()
            .map(|(n, gate)| {
                let (gate, drops) = (gate.clone(), CountsDrop(drops.clone()));
                let body = async move {
                    let _counted = drops;
                    gate.await;
                };
                if n % 2 == 0 { spawn(body) } else { call(move || body).expect("two domains") }
            })
            .collect();
        while gates.iter().any(|gate| gate.waker().is_none()) {
            yield_now().await;
        }
        *self.gates.lock().unwrap() = gates;
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
    in_time(|| {
        let stress = Arc::new(Stress {
            barrier: Barrier::new(threads() + 1),
            gates: Mutex::default(),
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
    let (builder, watch) = watched();
    let (polls, drops) = (Counter::new(), Counter::new());
    run_with(builder.domains(2), {
        let (polls, drops) = (polls.clone(), drops.clone());
        move || async move {
            let body = move || {
                let counted_drop = CountsDrop(drops.clone());
                counted(&polls, async move {
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
    watch.assert_freed();
}

#[test]
fn t2_wakes_from_the_last_words_of_foreign_threads_come_during_and_after_the_run() {
    let (builder, watch) = watched();
    let polls = Counter::new();
    let late = run_with(builder.domains(1), {
        let polls = polls.clone();
        move || async move {
            let gate = Gate::new();
            let child = spawn(counted(&polls, gate.clone()));
            yield_now().await;
            let waker = gate.waker().expect("it was polled");
            let during = waker.clone();
            let foreign = thread::spawn(move || leave_to_the_end_of_the_thread(&during));
            foreign.join().expect("its last words do not panic");
            while polls.get() < 2 {
                yield_now().await;
            }
            gate.open();
            child.await?;
            Ok(waker)
        }
    })
    .unwrap();
    let polled = polls.get();
    let foreign = thread::spawn(move || leave_to_the_end_of_the_thread(&late));
    foreign.join().expect("its last words do not panic");
    assert_eq!(polls.get(), polled);
    watch.assert_freed();
}

/// The last reference goes with the wake, so the task is run, over and freed while the thread that
/// woke it is still inside the task's own schedule function.
#[test]
fn t3_a_task_may_be_freed_while_its_schedule_function_runs() {
    const TASKS: usize = 2_000;
    let (builder, watch) = watched();
    let drops = Counter::new();
    run_with(builder.domains(1), {
        let drops = drops.clone();
        move || async move {
            let gates: Vec<_> = (0..TASKS).map(|_| Gate::new()).collect();
            let children: Vec<_> = gates
                .iter()
                .map(|gate| {
                    let (gate, drops) = (gate.clone(), CountsDrop(drops.clone()));
                    spawn(async move {
                        let _counted = drops;
                        gate.await;
                    })
                })
                .collect();
            yield_now().await;
            let threads: Vec<_> = gates
                .chunks(TASKS / 4)
                .map(|chunk| {
                    let chunk = chunk.to_vec();
                    thread::spawn(move || chunk.iter().for_each(Gate::open))
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
    watch.assert_freed();
}

/// Polls `future` with `waker`, which has to be too early.
fn poll_early<F: Future>(future: Pin<&mut F>, waker: &Waker) {
    assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
}

/// Waits, as a task, until a waker made for it was woken.
async fn woken(make: impl FnOnce(&Waker) -> Arc<Bell>) {
    let mut make = Some(make);
    let mut bell = None;
    poll_fn(|cx| match &bell {
        None => {
            bell = make.take().map(|make| make(cx.waker()));
            Poll::Pending
        }
        Some(bell) if Bell::wakes(bell) == 0 => Poll::Pending,
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
            let bell = Bell::before(waker);
            poll_early(broken.as_mut(), &Broken::waker());
            poll_early(good.as_mut(), &bell.clone().into());
            bell
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
        let gates = [Gate::new(), Gate::new()];
        let there = gates[1].clone();
        let mut children = [spawn(gates[0].clone()), call(move || there)?];
        for (child, gate) in children.iter_mut().zip(&gates) {
            poll_early(Pin::new(child), &Broken::waker());
            gate.open();
        }
        // Their ends are told to the broken wakers, unless these are replaced before.
        let ended = Gate::new();
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
    io.poll(Direction::Read, "read", Location::caller(), &mut cx, |fd| {
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
            let bell = Bell::before(waker);
            wait_to_read(&inside, &Broken::waker());
            wait_to_read(&inside, &bell.clone().into());
            theirs.write_all(b"m").expect("there is room");
            bell
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
        let bell = Bell::silent();
        wait_to_read(&io, &Broken::waker());
        wait_to_read(&io, &bell.clone().into());
        assert!(io.close());
        assert_eq!(Bell::wakes(&bell), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn t12_a_waker_that_panics_does_not_spoil_the_end_of_the_run() {
    let (io, _theirs) = pair();
    let bell = Bell::silent();
    run_on(1, {
        let (io, bell) = (io.clone(), bell.clone());
        move || async move {
            wait_to_read(&io, &Broken::waker());
            wait_to_read(&io, &bell.into());
            // It stays registered, and its reactor goes.
            Ok(())
        }
    })
    .unwrap();
    assert_eq!(Bell::wakes(&bell), 1);
    assert!(io.close());
}

/// Polls `future` with three wakers one after the other, and says which of them are still held.
fn held_after_three_wakers<F: Future>(mut future: Pin<&mut F>) -> (Vec<Weak<Bell>>, Arc<Bell>) {
    let mut early = Vec::new();
    for _ in 0..2 {
        let bell = Bell::silent();
        early.push(Arc::downgrade(&bell));
        poll_early(future.as_mut(), &bell.into());
    }
    let last = Bell::silent();
    poll_early(future, &last.clone().into());
    (early, last)
}

#[test]
fn t14_the_last_of_many_wakers_is_woken_and_the_others_are_let_go() {
    run_on(1, || async {
        let gate = Gate::new();
        let mut child = spawn(gate.clone());
        yield_now().await;
        let (early, last) = held_after_three_wakers(Pin::new(&mut child));
        assert!(early.iter().all(|bell| bell.strong_count() == 0));
        gate.open();
        last.wakes.reaches(1).await;
        child.await?;

        let mut sleep = pin!(sleep_until(now() + Duration::from_millis(1)));
        let (early, last) = held_after_three_wakers(sleep.as_mut());
        assert!(early.iter().all(|bell| bell.strong_count() == 0));
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
        let bells: Vec<_> = (0..10).map(|_| Bell::silent()).collect();
        for bell in &bells {
            wait_to_read(&io, &bell.clone().into());
        }
        theirs.write_all(b"m")?;
        bells[9].wakes.reaches(1).await;
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

/// The reference count lies in the header of its cell, one word of which grows by 8 with each
/// clone on a thread that is not the task's. Where that word is, its own behaviour tells.
#[test]
fn t15_a_waker_cloned_too_often_aborts_the_process() {
    let Some(output) = in_child_process(this_test!()) else {
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
            inside.poll(Direction::Read, "read", Location::caller(), cx, |_| {
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
            let gate = Gate::new();
            let child = spawn(counted(&polls, gate.clone()));
            yield_now().await;
            assert_eq!(polls.get(), 1);
            let waker = gate.waker().expect("it was polled");
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
            gate.open();
            Ok(child.await?)
        }
    })
    .unwrap();
}
