use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_ownership::Ticket;
use matou_runtime::futures::Timeout;
use matou_runtime::{Direction, IoSource, timeout};
use socket2::{Domain, Protocol, Socket, Type};

use super::TcpStream;
use super::poll::wait;
use crate::access::Access;
use crate::error::failed_to;
use crate::simulated::{End, network};
use crate::socket::Link;
use crate::sys;

/// The future of [`TcpStream::connect`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Connect {
    address: SocketAddr,
    stage: Stage,
    at: &'static Location<'static>,
}

#[derive(Debug)]
enum Stage {
    /// There is no socket yet.
    Begin(Ticket),
    /// The system is connecting it. It belongs to the task already, and is closed with this.
    Wait(TcpStream),
    Done,
}

impl Connect {
    #[track_caller]
    pub(super) fn new(address: SocketAddr) -> Connect {
        Connect { address, stage: Stage::Begin(Ticket::new(super::KIND)), at: Location::caller() }
    }

    fn poll_wait(&mut self, begun: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Stage::Wait(stream) = &self.stage else {
            unreachable!("only a socket that is being connected is waited for")
        };
        ready!(Access::Exclusive.poll(stream))?;
        // Right after the beginning the system has no answer yet, so do not ask for it.
        let mut begun = begun;
        let io = match stream.socket.link() {
            Link::System(io) => io,
            Link::Simulated(end) => return end.poll_connect(wait("connect", self.at), cx),
        };
        io.poll(Direction::Write, "connect", self.at, cx, |fd| {
            if std::mem::take(&mut begun) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            sys::finish_connect(fd)
        })
    }

    fn poll_steps(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut begun = false;
        if let Stage::Begin(_) = self.stage {
            let (link, connected) = begin(self.address)?;
            let Stage::Begin(ticket) = std::mem::replace(&mut self.stage, Stage::Done) else {
                unreachable!("it was looked at just now")
            };
            self.stage = Stage::Wait(TcpStream::new(ticket, link));
            if connected {
                return Poll::Ready(Ok(()));
            }
            begun = true;
        }
        self.poll_wait(begun, cx)
    }
}

/// Makes a socket and begins to connect it. Returns whether that is done already.
fn begin(address: SocketAddr) -> io::Result<(Link<End>, bool)> {
    if let Some(network) = network() {
        return Ok((Link::Simulated(network.connect(address)?), false));
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let connected = match rustix::net::connect(&socket, &address) {
        Ok(()) => true,
        // A call that was interrupted goes on in the background all the same.
        Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => false,
        Err(error) => return Err(error.into()),
    };
    Ok((Link::System(IoSource::new(socket.into())), connected))
}

impl Future for Connect {
    type Output = io::Result<TcpStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        assert!(!matches!(this.stage, Stage::Done), "`Connect` is polled after it was ready");
        let connected = ready!(this.poll_steps(cx));
        let stage = std::mem::replace(&mut this.stage, Stage::Done);
        Poll::Ready(match (connected, stage) {
            (Ok(()), Stage::Wait(stream)) => Ok(stream),
            (Ok(()), _) => unreachable!("only a socket is ever connected"),
            (Err(error), _) => Err(failed_to("connect to", this.address)(error)),
        })
    }
}

/// The future of [`TcpStream::connect_timeout`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ConnectTimeout {
    address: SocketAddr,
    timeout: Timeout<Connect>,
}

impl ConnectTimeout {
    #[track_caller]
    pub(super) fn new(address: SocketAddr, duration: Duration) -> ConnectTimeout {
        ConnectTimeout { address, timeout: timeout(duration, Connect::new(address)) }
    }
}

impl Future for ConnectTimeout {
    type Output = io::Result<TcpStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let connected = ready!(Pin::new(&mut this.timeout).poll(cx));
        let elapsed =
            |elapsed: matou_runtime::Elapsed| failed_to("connect to", this.address)(elapsed.into());
        Poll::Ready(connected.map_err(elapsed).and_then(|connected| connected))
    }
}
