//! A driver of one's own: an echo server on `poll(2)` instead of the built-in reactor.
//! `cargo run -p matou-net --example poll_driver -- 127.0.0.1:3000`
//!
//! Sockets register with its `Poller`, from any thread. It is one-shot: an event disarms a source,
//! and the socket arms it again when an operation would block.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use matou_net::runtime::{
    BorrowedSource, Builder, Driver, Interest, Orphans, ParkTimeout, PollMode, Poller, Readiness,
    Registration, RunError, Token, Unpark, select, signal,
};
use matou_net::{TcpListener, copy};
use rustix::event::{PollFd, PollFlags, poll};

struct PollDriver {
    sources: Arc<Sources>,
    /// Readable when the domain must wake up.
    unparked: UnixStream,
}

/// The thread-safe half of the driver. A token is the number of the duplicate.
struct Sources(Mutex<HashMap<usize, Source>>, UnixStream);

struct Source {
    /// A duplicate, which `park` shares while it waits without the lock.
    fd: Arc<OwnedFd>,
    /// Empty while the source is disarmed.
    interest: PollFlags,
    registration: Registration,
}

impl Unpark for Sources {
    fn unpark(&self) {
        // If the buffer is full, the domain is about to wake up already.
        let _ = (&self.1).write(&[0]);
    }
}

impl Poller for Sources {
    fn mode(&self) -> PollMode {
        PollMode::OneShot
    }

    fn register(&self, source: BorrowedSource<'_>, r: Registration) -> io::Result<Token> {
        let fd = Arc::new(source.try_clone_to_owned()?);
        let token = fd.as_raw_fd() as usize;
        let source = Source { fd, interest: PollFlags::empty(), registration: r };
        self.0.lock().unwrap().insert(token, source);
        Ok(Token(token))
    }

    fn rearm(&self, _: BorrowedSource<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let mut sources = self.0.lock().unwrap();
        let source = sources.get_mut(&token.0).ok_or(io::ErrorKind::NotFound)?;
        source.interest.set(PollFlags::IN, interest.readable);
        source.interest.set(PollFlags::OUT, interest.writable);
        Ok(())
    }

    fn deregister(&self, _: BorrowedSource<'_>, token: Token) {
        let removed = self.0.lock().unwrap().remove(&token.0);
        // If `park` shares the duplicate, the socket stays open until it returns.
        if removed.is_some_and(|source| Arc::into_inner(source.fd).is_none()) {
            self.unpark();
        }
    }
}

impl Driver for PollDriver {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        let timeout = timeout.remaining(|| self.now()).and_then(|time| time.try_into().ok());
        let mut armed = Vec::new();
        for (&token, source) in self.sources.0.lock().unwrap().iter() {
            armed.push((token, Arc::clone(&source.fd), source.interest));
        }
        armed.retain(|(_, _, interest)| !interest.is_empty());
        let mut fds = vec![PollFd::new(&self.unparked, PollFlags::IN)];
        fds.extend(armed.iter().map(|(_, fd, interest)| PollFd::new(fd, *interest)));
        match poll(&mut fds, timeout.as_ref()) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        while (&self.unparked).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        let events = armed.iter().zip(&fds[1..]).map(|((token, ..), fd)| (token, fd.revents()));
        for (token, events) in events.filter(|(_, events)| !events.is_empty()) {
            let mut sources = self.sources.0.lock().unwrap();
            let Some(source) = sources.get_mut(token) else { continue };
            source.interest = PollFlags::empty();
            let registration = source.registration.clone();
            drop(sources); // `set_ready` may arm the source again
            let ready = |flag| events.intersects(flag | PollFlags::HUP | PollFlags::ERR);
            let (readable, writable) = (ready(PollFlags::IN), ready(PollFlags::OUT));
            registration.set_ready(Readiness { readable, writable, closed: false });
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.sources.clone()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(self.sources.clone())
    }
}

impl Drop for PollDriver {
    fn drop(&mut self) {
        let sources = std::mem::take(&mut *self.sources.0.lock().unwrap());
        sources.into_values().for_each(|source| source.registration.detach());
    }
}

fn main() -> Result<(), RunError> {
    let driver = |_| {
        let (unparked, unpark) = UnixStream::pair()?;
        unparked.set_nonblocking(true)?;
        unpark.set_nonblocking(true)?;
        Ok(PollDriver { sources: Arc::new(Sources(Mutex::default(), unpark)), unparked })
    };
    Builder::new().domains(1).driver(driver).run(async {
        let address = std::env::args().nth(1).ok_or("usage: poll_driver ADDRESS")?;
        let mut listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        let serve = async {
            let clients = Orphans::new().discarding();
            loop {
                let (mut reader, mut writer) = listener.accept().await?.0.into_split();
                clients.spawn(async move { drop(copy(&mut reader, &mut writer).await) });
            }
        };
        select! {
            error = serve => error,
            _ = signal::termination()? => Ok(()),
        }
    })
}
