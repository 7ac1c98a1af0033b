//! One thread per connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::Builder;

use anyhow::Result;

use super::{BUFFER, HOG_STEPS, Setting, compute};

const STACK: usize = 64 << 10;

pub(super) fn serve(mut listeners: Vec<TcpListener>, setting: Setting) -> Result<()> {
    let listener = listeners.remove(0);
    for _ in 0..setting.cpu_hogs {
        Builder::new().spawn(|| {
            loop {
                compute(HOG_STEPS);
                std::thread::yield_now();
            }
        })?;
    }
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Builder::new().stack_size(STACK).spawn(move || echo_one(stream, setting))?;
    }
}

fn echo_one(mut stream: TcpStream, setting: Setting) {
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        setting.work();
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
}
