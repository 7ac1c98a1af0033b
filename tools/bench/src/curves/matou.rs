use std::future::pending;
use std::hint::black_box;

use anyhow::{Result, anyhow};
use matou_net::{TcpListener, TcpStream};
use matou_ownership::{Owned, check};
use matou_runtime::{
    Builder, MainError, Orphans, Promise, Task, sleep, spawn, try_spawn, yield_now,
};

use super::{Lots, Row, bells, end, ring, wait_for_ever};
use crate::meter::{Cost, Meter};

const NAME: &str = "matou";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |crowd, n| on(spawn_one(crowd, n))),
    (NAME, "wake", |crowd, n| on(wake(crowd, n))),
    (NAME, "cancel", |crowd, n| on(cancel(crowd, n))),
    (NAME, "timer", |crowd, n| on(timer(crowd, n))),
    (NAME, "orphan", |crowd, n| on(orphan(crowd, n))),
    (NAME, "own", |crowd, n| on(own(crowd, n))),
    (NAME, "descriptor", |crowd, n| on(descriptor(crowd, n))),
    (NAME, "fan", |crowd, n| on(fan(crowd, n))),
    (NAME, "chain", |crowd, n| on(chain(crowd, n))),
];

/// Each program forgets its crowd, which is there until the process ends.
fn on(main: impl Future<Output = Result<Cost, MainError>> + 'static) -> Result<()> {
    let run = Builder::new().domains(1).run(async {
        let cost = main.await?;
        end(&cost);
        #[expect(unreachable_code, reason = "it says what the block returns")]
        Ok::<(), MainError>(())
    });
    run.map_err(|error| anyhow!("{error}"))
}

/// Idle tasks that have been polled.
async fn idle(crowd: u64) {
    std::mem::forget((0..crowd).map(|_| spawn(pending::<()>())).collect::<Vec<_>>());
    yield_now().await;
}

async fn spawn_one(crowd: u64, n: u64) -> Result<Cost, MainError> {
    idle(crowd).await;
    let meter = Meter::start();
    for number in 0..n {
        black_box(spawn(async move { number }).await?);
    }
    Ok(meter.stop(n))
}

async fn wake(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let bells = bells(crowd);
    let task = |index| spawn(wait_for_ever(bells.clone(), index));
    std::mem::forget((0..crowd).map(task).collect::<Vec<_>>());
    yield_now().await;
    let mut lots = Lots(1);
    let meter = Meter::start();
    for _ in 0..n {
        ring(&bells, lots.draw(crowd));
        yield_now().await;
    }
    Ok(meter.stop(n))
}

async fn cancel(crowd: u64, n: u64) -> Result<Cost, MainError> {
    idle(crowd).await;
    let meter = Meter::start();
    for _ in 0..n {
        let child = spawn(pending::<()>());
        yield_now().await;
        child.cancel().await;
    }
    Ok(meter.stop(n))
}

async fn timer(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let mut lots = Lots(1);
    let mut timers = Vec::with_capacity(crowd as usize);
    for _ in 0..crowd {
        let mut timer = Box::pin(sleep(lots.far()));
        assert!(futures::poll!(timer.as_mut()).is_pending());
        timers.push(timer);
    }
    let meter = Meter::start();
    for _ in 0..n {
        let mut timer = std::pin::pin!(sleep(lots.far()));
        assert!(futures::poll!(timer.as_mut()).is_pending());
    }
    let cost = meter.stop(n);
    std::mem::forget(timers);
    Ok(cost)
}

async fn orphan(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let orphans = Orphans::new();
    for _ in 0..crowd {
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

async fn own(crowd: u64, n: u64) -> Result<Cost, MainError> {
    std::mem::forget((0..crowd).map(|number| Owned::new(number, drop)).collect::<Vec<_>>());
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

async fn descriptor(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let mut silent: Vec<Promise<_, _>> = Vec::with_capacity(crowd as usize);
    for _ in 0..crowd / 2 {
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
        #[expect(unreachable_code, reason = "it says what the block returns")]
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

async fn fan(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let times = n.div_ceil(crowd);
    let meter = Meter::start();
    for _ in 0..times {
        let children: Vec<_> = (0..crowd).map(|_| spawn(pending::<()>())).collect();
        yield_now().await;
        let cancelled: Vec<_> = children.into_iter().map(Promise::cancel).collect();
        for cancelled in cancelled {
            cancelled.await;
        }
    }
    Ok(meter.stop(times * crowd))
}

async fn link(depth: u64) {
    if depth == 0 {
        return pending().await;
    }
    let next: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(link(depth - 1));
    // It is cancelled before there is an outcome.
    let _ = spawn(next).await;
}

async fn chain(crowd: u64, n: u64) -> Result<Cost, MainError> {
    let times = n.div_ceil(crowd);
    let meter = Meter::start();
    for _ in 0..times {
        let first = spawn(link(crowd - 1));
        // Each yield lets the next one begin.
        for _ in 0..crowd + 1 {
            yield_now().await;
        }
        first.cancel().await;
    }
    Ok(meter.stop(times * crowd))
}
