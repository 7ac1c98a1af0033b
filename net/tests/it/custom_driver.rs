//! The sockets work on a driver that uses only the public API of the runtime: one on `poll(2)`,
//! with a one-shot poller, instead of the built-in reactor.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    BorrowedSource, Builder, Driver, Interest, ParkTimeout, PollMode, Poller, Readiness,
    Registration, Token, Unpark, call, now, sleep, spawn, timeout, try_call, try_spawn,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::support::{Result, bounded, shared};

/// Counts the operations of a driver's poller.
#[derive(Default)]
struct Stats {
    registered: AtomicUsize,
    rearmed: AtomicUsize,
    deregistered: AtomicUsize,
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

#[derive(Default)]
struct OneShotPoller {
    sources: Mutex<HashMap<usize, Source>>,
    tokens: AtomicUsize,
    stats: Arc<Stats>,
}

struct Source {
    /// A duplicate, which `park` can borrow without the lock.
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
        self.sources.lock().unwrap().remove(&token.0);
    }
}

impl PollDriver {
    fn new(stats: Arc<Stats>) -> io::Result<PollDriver> {
        let (unpark, other_end) = UnixStream::pair()?;
        unpark.set_nonblocking(true)?;
        other_end.set_nonblocking(true)?;
        let poller = Arc::new(OneShotPoller { stats, ..OneShotPoller::default() });
        Ok(PollDriver { poller, unpark, unparker: Arc::new(Unparker(other_end)) })
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
        match poll(&mut fds, timeout.as_ref()) {
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
                closed: true,
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
        let timeout = match timeout {
            ParkTimeout::Immediate => Some(Duration::ZERO),
            ParkTimeout::Deadline(deadline) => {
                Some(deadline.saturating_duration_since(Instant::now()))
            }
            ParkTimeout::Forever => None,
        };
        for (token, readiness) in self.wait(timeout)? {
            // The lock must not be held by `set_ready`, which may call `rearm`.
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
fn run<F, T>(domains: usize, main: impl FnOnce() -> F) -> (T, Arc<Stats>)
where
    F: Future<Output = Result<T>> + 'static,
    T: 'static,
{
    let _shared = shared();
    let stats = Arc::<Stats>::default();
    let driver_stats = Arc::clone(&stats);
    let builder =
        Builder::new().domains(domains).driver(move |_| PollDriver::new(Arc::clone(&driver_stats)));
    (bounded(builder, main()).unwrap(), stats)
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
    let (elapsed, stats) = run(1, || async {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
    let (_, stats) = run(3, || async {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
    run(2, || async {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        assert!(timeout(Duration::from_millis(5), listener.accept()).await.is_err());
        let waiting = spawn(async move { drop(listener.accept().await) });
        let woken = call(|| async { 7 })?;
        assert_eq!(woken.await?, 7);
        assert!(waiting.cancel().await.is_none());
        Ok(())
    });
}
