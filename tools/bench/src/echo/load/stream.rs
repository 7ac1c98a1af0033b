use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::PATIENCE;
use super::crowd::{connect, patience};
use super::pattern::Pattern;

/// What counts as one operation.
pub(super) const OPERATION_BYTES: u64 = 4096;
/// How far a client is ahead of its echo, at most.
const AHEAD_MAX: u64 = 256 << 10;
const BUFFER: usize = 64 << 10;

/// Clients that send as fast as the echo comes back.
pub(super) struct Streams {
    epoll: OwnedFd,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    pattern: Pattern,
    sent: u64,
    echoed: u64,
}

impl Streams {
    pub(super) fn connect(address: SocketAddr, clients: usize) -> Result<Streams> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Streams { epoll, clients: Vec::new(), buffer: vec![0; BUFFER] };
        for number in 0..clients {
            let stream = connect(address)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&streams.epoll, &stream, data, EventFlags::IN)?;
            let pattern = Pattern::new(number, BUFFER);
            streams.clients.push(Client { stream, pattern, sent: 0, echoed: 0 });
        }
        Ok(streams)
    }

    /// Sends and compares for so long, and returns how many bytes came back.
    pub(super) fn flow(&mut self, time: Duration) -> Result<u64> {
        let (begun, mut count) = (Instant::now(), 0);
        let mut events = Vec::with_capacity(64);
        self.clients.iter_mut().try_for_each(Client::send)?;
        while begun.elapsed() < time {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience()))?;
            ensure!(!events.is_empty(), "no echo for {PATIENCE:?}");
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                count += client.receive(&mut self.buffer)?;
                client.send()?;
            }
        }
        Ok(count)
    }
}

impl Client {
    /// Sends as much as it may. If the system takes no more, echoes are due, and with them it goes
    /// on.
    fn send(&mut self) -> Result<()> {
        while self.sent - self.echoed < AHEAD_MAX {
            let length = (AHEAD_MAX - (self.sent - self.echoed)).min(BUFFER as u64) as usize;
            match self.stream.write(self.pattern.piece(self.sent, length)) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<u64> {
        let count = self.stream.read(buffer)?;
        ensure!(count > 0, "the server has closed");
        ensure!(buffer[..count] == *self.pattern.piece(self.echoed, count), "wrong bytes");
        self.echoed += count as u64;
        Ok(count as u64)
    }
}
