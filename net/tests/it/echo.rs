//! Bytes are echoed unchanged, over IPv4 and IPv6, on one and on several domains.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use futures::AsyncWriteExt;
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{Orphans, Task, await_all, spawn, try_call, try_spawn, yield_now};

use crate::support::*;

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = [0; 1024];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            count => stream.write_all(&buf[..count]).await?,
        }
    }
}

/// Accepts `connections` connections, serves each in a child, and joins the children.
async fn serve(mut listener: TcpListener, connections: usize) -> io::Result<usize> {
    let clients = Orphans::new();
    for _ in 0..connections {
        let (stream, _) = listener.accept().await?;
        let client = Task::new().orphans(&clients);
        client.try_spawn(echo(stream)).expect("there is no limit");
    }
    let mut served = 0;
    while let Some(outcome) = clients.next().await {
        outcome.map_err(io::Error::other)?;
        served += 1;
    }
    Ok(served)
}

async fn exchange(address: SocketAddr, seed: usize, len: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let sent = pattern(seed, len);
    for chunk in sent.chunks(3000) {
        stream.write_all(chunk).await?;
        let mut back = vec![0; chunk.len()];
        let mut filled = 0;
        while filled < back.len() {
            match stream.read(&mut back[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        assert_eq!(back, chunk, "client {seed}");
    }
    Ok(())
}

#[track_caller]
fn echo_over(address: SocketAddr) {
    let result = run_on(1, async move {
        let mut listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let server = try_spawn(serve(listener, 10));
        let clients = (0..10).map(|seed| try_spawn(exchange(address, seed, 10_000)));
        for outcome in await_all(clients).await {
            outcome?;
        }
        assert_eq!(server.await?, 10);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn bytes_are_echoed_over_ipv4() {
    echo_over(any_v4());
}

#[test]
fn bytes_are_echoed_over_ipv6() {
    echo_over(any_v6());
}

#[test]
fn r24_servers_on_several_domains_share_an_address() {
    let result = run_on(4, async {
        // The system distributes the connections among the listeners, so no server knows its number
        // of clients: each serves until it is cancelled.
        let options = TcpListener::options().reuse_port(true);
        let mut first = options.listen(any_v4())?;
        let address = first.local_addr()?;
        let mut servers = vec![try_spawn(serve(first, usize::MAX))];
        for _ in 0..3 {
            let server = move || async move { serve(options.listen(address)?, usize::MAX).await };
            servers.push(try_call(server)?);
        }
        let clients = (0..60).map(|seed| try_call(move || exchange(address, seed, 20_000)));
        let clients: Result<Vec<_>, _> = clients.collect();
        for outcome in await_all(clients?).await {
            outcome?;
        }
        for server in servers {
            assert!(server.cancel().await.is_none());
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_stream_is_served_on_another_domain_than_it_was_accepted() {
    let result = run_on(3, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let clients: Vec<_> =
            (0..20).map(|seed| try_spawn(exchange(address, seed, 5000))).collect();
        let mut servers = Vec::new();
        for _ in 0..20 {
            let (stream, _) = listener.accept().await?;
            servers.push(try_call(move || echo(stream))?);
        }
        for outcome in await_all(clients).await {
            outcome?;
        }
        for outcome in await_all(servers).await {
            outcome?;
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r17_more_ready_descriptors_than_one_wait_returns_all_make_progress() {
    const STREAMS: usize = 1500;
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let mut clients = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..STREAMS {
            clients.push(TcpStream::connect(address).await?);
            let (mut stream, _) = listener.accept().await?;
            readers.push(try_spawn(async move {
                let mut byte = [0];
                stream.read(&mut byte).await?;
                Ok::<_, io::Error>(byte[0])
            }));
        }
        // All sockets become ready before the domain waits for events.
        for (seed, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.write(&[seed as u8]).await?, 1);
        }
        for (seed, outcome) in await_all(readers).await.into_iter().enumerate() {
            assert_eq!(outcome?, seed as u8);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn the_traits_of_futures_io_copy_a_megabyte() {
    let result = run_on(1, async {
        let (mut client, server) = pair().await?;
        let server = spawn(async move {
            let mut server = server;
            let (reader, mut writer) = server.halves();
            let copied = futures::io::copy(reader, &mut writer).await?;
            writer.flush().await?;
            writer.close().await?;
            Ok::<_, io::Error>(copied)
        });
        let sent = pattern(5, 1 << 20);
        let expected = sent.clone();
        let (reader, mut writer) = client.halves();
        let write = async {
            AsyncWriteExt::write_all(&mut writer, &sent).await?;
            writer.close().await
        };
        let read = async {
            let mut back = Vec::new();
            futures::io::copy(reader, &mut back).await?;
            io::Result::Ok(back)
        };
        let (wrote, back) = futures::join!(write, read);
        wrote?;
        assert!(back? == expected, "the bytes differ");
        assert_eq!(server.await??, 1 << 20);
        // `AsyncWrite::close` shuts one direction down; the socket stays open.
        assert!(client.local_addr().is_ok());
        client.shutdown(Shutdown::Both).ok();
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_domain_full_of_ready_tasks_still_accepts() {
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let stop = Rc::new(Cell::new(false));
        let busy = (0..200).map(|_| {
            let stop = Rc::clone(&stop);
            spawn(async move {
                while !stop.get() {
                    yield_now().await;
                }
            })
        });
        let busy: Vec<_> = busy.collect();
        let server = try_spawn(async move {
            let (stream, _) = listener.accept().await?;
            echo(stream).await
        });
        exchange(address, 1, 10_000).await?;
        server.await?;
        stop.set(true);
        for outcome in await_all(busy).await {
            outcome?;
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_peer_that_is_always_ready_does_not_starve_others() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        let yields = Rc::new(Cell::new(0));
        let other = spawn({
            let yields = Rc::clone(&yields);
            async move {
                loop {
                    yields.set(yields.get() + 1);
                    yield_now().await;
                }
            }
        });
        // Each of these bytes has arrived before it is read.
        client.write_all(&[7; 2000]).await?;
        let before = yields.get();
        for _ in 0..2000 {
            assert_eq!(server.read(&mut [0]).await?, 1);
        }
        assert!(yields.get() >= before + 10, "{} yields", yields.get() - before);
        drop(other.cancel().await);
        Ok(())
    });
    result.unwrap();
}
