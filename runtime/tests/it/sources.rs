//! Goal: an action of a poller or of other code on a source of I/O affects no other registration
//! (scenarios F3, F7, F24, B21).
//! Method: a driver that hands its registrations out, and foreign wakers that use the source when
//! they are cloned, woken or dropped.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::{Duration, Instant};

use matou_runtime::{
    BorrowedSource, Builder, Direction, Driver, IoSource, IoWait, ParkTimeout, PollMode, Poller,
    Reactor, Readiness, Registration, RunError, Token, Unpark, WaitSite, WakerKey, signal, spawn,
    timeout, yield_now,
};

use crate::support::{
    DEADLINE, io_pair, leak, poll_read_byte, read_byte, rerun_in_child_process, run_on,
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
    leak(data);
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
