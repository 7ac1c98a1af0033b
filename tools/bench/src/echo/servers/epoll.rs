//! The lower bound: a bare epoll loop with as few system calls as possible. As in the other
//! servers, each connection has a buffer of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use slab::Slab;

use super::{BUFFER, HOG_STEPS, Setting, compute, on_each};

const LISTENER: u64 = u64::MAX;

struct Client {
    stream: TcpStream,
    buffer: [u8; BUFFER],
}

pub(super) fn serve(listeners: Vec<TcpListener>, setting: Setting) -> Result<()> {
    on_each(listeners, setting, serve_one)
}

fn serve_one(listener: TcpListener, setting: Setting) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut streams: Slab<Box<Client>> = Slab::new();
    let mut events = Vec::with_capacity(256);
    let immediately = Timespec::default();
    // There are no tasks, so the loop alternates between events and computing.
    let timeout = (setting.cpu_hogs > 0).then_some(&immediately);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), timeout) {
            // A tracer was attached or detached.
            Err(Errno::INTR) => continue,
            waited => waited?,
        };
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                while let Ok(stream) = accept_with(&listener, flags) {
                    let stream = TcpStream::from(stream);
                    stream.set_nodelay(true)?;
                    let place = streams.vacant_entry();
                    let number = EventData::new_u64(place.key() as u64);
                    epoll::add(&epoll, &stream, number, EventFlags::IN)?;
                    place.insert(Box::new(Client { stream, buffer: [0; BUFFER] }));
                }
                continue;
            }
            let Some(client) = streams.get_mut(number as usize) else { continue };
            let Client { stream, buffer } = &mut **client;
            // Read once per event: epoll reports remaining data again.
            let open = match stream.read(buffer) {
                Ok(0) => false,
                Ok(count) => {
                    setting.work();
                    send(stream, &buffer[..count])?
                }
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            };
            if !open {
                streams.remove(number as usize);
            }
        }
        if setting.cpu_hogs > 0 {
            compute(HOG_STEPS);
        }
    }
}

/// Sends everything. Returns `false` if the connection is broken. A client that does not read
/// blocks all others; the clients of the benchmark always read.
fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> Result<bool> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
