use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::pattern::Pattern;
use super::{PATIENCE, new_histogram};

const BUFFER: usize = 64 << 10;

/// Clients that each wait for their echo.
pub(super) struct Crowd {
    epoll: OwnedFd,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    /// In nanoseconds, from the sending to the last byte of the echo.
    pub(super) latencies: Histogram<u64>,
}

struct Client {
    stream: TcpStream,
    message: Vec<u8>,
    echoed: usize,
    sent_at: Instant,
}

impl Crowd {
    pub(super) fn connect(address: SocketAddr, clients: usize, bytes: usize) -> Result<Crowd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (latencies, buffer) = (new_histogram()?, vec![0; BUFFER]);
        let events = Vec::with_capacity(256);
        let mut crowd = Crowd { epoll, clients: Vec::new(), buffer, events, latencies };
        for number in 0..clients {
            let stream = connect(address)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&crowd.epoll, &stream, data, EventFlags::IN)?;
            let message = Pattern::new(number, bytes).piece(0, bytes).to_vec();
            crowd.clients.push(Client { stream, message, echoed: 0, sent_at: Instant::now() });
        }
        Ok(crowd)
    }

    pub(super) fn send_all(&mut self) -> Result<()> {
        self.clients.iter_mut().try_for_each(Client::send)
    }

    /// Plays for so long, and returns how many messages came back. Each is followed by another.
    pub(super) fn play(&mut self, time: Duration) -> Result<u64> {
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < time {
            count += self.receive(Client::send)?;
        }
        Ok(count)
    }

    /// Sends one message for each client, and waits until all are back.
    pub(super) fn exchange(&mut self) -> Result<()> {
        self.send_all()?;
        let mut missing = self.clients.len() as u64;
        while missing > 0 {
            missing -= self.receive(|_| Ok(()))?;
        }
        Ok(())
    }

    /// Waits for echoes, does `then` to each client whose echo is complete, and counts those.
    fn receive(&mut self, then: fn(&mut Client) -> Result<()>) -> Result<u64> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience()))?;
        ensure!(!self.events.is_empty(), "no echo for {PATIENCE:?}");
        let mut count = 0;
        for event in &self.events {
            let client = &mut self.clients[event.data.u64() as usize];
            if client.receive(&mut self.buffer)? {
                self.latencies.record(client.sent_at.elapsed().as_nanos() as u64)?;
                count += 1;
                then(client)?;
            }
        }
        Ok(count)
    }
}

impl Drop for Crowd {
    /// Resets the connections, so that nothing of them is left in the system to disturb the next.
    fn drop(&mut self) {
        for client in &self.clients {
            // If the connection is broken, there is nothing to reset.
            let _ = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Client {
    fn send(&mut self) -> Result<()> {
        self.echoed = 0;
        self.sent_at = Instant::now();
        let sent = self.stream.write(&self.message)?;
        ensure!(sent == self.message.len(), "a message did not fit");
        Ok(())
    }

    /// Returns whether all of the message has come back.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let count = self.stream.read(buffer)?;
        ensure!(count > 0, "the server has closed");
        let expected = self.message.get(self.echoed..self.echoed + count);
        ensure!(expected == Some(&buffer[..count]), "wrong bytes");
        self.echoed += count;
        Ok(self.echoed == self.message.len())
    }
}

pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).context("failed to connect")?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

pub(super) fn patience() -> Timespec {
    Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 }
}
