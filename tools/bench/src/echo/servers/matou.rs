use std::future::pending;
use std::net::TcpListener as Listener;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use matou_echo::{Level, Limits, Listeners, Log, Shutdown};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{Builder, MainError, Orphans, Task, race, spawn, yield_now};

use super::{BUFFER, Setting, announce, cpu_hog, echo_with};

/// The same server as in the other runtimes.
pub(super) fn serve(mut listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    let run = Builder::new().domains(listeners.len()).run(async move {
        let cpu_hogs: Vec<_> = (0..setting.cpu_hogs).map(|_| spawn(cpu_hog(yield_now))).collect();
        let first = listeners.remove(0);
        let mut others = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let task = Task::new().pin(index + 1);
            others.push(task.call(move || async move { accept(listener, setting).await.is_ok() })?);
        }
        accept(first, setting).await?;
        drop((cpu_hogs, others));
        Ok::<_, MainError>(())
    });
    run.map_err(|error| anyhow!("{error}"))
}

async fn accept(listener: Listener, setting: Setting) -> Result<()> {
    let mut listener = TcpListener::from_std(listener)?;
    let clients = Orphans::new();
    loop {
        let ended = async {
            while clients.next().await.is_some() {}
            pending().await
        };
        let (mut stream, _) = race(listener.accept(), ended).await?;
        stream.set_nodelay(true)?;
        let client = Task::new().orphans(&clients).spawn(echo_one(stream, setting));
        client.map_err(|_| anyhow!("there is no limit"))?;
    }
}

echo_with!(TcpStream);

/// The server of the crate `matou-echo`, with its limits and timeouts, and with buffers of the same
/// size.
pub(super) fn echo(setting: Setting) -> Result<()> {
    anyhow::ensure!(!setting.cpu_work, "it only echoes");
    let run = Builder::new().domains(setting.cores).run(async move {
        let cpu_hogs: Vec<_> = (0..setting.cpu_hogs).map(|_| spawn(cpu_hog(yield_now))).collect();
        let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], setting.cores)?;
        announce(listeners.addresses()[0])?;
        let limits =
            Limits { connections_max: 65_536, buffered_bytes_max: BUFFER, ..Limits::default() };
        let (shutdown, log) = (Arc::new(Shutdown::new()), Arc::new(Log::new(Level::Error)));
        matou_echo::run(listeners, limits, shutdown, log).await?;
        drop(cpu_hogs);
        Ok::<_, MainError>(())
    });
    run.map_err(|error| anyhow!("{error}"))
}
