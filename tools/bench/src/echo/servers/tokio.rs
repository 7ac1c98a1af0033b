use std::net::TcpListener as Listener;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{spawn, yield_now};

use super::{BUFFER, HOG_STEPS, Setting, compute, on_each};

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
        spawn(cpu_hog());
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
        setting.work();
        if stream.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

async fn cpu_hog() {
    loop {
        compute(HOG_STEPS);
        yield_now().await;
    }
}
