use std::net::TcpListener as Listener;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{spawn, yield_now};

use super::{BUFFER, HOG_STEPS, Setting, compute, on_each};

/// A runtime for each thread.
pub(super) fn current_thread(listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    on_each(listeners, setting, |listener, setting| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { spawn(accept(listener, setting)).await? })
    })
}

/// One runtime that has so many threads; connections come in at one place and go to any of them.
pub(super) fn multi_thread(mut listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    let listener = listeners.remove(0);
    let runtime = Builder::new_multi_thread().worker_threads(setting.cores).enable_all().build()?;
    runtime.block_on(async { spawn(accept(listener, setting)).await? })
}

async fn accept(listener: Listener, setting: Setting) -> Result<()> {
    for _ in 0..setting.hogs {
        spawn(hog());
    }
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(echo_one(stream, setting));
    }
}

async fn echo_one(mut stream: TcpStream, setting: Setting) {
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        setting.labour();
        if stream.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

async fn hog() {
    loop {
        compute(HOG_STEPS);
        yield_now().await;
    }
}
