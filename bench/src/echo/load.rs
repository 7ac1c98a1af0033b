//! The client of all servers: one thread, one epoll, every byte compared.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::Load;

/// What came of a load.
pub(super) struct Driven {
    pub(super) operations: u64,
    pub(super) time: Duration,
    pub(super) server_cpu: Duration,
    pub(super) p99_us: f64,
}

/// Loads a server for so long. The first fifth of the time warms it up and is not counted.
pub(super) fn drive(
    address: SocketAddr,
    load: Load,
    time: Duration,
    server_cpu: impl Fn() -> Duration,
) -> Result<Driven> {
    match load {
        Load::PingPong { clients, bytes } => {
            let mut crowd = Crowd::connect(address, clients, bytes)?;
            crowd.play(time / 5)?;
            crowd.latencies.reset();
            let (cpu, begun) = (server_cpu(), Instant::now());
            let operations = crowd.play(time)?;
            Ok(Driven {
                operations,
                time: begun.elapsed(),
                server_cpu: server_cpu() - cpu,
                p99_us: crowd.latencies.value_at_quantile(0.99) as f64 / 1e3,
            })
        }
        Load::Churn => {
            churn(address, time / 5)?;
            let (cpu, begun) = (server_cpu(), Instant::now());
            let operations = churn(address, time)?;
            let (time, server_cpu) = (begun.elapsed(), server_cpu() - cpu);
            Ok(Driven { operations, time, server_cpu, p99_us: 0.0 })
        }
    }
}

fn churn(address: SocketAddr, time: Duration) -> Result<u64> {
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        let mut stream = TcpStream::connect(address)?;
        let message = [count as u8; 64];
        stream.write_all(&message)?;
        let mut echo = [0; 64];
        stream.read_exact(&mut echo)?;
        ensure!(echo == message, "wrong bytes");
        // A reset instead of a close in good order: it keeps the ports from running out.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        count += 1;
    }
    Ok(count)
}

/// Clients that each wait for their echo.
struct Crowd {
    epoll: std::os::fd::OwnedFd,
    clients: Vec<Client>,
    latencies: Histogram<u64>,
}

struct Client {
    stream: TcpStream,
    message: Vec<u8>,
    echoed: usize,
    sent_at: Instant,
}

impl Crowd {
    fn connect(address: SocketAddr, clients: usize, bytes: usize) -> Result<Crowd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut crowd = Crowd { epoll, clients: Vec::new(), latencies: Histogram::new(3)? };
        for number in 0..clients {
            let stream = TcpStream::connect(address).context("failed to connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&crowd.epoll, &stream, data, EventFlags::IN)?;
            let message = (0..bytes).map(|index| (number + index) as u8).collect();
            crowd.clients.push(Client { stream, message, echoed: 0, sent_at: Instant::now() });
        }
        for client in &mut crowd.clients {
            client.send()?;
        }
        Ok(crowd)
    }

    /// Plays for so long, and returns how many messages came back.
    fn play(&mut self, time: Duration) -> Result<u64> {
        let (begun, mut count) = (Instant::now(), 0);
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 << 10];
        while begun.elapsed() < time {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                if client.receive(&mut buffer)? {
                    let latency = client.sent_at.elapsed().as_nanos() as u64;
                    self.latencies.record(latency.max(1))?;
                    count += 1;
                    client.send()?;
                }
            }
        }
        Ok(count)
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
