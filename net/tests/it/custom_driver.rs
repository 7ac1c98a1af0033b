//! The sockets work on a driver that uses only the public API of the runtime: one on `poll(2)`,
//! with a one-shot poller, instead of the built-in reactor.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use futures::future::{FutureExt, join};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures::stream::{FuturesUnordered, StreamExt};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    BorrowedSource, Builder, Driver, Interest, ParkTimeout, PollMode, Poller, Readiness,
    Registration, Token, Unpark, call, now, sleep, spawn, timeout, transfer, try_call, try_spawn,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::support::{Result, bounded, shared, wait_until};

/// Longer than a wake-up takes, unless it is lost.
const LOST: Duration = Duration::from_secs(10);

/// Counts the operations of the drivers of a run.
#[derive(Default)]
struct Stats {
    registered: AtomicUsize,
    rearmed: AtomicUsize,
    deregistered: AtomicUsize,
    /// The number of sources that domains watch while they are parked.
    watched: AtomicUsize,
}

/// A driver on `poll(2)`. Writing to a socket pair ends a wait.
struct PollDriver {
    poller: Arc<OneShotPoller>,
    unpark: UnixStream,
    unparker: Arc<Unparker>,
}

struct Unparker(UnixStream);

impl Unpark for Unparker {
    fn unpark(&self) {
        // If the buffer is full, bytes are pending already.
        let _ = (&self.0).write(b"u");
    }
}

struct OneShotPoller {
    sources: Mutex<HashMap<usize, Source>>,
    tokens: AtomicUsize,
    unparker: Arc<Unparker>,
    stats: Arc<Stats>,
}

struct Source {
    /// A duplicate, which `park` shares while it waits without the lock.
    fd: Arc<OwnedFd>,
    interest: Option<Interest>,
    registration: Registration,
}

impl Poller for OneShotPoller {
    fn mode(&self) -> PollMode {
        PollMode::OneShot
    }

    fn register(
        &self,
        source: BorrowedSource<'_>,
        registration: Registration,
    ) -> io::Result<Token> {
        let fd = Arc::new(source.try_clone_to_owned()?);
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        self.sources.lock().unwrap().insert(token, Source { fd, interest: None, registration });
        self.stats.registered.fetch_add(1, Ordering::Relaxed);
        Ok(Token(token))
    }

    fn rearm(&self, _: BorrowedSource<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.stats.rearmed.fetch_add(1, Ordering::Relaxed);
        let mut sources = self.sources.lock().unwrap();
        sources.get_mut(&token.0).ok_or(io::ErrorKind::NotFound)?.interest = Some(interest);
        Ok(())
    }

    fn deregister(&self, _: BorrowedSource<'_>, token: Token) {
        self.stats.deregistered.fetch_add(1, Ordering::Relaxed);
        let removed = self.sources.lock().unwrap().remove(&token.0);
        // If `park` shares the duplicate, the file stays open until it returns.
        if removed.is_some_and(|source| Arc::into_inner(source.fd).is_none()) {
            self.unparker.unpark();
        }
    }
}

impl PollDriver {
    fn new(stats: Arc<Stats>) -> io::Result<PollDriver> {
        let (unpark, other_end) = UnixStream::pair()?;
        unpark.set_nonblocking(true)?;
        other_end.set_nonblocking(true)?;
        let unparker = Arc::new(Unparker(other_end));
        let poller = OneShotPoller {
            sources: Mutex::default(),
            tokens: AtomicUsize::new(0),
            unparker: Arc::clone(&unparker),
            stats,
        };
        Ok(PollDriver { poller: Arc::new(poller), unpark, unparker })
    }

    /// Waits for events, and returns those of sources.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(usize, Readiness)>> {
        let armed: Vec<_> = {
            let sources = self.poller.sources.lock().unwrap();
            let armed = sources.iter().filter_map(|(&token, source)| {
                Some((token, Arc::clone(&source.fd), source.interest?))
            });
            armed.collect()
        };
        let mut fds = vec![PollFd::new(&self.unpark, PollFlags::IN)];
        fds.extend(armed.iter().map(|(_, fd, interest)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.readable);
            flags.set(PollFlags::OUT, interest.writable);
            PollFd::new(fd, flags)
        }));
        // Round up, so that a deadline has passed when the wait ends.
        let timeout = timeout.map(|timeout| timeout + Duration::from_nanos(999_999));
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: (timeout.subsec_millis() * 1_000_000).into(),
        });
        let watched = if timeout == Some(Timespec::default()) { 0 } else { armed.len() };
        self.poller.stats.watched.fetch_add(watched, Ordering::SeqCst);
        let polled = poll(&mut fds, timeout.as_ref());
        self.poller.stats.watched.fetch_sub(watched, Ordering::SeqCst);
        match polled {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            while (&self.unpark).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        }
        let ready = armed.iter().zip(&fds[1..]).map(|((token, ..), fd)| {
            let events = fd.revents();
            let failed = events.intersects(PollFlags::HUP | PollFlags::ERR);
            let readiness = Readiness {
                readable: failed || events.contains(PollFlags::IN),
                writable: failed || events.contains(PollFlags::OUT),
                // `poll` finds the same readiness again once the source is rearmed.
                closed: false,
            };
            (*token, readiness)
        });
        Ok(ready.filter(|(_, readiness)| readiness.readable || readiness.writable).collect())
    }
}

impl Driver for PollDriver {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        for (token, readiness) in self.wait(timeout.remaining(Instant::now))? {
            // Clear the interest before `set_ready`, which may call `rearm`, and release the lock
            // that `rearm` takes.
            let registration = {
                let mut sources = self.poller.sources.lock().unwrap();
                let Some(source) = sources.get_mut(&token) else { continue };
                source.interest = None;
                source.registration.clone()
            };
            registration.set_ready(readiness);
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.unparker.clone()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(self.poller.clone())
    }
}

impl Drop for PollDriver {
    fn drop(&mut self) {
        let sources = std::mem::take(&mut *self.poller.sources.lock().unwrap());
        sources.into_values().for_each(|source| source.registration.detach());
    }
}

/// Runs `main` on drivers of this module, and returns their counters.
fn run<F, T>(domains: usize, main: impl FnOnce(Arc<Stats>) -> F) -> (T, Arc<Stats>)
where
    F: Future<Output = Result<T>> + 'static,
    T: 'static,
{
    let _shared = shared();
    let stats = Arc::<Stats>::default();
    let driver_stats = Arc::clone(&stats);
    let builder =
        Builder::new().domains(domains).driver(move |_| PollDriver::new(Arc::clone(&driver_stats)));
    (bounded(builder, main(Arc::clone(&stats))).unwrap(), stats)
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            count => stream.write_all(&buf[..count]).await?,
        }
    }
}

/// Sends `bytes` while it reads them back, with both directions waiting at the same time.
async fn exchange(stream: TcpStream, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut received = vec![0; bytes.len()];
    let (mut reader, mut writer) = stream.split();
    let sent = writer.write_all(&bytes);
    let (sent, read) = join(sent, reader.read_exact(&mut received)).await;
    sent.and(read).map(|()| received)
}

#[test]
fn an_echo_server_runs_on_a_driver_without_the_reactor() {
    let (elapsed, stats) = run(1, |_| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = try_spawn(async move {
            let (stream, _) = listener.accept().await?;
            echo(stream).await
        });
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
        let before = now();
        sleep(Duration::from_millis(20)).await;
        let elapsed = now() - before;
        let stream = TcpStream::connect(address).await?;
        assert_eq!(exchange(stream, bytes.clone()).await?, bytes);
        server.await?;
        Ok(elapsed)
    });
    assert!(elapsed >= Duration::from_millis(20), "timers elapse on this driver, too");
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!(count(&stats.registered), 3, "a listener and both ends of a connection");
    assert_eq!(count(&stats.deregistered), 3);
    assert!(count(&stats.rearmed) > count(&stats.registered), "each wait arms the poller");
}

#[test]
fn a_socket_moves_between_domains_with_such_drivers() {
    let (_, stats) = run(3, |_| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let client = try_call(move || async move {
            let mut stream = TcpStream::connect(address).await?;
            let mut reply = [0; 4];
            stream.write_all(b"ping").await?;
            stream.read(&mut reply).await?;
            Ok::<_, io::Error>(reply)
        })?;
        let (mut stream, _) = listener.accept().await?;
        stream.read(&mut [0; 4]).await?;
        // The stream may be registered on this domain; from now on it is used on the other one.
        let server = try_call(move || async move {
            sleep(Duration::from_millis(1)).await;
            stream.write_all(b"pong").await?;
            assert_eq!(stream.read(&mut [0; 4]).await?, 0);
            Ok::<_, io::Error>(())
        })?;
        assert_eq!(&client.await?, b"pong");
        server.await?;
        Ok(())
    });
    let registered = stats.registered.load(Ordering::Relaxed);
    assert_eq!(registered, stats.deregistered.load(Ordering::Relaxed));
}

#[test]
fn a_wait_on_such_a_driver_is_cancelled_and_messages_end_it() {
    run(2, |_| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        assert!(timeout(Duration::from_millis(5), listener.accept()).await.is_err());
        let waiting = spawn(async move { drop(listener.accept().await) });
        let woken = call(|| async { 7 })?;
        assert_eq!(woken.await?, 7);
        assert!(waiting.cancel().await.is_none());
        Ok(())
    });
}

#[test]
fn r4_an_event_in_one_direction_leaves_the_other_armed() {
    const LEN: usize = 16 << 20;
    run(1, |_| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (stream, _) = listener.accept().await?;
        let (reader, writer) = (stream.shared(), stream.shared());
        let read = async { reader.read(&mut [0; 2]).await };
        // More than the buffers of the system hold.
        let write = async { writer.write_all(&vec![0; LEN]).await.map(|()| LEN) };
        // Not `join`, which would also poll the writer when the reader is woken.
        let mut both = FuturesUnordered::from_iter([read.boxed_local(), write.boxed_local()]);
        assert!(timeout(Duration::from_millis(50), both.next()).await.is_err(), "both wait");
        peer.write_all(b"x")?;
        let first = timeout(LOST, both.next()).await?.expect("two futures are left")?;
        assert_eq!(first, 1, "the reader is woken, and does not wait again");
        let peer = std::thread::spawn(move || peer.read_exact(&mut vec![0; LEN]));
        let second = timeout(LOST, both.next()).await?.expect("one future is left")?;
        assert_eq!(second, LEN);
        peer.join().expect("the peer does not panic")?;
        Ok(())
    });
}

#[test]
fn a_socket_dropped_on_another_domain_is_closed_while_its_poller_is_parked() {
    let (was_closed, stats) = run(2, |stats| async move {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (mut stream, _) = listener.accept().await?;
        // The cancelled wait leaves the source armed at this domain's poller. A task of its own has
        // waited, so that its waker does not unpark the domain when the source is closed.
        let stream = spawn(async move {
            let read = timeout(Duration::from_millis(5), stream.read(&mut [0; 1])).await;
            assert!(read.is_err());
            transfer(&stream).unwrap();
            stream
        })
        .await?;
        let (closed, on_close) = mpsc::channel();
        peer.set_read_timeout(Some(LOST))?;
        let peer =
            std::thread::spawn(move || closed.send((&peer).read_to_end(&mut Vec::new()).is_ok()));
        let child = call(move || async move {
            // The other domain has processed the messages of the call, and parks until this child
            // completes, which it does only when the peer has read the end.
            sleep(Duration::from_millis(50)).await;
            wait_until(|| stats.watched.load(Ordering::SeqCst) > 0).await;
            drop(stream);
            on_close.recv() == Ok(true)
        })?;
        let was_closed = child.await?;
        peer.join().expect("the peer does not panic")?;
        Ok(was_closed)
    });
    assert!(was_closed, "the parked domain holds the file open");
    assert_eq!(stats.deregistered.load(Ordering::Relaxed), 1, "only the stream has waited");
}
