use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_ownership::Ticket;
use matou_runtime::futures::Timeout;
use matou_runtime::{WaitSite, timeout};

use super::{ConnectHost, TcpStream};
use crate::access::AccessMode;
use crate::backend::StreamBackend;
use crate::connect_options::ConnectOptions;
use crate::error::{polled_after_completion, with_context};
use crate::kind::Tcp;
use crate::kind::sealed::Sealed;
use crate::to_address::Target;

/// The future of [`TcpStream::connect`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Connect(Form);

/// How to connect, by the form of the address.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "mostly an address, which needs no allocation")]
enum Form {
    Address(ConnectAddress),
    Host(Box<ConnectHost>),
    /// The address is not valid.
    Refused(Option<io::Error>, &'static Location<'static>),
}

impl Connect {
    #[track_caller]
    pub(super) fn new(target: io::Result<Target>, options: ConnectOptions) -> Connect {
        Connect(match target {
            Ok(Target::Address(address)) => {
                let (ticket, at) = (Ticket::new(Tcp::STREAM), Location::caller());
                Form::Address(ConnectAddress::new(address, options, ticket, at))
            }
            Ok(Target::Host(name, port)) => Form::Host(Box::new(options.connect_host(&name, port))),
            Err(error) => Form::Refused(Some(error), Location::caller()),
        })
    }
}

impl Future for Connect {
    type Output = io::Result<TcpStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Form::Address(connect) => Pin::new(connect).poll(cx),
            Form::Host(connect) => Pin::new(&mut **connect).poll(cx),
            Form::Refused(error, at) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => polled_after_completion("`Connect`", at),
            },
        }
    }
}

/// Connects to one address.
#[derive(Debug)]
pub(super) struct ConnectAddress {
    address: SocketAddr,
    options: ConnectOptions,
    stage: Stage,
    at: &'static Location<'static>,
}

#[derive(Debug)]
enum Stage {
    /// There is no socket yet.
    Start(Ticket),
    /// The connection is being established. The task owns the socket already, so cancelling the
    /// task closes it.
    Connecting(TcpStream),
    Done,
}

impl ConnectAddress {
    pub(super) fn new(
        address: SocketAddr,
        options: ConnectOptions,
        ticket: Ticket,
        at: &'static Location<'static>,
    ) -> ConnectAddress {
        ConnectAddress { address, options, stage: Stage::Start(ticket), at }
    }

    /// On success the stage is `Connecting` and the connection is established.
    fn poll_established(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let just_started = matches!(self.stage, Stage::Start(_));
        if just_started && self.start()? {
            return Poll::Ready(Ok(()));
        }
        let Stage::Connecting(stream) = &self.stage else {
            unreachable!("`start` has created the socket")
        };
        ready!(AccessMode::Exclusive.poll_check(stream, self.at))?;
        stream.backend().poll_connect(just_started, WaitSite::new("connect", self.at), cx)
    }

    /// Creates the socket and starts to connect it. Returns whether that is complete already.
    fn start(&mut self) -> io::Result<bool> {
        let (backend, established) = StreamBackend::connect(self.address, &self.options)?;
        let Stage::Start(ticket) = std::mem::replace(&mut self.stage, Stage::Done) else {
            unreachable!("the caller has checked the stage")
        };
        self.stage = Stage::Connecting(TcpStream::new(ticket, backend));
        Ok(established)
    }
}

impl Future for ConnectAddress {
    type Output = io::Result<TcpStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if matches!(this.stage, Stage::Done) {
            polled_after_completion("`Connect`", this.at);
        }
        let result = ready!(this.poll_established(cx));
        // On an error this closes the socket, if there is one.
        let stage = std::mem::replace(&mut this.stage, Stage::Done);
        Poll::Ready(match (result, stage) {
            (Ok(()), Stage::Connecting(stream)) => Ok(stream),
            (Ok(()), _) => unreachable!("a connection has a socket"),
            (Err(error), _) => Err(with_context("connect to", this.address)(error)),
        })
    }
}

/// The future of [`TcpStream::connect_timeout`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ConnectTimeout {
    /// For the error.
    target: Option<Target>,
    timeout: Timeout<Connect>,
}

impl ConnectTimeout {
    #[track_caller]
    pub(super) fn new(target: io::Result<Target>, duration: Duration) -> ConnectTimeout {
        let named = target.as_ref().ok().cloned();
        let connect = Connect::new(target, ConnectOptions::new());
        ConnectTimeout { target: named, timeout: timeout(duration, connect) }
    }
}

impl Future for ConnectTimeout {
    type Output = io::Result<TcpStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.timeout).poll(cx)) {
            Ok(connected) => connected,
            Err(elapsed) => Err(match this.target.take() {
                Some(Target::Address(address)) => {
                    with_context("connect to", address)(elapsed.into())
                }
                Some(target @ Target::Host(..)) => io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("failed to connect to {target}: {elapsed}"),
                ),
                None => elapsed.into(),
            }),
        })
    }
}
