use std::net::TcpListener as Listener;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{spawn, yield_now};

use super::{Setting, cpu_hog, echo_with, on_each};

/// One runtime per thread.
pub(super) fn current_thread(listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    on_each(listeners, setting, |listener, setting| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { spawn(accept(listener, setting)).await? })
    })
}

/// One runtime with several threads; any of them may serve a connection.
pub(super) fn multi_thread(mut listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    let listener = listeners.remove(0);
    let runtime = Builder::new_multi_thread().worker_threads(setting.cores).enable_all().build()?;
    runtime.block_on(async { spawn(accept(listener, setting)).await? })
}

async fn accept(listener: Listener, setting: Setting) -> Result<()> {
    for _ in 0..setting.cpu_hogs {
        spawn(cpu_hog(yield_now));
    }
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(echo_one(stream, setting));
    }
}

echo_with!(TcpStream);
