use std::future::pending;
use std::hint::black_box;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn, yield_now};
use tokio::time::sleep;

use super::{Row, common_programs, end};
use crate::cost::{Cost, Meter};

const NAME: &str = "tokio-ct";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |population, n| on(spawn_one(population, n))),
    (NAME, "wake", |population, n| on(wake(population, n))),
    (NAME, "cancel", |population, n| on(cancel(population, n))),
    (NAME, "timer", |population, n| on(timer(population, n))),
    (NAME, "orphan", |population, n| on(orphan(population, n))),
    (NAME, "descriptor", |population, n| on(descriptor(population, n))),
];

/// The main future is a task like the others.
fn on(main: impl Future<Output = Result<Cost>> + Send + 'static) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { end(&spawn(main).await??) })
}

common_programs! {
    result: Result<Cost>,
    cancel: |child| {
        child.abort();
        child.await
    },
}

async fn orphan(population: u64, n: u64) -> Result<Cost> {
    let mut tasks = JoinSet::new();
    for _ in 0..population {
        tasks.spawn(pending());
    }
    yield_now().await;
    let meter = Meter::start();
    for number in 0..n {
        tasks.spawn(async move { number });
        black_box(tasks.join_next().await);
    }
    let cost = meter.stop(n);
    std::mem::forget(tasks);
    Ok(cost)
}

async fn descriptor(population: u64, n: u64) -> Result<Cost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    for _ in 0..population / 2 {
        for mut stream in pair(&listener).await? {
            spawn(async move { stream.read(&mut [0; 1]).await });
        }
    }
    let [mut here, mut there] = pair(&listener).await?;
    spawn(async move {
        let mut buffer = [0; 64];
        while there.read(&mut buffer).await.is_ok() && there.write_all(&buffer).await.is_ok() {}
    });
    let mut buffer = [1; 64];
    let meter = Meter::start();
    for _ in 0..n {
        here.write_all(&buffer).await?;
        here.read_exact(&mut buffer).await?;
    }
    Ok(meter.stop(n))
}

async fn pair(listener: &TcpListener) -> std::io::Result<[TcpStream; 2]> {
    let here = TcpStream::connect(listener.local_addr()?).await?;
    Ok([here, listener.accept().await?.0])
}
