use std::future::pending;
use std::hint::black_box;

use anyhow::{Result, anyhow};
use matou_net::{TcpListener, TcpStream};
use matou_ownership::{Owned, check};
use matou_runtime::{
    Builder, MainError, Orphans, Promise, Task, sleep, spawn, try_spawn, yield_now,
};

use super::{Row, common_programs, end};
use crate::cost::{Cost, Meter};

const NAME: &str = "matou";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |population, n| on(spawn_one(population, n))),
    (NAME, "wake", |population, n| on(wake(population, n))),
    (NAME, "cancel", |population, n| on(cancel(population, n))),
    (NAME, "timer", |population, n| on(timer(population, n))),
    (NAME, "orphan", |population, n| on(orphan(population, n))),
    (NAME, "own", |population, n| on(own(population, n))),
    (NAME, "descriptor", |population, n| on(descriptor(population, n))),
];

/// Each program leaks its population, which exists until the process ends.
fn on(main: impl Future<Output = Result<Cost, MainError>> + 'static) -> Result<()> {
    let run = Builder::new().domains(1).run(async {
        let cost = main.await?;
        end(&cost);
        #[expect(unreachable_code, reason = "declares the type of the block")]
        Ok::<(), MainError>(())
    });
    run.map_err(|error| anyhow!("{error}"))
}

common_programs! {
    result: Result<Cost, MainError>,
    cancel: |child| child.cancel().await,
}

async fn orphan(population: u64, n: u64) -> Result<Cost, MainError> {
    let orphans = Orphans::new();
    for _ in 0..population {
        Task::new().orphans(&orphans).spawn(pending())?;
    }
    yield_now().await;
    let meter = Meter::start();
    for number in 0..n {
        Task::new().orphans(&orphans).spawn(async move { number })?;
        black_box(orphans.next().await);
    }
    let cost = meter.stop(n);
    std::mem::forget(orphans);
    Ok(cost)
}

async fn own(population: u64, n: u64) -> Result<Cost, MainError> {
    std::mem::forget((0..population).map(|number| Owned::new(number, drop)).collect::<Vec<_>>());
    let meter = Meter::start();
    for number in 0..n {
        let owned = Owned::new(number, |number| {
            black_box(number);
        });
        check(&owned)?;
        drop(owned);
    }
    Ok(meter.stop(n))
}

async fn descriptor(population: u64, n: u64) -> Result<Cost, MainError> {
    let mut listener = TcpListener::bind("127.0.0.1:0")?;
    let mut silent: Vec<Promise<_, _>> = Vec::with_capacity(population as usize);
    for _ in 0..population / 2 {
        for mut stream in pair(&mut listener).await? {
            silent.push(try_spawn(async move { stream.read(&mut [0; 1]).await }));
        }
    }
    let [mut here, mut there] = pair(&mut listener).await?;
    std::mem::forget(try_spawn(async move {
        let mut buffer = [0; 64];
        loop {
            there.read(&mut buffer).await?;
            there.write_all(&buffer).await?;
        }
        #[expect(unreachable_code, reason = "declares the type of the block")]
        Ok::<(), std::io::Error>(())
    }));
    let mut buffer = [1; 64];
    let meter = Meter::start();
    for _ in 0..n {
        here.write_all(&buffer).await?;
        here.read(&mut buffer).await?;
    }
    let cost = meter.stop(n);
    std::mem::forget(silent);
    Ok(cost)
}

async fn pair(listener: &mut TcpListener) -> std::io::Result<[TcpStream; 2]> {
    let address = listener.local_addr()?;
    let here = TcpStream::connect(address).await?;
    Ok([here, listener.accept().await?.0])
}
