use std::future::pending;
use std::hint::black_box;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet, spawn, yield_now};
use tokio::time::sleep;

use super::{Lots, Row, bells, end, ring, wait_for_ever};
use crate::meter::{Cost, Meter};

const NAME: &str = "tokio-ct";

pub(super) const PROGRAMS: &[Row] = &[
    (NAME, "spawn", |crowd, n| on(spawn_one(crowd, n))),
    (NAME, "wake", |crowd, n| on(wake(crowd, n))),
    (NAME, "cancel", |crowd, n| on(cancel(crowd, n))),
    (NAME, "timer", |crowd, n| on(timer(crowd, n))),
    (NAME, "orphan", |crowd, n| on(orphan(crowd, n))),
    (NAME, "descriptor", |crowd, n| on(descriptor(crowd, n))),
    (NAME, "fan", |crowd, n| on(fan(crowd, n))),
    (NAME, "chain", |crowd, n| on(chain(crowd, n))),
];

/// Main is a task like the others.
fn on(main: impl Future<Output = Result<Cost>> + Send + 'static) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { end(&spawn(main).await??) })
}

/// Idle tasks that have been polled.
async fn idle(crowd: u64) {
    (0..crowd).for_each(|_| drop(spawn(pending::<()>())));
    yield_now().await;
}

async fn spawn_one(crowd: u64, n: u64) -> Result<Cost> {
    idle(crowd).await;
    let meter = Meter::start();
    for number in 0..n {
        black_box(spawn(async move { number }).await?);
    }
    Ok(meter.stop(n))
}

async fn wake(crowd: u64, n: u64) -> Result<Cost> {
    let bells = bells(crowd);
    (0..crowd).for_each(|index| drop(spawn(wait_for_ever(bells.clone(), index))));
    yield_now().await;
    let mut lots = Lots(1);
    let meter = Meter::start();
    for _ in 0..n {
        ring(&bells, lots.draw(crowd));
        yield_now().await;
    }
    Ok(meter.stop(n))
}

async fn cancel(crowd: u64, n: u64) -> Result<Cost> {
    idle(crowd).await;
    let meter = Meter::start();
    for _ in 0..n {
        let child = spawn(pending::<()>());
        yield_now().await;
        child.abort();
        let _ = child.await;
    }
    Ok(meter.stop(n))
}

async fn timer(crowd: u64, n: u64) -> Result<Cost> {
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

async fn orphan(crowd: u64, n: u64) -> Result<Cost> {
    let mut tasks = JoinSet::new();
    for _ in 0..crowd {
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

async fn descriptor(crowd: u64, n: u64) -> Result<Cost> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    for _ in 0..crowd / 2 {
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

async fn fan(crowd: u64, n: u64) -> Result<Cost> {
    let times = n.div_ceil(crowd);
    let meter = Meter::start();
    for _ in 0..times {
        let children: Vec<_> = (0..crowd).map(|_| spawn(pending::<()>())).collect();
        yield_now().await;
        children.iter().for_each(JoinHandle::abort);
        for child in children {
            let _ = child.await;
        }
    }
    Ok(meter.stop(times * crowd))
}

/// A task that ends its child when it is dropped, and so on.
struct Child(JoinHandle<()>);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn link(depth: u64, begun: oneshot::Sender<()>, over: oneshot::Sender<()>) -> Boxed {
    Box::pin(async move {
        if depth == 0 {
            let _ = begun.send(());
            pending::<()>().await;
            return drop(over);
        }
        let mut child = Child(spawn(link(depth - 1, begun, over)));
        let _ = (&mut child.0).await;
    })
}

async fn chain(crowd: u64, n: u64) -> Result<Cost> {
    let times = n.div_ceil(crowd);
    let meter = Meter::start();
    for _ in 0..times {
        let ((begun, has_begun), (over, is_over)) = (oneshot::channel(), oneshot::channel());
        let first = spawn(link(crowd - 1, begun, over));
        has_begun.await?;
        first.abort();
        let _ = first.await;
        let _ = is_over.await;
    }
    Ok(meter.stop(times * crowd))
}
