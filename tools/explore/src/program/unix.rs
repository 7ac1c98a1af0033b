//! The step that uses Unix sockets.

use std::io;
use std::net::Shutdown;

use matou_net::{UnixDatagram, UnixListener, UnixStream};
use matou_runtime::{both, try_spawn};

use super::interpreter::Interpreter;
use crate::event::Event;

/// The kind of a connection between a job and its child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnixKind {
    StreamPair,
    /// A stream to a listener with this number in its path.
    Connected(usize),
    DatagramPair,
}

impl Interpreter<'_> {
    /// Receives so many bytes from a child, or so many datagrams.
    pub(super) async fn receive_over_unix(&self, kind: UnixKind, amount: usize) {
        let received = match kind {
            UnixKind::StreamPair => match UnixStream::pair() {
                Ok((near, far)) => self.receive_bytes(near, far, amount).await,
                Err(error) => Err(error),
            },
            UnixKind::Connected(number) => match connected(number).await {
                Ok((near, far)) => self.receive_bytes(near, far, amount).await,
                Err(error) => Err(error),
            },
            UnixKind::DatagramPair => self.receive_datagrams(amount % 5 + 1).await,
        };
        received.unwrap_or_else(|error| panic!("a Unix socket failed: {error}"));
    }

    async fn receive_bytes(
        &self,
        mut near: UnixStream,
        mut far: UnixStream,
        amount: usize,
    ) -> io::Result<()> {
        let job = self.job.id;
        let sender = try_spawn(async move {
            far.write_all(&vec![7; amount]).await?;
            far.shutdown(Shutdown::Write)?;
            // The job closes the connection.
            far.read(&mut [0]).await
        });
        self.record(Event::UnixSent { job, amount });
        let (mut buffer, mut received) = ([0; 64], 0);
        loop {
            match near.read(&mut buffer).await? {
                0 => break,
                count => received += buffer[..count].iter().filter(|byte| **byte == 7).count(),
            }
        }
        self.record(Event::UnixReceived { job, amount: received });
        drop(near);
        let _ = sender.await;
        Ok(())
    }

    async fn receive_datagrams(&self, amount: usize) -> io::Result<()> {
        let job = self.job.id;
        let (mut near, mut far) = UnixDatagram::pair()?;
        let sender = try_spawn(async move {
            for _ in 0..amount {
                far.send(&[7; 3]).await?;
            }
            Ok::<(), io::Error>(())
        });
        self.record(Event::UnixSent { job, amount });
        for _ in 0..amount {
            let mut buffer = [0; 8];
            let length = near.recv(&mut buffer).await?;
            assert_eq!(buffer[..length], [7; 3], "wrong bytes");
        }
        self.record(Event::UnixReceived { job, amount });
        let _ = sender.await;
        Ok(())
    }
}

/// Connects to a listener of its own.
async fn connected(number: usize) -> io::Result<(UnixStream, UnixStream)> {
    let path = format!("explorer/{number}");
    let mut listener = UnixListener::bind(&path)?;
    let (near, accepted) = both(UnixStream::connect(&path), listener.accept()).await;
    Ok((near?, accepted?.0))
}
