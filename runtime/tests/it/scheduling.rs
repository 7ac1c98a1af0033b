//! How domains share their time and fall asleep: SCENARIOS.md 5.2.
//!
//! There is no stealing and one thread per domain, so its rows about workers that take each
//! other's tasks have nothing to happen to. The sleep itself is modelled in `tests/loom.rs`.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{pending, poll_fn};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use matou_runtime::{
    Builder, Direction, Driver, IoSource, ParkTimeout, Reactor, RunError, Task, Unpark, WaitSite,
    call, run, sleep, spawn, yield_now,
};

use crate::support::{
    Counter, CountsDrop, Latch, monitored, rerun_in_child_process, run_on, run_with,
    within_deadline,
};

#[test]
fn who_yields_lets_all_go_first_that_were_ready_however_many() {
    const CROWD: usize = 10_000;
    run_with(Builder::new().domains(1), || async {
        let polls = Counter::new();
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let polls = polls.clone();
                spawn(async move {
                    polls.add();
                    yield_now().await;
                    polls.add();
                })
            })
            .collect();
        yield_now().await;
        assert_eq!(polls.get(), CROWD);
        yield_now().await;
        assert_eq!(polls.get(), 2 * CROWD);
        for task in crowd {
            task.await?;
        }
        Ok(())
    })
    .unwrap();
}

/// Two tasks that wake each other for ever.
#[derive(Default)]
struct PingPong {
    wakers: RefCell<[Option<Waker>; 2]>,
    polls: Cell<usize>,
}

impl PingPong {
    async fn play(self: Rc<Self>, side: usize) {
        poll_fn(move |cx| {
            self.polls.set(self.polls.get() + 1);
            let mut wakers = self.wakers.borrow_mut();
            wakers[side] = Some(cx.waker().clone());
            if let Some(other) = &wakers[1 - side] {
                other.wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }
}

#[test]
fn w5_a_third_task_runs_between_two_that_wake_each_other_for_ever() {
    run_on(1, || async {
        let game = Rc::new(PingPong::default());
        let players = [0, 1].map(|side| spawn(game.clone().play(side)));
        while game.polls.get() < 1_000 {
            yield_now().await;
        }
        for _ in 0..100 {
            let before = game.polls.get();
            let seen = game.clone();
            let between = spawn(async move { seen.polls.get() }).await? - before;
            assert!(between <= 2, "{between} polls of the two came first");
        }
        for player in players {
            player.cancel().await;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn w7_timers_and_descriptors_go_on_while_another_domain_is_blocked() {
    run_on(2, || async {
        let (free, blocked) = mpsc::channel::<()>();
        let entered = Counter::new();
        let inside = entered.clone();
        let stuck = call(move || async move {
            inside.add();
            blocked.recv().expect("domain 0 goes on and sends");
        })?;
        entered.reaches(1).await;
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
        }
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let io = IoSource::new(OwnedFd::from(ours));
        let reader = spawn(read_byte(io.clone()));
        yield_now().await;
        theirs.write_all(b"m")?;
        assert_eq!(reader.await??, b'm');
        io.close();
        free.send(())?;
        Ok(stuck.await?)
    })
    .unwrap();
}

async fn read_byte(io: Arc<IoSource>) -> io::Result<u8> {
    poll_fn(|cx| {
        io.poll(Direction::Read, WaitSite::here("read"), cx, |fd| {
            let mut byte = [0];
            rustix::io::read(fd, &mut byte)?;
            Ok(byte[0])
        })
    })
    .await
}

#[test]
fn w14_a_task_sent_to_a_domain_with_an_endless_task_gets_its_turn() {
    run_on(2, || async {
        let started = Counter::new();
        let inside = started.clone();
        let endless = call(move || async move {
            inside.add();
            loop {
                yield_now().await;
            }
        })?;
        started.reaches(1).await;
        for n in 0..100 {
            assert_eq!(call(move || async move { n })?.await?, n);
        }
        endless.cancel().await;
        Ok(())
    })
    .unwrap();
}

/// Each call finds the other domain asleep or about to be, and each answer finds domain 0 so.
#[test]
fn w14_a_task_sent_to_a_domain_that_is_about_to_sleep_wakes_it() {
    run_on(2, || async {
        for n in 0..5_000 {
            assert_eq!(call(move || async move { n })?.await?, n);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn w15_a_domain_that_waits_for_another_one_takes_no_turns() {
    let (builder, monitor) = monitored();
    let waits = monitor.waits.clone();
    run_with(builder.domains(2), move || async move {
        let busy = call(|| async {
            for _ in 0..10_000 {
                yield_now().await;
            }
        })?;
        let before = waits.get();
        busy.await?;
        let turns = waits.get() - before;
        assert!(turns <= 4, "domain 0 looked {turns} times for what it is told once");
        Ok(())
    })
    .unwrap();
}

/// How long a thread has run, in nanoseconds, and how often it was put onto a core. A thread that
/// makes a system call, or spins, adds to them.
fn schedule_of(thread: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("a live thread");
    let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
    let (ran, _waited, times) = (numbers.next(), numbers.next(), numbers.next());
    (ran.expect("three numbers"), times.expect("three numbers"))
}

/// In a process of its own, where nobody else asks for the cores.
#[test]
fn w15_a_domain_with_nothing_to_do_sleeps_without_system_calls() {
    rerun_in_child_process!();
    if !fs::exists("/proc/thread-self/schedstat").unwrap() {
        eprintln!("skipped: this kernel does not tell how long a thread has run");
        return;
    }
    run_on(2, || async {
        let me = fs::read_link("/proc/thread-self")?;
        let me = me.to_str().expect("digits and slashes").to_owned();
        let (ran, times) = call(move || async move {
            sleep(Duration::from_millis(50)).await;
            let before = schedule_of(&me);
            sleep(Duration::from_millis(300)).await;
            let after = schedule_of(&me);
            (after.0 - before.0, after.1 - before.1)
        })?
        .await?;
        eprintln!("asleep for 300 ms, domain 0 ran {ran} ns in {times} slices");
        assert!(ran < 3_000_000 && times <= 3, "{ran} ns in {times} slices");
        Ok(())
    })
    .unwrap();
}

#[test]
fn w16_a_run_inside_a_task_is_an_error_and_the_task_goes_on() {
    for domains in [1, 3] {
        run_on(domains, || async {
            let inner = run(async { Ok::<_, io::Error>(7) });
            assert!(matches!(inner, Err(RunError::Nested)));
            let child = spawn(async { run(async { Ok::<_, io::Error>(7) }).is_err() });
            assert!(child.await?);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn w16_a_run_on_a_thread_that_a_task_waits_for_has_its_own_timers() {
    run_on(1, || async {
        let inner = thread::spawn(|| {
            Builder::new().domains(1).run(async {
                sleep(Duration::from_millis(1)).await;
                Ok::<_, io::Error>(7)
            })
        });
        assert!(matches!(inner.join().expect("it does not panic"), Ok(7)));
        Ok(())
    })
    .unwrap();
}

/// A driver that counts its end.
struct Mortal(Reactor, #[expect(dead_code, reason = "dropped")] CountsDrop);

impl Driver for Mortal {
    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.0.park(timeout)
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        self.0.unparker()
    }
}

/// Settings whose driver for domain `odd` is made by `make`; how many drivers were made and gone.
fn one_driver(odd: usize, make: fn() -> io::Result<Reactor>) -> (Builder, [Counter; 2]) {
    let counters = [Counter::new(), Counter::new()];
    let [made, gone] = counters.clone();
    let builder = Builder::new().domains(3).driver(move |index| {
        let reactor = if index == odd { make() } else { Reactor::new() }?;
        made.add();
        Ok(Mortal(reactor, CountsDrop(gone.clone())))
    });
    (builder, counters)
}

#[test]
fn w17_a_domain_that_gets_no_driver_is_an_error_and_leaves_nothing() {
    for odd in [0, 1, 2] {
        let (builder, [made, gone]) = one_driver(odd, || Err(io::ErrorKind::StorageFull.into()));
        let polled = Counter::new();
        let inside = polled.clone();
        let result: Result<(), _> = run_with(builder, move || async move {
            inside.add();
            Ok(())
        });
        match result {
            Err(RunError::Setup(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!(polled.get(), 0);
        assert_eq!(made.get(), gone.get());
    }
}

#[test]
fn w17_a_driver_whose_making_panics_panics_at_the_caller_and_leaves_nothing() {
    // Domain 1 often, because the thread of domain 2 must not outlive the panic by chance either.
    for odd in [0, 2].into_iter().chain([1; 50]) {
        let (builder, [made, gone]) = one_driver(odd, || panic!("a driver that cannot be made"));
        let result = within_deadline(move || {
            catch_unwind(AssertUnwindSafe(|| {
                builder.run(async move {
                    // Without its domain this would wait for ever.
                    let there = Task::new().pin(odd).call(|| async {})?;
                    Ok::<_, matou_runtime::MainError>(there.await?)
                })
            }))
        });
        let payload = result.expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"a driver that cannot be made"));
        assert_eq!(made.get(), gone.get());
    }
}

/// The limit counts the processes of a user and spares root, so root becomes somebody else first:
/// this thread of this process only.
#[test]
fn w17_a_thread_that_cannot_be_made_is_an_error_and_no_hang() {
    rerun_in_child_process!();
    use rustix::process::{Resource, Rlimit, getuid, setrlimit};
    use rustix::thread::set_thread_uid;
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Nproc, one).expect("a limit may be lowered");
    if getuid().is_root() {
        let nobody = rustix::process::Uid::from_raw(54_321);
        set_thread_uid(nobody).expect("root may become anybody");
    }
    let result: Result<(), RunError> = Builder::new().domains(4).run(pending());
    match result {
        Err(RunError::Setup(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
    let alone: Result<i32, RunError> = Builder::new().domains(1).run(async { Ok(7) });
    assert_eq!(alone.unwrap(), 7);
}

/// A latch that nobody opens is no work: the run sleeps, and ends when it is opened from outside.
#[test]
fn w1_a_domain_asleep_is_woken_by_a_foreign_thread() {
    run_on(1, || async {
        for _ in 0..1_000 {
            let latch = Latch::new();
            let opener = latch.clone();
            let foreign = thread::spawn(move || opener.open());
            latch.await;
            foreign.join().expect("it only opens");
        }
        Ok(())
    })
    .unwrap();
}
