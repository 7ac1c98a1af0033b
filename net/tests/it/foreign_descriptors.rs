//! Goal: a descriptor that other code shares never stops a domain, whatever that code does with its
//! mode (scenario F24); no child process inherits one (B29); listeners that share a queue lose no
//! connection (F21).

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{call, sleep, spawn, yield_now};

use crate::support::*;

/// Asserts that another task of this domain runs in the meantime.
async fn does_not_stop_others(operation: impl Future<Output = Result>) -> Result {
    let ticker = spawn(async {
        for turns in 0_u32.. {
            sleep(Duration::from_millis(1)).await;
            // The result is taken by cancelling, as the last turn that was completed.
            TURNS.with(|cell| cell.set(turns + 1));
        }
    });
    yield_now().await;
    TURNS.with(|cell| cell.set(0));
    operation.await?;
    let turns = TURNS.with(std::cell::Cell::get);
    ticker.cancel().await;
    assert!(turns > 2, "the other task ran {turns} times");
    Ok(())
}

thread_local! {
    static TURNS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[test]
fn f24_a_stream_in_blocking_mode_does_not_stop_its_domain() {
    run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let socket = listener.accept().await?.0.into_std()?;
        let shared = socket.try_clone()?; // as a child process has it that got it as its input
        let mut stream = TcpStream::from_std(socket)?;
        shared.set_nonblocking(false)?; // the mode belongs to the description, not to the number
        does_not_stop_others(async move {
            let writer = spawn(async move {
                sleep(Duration::from_millis(20)).await;
                (&peer).write_all(b"x").map(|()| peer)
            });
            assert_eq!(stream.read(&mut [0; 1]).await?, 1);
            // A write that fills the buffers.
            let _peer = writer.await??;
            let bytes = vec![0; 64 << 20];
            let full = matou_runtime::timeout(Duration::from_millis(20), stream.write_all(&bytes));
            assert!(full.await.is_err());
            Ok(())
        })
        .await
    })
    .unwrap();
}

#[test]
fn f24_a_listener_in_blocking_mode_does_not_stop_its_domain() {
    run_on(1, async {
        let socket = std::net::TcpListener::bind(any_v4())?;
        let address = socket.local_addr()?;
        let shared = socket.try_clone()?;
        let mut listener = TcpListener::from_std(socket)?;
        shared.set_nonblocking(false)?;
        does_not_stop_others(async move {
            let client = spawn(async move {
                sleep(Duration::from_millis(20)).await;
                std::net::TcpStream::connect(address)
            });
            listener.accept().await?;
            client.await??;
            Ok(())
        })
        .await
    })
    .unwrap();
}

#[test]
fn b29_child_processes_inherit_no_descriptor() {
    /// The open descriptors of a child process; the test's environment may contribute.
    fn listed() -> std::io::Result<usize> {
        let output = Command::new("ls").arg("/proc/self/fd").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    }
    let (result, _) = count_on(2, async {
        let before = std::thread::spawn(listed).join().expect("no panic")?;
        let mut listener = TcpListener::bind(any_v4())?;
        let std_socket = std::net::TcpListener::bind(any_v4())?;
        let from_std = TcpListener::from_std(std_socket)?;
        let shared = TcpListener::options().shared_queue(true).listen_many(any_v4(), 2)?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let (mut server, _) = listener.accept().await?;
        assert!(futures::poll!(std::pin::pin!(client.read(&mut [0; 1]))).is_pending());
        for _ in 0..20 {
            assert_eq!(call(|| async { listed() })?.await??, before);
        }
        drop(from_std);
        server.write_all(b"m").await?;
        drop(shared);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn f21_a_listener_that_closes_loses_no_connection_of_a_shared_queue() {
    const CLIENTS: usize = 100;
    run_on(1, async {
        let options = TcpListener::options().shared_queue(true);
        let mut listeners = options.listen_many(any_v4(), 2)?;
        let address = listeners[0].local_addr()?;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| std::net::TcpStream::connect(address))
            .collect::<Result<_, _>>()?;
        drop(listeners.pop());
        for _ in 0..CLIENTS {
            listeners[0].accept().await?.0.write_all(b"m").await?;
        }
        for mut client in clients {
            assert_eq!(std::io::Read::read(&mut client, &mut [0; 1])?, 1);
        }
        Ok(())
    })
    .unwrap();
}

/// One listener accepts nothing: the other one is woken for each connection.
#[test]
fn f21_each_connection_of_a_shared_queue_wakes_a_listener_that_waits() {
    run_on(3, async {
        let options = TcpListener::options().shared_queue(true);
        let mut listeners = options.listen_many(any_v4(), 3)?;
        let address = listeners[0].local_addr()?;
        let serve = |mut listener: TcpListener, count: usize| {
            move || async move {
                for _ in 0..count {
                    listener.accept().await?.0.write_all(b"m").await?;
                }
                // It stays open, registered and idle.
                std::future::pending::<()>().await;
                drop(listener);
                Ok::<_, std::io::Error>(())
            }
        };
        let quick = matou_runtime::try_call(serve(listeners.pop().expect("three"), 3))?;
        let endless = matou_runtime::try_call(serve(listeners.pop().expect("three"), usize::MAX))?;
        let _own = listeners.pop();
        for _ in 0..200 {
            let mut client = TcpStream::connect(address).await?;
            assert_eq!(client.read(&mut [0; 1]).await?, 1);
        }
        for server in [quick, endless] {
            assert!(server.cancel().await.is_none());
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn f21_a_shared_queue_of_a_simulated_run_closes_with_its_last_listener() {
    matou_runtime::test::check(0..20, || async {
        let options = TcpListener::options().shared_queue(true);
        let mut listeners = options.listen_many(any_v4(), 2)?;
        let address = listeners[0].local_addr()?;
        let mut first = TcpStream::connect(address).await?;
        let mut second = TcpStream::connect(address).await?;
        drop(listeners.remove(0));
        let (mut server, _) = listeners[0].accept().await?;
        server.write_all(b"m").await?;
        drop(listeners);
        let mut served = 0;
        for client in [&mut first, &mut second] {
            served += usize::from(client.read(&mut [0; 1]).await.is_ok());
        }
        assert_eq!(served, 1);
        assert!(TcpStream::connect(address).await.is_err());
        Ok::<_, matou_runtime::MainError>(())
    });
}
