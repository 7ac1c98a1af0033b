use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use async_executor::{Executor, LocalExecutor};
use async_io::{Async, block_on};
use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::{BUFFER, HOG_STEPS, Setting, compute};

pub(super) fn serve(mut listeners: Vec<TcpListener>, setting: Setting) -> Result<()> {
    let listener = listeners.remove(0);
    match setting.cores {
        1 => on_one_thread(listener, setting),
        threads => on_threads(listener, setting, threads),
    }
}

fn on_one_thread(listener: TcpListener, setting: Setting) -> Result<()> {
    let executor = LocalExecutor::new();
    for _ in 0..setting.cpu_hogs {
        executor.spawn(cpu_hog()).detach();
    }
    block_on(executor.run(async {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            executor.spawn(echo_one(stream, setting)).detach();
        }
    }))
}

/// One executor that all threads run, as in the crate `smol`.
fn on_threads(listener: TcpListener, setting: Setting, threads: usize) -> Result<()> {
    let executor: &Executor<'_> = Box::leak(Box::new(Executor::new()));
    for _ in 1..threads {
        let endless = std::future::pending::<()>();
        std::thread::Builder::new().spawn(move || block_on(executor.run(endless)))?;
    }
    block_on(executor.run(async {
        let listener = Async::new(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            executor.spawn(echo_one(stream, setting)).detach();
        }
    }))
}

async fn echo_one(mut stream: Async<TcpStream>, setting: Setting) {
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
