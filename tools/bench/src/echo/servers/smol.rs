use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use async_executor::{Executor, LocalExecutor};
use async_io::{Async, block_on};
use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::{Setting, cpu_hog, echo_with};

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
        executor.spawn(cpu_hog(yield_now)).detach();
    }
    block_on(executor.run(accept(listener, |stream| {
        executor.spawn(echo_one(stream, setting)).detach();
    })))
}

/// One executor that all threads run, as in the crate `smol`.
fn on_threads(listener: TcpListener, setting: Setting, threads: usize) -> Result<()> {
    let executor: &Executor<'_> = Box::leak(Box::new(Executor::new()));
    for _ in 1..threads {
        let endless = std::future::pending::<()>();
        std::thread::Builder::new().spawn(move || block_on(executor.run(endless)))?;
    }
    block_on(executor.run(accept(listener, |stream| {
        executor.spawn(echo_one(stream, setting)).detach();
    })))
}

async fn accept(listener: TcpListener, serve: impl Fn(Async<TcpStream>)) -> Result<()> {
    let listener = Async::new(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        serve(stream);
    }
}

echo_with!(Async<TcpStream>);
