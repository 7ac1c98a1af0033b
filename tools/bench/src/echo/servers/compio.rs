use std::net::TcpListener as Listener;

use anyhow::Result;
use compio::buf::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::{Runtime, spawn};
use futures_lite::future::yield_now;

use super::{BUFFER, Setting, cpu_hog, on_each};

/// One runtime per thread, as this runtime is meant to be used.
pub(super) fn serve(listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    on_each(listeners, setting, |listener, setting| {
        Runtime::new()?.block_on(accept(listener, setting))
    })
}

async fn accept(listener: Listener, setting: Setting) -> Result<()> {
    for _ in 0..setting.cpu_hogs {
        spawn(cpu_hog(yield_now)).detach();
    }
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(echo_one(stream, setting)).detach();
    }
}

async fn echo_one(mut stream: TcpStream, setting: Setting) {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let BufResult(count, read) = stream.read(buffer).await;
        let Ok(1..) = count else { break };
        setting.work();
        let BufResult(written, mut message) = stream.write_all(read).await;
        if written.is_err() {
            break;
        }
        message.clear();
        buffer = message;
    }
}
