//! Goal: reports name the line of the program that made a socket, that used it, or that waits for
//! it, also through the traits of `futures-io`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use matou_net::{FinishLimit, Shutdown, TcpListener, TcpStream, lookup_host};
use matou_runtime::{BlockedOn, RunError, Violation, spawn, yield_now};

use crate::support::*;

fn only_violation(result: Result<(), RunError>) -> Violation {
    match result {
        Err(RunError::Violated(report)) => report.violations()[0].clone(),
        other => panic!("{other:?}"),
    }
}

type Line = &'static Location<'static>;

/// The line that used the resource in the violation `NotOwner`, the line that made it, and the
/// text.
fn not_owner(result: Result<(), RunError>) -> (Line, Line, String) {
    let violation = only_violation(result);
    match &violation {
        Violation::NotOwner { error, .. } => {
            (error.used_at, error.resource.made_at, violation.to_string())
        }
        other => panic!("{other}"),
    }
}

/// The line of the case, its text, and the report of a task that uses a stream of its parent.
macro_rules! stream_case {
    (|$stream:ident| $use:expr) => {
        (
            line!(),
            stringify!($use),
            not_owner(run_on(1, async {
                let (_client, server) = pair().await?;
                let owned = Arc::new(server);
                owned.shared().peer_addr()?;
                let $stream = Arc::clone(&owned);
                drop(spawn(async move { drop($use) }).await);
                Ok(())
            })),
        )
    };
}

/// As [`stream_case`], for a listener.
macro_rules! listener_case {
    (|$listener:ident| $use:expr) => {
        (
            line!(),
            stringify!($use),
            not_owner(run_on(1, async {
                let owned = Arc::new(TcpListener::bind(any_v4())?);
                owned.shared().local_addr()?;
                let $listener = Arc::clone(&owned);
                drop(spawn(async move { drop($use) }).await);
                Ok(())
            })),
        )
    };
}

#[test]
fn f9_reports_name_the_line_that_uses_a_socket() {
    let cases = [
        stream_case!(|stream| stream.shared().read(&mut [0; 8]).await),
        stream_case!(|stream| stream.shared().write(b"x").await),
        stream_case!(|stream| stream.shared().write_all(b"x").await),
        stream_case!(|stream| stream.shared().shutdown(Shutdown::Write)),
        stream_case!(|stream| stream.shared().peer_addr()),
        stream_case!(|stream| stream.shared().local_addr()),
        stream_case!(|stream| poll_fn(|cx| Pin::new(&mut &*stream).poll_read(cx, &mut [0])).await),
        stream_case!(|stream| poll_fn(|cx| Pin::new(&mut &*stream).poll_write(cx, b"x")).await),
        stream_case!(|stream| poll_fn(|cx| Pin::new(&mut &*stream).poll_flush(cx)).await),
        stream_case!(|stream| poll_fn(|cx| Pin::new(&mut &*stream).poll_close(cx)).await),
        listener_case!(|listener| listener.shared().accept().await),
        listener_case!(|listener| listener.shared().local_addr()),
    ];
    for (line, name, (used_at, ..)) in cases {
        assert_eq!((used_at.file(), used_at.line()), (file!(), line), "{name}");
    }
}

#[test]
fn f9_a_use_through_another_crate_names_that_crate_and_the_task() {
    let (line, _, (_, _, report)) = stream_case!(|stream| (&*stream).read(&mut [0; 8]).await);
    assert!(report.contains("used through futures-io\n"), "{report}");
    assert!(report.contains(&format!("--> {}:", file!())), "{report}");
    assert!(line < line!());
}

/// The line of the case, its text, and the report of a task that uses a socket of its parent.
macro_rules! made_case {
    ($make:expr) => {
        (
            line!(),
            stringify!($make),
            not_owner(run_on(1, async {
                let owned = Arc::new($make);
                owned.shared().local_addr()?;
                let made = Arc::clone(&owned);
                drop(spawn(async move { drop(made.shared().local_addr()) }).await);
                Ok(())
            })),
        )
    };
}

/// The address of a listener that stays open.
fn listening() -> SocketAddr {
    let listener = std::net::TcpListener::bind(any_v4()).unwrap();
    let address = listener.local_addr().unwrap();
    leak(listener);
    address
}

/// A listener in whose queue is a connection.
fn connected() -> io::Result<TcpListener> {
    let mut listener = TcpListener::bind(any_v4())?;
    leak(std::net::TcpStream::connect(listener.local_addr()?)?);
    Ok(listener)
}

#[test]
fn f9_reports_name_the_line_that_made_a_socket() {
    let cases = [
        made_case!(TcpStream::connect(listening()).await?),
        made_case!(TcpStream::connect_timeout(listening(), DEADLINE).await?),
        made_case!(TcpStream::from_std(std::net::TcpStream::connect(listening())?)?),
        made_case!(connected()?.accept().await?.0),
        made_case!(TcpListener::bind(any_v4())?),
        made_case!(TcpListener::options().listen(any_v4())?),
        made_case!(TcpListener::options().listen_many(any_v4(), 2)?.remove(0)),
        made_case!(TcpListener::options().listen_many(any_v4(), 2)?.remove(1)),
        made_case!(TcpListener::from_std(std::net::TcpListener::bind(any_v4())?)?),
    ];
    for (line, name, (_, made_at, _)) in cases {
        assert_eq!((made_at.file(), made_at.line()), (file!(), line), "{name}");
    }
}

/// The line of the case, its text, and what a task waits for.
macro_rules! wait_case {
    (|$stream:ident| $wait:expr) => {
        (
            line!(),
            stringify!($wait),
            blocked_on(run_on(1, async move {
                let (mut client, mut server) = pair().await?;
                let child = spawn(async move {
                    let $stream = &mut server;
                    // The first use makes the task the owner.
                    $stream.local_addr().unwrap();
                    let _ = $wait;
                    drop(server);
                });
                for _ in 0..10 {
                    yield_now().await;
                }
                leak(child);
                client.shutdown(Shutdown::Both)?;
                Ok(())
            })),
        )
    };
}

fn blocked_on(result: Result<(), RunError>) -> BlockedOn {
    match only_violation(result) {
        Violation::StillHasChildren { children, .. } => children[0].blocked_on,
        other => panic!("{other}"),
    }
}

#[test]
fn f9_reports_name_the_line_that_waits_for_a_socket() {
    let endless = vec![7; 64 << 20].leak();
    let endless: &'static [u8] = endless;
    let cases = [
        wait_case!(|stream| stream.read(&mut [0; 8]).await),
        wait_case!(|stream| stream.shared().read(&mut [0; 8]).await),
        wait_case!(|stream| stream.write_all(endless).await),
        wait_case!(|stream| poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut [0])).await),
        wait_case!(|stream| TcpListener::bind(any_v4()).unwrap().accept().await.is_ok()),
    ];
    for (line, name, blocked) in cases {
        let at = blocked.site.location.unwrap_or_else(|| panic!("{name}: no line: {blocked}"));
        assert_eq!((at.file(), at.line()), (file!(), line), "{name}: {blocked}");
    }
}

/// Awaits `future`, which this file has created, polls it once more, and expects a panic that says
/// so.
async fn poll_again<F: Future>(name: &str, future: F) -> F::Output {
    let mut future = pin!(future);
    let output = future.as_mut().await;
    let again = poll_fn(|cx| {
        Poll::Ready(catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx).is_ready())))
    });
    let payload = again.await.expect_err("the future has completed");
    let message = payload.downcast_ref::<String>().expect("a message");
    let expected = format!("`{name}` polled after completion; created at {}:", file!());
    assert!(message.starts_with(&expected), "{message}");
    output
}

#[test]
fn f9_a_future_polled_after_completion_panics_with_the_line_that_created_it() {
    let result: Result<(), RunError> = run_on(1, async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let client = poll_again("Connect", TcpStream::connect(address)).await?;
        let (server, _) = poll_again("Accept", listener.accept()).await?;
        drop(client);
        poll_again("Finish", server.finish(FinishLimit::new())).await?;
        let limited = TcpStream::connect_timeout(address, Duration::from_secs(60));
        poll_again("Connect", limited).await?;
        poll_again("ConnectAny", TcpStream::connect_any([address])).await?;
        poll_again("ConnectHost", TcpStream::connect_host("localhost", address.port())).await?;
        poll_again("LookupHost", lookup_host("localhost", 1)).await?;
        Ok(())
    });
    result.unwrap();
}
