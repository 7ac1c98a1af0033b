use std::net::TcpListener as Listener;

use anyhow::Result;
use futures_lite::future::yield_now;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{FusionDriver, RuntimeBuilder, spawn};

use super::{BUFFER, Setting, cpu_hog, on_each};

/// One runtime per thread, as this runtime is meant to be used.
pub(super) fn serve(listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    on_each(listeners, setting, |listener, setting| {
        RuntimeBuilder::<FusionDriver>::new().build()?.block_on(accept(listener, setting))
    })
}

async fn accept(listener: Listener, setting: Setting) -> Result<()> {
    for _ in 0..setting.cpu_hogs {
        spawn(cpu_hog(yield_now));
    }
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(echo_one(stream, setting));
    }
}

async fn echo_one(mut stream: TcpStream, setting: Setting) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, read) = stream.read(buffer).await;
        let Ok(count @ 1..) = count else { break };
        setting.work();
        let mut message = read;
        message.truncate(count);
        let (written, message) = stream.write_all(message).await;
        if written.is_err() {
            break;
        }
        buffer = message;
        buffer.resize(BUFFER, 0);
    }
}
