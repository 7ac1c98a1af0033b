//! Goal: what a poller, other code or another process does with a source of I/O affects no other
//! registration (scenarios F3, F7, F24, F25, B21).
//! Method: a driver that hands its registrations out, foreign wakers that use the source when they
//! are cloned, woken or dropped, and child processes that fork.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::{Duration, Instant};

use matou_runtime::{
    BorrowedSource, Builder, Direction, Driver, IoSource, IoWait, ParkTimeout, PollMode, Poller,
    Reactor, Readiness, Registration, RunError, Token, Unpark, WaitSite, WakerKey, signal, sleep,
    spawn, timeout, yield_now,
};

use crate::support::{
    DEADLINE, Latch, WakeCounter, io_pair, poll_read_byte, read_byte, rerun_in_child_process,
    run_on,
};

/// A reactor whose poller keeps a copy of each registration, as a faulty or late one might.
struct Recording {
    reactor: Reactor,
    poller: Arc<RecordingPoller>,
}

struct RecordingPoller {
    poller: Arc<dyn Poller>,
    registrations: Arc<Mutex<Vec<Registration>>>,
}

impl Driver for Recording {
    fn now(&self) -> Instant {
        self.reactor.now()
    }
    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.reactor.park(timeout)
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }
    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(self.poller.clone())
    }
}

impl Poller for RecordingPoller {
    fn mode(&self) -> PollMode {
        self.poller.mode()
    }
    fn register(
        &self,
        source: BorrowedSource<'_>,
        registration: Registration,
    ) -> io::Result<Token> {
        self.registrations.lock().unwrap().push(registration.clone());
        self.poller.register(source, registration)
    }
    fn rearm(
        &self,
        source: BorrowedSource<'_>,
        token: Token,
        interest: matou_runtime::Interest,
    ) -> io::Result<()> {
        self.poller.rearm(source, token, interest)
    }
    fn deregister(&self, source: BorrowedSource<'_>, token: Token) {
        self.poller.deregister(source, token);
    }
}

/// Polls a read in a run of its own, whose driver records the registration.
fn register_in_another_run(io: &IoSource) -> Registration {
    let registrations = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&registrations);
    let builder = Builder::new().domains(1).driver(move |_| {
        let reactor = Reactor::new()?;
        let poller = reactor.poller().expect("a reactor has one");
        let registrations = Arc::clone(&recorded);
        Ok(Recording { reactor, poller: Arc::new(RecordingPoller { poller, registrations }) })
    });
    let io = io.clone();
    let result: Result<(), RunError> = builder.run(async move {
        assert!(futures::poll!(pin!(read_byte(io))).is_pending());
        Ok(())
    });
    result.unwrap();
    registrations.lock().unwrap().remove(0)
}

#[test]
fn f3_a_registration_of_the_past_affects_no_later_one() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let past = thread::scope(|scope| {
            scope.spawn(|| register_in_another_run(&io)).join().expect("the other run")
        });
        let mut read = pin!(read_byte(io.clone()));
        assert!(futures::poll!(&mut read).is_pending());
        // The end of the other run comes late: this must not end the registration here.
        past.detach();
        past.set_ready(Readiness { readable: true, writable: true, closed: true });
        assert!(futures::poll!(&mut read).is_pending());
        peer.write_all(b"m")?;
        assert_eq!(timeout(DEADLINE, read).await??, b'm');
        // It would register a second time here, which fails.
        assert!(futures::poll!(pin!(read_byte(io.clone()))).is_pending());
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

/// Sources move from a run that ends to another one, which registers them at the same time.
#[test]
fn f3_sources_move_from_a_run_that_ends() {
    const SOURCES: usize = 200;
    for round in 0..20_u64 {
        let (sources, _peers): (Vec<_>, Vec<_>) = (0..SOURCES).map(|_| io_pair()).unzip();
        let (send, receive) = mpsc::channel::<Vec<IoSource>>();
        let poll_all = |sources: &[IoSource]| {
            poll_fn({
                let sources = sources.to_vec();
                move |cx| {
                    let is_pending = |io: &IoSource| poll_read_byte(io, cx).is_pending();
                    Poll::Ready(sources.iter().all(is_pending))
                }
            })
        };
        let other = thread::spawn(move || {
            run_on(1, move || async move {
                let sources = receive.recv().expect("the sources");
                for _ in 0..3 {
                    assert!(poll_all(&sources).await, "a source could not be registered");
                    yield_now().await;
                }
                sources.iter().for_each(|io| assert!(io.close()));
                Ok(())
            })
        });
        run_on(1, move || async move {
            assert!(poll_all(&sources).await);
            send.send(sources).expect("the other run");
            // The reactor is dropped a moment later.
            let (begun, spin) = (Instant::now(), Duration::from_micros(round * 97 % 900));
            while begun.elapsed() < spin {}
            Ok(())
        })
        .unwrap();
        other.join().expect("no panic").unwrap();
    }
}

type Callback = Box<dyn Fn() + Send + Sync>;

/// A waker that runs code of the program when it is cloned, woken and dropped.
struct Foreign {
    on_clone: Callback,
    on_drop: Callback,
}

static FOREIGN: RawWakerVTable =
    RawWakerVTable::new(clone_foreign, drop_foreign, |_| {}, drop_foreign);

fn clone_foreign(data: *const ()) -> RawWaker {
    // SAFETY: the data is a leaked `Foreign`.
    let foreign = unsafe { &*data.cast::<Foreign>() };
    (foreign.on_clone)();
    RawWaker::new(data, &FOREIGN)
}

fn drop_foreign(data: *const ()) {
    // SAFETY: the data is a leaked `Foreign`.
    let foreign = unsafe { &*data.cast::<Foreign>() };
    (foreign.on_drop)();
}

/// Returns a waker that calls `callback` when it is cloned, woken or dropped. It leaks.
fn foreign_waker(callback: impl Fn() + Send + Sync + 'static) -> Waker {
    let callback = Arc::new(callback);
    let (on_clone, on_drop) = (Arc::clone(&callback), callback);
    let foreign =
        Foreign { on_clone: Box::new(move || on_clone()), on_drop: Box::new(move || on_drop()) };
    let data: *const Foreign = Box::leak(Box::new(foreign));
    // SAFETY: the functions fulfil the contract: the data is never freed, and is `Send + Sync`.
    unsafe { Waker::from_raw(RawWaker::new(data.cast(), &FOREIGN)) }
}

/// A future that waits with a key, polled by hand.
fn poll_keyed(io: &IoSource, key: &mut WakerKey, waker: &Waker) -> Poll<io::Result<u8>> {
    let wait = IoWait::new(WaitSite::here("read"), Some(key));
    io.poll(Direction::Read, wait, &mut Context::from_waker(waker), |fd| {
        let mut byte = [0];
        rustix::io::read(fd, &mut byte)?;
        Ok(byte[0])
    })
}

#[test]
fn f7_foreign_wakers_may_use_the_source_that_they_wait_for() {
    run_on(1, || async {
        let (io, mut peer) = io_pair();
        let used = io.clone();
        let uses = move || {
            used.with(|_| Ok(())).or_else(|error| match error.kind() {
                io::ErrorKind::NotConnected => Ok(()),
                _ => Err(error),
            })
        };
        let waker = || {
            let uses = uses.clone();
            foreign_waker(move || uses().expect("the source can be used"))
        };
        // Registered, replaced, removed; without a key, woken by an event, and by the close.
        let mut key = WakerKey::new();
        assert!(poll_keyed(&io, &mut key, &waker()).is_pending());
        assert!(poll_keyed(&io, &mut key, &waker()).is_pending());
        io.cancel_wait(Direction::Read, &mut key);
        assert!(poll_keyed(&io, &mut key, &waker()).is_pending());
        for _ in 0..100 {
            assert!(poll_read_byte(&io, &mut Context::from_waker(&waker())).is_pending());
        }
        peer.write_all(b"m")?;
        assert_eq!(read_byte(io.clone()).await?, b'm');
        assert!(poll_keyed(&io, &mut key, &waker()).is_pending());
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

#[test]
fn f7_foreign_wakers_may_use_the_signals_that_they_wait_for() {
    matou_runtime::test::check(0..1, || async {
        let signals = Arc::new(Mutex::new(signal::stream(signal::Signal::Terminate)?));
        let nested = Arc::clone(&signals);
        let waker = foreign_waker(move || {
            // The outer poll holds the mutex of this test, but nothing of the runtime.
            drop(nested.try_lock());
            drop(signal::stream(signal::Signal::Terminate));
        });
        let mut guard = signals.lock().unwrap();
        for _ in 0..2 {
            let mut next = pin!(guard.next());
            assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        Ok::<_, matou_runtime::MainError>(())
    });
}

#[test]
fn f24_a_source_is_put_into_non_blocking_mode() {
    run_on(1, || async {
        let (ours, mut peer) = UnixStream::pair()?; // in blocking mode
        let io = IoSource::new(OwnedFd::from(ours))?;
        let reader = spawn(read_byte(io.clone()));
        yield_now().await; // it would block here for ever
        peer.write_all(b"m")?;
        assert_eq!(reader.await??, b'm');
        assert!(io.close());
        Ok(())
    })
    .unwrap();
}

/// Other code puts another file under the number of a registered source.
#[test]
fn b21_a_number_that_is_replaced_under_the_reactor_harms_no_other_source() {
    rerun_in_child_process!();
    run_on(1, || async {
        for _ in 0..1000 {
            let (io, _peer) = io_pair();
            assert!(futures::poll!(pin!(read_byte(io.clone()))).is_pending());
            let number = io.with(|fd| Ok(fd.as_raw_fd()))?;
            let (innocent, mut writer) = UnixStream::pair()?;
            innocent.set_nonblocking(true)?;
            // SAFETY: it replaces the file under a number that this process has open.
            assert_eq!(unsafe { libc::dup2(innocent.as_raw_fd(), number) }, number);
            io.close();
            let innocent = IoSource::new(OwnedFd::from(innocent))?;
            let reader = spawn(read_byte(innocent.clone()));
            yield_now().await;
            writer.write_all(b"m")?;
            assert_eq!(timeout(DEADLINE, reader).await???, b'm');
            innocent.close();
        }
        Ok(())
    })
    .unwrap();
}

/// Forks. The new process calls `child` and exits with its result.
fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the new process only runs `child` and exits. It has one thread, and the allocator of
    // the C library works in it.
    match unsafe { libc::fork() } {
        0 => {
            let status = child();
            // SAFETY: it ends the process at once.
            unsafe { libc::_exit(status) }
        }
        pid => pid,
    }
}

/// Returns the status of a process as `waitpid` reports it.
fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer refers to a variable.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn f25_a_forked_process_takes_nothing_from_its_parent() {
    rerun_in_child_process!();
    run_on(2, || async {
        let (io, mut peer) = io_pair();
        let waiting = spawn(read_byte(io.clone()));
        yield_now().await;
        yield_now().await; // it is registered now
        let closed_there = io.clone();
        let child = fork(move || i32::from(!closed_there.close()));
        assert_eq!(wait_for(child), 0);
        peer.write_all(b"m")?;
        assert_eq!(timeout(DEADLINE, waiting).await???, b'm');
        // Messages between domains arrive, too.
        assert_eq!(matou_runtime::call(|| async { 2 })?.await?, 2);
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn f25_a_run_of_a_forked_process_works() {
    rerun_in_child_process!();
    run_on(2, || async {
        let _signals = signal::stream(signal::Signal::Terminate)?;
        let (io, mut peer) = io_pair();
        assert!(futures::poll!(pin!(read_byte(io.clone()))).is_pending());
        let inherited = io.clone();
        let child = fork(move || {
            let result: Result<u8, RunError> = Builder::new().domains(2).run(async move {
                let mut signals = signal::stream(signal::Signal::Terminate)?;
                // A source of the parent's run, used in the new one.
                let byte = read_byte(inherited.clone()).await?;
                inherited.close();
                let sent = matou_runtime::call(|| async {
                    rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::TERM,
                    )
                })?;
                signals.next().await;
                sent.await??;
                Ok(byte)
            });
            i32::from(!matches!(result, Ok(b'm')))
        });
        peer.write_all(b"m")?;
        let status = matou_runtime::call(move || async move { wait_for(child) })?.await?;
        assert_eq!(status, 0);
        peer.write_all(b"n")?;
        assert_eq!(timeout(DEADLINE, read_byte(io.clone())).await??, b'n');
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn f25_the_run_of_the_parent_ends_with_an_error_in_a_forked_process() {
    rerun_in_child_process!();
    let (io, mut peer) = io_pair();
    let inherited = io.clone();
    let parent = std::process::id();
    let result: Result<(), RunError> = Builder::new().domains(2).run(async move {
        let other = spawn(async move {
            sleep(Duration::from_millis(1)).await;
            std::process::id()
        });
        assert!(futures::poll!(pin!(read_byte(inherited.clone()))).is_pending());
        // SAFETY: the new process leaves the run, and ends below.
        let child = unsafe { libc::fork() };
        if child != 0 {
            assert_eq!(libc::WEXITSTATUS(wait_for(child)), 42);
            peer.write_all(b"m")?;
            assert_eq!(read_byte(inherited).await?, b'm');
        }
        assert_eq!(other.await?, parent, "the other task runs in the parent only");
        Ok(())
    });
    if std::process::id() != parent {
        let is_explained = matches!(&result, Err(error @ RunError::Forked)
            if error.to_string().contains("forked"));
        // SAFETY: it ends the process at once.
        unsafe { libc::_exit(if is_explained { 42 } else { 1 }) }
    }
    result.unwrap();
    io.close();
}

#[test]
fn f25_a_signal_ends_a_forked_process_that_does_not_handle_it() {
    rerun_in_child_process!();
    run_on(1, || async {
        let mut signals = signal::stream(signal::Signal::Terminate)?;
        let child = fork(|| {
            thread::sleep(DEADLINE);
            7
        });
        // SAFETY: it sends a signal to the child of this process.
        assert_eq!(unsafe { libc::kill(child, libc::SIGTERM) }, 0);
        let status = wait_for(child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGTERM);
        // The parent still handles it.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
        timeout(DEADLINE, signals.next()).await?;
        Ok(())
    })
    .unwrap();
}

/// Scenario F1, where the waiting futures belong to the runtime itself.
mod many_waiters {
    use std::cell::Cell;
    use std::pin::Pin;
    use std::rc::Rc;

    use futures::stream::{FuturesUnordered, StreamExt};
    use matou_runtime::test::{Check, check};
    use matou_runtime::{MainError, Orphans, Task, cancelled, shield};

    use super::*;

    const WAITERS: usize = 10_000;

    /// Polls copies of a future, each with a waker of its own, until there is a time without any
    /// polls, and then until `until` is ready. Copies that wake each other never come to rest.
    async fn wait_with_many<F: Future>(make: impl Fn() -> F, until: impl Future) {
        let polls = Rc::new(Cell::new(0));
        let mut waiting: FuturesUnordered<_> = (0..WAITERS)
            .map(|_| {
                let (mut future, polls) = (Box::pin(make()), Rc::clone(&polls));
                poll_fn(move |cx| {
                    polls.set(polls.get() + 1);
                    future.as_mut().poll(cx)
                })
            })
            .collect();
        loop {
            let before = polls.get();
            poll_both(&mut waiting, pin!(sleep(TIME))).await;
            if polls.get() == before {
                break;
            }
            // Some polls find the budget spent, and some wakers without a key are evicted once.
            assert!(polls.get() < 20 * WAITERS, "they wake each other again and again");
        }
        poll_both(&mut waiting, pin!(until)).await;
    }

    const TIME: Duration = Duration::from_millis(20);

    async fn poll_both<S: Future>(
        waiting: &mut FuturesUnordered<S>,
        mut until: Pin<&mut impl Future>,
    ) {
        poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = waiting.poll_next_unpin(cx) {}
            until.as_mut().poll(cx).map(drop)
        })
        .await;
    }

    async fn futures_of_the_runtime() -> Result<(), MainError> {
        let latch = Latch::new();
        let is_idle = latch.clone();
        let server = spawn(async {
            shield(async move {
                // They are woken when there is a request.
                wait_with_many(cancelled, async {
                    is_idle.open();
                    cancelled().await;
                })
                .await;
            })
            .await
        });
        let children = Orphans::new();
        let child = Latch::new();
        Task::new().orphans(&children).spawn(child.clone())?;
        wait_with_many(|| children.next(), async {}).await;
        child.open();
        assert!(children.next().await.is_some_and(|outcome| outcome.is_ok()));
        latch.await;
        drop(server.cancel().await);
        Ok(())
    }

    #[test]
    fn f1_ten_thousand_futures_of_the_runtime_are_idle() {
        check(0..2, futures_of_the_runtime);
        Check::threaded().run(0..2, futures_of_the_runtime);
    }

    #[test]
    fn f1_ten_thousand_polls_of_one_source_without_keys_are_idle() {
        run_on(1, || async {
            let (io, mut peer) = io_pair();
            wait_with_many(|| read_byte(io.clone()), async {}).await;
            peer.write_all(b"m")?;
            assert_eq!(read_byte(io.clone()).await?, b'm');
            io.close();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn f3_a_dropped_wait_for_a_cancellation_or_a_child_leaves_no_waker_behind() {
        run_on(1, || async {
            let counter = WakeCounter::new();
            let waker = Waker::from(Arc::clone(&counter));
            let mut cx = Context::from_waker(&waker);
            assert!(pin!(cancelled()).poll(&mut cx).is_pending());
            assert_eq!(Arc::strong_count(&counter), 2);
            let children = Orphans::new();
            Task::new().orphans(&children).spawn(yield_now())?;
            assert!(pin!(children.next()).poll(&mut cx).is_pending());
            assert_eq!(Arc::strong_count(&counter), 2);
            assert!(children.next().await.is_some());
            Ok(())
        })
        .unwrap();
    }
}
