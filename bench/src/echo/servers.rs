//! The servers.

use std::io::{Read, Write};
use std::net::TcpListener;

use anyhow::{Result, bail};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::epoll;
use crate::meter::{pin, raise_descriptors};

const BUFFER: usize = 4096;

/// Serves in one runtime, on the first processor, until the process is ended.
pub(crate) fn serve(runtime: &str) -> Result<()> {
    raise_descriptors();
    if runtime != "threads" {
        pin(0);
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    println!("{}", listener.local_addr()?.port());
    match runtime {
        "epoll" => epoll::serve(listener),
        "matou" => matou(listener),
        "tokio-ct" => tokio(listener),
        "smol" => smol(listener),
        "monoio" => monoio(listener),
        "threads" => threads(listener),
        other => bail!("there is no server of {other}"),
    }
}

fn matou(listener: TcpListener) -> Result<()> {
    use matou_net::{TcpListener, TcpStream};
    use matou_runtime::{MainError, Orphans, Task, race, run};

    async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                count => stream.write_all(&buffer[..count]).await?,
            }
        }
    }
    run(async {
        let mut listener = TcpListener::from_std(listener)?;
        let clients = Orphans::new();
        loop {
            let ended = async {
                while clients.next().await.is_some() {}
                std::future::pending().await
            };
            let (mut stream, _) = race(listener.accept(), ended).await?;
            stream.set_nodelay(true)?;
            Task::new().orphans(&clients).spawn(echo(stream)).map_err(|_| "it has no limit")?;
        }
        #[expect(unreachable_code, reason = "it says what the block returns")]
        Ok::<(), MainError>(())
    })?;
    Ok(())
}

fn tokio(listener: TcpListener) -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    })
}

fn smol(listener: TcpListener) -> Result<()> {
    let executor = async_executor::LocalExecutor::new();
    async_io::block_on(executor.run(async {
        let listener = async_io::Async::new(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            let echo = async move {
                let mut buffer = [0; BUFFER];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            };
            executor.spawn(echo).detach();
        }
    }))
}

fn monoio(listener: TcpListener) -> Result<()> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().build()?;
    runtime.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(async move {
                let mut buffer = vec![0; BUFFER];
                loop {
                    let (count, read) = stream.read(buffer).await;
                    let Ok(count @ 1..) = count else { break };
                    let mut message = read;
                    message.truncate(count);
                    let (written, message) = stream.write_all(message).await;
                    if written.is_err() {
                        break;
                    }
                    buffer = message;
                    buffer.resize(BUFFER, 0);
                }
            });
        }
    })
}

fn threads(listener: TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            pin(0);
            let mut buffer = [0; BUFFER];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        })?;
    }
}
